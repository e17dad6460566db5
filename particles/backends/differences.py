"""Sums of differences: drifts on a sphere that are far below the rounding of a sum of positions.

Where V = v I, the tangential part of a token's own position is zero, so that

    P_x f_i = v P_x sum_j w_ij x_j = v P_x sum_j w_ij (x_j - x_i)

The left sum rounds at 1e-16 of the tokens' length; on the right a token's own term is exactly zero, those of tokens
in its cluster are as small as the cluster, and those of others as small as their weight exp(-beta (1 - cos)): the
drift has all its digits, down to the smallest numbers there are. Between clusters 1e-16 comes soon.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from ...errors import InvalidInput
from ..space import Space, Sphere
from .compiled.field import CompiledField

if TYPE_CHECKING:
    from ..attention import Attention

Array = NDArray[np.floating]


class DifferenceField:
    """See `Field`. Every pair of tokens, on one thread; attention and statistics are those of `CompiledField`.

    Raises InvalidInput for a law whose drift is no such sum, and for float32.
    """

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        threads: int | None = None,
    ) -> None:
        if reason := obstacle(law, space, dtype):
            raise InvalidInput(f'sums = "differences" {reason}')
        assert isinstance(space, Sphere)
        replicas, tokens, dimension = shape
        p = law.projections(dimension)
        query = p.score_scale * np.eye(dimension) if p.query is None else p.query[0]
        key = np.eye(dimension) if p.key is None else p.key[0]
        zero = np.zeros(len(query))
        self._query = (query, zero if p.query_bias is None else p.query_bias[0])
        self._key = (key, zero if p.key_bias is None else p.key_bias[0])
        self._weights = np.ascontiguousarray(np.broadcast_to(weights, (replicas, tokens)))
        self._law = (space.radius, law.beta, law.normalisation.name == "softmax", law.shift, p.value_scale)
        self._arguments = (law, space, weights, shape, dtype, threads)

    @cached_property
    def _exact(self) -> CompiledField:
        return CompiledField(*self._arguments)

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.velocity`."""
        for replica, weights in enumerate(self._weights):
            _drift(positions[replica], *self._query, *self._key, weights, *self._law, out[replica])  # type: ignore

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.attention`."""
        self._exact.attention(t, positions, out)

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """See `Field.statistics`."""
        return self._exact.statistics(positions)


def obstacle(law: Attention, space: Space, dtype: DTypeLike) -> str | None:
    """Why the drift of a law is no sum of differences, or None where it is."""
    if not isinstance(space, Sphere):
        return f"are for tokens on a sphere, where x_i itself drops out; got the space {space.name}"
    number = law.heads == 1 and isinstance(law.value, float)
    if not number or any(part is not None for part in (law.value_bias, law.output, law.output_bias)):
        return "need one head, with a number for its value, and neither output nor biases of the two"
    if not law.plain or law.mask.name != "none" or not np.isfinite(law.beta):
        return (
            "exist for dot products under softmax or none at a finite beta, with the mask none and without prior, "
            f"rotary, gate or multipliers; got {law.score.name}, {law.normalisation.name}, {law.mask.name}, "
            f"beta = {law.beta:g}"
        )
    return None if np.dtype(dtype) == np.float64 else f"need float64; got {np.dtype(dtype).name}"


@njit(cache=True, nogil=True, error_model="numpy")  # a token at the origin becomes NaN
def _drift(  # pragma: no cover
    positions: NDArray,
    query: NDArray,
    query_bias: NDArray,
    key: NDArray,
    key_bias: NDArray,
    weights: NDArray,
    radius: float,
    beta: float,
    softmax: bool,
    shift: float,
    value: float,
    out: NDArray,
) -> None:
    """Write the drift of one replica; positions and out (tokens, dimension), retracted first."""
    tokens, dimension = positions.shape
    x, scores = np.empty((tokens, dimension)), np.empty(tokens)
    for i in range(tokens):
        square = 0.0
        for c in range(dimension):
            square += positions[i, c] * positions[i, c]
        scale = radius / np.sqrt(square)
        for c in range(dimension):
            x[i, c] = scale * positions[i, c]
    q, k = _affine(x, query, query_bias), _affine(x, key, key_bias)
    for i in range(tokens):
        highest = -np.inf if softmax else shift
        for j in range(tokens):
            score = 0.0
            for c in range(q.shape[1]):
                score += q[i, c] * k[j, c]
            scores[j] = beta * score
            if softmax and weights[j] > 0.0:
                highest = max(highest, scores[j])
        total = 0.0 if softmax else 1.0
        for c in range(dimension):
            out[i, c] = 0.0
        for j in range(tokens):
            if weights[j] == 0.0:
                continue
            w = weights[j] * np.exp(scores[j] - highest)
            if softmax:
                total += w
            for c in range(dimension):
                out[i, c] += w * (x[j, c] - x[i, c])
        along = 0.0
        for c in range(dimension):
            along += out[i, c] * x[i, c]
        along /= radius * radius
        for c in range(dimension):
            out[i, c] = value / total * (out[i, c] - along * x[i, c])


@njit(cache=True, nogil=True)
def _affine(x: NDArray, matrix: NDArray, bias: NDArray) -> NDArray:  # pragma: no cover
    """x_i -> matrix x_i + bias, (tokens, rows)."""
    y = np.empty((len(x), len(matrix)))
    for i in range(len(x)):
        for row in range(len(matrix)):
            y[i, row] = bias[row]
            for c in range(x.shape[1]):
                y[i, row] += matrix[row, c] * x[i, c]
    return y
