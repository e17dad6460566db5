"""Take single objects from HDF5 files that may be damaged, still being written, or made to do harm.

Only hard links are followed, only plain numbers that are stored inside the file are read, and every size is
compared with what is stored before memory is asked for. The functions raise what they like; a `guard` around
them makes it one TrajectoryError that names the file and the object.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InvalidInput, TrajectoryError, printable
from ..logs import logger_of
from .cut_off import is_cut_off, open_cut_off, physical_size, whole_length
from .layout import MEBIBYTE, partial_path
from .live import open_live

LOG = logger_of(__name__)
SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # those that h5py has without plug-ins
LARGEST_CHUNK = 256 * MEBIBYTE
LARGEST_ATTRIBUTE = 4096
# what the system, HDF5 and values of the wrong type make functions raise
TROUBLES = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)
LONGEST_NAME, LONGEST_MESSAGE = 200, 1000  # characters of what a file made somebody say
LARGEST_INFLATION = 1100  # gzip shrinks by 1032 at most; a file that claims more is a trap
CHUNK_CACHE = 8 * MEBIBYTE  # holds the chunk of a small system, so that reading frame by frame stays fast


def open_file(path: Path) -> h5py.File:
    """The HDF5 file at `path` for reading; also one that a run is writing, or left behind when it was killed.

    Raises InvalidInput when there is no file, TrajectoryError when it is no HDF5 file or cannot be opened.
    """
    if not path.is_file():  # nor a pipe, which would keep us waiting
        raise InvalidInput(_missing(path))
    with guard(path, "the file"):
        with path.open("rb") as stream:
            head = stream.read(12)
        if head[:8] != SIGNATURE:
            raise TrajectoryError(f"{path} is not an HDF5 file, so no trajectory")
        # the twelfth byte of a version 3 superblock: 1 open for writing, 4 by a writer that lets others read
        being_written = head[11] if len(head) == 12 and head[8] >= 3 else 0
        LOG.debug("%s: opened for reading%s", path, ", while it is written" if being_written else "")
        whole = whole_length(path)
        if whole is not None:
            return open_cut_off(path, whole)
        try:
            if being_written & 4:
                return open_live(path, CHUNK_CACHE)
            return h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE)
        except OSError as error:
            if not being_written:
                raise
            raise TrajectoryError(
                f"{path} is being written, or its run was killed before anything was on disk; "
                f"wait, or run the scenario again with --overwrite ({error})"
            ) from error


def _missing(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder, not a trajectory file"
    partial = partial_path(path)
    if partial.is_file():
        return f"there is no file {path}; its run still goes or was killed, and what it wrote is in {partial}"
    return f"there is no file {path}"


@contextlib.contextmanager
def guard(path: Path, name: str, trouble: str = "cannot be read") -> Iterator[None]:
    """Whatever the system, HDF5 or a file's content raise, as a TrajectoryError naming file and object."""
    try:
        yield
    except TROUBLES as error:
        what, name = printable(str(error) or type(error).__name__), printable(name)
        message = f"{path}: {name[:LONGEST_NAME]} {trouble}: {what[:LONGEST_MESSAGE]}"
        raise TrajectoryError(message) from error


def dataset(file: h5py.File, name: str, kinds: str, ranks: tuple[int, ...]) -> h5py.Dataset:
    """The dataset at `name`, whose dtype is of one of `kinds` (f, i, u) and whose rank is one of `ranks`."""
    found = _follow(file, name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError("it is not a dataset")
    if found.is_virtual or found.external:
        raise ValueError("its values are stored in other files")
    if found.dtype.kind not in kinds or found.dtype.itemsize > 8 or found.dtype.subdtype is not None:
        raise ValueError(f"it has the type {found.dtype}")
    if found.ndim not in ranks:
        raise ValueError(f"it has the shape {found.shape}")
    creation = found.id.get_create_plist()
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if not filters <= FILTERS.keys():
        raise ValueError(f"it needs a filter other than {', '.join(FILTERS.values())}")
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > LARGEST_CHUNK:
        raise ValueError(f"its chunks {found.chunks} are too large")
    return found


def group(file: h5py.File, name: str) -> h5py.Group:
    """The group at `name`."""
    found = _follow(file, name)
    if not isinstance(found, h5py.Group):
        raise ValueError("it is not a group")
    return found


def has(file: h5py.File, name: str) -> bool:
    """Whether there is anything at `name`, whose parent exists."""
    parent, _, last = name.rpartition("/")
    return last in group(file, parent)


def _follow(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset:
    """The object at `name` by hard links only: others may lead to any file of this machine."""
    found = file
    for part in name.split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise ValueError("it is missing")
        if not isinstance(link, h5py.HardLink):
            raise ValueError("it is a link to somewhere else")
        found = found[part]
    return found


def check_stored(found: h5py.Dataset, rows: int | None = None) -> None:
    """Raise ValueError unless the first `rows` rows (None: all) are stored: a shape can claim any size."""
    shape = found.shape if rows is None else (rows, *found.shape[1:])
    size = math.prod(shape) * found.dtype.itemsize
    if found.chunks is None:
        complete = found.id.get_storage_size() >= size
    elif is_cut_off(found.file) and found.maxshape[0] is None:
        complete = True  # `frames_left` has counted them, whose index may be cut off
    else:
        chunks = math.prod(-(-length // chunk) for length, chunk in zip(shape, found.chunks, strict=True))
        complete = found.id.get_num_chunks() >= chunks
    if not complete or size > LARGEST_INFLATION * physical_size(found.file):
        raise ValueError(f"it claims the shape {found.shape}, of which not all is stored")


def read_array(file: h5py.File, name: str, kinds: str, ranks: tuple[int, ...]) -> np.ndarray:
    """All values of a dataset of fixed size."""
    found = dataset(file, name, kinds, ranks)
    check_stored(found)
    return found[...]


def read_text(file: h5py.File, name: str, *, hashed: bool) -> str:
    """The text in a dataset of bytes, compared with its sha256 if it is to have one."""
    text = read_array(file, name, "u", (1,)).astype(np.uint8).tobytes()
    if hashed and attribute(file[name], "sha256") != hashlib.sha256(text).hexdigest().encode():
        raise ValueError("its text is not the one that was written (sha256 differs)")
    return text.decode()


def read_json(file: h5py.File, name: str, kind: type, *, hashed: bool) -> Any:
    """The JSON value in a dataset of bytes, which must be of the type `kind`."""
    value = json.loads(read_text(file, name, hashed=hashed))
    if not isinstance(value, kind):
        raise ValueError(f"it holds no JSON {kind.__name__}")
    return value


def conventions(file: h5py.File) -> bytes:
    """What a file says that it is."""
    stored = attribute(file, "Conventions")
    if not isinstance(stored, bytes):
        raise ValueError("its Conventions are no text")
    return bytes(stored)


def attribute(found: h5py.Group | h5py.Dataset, name: str) -> Any:
    """A small attribute of numbers or of text of fixed length."""
    stored = found.attrs.get_id(name)
    if stored.dtype.kind not in "iufS" or stored.get_storage_size() > LARGEST_ATTRIBUTE:
        raise ValueError(f"its attribute {name} is neither a number nor a short text")
    return found.attrs[name]
