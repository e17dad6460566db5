"""attndyn movie: how the tokens of a run move."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite, Quiet, points_bar


def movie(
    file: Annotated[Path, typer.Argument(metavar="F.h5", help="The file of a run.")],
    out: Annotated[
        Path | None, typer.Option(help="A .mp4 (needs ffmpeg), .gif or .webp; by default F.mp4, without ffmpeg F.gif.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long it lasts.")] = 10.0,
    fps: Annotated[int, typer.Option(help="Pictures per second.")] = 25,
    log: Annotated[
        bool | None, typer.Option("--log/--linear", help="Over log depth or depth; by default as frames were saved.")
    ] = None,
    depths: Annotated[str | None, typer.Option(metavar="A,B", help="The part of the run; by default all.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="circle, sphere, plane, components or line; by default what suits.")
    ] = None,
    replica: Annotated[int, typer.Option(min=0, help="Which replica.")] = 0,
    turn: Annotated[float | None, typer.Option(metavar="DEGREES", help="How far the camera turns.")] = None,
    colour: Annotated[str, typer.Option(help="By cluster, depth or start.")] = "cluster",
    size: Annotated[int, typer.Option(help="The height in pixels, even.")] = 720,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a movie of a run: its tokens, the depth and its observables.

    Example: attndyn movie clusters.h5 --out clusters.gif --seconds 5
    """
    from ..data.movies import movie as film
    from ..scenarios.overrides import numbers

    part = numbers("--depths", depths)
    with nullcontext() if quiet else points_bar("pictures") as bar:
        path = film(
            file, out, seconds=seconds, fps=fps, logarithmic=log, depths=part, kind=kind, replica=replica, turn=turn,
            colour=colour, size=size, overwrite=overwrite, progress=bar,
        )  # fmt: skip
    if not quiet:
        print(path)
