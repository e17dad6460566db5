"""An empty trajectory file: every object of the layout, before the first frame."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import DTypeLike

from ..particles import Ensemble
from ..particles.arrays import in_single
from . import checkpoints, layout

CHUNK_CACHE = 16 * layout.PAGE  # bytes of each dataset


def create_file(path: Path) -> h5py.File:
    """A new HDF5 file, one that must not exist yet.

    libver: metadata with checksums that HDF5 1.10 still reads ("latest" would not be). Pages: after a power
    failure a page is there or not, never half a chunk of 4 KiB. A small cache of chunks: HDF5 keeps up to 8 MiB of
    every dataset, and none is needed again once it is full.
    """
    options = {"libver": ("v110", "v110"), "fs_strategy": "page", "fs_page_size": layout.PAGE}
    return h5py.File(path, "x", rdcc_nbytes=CHUNK_CACHE, **options)


def build(
    file: h5py.File,
    ensemble: Ensemble,
    *,
    dtype: DTypeLike,
    frames_per_chunk: int,
    observables: Mapping[str, tuple[int, ...]],
    texts: Mapping[str, bytes],
    arrays: Sequence[np.ndarray] = (),
    author: str,
    version: str,
    merging: bool = False,
) -> None:
    """Create all groups, the arrays of fixed size and the empty datasets that grow with the frames.

    observables: name -> shape of one replica's value, () for a number or (k,); texts: dataset -> bytes; arrays: what
    the scenario read from other files; merging: whether tokens may become one on the way.
    """
    file.attrs["Conventions"] = _ascii(layout.CONVENTIONS)
    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array(layout.H5MD_VERSION, np.int32)
    h5md.create_group("author").attrs["name"] = _ascii(author)
    h5md.create_group("creator").attrs["name"] = _ascii("attndyn")
    h5md["creator"].attrs["version"] = _ascii(version)

    box = file.create_group(layout.BOX)
    box.attrs["dimension"] = np.int32(ensemble.dimension)
    box.attrs["boundary"] = np.full(ensemble.dimension, b"none", "S4")

    _indices(file, ensemble.replicas, ensemble.tokens, ensemble.dimension)
    _clock(file)
    _positions(file, ensemble, dtype, frames_per_chunk)
    file.create_group(layout.OBSERVABLES, track_order=True)
    file.create_group(layout.ANALYSIS)  # empty, so that what is kept there later does not move the root's own entries
    for name, shape in observables.items():
        _observable(file, name, ensemble.replicas, shape)

    if merging:
        _merges(file, ensemble.tokens)
    for name, text in texts.items():
        _text(file, name, text)
    for number, values in enumerate(arrays):
        _array(file, f"{layout.ARRAYS}/{number}", in_single(values))
    block = sum(file[name].dtype.itemsize * math.prod(file[name].shape[1:]) for name in growing_names(observables))
    checkpoints.create(file, checkpoints.capacity(ensemble.positions.shape, 8, frames_per_chunk * block))
    _array(file, layout.WEIGHTS, ensemble.weights)
    _array(file, layout.FRAMES_COMMITTED, np.zeros(1, np.int64))
    _array(file, layout.FINISHED, np.zeros(1, np.int8))


def growing_names(observables: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The datasets that grow with the frames."""
    return (layout.STEP, layout.TIME, layout.POSITION, *map(layout.observable, observables))


def _text(file: h5py.File, name: str, text: bytes) -> None:
    """Bytes as u1, since HDF5's own strings are under no checksum; a sha256 for those that never change."""
    dataset = _array(file, name, np.frombuffer(text, np.uint8))
    kind = "application/toml" if name == layout.SCENARIO else "application/json"
    dataset.attrs["media_type"] = _ascii(kind)
    if name in layout.HASHED:
        dataset.attrs["sha256"] = _ascii(hashlib.sha256(text).hexdigest())


def _array(file: h5py.File, name: str, values: np.ndarray | None) -> h5py.Dataset:
    """An array of fixed size, in chunks since HDF5 has checksums for no others."""
    values = np.asarray(values)
    if values.size == 0:
        return file.create_dataset(name, data=values)
    chunk = layout.chunk_of(values.shape, layout.MEBIBYTE // values.itemsize)
    return file.create_dataset(name, data=values, chunks=chunk, fletcher32=True)


def _ascii(text: str) -> np.bytes_:
    """A string attribute of fixed length, as the H5MD specification wants them."""
    return np.bytes_(text.encode("ascii", "replace"))


def _indices(file: h5py.File, replicas: int, tokens: int, dimension: int) -> None:
    lengths = {layout.REPLICA: replicas, layout.PARTICLE: replicas * tokens, layout.COMPONENT: dimension}
    for name, length in lengths.items():
        file[name] = np.arange(length, dtype=np.int32)
        file[name].make_scale(name.rpartition("/")[2])
    file[layout.REPLICA_INDEX] = np.repeat(np.arange(replicas, dtype=np.int32), tokens)
    file[layout.TOKEN_INDEX] = np.tile(np.arange(tokens, dtype=np.int32), replicas)
    for name in (layout.REPLICA_INDEX, layout.TOKEN_INDEX):
        file[name].dims[0].attach_scale(file[layout.PARTICLE])


def _clock(file: h5py.File) -> None:
    """The step and time of every frame; all elements of the file link to these two."""
    for name, dtype in ((layout.STEP, "<i8"), (layout.TIME, "<f8")):
        file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(layout.CLOCK_CHUNK,), fletcher32=True)
    file[layout.TIME].make_scale("time")
    file[layout.STEP].dims[0].attach_scale(file[layout.TIME])


def _positions(file: h5py.File, ensemble: Ensemble, dtype: DTypeLike, frames_per_chunk: int) -> None:
    dtype = np.dtype(dtype).newbyteorder("<")
    row = (ensemble.replicas * ensemble.tokens, ensemble.dimension)
    chunk = layout.chunk_of((frames_per_chunk, *row), layout.LARGEST_CHUNK // dtype.itemsize)
    _growing(file, layout.POSITION, row, dtype, chunk, (layout.PARTICLE, layout.COMPONENT))


def _observable(file: h5py.File, name: str, replicas: int, shape: tuple[int, ...]) -> None:
    group = file.create_group(f"{layout.OBSERVABLES}/{name}")
    group["step"], group["time"] = file[layout.STEP], file[layout.TIME]  # hard links
    scales = [layout.REPLICA]
    for length in shape:
        group["entry"] = np.arange(length, dtype=np.int32)
        group["entry"].make_scale("entry")
        scales.append(f"{group.name}/entry")
    row = (replicas, *shape)
    _growing(file, layout.observable(name), row, "<f8", layout.observable_chunk(row), tuple(scales))


def _merges(file: h5py.File, tokens: int) -> None:
    """The clock of the merges is their own, so they are a series and not an observable."""
    chunk = layout.chunk_of((1, tokens), layout.SMALL_CHUNK // 4)
    group = file.create_group(layout.MERGES)
    group.create_dataset("value", (0, tokens), "<i4", maxshape=(None, tokens), chunks=chunk, fletcher32=True)
    group.create_dataset("time", (0,), "<f8", maxshape=(None,), chunks=(layout.CLOCK_CHUNK,), fletcher32=True)


def _growing(
    file: h5py.File,
    name: str,
    row: tuple[int, ...],
    dtype: DTypeLike,
    chunk: tuple[int, ...],
    scales: tuple[str, ...],
) -> None:
    """A dataset (frames, *row) with no frames yet, its axes named time and after `scales`.

    There is no compression: the mantissas of a trajectory are noise. What was never written reads as NaN.
    """
    dataset = file.create_dataset(
        name, (0, *row), dtype, maxshape=(None, *row), chunks=chunk, fletcher32=True, fillvalue=np.nan
    )
    for axis, scale in enumerate((layout.TIME, *scales)):
        dataset.dims[axis].attach_scale(file[scale])
    dataset.attrs["coordinates"] = _ascii("step")  # xarray then takes step for a coordinate
