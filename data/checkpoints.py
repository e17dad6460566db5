"""The last state of a run, in its own file: two slots that are written in turn, so that one of them is always whole.

A slot holds numbers, arrays, and the frames that do not yet fill a chunk: chunks of frames are written once and never
again, since a chunk that is being rewritten when the process is killed is lost. The slots take no room in the file
until the first is written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from . import layout, opening

MAGIC = b"attndyn1"
HEAD = len(MAGIC) + 8 + 8 + 32  # and the lengths of the header and of all, and the sha256 of what follows
ROOM_FOR_NUMBERS = 64 * 1024
KINDS = "fiub"


@dataclass(frozen=True, eq=False)
class Slot:
    """What one slot holds.

    number : of slots written before; of two the larger one is the later
    frames : in the datasets, whole chunks      merges : rows of the series of merges
    tail   : dataset name -> the rows that follow these frames, as many for each
    record, arrays : the state of the run, as it was handed to the writer
    """

    number: int
    frames: int
    merges: int
    tail: Mapping[str, NDArray[Any]]
    record: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def rows(self) -> int:
        """How many frames the tail has."""
        return len(next(iter(self.tail.values()), ()))


def capacity(shape: tuple[int, int, int], itemsize: int, block_bytes: int) -> int:
    """The bytes of a slot for states (replicas, tokens, dimension) and a block of frames.

    The state and what a method carries along (a slope), each with two rows more than tokens; three numbers a token of
    what merging knows; the frames that do not fill a chunk.
    """
    replicas, tokens, dimension = shape
    size = HEAD + ROOM_FOR_NUMBERS + 2 * replicas * (tokens + 2) * dimension * itemsize + 24 * tokens + block_bytes
    return math.ceil(size / layout.PAGE) * layout.PAGE


def create(file: h5py.File, size: int) -> None:
    """The two slots of a new file, empty."""
    chunk = (1, min(size, layout.MEBIBYTE))
    file.create_dataset(layout.CHECKPOINT, (2, size), "u1", chunks=chunk)


def write(file: h5py.File, slot: Slot) -> None:
    """Write a slot over the older of the two. Raises ValueError where it has no room."""
    packed = _packed(slot)
    stored = file[layout.CHECKPOINT]
    if len(packed) > stored.shape[1]:
        raise ValueError(f"a checkpoint of {len(packed)} bytes has no room in {stored.shape[1]}")
    stored[slot.number % 2, : len(packed)] = np.frombuffer(packed, np.uint8)


def check(file: h5py.File) -> None:
    """Raise ValueError where a slot that was written is not whole."""
    stored = opening.dataset(file, layout.CHECKPOINT, "u", (2,))
    if len(stored) != 2:
        raise ValueError(f"it has the shape {stored.shape}, and should have two slots")
    for row in range(len(stored)):
        if stored[row, : len(MAGIC)].any() and _read(stored, row) is None:
            raise ValueError(f"slot {row} is not what was written (sha256 differs)")


def latest(file: h5py.File) -> Slot | None:
    """The later of the slots that are whole; None where there is none."""
    if not opening.has(file, layout.CHECKPOINT):
        return None
    stored = opening.dataset(file, layout.CHECKPOINT, "u", (2,))
    if stored.shape[0] != 2:
        return None
    whole = [slot for slot in map(lambda row: _read(stored, row), range(2)) if slot is not None]
    return max(whole, key=lambda slot: slot.number, default=None)


def _packed(slot: Slot) -> bytes:
    arrays = {f"tail {name}": rows for name, rows in slot.tail.items()}
    arrays |= {f"state {name}": values for name, values in slot.arrays.items()}
    arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    header = {
        "number": slot.number,
        "frames": slot.frames,
        "merges": slot.merges,
        "record": slot.record,
        "arrays": [[name, values.dtype.str, list(values.shape)] for name, values in arrays.items()],
    }
    text = json.dumps(header).encode()
    body = b"".join([text, *(values.tobytes() for values in arrays.values())])
    lengths = len(text).to_bytes(8, "little") + (HEAD + len(body)).to_bytes(8, "little")
    return MAGIC + lengths + hashlib.sha256(lengths + body).digest() + body


def _read(stored: h5py.Dataset, row: int) -> Slot | None:
    """One slot; None unless it is whole. Sizes are compared with what is stored before memory is asked for."""
    if stored.shape[1] < HEAD:
        return None
    head = stored[row, :HEAD].tobytes()
    text_length, length = (int.from_bytes(head[at : at + 8], "little") for at in (8, 16))
    if head[:8] != MAGIC or not HEAD + text_length <= length <= min(stored.shape[1], stored.id.get_storage_size()):
        return None
    body = stored[row, HEAD:length].tobytes()
    if hashlib.sha256(head[8:24] + body).digest() != head[24:HEAD]:
        return None
    try:
        return _unpacked(json.loads(body[:text_length]), body, text_length)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None  # whole, but not ours


def _unpacked(header: dict[str, Any], body: bytes, at: int) -> Slot:
    parts: dict[str, dict[str, NDArray[Any]]] = {"tail": {}, "state": {}}
    for name, kind, shape in header["arrays"]:
        dtype = np.dtype(str(kind))
        if dtype.kind not in KINDS or any(not isinstance(length, int) or length < 0 for length in shape):
            raise ValueError(f"{name} is no array of numbers")
        part, _, name = name.partition(" ")
        count = math.prod(shape)
        parts[part][name] = np.frombuffer(body, dtype, count, at).reshape(shape).copy()
        at += count * dtype.itemsize
    if len({len(rows) for rows in parts["tail"].values()}) > 1:
        raise ValueError("the frames of its tail have different numbers of rows")
    number, frames, merges = (header[name] for name in ("number", "frames", "merges"))
    if not all(isinstance(count, int) and count >= 0 for count in (number, frames, merges)):
        raise ValueError("its counts are no counts")
    return Slot(number, frames, merges, parts["tail"], dict(header["record"]), parts["state"])
