"""attndyn analyze: observables and analyses of a trajectory file, after the run."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInput
from .options import AsJson, File, Overwrite, Quiet, Threads, points_bar


def analyze(
    file: File,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME ...]", help="Observables and analyses; by default some.")
    ] = None,
    replica: Annotated[str | None, typer.Option(metavar="R|all", help="Which replica.")] = None,
    frames: Annotated[str | None, typer.Option(metavar="A:B:S", help="Which frames, as a slice of Python.")] = None,
    depths: Annotated[str | None, typer.Option(metavar="T,T,...", help="Depths to look at closely.")] = None,
    cluster_distance: Annotated[
        float | None, typer.Option(min=0, help="Within which tokens belong together; by default the scenario's.")
    ] = None,
    threads: Threads = None,
    csv: Annotated[Path | None, typer.Option(metavar="OUT", help="Write all rows to a file.")] = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep what was computed in F.h5.")] = True,
    quiet: Quiet = False,
) -> None:
    """Compute observables and analyses from a trajectory file; what it keeps is not computed twice.

    Example: attndyn analyze clusters.h5 energy clusters --csv clusters.csv
    """
    from ..scenarios.analysis import analyze as analyzed
    from ..scenarios.analysis_output import as_object, csv_files, in_words
    from ..scenarios.overrides import frames_of, numbers, replica_of

    if csv is not None and csv.is_dir():
        raise InvalidInput(f"--csv: {csv} is a folder; name a file in it")
    if csv is not None and csv.exists() and not overwrite:  # told before the work, not after it
        raise InvalidInput(f"--csv: {csv} exists already; give another name, or --overwrite to replace it")
    with nullcontext() if quiet or as_json else points_bar("frames", after=2.0) as bar:
        found = analyzed(
            file,
            names or None,
            replica=replica_of("--replica", replica),
            frames=frames_of("--frames", frames),
            depths=numbers("--depths", depths),
            cluster_distance=cluster_distance,
            threads=threads,
            keep=keep,
            progress=bar,
        )
    written = _write(csv_files(found, csv), overwrite) if csv is not None else []
    if as_json:
        print(json.dumps(as_object(found)))
    elif not quiet:
        print(in_words(found))
        for path in written:
            print(path)


def _write(files: dict[Path, str], overwrite: bool) -> list[Path]:
    """Write texts to files, none of which exists already unless they may be replaced."""
    for path in files:
        if path.exists() and not overwrite:
            raise InvalidInput(f"--csv: {path} exists already; give another name, or --overwrite to replace it")
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="")
    return [*files]
