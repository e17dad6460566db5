"""Figures of a trajectory: its tokens in their space, its observables over depth, its inner products. Of a sweep."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ...errors import InvalidInput
from ...particles import Space, Sphere
from ..excerpt import frames_along, frames_at, journey, title_of
from ..layout import STATE
from ..limits import Limit
from .depths import DepthScale
from .globe import draw_sphere
from .limit_figure import draw_limit
from .panels import draw_observables, draw_similarity
from .phase import draw_phase, facts_of
from .portraits import draw_circle, draw_components, draw_line, draw_plane

if TYPE_CHECKING:
    from ..reading import Trajectory
    from ..sweeps import Sweep

STYLE = Path(__file__).with_name("attndyn.mplstyle")
SUFFIXES = (".png", ".pdf", ".svg")

PORTRAITS: dict[str, Callable[..., None]] = {
    "circle": draw_circle,
    "line": draw_line,
    "sphere": draw_sphere,
    "plane": draw_plane,
    "components": draw_components,
}
KINDS = (*PORTRAITS, "observables", "similarity")
SWEEP_KINDS = ("phase",)
LIMIT_KINDS = ("rates",)


def kinds_for(space: Space) -> tuple[str, ...]:
    """The kinds of figure that suit this space; the first is the one that is drawn by default."""
    portraits = {
        (True, 2): ("circle", "plane"),
        (True, 3): ("sphere", "components"),
        (False, 1): ("line",),
        (False, 2): ("plane",),
    }.get((isinstance(space, Sphere), space.dimension), ("components",))
    return (*portraits, "observables", "similarity")


def draw(
    trajectory: Trajectory,
    *,
    kind: str | None = None,
    out: str | Path | None = None,
    depths: Sequence[float] | None = None,
    replica: int = 0,
) -> Figure:
    """Draw one replica of a trajectory and, when `out` is given, save it.

    kind   : what is on the left, by default the first of `kinds_for`: "circle" (angles over depth), "line"
             (the coordinate over depth), "sphere", "plane", "components" (the first two principal components
             of the first and last frame); beside it the observables over depth (the range over replicas in
             grey) and histograms of the pairwise inner products. "observables" and "similarity" draw one of
             these alone.
    out    : a .png, .pdf or .svg file, which is overwritten
    depths : at which the inner products are taken; by default the first and the last, and where a token has
             gone a third and two thirds of its way

    Large trajectories are sampled: 400 frames, 300 paths, the pairs of 2000 tokens. No state of matplotlib's
    is changed, and no window or display is needed.

    Raises InvalidInput for a kind that does not suit the space, a depth outside the trajectory, a replica
    that is not there, observables where none were saved, and a file that cannot be written.
    """
    kind = _check_kind(trajectory, kind)
    out = _check_out(out)
    replicas = trajectory.positions.shape[1]
    if isinstance(replica, bool) or not isinstance(replica, int | np.integer) or not 0 <= replica < replicas:
        raise InvalidInput(f"replica must be an integer in [0, {replicas - 1}]; got {replica!r}")
    times = np.asarray(trajectory.times, np.float64)
    if len(times) == 0:
        raise InvalidInput("the trajectory has no frames to draw")
    if depths is not None:
        chosen = frames_at(times, depths)
    sampled, gone = journey(trajectory, int(replica))
    frames = frames_along(sampled, gone) if depths is None else chosen
    half = times[sampled[np.searchsorted(gone, 0.5 * gone[-1])]] if gone[-1] > 0 else None
    scale = DepthScale(times, half, times[frames])
    with _style():
        if kind == "observables":
            figure = Figure(figsize=(5.0, 1.2 + 0.9 * _rows(trajectory)))
            draw_observables(figure, trajectory, scale, frames, int(replica))
        elif kind == "similarity":
            figure = Figure(figsize=(3.6, 0.9 + 0.55 * len(frames)))
            draw_similarity(figure.subplots(), trajectory, scale, frames, int(replica))
        else:
            figure = _compose(trajectory, kind, scale, frames, int(replica))
        _inscribe(figure, trajectory, int(replica))
        if out is not None:
            _save(figure, out)
    return figure


def draw_sweep(
    sweep: Sweep,
    *,
    kind: str | None = None,
    out: str | Path | None = None,
    observable: str | None = None,
    depths: Sequence[float] | None = None,
    at: Mapping[str, Any] | None = None,
) -> Figure:
    """Draw a sweep and, when `out` is given, save it: kind "phase", the only one, is `draw_phase`.

    Raises InvalidInput for what the sweep does not have, and for a file that cannot be written.
    """
    if kind not in (None, *SWEEP_KINDS):
        raise InvalidInput(f"kind must be {', '.join(SWEEP_KINDS)} for a sweep; got {kind!r}")
    out = _check_out(out)
    with _style():
        figure = draw_phase(sweep, observable, depths, at)
        _write_around(figure, title_of(sweep), facts_of(sweep, at or {}))
        if out is not None:
            _save(figure, out)
    return figure


def draw_study(study: Limit, *, kind: str | None = None, out: str | Path | None = None) -> Figure:
    """Draw a limit study and, when `out` is given, save it: kind "rates", the only one, is `draw_limit`.

    Raises InvalidInput for another kind, and for a file that cannot be written.
    """
    if kind not in (None, *LIMIT_KINDS):
        raise InvalidInput(f"kind must be {', '.join(LIMIT_KINDS)} for a limit study; got {kind!r}")
    out = _check_out(out)
    with _style():
        figure = draw_limit(study)
        _write_around(
            figure, title_of(study), [f"limit study: {study.kind}", f"{len(study.runs)} runs", *study.remarks]
        )
        if out is not None:
            _save(figure, out)
    return figure


def _compose(trajectory: Any, kind: str, scale: DepthScale, frames: np.ndarray, replica: int) -> Figure:
    rows = _rows(trajectory)
    lower = 0.8 + 0.25 * len(frames)
    upper = 0.4 + 0.65 * rows if rows else 0.0
    figure = Figure(figsize=(7.2, max(4.2, upper + lower + 0.5)))
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1.0), squeeze=False).flat
    PORTRAITS[kind](left.subplots(), trajectory, scale, replica)
    if rows:
        top, bottom = right.subfigures(2, 1, height_ratios=(upper, lower), squeeze=False).flat
        draw_observables(top, trajectory, scale, frames, replica)
    else:
        bottom = right
    draw_similarity(bottom.subplots(), trajectory, scale, frames, replica)
    return figure


def _rows(trajectory: Any) -> int:
    count = len(set(trajectory.observables) - {*STATE})
    return count if count <= 3 else -(-count // 2)


def _inscribe(figure: Figure, trajectory: Any, replica: int) -> None:
    """The scenario's title above, and below it what was run and how it ended."""
    _, replicas, tokens, _ = trajectory.positions.shape
    facts = [
        f"{tokens} {'token' if tokens == 1 else 'tokens'} {_where(trajectory.space)}",
        *([f"replica {replica} of {replicas}"] if replicas > 1 else []),
        f"depth {trajectory.times[0]:.6g} to {trajectory.times[-1]:.6g}",
        str(trajectory.status),
    ]
    _write_around(figure, title_of(trajectory), facts)


def _write_around(figure: Figure, title: str, facts: Sequence[str]) -> None:
    width = figure.get_figwidth()
    if title:
        lines = textwrap.wrap(title, int(13 * width))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", linespacing=1.0, parse_math=False)
    lines = textwrap.wrap(" · ".join(facts), int(19 * width), max_lines=2, placeholder=" ...")
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", linespacing=1.0, color="0.4", parse_math=False)


def _where(space: Space) -> str:
    raised = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    if not isinstance(space, Sphere):
        return "in R" + str(space.dimension).translate(raised)
    size = "" if space.radius == 1 else f" of radius {space.radius:.4g}"
    name = "the circle" if space.dimension == 2 else "the sphere S" + str(space.dimension - 1).translate(raised)
    return f"on {name}{size}"


def _check_kind(trajectory: Any, kind: str | None) -> str:
    allowed = kinds_for(trajectory.space)
    if kind is None:
        return allowed[0]
    if kind not in allowed:
        raise InvalidInput(
            f"kind must be one of {', '.join(allowed)} for tokens in a {trajectory.space.name} space of "
            f"dimension {trajectory.space.dimension}; got {kind!r}"
        )
    if kind == "observables" and not len(set(trajectory.observables) - {*STATE}):
        raise InvalidInput("the trajectory has no observables to draw; save.observables in the scenario names them")
    return kind


def _check_out(out: str | Path | None) -> Path | None:
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


def _save(figure: Figure, out: Path) -> None:
    # no date in the file: the same trajectory gives the same bytes
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(out.suffix.lower())
    try:
        with warnings.catch_warnings():  # a token of a script that no font at hand has is drawn as a box
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(out, metadata=metadata)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror or error}") from error


@contextmanager
def _style() -> Iterator[None]:
    """The style of attndyn on top of matplotlib's own defaults, for as long as a figure is made and saved."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(matplotlib.rc_params_from_file(STYLE, use_default_template=False))
        yield
