"""The reference backend: the law as it is written, in NumPy with the whole n x n matrix of one replica and head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..space import Space

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
        self.weights = np.broadcast_to(weights, (replicas, tokens)).astype(dtype)
        self.visible = visible(law.mask, tokens)

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        positions = self.space.retract(positions)
        self.attention(t, positions, out)
        out[...] = self.space.project(positions, out)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        p = self.projections
        for replica, x in enumerate(positions):
            heads = []
            for head in range(self.law.heads):
                rows, log_partition = self._rows(x, head, self.weights[replica])
                if self.law.normalisation == "none":
                    rows = rows * np.exp(log_partition - self.law.shift)[:, None]
                heads.append(rows @ self._map(x, p.value, p.value_bias, head, p.value_scale))
            f = np.concatenate(heads, axis=1)
            if p.output is not None:
                f = f @ p.output.T.astype(x.dtype)
            if p.output_bias is not None:
                f = f + p.output_bias.astype(x.dtype)
            out[replica] = f

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        replicas, tokens, _ = positions.shape
        log_partition = np.empty((replicas, self.law.heads, tokens))
        entropy = np.empty_like(log_partition)
        for replica, x in enumerate(positions):
            for head in range(self.law.heads):
                rows, log_partition[replica, head] = self._rows(x, head, self.weights[replica])
                logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
                entropy[replica, head] = -np.sum(rows * logs, axis=1)
        return log_partition, entropy

    def _rows(self, x: Array, head: int, weights: Array) -> tuple[Array, Array]:
        """P (tokens, tokens) and log Z (tokens,) of one replica and head."""
        p = self.projections
        query = self._map(x, p.query, p.query_bias, head, self.law.beta * p.score_scale)
        key = self._map(x, p.key, p.key_bias, head, 1.0)
        scores = np.where(self.visible, query @ key.T, -np.inf)
        highest = scores.max(axis=1, keepdims=True, initial=-np.inf, where=weights > 0)
        highest = np.where(np.isfinite(highest), highest, 0.0)  # a row that sees nobody
        terms = weights * np.exp(np.minimum(scores - highest, 0.0))
        partition = terms.sum(axis=1, keepdims=True)
        rows = np.divide(terms, partition, out=np.zeros_like(terms), where=partition > 0)
        with np.errstate(divide="ignore"):
            return rows, (highest + np.log(partition))[:, 0]

    @staticmethod
    def _map(x: Array, matrix: Array | None, bias: Array | None, head: int, scale: float) -> Array:
        y = x if matrix is None else x @ matrix[head].T.astype(x.dtype)
        if bias is not None:
            y = y + bias[head].astype(x.dtype)
        return x.dtype.type(scale) * y


def visible(mask: str, tokens: int) -> NDArray[np.bool_]:
    """Which token j (column) each token i (row) sees, (tokens, tokens)."""
    if mask == "causal":
        return np.tri(tokens, dtype=bool)
    if mask == "without-self":
        return ~np.eye(tokens, dtype=bool)
    return np.ones((tokens, tokens), dtype=bool)
