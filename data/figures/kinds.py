"""The kinds of figure by name. A new one is a function that makes a `Sheet` of a `Look`, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import InvalidInput
from ...particles import Sphere
from ..limits import Limit
from .attention import draw_attention, why_no_attention
from .depths import DepthScale
from .energy import draw_energy, why_no_energy
from .globe import draw_sphere
from .growth import draw_growth
from .limit_figure import draw_limit
from .lipschitz import draw_lipschitz, why_no_lipschitz
from .look import Look, Sheet
from .panels import draw_observables, draw_similarity
from .phase import draw_phase
from .portraits import draw_circle, draw_components, draw_line, draw_plane
from .ridge import draw_ridge
from .tree import draw_tree

Portrait = Callable[[Axes, Any, DepthScale, int], None]


@dataclass(frozen=True)
class Kind:
    """A kind of figure of trajectories.

    draw    : makes the figure; raises InvalidInput where the trajectory turns out to have none
    why_not : the sentence why this trajectory has none, None where it has one; costs little
    """

    name: str
    description: str
    draw: Callable[[Look], Sheet]
    why_not: Callable[[Look], str | None] = lambda look: None


@dataclass(frozen=True)
class SweepKind:
    """A kind of figure of sweeps; `draw` takes the sweep, the observable, depths and fixed values."""

    name: str
    description: str
    draw: Callable[..., Figure]


@dataclass(frozen=True)
class StudyKind:
    """A kind of figure of limit studies; `of` is the kind of study it is for, by default any."""

    name: str
    description: str
    draw: Callable[[Limit], Figure]
    of: str | None = None


def _composed(portrait: Portrait) -> Callable[[Look], Sheet]:
    """A page with the tokens on the left, and on the right the observables over depth and the similarity."""

    def draw(look: Look) -> Sheet:
        rows = _rows(look)
        lower = 0.8 + 0.25 * len(look.frames)
        upper = 0.4 + 0.65 * rows if rows else 0.0
        figure = Figure(figsize=(7.2, max(4.2, upper + lower + 0.5)))
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1.0), squeeze=False).flat
        portrait(left.subplots(), look.trajectory, look.scale, look.replica)
        bottom = right
        if rows:
            top, bottom = right.subfigures(2, 1, height_ratios=(upper, lower), squeeze=False).flat
            draw_observables(top, look.trajectory, look.scale, look.frames, look.replica)
        draw_similarity(bottom.subplots(), look.trajectory, look.scale, look.frames, look.replica)
        return Sheet(figure)

    return draw


def _observables(look: Look) -> Sheet:
    figure = Figure(figsize=(5.0, 1.2 + 0.9 * _rows(look)))
    draw_observables(figure, look.trajectory, look.scale, look.frames, look.replica)
    return Sheet(figure)


def _similarity(look: Look) -> Sheet:
    figure = Figure(figsize=(3.6, 0.9 + 0.55 * len(look.frames)))
    draw_similarity(figure.subplots(), look.trajectory, look.scale, look.frames, look.replica)
    return Sheet(figure)


def _rows(look: Look) -> int:
    count = len(look.measured)
    return count if count <= 3 else -(-count // 2)


def _only(where: str, suits: Callable[[Any], bool]) -> Callable[[Look], str | None]:
    return lambda look: None if suits(look.space) else f"it is for tokens {where}"


def _why_no_observables(look: Look) -> str | None:
    if look.measured:
        return None
    return "the trajectory has no observables to draw; save.observables in the scenario names them"


def _why_no_pairs(look: Look) -> str | None:
    return None if look.tokens > 1 else "a single token has no pairs"


# of those that suit a trajectory the first is drawn by default
_ROWS: tuple[Kind, ...] = (
    Kind(
        "circle",
        "angles over depth, with observables and similarity",
        _composed(draw_circle),
        _only("on the circle", lambda space: isinstance(space, Sphere) and space.dimension == 2),
    ),
    Kind(
        "sphere",
        "paths on the sphere, with observables and similarity",
        _composed(draw_sphere),
        _only("on the sphere in R^3", lambda space: isinstance(space, Sphere) and space.dimension == 3),
    ),
    Kind(
        "line",
        "the coordinate over depth, with observables and similarity",
        _composed(draw_line),
        _only("on the line", lambda space: not isinstance(space, Sphere) and space.dimension == 1),
    ),
    Kind(
        "plane",
        "paths in the plane, with observables and similarity",
        _composed(draw_plane),
        _only("in the plane or on the circle", lambda space: space.dimension == 2),
    ),
    Kind(
        "components",
        "paths in two principal components, and the same",
        _composed(draw_components),
        _only("of 3 or more components", lambda space: space.dimension >= 3),
    ),
    Kind("observables", "the observables that the file holds, over depth", _observables, _why_no_observables),
    Kind("energy", "the energy and the number of clusters over log depth", draw_energy, why_no_energy),
    Kind("tree", "the tree of clusters: who joined whom, when", draw_tree),
    Kind("similarity", "histograms of cosines or inner products at some depths", _similarity),
    Kind("ridge", "histograms of cosines or inner products at many depths", draw_ridge, _why_no_pairs),
    Kind("attention", "attention matrices at some depths, of some heads", draw_attention, why_no_attention),
    Kind(
        "lipschitz",
        "local Lipschitz constants over depth, and their bound",
        draw_lipschitz,
        why_no_lipschitz,
    ),
)
KINDS = {kind.name: kind for kind in _ROWS}
SWEEP_KINDS = {
    kind.name: kind
    for kind in (SweepKind("phase", "an observable over depth and a key, or over two keys", draw_phase),)
}
STUDY_KINDS = {
    kind.name: kind
    for kind in (
        StudyKind("growth", "constants against tokens, and their exponents", draw_growth, "regularity"),
        StudyKind("rates", "error against parameter, fit and theory", draw_limit),
    )
}


def chosen(look: Look, name: str | None) -> Kind:
    """A kind by name, by default the first that suits. Raises InvalidInput with those that suit the trajectory."""
    if name is None:
        return next(kind for kind in _ROWS if kind.why_not(look) is None)
    reason = KINDS[name].why_not(look) if name in KINDS else "there is no such kind"
    if reason is not None:
        raise InvalidInput(f"kind must be one of {', '.join(suiting(look))} for this file; got {name!r}: {reason}")
    return KINDS[name]


def suiting(look: Look) -> tuple[str, ...]:
    """The names of the kinds that suit a trajectory; the first is the one that is drawn by default."""
    return tuple(kind.name for kind in _ROWS if kind.why_not(look) is None)


def study_kinds(study: str) -> dict[str, StudyKind]:
    """The kinds of figure that suit a kind of study; the first is the one that is drawn by default."""
    return {name: kind for name, kind in STUDY_KINDS.items() if kind.of in (None, study)}


def checked_kind(kinds: dict[str, Any], name: str | None, what: str) -> Any:
    """A kind of another file by name, by default the first. Raises InvalidInput with those that there are."""
    if name is None:
        return next(iter(kinds.values()))
    if name not in kinds:
        raise InvalidInput(f"kind must be {', '.join(kinds)} for {what}; got {name!r}")
    return kinds[name]
