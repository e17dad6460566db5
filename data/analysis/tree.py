"""Cluster membership over depth, and its tree: who joined whom, and who came apart, when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...particles.observables import cluster_labels, default_cluster_distance
from ..excerpt import evenly
from .ensembles import ensembles
from .in_order import in_order
from .subject import Subject
from .table import Table

Labels = NDArray[np.int32]
MOST_LABELS = 1 << 26  # frames times tokens, 256 MB: of longer files fewer frames are looked at


class Change(NamedTuple):
    """Tokens of one cluster that belong to another from a frame on.

    frame, depth : where it is first seen; it happened after the frame before
    kind         : "merge": the cluster becomes part of `target`, and is no more
                   "split": some of its tokens are a cluster of their own from now on, named `target`
                   "move" : some of its tokens are in `target`, which was there before
    source       : the cluster that they were in        size        : how many tokens they are
    target       : the cluster that they are in         size_target : its tokens before, 0 after a split
    """

    frame: int
    depth: float
    kind: str
    source: int
    target: int
    size: int
    size_target: int


@dataclass(frozen=True, eq=False)
class ClusterTree:
    """Which cluster every token is in, over depth.

    frames  : (looked at,) numbers of frames of the file
    times   : (looked at,) their depths
    labels  : (looked at, tokens) the cluster of each token, -1 for a token of weight zero
    changes : merges, splits and moves, in order of depth

    A cluster is named by the number of a token: its first, when it was first seen. It keeps the name as long as most of
    its tokens stay together and it does not join a larger one.
    """

    frames: NDArray[np.intp]
    times: NDArray[np.float64]
    labels: Labels
    changes: tuple[Change, ...]

    @property
    def merges(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind == "merge")

    @property
    def splits(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind != "merge")

    def sizes(self, row: int) -> dict[int, int]:
        """Cluster -> number of its tokens, in one of the frames looked at."""
        names, counts = np.unique(self.labels[row], return_counts=True)
        return {int(name): int(count) for name, count in zip(names, counts, strict=True) if name >= 0}

    def counts(self, least: int = 1) -> NDArray[np.intp]:
        """The number of clusters of at least so many tokens, (looked at,)."""
        return np.array([sum(size >= least for size in self.sizes(row).values()) for row in range(len(self.times))])


def cluster_tree(
    trajectory: Any,
    replica: int = 0,
    *,
    distance: float | None = None,
    frames: NDArray[np.intp] | None = None,
    threads: int | None = None,
) -> ClusterTree:
    """Clusters of one replica over depth: components of the graph that joins tokens within `distance`.

    distance : by default that of `observables.default_cluster_distance`
    frames   : to look at, increasing; by default all, or as many, evenly, as make 256 MB of labels

    Costs one search for clusters a frame, see `observables.clusters`; on several threads. Raises InvalidInput for a
    replica that is not there and for a distance that is negative or not a number.
    """
    if frames is None:
        frames = evenly(len(trajectory.times), max(2, MOST_LABELS // trajectory.tokens))
    labels = np.empty((len(frames), trajectory.tokens), np.int32)
    changes: list[Change] = []
    each = ensembles(trajectory, frames, replica)
    from ...particles.backends.compiled.schedule import default_threads  # imports numba, which takes a while

    label = lambda ensemble: cluster_labels(ensemble, distance)[0]  # noqa: E731
    found = (labels for _, labels in in_order(label, each, threads or default_threads()))
    for row, (frame, groups) in enumerate(zip(frames.tolist(), found, strict=True)):
        if row == 0:
            labels[0] = _first_tokens(groups)
            continue
        labels[row], changed = succession(labels[row - 1], groups)
        changes.extend(Change(frame, float(trajectory.times[frame]), *change) for change in changed)
    return ClusterTree(frames, np.asarray(trajectory.times)[frames], labels, tuple(changes))


def succession(before: Labels, groups: NDArray[np.integer]) -> tuple[Labels, list[tuple[str, int, int, int, int]]]:
    """The names of the clusters one frame later, (tokens,), and what changed, as `Change` from its kind on.

    before : (tokens,) names of clusters, the numbers of tokens      groups : (tokens,) 0, 1, ... in any order
    both   : -1 for tokens that do not count

    A cluster goes on as the group with most of its tokens. Where several go on as one, the name of the one that brings
    most tokens stays; equals, here and there, in the order of their first tokens.
    """
    count = int(groups.max(initial=-1)) + 1
    both = np.flatnonzero((before >= 0) & (groups >= 0))
    pairs, first, size = np.unique(
        before[both].astype(np.int64) * count + groups[both], return_index=True, return_counts=True
    )
    source, group = np.divmod(pairs, max(count, 1))
    order = np.lexsort((first, -size))  # the largest first
    goes_on = np.zeros(len(pairs), bool)
    goes_on[order[np.unique(source[order], return_index=True)[1]]] = True
    names = np.full(count, -1, np.int64)
    going = order[goes_on[order]][::-1]  # the largest last, whose name is written over the others
    names[group[going]] = source[going]
    new = names < 0
    if new.any():
        _name(names, groups, before)
    after = np.where(groups >= 0, names[groups], -1).astype(np.int32)
    sizes = np.bincount(before[before >= 0], minlength=len(before))
    changed = []
    for k in np.flatnonzero(names[group] != source):
        kind = "merge" if goes_on[k] else "split" if new[group[k]] else "move"
        target = int(names[group[k]])
        changed.append((kind, int(source[k]), target, int(size[k]), 0 if new[group[k]] else int(sizes[target])))
    return after, changed


def tree(subject: Subject) -> Table:
    """Merges, splits and moves of clusters as rows; all frames are looked at, whichever depths are asked for."""
    trajectory = subject.trajectory
    found = cluster_tree(trajectory, subject.replica, distance=subject.cluster_distance, threads=subject.threads)
    counts = dict(zip(found.frames.tolist(), found.counts().tolist(), strict=True))
    columns: dict[str, Any] = {
        "depth": [change.depth for change in found.changes],
        "event": [change.kind for change in found.changes],
        "joined": [change.source for change in found.changes],
        "into": [change.target for change in found.changes],
        "size_joined": [change.size for change in found.changes],
        "size_into": [change.size_target for change in found.changes],
        "clusters": [counts[change.frame] for change in found.changes],
    }
    strings = trajectory.token_strings
    if strings is not None:
        columns |= {f"{end}_token": [strings[name] for name in columns[end]] for end in ("joined", "into")}
    distance = subject.cluster_distance
    within = default_cluster_distance(trajectory.space) if distance is None else distance
    remarks = [f"clusters are linked by steps of at most {within:g}; a change is seen first in the frame of its depth"]
    if len(found.frames) < len(trajectory.times):
        remarks.append(f"{len(found.frames)} of {len(trajectory.times)} frames were looked at")
    return Table("tree", {name: np.array(values) for name, values in columns.items()}, tuple(remarks))


def _first_tokens(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """Groups named by their first tokens."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.where(groups >= 0, first[inverse.ravel()], -1)


def _name(names: NDArray[np.int64], groups: NDArray[np.integer], before: Labels) -> None:
    """Give groups without a name that of a token: their first that is no name already.

    There is one for each: the tokens that left a cluster are as many as they are groups, and all names those of others.
    """
    free = np.ones(len(before), bool)
    free[before[before >= 0]] = False
    for group in np.flatnonzero(names < 0):
        own = np.flatnonzero((groups == group) & free)
        names[group] = own[0] if len(own) else np.flatnonzero(free)[0]
        free[names[group]] = False
