"""How alike the tokens are: histograms of the cosines of their pairs by depth, as in arXiv:2312.10794 for ALBERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..excerpt import MOST_PAIRED, frames_along, frames_at, journey, sample
from .ensembles import ensembles
from .subject import Subject
from .table import Table

Array = NDArray[np.float64]
BINS = 40
FRAMES = 8  # looked at by default, evenly along the way of the tokens


@dataclass(frozen=True, eq=False)
class Similarities:
    """Histograms of cos(x_i, x_j) over the pairs i < j, weighted by a_i a_j.

    times  : (depths,)               edges : (bins + 1,) of the bins, from -1 to 1
    shares : (depths, bins), each row's sum is 1; NaN where a token is not finite or there are no pairs
    tokens : how many tokens were paired: all of positive weight, or a choice of 2000
    """

    times: Array
    edges: Array
    shares: Array
    tokens: int


def similarities(
    trajectory: Any, replica: int = 0, *, frames: NDArray[np.intp] | None = None, bins: int = BINS
) -> Similarities:
    """The histograms of one replica in these frames, by default eight, evenly along the way of its tokens.

    A token at the origin has no direction: its cosine with every other is 0.
    """
    if frames is None:
        frames = frames_along(*journey(trajectory, replica), count=FRAMES)
    edges = np.linspace(-1.0, 1.0, bins + 1)
    shares = np.full((len(frames), bins), np.nan)
    counted = 0
    for row, ensemble in enumerate(ensembles(trajectory, frames, replica)):
        weights = np.asarray(ensemble.weights, np.float64)
        tokens = sample(weights, MOST_PAIRED)
        counted = max(counted, len(tokens))
        shares[row] = _histogram(np.asarray(ensemble.positions[0][tokens], np.float64), weights[tokens], edges)
    return Similarities(np.asarray(trajectory.times)[frames], edges, shares, counted)


def similarity(subject: Subject) -> Table:
    """The histograms as rows: depth, the cosines between which a bin lies, and the share of pairs in it."""
    trajectory = subject.trajectory
    frames = None if subject.depths is None else frames_at(trajectory.times, subject.depths)
    found = similarities(trajectory, subject.replica, frames=frames)
    bins = len(found.edges) - 1
    columns = {
        "depth": np.repeat(found.times, bins),
        "cosine_from": np.tile(found.edges[:-1], len(found.times)),
        "cosine_to": np.tile(found.edges[1:], len(found.times)),
        "share": found.shares.ravel(),
    }
    chosen = found.tokens < trajectory.tokens and found.tokens == MOST_PAIRED
    remark = f"pairs of {found.tokens} tokens, a random choice of {trajectory.tokens} that is always the same"
    return Table("similarity", columns, (remark,) if chosen else ())


def _histogram(x: Array, weights: Array, edges: Array) -> Array:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    directions = np.divide(x, length, out=np.zeros_like(x), where=length != 0)
    i, j = np.triu_indices(len(x), 1)
    if len(i) == 0 or not np.isfinite(x).all():
        return np.full(len(edges) - 1, np.nan)
    cosines = (directions @ directions.T)[i, j].clip(-1.0, 1.0)
    pairs = weights[i] * weights[j]
    return np.histogram(cosines, edges, weights=pairs)[0] / pairs.sum()
