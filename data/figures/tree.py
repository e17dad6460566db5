"""The tree of clusters over depth: a branch for every cluster, the wider the more tokens, until it joins another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..analysis.tree import Change, ClusterTree, cluster_tree
from .depths import DepthScale
from .look import Look, Sheet

Array = NDArray[np.float64]

MOST_FRAMES = 300
MOST_WORK = 6e9  # pairs of tokens times components, for the clusters of all frames
MOST_LEAVES = 300  # beyond, small branches are not drawn
POINTS = 72.0  # to the inch
LARGEST, SMALLEST = 7.0, 4.8  # points: the sizes of letters at the leaves
TALLEST = 11.5  # inches


@dataclass(eq=False)
class Branch:
    """A cluster between two merges: so many tokens, from a depth to another, made of some branches.

    grown_from : the branch that it split off, where it did
    lasts      : whether it is there at the end
    """

    name: int
    start: float
    size: int
    parts: list[Branch] = field(default_factory=list)
    grown_from: Branch | None = None
    end: float = np.nan
    height: float = np.nan
    lasts: bool = False


def draw_tree(look: Look) -> Sheet:
    """A dendrogram with depth along the page: who joined whom, when; token strings at its leaves where they fit."""
    found = tree_of(look, look.scale)
    branches, moves = grown(found)
    least = _least(branches)
    shown = [branch for branch in branches if branch.size >= least]
    leaves = arranged(shown)
    if not leaves:
        raise InvalidInput("there is no cluster to draw")
    names = _names(look, leaves, found)
    figure = Figure(figsize=(5.4, _height(len(leaves), names is not None)))
    axes = figure.subplots()
    _draw(axes, shown, float(found.labels.shape[1]))
    look.scale.along_x(axes, ticks=8)
    axes.set_ylim(len(leaves) - 0.4, -0.6)
    axes.set_ylabel("clusters")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if names is not None:
        size = min(LARGEST, 0.9 * POINTS * (figure.get_figheight() - 1.0) / len(leaves))
        axes.set_yticks(np.arange(len(leaves)), names, fontsize=size, parse_math=False)
        axes.tick_params(axis="y", length=0, pad=1)
        axes.set_ylabel("")
    _number_ends(axes, shown)
    return Sheet(figure, _remarks(look, found, least, moves))


def tree_of(look: Look, scale: DepthScale) -> ClusterTree:
    """The cluster tree in frames along a scale of depth, in as many as time is for."""
    most = int(np.clip(MOST_WORK / (look.tokens**2 * look.space.dimension), 12, MOST_FRAMES))
    return cluster_tree(look.trajectory, look.replica, distance=look.cluster_distance, frames=look.spread(most, scale))


def grown(found: ClusterTree) -> tuple[list[Branch], int]:
    """All branches of a cluster tree, in order of their starts, and how often tokens moved from one to another."""
    start = float(found.times[0])
    living = {name: Branch(name, start, size) for name, size in found.sizes(0).items()}
    branches, moves = list(living.values()), 0
    rows = {int(frame): row for row, frame in enumerate(found.frames)}
    for frame, changes in _by_frame(found.changes):
        sizes = found.sizes(rows[frame])
        depth = float(found.times[rows[frame]])
        before = dict(living)
        joined: dict[int, list[Branch]] = {}
        for change in changes:
            if change.kind == "merge":
                living.pop(change.source).end = depth
                joined.setdefault(change.target, []).append(before[change.source])
            moves += change.kind == "move"
        for change in changes:
            if change.kind == "split":
                living[change.target] = Branch(change.target, depth, sizes[change.target])
                living[change.target].grown_from = before[change.source]
        for name in {change.target for change in changes} | {change.source for change in changes} & set(living):
            if name in before and (name in joined or living[name].size != sizes[name]):
                before[name].end = depth
                living[name] = Branch(name, depth, sizes[name], [before[name], *joined.get(name, ())])
        branches.extend(branch for branch in living.values() if branch.start == depth)
    for branch in living.values():
        branch.end, branch.lasts = float(found.times[-1]), True
    return branches, moves


def _by_frame(changes: tuple[Change, ...]) -> list[tuple[int, list[Change]]]:
    frames: dict[int, list[Change]] = {}
    for change in changes:
        frames.setdefault(change.frame, []).append(change)
    return sorted(frames.items())


def _least(branches: list[Branch]) -> int:
    """The size from which on branches are drawn, such that at most MOST_LEAVES of them are leaves."""
    for least in (1, *sorted({branch.size for branch in branches})):
        leaves = sum(branch.size >= least and all(part.size < least for part in branch.parts) for branch in branches)
        if leaves <= MOST_LEAVES:
            return least
    return 1


def arranged(branches: list[Branch]) -> list[Branch]:
    """The leaves, first to last; every branch has its height then, a leaf its number, another the mean of its parts."""
    shown = set(map(id, branches))
    inner = {id(part) for branch in branches for part in branch.parts}
    first: dict[int, tuple[float, ...]] = {}
    for branch in branches:  # parts come before what is made of them
        keys = [first[id(part)] for part in branch.parts if id(part) in shown]
        beside = first.get(id(branch.grown_from), (float(branch.name),))
        first[id(branch)] = min(keys, default=beside if branch.grown_from is None else (*beside, branch.start))
    leaves: list[Branch] = []
    # by hand, for a tree may be deeper than Python recurses
    waiting = sorted((b for b in branches if id(b) not in inner), key=lambda b: first[id(b)], reverse=True)
    while waiting:
        branch = waiting.pop()
        parts = [part for part in branch.parts if id(part) in shown]
        if not parts:
            branch.height = float(len(leaves))
            leaves.append(branch)
        waiting.extend(sorted(parts, key=lambda b: first[id(b)], reverse=True))
    for branch in branches:
        heights = [part.height for part in branch.parts if id(part) in shown]
        if heights:
            branch.height = 0.5 * (min(heights) + max(heights))
    return leaves


def _draw(axes: Axes, branches: list[Branch], tokens: float) -> None:
    lines, widths, thin = [], [], []
    for branch in branches:
        lines.append([(branch.start, branch.height), (branch.end, branch.height)])
        widths.append(0.5 + 4.0 * np.sqrt(branch.size / tokens))
        reached = [part.height for part in branch.parts if np.isfinite(part.height)]
        if reached:
            lines.append([(branch.start, min(reached)), (branch.start, max(reached))])
            widths.append(0.6)
        if branch.grown_from is not None and np.isfinite(branch.grown_from.height):
            thin.append([(branch.start, branch.grown_from.height), (branch.start, branch.height)])
    colours = ["0.2" if width > 1.0 else "0.4" for width in widths]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=widths, capstyle="butt"))
    axes.add_collection(LineCollection(thin, colors="C1", linewidths=0.6, linestyles=":"))


def _names(look: Look, leaves: list[Branch], found: ClusterTree) -> list[str] | None:
    """What stands at the leaves: the strings of their tokens, as far as there is room; None where they do not fit."""
    strings = look.trajectory.token_strings
    if strings is None or len(leaves) * SMALLEST * 1.1 > POINTS * (TALLEST - 1.0):
        return None
    names = []
    for leaf in leaves:
        row = int(np.searchsorted(found.times, leaf.start))
        members = np.flatnonzero(found.labels[row] == leaf.name)
        names.append(_shortened([str(strings[token]) for token in members]))
    return names


def _shortened(strings: list[str], most: int = 24) -> str:
    text = strings[0]
    for count, string in enumerate(strings[1:], start=1):
        if len(text) + len(string) + 2 > most:
            return f"{text}, +{len(strings) - count}"
        text += f", {string}"
    return text


def _height(leaves: int, named: bool) -> float:
    """Inches."""
    if named:
        return float(np.clip(1.0 + leaves * 1.1 * LARGEST / POINTS, 2.6, TALLEST))
    return float(np.clip(1.2 + 0.06 * leaves, 2.6, 6.5))


def _number_ends(axes: Axes, branches: list[Branch]) -> None:
    """How many tokens there are in the last clusters, beside their branches, where there is room."""
    ends = sorted((branch for branch in branches if branch.lasts), key=lambda branch: branch.height)
    assert isinstance(axes.figure, Figure)
    room = 1.15 * LARGEST / POINTS / max(axes.figure.get_figheight() - 1.0, 1.0) * np.ptp(axes.get_ylim())
    below = -np.inf
    for branch in ends:
        if branch.height - below >= room:
            axes.annotate(
                str(branch.size),
                (1.0, branch.height),
                xycoords=axes.get_yaxis_transform(),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=LARGEST,
                va="center",
                color="0.3",
                annotation_clip=False,
            )
            below = branch.height


def _remarks(look: Look, found: ClusterTree, least: int, moves: int) -> list[str]:
    some = len(found.frames) < len(look.times)
    remarks = [f"clusters at {len(found.frames)} of {len(look.times)} frames"] if some else []
    remarks += [f"branches of {least} tokens or more"] if least > 1 else []
    return remarks + ([f"{moves} moves between clusters are not drawn"] if moves else [])
