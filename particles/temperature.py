"""Softmax attention near both ends of temperature: how far it is from hardmax, and from averaging.

Of row i let s_ij be the scores at beta = 1, mu_ij = a_j m_ij what they are weighed with, C the tokens of the highest
score, gap the highest minus the next score, h the mean of the values v_j over C and m that over all that are seen.

    |f_i(beta) - h| <= max_j |v_j - h| (mu(not C) / mu(C)) exp(-beta gap)                beta -> inf
    |f_i(beta) - m| <= beta max_j |v_j - m| (max_j s_ij - min_j s_ij) / 2                beta -> 0
    d f_i / d beta (0) = sum_j mu_ij (s_ij - mean s_i) v_j / sum_j mu_ij

The second: the derivative is the covariance of scores and values under the weights at beta, at most half the range of
the scores times the deviation of the values. Heads together: |O| (sum over heads of squares)^(1/2). For scores that are
beta times something, softmax, and no prior.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .attention import Attention
from .backends.reference import ReferenceField, row_pairs
from .ensemble import Ensemble
from .normalisations import tie

Array = NDArray[np.floating]
ROWS = 256  # of attention that exist at a time


@dataclass(frozen=True, eq=False)
class Ends:
    """What the bounds of the module are made of, each (replicas, heads, tokens).

    gap    : inf where all that are seen have the highest score
    chosen : the first token of C, -1 where none is seen
    reach  : max_j |v_j - h| mu(not C) / mu(C)
    slope  : max_j |v_j - m| (max_j s_ij - min_j s_ij) / 2
    linear : |d f_i / d beta (0)| of the head
    output : |O|, 1 where there is none
    """

    gap: Array
    chosen: NDArray[np.int64]
    reach: Array
    slope: Array
    linear: Array
    output: float

    def from_hardmax(self, beta: float) -> Array:
        """The bound of |f_i(beta) - f_i(inf)|, (replicas, tokens)."""
        return self._joined(self.reach * np.exp(-beta * self.gap))

    def from_averaging(self, beta: float) -> Array:
        """The bound of |f_i(beta) - f_i(0)|, (replicas, tokens)."""
        return self._joined(beta * self.slope)

    def _joined(self, heads: Array) -> Array:
        return self.output * np.sqrt(np.square(heads).sum(axis=1))


def ends(law: Attention, ensemble: Ensemble) -> Ends:
    """See `Ends`: of every row of a law at an ensemble; of the law's beta nothing is taken."""
    law = replace(law, beta=1.0)
    x = np.asarray(ensemble.positions, np.float64)
    weights = np.broadcast_to(np.asarray(ensemble.weights, np.float64), x.shape[:2])
    field = ReferenceField(law, ensemble.space, weights, x.shape, np.float64)
    shape = (ensemble.replicas, law.heads, ensemble.tokens)
    found = {name: np.zeros(shape) for name in ("gap", "reach", "slope", "linear")}
    chosen = np.full(shape, -1, np.int64)
    for place, scores, measure, value in _rows(law, field, x):
        seen = measure > 0
        there = seen.any(axis=1)
        total = np.where(there, measure.sum(axis=1), 1.0)[:, None]
        s = np.where(seen, scores, -np.inf)
        highest = np.where(there, s.max(axis=1), 0.0)[:, None]
        best = seen & (s >= highest - tie(s))
        chosen[place] = np.where(there, best.argmax(axis=1), -1)
        next_best = np.where(seen & ~best, s, -np.inf).max(axis=1)
        found["gap"][place] = highest[:, 0] - next_best
        share = np.where(best, measure, 0.0)
        held = np.where(there, share.sum(axis=1), 1.0)
        others = np.where(seen & ~best, measure, 0.0).sum(axis=1)
        found["reach"][place] = _farthest(value, share @ value / held[:, None], seen) * others / held
        mean = measure @ value / total
        lowest = np.where(there, np.where(seen, scores, np.inf).min(axis=1), 0.0)
        found["slope"][place] = _farthest(value, mean, seen) * 0.5 * (highest[:, 0] - lowest)
        centred = np.where(seen, scores - (measure * scores).sum(axis=1, keepdims=True) / total, 0.0)
        found["linear"][place] = np.linalg.norm((measure * centred) @ value / total, axis=1)
    size = 1.0 if law.output is None else float(np.linalg.norm(law.output, 2))
    return Ends(chosen=chosen, output=size, **found)


def _rows(law: Attention, field: ReferenceField, x: Array) -> Iterator[tuple[tuple, Array, Array, Array]]:
    """Some rows at a time: their place, scores at beta = 1 and measure (rows, tokens), and all values of the head."""
    tokens = x.shape[1]
    for replica, at in enumerate(x):
        for head in range(law.heads):
            query, key, value = field.features(at, head)
            for first in range(0, tokens, ROWS):
                rows = first, min(first + ROWS, tokens)
                place, every = (replica, head), (0, tokens)
                scores, measure = row_pairs(law, query, key, field.weights[replica], place, rows, every)
                yield (*place, slice(*rows)), scores, measure, value


def _farthest(value: Array, centre: Array, seen: NDArray[np.bool_]) -> Array:
    """max_j |v_j - centre_i| over the tokens j that row i sees, (rows,)."""
    from scipy.spatial.distance import cdist

    return np.where(seen, cdist(centre, value), 0.0).max(axis=1)
