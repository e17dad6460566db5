"""Read a sweep file: the observables of many runs over a grid of the values of some keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, MissingExtra, NoSuchName, TrajectoryError
from . import opening
from . import sweep_layout as layout
from .opening import SIGNATURE, guard

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]


def is_sweep(path: str | Path) -> bool:
    """Whether there is a sweep file at `path`; False for anything else, damaged files included."""
    try:
        with _open(Path(path)) as file:
            return opening.conventions(file) == layout.CONVENTIONS.encode()
    except (InvalidInput, TrajectoryError, OSError, RuntimeError, KeyError, ValueError, TypeError):
        return False


def open_sweep(path: str | Path) -> Sweep:
    """Open a sweep file, finished or not, also while its sweep goes on.

    Raises InvalidInput when there is no file, TrajectoryError when it is no sweep or is damaged.
    """
    return Sweep(path)


class Sweep:
    """A sweep file that is open for reading. (*grid) stands for one axis for each key, in the order of `axes`.

    axes        : key -> its values
    shape       : the number of values of every key
    times       : (*grid, frames), NaN beyond the last frame of a point; read when looked up, as all that follows
    observables : name -> mean over replicas, (*grid, frames) or (*grid, frames, k); NaN as above
    deviations  : name -> root of the mean square deviation from it, of the same shape
    values      : name -> (*grid, frames, replicas) or (*grid, frames, replicas, k); empty unless every replica was kept
    done        : (*grid), which points are complete
    status      : (*grid) of texts: "finished", "stopped: ...", "failed: ...", and "" for a point not done
    statistics  : name -> (*grid): drift evaluations, steps, seconds
    scenario_text, name, provenance, description : what was swept

    Raises InvalidInput when there is no file, TrajectoryError when it is no sweep or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self._read_constants()
            self._find_variables()
        except BaseException:
            self._file.close()
            raise

    def _read_constants(self) -> None:
        file, path = self._file, self.path
        with guard(path, "Conventions"):
            if opening.conventions(file) != layout.CONVENTIONS.encode():
                raise TrajectoryError(f"{path} is not a sweep file")
        with guard(path, layout.SCENARIO):
            self.scenario_text: str = opening.read_text(file, layout.SCENARIO, hashed=True)
        with guard(path, layout.DESCRIPTION):
            fields = opening.read_json(file, layout.DESCRIPTION, dict, hashed=True)
            self.description = layout.Description.from_json(fields)
        with guard(path, layout.PROVENANCE):
            self.provenance: dict[str, Any] = opening.read_json(file, layout.PROVENANCE, dict, hashed=True)
        self.name = str(self.description.name)
        self.axes: dict[str, NDArray[Any]] = {
            key: np.array(values, dtype=object if isinstance(values[0], str) else None)
            for key, values in self.description.axes.items()
        }
        self.shape = self.description.shape

    def _find_variables(self) -> None:
        names = list(self.description.observables)
        kept = layout.PARTS if self.description.every_replica else layout.PARTS[:2]
        frames = self._variable(layout.TIME, "f", 1).shape[-1]
        self._parts: dict[str, dict[str, h5py.Dataset]] = {
            part: {name: self._variable(layout.variable(name, part), "f", 1 + (part == "values"), 1) for name in names}
            for part in kept
        }
        for part, stored in self._parts.items():
            for name, values in stored.items():
                with guard(self.path, layout.variable(name, part)):
                    if values.shape[len(self.shape)] != frames:
                        raise ValueError(
                            f"it has {values.shape[len(self.shape)]} frames, where the times have {frames}"
                        )
        for name in (*layout.STATISTICS, layout.DONE):
            self._variable(name, "u" if name == layout.DONE else "f", 0)
        self.frames = frames

    def _variable(self, name: str, kinds: str, axes: int, more: int = 0) -> h5py.Dataset:
        """A dataset over the grid, with so many axes after those of the grid, or up to `more` beyond them."""
        with guard(self.path, name):
            least = len(self.shape) + axes
            found = opening.dataset(self._file, name, kinds, tuple(range(least, least + more + 1)))
            opening.check_stored(found)
            if found.shape[: len(self.shape)] != self.shape:
                raise ValueError(f"it has the shape {found.shape}, where the grid is {self.shape}")
            return found

    @property
    def times(self) -> Array:
        return self._read(layout.TIME)

    @property
    def done(self) -> NDArray[np.bool_]:
        return self._read(layout.DONE) != 0

    @property
    def finished(self) -> bool:
        return bool(self.done.all())

    @property
    def status(self) -> NDArray[np.object_]:
        self._check_open()
        with guard(self.path, layout.STATUS):
            # one link away from the root, so a look at it is enough
            found = self._file[layout.STATUS]
            plain = isinstance(found, h5py.Dataset) and not found.is_virtual and not found.external
            hard = isinstance(self._file.get(layout.STATUS, getlink=True), h5py.HardLink)
            if not (plain and hard and found.dtype.kind == "S" and found.dtype.itemsize <= 4096):
                raise ValueError("it is not an array of short texts")
            opening.check_stored(found)
            if found.shape != self.shape:
                raise ValueError(f"it has the shape {found.shape}, where the grid is {self.shape}")
            texts = [bytes(text).rstrip(b"\0").decode() for text in np.asarray(found[...], "S").ravel()]
        done = self.done.ravel()
        return np.array([text if d else "" for text, d in zip(texts, done, strict=True)], object).reshape(self.shape)

    @property
    def observables(self) -> Mapping[str, Array]:
        return self._part("mean")

    @property
    def deviations(self) -> Mapping[str, Array]:
        return self._part("deviation")

    @property
    def values(self) -> Mapping[str, Array]:
        return self._part("values")

    @property
    def statistics(self) -> dict[str, Array]:
        return {name: self._read(name) for name in layout.STATISTICS}

    def to_xarray(self) -> xarray.Dataset:
        """The variables of the file with named axes, in memory: those of the grid, frame, replica and entries.

        The depths are the coordinate `time`: over frames where all points share them, else over the grid as well.
        Raises MissingExtra without xarray.
        """
        try:
            import xarray
        except ImportError:
            raise MissingExtra("to_xarray needs xarray: pip install 'attndyn[xarray]'") from None
        grid = tuple(self.axes)
        variables: dict[str, Any] = {}
        for part, stored in self._parts.items():
            for name in stored:
                inner = (layout.FRAME, *((layout.REPLICA,) if part == "values" else ()), f"{name}_entry")
                values = self._part(part)[name]
                variables[layout.variable(name, part)] = ((*grid, *inner)[: values.ndim], values)
        variables |= {name: (grid, values) for name, values in self.statistics.items()}
        variables |= {layout.STATUS: (grid, self.status), layout.DONE: (grid, self.done)}
        shared = common_times(self.times)
        time = ((*grid, layout.FRAME), self.times) if shared is None else (layout.FRAME, shared)
        attributes = {"scenario": self.scenario_text, "name": self.name}
        return xarray.Dataset(variables, {**self.axes, layout.TIME: time}, attributes)

    def close(self) -> None:
        """Close the file; what was read before stays."""
        self._file.close()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def _repr_html_(self) -> str:
        from .notebook import sweep_html

        return sweep_html(self)

    def __repr__(self) -> str:
        grid = " x ".join(f"{len(values)} {key}" for key, values in self.axes.items())
        return f"<Sweep {str(self.path)!r}: {grid}, {len(self)} points>"

    def _part(self, part: str) -> Mapping[str, Array]:
        return _Part({name: stored.name for name, stored in self._parts.get(part, {}).items()}, self._read)

    def _read(self, name: str) -> NDArray[Any]:
        """The values of a variable; those of points not done, which may be torn, are NaN."""
        self._check_open()
        with guard(self.path, name):
            values = self._file[name][...]
            if values.dtype.kind == "f":
                values[self._file[layout.DONE][...] == 0] = np.nan
            return values

    def _check_open(self) -> None:
        if not self._file:
            raise TrajectoryError(f"{self.path} is closed; nothing more can be read from it")


class _Part(Mapping[str, Array]):
    """Observable -> its values, read when looked up."""

    def __init__(self, variables: Mapping[str, str], read: Callable[[str], Array]) -> None:
        self._variables, self._read = variables, read

    def __getitem__(self, name: str) -> Array:
        if name not in self._variables:
            raise NoSuchName(f"no observable {name!r}; the file has {', '.join(self._variables) or 'none'}")
        return self._read(self._variables[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def common_times(times: Array) -> Array | None:
    """The depths (frames,) that all points have, as far as they have any; None where two points differ."""
    rows = times.reshape(-1, times.shape[-1])
    known = np.isfinite(rows)
    shared = np.array([row[there][0] if there.any() else np.nan for row, there in zip(rows.T, known.T, strict=True)])
    return shared if (rows == shared)[known].all() else None


def _open(path: Path) -> h5py.File:
    """The HDF5 file at `path` for reading, also while a sweep writes it: then only values change in it."""
    if not path.is_file():
        raise InvalidInput(f"{path} is a folder, not a sweep file" if path.is_dir() else f"there is no file {path}")
    with guard(path, "the file"):
        with path.open("rb") as stream:
            if stream.read(len(SIGNATURE)) != SIGNATURE:
                raise TrajectoryError(f"{path} is not an HDF5 file, so no sweep")
        try:
            return h5py.File(path, "r", locking=False)  # a lock would keep a sweep from going on
        except OSError:  # in one process HDF5 wants a file opened always so or always so
            return h5py.File(path, "r")
