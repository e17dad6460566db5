"""model.npz, written array by array: what it holds need not fit into memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from .model import Array, Model
from .replacing import Replaced
from .tensors import Tensors
from .tokenising import Tokenised

FILE = "model.npz"
THE_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # that zip files know: the same checkpoint and text give the same bytes


def write_arrays(
    path: Path, model: Model, tensors: Tensors, tokens: Tokenised, positions: Array, words: Replaced | None = None
) -> None:
    """Write tokens, stacks and readout of a model, in the precision of its tensors, not compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        small = dict(_small(model, tensors, tokens, positions))
        if words is not None:
            small |= {"words": words.embeddings, "word_tokens": np.array(words.strings)}
        for name, array in small.items():
            _write(archive, name, array.dtype, array.shape, [array])
        for key, part in model.stack[0].items():
            layers = [layer[key] for layer in model.stack]
            kept = np.result_type(*(tensors.precision(each.tensor) for each in layers))
            shape = (len(layers), *part.read(tensors).shape)
            _write(archive, key, kept, shape, (each.read(tensors) for each in layers))


def readout_name(key: str) -> str:
    """What the array of a key of the readout is called."""
    return f"readout_{key}"


def _small(model: Model, tensors: Tensors, tokens: Tokenised, positions: Array) -> Mapping[str, np.ndarray]:
    arrays = {"positions": positions, "tokens": np.array(tokens.strings), "ids": tokens.ids}
    rotary = model.attention.get("rotary")
    if isinstance(rotary, np.ndarray):
        arrays["rotary"] = rotary
    return arrays | {readout_name(key): part.read(tensors) for key, part in model.closing.items()}


def _write(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], pieces: Iterable[np.ndarray]
) -> None:
    """Write one array, whose pieces one after another along its first axis are all of it."""
    entry = zipfile.ZipInfo(f"{name}.npy", THE_FIRST_DAY)
    with archive.open(entry, "w", force_zip64=True) as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).tobytes())
