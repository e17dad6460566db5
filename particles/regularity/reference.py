"""Products with the Jacobian of the rows of a law as they are written, in NumPy: some rows at a time, any score.

    ds_ij = the score's differential       dw_i = c_i * ds_i, or c_i * (ds_i - sum_j c_ij ds_ij / sum_j c_ij)

The second is for rows whose sum is 1. With w_ij the weights, q = w / nu and nu as in `normalisations`,

    softmax, top-k  c = w           entmax  c = nu q^(2 - alpha)           hardmax  c = 0
    none            c = w           linear  c = mu        sigmoid  c = w (1 - w / mu)        relu  c = mu where s > 0

where sparsemax, entmax, top-k, relu and hardmax have one: almost everywhere. Source: arXiv:1905.05702 for entmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..attention import Attention
from ..backends.reference import row_pairs

Array = NDArray[np.float64]
ROWS = 256  # that exist at a time


class _Part(NamedTuple):
    """Rows of one replica and head: the weights w, the slopes c, and 2 ds/d|q - k|^2 where a score is `distant`."""

    replica: int
    head: int
    rows: slice
    weights: Array
    slopes: Array
    distant: Array | None


class ReferenceRows:
    """The rows of a law and products with the derivatives of what they average; arrays as in `CompiledRows`."""

    def __init__(self, law: Attention, query: Array, key: Array, value: Array, weights: Array) -> None:
        self._law, self._weights = law, weights
        self._query, self._key, self._value = query, key, value
        self._centred = law.normalisation.stochastic
        self.attended = np.empty_like(value)
        for part in self._parts():
            place = part.replica, part.head
            self.attended[(*place, part.rows)] = part.weights @ value[place]

    def forward(self, query: Array, key: Array, value: Array) -> Array:
        """sum_j (w_ij dv_j + dw_ij v_j), as `CompiledRows.forward`."""
        out = np.empty_like(value)
        for part in self._parts():
            place = part.replica, part.head
            for direction, moved in enumerate(out):
                at = (direction, *place)
                change = self._slope(part, self._scores_moved(part, query[at], key[at]))
                moved[(*place, part.rows)] = part.weights @ value[at] + change @ self._value[place]
        return out

    def backward(self, of_heads: Array) -> tuple[Array, Array, Array]:
        """The gradients of queries, keys and values, as `CompiledRows.backward`."""
        shape = (of_heads.shape[0], *self._query.shape)
        of_query, of_key, of_value = np.zeros(shape), np.zeros(shape), np.zeros(of_heads.shape)
        for part in self._parts():
            place = part.replica, part.head
            q, k = self._query[(*place, part.rows)], self._key[place]
            for direction, gradient in enumerate(of_heads):
                at, g = (direction, *place), gradient[(*place, part.rows)]
                of_value[at] += part.weights.T @ g
                of_scores = self._slope(part, g @ self._value[place].T)
                if part.distant is None:
                    of_query[(*at, part.rows)] = self._law.score_beta * of_scores @ k
                    of_key[at] += self._law.score_beta * of_scores.T @ q
                else:
                    e = of_scores * part.distant
                    for c in range(q.shape[1]):
                        apart = e * (q[:, c, None] - k[None, :, c])
                        of_query[(*at, part.rows, c)] = apart.sum(axis=1)
                        of_key[(*at, slice(None), c)] -= apart.sum(axis=0)
        return of_query, of_key, of_value

    def _slope(self, part: _Part, of_scores: Array) -> Array:
        """The derivative of the weights applied to ds; it is its own transpose."""
        c = part.slopes
        if not self._centred:
            return c * of_scores
        total = c.sum(axis=1, keepdims=True)
        mean = np.divide((c * of_scores).sum(axis=1, keepdims=True), total, out=np.zeros_like(total), where=total > 0)
        return c * (of_scores - mean)

    def _scores_moved(self, part: _Part, of_query: Array, of_key: Array) -> Array:
        """ds_ij of the rows of a part."""
        q, k = self._query[part.replica, part.head, part.rows], self._key[part.replica, part.head]
        moved = of_query[part.rows]
        if part.distant is None:
            return self._law.score_beta * (moved @ k.T + q @ of_key.T)
        total = np.zeros_like(part.weights)
        for c in range(q.shape[1]):
            total += (q[:, c, None] - k[None, :, c]) * (moved[:, c, None] - of_key[None, :, c])
        return part.distant * total

    def _parts(self) -> Iterator[_Part]:
        law, (replicas, heads, tokens, _) = self._law, self._query.shape
        for replica in range(replicas):
            for head in range(heads):
                q, k = self._query[replica, head], self._key[replica, head]
                for first in range(0, tokens, ROWS):
                    rows = first, min(first + ROWS, tokens)
                    scores, measure = row_pairs(law, q, k, self._weights[replica], (replica, head), rows, (0, tokens))
                    weights = law.normalisation.rows(scores, measure, tokens)
                    slopes = _slopes(law.normalisation, scores, measure, weights, tokens)
                    distant = _distant(law, q[slice(*rows)], k) if law.score.distant else None
                    yield _Part(replica, head, slice(*rows), weights, slopes, distant)


def _slopes(normalisation: Any, scores: Array, measure: Array, weights: Array, tokens: int) -> Array:
    """c of the module's formulas, (rows, keys)."""
    name = normalisation.name
    if name == "entmax":
        nu = measure if normalisation.mean_field else tokens * measure
        density = np.divide(weights, nu, out=np.zeros_like(weights), where=nu > 0)
        return np.where(density > 0, nu * density ** (2.0 - normalisation.alpha), 0.0)
    if name == "sigmoid":
        return weights * (1.0 - np.divide(weights, measure, out=np.zeros_like(weights), where=measure > 0))
    if name == "linear":
        return measure
    if name == "relu":
        return np.where(scores > 0, measure, 0.0)
    return np.zeros_like(weights) if name == "hardmax" else weights


def _distant(law: Attention, query: Array, key: Array) -> Array:
    """2 ds_ij / d|q_i - k_j|^2; 0 where a query meets a key under the score laplace, which has a kink there."""
    from ..scores import squared_distances

    squares, beta = squared_distances(query, key), law.score_beta
    if law.score.name == "laplace":
        return np.divide(-beta, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    if law.score.name == "student":
        freedom = law.score.freedom
        return -beta * (freedom + 1.0) / (freedom + beta * squares)
    return np.full_like(squares, -beta)
