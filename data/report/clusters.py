"""Which cluster every shown token is in at every depth, under numbers that stay the same from depth to depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...particles.observables import cluster_labels, default_cluster_distance
from ..analysis.ensembles import ensembles
from ..analysis.members import groups, told
from ..analysis.tree import cluster_tree, succession
from .thinning import Choice

MOST_JOINED = 20_000  # tokens of which clusters are searched; beyond, of the tokens shown
ALONE = 65535
MOST_NAMED = 20  # clusters whose tokens are named


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of a run.

    numbers  : (frames, tokens shown) uint16, 0 for the cluster that grows largest; ALONE for a token by itself
    counts   : (frames,), how many clusters there are, lone tokens counted
    distance : within which tokens were joined
    """

    numbers: NDArray[np.uint16]
    counts: NDArray[np.intp]
    distance: float


def clusters_of(trajectory: Any, choice: Choice, distance: float | None) -> Clusters:
    """Find the clusters in every shown frame and follow them over depth."""
    distance = default_cluster_distance(trajectory.space) if distance is None else distance
    if choice.all_tokens > MOST_JOINED:
        labels, shown = _of_shown(trajectory, choice, distance), np.arange(len(choice.tokens))
    else:
        tree = cluster_tree(trajectory, choice.replica, distance=distance, frames=choice.frames)
        labels, shown = tree.labels, choice.tokens
    sizes = np.zeros(labels.shape, np.int32)
    counts = np.zeros(len(labels), np.intp)
    most = np.zeros(int(labels.max(initial=-1)) + 1, np.int64)
    for row, names in enumerate(labels):
        size = np.bincount(names[names >= 0], minlength=len(most))
        sizes[row] = np.where(names >= 0, size[names], 0)
        counts[row], most = np.count_nonzero(size), np.maximum(most, size)
    rank = np.empty(len(most), np.int64)
    rank[np.argsort(-most, kind="stable")] = np.arange(len(most)).clip(max=ALONE - 1)
    numbers = np.where(sizes > 1, rank[labels], ALONE) if len(rank) else np.full(labels.shape, ALONE)
    return Clusters(numbers[:, shown].astype(np.uint16), counts, distance)


def named(trajectory: Any, choice: Choice, distance: float) -> list[tuple[str, str]]:
    """The largest clusters at the end: how many tokens, and their texts. Empty where there are no texts."""
    strings = trajectory.token_strings
    if strings is None or choice.all_tokens > MOST_JOINED:
        return []
    last = next(iter(ensembles(trajectory, choice.frames[-1:], choice.replica)))
    found = groups(cluster_labels(last, distance)[0])
    several = [group for group in found if len(group) > 1]
    rows = [(f"{len(group)} tokens", told([strings[token] for token in group])) for group in several[:MOST_NAMED]]
    if len(several) > MOST_NAMED:
        rows.append((f"{len(several) - MOST_NAMED} more", "smaller clusters"))
    alone = [strings[group[0]] for group in found if len(group) == 1]
    return [*rows, *([(f"{len(alone)} alone", told(alone))] if alone else [])]


def _of_shown(trajectory: Any, choice: Choice, distance: float) -> NDArray[np.int32]:
    """Names of the clusters of the shown tokens alone, (frames, tokens shown)."""
    labels = np.empty((len(choice.frames), len(choice.tokens)), np.int32)
    weights = choice.weights / choice.weights.sum()
    for row, ensemble in enumerate(ensembles(trajectory, choice.frames, choice.replica)):
        few = ensemble.at(ensemble.positions[:, choice.tokens], weights=weights)
        groups = cluster_labels(few, distance)[0]
        labels[row] = groups if row == 0 else succession(labels[row - 1], groups)[0]
    return labels
