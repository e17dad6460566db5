"""attndyn run: one scenario, one trajectory."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Device, Name, Overwrite, Quiet, Seed, Set, Threads, complain, scenario_of

if TYPE_CHECKING:
    from ..scenarios.progress import Bar
    from ..scenarios.schema import Scenario
    from ..scenarios.trajectory import Trajectory


def run(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="The trajectory file; by default NAME.h5 here.")] = None,
    changes: Set = None,
    seed: Seed = None,
    backend: Annotated[
        str | None, typer.Option(help="numba (the default), torch (with --processes the default) or reference.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    processes: Annotated[int, typer.Option(min=1, help="Divide the tokens among so many processes.")] = 1,
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
    from ..scenarios.run import run as run_scenario

    scenario = scenario_of(name, changes, seed)
    out = out or Path(f"{scenario.name}.h5")
    silent = (launched() or (0, 1))[0] > 0  # torchrun starts this command many times; the first one speaks
    if not silent:
        with blaming("--out"):
            check_target(out, overwrite)
    with nullcontext() if quiet or as_json or silent else _bar(scenario) as bar:
        trajectory = run_scenario(
            scenario,
            out,
            overwrite=overwrite,
            backend=backend,
            device=device,
            threads=threads,
            processes=processes,
            progress=bar,
        )
    with trajectory:
        _report(trajectory, quiet or silent, as_json and not silent)


def _bar(scenario: Scenario) -> Bar:
    from ..scenarios.progress import Bar  # imports rich, which a quiet run does without

    return Bar(scenario.depth.end)


def _report(trajectory: Trajectory, quiet: bool, as_json: bool) -> None:
    """Say how a run ended; end with status 1 where it did not end well."""
    from ..scenarios.summary import ending, outcome

    if as_json:
        print(json.dumps(outcome(trajectory)))
    if trajectory.status.startswith(("failed", "interrupted")):
        raise typer.Exit(complain(ending(trajectory), 1))
    if not quiet and not as_json:
        print(ending(trajectory))
