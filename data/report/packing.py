"""Arrays and long texts as a page holds them: compressed, in letters, with their type and shape."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {"f4": "Float32Array", "i2": "Int16Array", "u2": "Uint16Array", "u4": "Uint32Array", "u1": "Uint8Array"}
LARGEST = 32767  # of quantised numbers; -32768 says that there is none


def packed_text(text: str) -> str:
    """A text, deflated, in base64."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """An array for the page: {"type": the typed array of JavaScript, "shape": ..., "data": deflated, in base64}.

    Its type must be one of TYPES; bytes are little-endian.
    """
    code = values.dtype.str[1:]
    data = zlib.compress(np.ascontiguousarray(values).astype(f"<{code}", copy=False).tobytes(), 6)
    return {"type": TYPES[code], "shape": list(values.shape), "data": base64.b64encode(data).decode()}


def quantised(values: NDArray[np.floating], largest: NDArray[np.floating]) -> NDArray[np.int16]:
    """values / largest in steps of 1/LARGEST; what is not finite becomes -LARGEST - 1."""
    with np.errstate(all="ignore"):
        share = values / np.where(largest > 0, largest, 1.0)
    finite = np.isfinite(share)
    steps = np.rint(np.clip(np.where(finite, share, 0.0), -1.0, 1.0) * LARGEST)
    return np.where(finite, steps, -LARGEST - 1).astype(np.int16)


def in_script(data: Any) -> str:
    """JSON that is safe between <script> tags, whatever texts it holds. Numbers that are not finite become null."""
    text = json.dumps(_plain(data), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
