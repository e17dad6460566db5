"""The strokes that pictures of tokens are made of: paths, dots at their starts and ends, the depth bar."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from .depths import DepthScale

Array = NDArray[np.float64]

RESOLUTION = 300  # a path is redrawn where it moved by this part of the picture
MOST_VECTOR_LINES = 30_000  # beyond, the lines of a vector file are stored as an image


def segments_of(times: Array, positions: Array, extent: float) -> tuple[Array, Array, Array]:
    """Straight pieces of the paths (pieces, 2, 2), and their middle depths and third coordinates (pieces,).

    positions : (frames, tokens, 2 or 3); extent : the size of the picture. Frames between which a token
    hardly moves are joined into one piece.
    """
    pieces, middles, towards = [np.empty((0, 2, 2))], [np.empty(0)], [np.empty(0)]
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=2)
    passed = np.floor(np.cumsum(steps, axis=0) * (RESOLUTION / extent if extent > 0 else 0.0))
    for token in range(positions.shape[1]):
        kept = np.flatnonzero(np.diff(passed[:, token], prepend=0.0) > 0) + 1
        kept = np.unique(np.concatenate([[0], kept, [len(times) - 1]]))
        path = positions[kept, token]
        pieces.append(np.stack([path[:-1, :2], path[1:, :2]], axis=1))
        middles.append((times[kept[:-1]] + times[kept[1:]]) / 2)
        towards.append((path[:-1, -1] + path[1:, -1]) / 2)
    return np.concatenate(pieces), np.concatenate(middles), np.concatenate(towards)


def add_lines(axes: Axes, segments: Array, colours: Array, alpha: float, zorder: float) -> None:
    """Draw line segments (segments, 2, 2) in colours (segments, 4); many of them become pixels in a vector file."""
    lines = LineCollection(list(segments), colors=colours, linewidths=0.8, alpha=alpha, zorder=zorder)
    lines.set_capstyle("butt")  # round ends of transparent pieces would lie over each other like beads
    lines.set_rasterized(len(segments) > MOST_VECTOR_LINES)
    axes.add_collection(lines, autolim=False)


def add_ends(
    axes: Axes,
    points: Array,
    weights: Array,
    extent: float,
    depths: DepthScale,
    last: bool,
    strength: float,
    zorder: float,
) -> None:
    """Dots where paths end, larger for many tokens in one place, and rings where they start.

    points : (tokens, 2 or more), of which the first two are drawn; extent : the size of the picture
    """
    cells = np.round(points / (0.01 * extent if extent > 0 else 1.0))
    _, first, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    x, y = points[first, 0], points[first, 1]
    if last:
        shares = np.bincount(cell.ravel(), weights, minlength=len(first))
        colour = paler(np.array(depths.colormap(1.0)), strength)
        axes.scatter(x, y, s=12 + 45 * shares, color=[colour], edgecolors="white", linewidths=0.5, zorder=zorder)
    else:
        grey = str(1.0 - 0.65 * strength)
        axes.scatter(x, y, s=7, facecolors="white", edgecolors=grey, linewidths=0.5, zorder=zorder)


def paler(colours: Array, strength: float) -> Array:
    """Colours (..., 4) mixed with white; transparency would add up where things lie over each other."""
    return np.concatenate([1.0 - strength * (1.0 - colours[..., :3]), colours[..., 3:]], axis=-1)


def add_depth_bar(axes: Axes, depths: DepthScale) -> None:
    """Draw the bar that says which colour is which depth, where there is more than one depth."""
    if depths.last > depths.first:
        mappable = ScalarMappable(depths.norm, depths.colormap)
        bar = axes.figure.colorbar(
            mappable, ax=axes, orientation="horizontal", shrink=0.5, aspect=35, pad=0.02, label="depth $t$"
        )
        bar.outline.set_visible(False)
