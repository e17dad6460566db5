"""The report: one page of any file that attndyn writes, told in words that only its scenario has."""

from __future__ import annotations

import os
from pathlib import Path

from ..data.limits import is_limit, open_limit
from ..data.report import study_page, trajectory_page
from ..data.report.pictures import picture_of
from ..data.sweeps import is_sweep, open_sweep
from ..errors import InvalidInput
from .account import account_of_run, account_of_study, account_of_sweep
from .limits.summary import table
from .sweep_summary import sweep_overview
from .trajectory import Trajectory
from .trajectory import open as open_trajectory


def report(source: str | Path | Trajectory, out: str | Path, *, replica: int = 0, overwrite: bool = False) -> Path:
    """Write one page of HTML about the file of a run, a sweep or a limit study, and return its path.

    The page of a run has the tokens, to be turned and played over depth, the observables, the attention of a token,
    the figures, the scenario, the provenance and the command lines that make it again. It is one file and needs no
    network. `replica` belongs to runs.

    Raises InvalidInput for a replica that is not there and a page that cannot be written, MissingExtra without plotly.
    """
    out = Path(out)
    check_page(out, overwrite)
    if isinstance(source, Trajectory):
        page = _of_run(source, replica)
    elif is_sweep(source) or is_limit(source):
        if replica:
            raise InvalidInput(f"replica belongs to the file of a run; {source} is none")
        page = _of_sweep(Path(source)) if is_sweep(source) else _of_study(Path(source))
    else:
        trajectory = open_trajectory(source)
        with trajectory:
            page = _of_run(trajectory, replica)
    making = out.with_name(f"{out.name}.{os.getpid()}.new")
    try:
        making.write_text(page, encoding="utf-8")
        making.replace(out)
    except OSError as error:
        making.unlink(missing_ok=True)
        raise InvalidInput(f"{out} cannot be written: {error.strerror or error}") from error
    return out


def check_page(out: Path, overwrite: bool) -> None:
    """Raise InvalidInput unless a page can be written there."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"a report is a page of HTML; name it .html; got {out}")
    if out.is_dir() or not out.parent.is_dir():
        raise InvalidInput(
            f"{out} cannot be written: {'it is a folder' if out.is_dir() else 'its folder is not there'}"
        )
    if out.exists() and not overwrite:
        raise InvalidInput(f"{out} exists already; give another name, or --overwrite to replace it")


def _of_run(trajectory: Trajectory, replica: int) -> str:
    if isinstance(replica, bool) or not 0 <= replica < trajectory.replicas:
        raise InvalidInput(f"replica must be an integer in [0, {trajectory.replicas - 1}]; got {replica!r}")
    return trajectory_page(trajectory, account_of_run(trajectory, replica), replica)


def _of_sweep(path: Path) -> str:
    from ..data.figures import draw_sweep  # imports matplotlib, which takes a while

    with open_sweep(path) as sweep:
        account, numbers = account_of_sweep(sweep), sweep_overview(sweep)
        try:
            words = f"The phase diagram of the sweep. {' '.join(numbers.split())}"
            figures = [picture_of(lambda picture: draw_sweep(sweep, out=picture), "The phase diagram.", words)]
        except InvalidInput:  # a sweep without observables, or without a point that is done
            figures = []
        return study_page(sweep, account, figures, numbers)


def _of_study(path: Path) -> str:
    from ..data.figures import draw_study

    with open_limit(path) as study:
        numbers = table(study)
        found = "; ".join(f"{series.name} over {series.parameter_name}" for series in study.series)
        words = f"The errors of the study and their rates: {found}. {' '.join(study.remarks)}"
        figures = [picture_of(lambda picture: draw_study(study, out=picture), "The errors and their rates.", words)]
        return study_page(study, account_of_study(study), figures, numbers)
