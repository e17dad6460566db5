"""The page a figure is drawn on: its style, the title above, the facts below, and the file it is saved as."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from ...errors import InvalidInput
from ...particles import Space, Sphere

STYLE = Path(__file__).with_name("attndyn.mplstyle")
SUFFIXES = (".png", ".pdf", ".svg")
Style = str | Path | Mapping[str, Any]


@contextmanager
def styled(style: Style | None = None) -> Iterator[None]:
    """The style of attndyn on matplotlib's own defaults, for as long as a figure is made and saved.

    style : what is laid over it, a style file or settings of matplotlib by name

    Raises InvalidInput for a style that matplotlib does not understand.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(matplotlib.rc_params_from_file(STYLE, use_default_template=False))
        if style is not None:
            matplotlib.rcParams.update(_settings(style))
        yield


def _settings(style: Style) -> matplotlib.RcParams:
    try:
        if isinstance(style, Mapping):
            return matplotlib.RcParams(style)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return matplotlib.rc_params_from_file(style, use_default_template=False)
    except OSError as error:
        raise InvalidInput(f"style must be a style file of matplotlib; {style} cannot be read") from error
    except (KeyError, ValueError, UserWarning) as error:
        raise InvalidInput(f"style: {error}") from error


def inscribe(figure: Figure, title: str, facts: Sequence[str]) -> None:
    """Write the title above a figure and, below it, what was run and how it ended."""
    width = figure.get_figwidth()
    if title:
        lines = textwrap.wrap(title, int(13 * width))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", linespacing=1.0, parse_math=False)
    lines = textwrap.wrap(" · ".join(facts), int(19 * width), max_lines=3, placeholder=" ...")
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", linespacing=1.0, color="0.4", parse_math=False)


def facts_of(trajectory: Any, replica: int) -> list[str]:
    """What stands below every figure of a trajectory: which tokens, how deep, how it ended."""
    _, replicas, tokens, _ = trajectory.positions.shape
    return [
        f"{tokens} {'token' if tokens == 1 else 'tokens'} {_where(trajectory.space)}",
        *([f"replica {replica} of {replicas}"] if replicas > 1 else []),
        f"depth {trajectory.times[0]:.6g} to {trajectory.times[-1]:.6g}",
        str(trajectory.status),
    ]


def _where(space: Space) -> str:
    raised = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    if not isinstance(space, Sphere):
        return "in R" + str(space.dimension).translate(raised)
    size = "" if space.radius == 1 else f" of radius {space.radius:.4g}"
    name = "the circle" if space.dimension == 2 else "the sphere S" + str(space.dimension - 1).translate(raised)
    return f"on {name}{size}"


def checked_out(out: str | Path | None) -> Path | None:
    """The file that a figure is saved as. Raises InvalidInput unless it can be one."""
    if out is None:
        return None
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"a figure is saved as one of {', '.join(SUFFIXES)}; got {str(out)!r}")
    if out.is_dir() or not out.parent.is_dir():
        raise InvalidInput(
            f"{out} cannot be written: {'it is a folder' if out.is_dir() else 'its folder is not there'}"
        )
    return out


def made_folder(folder: str | Path, suffix: str) -> Path:
    """The folder that figures of this format are drawn into, made where it is not there. Raises InvalidInput."""
    if suffix not in SUFFIXES:
        raise InvalidInput(f"a figure is saved as one of {', '.join(SUFFIXES)}; got {suffix!r}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be a folder of figures: {error.strerror or error}") from error
    return folder


def save(figure: Figure, out: Path) -> None:
    """Save a figure; the same trajectory gives the same bytes. Raises InvalidInput where it cannot be written."""
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(out.suffix.lower())  # no date
    try:
        with warnings.catch_warnings():  # a token of a script that no font at hand has is drawn as a box
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(out, metadata=metadata)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror or error}") from error
