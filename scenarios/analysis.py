"""What is computed from a trajectory file after the run: observables and analyses by name, kept in the file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data import layout
from ..data.analysis.keeping import keep as keep_in_file
from ..data.analysis.kept import Request, Result
from ..data.analysis.observing import observe
from ..data.analysis.registry import ANALYSES
from ..data.analysis.series import Series
from ..data.analysis.subject import Subject
from ..data.analysis.table import Table
from ..errors import AttndynError, InvalidInput
from ..particles.block import Law
from ..particles.observables import REGISTRY, check_names, default_cluster_distance
from ..particles.space import Sphere
from .trajectory import Trajectory

if TYPE_CHECKING:
    import pandas
    import xarray

# what is computed unless something is named: what a person looks at first, at most a pass over the pairs of tokens.
# The diameter is not among them: it takes as long as the others together.
DEFAULTS = ("energy", "clusters", "mean_inner_product", "aligned_pairs", "order", "attention_entropy", "effective_rank")
OFF_THE_SPHERE = ("mean_cosine", "radius")  # on it they say nothing new
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Findings:
    """What `analyze` found.

    path, status : of the trajectory
    times, steps : (frames,) of the frames that were looked at
    replicas     : the numbers of the replicas of the observables
    observables  : name -> (frames, replicas); one of k numbers that the run saved (frames, replicas, k)
    tables       : name -> Table
    remarks      : sentences: what was left out and why, whether the results were kept
    """

    path: Path
    status: str
    times: NDArray[np.float64]
    steps: NDArray[np.int64]
    replicas: Sequence[int]
    observables: Mapping[str, NDArray[Any]]
    tables: Mapping[str, Table]
    remarks: tuple[str, ...]

    @property
    def series(self) -> Series:
        """The observables over depth."""
        return Series(self.times, self.steps, self.replicas, self.observables)

    def to_dataframe(self) -> pandas.DataFrame:
        """The observables, a row a frame and replica, for pandas. Raises MissingExtra without it."""
        return self.series.to_dataframe()

    def to_xarray(self) -> xarray.Dataset:
        """The observables (time, replica). Raises MissingExtra without xarray."""
        return self.series.to_xarray()


def analyze(
    trajectory: Trajectory | str | Path,
    names: Sequence[str] | str | None = None,
    *,
    replica: int | str | None = None,
    frames: slice = slice(None),
    depths: Sequence[float] | None = None,
    cluster_distance: float | None = None,
    threads: int | None = None,
    keep: bool = True,
    progress: Progress | None = None,
) -> Findings:
    """Compute observables and analyses of a trajectory, or look up what its file keeps of them.

    trajectory       : an open Trajectory, or the path of its file
    names            : of observables (`particles.observables.REGISTRY`, or saved by the run) and of analyses
                       (`data.analysis.registry.ANALYSES`); by default DEFAULTS, as far as they are defined
    replica          : a number or "all"; by default observables are of all and analyses of replica 0
    frames           : of the observables, a slice with a positive step
    depths           : at which an analysis looks closely; by default some along the way
    cluster_distance : within which two tokens belong together; by default that of the scenario, or of the space
    threads          : by default one per core
    keep             : whether results are kept in the file; a remark says so where that is not possible
    progress         : called with (frames done, frames)

    What the run saved, or the file keeps, is not computed again. Raises InvalidInput for unknown names and for what
    is not defined here, with one sentence; TrajectoryError for a file that cannot be read.
    """
    if isinstance(trajectory, Trajectory):
        return _Analyzing(trajectory, replica, frames, depths, cluster_distance, threads, keep, progress).of(names)
    with Trajectory(trajectory) as opened:
        return _Analyzing(opened, replica, frames, depths, cluster_distance, threads, keep, progress).of(names)


class _Analyzing:
    """One call of `analyze`."""

    def __init__(
        self,
        trajectory: Trajectory,
        replica: int | str | None,
        frames: slice,
        depths: Sequence[float] | None,
        cluster_distance: float | None,
        threads: int | None,
        keep: bool,
        progress: Progress | None,
    ) -> None:
        if cluster_distance is not None and not 0.0 <= cluster_distance < np.inf:
            raise InvalidInput(f"cluster_distance must be a number of at least 0; got {cluster_distance!r}")
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads must be at least 1; got {threads!r}")
        self.trajectory, self.threads, self.keep, self.progress = trajectory, threads, keep, progress
        self.given_replica, self.replica = replica, _replica(replica, trajectory.replicas)
        self.frames = _frames(frames, len(trajectory))
        self.depths = None if depths is None else [float(depth) for depth in depths]
        self.given_distance = None if cluster_distance is None else float(cluster_distance)
        self.remarks = [*trajectory.kept.remarks]
        if trajectory.status.startswith("cut off"):
            self.remarks.append(f"the file is {trajectory.status}")
        self.law_at, self.not_understood = self._law()
        self.distance = self.given_distance
        if self.distance is None:
            own = trajectory.plan.cluster_distance if self.law_at else default_cluster_distance(trajectory.space)
            self.distance = float(own)
        self.new: list[Result] = []

    def of(self, names: Sequence[str] | str | None) -> Findings:
        """The findings, some of them new, which are kept."""
        wanted = [names] if isinstance(names, str) else self._defaults() if names is None else [*dict.fromkeys(names)]
        self._check(wanted)
        try:
            observables = self._observables([name for name in wanted if name not in ANALYSES])
            tables = {name: self._table(name) for name in wanted if name in ANALYSES}
        finally:
            self._keep()
        trajectory, rows = self.trajectory, slice(self.frames.start, self.frames.stop, self.frames.step)
        replicas = range(trajectory.replicas) if self.replica is None else [self.replica]
        times, steps = trajectory.times[rows], trajectory.steps[rows]
        return Findings(
            trajectory.path, trajectory.status, times, steps, replicas, observables, tables, tuple(self.remarks)
        )

    def _law(self) -> tuple[Callable[[float], Law] | None, str]:
        """The law at a depth; None, and why, where the scenario is not understood."""
        try:
            self.trajectory.law_at(0.0)
        except (AttndynError, ArithmeticError, MemoryError, RecursionError) as error:
            return None, " ".join(str(error).split()) or type(error).__name__
        return self.trajectory.law_at, ""

    def _defaults(self) -> list[str]:
        """The observables that the run saved, and those of DEFAULTS that are defined."""
        own = self.trajectory.observables.items()
        saved = [name for name, values in own if values.ndim == 2 and name not in layout.STATE]
        more = [*DEFAULTS, *(() if isinstance(self.trajectory.space, Sphere) else OFF_THE_SPHERE)]
        if layout.STATE[0] in self.trajectory.observables:
            more.append("focus_entropy")
        for name in [name for name in more if name not in saved]:
            reason = self._obstacle(name)
            if reason is None:
                saved.append(name)
            else:
                self.remarks.append(f"left out: {reason}")
        return saved

    def _obstacle(self, name: str) -> str | None:
        """Why an observable is not defined here."""
        if REGISTRY[name].needs_law and self.law_at is None:
            return f"{name} needs the law, and the file's scenario is not understood: {self.not_understood}"
        try:
            check_names([name], None if self.law_at is None else self.law_at(0.0), self.trajectory.space)
        except InvalidInput as error:
            return str(error)
        return None

    def _check(self, names: Sequence[str]) -> None:
        """Raise InvalidInput for an unknown name, an observable that is not defined here, and frames of a table."""
        if not len(self.trajectory):
            raise InvalidInput(f"{self.trajectory.path} has no frames to analyse")
        known = [*REGISTRY, *ANALYSES]
        for name in names:
            if name in ANALYSES:
                if len(self.frames) != len(self.trajectory):
                    raise InvalidInput(f"frames are chosen for observables; {name} looks at the whole run")
            elif name not in self.trajectory.observables or name in layout.STATE:
                if name not in REGISTRY:
                    near = difflib.get_close_matches(str(name), known, n=1)
                    hint = f" (did you mean {near[0]}?)" if near else ""
                    raise InvalidInput(f"analyses must be among {', '.join(known)}; got {name!r}{hint}")
                reason = self._obstacle(name)
                if reason is not None:
                    raise InvalidInput(reason)

    def _observables(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Saved by the run, kept in the file, or computed."""
        found: dict[str, NDArray[Any]] = {}
        requests = {name: self._request(name) for name in names}
        for name, request in requests.items():
            saved = self._saved(name)
            known = self.trajectory.kept.find(request, (0, len(self.trajectory), 1)) if saved is None else saved
            if isinstance(known, np.ndarray):
                found[name] = known
        missing = [name for name in names if name not in found]
        if missing:
            computed = observe(
                self.trajectory,
                missing,
                self.frames,
                replica=self.replica,
                law_at=self.law_at,
                cluster_distance=self.distance,
                threads=self.threads,
                progress=self.progress,
                **self._sums(),
            )
            self.new += [Result(requests[name], values) for name, values in computed.items()]
            found |= computed
        return {name: found[name] for name in names}

    def _sums(self) -> dict[str, Any]:
        """How the sums over tokens were done in the run, and so are again."""
        if self.law_at is None:
            return {}
        depth = self.trajectory.scenario.depth
        return {"sums": depth.sums, "sum_tolerance": depth.sum_tolerance}

    def _request(self, name: str) -> Request:
        frames = (self.frames.start, self.frames.stop, self.frames.step)
        near = name in REGISTRY and "distance" in REGISTRY[name].takes
        return Request(name, frames, self.replica, {"cluster_distance": self.distance} if near else {})

    def _saved(self, name: str) -> NDArray[Any] | None:
        """What the run saved of an observable, unless another distance is asked for."""
        trajectory = self.trajectory
        if name not in trajectory.observables or name in layout.STATE:
            return None
        other = self.given_distance is not None and (
            self.law_at is None or self.given_distance != trajectory.plan.cluster_distance
        )
        if other and name in REGISTRY and "distance" in REGISTRY[name].takes:
            return None
        values = trajectory.observables.rows(name, slice(self.frames.start, self.frames.stop, self.frames.step))
        return values if self.replica is None else values[:, [self.replica]]

    def _table(self, name: str) -> Table:
        """The table of one replica; of all with a column that says which."""
        if self.given_replica != "all":
            if self.given_replica is None and self.trajectory.replicas > 1:
                self.remarks.append(f"{name} is of replica 0 of {self.trajectory.replicas}")
            return self._table_of(name, self.replica or 0)
        tables = [self._table_of(name, replica) for replica in range(self.trajectory.replicas)]
        if len(tables) == 1:
            return tables[0]
        columns = {"replica": np.repeat(np.arange(len(tables)), [len(table) for table in tables])}
        columns |= {column: np.concatenate([table.columns[column] for table in tables]) for column in tables[0].columns}
        return Table(name, columns, tuple(dict.fromkeys(remark for table in tables for remark in table.remarks)))

    def _table_of(self, name: str, replica: int) -> Table:
        parameters = {"depths": self.depths, "cluster_distance": self.distance}
        request = Request(name, (0, len(self.trajectory), 1), replica, parameters)
        known = self.trajectory.kept.find(request, request.frames)
        if isinstance(known, Table):
            return known
        subject = Subject(self.trajectory, self.law_at, replica, self.depths, self.distance, self.threads)
        table = ANALYSES[name].function(subject)
        self.new.append(Result(request, table))
        return table

    def _keep(self) -> None:
        """Put what is new into the file, or say why not; the open trajectory knows it in any case."""
        if not self.new:
            return
        if self.keep:
            reason = keep_in_file(self.trajectory, self.new)
            if reason is not None:
                self.remarks.append(f"not kept in {self.trajectory.path}: {reason}")
        self.trajectory.kept = self.trajectory.kept.with_new(tuple(self.new))


def _replica(replica: int | str | None, replicas: int) -> int | None:
    """The number of a replica, None for all of them."""
    if replica is None or replica == "all":
        return None
    if isinstance(replica, bool) or not isinstance(replica, int | np.integer) or not 0 <= replica < replicas:
        raise InvalidInput(f'replica must be "all" or a number from 0 to {replicas - 1}; got {replica!r}')
    return int(replica)


def _frames(frames: slice, count: int) -> range:
    """The numbers of the frames of a slice, in one form whatever the way it is written."""
    if not isinstance(frames, slice):
        raise InvalidInput(f"frames must be a slice, as slice(0, 100, 10); got {frames!r}")
    try:
        chosen = range(count)[frames]
    except (TypeError, ValueError):
        raise InvalidInput(f"frames must be whole numbers, with a step that is not 0; got {frames!r}") from None
    if chosen.step < 0:
        raise InvalidInput(f"frames must go forwards; got the step {chosen.step}")
    if not chosen:
        raise InvalidInput(f"frames must be some of 0 to {count - 1}; got {frames!r}, which are none")
    return range(chosen[0], chosen[-1] + 1, chosen.step if len(chosen) > 1 else 1)
