"""Carrying out a limit study: its runs, in this process and in others, and what follows from them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...data.limits import Bench, Limit, Result, is_limit, open_limit, write_limit
from ...data.target import check_target
from ...errors import InvalidInput, MissingExtra, ScenarioError, TrajectoryError
from ...particles.backends import Engine
from ..mistakes import one_line
from ..run import engine_of, provenance
from ..schema import Scenario, load
from ..sources import arrays_named
from ..temporary import opened_while_used
from ..workers import cores, in_processes, in_this_process
from .kinds import kind_of

Progress = Callable[[int, int], None]
ALONE = 2.0  # seconds after which other processes, which take as long to start, are worth while


def limit(
    scenario: Scenario | str | Path,
    kind: str | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    workers: int | None = 1,
    backend: str = "numba",
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Limit:
    """Carry out a limit study, write its file, and open it.

        attndyn.limit("circle-depth").summary()

    scenario  : a Scenario, a bundled name or the path of a scenario file
    kind      : of the study, where the scenario has no section [limit], or one of another kind
    out       : the file to write; None: a temporary file, removed when the study is no longer in use
    overwrite : whether a file may be replaced; runs that lie there are then thrown away
    workers   : processes on this machine, which import the script that calls this: it must do so under
                `if __name__ == "__main__":`. None: one per core, for a study that takes more than two seconds
    backend, device : as for `run`; threads: of each process, by default all cores are shared
    progress  : called with (runs done, runs) at the start and after every run

    The runs of a study that did not come to its end lie in the folder `<out>.runs`: the same call goes on with the
    rest, and gives the same file. Raises ScenarioError or InvalidInput, before anything runs, for a mistake;
    TrajectoryError where a run fails, the file cannot be written or a worker process dies.
    """
    scenario = scenario if isinstance(scenario, Scenario) else load(scenario)
    job = _Job(of_kind(scenario, kind), workers, backend, device, threads)
    if out is not None:
        job.carry_out(Path(out), overwrite, progress)
        return open_limit(out)
    return opened_while_used(
        f"{scenario.name}-limit.h5", lambda path: job.carry_out(path, overwrite, progress), open_limit
    )


def of_kind(scenario: Scenario, kind: str | None, changes: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario with a section [limit] of this kind, its own where it has one of it, and with values changed.

    Raises ScenarioError for a mistake, or a scenario that the study is not for.
    """
    if kind is not None:
        kind_of(kind)
        if _kind(scenario) != kind:
            scenario = scenario.override({"limit": {"kind": kind}})
    if changes:  # nothing is saved on the way, so what is to be saved does not stand in the way of a change
        scenario = scenario.override({"save": None} | dict(changes))
    if scenario.limit is None:
        raise ScenarioError(
            "limit: missing; a study needs the section [limit], or its kind, as in: attndyn limit depth NAME"
        )
    for key, sentence in kind_of(_kind(scenario)).wrong(scenario):
        raise ScenarioError(f"{key}: {sentence}")
    return scenario


@dataclass(frozen=True)
class Work:
    """What every worker of a study is told. It holds text and numbers only."""

    text: str
    name: str
    folder: Path
    engine: Engine

    def compute(self, task: str) -> Result | str:
        """The result of a run, or why there is none."""
        scenario = Scenario.parse(self.text, name=self.name, folder=self.folder, outside=True)
        try:
            return kind_of(_kind(scenario)).run(scenario, task, self.engine)
        except MissingExtra:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {one_line(str(error))}"


def compute(work: Work, task: str) -> Result | str:
    """See `Work.compute`; a function, as worker processes are given one."""
    return work.compute(task)


class _Job:
    """A study and its file."""

    def __init__(self, scenario: Scenario, workers: int | None, backend: str, device: str, threads: int | None) -> None:
        if workers is not None and workers < 1:
            raise InvalidInput(f"workers must be at least 1; got {workers}")
        self._scenario, self._kind = scenario, kind_of(_kind(scenario))
        self._tasks = list(self._kind.tasks(scenario))
        self._workers = min(workers or (1 if backend == "torch" else cores()), len(self._tasks))
        self._patient = workers is None  # begin alone
        self._threads = threads
        self._engine = engine_of(scenario, backend=backend, device=device, threads=threads)
        self._description = {
            "kind": self._kind.name,
            "name": scenario.name,
            "scenario": hashlib.sha256(scenario.text.encode()).hexdigest(),
            "files": {
                name: _digest(scenario.folder / name)
                for name in sorted({file for file, _ in arrays_named(scenario.model_dump())})
            },
            "engine": {"backend": backend, "device": device},
            "version": version("attndyn"),
        }

    def carry_out(self, path: Path, overwrite: bool, progress: Progress | None = None) -> None:
        """Compute what is not done, and write the file at `path`, unless it is there already."""
        bench = Bench(path, self._description)
        if path.is_file() and not overwrite and self._is_done(path):
            if bench.ours():  # killed between the file and the end
                bench.clear()
            return
        check_target(path, overwrite)
        bench.begin(overwrite)
        remaining = [task for task in self._tasks if not bench.done(task)]
        counted = len(self._tasks) - len(remaining)
        if progress is not None:
            progress(counted, len(self._tasks))
        for task, result in self._results(remaining):
            if isinstance(result, str):
                raise TrajectoryError(f"the run {task!r} failed: {result}")
            bench.put(task, result)
            counted += 1
            if progress is not None:
                progress(counted, len(self._tasks))
        results = {task: bench.get(task) for task in self._tasks}
        write_limit(
            path,
            description=self._description,
            scenario=self._scenario.text,
            provenance=provenance(self._scenario, self._engine),
            runs=results,
            findings=self._kind.conclude(self._scenario, results),
            overwrite=overwrite,
        )
        bench.clear()

    def _is_done(self, path: Path) -> bool:
        """Whether the file is that of this study. Raises InvalidInput where it is another."""
        if is_limit(path):
            with open_limit(path) as there:
                if there.description == self._description:
                    return True
        raise InvalidInput(f"{path} exists already and is not this study; give another name, or --overwrite")

    def _results(self, tasks: list[str]) -> Iterator[tuple[str, Result | str]]:
        """The results as they come: first alone, the shortest first, and then in processes."""
        began = time.monotonic()
        alone = self._work(1)
        while tasks and (self._workers == 1 or (self._patient and time.monotonic() - began < ALONE)):
            task = tasks.pop(0)
            for _, result in in_this_process(compute, alone, [(0, task)]):
                yield task, result
        if tasks:
            numbered = list(enumerate(reversed(tasks)))  # the longest first
            names = dict(numbered)
            with closing(in_processes(compute, self._work(self._workers), numbered, self._workers)) as outcomes:
                for number, result in outcomes:
                    yield names[number], result

    def _work(self, workers: int) -> Work:
        threads = self._threads or max(1, cores() // workers)
        return Work(
            self._scenario.text, self._scenario.name, self._scenario.folder, replace(self._engine, threads=threads)
        )


def _digest(path: Path) -> str:
    """The sha256 of a file; what is wrong with one that cannot be read is told when it is needed."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _kind(scenario: Scenario) -> str:
    kind: Any = getattr(scenario.limit, "kind", None)
    return str(kind)
