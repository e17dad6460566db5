"""Sweeps: one scenario at all points of a grid, in one file, which goes on where it was left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..data.sweep_layout import STATISTICS, Description, check_names
from ..data.sweep_writing import SweepWriter, create_sweep
from ..data.sweeps import Sweep, is_sweep, open_sweep
from ..data.target import check_target
from ..errors import InvalidInput, ScenarioError
from ..logs import ENDING, logger_of
from .grid import Grid
from .points import Outcome, Study, check, compute
from .run import provenance
from .schema import Scenario, load
from .temporary import opened_while_used
from .workers import Outcomes, cores, in_processes, in_this_process, on_cluster

__all__ = ["Sweep", "open_sweep", "sweep"]

LOG = logger_of(__name__)
Progress = Callable[[int, int], None]


def sweep(
    scenario: Scenario | str | Path,
    grids: Grid | Mapping[str, Sequence[Any]],
    *,
    out: str | Path | None = None,
    replicas: int | None = None,
    every_replica: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    backend: str = "numba",
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Run a scenario at every combination of values of some keys, write one file while it goes, and open it.

        attndyn.sweep("circle-metastable", {"attention.beta": np.linspace(0.1, 9, 90)}, replicas=2048, out="phase.h5")

    scenario  : a Scenario, a bundled name or the path of a scenario file
    grids     : dotted key -> its values, numbers or texts
    out       : the file to write; None: a temporary file, removed when the sweep is no longer in use
    replicas  : the key tokens.replicas
    every_replica : keep the values of all replicas, beside their mean and deviation
    overwrite : whether another file may be replaced
    workers   : processes on this machine, by default one per core (for torch one); 1 is this process. Processes import
                the script that calls this, which must do so under `if __name__ == "__main__":`
    scheduler : the address of a Dask scheduler, whose workers compute instead
    backend, device : as for `run`; threads: of each worker, by default all cores are shared, and 1 with a scheduler
    progress  : called with (points done, points) at the start and after every point

    A file of the same sweep is continued: points that are done stand. A point that fails is recorded with its status,
    and the others are run. After Ctrl-C what was complete is in the file, and KeyboardInterrupt is raised.

    Raises ScenarioError, naming key and point, for a mistake in any point, and InvalidInput for other mistakes, before
    anything runs; TrajectoryError where the file cannot be written or a worker process dies.
    """
    scenario = scenario if isinstance(scenario, Scenario) else load(scenario)
    if replicas is not None:
        scenario = scenario.override({"tokens.replicas": replicas})
    grid = grids if isinstance(grids, Grid) else Grid(grids)
    if workers is not None and workers < 1:
        raise InvalidInput(f"workers must be at least 1; got {workers}")
    # torch has threads of its own, and a GPU is one
    crew = _Crew(scheduler, min(workers or (1 if backend == "torch" else cores()), grid.size))
    study = Study(
        scenario.text, scenario.name, scenario.folder, backend, device, threads or crew.threads, every_replica
    )
    job = _Job(scenario, grid, crew, study)
    if out is not None:
        job.carry_out(Path(out), overwrite, progress)
        return Sweep(out)
    return opened_while_used(f"{scenario.name}-sweep.h5", lambda path: job.carry_out(path, overwrite, progress), Sweep)


@dataclass(frozen=True)
class _Crew:
    """Who computes: the workers of a scheduler, or so many here."""

    scheduler: str | None
    workers: int

    @property
    def threads(self) -> int:
        """Those of each worker, where nothing else is said."""
        return 1 if self.scheduler else max(1, cores() // self.workers)

    def outcomes(self, study: Study, points: list[tuple[int, dict[str, Any]]]) -> Outcomes:
        """The outcome of every point, in the order in which they are ready."""
        if self.scheduler:
            return on_cluster(compute, study, points, self.scheduler)
        if self.workers == 1:
            return in_this_process(compute, study, points)
        return in_processes(compute, study, points, self.workers)


class _Job:
    """A sweep and its file."""

    def __init__(self, scenario: Scenario, grid: Grid, crew: _Crew, study: Study) -> None:
        self._scenario, self._grid, self._crew, self._study = scenario, grid, crew, study
        axes = {key: list(values) for key, values in grid.axes.items()}
        names = list(scenario.save.observables)
        engine = {"backend": study.backend, "device": study.device}
        self._description = Description(scenario.name, axes, names, study.every_replica, engine, version("attndyn"))
        check_names(list(axes), names)
        study.engine(scenario)  # finds what is wrong with it
        self._writer: SweepWriter | None = None
        self._early: list[tuple[int, Outcome]] = []  # failed before it was known what the observables look like

    def carry_out(self, path: Path, overwrite: bool, progress: Progress | None = None) -> None:
        """Compute the points that are not done in the file at `path`, which is made where there is none."""
        check_target(path, overwrite or path.is_file())
        done = np.zeros(self._grid.shape, bool) if overwrite else self._done(path)
        remaining = [number for number in range(self._grid.size) if not done[self._grid.place(number)]]
        if not remaining:
            return
        frames, replicas = self._check(remaining)
        points = [(number, self._grid.changes(number)) for number in remaining]
        counted = self._grid.size - len(remaining)
        with ExitStack() as stack:
            if path.exists() and not overwrite:
                self._writer = stack.enter_context(SweepWriter(path))
            if progress is not None:
                progress(counted, self._grid.size)
            for number, outcome in stack.enter_context(closing(self._crew.outcomes(self._study, points))):
                if self._writer is None and (outcome.means or not self._description.observables):
                    self._writer = stack.enter_context(self._create(path, outcome, frames, replicas, overwrite))
                self._keep(number, outcome)
                if outcome.status.startswith("failed"):
                    LOG.warning("point %d %s", number, outcome.status, extra=ENDING)
                counted += 1
                if progress is not None:
                    progress(counted, self._grid.size)
            if self._early:  # all of them failed
                self._writer = stack.enter_context(self._create(path, self._early[0][1], frames, replicas, overwrite))
                self._keep(*self._early.pop())

    def _done(self, path: Path) -> np.ndarray:
        """The points that are done in the file. Raises InvalidInput where it is not of this sweep."""
        if not path.exists():
            return np.zeros(self._grid.shape, bool)
        if not is_sweep(path):
            raise InvalidInput(f"{path} exists already and is no sweep; give another name, or --overwrite")
        with open_sweep(path) as there:
            different = self._description.differences(there.description)
            if there.scenario_text != self._scenario.text:
                different.insert(0, "the scenario")
            if different:
                raise InvalidInput(
                    f"{path} holds another sweep, different in {', '.join(different)}; "
                    "give another name, or --overwrite to replace it"
                )
            return there.done

    def _check(self, numbers: Sequence[int]) -> tuple[int, int]:
        """Build every point; the largest number of frames and of replicas. Raises ScenarioError for a mistake."""
        frames, replicas = 1, 1
        for number in numbers:
            try:
                scenario = self._study.scenario(self._grid.changes(number))
                plan = check(scenario)
            except ScenarioError as error:
                raise ScenarioError(f"{error} (at the point {self._grid.describe(number)})") from None
            # a run that ends before its time saves one frame more, beyond the last that is due
            ends_late = float(plan.save_times[-1]) < scenario.depth.end
            frames = max(frames, len(plan.save_times) + ends_late)
            replicas = max(replicas, plan.ensemble.replicas, scenario.tokens.replicas)
        return frames, replicas

    def _create(self, path: Path, outcome: Outcome, frames: int, replicas: int, overwrite: bool) -> SweepWriter:
        """The file, with the observables as this outcome has them."""
        create_sweep(
            path,
            self._description,
            scenario=self._scenario.text,
            provenance=provenance(self._scenario, self._study.engine(self._scenario)),
            shapes={
                name: outcome.means[name].shape[1:] if name in outcome.means else ()
                for name in self._description.observables
            },
            frames=frames,
            replicas=replicas,
            overwrite=overwrite,
        )
        return SweepWriter(path)

    def _keep(self, number: int, outcome: Outcome) -> None:
        """Write a point, and those that waited for the file."""
        self._early.append((number, outcome))
        if self._writer is None:
            return
        for waiting, known in self._early:
            self._writer.put(
                self._grid.place(waiting),
                status=known.status,
                times=known.times,
                parts={"mean": known.means, "deviation": known.deviations, "values": known.values},
                statistics={name: known.statistics.get(name, np.nan) for name in STATISTICS},
            )
        self._early.clear()
