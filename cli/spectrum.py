"""attndyn spectrum: the eigenvalues of the matrices of a scenario, head by head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInput
from .options import AsJson, Outside, Overwrite, Quiet, Seed, Set, scenario_of


def spectrum(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A scenario, or the .h5 file of a run.")],
    layer: Annotated[int | None, typer.Option(min=0, help="One layer, from 0; by default all that differ.")] = None,
    changes: Set = None,
    seed: Seed = None,
    outside: Outside = False,
    csv: Annotated[Path | None, typer.Option(metavar="OUT", help="Write all eigenvalues to a file.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", metavar="OUT.png", help="Draw the eigenvalues.")] = None,
    of: Annotated[str, typer.Option(metavar="values|scores", help="Whose eigenvalues are drawn.")] = "values",
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Spectra of Q^T K and of O V of every layer and head: eigenvalues, norms, signatures, good triples.

    Example: attndyn spectrum minilm-alice --plot spectrum.png
    """
    from ..scenarios.spectrum import as_json as as_object
    from ..scenarios.spectrum import csv_files, in_words
    from ..scenarios.spectrum import spectrum as found_in

    for option, path in (("--csv", csv), ("--plot", picture)):
        if path is not None and path.is_dir():
            raise InvalidInput(f"{option}: {path} is a folder; name a file in it")
        if path is not None and path.exists() and not overwrite:
            raise InvalidInput(f"{option}: {path} exists already; give another name, or --overwrite to replace it")
    is_run = Path(name).suffix.lower() in (".h5", ".hdf5")
    if is_run and (changes or seed is not None):
        raise InvalidInput(f"--set and --seed are for scenarios; {name} is the file of a run")
    found = found_in(Path(name) if is_run else scenario_of(name, changes, seed, outside), layer)
    files = {} if csv is None else csv_files(found, csv)
    for path in files:
        if path.exists() and not overwrite:
            raise InvalidInput(f"--csv: {path} exists already; give another name, or --overwrite to replace it")
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="")
    if picture is not None:
        found.plot(picture, of=of)
    if as_json:
        print(json.dumps(as_object(found)))
    elif not quiet:
        print(in_words(found))
        for path in [*files, *([picture] if picture is not None else [])]:
            print(path)
