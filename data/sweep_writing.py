"""Write a sweep file point by point, and go on with one that was left unfinished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput, TrajectoryError
from . import sweep_layout as layout
from .opening import guard
from .sweep_layout import Description
from .target import check_space, put_in_place


class SweepWriter:
    """A sweep file open for writing, locked against other writers; a context manager, which closes it.

    Raises TrajectoryError where the file cannot be opened, or another process is writing it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r+")
        except BlockingIOError as error:
            raise TrajectoryError(f"{self.path}: another process is at work on this sweep, or has it open") from error
        except OSError as error:
            raise TrajectoryError(f"{self.path}: the file cannot be written: {error}") from error
        self._variables = {name: found for name, found in self._file.items() if isinstance(found, h5py.Dataset)}

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which points are complete, (*grid)."""
        return self._variables[layout.DONE][...] != 0

    def put(
        self,
        place: tuple[int, ...],
        *,
        status: str,
        times: ArrayLike,
        parts: Mapping[str, Mapping[str, NDArray[np.float64]]],
        statistics: Mapping[str, float],
    ) -> None:
        """Write a point, and only when it is in the file mark it as done.

        parts : "mean", "deviation" and "values" -> observable -> (frames[, replicas][, k])

        Raises InvalidInput where the values do not fit the file, TrajectoryError where it cannot be written.
        """
        times = np.asarray(times, np.float64)
        rows = {layout.TIME: times} | {
            layout.variable(name, part): values for part, named in parts.items() for name, values in named.items()
        }
        room = {name: self._variables[name].shape[len(place) :] for name in rows}
        padded = {name: _padded(name, values, room[name]) for name, values in rows.items()}
        with guard(self.path, "the file", "cannot be written"):
            for name, values in padded.items():
                self._variables[name][place] = values
            for name in layout.STATISTICS:
                self._variables[name][place] = statistics.get(name, np.nan)
            self._variables[layout.STATUS][place] = _fixed(status)
            self._file.flush()
            self._variables[layout.DONE][place] = 1
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with guard(self.path, "the file", "cannot be closed"):
            self._file.close()

    def __enter__(self) -> SweepWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def create_sweep(
    path: str | Path,
    description: Description,
    *,
    scenario: str,
    provenance: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    frames: int,
    replicas: int,
    overwrite: bool = False,
) -> None:
    """Make the file of a sweep, all its arrays included, with no point done; at `path` it is there whole or not at all.

    shapes   : observable -> shape of one replica's value, () or (k,)
    frames   : the most that a point may have; replicas: the most, where every replica is kept

    Raises InvalidInput for names that collide, TrajectoryError where the file cannot be written.
    """
    path = Path(path)
    layout.check_names(list(description.axes), description.observables)
    variables = _variables(description, shapes)
    lengths = {**{key: len(values) for key, values in description.axes.items()}, layout.FRAME: frames}
    lengths |= {layout.REPLICA: replicas} if description.every_replica else {}
    lengths |= {f"{name}_entry": shape[0] for name, shape in shapes.items() if shape}
    size = sum(8 * int(np.prod([lengths[axis] for axis in axes])) for axes in variables.values())
    check_space(path, size)
    making = path.with_name(path.name + ".new")
    with guard(path, "the file", "cannot be created"):
        try:
            with h5py.File(making, "w") as file:
                file.attrs["Conventions"] = np.bytes_(layout.CONVENTIONS)
                _texts(file, description, scenario, provenance)
                _scales(file, description, lengths)
                for name, axes in variables.items():
                    _variable(file, name, axes, [lengths[axis] for axis in axes])
            if path.exists() and not overwrite:
                raise TrajectoryError(f"{path} came to exist meanwhile, maybe by another sweep")
            put_in_place(making, path, overwrite)
        finally:
            making.unlink(missing_ok=True)


def _variables(description: Description, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, ...]]:
    """Every variable over the grid, with the names of its axes."""
    grid = tuple(description.axes)
    found = {layout.TIME: (*grid, layout.FRAME)}
    for name in description.observables:
        entries = (f"{name}_entry",) if shapes[name] else ()
        for part in layout.PARTS if description.every_replica else layout.PARTS[:2]:
            replicas = (layout.REPLICA,) if part == "values" else ()
            found[layout.variable(name, part)] = (*grid, layout.FRAME, *replicas, *entries)
    return found | dict.fromkeys((layout.STATUS, *layout.STATISTICS, layout.DONE), grid)


def _texts(file: h5py.File, description: Description, scenario: str, provenance: Mapping[str, Any]) -> None:
    texts = {
        layout.SCENARIO: scenario.encode(),
        layout.DESCRIPTION: description.to_json(),
        layout.PROVENANCE: json.dumps(provenance, default=str).encode(),
    }
    for name, text in texts.items():
        file[name] = np.frombuffer(text, np.uint8)
        file[name].attrs["sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())


def _scales(file: h5py.File, description: Description, lengths: Mapping[str, int]) -> None:
    """The axes: the values of every key, and numbers for frames, replicas and entries."""
    for name, length in lengths.items():
        if name not in description.axes:
            file[name] = np.arange(length, dtype=np.int32)
        elif isinstance(description.axes[name][0], str):
            file.create_dataset(name, data=list(description.axes[name]), dtype=h5py.string_dtype())
        else:
            values = np.asarray(description.axes[name])
            file[name] = values.astype(np.int8) if values.dtype == bool else values
        file[name].make_scale(name)


def _variable(file: h5py.File, name: str, axes: tuple[str, ...], shape: list[int]) -> None:
    """An array whose place in the file is taken at once, full of NaN (or of nothing, for texts and marks)."""
    dtype = {layout.DONE: np.dtype("u1"), layout.STATUS: h5py.string_dtype("utf-8", layout.STATUS_BYTES)}.get(
        name, np.dtype("<f8")
    )
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
    if dtype.kind == "f":
        creation.set_fill_value(np.array(np.nan))
    kind, space = h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(tuple(shape))
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, creation))
    for axis, scale in enumerate(axes):
        dataset.dims[axis].attach_scale(file[scale])
    if layout.FRAME in axes and name != layout.TIME:
        dataset.attrs["coordinates"] = np.bytes_(layout.TIME)  # xarray then takes the depths for a coordinate


def _padded(name: str, values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The values in a larger array of NaN."""
    if np.ndim(values) != len(shape) or any(a > b for a, b in zip(values.shape, shape, strict=True)):
        raise InvalidInput(f"{name}: a point has the shape {np.shape(values)}, where the file has room for {shape}")
    room = np.full(shape, np.nan)
    room[tuple(map(slice, values.shape))] = values
    return room


def _fixed(text: str) -> bytes:
    """UTF-8 of at most STATUS_BYTES, cut between letters."""
    return text.encode()[: layout.STATUS_BYTES].decode(errors="ignore").encode()
