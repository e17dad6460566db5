"""attndyn sweep: one scenario over a grid of values, one file."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    AsJson,
    Backend,
    Device,
    Interrupted,
    Name,
    Outside,
    Overwrite,
    Quiet,
    Seed,
    Set,
    complain,
    points_bar,
    scenario_of,
)

if TYPE_CHECKING:
    from ..data.sweeps import Sweep


def sweep(
    name: Name,
    grids: Annotated[
        list[str],
        typer.Option("--grid", metavar="KEY=VALUES", help="first:last:count, log:first:last:count, or a,b,c."),
    ],
    out: Annotated[Path | None, typer.Option(help="The sweep file; by default NAME-sweep.h5 here.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="The replicas of every point, tokens.replicas.")] = None,
    every_replica: Annotated[bool, typer.Option("--every-replica", help="Keep the values of all replicas.")] = False,
    changes: Set = None,
    seed: Seed = None,
    outside: Outside = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler.")] = None,
    backend: Backend = "numba",
    device: Device = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Of each worker; by default all cores share.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a scenario over a grid of values, into one file; the same command goes on with an unfinished one.

    Example: attndyn sweep circle-metastable --grid attention.beta=1:64:16 --replicas 20 --out phase.h5
    """
    from ..data.target import check_target
    from ..scenarios.grid import parse_grids
    from ..scenarios.mistakes import blaming
    from ..scenarios.sweep import sweep as run_sweep
    from ..scenarios.sweep_summary import interruption, was_finished

    grid = parse_grids(grids)
    scenario = scenario_of(name, changes, seed, outside)
    out = out or Path(f"{scenario.name}-sweep.h5")
    with blaming("--out"):
        check_target(out, overwrite or out.is_file())
    finished = not overwrite and was_finished(out)
    try:
        with nullcontext() if quiet or as_json else points_bar() as bar:
            opened = run_sweep(
                scenario,
                grid,
                out=out,
                replicas=replicas,
                every_replica=every_replica,
                overwrite=overwrite,
                workers=workers,
                scheduler=scheduler,
                backend=backend,
                device=device,
                threads=threads,
                progress=bar,
            )
    except KeyboardInterrupt:
        raise Interrupted(interruption(out, grid)) from None
    with opened:
        _report_sweep(opened, finished, quiet, as_json)


def _report_sweep(opened: Sweep, finished: bool, quiet: bool, as_json: bool) -> None:
    """Say what a sweep gave; end with status 1 where points failed, unless they had failed before."""
    from ..scenarios.sweep_summary import account, failures, sweep_ending

    if as_json:
        print(json.dumps(account(opened)))
    if failures(opened) and not finished:
        raise typer.Exit(complain(sweep_ending(opened, finished), 1))
    if not quiet and not as_json:
        print(sweep_ending(opened, finished))
