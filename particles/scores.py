"""Scores s_ij of two tokens, from query and key. A new score is a class with a name and `of`, and a row of SCORES.

    dot         beta <q_i, k_j>                                               arXiv:2007.02876
    scaled-dot  beta <q_i, k_j> / sqrt(head dimension)                        the transformer's, with beta = 1
    cosine      beta <q_i, k_j> / (|q_i| |k_j|), 0 where one of them is 0
    gaussian    -beta/2 |q_i - k_j|^2                                         L2 attention, arXiv:2006.04710
    laplace     -beta |q_i - k_j|
    student     -(nu + 1)/2 log(1 + beta |q_i - k_j|^2 / nu)
    metric      -beta/2 (x_i - x_j)^T M (x_i - x_j), M = L^T L                metric attention, arXiv:2412.18288

Whatever the score, a prior may be added to it: see `priors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput

Array = NDArray[np.floating]
NEGATIVE = 1e-10  # an eigenvalue of a metric may be below zero by this times the largest


class Score(Protocol):
    """What a score is; `distant` where it is a function of |q_i - k_j|."""

    name: ClassVar[str]
    distant: ClassVar[bool]

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """s_ij (queries, keys) of queries and keys (tokens, head_dimension)."""


@dataclass(frozen=True)
class Dot:
    """beta <q_i, k_j>."""

    name: ClassVar[str] = "dot"
    distant: ClassVar[bool] = False

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        return (query * query.dtype.type(beta)) @ key.T


@dataclass(frozen=True)
class ScaledDot:
    """beta <q_i, k_j> / sqrt(head dimension); the root is in the query already: `Attention.projections`."""

    name: ClassVar[str] = "scaled-dot"
    distant: ClassVar[bool] = False

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        return Dot().of(query, key, beta)


@dataclass(frozen=True)
class Cosine:
    """beta times the cosine of query and key."""

    name: ClassVar[str] = "cosine"
    distant: ClassVar[bool] = False

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        return Dot().of(directions(query), directions(key), beta)


@dataclass(frozen=True)
class Gaussian:
    """-beta/2 |q_i - k_j|^2."""

    name: ClassVar[str] = "gaussian"
    distant: ClassVar[bool] = True

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        return query.dtype.type(-0.5 * beta) * squared_distances(query, key)


@dataclass(frozen=True)
class Laplace:
    """-beta |q_i - k_j|."""

    name: ClassVar[str] = "laplace"
    distant: ClassVar[bool] = True

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        return query.dtype.type(-beta) * np.sqrt(squared_distances(query, key))


@dataclass(frozen=True)
class Student:
    """-(freedom + 1)/2 log(1 + beta |q_i - k_j|^2 / freedom), heavy-tailed. Raises InvalidInput for freedom <= 0."""

    freedom: float = 1.0
    name: ClassVar[str] = "student"
    distant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (isinstance(self.freedom, (int, float)) and np.isfinite(self.freedom) and self.freedom > 0):
            raise InvalidInput(f"freedom of the student score must be a number above 0; got {self.freedom!r}")

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        number = query.dtype.type
        steps = number(beta / self.freedom) * squared_distances(query, key)
        return number(-0.5 * (self.freedom + 1)) * np.log1p(steps)


@dataclass(frozen=True, eq=False)
class Metric:
    """-beta/2 (x_i - x_j)^T M (x_i - x_j) with M = L^T L: `factor` L (heads * head_dimension, dimension).

    A query and a key of the law would have no use: both are L x. Raises InvalidInput for a factor that is no matrix
    of finite numbers.
    """

    factor: Any
    name: ClassVar[str] = "metric"
    distant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        factor = np.asarray(self.factor, np.float64)
        if factor.ndim != 2 or 0 in factor.shape or not np.isfinite(factor).all():
            raise InvalidInput(f"the factor of a metric must be a matrix of finite numbers; got {self.factor!r}")
        object.__setattr__(self, "factor", factor)

    @classmethod
    def of_matrix(cls, matrix: ArrayLike) -> Metric:
        """The metric M itself, (dimension, dimension). Raises InvalidInput unless it is positive semidefinite."""
        m = np.asarray(matrix, np.float64)
        if m.ndim != 2 or m.shape[0] != m.shape[1] or not np.isfinite(m).all():
            raise InvalidInput(f"a metric must be a square matrix of finite numbers; got the shape {m.shape}")
        if np.abs(m - m.T).max() > NEGATIVE * np.abs(m).max():
            raise InvalidInput("a metric must be symmetric")
        values, vectors = np.linalg.eigh(0.5 * (m + m.T))
        if values.min() < -NEGATIVE * np.abs(values).max():
            raise InvalidInput(f"a metric must be positive semidefinite; its least eigenvalue is {values.min():.3g}")
        return cls(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)

    def of(self, query: Array, key: Array, beta: float) -> Array:
        """See `Score`."""
        return Gaussian().of(query, key, beta)


SCORES: dict[str, type] = {
    kind.name: kind  # type: ignore[attr-defined]
    for kind in (Dot, ScaledDot, Cosine, Gaussian, Laplace, Student, Metric)
}


def as_score(value: Any) -> Any:
    """A score, from one or from its name. Raises InvalidInput for anything else."""
    if isinstance(value, tuple(SCORES.values())):
        return value
    if value == "metric":
        raise InvalidInput("score 'metric' needs its matrix: give scores.Metric(...) or scores.Metric.of_matrix(...)")
    if not isinstance(value, str) or value not in SCORES:
        raise InvalidInput(f"score must be one of {', '.join(SCORES)}; got {value!r}")
    return SCORES[value]()


def directions(x: Array) -> Array:
    """x / |x| along the last axis; 0 where x is."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def squared_distances(query: Array, key: Array) -> Array:
    """|q_i - k_j|^2 (queries, keys), component by component: no cancellation where tokens have met."""
    total = np.zeros((query.shape[0], key.shape[0]), query.dtype)
    for c in range(query.shape[1]):
        total += np.square(query[:, c, None] - key[None, :, c])
    return total
