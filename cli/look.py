"""What a file holds, in words and drawn: info, plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidInput, TrajectoryError, printable
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
    print(printable(described(file, as_json)))
    if verify and not as_json:
        print("  verified           all checksums hold")


def plot(
    file: File,
    kind: Annotated[str | None, typer.Option(help="Above; by default what suits the space and dimension.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The picture, .png, .pdf or .svg; by default F.png. With --kind all a folder.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="png|pdf|svg", help="Of the pictures of --kind all.")
    ] = "png",
    depths: Annotated[str | None, typer.Option(metavar="T,T,...", help="Depths to look at closely.")] = None,
    replica: Annotated[int, typer.Option(min=0, help="Which replica.")] = 0,
    heads: Annotated[str | None, typer.Option(metavar="H,H,...", help="Heads of the attention, from 0.")] = None,
    observable: Annotated[str | None, typer.Option(help="Of a sweep; by default its first.")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="KEY=VALUE", help="Of a sweep, where it has more than two keys; repeatable."),
    ] = None,
    style: Annotated[Path | None, typer.Option(metavar="S.mplstyle", help="A style laid over attndyn's.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a file: tokens and observables of a run, the phase diagram of a sweep, the rates of a limit study.

    Example: attndyn plot clusters.h5 --out clusters.png

    All kinds that suit it: attndyn plot clusters.h5 --kind all --out pictures

    \b
    Kinds of a run:
      circle       angles over depth, with observables and similarity
      sphere       paths on the sphere, with observables and similarity
      line         the coordinate over depth, with observables and similarity
      plane        paths in the plane, with observables and similarity
      components   paths in two principal components, and the same
      observables  the observables that the file holds, over depth
      energy       the energy and the number of clusters over log depth
      tree         the tree of clusters: who joined whom, when
      similarity   histograms of cosines or inner products at some depths
      ridge        histograms of cosines or inner products at many depths
      attention    attention matrices at some depths, of some heads
      lipschitz    local Lipschitz constants over depth, and their bound
    Of a sweep:
      phase        an observable over depth and a key, or over two keys
    Of a limit study:
      rates        error against parameter, fit and theory
      growth       constants against tokens, and their exponents
    """
    from ..scenarios.overrides import assignments, numbers
    from ..scenarios.results import drawn, drawn_all

    options: dict[str, Any] = {
        "depths": numbers("--depths", depths),
        "replica": replica,
        "heads": numbers("--heads", heads),
        "observable": observable,
        "at": assignments("--at", at),
        "style": style,
    }
    if kind == "all":
        suffix = f".{form.lower().lstrip('.')}"
        written, left_out = drawn_all(file, out or file.with_suffix(""), suffix, overwrite=overwrite, **options)
        for picture in written:
            print(picture)
        for name, reason in left_out.items():
            print(f"no {name}: {reason}")
        return
    picture = out or file.with_suffix(".png")
    if picture.exists() and not overwrite:
        raise InvalidInput(f"--out: {picture} exists already; give another name, or --overwrite to replace it")
    drawn(file, picture, kind=kind, **options)
    print(picture)
