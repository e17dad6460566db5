"""What commands have in common: their options, how they read a scenario and how they complain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInput, printable

if TYPE_CHECKING:
    from ..scenarios.schema import Scenario
    from ..scenarios.sweep_progress import PointsBar

TERMINATED = 143  # by SIGTERM
INTERRUPTED = 130  # of what can be gone on with, and what typer makes of Ctrl-C outside a run, which ends by itself

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A bundled scenario, or a .toml file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. attention.beta=9; repeatable."),
]
Outside = Annotated[bool, typer.Option("--outside", help="Let the scenario name files outside its folder.")]
Seed = Annotated[int | None, typer.Option(min=0, help="The seed, tokens.seed.")]
File = Annotated[Path, typer.Argument(metavar="F.h5", help="The file of a run, a sweep or a limit study.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Backend = Annotated[str, typer.Option(help="numba, torch or reference.")]
Device = Annotated[str, typer.Option(help="With torch: cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(min=1, help="By default one per core.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing unless it fails.")]


Walltime = Annotated[
    str | None,
    typer.Option(metavar="HH:MM:SS", help="End before so much time has passed, to be resumed; also seconds."),
]


class Interrupted(Exception):
    """What was begun was interrupted; the message says how to go on.

    status : the exit status, by default that of Ctrl-C
    """

    def __init__(self, message: str, status: int = INTERRUPTED) -> None:
        super().__init__(message)
        self.status = status


def complain(error: Exception | str, status: int) -> int:
    """Tell a mistake or a failure in one line on stderr, and return the exit status."""
    print(f"attndyn: {printable(' '.join(str(error).split())) or type(error).__name__}", file=sys.stderr)
    return status


def scenario_of(name: str, changes: list[str] | None, seed: int | None, outside: bool = False) -> Scenario:
    """The scenario of this name or file, with the values of --set and --seed."""
    from ..scenarios.overrides import assignments
    from ..scenarios.schema import load

    values = assignments("--set", changes)
    if seed is not None:
        values["tokens.seed"] = seed
    return load(name, outside=outside).override(values)


def seconds(walltime: str | None) -> float | None:
    """The seconds of "HH:MM:SS", "MM:SS" or a number of seconds. Raises InvalidInput for anything else."""
    if walltime is None:
        return None
    try:
        parts = [float(part) for part in walltime.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
        raise InvalidInput(f"--walltime: must be HH:MM:SS or a number of seconds; got {walltime}")
    return sum(part * 60.0**k for k, part in enumerate(reversed(parts)))


def points_bar(what: str = "points", after: float | None = None) -> PointsBar:
    """A progress bar of the points of a sweep, of the runs of a study, of frames; after some seconds."""
    from ..scenarios.sweep_progress import PointsBar

    return PointsBar(what) if after is None else PointsBar(what, after)
