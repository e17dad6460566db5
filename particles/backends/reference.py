"""The reference backend: the law as it is written, in NumPy, with all pairs of one replica and head at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..normalisations import Softmax, exponentials
from ..priors import rotated
from ..space import Space
from .sinkhorn import potentials, symmetric_scores

if TYPE_CHECKING:
    from ..attention import Attention

Array = NDArray[np.floating]


class ReferenceField:
    """See `Field`. Everything is computed in the type of the positions."""

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
    ) -> None:
        self.law, self.space = law, space
        replicas, tokens, dimension = shape
        self.projections = law.projections(dimension)
        law.check_tokens(tokens)
        self.weights = np.broadcast_to(weights, (replicas, tokens)).astype(dtype)

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        positions = self.space.retract(positions)
        self.attention(t, positions, out)
        out[...] = self.space.project(positions, out)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        for replica, x in enumerate(positions):
            heads = []
            for head in range(self.law.heads):
                scores, measure, value = self._pairs(x, replica, head)
                rows = self.law.normalisation.rows(scores, measure, len(x))
                # a score that overflows, or is NaN, is seen in the drift: its limit would be a guess
                beyond = ((measure > 0) & ~(scores < np.inf)).any(axis=1, keepdims=True)
                heads.append(np.where(beyond, np.nan, rows) @ value)
            out[replica] = self.join(x, np.stack(heads))

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        replicas, tokens, _ = positions.shape
        log_partition = np.empty((replicas, self.law.heads, tokens))
        entropy = np.empty_like(log_partition)
        for replica, x in enumerate(positions):
            for head in range(self.law.heads):
                scores, measure, _ = self._pairs(x, replica, head)
                log_partition[replica, head], entropy[replica, head] = row_statistics(self.law, scores, measure, tokens)
        return log_partition, entropy

    def features(self, x: Array, head: int) -> tuple[Array, Array, Array]:
        """Query, key and value of one head, each (tokens, head or value dimension)."""
        p = self.projections
        query = _map(x, p.query, p.query_bias, head, p.score_scale)
        key = _map(x, p.key, p.key_bias, head, 1.0)
        if self.law.rotary is not None:
            query, key = rotated(query, self.law.rotary), rotated(key, self.law.rotary)
        return query, key, _map(x, p.value, p.value_bias, head, p.value_scale)

    def join(self, x: Array, heads: Array) -> Array:
        """The attention (tokens, dimension) with the gate, from the heads (heads, tokens, value_dimension)."""
        p, gate = self.projections, self.law.gate
        opened = np.ones(()) if gate is None else _opened(_map(x, gate.matrix[None], _first(gate.bias), 0, 1.0))
        if gate is not None and gate.on == "heads":
            heads = heads * opened.T[..., None]
        f = np.concatenate(heads, axis=1)
        if gate is not None and gate.on == "values":
            f = f * opened
        if p.output is not None:
            f = f @ p.output.T.astype(x.dtype)
        if p.output_bias is not None:
            f = f + p.output_bias.astype(x.dtype)
        return f * opened if gate is not None and gate.on == "output" else f

    def _pairs(self, x: Array, replica: int, head: int) -> tuple[Array, Array, Array]:
        """Scores s_ij with the prior, a_j m_ij xi_ij, each (tokens, tokens); values (tokens, value_dimension)."""
        query, key, value = self.features(x, head)
        scores, measure = row_pairs(
            self.law, query, key, self.weights[replica], (replica, head), (0, len(x)), (0, len(x))
        )
        if self.law.normalisation.name == "sinkhorn":
            double, weight = scores.astype(np.float64), measure.astype(np.float64)
            found, _ = potentials(
                self.law.normalisation,
                lambda v: log_sums(double + v, weight),
                lambda u: log_sums(double.T + u, weight),  # the mask is symmetric
                np.zeros(len(x)),
                symmetric_scores(self.law, self.projections, head),
            )
            scores = scores + found.astype(scores.dtype)
        return scores, measure, value


def row_pairs(
    law: Attention,
    query: Array,
    key: Array,
    weights: Array,
    place: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> tuple[Array, Array]:
    """Scores s_ij with the prior, and a_j m_ij xi_ij, of tokens i and j in two ranges, each (rows, columns).

    place : the numbers of replica and head
    """
    seen, dtype, (_, head) = slice(*columns), query.dtype, place
    scores = law.score.of(query[slice(*rows)], key[seen], law.score_beta)
    if law.prior is not None:
        scores = scores + law.prior.logs(*rows, *columns, head, law.heads).astype(dtype)
    return scores, weights[seen] * law.factors(*place, *rows, *columns).astype(dtype)


def row_statistics(law: Attention, scores: Array, measure: Array, tokens: int) -> tuple[Array, Array]:
    """log Z_i and the entropy of rows, each (rows,)."""
    normalisation = law.normalisation if law.normalisation.stochastic else Softmax()
    rows = normalisation.rows(scores, measure, tokens)
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
    return log_sums(scores, measure), -np.sum(rows * logs, axis=1)


def log_sums(scores: Array, measure: Array) -> Array:
    """log sum_j mu_ij exp(s_ij), (rows,); -inf where nobody is seen."""
    terms, highest = exponentials(scores, measure)
    with np.errstate(divide="ignore"):
        return (highest + np.log(terms.sum(axis=1, keepdims=True)))[:, 0]


def _map(x: Array, matrix: Array | None, bias: Array | None, head: int, scale: float) -> Array:
    y = x if matrix is None else x @ matrix[head].T.astype(x.dtype)
    if bias is not None:
        y = y + bias[head].astype(x.dtype)
    return x.dtype.type(scale) * y


def _first(bias: Array | None) -> Array | None:
    return None if bias is None else bias[None]


def _opened(y: Array) -> Array:
    """1 / (1 + exp(-y)), at any y."""
    small = np.exp(-np.abs(y))
    return np.where(y >= 0, 1, small).astype(y.dtype) / (1 + small)
