"""Tokens at which attention is nearly as steep as its bound allows: the constant grows like sqrt(n) there.

One token a and n - 1 times the same token b, both in the ball of radius R, with

    <w, a - b> = log(n - 1),    w = beta K_h^T (Q_h b + b_q)

so that under softmax every b gives half of its attention to a, and all n - 1 of them follow when a moves. Of head h,
the derivative along a has about the norm |M_h (I + (a - b) w^T / 2)| / 2 times sqrt(n - 1), M_h = O_h V_h: b lies
along what makes |w| largest, and a - b where M_h stretches most. Source: the tightness of sqrt(n) in arXiv:2312.14820.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..attention import Attention
from ..block import Law, attention_of
from ..ensemble import Ensemble
from ..space import Euclidean

Array = NDArray[np.float64]
SHARES = np.linspace(0.1, 1.0, 10)  # of the radius, at which b is tried


def steep_ensemble(law: Law, dimension: int, tokens: int, radius: float) -> Ensemble:
    """The tokens a, b, ..., b of the head with the largest |beta Q_h^T K_h| |O_h V_h|, in R^d with equal weights.

    Raises InvalidInput for another law than softmax of dot products without mask, prior and rotary positions, fewer
    than three tokens, and a ball in which no two tokens have scores that far apart.
    """
    attention = attention_of(law)
    if not (attention.plain and attention.normalisation.name == "softmax" and attention.mask.name == "none"):
        raise InvalidInput(
            "steep tokens are known for softmax of dot products, without mask, prior and rotary positions"
        )
    if tokens < 3 or not (np.isfinite(radius) and radius > 0.0):
        raise InvalidInput(f"they are at least 3 tokens in a ball of a radius; got {tokens} and {radius!r}")
    head = _steepest_head(attention, dimension)
    _, leading = _leading(head.key.T, head.query)
    ends = [share * radius * leading for share in SHARES]
    found = [head.pair(side * b, tokens, radius) for b in ends for side in (1.0, -1.0)]
    steepest = max((each for each in found if each is not None), key=lambda each: each[0], default=None)
    if steepest is None:
        raise InvalidInput(f"no two tokens with |x| <= {radius:g} have scores log({tokens - 1}) apart")
    _, a, b = steepest
    return Ensemble(np.concatenate([a[None], np.tile(b, (tokens - 1, 1))]), Euclidean(dimension))


@dataclass(frozen=True, eq=False)
class _Head:
    """beta K_h^T b_q (dimension,), and the factors of beta K_h^T Q_h and of O_h V_h; beta is in query."""

    query: Array
    key: Array
    pull: Array
    output: Array
    value: Array

    @property
    def size(self) -> float:
        return _leading(self.key.T, self.query)[0] * _leading(self.output, self.value)[0]

    def pair(self, b: Array, tokens: int, radius: float) -> tuple[float, Array, Array] | None:
        """How steep it is, a and b; None where no a in the ball has the score that is asked for."""
        w = self.key.T @ (self.query @ b) + self.pull
        square = float(w @ w)
        along = (w @ b + np.log(tokens - 1.0)) / square * w if square > 0.0 else b
        beside = radius**2 - along @ along
        if square == 0.0 or beside < 0.0:
            return None
        _, across = _leading(self.output, self.value - np.outer(self.value @ w, w) / square)
        across = across - (across @ w) / square * w
        choices = [along + side * np.sqrt(beside) * across for side in (1.0, -1.0)]
        stretched = [float(np.linalg.norm(self.output @ (self.value @ (a - b)))) for a in choices]
        return max(stretched) * np.sqrt(square), choices[int(np.argmax(stretched))], b


def _steepest_head(law: Attention, dimension: int) -> _Head:
    p, unit = law.projections(dimension), np.eye(dimension)
    heads = []
    for number in range(law.heads):
        query, key = (unit, unit) if p.query is None or p.key is None else (p.query[number], p.key[number])
        value = p.value_scale * unit if p.value is None else p.value[number]
        columns = slice(number * len(value), (number + 1) * len(value))
        pull: Array = np.zeros(dimension)
        if p.query_bias is not None:
            pull = np.asarray(law.score_beta * key.T @ p.query_bias[number], np.float64)
        output: Array = np.asarray(unit if p.output is None else p.output, np.float64)[:, columns]
        heads.append(_Head(law.score_beta * p.score_scale * query, key, pull, output, value))
    return max(heads, key=lambda head: head.size)


def _leading(left: Array, right: Array) -> tuple[float, Array]:
    """The largest singular value of left @ right, of low rank, and its right singular vector (dimension,)."""
    _, values, vectors = np.linalg.svd(np.linalg.qr(left, mode="r") @ right, full_matrices=False)
    return float(values[0]), vectors[0]
