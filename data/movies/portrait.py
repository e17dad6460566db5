"""The tokens of a movie as they are drawn: dots, the trails behind them, and the camera that goes around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.patches import Circle
from numpy.typing import NDArray

from ..figures.globe import graticule
from ..figures.strokes import paler
from .words import Words

Array = NDArray[np.float64]

BEHIND = 0.3  # the strength of colours behind the sphere, which is not transparent
GRATICULE = graticule()
GROUPS = 6  # pieces of a trail, each paler than the one after it
SHORT, LONG = 0.12, 0.4  # of the movie that a trail lasts: where tokens move, and where depth is an axis of the picture
LEVELS = 50  # per unit of height towards the viewer that are told apart
MARGIN = 1.06
OUTRUN = 6.0  # the picture widens with the tokens where they come to be so many times farther apart than at the start


@dataclass(frozen=True)
class Camera:
    """A parallel projection that turns around an axis, and has turned to `frame` at the end of the movie.

    frame : rows right, up and towards the viewer (3, 3); axis : a unit vector (3,); turn : radians, in the whole movie
    """

    frame: Array
    axis: Array
    turn: float

    def view(self, share: float) -> Array:
        """Rows right, up and towards the viewer (3, 3), at a share of the movie."""
        angle = self.turn * (share - 1.0)
        cross = np.cross(np.eye(3), self.axis)
        # Rodrigues' formula; rows are turned, so the sign of the sine is that of the transpose
        turned = np.eye(3) - np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
        return self.frame @ turned


class Cloud:
    """The dots and trails of the tokens, in two layers: behind and in front."""

    def __init__(self, axes: Axes, tokens: int, behind: float) -> None:
        self._strengths = (behind, 1.0)
        self._groups = int(np.clip(1500 // tokens, 2, GROUPS))
        self._size = float(np.clip(3000.0 / tokens, 12.0, 35.0))
        width = float(np.clip(120.0 / tokens, 0.6, 1.3))
        self._layers = [_layer(axes, width, zorder) for zorder in (1.0, 3.0)]

    def below(self) -> list[Artist]:
        """What is drawn below everything that lies in the middle."""
        return list(self._layers[0])

    def in_front(self) -> list[Artist]:
        """What is drawn last."""
        return list(self._layers[1])

    def move(self, path: Array, colours: Array, crowd: Array) -> None:
        """Put the tokens at the ends of their paths (steps, tokens, 3): right, up and towards the viewer.

        colours : (steps, 1 or tokens, 4); crowd : (tokens,) the share of all tokens that is at a token's place
        """
        ends, tokens = path[-1], path.shape[1]
        # the nearest last; the tokens of a crowd in the order of their numbers, whatever their last digits are
        order = np.lexsort((np.arange(tokens), np.round(ends[:, 2] * LEVELS)))
        order = order[np.isfinite(ends[order]).all(axis=1)]
        for (trail, dots), side, strength in zip(self._layers, (False, True), self._strengths, strict=True):
            pieces, shades = self._pieces(path, colours, side)
            trail.set_segments(pieces)
            trail.set(color=paler(np.array(shades).reshape(-1, 4), strength))
            shown = order[(ends[order, 2] >= 0.0) == side]
            dots.set_offsets(ends[shown, :2])
            dots.set(facecolor=paler(np.broadcast_to(colours[-1], (tokens, 4))[shown], strength))
            dots.set_sizes(self._size * (1.0 + 4.0 * np.sqrt(crowd[shown])))

    def _pieces(self, path: Array, colours: Array, side: bool) -> tuple[list[Array], list[Array]]:
        """The trails on one side as lines (points, 2) and their colours, the oldest and palest first.

        The lines of all tokens of a colour are one, with gaps of NaN, which is drawn many times faster.
        """
        pieces, shades = [], []
        steps = np.linspace(0, len(path) - 1, self._groups + 1).round().astype(int)
        for group, (first, last) in enumerate(pairwise(steps)):
            if last == first:
                continue
            lines = path[first : last + 1].transpose(1, 0, 2)
            there = (lines[..., 2].mean(axis=1) >= 0.0) == side
            lines = np.concatenate([lines[..., :2], np.full((len(lines), 1, 2), np.nan)], axis=1)
            row, strength = colours[last], 0.15 + 0.6 * (group + 1) / self._groups
            distinct, which = np.unique(row, axis=0, return_inverse=True)
            for number, colour in enumerate(distinct):
                chosen = lines[there & (which.ravel() == number if len(row) > 1 else True)]
                if len(chosen):
                    pieces.append(chosen.reshape(-1, 2))
                    shades.append(paler(colour, strength))
        return pieces, shades


def _layer(axes: Axes, width: float, zorder: float) -> tuple[LineCollection, PathCollection]:
    trail = LineCollection([], linewidths=width, capstyle="butt", animated=True, zorder=zorder)
    axes.add_collection(trail, autolim=False)
    dots = axes.scatter([], [], edgecolors="white", linewidths=0.5, animated=True, zorder=zorder + 0.5)
    return trail, dots


class Portrait:
    """The moving part of a picture that shows the tokens in their space.

    places  : (pictures, tokens, 3), for the kinds "circle", "plane" and "line" with zeros for what they lack
    colours : (1, tokens, 4), or (pictures, 1, 4) where depth is the colour
    labels  : of the axes, where they have any
    strings : of the tokens, some of which are written beside them; None for none
    """

    def __init__(
        self,
        axes: Axes,
        kind: str,
        places: Array,
        colours: Array,
        camera: Camera,
        labels: Sequence[str],
        strings: Sequence[str] | None = None,
    ) -> None:
        self._axes, self._kind, self._places, self._colours, self._camera = axes, kind, places, colours, camera
        self._pictures, self._shares = len(places), np.linspace(0.0, 1.0, len(places))
        self._trail = max(1, round((LONG if kind in ("circle", "line") else SHORT) * self._pictures))
        flat = kind in ("plane", "components", "line")
        self._reach = _reach(places, camera) if flat else np.ones(self._pictures)
        self.widens = bool(self._reach[-1] > self._reach[0])
        self._cloud = Cloud(axes, places.shape[1], BEHIND if kind == "sphere" else 1.0)
        self._lines = LineCollection([], linewidths=0.5, colors="0.8", animated=True, zorder=2.0)
        axes.add_collection(self._lines, autolim=False)
        STAGES[kind](axes, labels)
        if kind == "components" and camera.turn:  # its axes turn, and are drawn as lines
            axes.set_axis_off()
        if self.widens and axes.axison:
            axes.ticklabel_format(style="sci", scilimits=(-3, 4), useMathText=True)
            axes.xaxis.set_animated(True)
            axes.yaxis.set_animated(True)
        self._words: Words | None = None
        if strings is not None and kind in ("sphere", "plane", "components"):
            widest = int(np.argmax(np.nan_to_num(places).std(axis=1).sum(axis=1)))
            self._words = Words(axes, strings, places[widest] @ camera.view(float(self._shares[widest])).T)
        self.show(self._pictures - 1)

    def artists(self) -> list[Artist]:
        """What moves, in the order in which it is drawn."""
        rulers: list[Artist] = [self._axes.xaxis, self._axes.yaxis] if self.widens and self._axes.axison else []
        words = self._words.artists() if self._words else []
        return [*rulers, *self._cloud.below(), self._lines, *self._cloud.in_front(), *words]

    def show(self, picture: int) -> None:
        """Move everything to where it is in a picture."""
        first = max(0, picture - self._trail)
        path, colours = self._places[first : picture + 1], self._colours
        if len(colours) > 1:
            colours = colours[first : picture + 1]
        view = self._camera.view(float(self._shares[picture]))
        age = (np.arange(first, picture + 1) - picture)[:, None] / self._trail
        reach = float(self._reach[picture])
        crowd = _crowd(self._places[picture], 0.015 * 2.0 * reach)
        if self._kind == "circle":  # the past lies further inside
            path = path * (1.0 + 0.6 * age)[..., None]
        elif self._kind == "line":  # and here further to the left
            path = np.stack([np.broadcast_to(age, path.shape[:2]), path[..., 0], path[..., 2]], axis=-1)
        else:
            path = path @ view.T
        self._cloud.move(path, np.broadcast_to(colours, (len(path), *colours.shape[1:])), crowd)
        if self._words:
            behind = (path[-1, :, 2:] < 0.0) & (self._kind == "sphere")
            self._words.move(np.where(behind, np.nan, path[-1]), reach)
        if self._kind == "sphere":
            curves = GRATICULE @ view.T
            pieces = np.stack([curves[:, :-1], curves[:, 1:]], axis=2).reshape(-1, 2, 3)
            self._lines.set_segments(pieces[pieces[..., 2].mean(axis=1) > 0.0][..., :2])
        elif self._kind != "circle":
            half = MARGIN * reach
            self._axes.set_ylim(-half, half)
            if self._kind != "line":
                self._axes.set_xlim(-half, half)
            if self._kind == "components" and self._camera.turn:
                self._lines.set_segments(reach * (np.eye(3)[:, None] * np.array([[-1.0], [1.0]]) @ view.T)[..., :2])


def _reach(places: Array, camera: Camera) -> Array:
    """Half the width of what every picture shows, (pictures,): all that ever is seen, or what has been seen until then
    where that comes to be OUTRUN times as much as at the start."""
    shares = np.linspace(0.0, 1.0, len(places))
    seen = [now @ camera.view(float(share)).T for share, now in zip(shares, places, strict=True)]
    size = np.array([np.abs(now[np.isfinite(now).all(axis=1), :2]).max(initial=0.0) for now in seen])
    until = np.maximum.accumulate(size)
    if not 0.0 < until[0] < until[-1] / OUTRUN:
        return np.full(len(size), until[-1] or 1.0)
    return until


def _crowd(places: Array, width: float) -> Array:
    """The share of all tokens that is within about `width` of each, (tokens,), for places (tokens, 3)."""
    squares = np.sum((places[:, None] - places[None]) ** 2, axis=2)
    return np.exp(-squares / (2.0 * width**2)).mean(axis=1) - 1.0 / len(places)


def _stage_round(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-MARGIN, MARGIN)
    axes.set_ylim(-MARGIN, MARGIN)
    axes.add_patch(Circle((0, 0), 1.0, facecolor="0.975", edgecolor="0.45", linewidth=0.7, zorder=0))


def _stage_flat(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_aspect("equal")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def _stage_line(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_xlim(-1.02, 0.08)
    axes.set_xticks([])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.spines["bottom"].set_visible(False)


STAGES: dict[str, Callable[[Axes, Sequence[str]], None]] = {
    "circle": _stage_round,
    "sphere": _stage_round,
    "plane": _stage_flat,
    "components": _stage_flat,
    "line": _stage_line,
}
