"""JSON of others: config.json, the header of a safetensors file, an index, each one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import InvalidInput

LARGEST = 256_000_000  # bytes; the largest tokenizer.json there are have some tens of millions


def parse_object(path: Path, content: bytes | None = None, what: str = "") -> dict[str, Any]:
    """The JSON object in a file, or in a part of it that was read already. Raises InvalidInput for anything else."""
    where = f"{path}: its {what}" if what else str(path)
    if content is None:
        if path.stat().st_size > LARGEST:
            raise InvalidInput(f"{where} must have at most {LARGEST} bytes; got {path.stat().st_size}")
        content = path.read_bytes()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise InvalidInput(f"{where} is not valid JSON: {reason}") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} must be a JSON object; got a {type(value).__name__}")
    return value
