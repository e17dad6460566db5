"""The parts of a trajectory that stay on the disk until they are indexed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import NoSuchFrame, NoSuchName, TrajectoryError
from .opening import guard

FrameIndex = int | slice | list[int] | NDArray[np.integer] | NDArray[np.bool_]


class Rows:
    """The rows of a dataset on disk, and behind them those that an unfinished run has kept in its checkpoint."""

    def __init__(self, stored: h5py.Dataset, count: int, tail: NDArray[Any]) -> None:
        self._stored, self._count, self._tail = stored, count, tail
        self.name, self.dtype, self.chunks = stored.name, stored.dtype, stored.chunks
        self.shape = (count + len(tail), *stored.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self._stored)

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        first, *rest = selection if isinstance(selection, tuple) else (selection,)
        if isinstance(first, int | np.integer):
            here = first < self._count
            return self._stored[(first, *rest)] if here else self._tail[(first - self._count, *rest)]
        chosen = np.arange(len(self))[first]  # increasing, see `_selection`
        behind = chosen[chosen >= self._count] - self._count
        ahead = chosen[chosen < self._count]
        parts = [self._tail[(behind, *rest)]]
        if len(ahead):
            step = ahead[1] - ahead[0] if len(ahead) > 1 else 1
            even = len(ahead) < 2 or (np.diff(ahead) == step).all()
            read = slice(int(ahead[0]), int(ahead[-1]) + 1, int(step)) if even else ahead
            parts.insert(0, self._stored[(read, *rest)])
        return np.concatenate(parts)


class Positions:
    """Positions (frames, replicas, tokens, dimension) on disk; indexing reads them.

    The first index selects frames (a number, a slice, a list of numbers or of booleans) and only these are
    read; a number as second index reads that replica only. Further indices apply to what was read.
    """

    ndim = 4

    def __init__(self, path: Path, stored: h5py.Dataset | Rows, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape
        self.dtype = stored.dtype.newbyteorder("=")
        self._path = path
        self._stored = stored  # (frames, replicas * tokens, dimension), maybe with more frames than count

    def __getitem__(
        self, index: FrameIndex | EllipsisType | tuple[Any, ...]
    ) -> NDArray[np.float64] | NDArray[np.float32]:
        frames, *rest = _without_ellipsis(index if isinstance(index, tuple) else (index,))
        _, replicas, tokens, dimension = self.shape
        particles = slice(None)
        inner: tuple[int, ...] = (replicas, tokens, dimension)
        if rest and isinstance(rest[0], int | np.integer):
            first = range(replicas)[rest.pop(0)] * tokens
            particles, inner = slice(first, first + tokens), (tokens, dimension)
        selected, order = _selection(frames, len(self))
        read = _read(self._path, self._stored, (selected, particles))
        if isinstance(selected, int):
            return read.reshape(inner)[tuple(rest)]
        return read[order].reshape(-1, *inner)[(slice(None), *rest)]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.float64] | NDArray[np.float32]]:
        """Frame by frame, read in whole chunks."""
        block = self._stored.chunks[0] if self._stored.chunks else 1
        for start in range(0, len(self), block):
            yield from self[start : start + block]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"<Positions {self.shape} {self.dtype}, on disk>"


class Observables(Mapping[str, NDArray[np.float64]]):
    """Name -> values (frames, replicas) or (frames, replicas, k); read when looked up."""

    def __init__(self, path: Path, stored: Mapping[str, h5py.Dataset | Rows], frames: int) -> None:
        self._path = path
        self._stored = stored
        self._frames = frames

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._stored:
            raise NoSuchName(f"no observable {name!r}; the file has {', '.join(self._stored) or 'none'}")
        return _read(self._path, self._stored[name], slice(self._frames))

    def rows(self, name: str, frames: slice) -> NDArray[np.float64]:
        """The values of an observable in these frames only, which increase, (len(frames), replicas[, k])."""
        return _read(self._path, self._stored[name], slice(*frames.indices(self._frames)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __repr__(self) -> str:
        return f"<Observables {', '.join(self._stored)}>"


def _read(path: Path, stored: h5py.Dataset | Rows, selection: Any) -> np.ndarray:
    if not stored:
        raise TrajectoryError(f"{path} is closed; nothing more can be read from it")
    with guard(path, stored.name):
        values = stored[selection]
        return values.astype(values.dtype.newbyteorder("="), copy=False)


def _without_ellipsis(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replace ... by the full slices it stands for in four axes."""
    if not any(part is Ellipsis for part in index):
        return index or (slice(None),)
    place = next(k for k, part in enumerate(index) if part is Ellipsis)
    missing = Positions.ndim - len(index) + 1
    return index[:place] + (slice(None),) * missing + index[place + 1 :]


def _selection(frames: Any, count: int) -> tuple[Any, Any]:
    """What to read of `count` frames, as HDF5 can: forwards and each but once; and how to order it then.

    Raises IndexError for frames that are not there.
    """
    if isinstance(frames, slice):
        steps = range(count)[frames]
        if not steps:
            return slice(0, 0), slice(None)
        forwards, order = (steps, 1) if steps.step > 0 else (steps[::-1], -1)
        return slice(forwards[0], forwards[-1] + 1, forwards.step), slice(None, None, order)
    chosen = np.asarray(frames)
    if chosen.dtype == bool and chosen.shape == (count,):
        chosen = np.flatnonzero(chosen)
    if chosen.ndim > 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise NoSuchFrame(f"frames are chosen by a number, a slice or a list of numbers; got {frames!r}")
    if chosen.size and not -count <= chosen.min() <= chosen.max() < count:
        raise NoSuchFrame(f"there are {count} frames; got the index {frames!r}")
    if chosen.ndim == 0:
        return int(chosen) % count, slice(None)
    return np.unique(chosen.astype(np.int64) % max(count, 1), return_inverse=True)
