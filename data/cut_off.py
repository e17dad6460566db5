"""Files whose end is missing, as a copy leaves them that was broken off: opened as far as they go.

HDF5 refuses such a file as a whole. Here it gets a stream of the length that the file once had; what lies wholly
beyond the physical end raises, so that no zeros are taken for values. Which chunks there are is known from the
metadata, near the start of the file: a frame is there if the chunks of all its values are.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
from pathlib import Path
from typing import Any

import h5py

_SUPERBLOCK = 48  # bytes of versions 2 and 3 with addresses of 8 bytes
_ADDRESSES = 8
_BEING_WRITTEN = 5


def whole_length(path: Path) -> int | None:
    """The length that a file had before its end was cut off; None if it is whole, or nothing can be said."""
    with path.open("rb") as stream:
        head = stream.read(_SUPERBLOCK)
    if len(head) < _SUPERBLOCK or head[8] not in (2, 3) or head[9] != _ADDRESSES or head[11] & _BEING_WRITTEN:
        return None
    length = int.from_bytes(head[28:36], "little")
    return length if length > path.stat().st_size else None


def open_cut_off(path: Path, length: int) -> h5py.File:
    """The HDF5 file at `path`, which once had `length` bytes."""
    stream = _Lengthened(path, length)
    try:
        file = h5py.File(stream, "r")
    except BaseException:
        stream.close()
        raise
    atexit.register(file.close)  # HDF5 closes files after the interpreter has gone, which a stream does not survive
    return file


def physical_size(file: h5py.File) -> int:
    """The bytes that are there of a file, cut off or not."""
    return int(file.filename) if is_cut_off(file) else Path(file.filename).stat().st_size


def is_cut_off(file: h5py.File) -> bool:
    """Whether `open_cut_off` opened it."""
    return bool(file.driver == "fileobj")


def frames_left(datasets: list[h5py.Dataset], file: h5py.File, frames: int) -> int:
    """How many of the first `frames` rows are there, in all of these datasets that grow along their first axis."""
    size = physical_size(file)
    return min([frames, *(_rows_left(dataset, size) for dataset in datasets)])


def _rows_left(dataset: h5py.Dataset, size: int) -> int:
    """The rows before the first chunk that does not lie within `size` bytes, or is not known."""
    lost: list[int] = [len(dataset)]
    found: dict[int, int] = {}

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        first = int(chunk.chunk_offset[0])
        found[first] = found.get(first, 0) + 1
        if chunk.byte_offset is None or chunk.byte_offset + chunk.size > size:
            lost.append(first)

    with contextlib.suppress(OSError, RuntimeError):  # the index itself is cut off: what it did not come to is lost
        dataset.id.chunk_iter(note)
    across = 1
    for length, chunk in zip(dataset.shape[1:], dataset.chunks[1:], strict=True):
        across *= -(-length // chunk)
    # the first that is not there ends the search, for a shape can claim any number of chunks
    starts = range(0, len(dataset), dataset.chunks[0])
    lost.append(next((first for first in starts if found.get(first, 0) < across), len(dataset)))
    return min(lost)


class _Lengthened(io.RawIOBase):
    """A file for reading that claims a length beyond its end; to read what is not there is an error."""

    def __init__(self, path: Path, length: int) -> None:
        self._stream = path.open("rb", buffering=0)
        self._there = os.fstat(self._stream.fileno()).st_size
        self._length, self._place = length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; with zeros, where it reaches from what is there beyond it: checksums notice."""
        if self._place >= self._there:
            raise OSError(f"the file is cut off at byte {self._there} of {self._length}")
        self._stream.seek(self._place)
        view = memoryview(buffer).cast("B")
        count = 0
        while count < len(view) and (part := self._stream.readinto(view[count:])):
            count += part
        view[count:] = bytes(len(view) - count)
        self._place += len(view)
        return len(view)

    def __repr__(self) -> str:
        return str(self._there)  # h5py makes it the name of the file, by which `physical_size` finds it

    def close(self) -> None:
        self._stream.close()
        super().close()
