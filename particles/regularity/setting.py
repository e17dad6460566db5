"""What a bound is a function of: the sizes of a law's matrices, where tokens live, how many there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..attention import Attention
from ..space import Space, Sphere

Array = NDArray[np.floating]
ROWS = 512  # of the attention at zero scores that exist at a time


@dataclass(frozen=True)
class Head:
    """The sizes, in the spectral norm, of one head: scores are beta <q, k> or -beta/2 |q - k|^2.

    query, key, value : |Q|, |K|, |V|, the constant factors of the law in them, beta not
    form        : |beta K^T Q|            shift : |beta K^T b_q|, of the bias of the queries
    value_bias  : |b_v|                   joined : |O_h V|, what the output matrix leaves of the values
    """

    query: float
    key: float
    value: float
    form: float
    shift: float
    value_bias: float
    joined: float


@dataclass(frozen=True)
class Setting:
    """A law on the ball of radius R, on the sphere of it, or, with R None, on all of R^d.

    tokens  : their number, or None for any      weights : (tokens,), summing to 1
    output  : |O|, 1 without one
    """

    law: Attention
    space: Space
    radius: float | None
    tokens: int | None
    weights: Array | None
    heads: tuple[Head, ...]
    output: float

    @property
    def sphere(self) -> bool:
        return isinstance(self.space, Sphere)

    @property
    def equal(self) -> bool:
        """Whether all weights are the same: the norms of tokens and of the measure then differ by a factor."""
        return self.weights is None or bool((self.weights == self.weights[0]).all())

    def within(self) -> float:
        """R. Raises InvalidInput where there is none."""
        if self.radius is None:
            raise InvalidInput("it needs a radius: on all of R^d there is no such constant")
        return self.radius

    def count(self) -> int:
        """The number of tokens. Raises InvalidInput where it is left open."""
        if self.tokens is None:
            raise InvalidInput("it needs the number of tokens")
        return self.tokens

    def reach(self, head: Head) -> float:
        """The largest |<beta K^T (Q x + b_q), y>| on the ball: |beta K^T Q| R^2 + |beta K^T b_q| R."""
        radius = self.within()
        return head.form * radius**2 + head.shift * radius

    def combined(self, constants: list[float]) -> float:
        """The constant of the law from those of its heads with V = I: heads side by side, then the output matrix.

        min( |O| (sum_h (|V_h| c_h)^2)^(1/2), sum_h |O_h V_h| c_h )
        """
        beside = float(np.linalg.norm([head.value * c for head, c in zip(self.heads, constants, strict=True)]))
        apart = sum(head.joined * c for head, c in zip(self.heads, constants, strict=True))
        return min(self.output * beside, apart)

    def largest(self, radius: float) -> float:
        """The largest |f| for tokens in the ball of this radius, of rows whose weights are at most as softmax has them.

        Raises InvalidInput where rows have another sum and no bound.
        """
        law = self.law
        sizes = []
        for head in self.heads:
            size = head.value * radius + head.value_bias
            if law.normalisation.name == "none":
                size *= np.exp(head.form * radius**2 - law.shift)
            elif not law.normalisation.stochastic:
                raise InvalidInput(f"the attention has no bound here for the normalisation {law.normalisation.name}")
            sizes.append(size)
        bias = 0.0 if law.output_bias is None else float(np.linalg.norm(law.output_bias))
        return self.output * float(np.linalg.norm(sizes)) + bias

    def crowding(self, measure: bool) -> float:
        """max_j sum_i P_ij at zero scores, or with `measure` max_j sum_i a_i P_ij / a_j; often 1."""
        law = self.law
        if law.mask.name == "none" and law.prior is None and (measure or self.equal):
            return 1.0
        tokens = self.count()
        weights = np.full(tokens, 1.0 / tokens) if self.weights is None else self.weights
        columns = np.zeros((law.heads, tokens))
        for head in range(law.heads):
            for first in range(0, tokens, ROWS):
                rows = first, min(first + ROWS, tokens)
                seen = weights * law.mask.factors(*rows, 0, tokens)
                if law.prior is not None:
                    logs = law.prior.logs(*rows, 0, tokens, head, law.heads)
                    seen = seen * np.exp(logs - logs.max(axis=1, keepdims=True))
                total = seen.sum(axis=1, keepdims=True)
                p = np.divide(seen, total, out=np.zeros_like(seen), where=total > 0)
                columns[head] += (weights[slice(*rows)] if measure else np.ones(len(p))) @ p
        if measure:
            columns = np.divide(columns, weights, out=np.zeros_like(columns), where=weights > 0)
        return float(columns.max())


def setting(law: Attention, space: Space, radius: float | None, tokens: int | None, weights: Array | None) -> Setting:
    """The setting of a law. Raises InvalidInput for a radius or a number of tokens out of range."""
    if isinstance(space, Sphere):
        if radius is not None and radius != space.radius:
            raise InvalidInput(f"radius must be left out on a sphere, or its own {space.radius:g}; got {radius!r}")
        radius = space.radius
    if radius is not None and not (np.isfinite(radius) and radius > 0):
        raise InvalidInput(f"radius must be a positive number; got {radius!r}")
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if weights.ndim != 1 or (weights < 0).any() or abs(weights.sum() - 1.0) > 1e-9:
            raise InvalidInput("weights must be nonnegative numbers (tokens,) that sum to 1")
        if tokens not in (None, len(weights)):
            raise InvalidInput(f"tokens must be the number of weights, {len(weights)}; got {tokens!r}")
        tokens = len(weights)
    if tokens is not None and (not isinstance(tokens, (int, np.integer)) or tokens < 1):
        raise InvalidInput(f"tokens must be an integer of at least 1; got {tokens!r}")
    if tokens is not None:
        law.check_tokens(tokens)
    output = 1.0 if law.output is None else _size(law.output)
    return Setting(law, space, radius, tokens, weights, _heads(law, space.dimension), output)


def _heads(law: Attention, dimension: int) -> tuple[Head, ...]:
    p = law.projections(dimension)
    identity = np.eye(dimension)
    width = dimension if p.value is None else p.value.shape[1]
    found = []
    for h in range(law.heads):
        query = p.score_scale * identity if p.query is None else p.query[h]
        key = identity if p.key is None else p.key[h]
        value = p.value_scale * identity if p.value is None else p.value[h]
        joined = _size(value) if p.output is None else _joined_size(p.output[:, h * width : (h + 1) * width], value)
        shift = 0.0 if p.query_bias is None else _length(law.score_beta * key.T @ p.query_bias[h])
        bias = 0.0 if p.value_bias is None else _length(p.value_bias[h])
        form = abs(law.score_beta) * _joined_size(key.T, query)
        found.append(Head(_size(query), _size(key), _size(value), form, shift, bias, joined))
    return tuple(found)


def _size(matrix: Array) -> float:
    """The spectral norm."""
    return float(np.linalg.norm(matrix, 2))


def _joined_size(after: NDArray[np.floating], before: NDArray[np.floating]) -> float:
    """|A B| from R B with A = Q R, which has no more rows than a head."""
    return float(np.linalg.norm(np.linalg.qr(after, mode="r") @ before, 2))


def _length(vector: Array) -> float:
    return float(np.linalg.norm(vector))
