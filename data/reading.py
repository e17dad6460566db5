"""Read a trajectory file; positions and observables come from the disk when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtra, TrajectoryError
from ..particles import Euclidean, Space, Sphere
from . import cut_off, layout, opening
from .checkpoints import Slot, latest
from .frames import Observables, Positions, Rows
from .kept_arrays import KeptArrays
from .target import identity

if TYPE_CHECKING:
    import pandas
    import xarray

    from .analysis.kept import Kept

OTHERS = {b"attndyn-sweep-1": "a sweep", b"attndyn-limit-1": "a limit study"}
SPACES = {"euclidean": Euclidean, "sphere": Sphere}


def open_trajectory(path: str | Path) -> Trajectory:
    """Open a trajectory file, finished or left by a killed run.

    Raises InvalidInput when there is no file, TrajectoryError when it is no trajectory or is damaged.
    """
    return Trajectory(path)


class Trajectory:
    """A trajectory file that is open for reading.

    path          : where it stands
    space         : where its tokens live
    times, steps  : (frames,) float64 and int64
    positions     : (frames, replicas, tokens, dimension), read when indexed
    observables   : name -> (frames, replicas) or (frames, replicas, k) float64, read when looked up
    weights       : (tokens,) or (replicas, tokens)
    token_strings : list of strings, or None
    merges        : depths (merges,) at which tokens became one, and the number of the first token of the group of
                    each from then on, (merges, tokens); those that are left, where the file is cut off
    arrays        : what the scenario read from other files, (file, array) -> values, read when looked up
    scenario_text : the text of the scenario that was run
    status        : "finished", "stopped: ...", "interrupted", "failed: ...", or "running" for a run that
                    still goes or was killed; "cut off: A of B frames" where the end of the file is missing
    finished      : whether the run has ended
    statistics, provenance : dicts

    Raises InvalidInput when there is no file, TrajectoryError when it is no trajectory or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = opening.open_file(self.path)
        self.identity = identity(self.path)
        try:
            self._read_constants()
            self._read_frames()
        except BaseException:
            self._file.close()
            raise

    def _read_constants(self) -> None:
        """Everything but the frames."""
        file, path = self._file, self.path
        if (other := OTHERS.get(_conventions(file))) is not None:
            raise TrajectoryError(f"{path} is {other}, and no trajectory; attndyn info and attndyn plot know it")
        with opening.guard(path, "h5md"):
            major, minor = opening.attribute(opening.group(file, "h5md"), "version")
            if major != layout.H5MD_VERSION[0]:
                raise ValueError(f"it has the H5MD version {major}.{minor}; 1.x is understood")
        with opening.guard(path, layout.SPACE):
            space = opening.read_json(file, layout.SPACE, dict, hashed=True)
            self.space: Space = SPACES[space.pop("kind")](**space)
        with opening.guard(path, layout.SCENARIO):
            self.scenario_text: str = opening.read_text(file, layout.SCENARIO, hashed=True)
        with opening.guard(path, layout.PROVENANCE):
            self.provenance: dict[str, Any] = opening.read_json(file, layout.PROVENANCE, dict, hashed=False)
        with opening.guard(path, layout.OUTCOME):
            outcome = opening.read_json(file, layout.OUTCOME, dict, hashed=False)
            self.status, self.statistics = str(outcome["status"]), dict(outcome["statistics"])
        with opening.guard(path, layout.FINISHED):
            self.finished = bool(opening.read_array(file, layout.FINISHED, "i", (1,))[0])
        with opening.guard(path, layout.WEIGHTS):
            self.weights: NDArray[np.float64] = opening.read_array(file, layout.WEIGHTS, "f", (1, 2))
        self.token_strings: list[str] | None = None
        with opening.guard(path, layout.TOKEN_STRINGS):
            if opening.has(file, layout.TOKEN_STRINGS):
                strings = opening.read_json(file, layout.TOKEN_STRINGS, list, hashed=True)
                self.token_strings = [str(string) for string in strings]
        with opening.guard(path, layout.ARRAY_NAMES):
            self.arrays = KeptArrays(path, file)

    def _read_frames(self) -> None:
        """Find the datasets that grow, and the number of frames that all of them hold."""
        file, path = self._file, self.path
        # before the lengths, which a run that goes on may then have increased, but not the other way round
        with opening.guard(path, layout.CHECKPOINT):
            self.checkpoint: Slot | None = None if cut_off.is_cut_off(file) else latest(file)
        with opening.guard(path, layout.OBSERVABLES):
            observables = {name: layout.observable(name) for name in opening.group(file, layout.OBSERVABLES)}
            if wrong := [name for name in observables if not name.isidentifier()]:
                raise ValueError(f"{wrong[0]!r} is no name of an observable")
        expected: dict[str, tuple[str, tuple[int, ...]]] = {
            layout.POSITION: ("f", (3,)),
            layout.STEP: ("i", (1,)),
            layout.TIME: ("f", (1,)),
            **dict.fromkeys(observables.values(), ("f", (2, 3))),
        }
        values: dict[str, h5py.Dataset] = {}
        for name, (kinds, ranks) in expected.items():
            with opening.guard(path, name):
                values[name] = opening.dataset(file, name, kinds, ranks)
        with opening.guard(path, layout.FRAMES_COMMITTED):
            (committed,) = opening.read_array(file, layout.FRAMES_COMMITTED, "i", (1,))
            frames = min(int(committed), *(len(value) for value in values.values()))
            if frames < 0:
                raise ValueError(f"it is {frames}")
        frames = self._without_what_was_cut_off([*values.values()], frames)
        for name, value in values.items():
            with opening.guard(path, name):
                opening.check_stored(value, frames)
        rows: dict[str, h5py.Dataset | Rows] = {**values, **_with_tail(self.checkpoint, values, frames)}
        frames = min(frames + _behind(self.checkpoint, frames), *(len(value) for value in rows.values()))

        with opening.guard(path, layout.POSITION):
            position = rows[layout.POSITION]
            replicas, tokens = self._replicas_and_tokens(*position.shape[1:])
            self.positions = Positions(path, position, (frames, replicas, tokens, self.space.dimension))
        with opening.guard(path, layout.TIME):
            self.times: NDArray[np.float64] = rows[layout.TIME][:frames]
            if not np.isfinite(self.times).all() or (np.diff(self.times) < 0).any():
                raise ValueError("times must be finite and not decrease")
        with opening.guard(path, layout.STEP):
            self.steps: NDArray[np.int64] = rows[layout.STEP][:frames]
        with opening.guard(path, layout.MERGES):
            self.merges = self._read_merges(tokens)
        for name in observables.values():
            with opening.guard(path, name):
                if values[name].shape[1] != replicas:
                    raise ValueError(f"{values[name].shape[1]} replicas, where the positions have {replicas}")
        stored = {name: rows[place] for name, place in observables.items()}
        self.observables = Observables(path, stored, frames)

    def _without_what_was_cut_off(self, values: list[h5py.Dataset], frames: int) -> int:
        """The frames that are there of a file whose end is missing; its status then says so."""
        if not cut_off.is_cut_off(self._file):
            return frames
        left = cut_off.frames_left(values, self._file, frames)
        self.status = f"cut off: {left} of {frames} frames"
        return left

    @property
    def merging(self) -> bool:
        """Whether tokens may have become one on the way."""
        return layout.SERIES in self._file and opening.has(self._file, layout.MERGES)

    def _read_merges(self, tokens: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        if not self.merging:
            return np.empty(0), np.empty((0, tokens), np.int32)
        value = opening.dataset(self._file, f"{layout.MERGES}/value", "i", (2,))
        time = opening.dataset(self._file, f"{layout.MERGES}/time", "f", (1,))
        count = min(len(value), len(time))  # a run that was killed may have written one of the two
        if cut_off.is_cut_off(self._file):
            count = cut_off.frames_left([value, time], self._file, count)
        for stored in (value, time):
            opening.check_stored(stored, count)
        merged_into = value[:count]
        if value.shape[1] != tokens or (merged_into < 0).any() or (merged_into > np.arange(tokens)).any():
            raise ValueError(f"it must name, for each of {tokens} tokens, itself or one before it")
        return time[:count], merged_into

    def merged_into(self, frame: int) -> NDArray[np.int32]:
        """The number of the first token of each token's group in a frame, (tokens,): itself where it met nobody."""
        times, merged_into = self.merges
        last = int(np.searchsorted(times, self.times[frame], side="right")) - 1
        return np.arange(self.tokens, dtype=np.int32) if last < 0 else merged_into[last]

    def _replicas_and_tokens(self, particles: int, dimension: int) -> tuple[int, int]:
        """How the particle axis divides; ValueError unless everything in the file agrees with it."""
        box = int(opening.attribute(opening.group(self._file, layout.BOX), "dimension"))
        if not box == dimension == self.space.dimension:
            raise ValueError(f"{dimension} components, a box of {box} and a space of {self.space.dimension}")
        replica = opening.read_array(self._file, layout.REPLICA_INDEX, "iu", (1,))
        token = opening.read_array(self._file, layout.TOKEN_INDEX, "iu", (1,))
        if not len(replica) == len(token) == particles > 0:
            raise ValueError(f"{particles} particles, but {len(replica)} and {len(token)} of their indices")
        replicas = int(replica[-1]) + 1
        tokens = particles // replicas if replicas > 0 else 0
        regular = np.arange(particles)
        if tokens == 0 or (replica != regular // tokens).any() or (token != regular % tokens).any():
            raise ValueError("its particles are not replicas of equally many tokens, one after the other")
        if self.weights.shape not in ((tokens,), (replicas, tokens)):
            raise ValueError(f"{replicas} x {tokens} tokens, but weights of the shape {self.weights.shape}")
        if self.token_strings is not None and len(self.token_strings) != tokens:
            raise ValueError(f"{tokens} tokens, but {len(self.token_strings)} token strings")
        return replicas, tokens

    @property
    def replicas(self) -> int:
        return self.positions.shape[1]

    @property
    def tokens(self) -> int:
        return self.positions.shape[2]

    @property
    def dimension(self) -> int:
        return self.positions.shape[3]

    def to_xarray(self, frames: slice = slice(None)) -> xarray.Dataset:
        """Positions (time, replica, token, component), observables (time, replica[, <name>_entry]), weights.

        Besides the observables of the run there are those that were computed later for every frame, see `analyzed`.
        All is read into memory; `frames` takes a part of a large file. Raises MissingExtra without xarray.
        """
        try:
            import xarray
        except ImportError:
            raise MissingExtra("to_xarray needs xarray: pip install 'attndyn[xarray]'") from None
        weights = ("token",) if self.weights.ndim == 1 else ("replica", "token")
        variables: dict[str, Any] = {
            "positions": (("time", "replica", "token", "component"), self.positions[frames]),
            "weights": (weights, self.weights),
        }
        for name, values in self.observables.items():
            variables[name] = (("time", "replica", f"{name}_entry")[: values.ndim], values[frames])
        for name, result in self.kept.observables(len(self)).items():
            if name not in variables:
                variables[name] = (
                    ("time", "replica"),
                    np.asarray(result.value)[frames],
                    dict(result.request.parameters),
                )
        coordinates: dict[str, Any] = {
            "time": self.times[frames],
            "step": ("time", self.steps[frames]),
        }
        if self.token_strings is not None:
            coordinates["token_string"] = ("token", self.token_strings)
        attributes = {"status": self.status, "scenario": self.scenario_text, "space": repr(self.space)}
        return xarray.Dataset(variables, coordinates, attributes)

    def to_dataframe(self) -> pandas.DataFrame:
        """A row a frame and replica: step, depth, replica, and the observables, those computed later among them.

        An observable of k numbers is k columns, NAME_0, ..., but for token weights, which are left out. Raises
        MissingExtra without pandas.
        """
        from .analysis.series import Series

        own = {name: self.observables[name] for name in self.observables if name != layout.STATE[0]}
        return Series(self.times, self.steps, range(self.replicas), {**self.analyzed, **own}).to_dataframe()

    @cached_property
    def kept(self) -> Kept:
        """What was computed from the file after the run and is kept in it."""
        from .analysis.kept import read_kept

        return read_kept(self._file, self.path, (len(self), self.replicas))

    @property
    def analyzed(self) -> dict[str, NDArray[Any]]:
        """Observables that were computed after the run for every frame, name -> (frames, replicas)."""
        return {name: np.asarray(result.value) for name, result in self.kept.observables(len(self)).items()}

    def close(self) -> None:
        """Close the file; what was read before stays."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.times)

    def _repr_html_(self) -> str:
        from .notebook import trajectory_html

        return trajectory_html(self)

    def __repr__(self) -> str:
        frames, replicas, tokens, dimension = self.positions.shape
        return (
            f"<Trajectory {str(self.path)!r}: {frames} frames, {replicas} x {tokens} tokens, "
            f"{self.space.name} of dimension {dimension}, {self.status}>"
        )


def _conventions(file: h5py.File) -> bytes:
    """What the file says that it is; nothing where it says nothing."""
    try:
        return opening.conventions(file)
    except (OSError, KeyError, ValueError, RuntimeError):
        return b""


def _behind(slot: Slot | None, frames: int) -> int:
    """How many frames a checkpoint holds behind those that are in the datasets."""
    return 0 if slot is None or slot.frames > frames else max(0, slot.frames + slot.rows - frames)


def _with_tail(slot: Slot | None, stored: Mapping[str, h5py.Dataset], frames: int) -> dict[str, Rows]:
    """The datasets with the frames of a checkpoint behind their own; none where it has none, or they do not fit."""
    if slot is None or _behind(slot, frames) == 0 or slot.tail.keys() != stored.keys():
        return {}
    found = {}
    for name, values in stored.items():
        rows = slot.tail[name]
        if rows.shape[1:] != values.shape[1:] or rows.dtype.kind != values.dtype.kind:
            return {}
        found[name] = Rows(values, frames, rows[frames - slot.frames :].astype(values.dtype, copy=False))
    return found
