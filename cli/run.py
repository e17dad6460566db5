"""attndyn run: one scenario, one trajectory; attndyn resume goes on with it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    INTERRUPTED,
    TERMINATED,
    AsJson,
    Device,
    Interrupted,
    Name,
    Outside,
    Overwrite,
    Quiet,
    Seed,
    Set,
    Threads,
    Walltime,
    complain,
    scenario_of,
    seconds,
)

if TYPE_CHECKING:
    from ..scenarios.progress import Bar
    from ..scenarios.trajectory import Trajectory


def run(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="The trajectory file; by default NAME.h5 here.")] = None,
    changes: Set = None,
    seed: Seed = None,
    outside: Outside = False,
    backend: Annotated[
        str | None, typer.Option(help="numba (the default), torch (with --processes the default) or reference.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    processes: Annotated[int, typer.Option(min=1, help="Divide the tokens among so many processes.")] = 1,
    walltime: Walltime = None,
    go_on: Annotated[
        bool, typer.Option("--resume", help="Go on with the file, if there is an unfinished one.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a scenario and write its trajectory.

    Example: attndyn run sphere-clusters --set attention.beta=9 --out clusters.h5
    """
    from ..data.target import check_target
    from ..scenarios.mistakes import blaming
    from ..scenarios.processes import launched
    from ..scenarios.resume import is_begun
    from ..scenarios.run import run as run_scenario

    scenario = scenario_of(name, changes, seed, outside)
    out = out or Path(f"{scenario.name}.h5")
    asked = {"backend": backend, "device": device, "processes": processes}
    named = {name: value for name, value in asked.items() if value not in (None, "cpu", 1)}
    if go_on and is_begun(out, scenario, **named):
        resume(out, threads=threads, walltime=walltime, quiet=quiet, as_json=as_json)
        return
    silent = (launched() or (0, 1))[0] > 0  # torchrun starts this command many times; the first one speaks
    if not silent:
        with blaming("--out"):
            check_target(out, overwrite)
    with nullcontext() if quiet or as_json or silent else _bar(scenario.depth.end) as bar:
        trajectory = run_scenario(
            scenario,
            out,
            overwrite=overwrite,
            backend=backend,
            device=device,
            threads=threads,
            processes=processes,
            walltime=seconds(walltime),
            progress=bar,
        )
    with trajectory:
        _report(trajectory, quiet or silent, as_json and not silent)


def resume(
    file: Annotated[Path, typer.Argument(metavar="F.h5", help="The file of the run, as it was to be called.")],
    threads: Threads = None,
    walltime: Walltime = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was interrupted, killed or had no room, from its file alone.

    Example: attndyn resume clusters.h5
    """
    from ..scenarios.processes import launched
    from ..scenarios.resume import depth_of
    from ..scenarios.resume import resume as go_on

    silent = (launched() or (0, 1))[0] > 0
    with nullcontext() if quiet or as_json or silent else _bar(depth_of(file)) as bar:
        trajectory = go_on(file, threads=threads, walltime=seconds(walltime), progress=bar)
    with trajectory:
        _report(trajectory, quiet or silent, as_json and not silent)


def _bar(depth: float) -> Bar:
    from ..scenarios.progress import Bar  # imports rich, which a quiet run does without

    return Bar(depth)


def _report(trajectory: Trajectory, quiet: bool, as_json: bool) -> None:
    """Say how a run ended, and how to go on where it was interrupted; with status 1 where it failed."""
    from ..scenarios.summary import ending, outcome

    if as_json:
        print(json.dumps(outcome(trajectory)))
    if trajectory.status.startswith("interrupted"):
        status = TERMINATED if trajectory.status.endswith("SIGTERM") else INTERRUPTED
        how = "" if trajectory.checkpoint is None else f"; attndyn resume {trajectory.path} goes on with it"
        raise Interrupted(f"{ending(trajectory)}{how}", status)
    if trajectory.status.startswith("failed"):
        raise typer.Exit(complain(ending(trajectory), 1))
    if not quiet and not as_json:
        print(ending(trajectory))
