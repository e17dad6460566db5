"""Pictures of the tokens in their space: the circle, the line, the plane, principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ...particles import Sphere
from ..excerpt import MOST_PAIRED, Paths, read_frame, read_paths, sample, weights_of
from .depths import DepthScale, mark
from .strokes import add_depth_bar, add_ends, add_lines, segments_of

Array = NDArray[np.float64]

MOST_LABELS = 24


def draw_circle(axes: Axes, trajectory: Any, depths: DepthScale, replica: int) -> None:
    """The angle of every token over depth."""

    def angle(positions: Array) -> Array:
        return np.arctan2(positions[..., 1], positions[..., 0])[..., None]

    paths = read_paths(trajectory, replica, angle)
    angles = np.unwrap(paths.positions[..., 0], axis=0)
    # a path that leaves [-pi, pi] comes in on the other side: draw it once per turn that it touches
    low = np.floor((np.nanmin(angles, axis=0, initial=np.inf) + np.pi) / (2 * np.pi))
    high = np.floor((np.nanmax(angles, axis=0, initial=-np.inf) + np.pi) / (2 * np.pi))
    copies = [
        angles[:, k] - 2 * np.pi * turn
        for k in range(angles.shape[1])
        if np.isfinite(low[k])
        for turn in range(int(low[k]), int(high[k]) + 1)
    ]
    _draw_over_depth(axes, paths.times, copies, depths)
    axes.set_ylim(-np.pi, np.pi)
    axes.set_yticks(np.pi * np.array([-1, -0.5, 0, 0.5, 1]), [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
    axes.set_ylabel("angle")


def draw_line(axes: Axes, trajectory: Any, depths: DepthScale, replica: int) -> None:
    """The one coordinate of every token over depth."""
    paths = read_paths(trajectory, replica)
    _draw_over_depth(axes, paths.times, list(paths.positions[..., 0].T), depths)
    axes.set_ylabel("$x$")


def _draw_over_depth(axes: Axes, times: Array, curves: Sequence[Array], depths: DepthScale) -> None:
    alpha = float(np.clip(50.0 / max(len(curves), 1), 0.3, 0.9))
    if len(times) == 1:
        values = np.array(curves)[:, 0]
        axes.scatter(np.full(len(values), times[0]), values, s=8, color="0.2", alpha=alpha)
    else:
        lines = LineCollection(
            [np.column_stack([times, curve]) for curve in curves],
            colors=[(*depths.colormap(1.0)[:3], alpha)],
            linewidths=0.7,
        )
        axes.add_collection(lines)
        axes.autoscale_view()
    depths.along_x(axes, ticks=8)
    on_axis = axes.get_xaxis_transform()
    mark(axes, depths.marks, np.zeros(len(depths.marks)), depths, transform=on_axis, zorder=5)


def draw_plane(axes: Axes, trajectory: Any, depths: DepthScale, replica: int) -> None:
    """Paths in the plane, their starts (rings) and their ends (dots)."""
    paths = read_paths(trajectory, replica)
    if isinstance(trajectory.space, Sphere):
        rim = Circle((0, 0), trajectory.space.radius, facecolor="none", edgecolor="0.6", linewidth=0.6, zorder=0)
        axes.add_patch(rim)
    _draw_flat(axes, paths, depths)
    axes.ticklabel_format(style="sci", scilimits=(-3, 4), useMathText=True)  # tokens may run off exponentially
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")


def draw_components(axes: Axes, trajectory: Any, depths: DepthScale, replica: int) -> None:
    """The first two principal components of the first and last frame; token strings at the starts."""
    centre, directions, shares = _principal(trajectory, replica)
    paths = read_paths(trajectory, replica, lambda positions: (positions - centre) @ directions.T)
    _draw_flat(axes, paths, depths)
    axes.set_xlabel(f"principal component 1 ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"principal component 2 ({shares[1]:.0%})")
    if trajectory.token_strings is not None:
        strings = [str(trajectory.token_strings[token]) for token in paths.tokens]
        _label(axes, paths.positions[0], strings)


def _principal(trajectory: Any, replica: int) -> tuple[Array, Array, Array]:
    """Centre (dimension,), two directions (2, dimension) and their shares of the variance (2,)."""
    weights = weights_of(trajectory, replica)
    tokens = sample(weights, MOST_PAIRED)
    frames = [read_frame(trajectory, frame, replica, tokens) for frame in (0, len(trajectory.times) - 1)]
    rows = np.concatenate(frames)
    weight = np.tile(weights[tokens], 2)
    finite = np.isfinite(rows).all(axis=1)
    rows, weight = rows[finite], weight[finite]
    dimension = trajectory.positions.shape[3]
    directions, shares = np.eye(2, dimension), np.zeros(2)
    if len(rows) == 0:
        return np.zeros(dimension), directions, shares
    centre = weight @ rows / weight.sum()
    _, singular, right = np.linalg.svd(np.sqrt(weight)[:, None] * (rows - centre), full_matrices=False)
    found = min(2, len(right))
    directions[:found] = right[:found]
    # the sign of a singular vector is arbitrary; this one does not change with the linear algebra library
    directions *= np.sign(directions[np.arange(2), np.abs(directions).argmax(axis=1)] + 0.0)[:, None]
    total = float(np.sum(singular**2))
    shares[:found] = singular[:found] ** 2 / total if total > 0 else 0.0
    return centre, directions, shares


def _draw_flat(axes: Axes, paths: Paths, depths: DepthScale) -> None:
    finite = paths.positions[np.isfinite(paths.positions).all(axis=2)]
    extent = float(np.ptp(finite, axis=0).max()) if len(finite) else 0.0
    segments, times, _ = segments_of(paths.times, paths.positions, extent)
    alpha = float(np.clip(60.0 / len(paths.tokens), 0.3, 0.85))
    add_lines(axes, segments, depths.colours(times), alpha, 2.0)
    add_ends(axes, paths.positions[0], paths.weights, extent, depths, False, 1.0, 3.0)
    add_ends(axes, paths.positions[-1], paths.weights, extent, depths, True, 1.0, 4.0)
    axes.set_aspect("equal", adjustable="datalim")
    if len(finite):
        margin = 0.05 * extent or 1.0
        axes.update_datalim([finite.min(axis=0) - margin, finite.max(axis=0) + margin])
    axes.margins(0.0)
    axes.autoscale_view()
    add_depth_bar(axes, depths)


def _label(axes: Axes, points: Array, strings: Sequence[str]) -> None:
    """Write the strings of tokens beside their points: words only, each once, the outermost first, none over
    another."""
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    places = (points - low) / (high - low)
    placed: list[Array] = []
    written: set[str] = set()
    for token in np.argsort(-np.linalg.norm(places - 0.5, axis=1)):
        place = places[token]
        if len(written) == MOST_LABELS or not np.isfinite(place).all():
            continue
        if strings[token] in written or not any(map(str.isalnum, strings[token])):
            continue
        if any(abs(place[0] - other[0]) < 0.13 and abs(place[1] - other[1]) < 0.035 for other in placed):
            continue
        placed.append(place)
        written.add(strings[token])
        axes.annotate(
            strings[token],
            points[token],
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=7,
            color="0.15",
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            zorder=5,
            parse_math=False,
        )
