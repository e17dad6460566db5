"""attndyn compare: the same tokens in two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInput
from .options import AsJson, Overwrite


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.h5", help="The file of a run.")],
    second: Annotated[Path, typer.Argument(metavar="B.h5", help="That of another, saved at the same depths.")],
    depths: Annotated[str | None, typer.Option(metavar="T,T,...", help="Depths to compare at; by default 12.")] = None,
    replica: Annotated[int, typer.Option(min=0, help="Which replica.")] = 0,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="OUT", help="Write the rows to a file.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare two runs of the same tokens: how far apart each token is in both, over depth.

    Example: attndyn compare exact.h5 coarse.h5 --depths 1,5,10
    """
    from ..data.analysis.rendering import as_csv, as_object, as_text
    from ..scenarios.comparison import compare as compared
    from ..scenarios.overrides import numbers

    if csv is not None and csv.exists() and not overwrite:
        raise InvalidInput(f"--csv: {csv} exists already; give another name, or --overwrite to replace it")
    table = compared(first, second, depths=numbers("--depths", depths), replica=replica)
    if csv is not None:
        csv.write_text(as_csv(table), encoding="utf-8", newline="")
    print(json.dumps(as_object(table)) if as_json else as_text(table, most_rows=len(table)))
