"""Which tokens every cluster holds, largest first, as texts where the file has some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...particles.observables import cluster_labels, default_cluster_distance
from ..excerpt import frames_at
from .ensembles import ensembles
from .subject import Subject
from .table import Table

SHOWN = 100  # rows on a terminal: clusters that are left out would be missed


def members(subject: Subject) -> Table:
    """Clusters of at least two tokens as rows: depth, the number of the first token, size, spread, and the tokens.

    spread : the root of the mean square of the distances of the cluster's tokens from their mean
    tokens : their texts, or numbers where the file has no texts, with how often each is there

    At the last depth, or those of the subject. Costs one search for clusters a depth, see `observables.clusters`.
    """
    trajectory, distance = subject.trajectory, subject.cluster_distance
    times = np.asarray(trajectory.times)
    frames = np.array([len(times) - 1]) if subject.depths is None else frames_at(times, subject.depths)
    names = trajectory.token_strings or [str(token) for token in range(trajectory.tokens)]
    rows: list[tuple[Any, ...]] = []
    alone: list[str] = []
    for frame, ensemble in zip(frames.tolist(), ensembles(trajectory, frames, subject.replica), strict=True):
        found = groups(cluster_labels(ensemble, distance)[0])
        positions = np.asarray(ensemble.positions[0], np.float64)
        several = [group for group in found if len(group) > 1]
        rows += [
            (times[frame], group[0], len(group), _spread(positions[group]), told([names[token] for token in group]))
            for group in several
        ]
        alone.append(f"{len(found) - len(several)} at depth {times[frame]:g}")
    kinds = {"depth": float, "cluster": int, "size": int, "spread": float, "tokens": str}
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    within = default_cluster_distance(trajectory.space) if distance is None else distance
    remarks = (
        f"clusters are linked by steps of at most {within:g}; their name is the number of their first token",
        f"tokens by themselves: {', '.join(alone)}",
    )
    named = zip(kinds.items(), columns, strict=True)
    return Table("members", {name: np.array(values, kind) for (name, kind), values in named}, remarks, SHOWN)


def groups(labels: NDArray[np.integer]) -> list[NDArray[np.intp]]:
    """The tokens of each cluster, in order, the largest cluster first; labels below 0 are of none."""
    found = [np.flatnonzero(labels == label) for label in range(int(labels.max(initial=-1)) + 1)]
    return sorted(found, key=lambda group: (-len(group), group[0]))


def told(names: Sequence[str]) -> str:
    """Texts, the most frequent first, with how often they are there: "the x3  rabbit"."""
    counted = Counter(names).most_common()
    return "  ".join(name if count == 1 else f"{name} x{count}" for name, count in counted)


def _spread(positions: NDArray[np.float64]) -> float:
    apart = positions - positions.mean(axis=0)
    return float(np.sqrt((apart**2).sum(axis=1).mean()))
