"""attndyn limit: a study of a limit, one file and its picture."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidInput
from .options import AsJson, Backend, Device, Interrupted, Outside, Overwrite, Quiet, Seed, Set, points_bar, scenario_of

if TYPE_CHECKING:
    from ..data.limits import Limit


def limit(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] NAME|FILE", help="The kind of study, and a scenario.")],
    out: Annotated[Path | None, typer.Option(help="The file; by default NAME-limit.h5 here.")] = None,
    changes: Set = None,
    seed: Seed = None,
    outside: Outside = False,
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
    from ..data.target import check_target
    from ..scenarios.limits.study import limit as run_limit
    from ..scenarios.limits.study import of_kind
    from ..scenarios.mistakes import blaming
    from ..scenarios.overrides import assignments

    if len(words) > 2:
        raise InvalidInput(f"a limit study has a kind and a scenario; got {' '.join(words)}")
    kind = words[0] if len(words) == 2 else None
    scenario = of_kind(scenario_of(words[-1], None, seed, outside), kind, assignments("--set", changes))
    out = out or Path(f"{scenario.name}-{kind or 'limit'}.h5")
    if out.suffix == ".png":
        raise InvalidInput(f"--out: names the HDF5 file of the study, beside which the picture is drawn; got {out}")
    with blaming("--out"):
        check_target(out, overwrite or out.is_file())
    try:
        with nullcontext() if quiet or as_json else points_bar("runs") as bar:
            study = run_limit(
                scenario, out=out, overwrite=overwrite, workers=workers, backend=backend, device=device,
                threads=threads, progress=bar,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the same command goes on with the rest ({out}.runs)") from None
    with study:
        _report_study(study, picture, quiet, as_json)


def _report_study(study: Limit, picture: bool, quiet: bool, as_json: bool) -> None:
    """Print what a study found, and draw it beside its file."""
    from ..data.figures import draw_study
    from ..scenarios.limits.summary import table

    drawn = study.path.with_suffix(".png")
    if picture:
        draw_study(study, out=drawn)
    if as_json:
        print(json.dumps(study.summary()))
    elif not quiet:
        print(table(study))
        print(f"{study.path}{f', {drawn}' if picture else ''}")
