"""What a movie shows: the tokens in their space, the depth, and observables with a cursor that moves with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles import Space, Sphere
from ..excerpt import sample, title_of, weights_of
from ..figures.depths import DepthScale
from ..figures.globe import viewpoint
from ..figures.page import facts_of, inscribe
from ..figures.panels import draw_observables
from ..layout import STATE
from .clock import Clock
from .colours import colours_of
from .motion import MOST_TOKENS, motion, principal_axes
from .portrait import Camera, Portrait

Array = NDArray[np.float64]

HEIGHT = 6.0  # of the page, in inches, whose text is 9 points: pictures of all sizes have the same layout
# left, bottom, width and height, in parts of the left square
ROUND = (0.09, 0.14, 0.8, 0.8)
FLAT = (0.14, 0.205, 0.7, 0.7)
BAR = (0.06, 0.095, 0.86, 0.016)
MOST_OBSERVABLES = 2
TURNS = {"sphere": 120.0, "components": 60.0}  # degrees in the whole movie, of kinds with a camera that turns


def movie_kinds(space: Space) -> tuple[str, ...]:
    """The kinds of movie that suit this space; the first is the one by default."""
    return {
        (True, 2): ("circle", "plane"),
        (True, 3): ("sphere", "components"),
        (False, 1): ("line",),
        (False, 2): ("plane", "components"),
    }.get((isinstance(space, Sphere), space.dimension), ("components",))


class Subject(NamedTuple):
    """What is filmed: a kind of picture of some tokens of a replica, how its camera turns (degrees), its colours."""

    kind: str
    replica: int
    tokens: NDArray[np.intp]
    turn: float
    colour: str


def subject_of(trajectory: Any, kind: str | None, replica: int, turn: float | None, colour: str) -> Subject:
    """The subject, with what is not given chosen. Raises InvalidInput for what does not suit the trajectory."""
    space = trajectory.space
    allowed = movie_kinds(space)
    kind = allowed[0] if kind is None else kind
    if kind not in allowed:
        raise InvalidInput(
            f"kind must be one of {', '.join(allowed)} for a movie of tokens in a {space.name} space of dimension "
            f"{space.dimension}; got {kind!r}"
        )
    if turn is not None and kind not in TURNS:
        raise InvalidInput(f"turn belongs to the kinds {', '.join(TURNS)}; got {turn:g} with {kind}")
    tokens = sample(weights_of(trajectory, replica), MOST_TOKENS)
    return Subject(kind, replica, tokens, TURNS.get(kind, 0.0) if turn is None else turn, colour)


class Scene:
    """The pictures of a movie, each drawn when it is asked for.

    width, height : in pixels; pictures : how many there are

    One figure is made, and what does not move is drawn once. It is drawn in the style that is set meanwhile.
    """

    def __init__(self, trajectory: Any, subject: Subject, clock: Clock, pictures: int, size: int) -> None:
        self.pictures = pictures
        self.depths = clock.depths(np.linspace(0.0, 1.0, pictures))
        names = [name for name in trajectory.observables if name not in STATE][:MOST_OBSERVABLES]
        self.height = size
        self.width = 2 * round(0.8 * size) if names else size
        by_hand = PlaceHolderLayoutEngine(True, True)  # constrained layout would move what has a place
        figure = Figure(figsize=(HEIGHT * self.width / size, HEIGHT), dpi=size / HEIGHT, layout=by_hand)
        self._canvas = FigureCanvasAgg(figure)
        left, right = figure, None
        if names:
            left, right = figure.subfigures(1, 2, width_ratios=(size, self.width - size), squeeze=False).flat
        scale = clock.scale()
        axes = left.add_axes(ROUND if subject.kind in ("circle", "sphere") else FLAT)
        self._portrait, facts = _portrait(axes, trajectory, subject, clock, scale, self.depths)
        self._cursors: list[_Bar | _Cursor] = [_Bar(left.add_axes(BAR), scale)]
        if right is not None:
            self._cursors += _panels(right, trajectory, names, scale, subject.replica)
            right.subplots_adjust(left=0.14, right=0.93, bottom=0.125, top=0.88, hspace=0.25)
        inscribe(figure, title_of(trajectory), [*facts_of(trajectory, subject.replica), *facts])
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(figure.bbox)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """The pixels (height, width, 3) of a picture."""
        self._portrait.show(number)
        for cursor in self._cursors:
            cursor.show(float(self.depths[number]))
        self._canvas.restore_region(self._still)
        renderer = self._canvas.get_renderer()
        for part in (self._portrait, *self._cursors):
            for artist in part.artists():
                artist.draw(renderer)
        return np.ascontiguousarray(np.asarray(self._canvas.buffer_rgba())[..., :3])


def _portrait(
    axes: Axes, trajectory: Any, subject: Subject, clock: Clock, scale: DepthScale, depths: Array
) -> tuple[Portrait, list[str]]:
    """The tokens, and what is to be said of them."""
    project, camera, labels = None, Camera(np.eye(3), np.eye(3)[1], np.deg2rad(subject.turn)), ("$x_1$", "$x_2$")
    space, tokens = trajectory.space, subject.tokens
    if subject.kind == "components":
        centre, axes_of, shares = principal_axes(trajectory, subject.replica, tokens, clock)
        labels = (
            f"principal component 1 ({shares[0]:.0%} of the variance)",
            f"principal component 2 ({shares[1]:.0%})",
        )
        if subject.turn:
            labels = ("", "")

        def project(positions: Array) -> Array:
            return (positions - centre) @ axes_of.T

    elif subject.kind == "line":
        labels = (r"the past $\leftarrow$", "$x$")
    places = motion(trajectory, subject.replica, tokens, clock, len(depths), project)
    if subject.kind in ("circle", "sphere"):
        places = places / space.radius
    if subject.kind == "components" and np.isfinite(places).any():  # the middle of what is seen, around which it turns
        places = places - 0.5 * (np.nanmin(places, axis=(0, 1)) + np.nanmax(places, axis=(0, 1)))
    if subject.kind == "sphere":
        # the third axis points up, and at the end of the movie many tokens are seen
        camera = Camera(viewpoint(places[[0, -1]]), np.eye(3)[2], np.deg2rad(subject.turn))
    colours, meaning = colours_of(trajectory, subject.replica, tokens, clock, subject.colour, places[0])
    colours = scale.colours(depths)[:, None] if colours is None else colours[None]
    places = np.concatenate([places, np.zeros((*places.shape[:2], 3 - places.shape[2]))], axis=2)
    facts = [meaning]
    if len(tokens) < np.count_nonzero(weights_of(trajectory, subject.replica)):
        facts.insert(0, f"{len(tokens)} of them drawn")
    if subject.kind == "components" and subject.turn:
        facts.append(f"principal components ({', '.join(f'{share:.0%}' for share in shares)})")
    strings = trajectory.token_strings
    strings = None if strings is None else [strings[token] for token in tokens]
    return Portrait(axes, subject.kind, places, colours, camera, labels, strings), facts


class _Bar:
    """The depth, as a number and along a bar."""

    def __init__(self, axes: Axes, scale: DepthScale) -> None:
        self._first = scale.first
        axes.set_ylim(-1.0, 1.0)
        axes.set_yticks([])
        axes.spines[["left"]].set_visible(False)
        scale.along_x(axes, label=False, ticks=8)
        axes.axhline(0.0, color="0.88", linewidth=4.0, solid_capstyle="butt")
        (self._passed,) = axes.plot([], [], color="0.35", linewidth=4.0, solid_capstyle="butt", animated=True)
        (self._now,) = axes.plot([], [], "o", color="0.15", markersize=7.0, clip_on=False, animated=True)
        self._text = axes.text(
            1.0, 1.6, "", transform=axes.transAxes, ha="right", va="bottom", fontsize=11, animated=True
        )
        span = scale.last - scale.first or 1.0
        self._digits = None if scale.logarithmic else max(0, 2 - int(np.floor(np.log10(span))))

    def artists(self) -> list[Artist]:
        return [self._passed, self._now, self._text]

    def show(self, depth: float) -> None:
        self._passed.set_data([self._first, depth], [0.0, 0.0])
        self._now.set_data([depth], [0.0])
        self._text.set_text(f"depth {_number(depth, self._digits)}")


def _number(depth: float, digits: int | None) -> str:
    """A depth with so many decimals or, where it goes through decades, with three digits."""
    if digits is None and 1e-3 <= abs(depth) < 1e4:
        digits = max(0, 2 - int(np.floor(np.log10(abs(depth)))))
    if digits is not None and digits <= 6:
        return f"{depth:.{digits}f}"
    mantissa, _, power = f"{depth:.2e}".partition("e")
    return "0" if depth == 0.0 else rf"${mantissa} \times 10^{{{int(power)}}}$"


def _panels(area: Any, trajectory: Any, names: list[str], scale: DepthScale, replica: int) -> list[_Cursor]:
    """Panels of these observables, as in a figure."""
    few = SimpleNamespace(times=trajectory.times, observables={name: trajectory.observables[name] for name in names})
    draw_observables(area, few, scale, np.empty(0, np.intp), replica)
    return [_Cursor(axes) for axes in area.get_axes() if axes.lines]


class _Cursor:
    """A line at the depth, and dots where it meets the curves."""

    def __init__(self, axes: Axes) -> None:
        self._curves = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.lines]
        self._steps = [line.get_drawstyle() != "default" for line in axes.lines]
        self._line = axes.axvline(np.nan, color="0.5", linewidth=0.8, animated=True)
        (self._dots,) = axes.plot([], [], "o", color="0.15", markersize=5.0, clip_on=False, animated=True)

    def artists(self) -> list[Artist]:
        return [self._line, self._dots]

    def show(self, depth: float) -> None:
        self._line.set_xdata([depth, depth])
        values = [_value(x, y, depth, steps) for (x, y), steps in zip(self._curves, self._steps, strict=True)]
        self._dots.set_data([depth] * len(values), values)


def _value(x: Array, y: Array, depth: float, steps: bool) -> float:
    if steps:
        return float(y[max(int(np.searchsorted(x, depth, side="right")) - 1, 0)])
    return float(np.interp(depth, x, y))
