"""The command line. Every command is a few lines: what it does is done by `scenarios` and `data`.

Exit status: 0; 2 for a mistake of the user's, told in one line on stderr; 1 for a failure; 130 for a sweep that was
interrupted and can be gone on with. What takes long to import is imported by the commands that need it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import AttndynError, InvalidInput, MissingExtra

if TYPE_CHECKING:
    from .data.limits import Limit
    from .data.sweeps import Sweep
    from .scenarios.progress import Bar
    from .scenarios.schema import Scenario
    from .scenarios.sweep_progress import PointsBar
    from .scenarios.trajectory import Trajectory

INTERRUPTED = 130  # of a sweep, and what typer makes of Ctrl-C outside a run, which ends by itself

app = typer.Typer(
    name="attndyn",
    epilog="First steps: attndyn list; attndyn run sphere-clusters --out run.h5; attndyn plot run.h5",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A bundled scenario, or a .toml file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. attention.beta=9; repeatable."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="The seed, tokens.seed.")]
File = Annotated[Path, typer.Argument(metavar="F.h5", help="The file of a run, a sweep or a limit study.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Backend = Annotated[str, typer.Option(help="numba, torch or reference.")]
Device = Annotated[str, typer.Option(help="With torch: cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(min=1, help="By default one per core.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing unless it fails.")]


class Interrupted(Exception):
    """A sweep was interrupted; the message says how to go on."""


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Self-attention as an interacting particle system: tokens are particles, depth is time."""
    if version:
        import attndyn

        print(attndyn.__version__)
        raise typer.Exit


@app.command("list")
def list_scenarios() -> None:
    """List the bundled scenarios.

    Example: attndyn list
    """
    from .scenarios.files import listing

    rows = listing()
    widths = [max(len(row[column]) for row in rows) for column in ("name", "title")]
    for row in rows:
        print(f"{row['name']:{widths[0]}}  {row['title']:{widths[1]}}  {row['source']}")


@app.command()
def show(name: Name) -> None:
    """Print a scenario file, a good start for one's own.

    Example: attndyn show sphere-clusters > mine.toml
    """
    from .scenarios.files import source

    print(source(name), end="")


@app.command()
def check(name: Name, changes: Set = None, seed: Seed = None) -> None:
    """Check a scenario without running it, and say what it would do.

    Example: attndyn check mine.toml
    """
    from .scenarios.build import build
    from .scenarios.summary import summary

    print(f"ok: {summary(build(_scenario(name, changes, seed)))}")


@app.command()
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
    from .data.target import check_target
    from .scenarios.mistakes import blaming
    from .scenarios.processes import launched
    from .scenarios.run import run as run_scenario

    scenario = _scenario(name, changes, seed)
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


@app.command()
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
    from .data.target import check_target
    from .scenarios.grid import parse_grids
    from .scenarios.mistakes import blaming
    from .scenarios.sweep import sweep as run_sweep
    from .scenarios.sweep_summary import interruption, was_finished

    grid = parse_grids(grids)
    scenario = _scenario(name, changes, seed)
    out = out or Path(f"{scenario.name}-sweep.h5")
    with blaming("--out"):
        check_target(out, overwrite or out.is_file())
    finished = not overwrite and was_finished(out)
    try:
        with nullcontext() if quiet or as_json else _points_bar() as bar:
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


@app.command()
def limit(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] NAME|FILE", help="The kind of study, and a scenario.")],
    out: Annotated[Path | None, typer.Option(help="The file; by default NAME-limit.h5 here.")] = None,
    changes: Set = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core, if it takes long.")] = None,
    backend: Backend = "numba",
    device: Device = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Of each process; by default all cores share.")] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw the rates beside the file.")] = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Carry out a limit study: an error against a parameter, and its rate. The same command goes on with the rest.

    Example: attndyn limit depth sphere-clusters --set depth.time=2 --out depth.h5
    """
    from .data.target import check_target
    from .scenarios.limits.study import limit as run_limit
    from .scenarios.limits.study import of_kind
    from .scenarios.mistakes import blaming
    from .scenarios.overrides import assignments

    if len(words) > 2:
        raise InvalidInput(f"a limit study has a kind and a scenario; got {' '.join(words)}")
    kind = words[0] if len(words) == 2 else None
    scenario = of_kind(_scenario(words[-1], None, seed), kind, assignments("--set", changes))
    out = out or Path(f"{scenario.name}-{kind or 'limit'}.h5")
    if out.suffix == ".png":
        raise InvalidInput(f"--out: names the HDF5 file of the study, beside which the picture is drawn; got {out}")
    with blaming("--out"):
        check_target(out, overwrite or out.is_file())
    try:
        with nullcontext() if quiet or as_json else _points_bar("runs") as bar:
            study = run_limit(
                scenario, out=out, overwrite=overwrite, workers=workers, backend=backend, device=device,
                threads=threads, progress=bar,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the same command goes on with the rest ({out}.runs)") from None
    with study:
        _report_study(study, picture, quiet, as_json)


@app.command()
def info(file: File, as_json: AsJson = False) -> None:
    """Say what a file holds: a trajectory, a sweep, a limit study.

    Example: attndyn info clusters.h5 --json
    """
    from .scenarios.results import described

    print(described(file, as_json))


@app.command()
def plot(
    file: File,
    kind: Annotated[str | None, typer.Option(help="By default what suits the space and dimension.")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture; by default F.png.")] = None,
    depths: Annotated[str | None, typer.Option(metavar="T,T,...", help="Depths to look at closely.")] = None,
    replica: Annotated[int, typer.Option(min=0, help="Which replica.")] = 0,
    observable: Annotated[str | None, typer.Option(help="Of a sweep; by default its first.")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="KEY=VALUE", help="Of a sweep, where it has more than two keys; repeatable."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a file: tokens and observables of a run, the phase diagram of a sweep, the rates of a limit study.

    Example: attndyn plot clusters.h5 --out clusters.png
    """
    from .scenarios.overrides import assignments, numbers
    from .scenarios.results import drawn

    chosen, places = numbers("--depths", depths), assignments("--at", at)
    picture = out or file.with_suffix(".png")
    if picture.exists() and not overwrite:
        raise InvalidInput(f"--out: {picture} exists already; give another name, or --overwrite to replace it")
    drawn(file, picture, kind=kind, depths=chosen, replica=replica, observable=observable, at=places)
    print(picture)


@app.command()
def schema() -> None:
    """Print the JSON schema of scenario files, for editors that complete and check them.

    Example: attndyn schema > scenario.schema.json
    """
    from .scenarios.schema import Scenario

    print(json.dumps(Scenario.model_json_schema(), indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default that of the process) and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(args=words or ["--help"], prog_name="attndyn", standalone_mode=False)
        sys.stdout.flush()
        return _complain("interrupted", 1) if status == INTERRUPTED else status or 0
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1
    except InvalidInput as error:
        return _complain(error, 2)
    except (AttndynError, OSError, MemoryError) as error:
        return _complain(error, 2 if isinstance(error, MissingExtra) else 1)
    except Interrupted as error:
        return _complain(error, INTERRUPTED)
    except KeyboardInterrupt:
        return _complain("interrupted", 1)
    except Exception as error:
        # errors of click, which newer versions of typer carry as a copy of their own
        if hasattr(error, "format_message"):
            return _complain(error.format_message(), 2)
        raise


def _complain(error: Exception | str, status: int) -> int:
    print(f"attndyn: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    return status


def _scenario(name: str, changes: list[str] | None, seed: int | None) -> Scenario:
    from .scenarios.overrides import assignments
    from .scenarios.schema import load

    values = assignments("--set", changes)
    if seed is not None:
        values["tokens.seed"] = seed
    return load(name).override(values)


def _points_bar(what: str = "points") -> PointsBar:
    from .scenarios.sweep_progress import PointsBar

    return PointsBar(what)


def _bar(scenario: Scenario) -> Bar:
    from .scenarios.progress import Bar  # imports rich, which a quiet run does without

    return Bar(scenario.depth.end)


def _report(trajectory: Trajectory, quiet: bool, as_json: bool) -> None:
    """Say how a run ended; end with status 1 where it did not end well."""
    from .scenarios.summary import ending, outcome

    if as_json:
        print(json.dumps(outcome(trajectory)))
    if trajectory.status.startswith(("failed", "interrupted")):
        raise typer.Exit(_complain(ending(trajectory), 1))
    if not quiet and not as_json:
        print(ending(trajectory))


def _report_sweep(opened: Sweep, finished: bool, quiet: bool, as_json: bool) -> None:
    """Say what a sweep gave; end with status 1 where points failed, unless they had failed before."""
    from .scenarios.sweep_summary import account, failures, sweep_ending

    if as_json:
        print(json.dumps(account(opened)))
    if failures(opened) and not finished:
        raise typer.Exit(_complain(sweep_ending(opened, finished), 1))
    if not quiet and not as_json:
        print(sweep_ending(opened, finished))


def _report_study(study: Limit, picture: bool, quiet: bool, as_json: bool) -> None:
    """Print what a study found, and draw it beside its file."""
    from .data.figures import draw_study
    from .scenarios.limits.summary import table

    drawn = study.path.with_suffix(".png")
    if picture:
        draw_study(study, out=drawn)
    if as_json:
        print(json.dumps(study.summary()))
    elif not quiet:
        print(table(study))
        print(f"{study.path}{f', {drawn}' if picture else ''}")


if __name__ == "__main__":
    sys.exit(main())
