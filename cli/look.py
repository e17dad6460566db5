"""What a file holds, in words and drawn: info, plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInput, TrajectoryError
from .options import AsJson, File, Overwrite


def info(
    file: File,
    as_json: AsJson = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it: do its checksums hold?")] = False,
) -> None:
    """Say what a file holds: a trajectory, a sweep, a limit study.

    Example: attndyn info clusters.h5 --verify
    """
    from ..data.verifying import verified
    from ..scenarios.results import described

    if verify and (damaged := verified(file)):
        raise TrajectoryError(f"{file} is damaged: {'; '.join(damaged)}")
    print(described(file, as_json))
    if verify and not as_json:
        print("  verified           all checksums hold")


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
    from ..scenarios.overrides import assignments, numbers
    from ..scenarios.results import drawn

    chosen, places = numbers("--depths", depths), assignments("--at", at)
    picture = out or file.with_suffix(".png")
    if picture.exists() and not overwrite:
        raise InvalidInput(f"--out: {picture} exists already; give another name, or --overwrite to replace it")
    drawn(file, picture, kind=kind, depths=chosen, replica=replica, observable=observable, at=places)
    print(picture)
