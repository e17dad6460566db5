"""Observables of the attention matrix w_ij and of its keys and queries, each (replicas,), averaged over heads.

No n x n array is held: rows come a few at a time. Throughout a_i are the token weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attention import Attention
from .ensemble import Ensemble
from .wasserstein import on_line

Array = NDArray[np.float64]
DIRECTIONS = 64  # onto which sliced distances project
BLOCK = 512  # rows of a kernel that exist at a time


def sparsity(ensemble: Ensemble, law: Attention) -> Array:
    """The share of weights w_ij that are exactly zero, among tokens of weight a_j > 0, averaged with a_i.

    What a mask hides is zero; softmax leaves nothing else at zero, sparsemax, entmax and top-k do.
    """
    total = np.zeros(ensemble.replicas)
    for weights, part in _rows(ensemble, law):
        seen = weights > 0
        nonzero = (part.values != 0) & seen[part.columns]
        share = 1.0 - nonzero.sum(axis=1) / max(int(seen.sum()), 1)
        total[part.replica] += weights[part.rows] @ share / law.heads
    return total


def row_sum(ensemble: Ensemble, law: Attention) -> Array:
    """sum_i a_i sum_j w_ij: 1 for softmax and whatever else makes rows of probabilities."""
    total = np.zeros(ensemble.replicas)
    for weights, part in _rows(ensemble, law):
        total[part.replica] += weights[part.rows] @ part.values.sum(axis=1) / law.heads
    return total


def column_spread(ensemble: Ensemble, law: Attention) -> Array:
    """sqrt(sum_j a_j (c_j / a_j - 1)^2), c_j = sum_i a_i w_ij the column sums: 0 for doubly stochastic attention."""
    columns = np.zeros((ensemble.replicas, law.heads, ensemble.tokens))
    for weights, part in _rows(ensemble, law):
        columns[part.replica, part.head, part.columns] += weights[part.rows] @ part.values
    a = _weights(ensemble)[:, None]
    ratio = np.divide(columns, a, out=np.ones_like(columns), where=a > 0)
    return np.sqrt(np.sum(a * np.square(ratio - 1.0), axis=-1)).mean(axis=-1)


def key_query_distance(ensemble: Ensemble, law: Attention) -> Array:
    """The sliced Wasserstein-2 distance of the weighted queries and keys of a head; 0 where they are the same.

    (mean over directions of W_2^2 of the projections)^(1/2), with 64 directions that are always the same. Source:
    alignment attention, arXiv:2110.12567.
    """
    generator = np.random.default_rng(0)

    def distance(query: Array, key: Array, weights: Array) -> float:
        directions = generator.standard_normal((DIRECTIONS, query.shape[1]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return float(np.sqrt(np.mean([on_line(query @ u, weights, key @ u, weights, 2) for u in directions])))

    return _over_heads(ensemble, law, distance)


def key_query_discrepancy(ensemble: Ensemble, law: Attention) -> Array:
    """The maximum mean discrepancy of the weighted queries and keys of a head under a Gaussian kernel.

    MMD^2 = sum a_i a_j (k(q_i, q_j) + k(k_i, k_j) - 2 k(q_i, k_j)), k(x, y) = exp(-|x - y|^2 / 2 s^2), with s^2
    the mean of |q_i|^2 and |k_i|^2. Source: arXiv:2110.12567.
    """

    def discrepancy(query: Array, key: Array, weights: Array) -> float:
        scale = weights @ (np.square(query).sum(axis=1) + np.square(key).sum(axis=1)) / 2.0
        if scale == 0.0:
            return 0.0
        within = _kernel_mean(query, query, weights, scale) + _kernel_mean(key, key, weights, scale)
        return float(np.sqrt(max(within - 2.0 * _kernel_mean(query, key, weights, scale), 0.0)))

    return _over_heads(ensemble, law, discrepancy)


def attention_rows(law: Attention, ensemble: Ensemble, first: int, last: int, head: int = 0, replica: int = 0) -> Array:
    """w_ij of the tokens first <= i < last and all j, (last - first, tokens), in float64.

    ensemble : as the attention sees it; of one replica alone, or of so many that `replica` is among them. Its number
               counts for laws with random multipliers, which differ between replicas.
    """
    x, field = _of_one(law, ensemble, replica)
    return field.between(x[0], (replica, head), first, last)


def attention_parts(law: Attention, ensemble: Ensemble, replica: int = 0) -> Iterator[Any]:
    """All of the attention matrices of one replica, some rows of a head at a time, in float64.

    Each part has its `head`, its `rows` and `columns` (slices) and their w_ij as `values`; outside of the columns these
    are 0. Arguments as in `attention_rows`.
    """
    x, field = _of_one(law, ensemble, replica)
    return field.weights(x, replica)


def some_attention_rows(
    law: Attention, ensemble: Ensemble, tokens: NDArray[np.integer], head: int = 0, replica: int = 0
) -> Array:
    """w_ij of these tokens i and all j, (rows, tokens): as `attention_rows`, and quicker than calling it for each."""
    if by_whole_matrices(law, ensemble.tokens, len(tokens)):
        return attention_rows(law, ensemble, 0, ensemble.tokens, head, replica)[tokens]
    one = replica if ensemble.replicas > 1 else 0
    x, weights = np.asarray(ensemble.positions[one : one + 1], np.float64), _weights(ensemble)[one : one + 1]
    field = _field(ensemble.at(x, weights=weights), law)
    return np.concatenate([field.between(x[0], (replica, head), token, token + 1) for token in map(int, tokens)])


def by_whole_matrices(law: Attention, tokens: int, rows: int) -> bool:
    """Whether some rows are quicker computed with all others: of few tokens, and where one costs as much as all."""
    return tokens <= 4 * rows or law.normalisation.name == "sinkhorn"


def _rows(ensemble: Ensemble, law: Attention) -> Iterator[tuple[Array, Any]]:
    """The token weights of a replica and some rows of its attention matrix, in float64."""
    field = _field(ensemble, law)
    weights = _weights(ensemble)
    for part in field.weights(np.asarray(ensemble.positions, np.float64)):
        yield weights[part.replica], part


def _of_one(law: Attention, ensemble: Ensemble, replica: int) -> tuple[Array, Any]:
    """Positions (1, tokens, dimension) of one replica, and the law as a field for it."""
    one = slice(replica, replica + 1) if ensemble.replicas > 1 else slice(1)
    x = np.asarray(ensemble.positions[one], np.float64)
    return x, _field(ensemble.at(x, weights=_weights(ensemble)[one]), law)


def _field(ensemble: Ensemble, law: Attention) -> Any:
    from .backends.compiled.general import GeneralField  # imports numba, which takes a while

    shape = ensemble.positions.shape
    return GeneralField(law, ensemble.space, _weights(ensemble), shape, np.float64)


def _over_heads(ensemble: Ensemble, law: Attention, measured: Any) -> Array:
    field, weights = _field(ensemble, law), _weights(ensemble)
    return np.array(
        [
            np.mean([measured(*field.features(x, head), weights[replica]) for head in range(law.heads)])
            for replica, x in enumerate(np.asarray(ensemble.positions, np.float64))
        ]
    )


def _kernel_mean(x: Array, y: Array, weights: Array, scale: float) -> float:
    total = 0.0
    squares = np.square(y).sum(axis=1)
    for first in range(0, len(x), BLOCK):
        part = x[first : first + BLOCK]
        apart = np.square(part).sum(axis=1)[:, None] + squares - 2.0 * part @ y.T
        total += weights[first : first + BLOCK] @ np.exp(-np.maximum(apart, 0.0) / (2.0 * scale)) @ weights
    return total


def _weights(ensemble: Ensemble) -> Array:
    """(replicas, tokens)."""
    return np.broadcast_to(np.asarray(ensemble.weights, np.float64), ensemble.positions.shape[:2])
