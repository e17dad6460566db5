"""The sphere in three dimensions, with the paths of its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle
from numpy.typing import NDArray

from ..excerpt import read_paths
from .depths import DepthScale
from .strokes import add_depth_bar, add_ends, add_lines, paler, segments_of

Array = NDArray[np.float64]


def draw_sphere(axes: Axes, trajectory: Any, depths: DepthScale, replica: int) -> None:
    """The sphere seen from a side where many tokens end: paths, their starts (rings) and ends (dots).

    A parallel projection in the plane, so that what lies behind can be paler and below what lies in front.
    """
    radius = trajectory.space.radius
    paths = read_paths(trajectory, replica)
    frame = viewpoint(paths.positions / radius)
    seen = paths.positions / radius @ frame.T  # right, up, towards the viewer
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-1.04, 1.04)
    axes.set_ylim(-1.04, 1.04)
    axes.add_patch(Circle((0, 0), 1.0, facecolor="0.975", edgecolor="0.45", linewidth=0.7, zorder=0))
    lines = graticule() @ frame.T
    _draw_graticule(axes, lines)

    segments, times, towards = segments_of(paths.times, seen, extent=2.0)
    front = towards > 0
    for side, strength, zorder in ((~front, 0.3, 0.55), (front, 1.0, 2.0)):
        add_lines(axes, segments[side], paler(depths.colours(times[side]), strength), 1.0, zorder)
    for positions, last in ((seen[0], False), (seen[-1], True)):
        near = positions[:, 2] > 0
        for side, strength, zorder in ((~near, 0.5, 0.7 + last), (near, 1.0, 3.0 + last)):
            add_ends(axes, positions[side], paths.weights[side], 2.0, depths, last, strength, zorder)
    add_depth_bar(axes, depths)


def viewpoint(positions: Array) -> Array:
    """Rows right, up and towards the viewer (3, 3), for positions (frames, tokens, 3) on the unit sphere.

    Of many directions it takes one that shows as many ends, and then starts, as it can, near the usual one,
    with the third axis pointing up.
    """
    usual = np.array([np.cos(-1.0) * np.cos(0.4), np.sin(-1.0) * np.cos(0.4), np.sin(0.4)])
    k = np.arange(400) + 0.5
    height, turn = 1 - 2 * k / 400, np.pi * (1 + np.sqrt(5)) * k
    candidates = np.column_stack([np.cos(turn) * np.sqrt(1 - height**2), np.sin(turn) * np.sqrt(1 - height**2), height])
    candidates = candidates[np.abs(height) < 0.7]
    ends, starts = np.nan_to_num(positions[-1]), np.nan_to_num(positions[0])

    def visible(tokens: Array) -> Array:
        return np.minimum(candidates @ tokens.T, 0.6).mean(axis=1)

    towards = candidates[np.argmax(visible(ends) + 0.2 * visible(starts) + 0.15 * candidates @ usual)]
    right = np.array([-towards[1], towards[0], 0.0]) / np.hypot(towards[0], towards[1])
    return np.stack([right, np.cross(towards, right), towards])


def graticule() -> Array:
    """Meridians and parallels every 30 degrees, (curves, points, 3)."""
    along = np.linspace(0, 2 * np.pi, 181)
    curves = []
    for angle in np.deg2rad(np.arange(0, 180, 30)):
        ring = np.stack([np.cos(along), np.zeros_like(along), np.sin(along)], axis=1)
        curves.append(ring @ np.array([[np.cos(angle), np.sin(angle), 0], [0, 0, 0], [0, 0, 1.0]]))
    for angle in np.deg2rad(np.arange(-60, 61, 30)):
        level = np.full_like(along, np.sin(angle))
        curves.append(np.stack([np.cos(along) * np.cos(angle), np.sin(along) * np.cos(angle), level], axis=1))
    return np.array(curves)


def _draw_graticule(axes: Axes, curves: Array) -> None:
    segments = np.stack([curves[:, :-1], curves[:, 1:]], axis=2).reshape(-1, 2, 3)
    front = segments[:, :, 2].mean(axis=1) > 0
    axes.add_collection(LineCollection(list(segments[~front, :, :2]), colors="0.93", linewidths=0.4, zorder=0.5))
    axes.add_collection(LineCollection(list(segments[front, :, :2]), colors="0.82", linewidths=0.4, zorder=0.6))
