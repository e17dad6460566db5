"""Running a scenario to a trajectory file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..data import TrajectoryWriter, provenance_of_run
from ..data.target import check_target
from ..errors import InvalidInput
from ..integrators import Solution, Statistics, integrate
from ..integrators.checkpoint import Checkpoint
from ..interrupts import Call, noted
from ..particles import Ensemble
from ..particles.backends import Engine, EngineOptions
from ..particles.observables import measure
from .build import Plan, build
from .files import LIBRARY
from .processes import agreed, check_divisible, launched, ring, watched
from .schema import Scenario, load
from .sources import ArrayName, arrays_named
from .temporary import opened_while_used
from .trajectory import Trajectory
from .watch import TimeLimit, Watch
from .weighting_build import series, values

Progress = Callable[[float, Statistics], None]
Frame = Callable[[int, float, Ensemble, dict[str, NDArray]], None]


def run(
    scenario: Scenario | str | Path,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    backend: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    processes: int = 1,
    walltime: float | None = None,
    progress: Progress | None = None,
) -> Trajectory:
    """Run a scenario, write its trajectory while it goes, and open what was written.

    scenario  : a Scenario, a bundled name or the path of a scenario file
    out       : the file to write; None: a temporary file, removed when the trajectory is no longer in use
    overwrite : whether `out` may exist already
    backend   : "numba", "torch" or "reference"; by default numba, or torch where there are several processes
    device    : with torch "cpu" or "cuda"
    threads   : of the numba backend, by default one per core
    processes : among which the tokens are divided, with torch; those that torchrun has started count
    walltime  : seconds after which the run must have ended: it ends a little earlier, as interrupted
    progress  : called with (depth, statistics) after every step

    A run that fails or is interrupted returns as well: its `status` is "failed: ..." or "interrupted", the frames
    saved up to then stand, and `resume` goes on from there. Ctrl-C and SIGTERM end it after the step; the second one
    at once. Raises InvalidInput for whatever is wrong before the run starts.
    """
    scenario = scenario if isinstance(scenario, Scenario) else load(scenario)
    if backend is None:
        backend = "numba" if processes == 1 and launched() is None else "torch"
    limit = TimeLimit(walltime)
    engine = engine_of(scenario, backend=backend, device=device, threads=threads, processes=processes)
    if out is not None:
        _write(scenario, Path(out), overwrite, engine, limit, progress)
        return Trajectory(out)
    if launched() is not None:
        raise InvalidInput("out: a run under torchrun needs a file to write")
    return opened_while_used(
        f"{scenario.name}.h5", lambda path: _write(scenario, path, overwrite, engine, limit, progress), Trajectory
    )


def follow(
    plan: Plan,
    engine: Engine,
    on_frame: Frame | None = None,
    progress: Progress | None = None,
    on_merge: Callable[[float, NDArray[np.intp]], None] | None = None,
    on_checkpoint: Callable[[Callable[[], Checkpoint]], str | None] | None = None,
    resume: Checkpoint | None = None,
) -> Solution:
    """Integrate a plan and hand every frame, as it comes, with its observables to `on_frame`.

    on_frame : called with (step number, t, ensemble, observables name -> (replicas,));
               None: nothing is measured or kept
    on_merge : called with (t, merged_into (tokens,)) when tokens have become one
    """
    names, alone = plan.scenario.save.observables, asdict(replace(engine, processes=1))

    def keep(step: int, t: float, ensemble: Ensemble) -> None:
        if on_frame is not None:
            law, distance = plan.law_at(t), plan.cluster_distance
            found = measure(names, ensemble, law, depth=t, cluster_distance=distance, **alone)
            on_frame(step, t, ensemble, found)

    arguments = plan.arguments()
    if engine.processes > 1:
        arguments["stop"] = [replace(event, reached=agreed(event.reached)) for event in arguments["stop"]]
    return integrate(
        plan.law, plan.ensemble, on_save=keep, on_progress=progress, on_merge=on_merge, on_checkpoint=on_checkpoint,
        resume=resume, **asdict(engine), **arguments,
    )  # fmt: skip


def _write(
    scenario: Scenario, path: Path, overwrite: bool, engine: Engine, limit: TimeLimit, progress: Progress | None
) -> None:
    """Integrate a scenario; its frames go to the file while they come."""
    if engine.processes == 1 and launched() is None:
        check_target(path, overwrite)
        plan = build(scenario)
        write_frames(plan, lambda: _new_file(plan, path, overwrite, engine), engine, limit, progress)
        return
    plan = build(scenario)
    check_divisible(plan, engine.processes)
    with ring(scenario, engine) as own:
        if own.rank == 0:
            check_target(path, overwrite)
            begin = lambda: _new_file(plan, path, overwrite, own.engine)  # noqa: E731
            write_frames(plan, begin, own.engine, limit, progress, called=own.called)
        else:
            follow(plan, own.engine, on_checkpoint=watched(own.called, None))


def _new_file(plan: Plan, path: Path, overwrite: bool, engine: Engine) -> TrajectoryWriter:
    scenario = plan.scenario
    return TrajectoryWriter(
        path,
        ensemble=plan.ensemble,
        scenario=scenario.text,
        observables=dict.fromkeys(scenario.save.observables, ()) | series(plan.weighting, plan.ensemble),
        provenance=provenance(scenario, engine),
        token_strings=plan.strings,
        arrays=arrays_of(scenario),
        merging=scenario.depth.merge is not None or engine.sums == "auto",
        overwrite=overwrite,
    )


def write_frames(
    plan: Plan,
    begin: Callable[[], TrajectoryWriter],
    engine: Engine,
    limit: TimeLimit,
    progress: Progress | None = None,
    resume: Checkpoint | None = None,
    called: Call | None = None,
) -> None:
    """Follow a plan, from its start or from a checkpoint, to its end in the file whose writer `begin` gives.

    called : of the first of many processes, which hears Ctrl-C already

    The writer is asked for with the first frame, when `integrate` has found all arguments good.
    """
    with ExitStack() as stack:

        @cache
        def writer() -> TrajectoryWriter:
            return stack.enter_context(begin())

        def keep(step: int, t: float, frame: Ensemble, observables: dict[str, NDArray]) -> None:
            writer().append(step, t, frame.positions, observables | values(plan.weighting, frame))

        def note(t: float, merged_into: NDArray[np.intp]) -> None:
            writer().append_merge(t, merged_into)

        watch = Watch(writer, called or stack.enter_context(noted()), limit)
        look = watch if called is None else watched(called, watch)
        solution = follow(plan, engine, keep, progress, note, look, resume)
        failure = solution.failure
        status = solution.status if failure is None else f"failed: {failure.told(plan.strings)}"
        writer().finish(status, solution.statistics.as_dict() | solution.record)


def arrays_of(scenario: Scenario) -> dict[ArrayName, NDArray[np.float64]]:
    """What a scenario takes from other files, tokens excepted: with it the law is known from the trajectory alone."""
    tables = scenario.model_dump(exclude={"tokens": {"initial", "strings"}, "limit": True})
    return {key: scenario.files.array(*key) for key in dict.fromkeys(arrays_named(tables))}


def engine_of(scenario: Scenario, **options: Unpack[EngineOptions]) -> Engine:
    """How the drift of a scenario is computed: what the scenario says of its sums, and the caller of the rest."""
    return replace(Engine(**options), sums=scenario.depth.sums, sum_tolerance=scenario.depth.sum_tolerance)


def provenance(scenario: Scenario, engine: Engine) -> dict[str, Any]:
    """What is known of the run: where the scenario came from, and all its values, defaults included."""
    origin = {"name": scenario.name, "folder": str(scenario.folder), "bundled": scenario.folder == LIBRARY}
    return provenance_of_run(
        seed=scenario.tokens.seed,
        threads=engine.threads,
        backend=engine.backend,
        device=engine.device,
        sums=engine.sums,
        processes=engine.processes,
        scenario=origin,
        values=scenario.model_dump(mode="json"),
    )
