"""attndyn report: one page about a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import File, Overwrite, Quiet


def report(
    file: File,
    out: Annotated[Path | None, typer.Option(help="The page; by default F.html.")] = None,
    replica: Annotated[int, typer.Option(min=0, help="Which replica of a run.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write one page of HTML about a file: the tokens to be turned and played, observables, attention, figures.

    Example: attndyn report clusters.h5 --out clusters.html
    """
    from ..scenarios.report import report as write_report

    page = write_report(file, out or file.with_suffix(".html"), replica=replica, overwrite=overwrite)
    if not quiet:
        print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
