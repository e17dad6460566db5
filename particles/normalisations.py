"""From the scores of a row to the weights of its tokens. A new normalisation is a class and a row of NORMALISATIONS.

mu_j = a_j m_ij is the token weight times what the mask lets through; a token with mu_j = 0 is not seen.

    softmax   mu_j exp(s_j) / sum_k mu_k exp(s_k)
    none      mu_j exp(s_j - shift)                                     unnormalised, arXiv:2312.10794
    linear    mu_j s_j
    sigmoid   mu_j / (1 + exp(-s_j - bias))                             arXiv:2409.04431, where bias = -log n
    relu      mu_j max(s_j, 0)
    sinkhorn  mu_j exp(s_j + u_i + v_j), u and v such that sum_j P_ij = 1 and sum_i a_i P_ij = a_j    arXiv:2110.11773
    entmax    nu_j [(alpha - 1) s_j - tau]_+^(1 / (alpha - 1)) with sum 1; sparsemax is alpha = 2      arXiv:1905.05702
    top-k     softmax over the k largest scores
    hardmax   mu_j / (their sum) over the largest score: softmax at beta = inf                         arXiv:2508.09628

In entmax nu_j = n mu_j, the count of tokens, or with `mean_field` mu_j itself: only then does a token split into two of
half its weight change nothing, and the limit of many tokens exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Array = NDArray[np.floating]
TIES = {8: 1e-12, 4: 1e-5}  # of the largest |s|: scores closer than this are the same, by bytes of a number


class Normalisation(Protocol):
    """What a normalisation is.

    stochastic : whether weights are nonnegative and the sum of a row is 1 (0 where nobody is seen)
    splits     : whether a token is as good as two in its place of half its weight each
    """

    name: ClassVar[str]
    stochastic: ClassVar[bool]

    @property
    def splits(self) -> bool: ...

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """The weights (rows, keys) of scores (rows, keys); measure: mu, (rows, keys)."""


@dataclass(frozen=True)
class Softmax:
    """mu_j exp(s_j) / Z."""

    name: ClassVar[str] = "softmax"
    stochastic: ClassVar[bool] = True
    splits: ClassVar[bool] = True

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        terms, _ = exponentials(scores, measure)
        return divided_by_sum(terms)


@dataclass(frozen=True)
class Unnormalised:
    """mu_j exp(s_j - shift): the growth of exp(beta r^2) is tamed by shift = beta r^2, a rescaling of time."""

    shift: float = 0.0
    name: ClassVar[str] = "none"
    stochastic: ClassVar[bool] = False
    splits: ClassVar[bool] = True

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        terms, highest = exponentials(scores, measure)
        return terms * np.exp(highest - terms.dtype.type(self.shift))


@dataclass(frozen=True)
class Linear:
    """mu_j s_j."""

    name: ClassVar[str] = "linear"
    stochastic: ClassVar[bool] = False
    splits: ClassVar[bool] = True

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        return measure * scores


@dataclass(frozen=True)
class Sigmoid:
    """mu_j / (1 + exp(-s_j - bias)). Raises InvalidInput for a bias that is no finite number."""

    bias: float = 0.0
    name: ClassVar[str] = "sigmoid"
    stochastic: ClassVar[bool] = False
    splits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_finite("bias of the sigmoid", self.bias)

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        s = scores + scores.dtype.type(self.bias)
        small = np.exp(-np.abs(s))
        return measure * np.where(s >= 0, 1.0, small).astype(s.dtype) / (1 + small)


@dataclass(frozen=True)
class Relu:
    """mu_j max(s_j, 0)."""

    name: ClassVar[str] = "relu"
    stochastic: ClassVar[bool] = False
    splits: ClassVar[bool] = True

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        return measure * np.maximum(scores, 0)


@dataclass(frozen=True)
class Sinkhorn:
    """Doubly stochastic for the token weights: rows sum to 1, and sum_i a_i P_ij = a_j to `tolerance`.

    Needs a mask that is symmetric. What a law with it computes, `sinkhorn` says. Raises InvalidInput for a tolerance
    outside 1e-14..1e-2 or fewer than one iteration.
    """

    tolerance: float = 1e-10
    iterations: int = 1000
    name: ClassVar[str] = "sinkhorn"
    stochastic: ClassVar[bool] = True
    splits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (isinstance(self.tolerance, (int, float)) and 1e-14 <= self.tolerance <= 1e-2):
            raise InvalidInput(f"tolerance of sinkhorn must be between 1e-14 and 1e-2; got {self.tolerance!r}")
        _check_count("iterations of sinkhorn", self.iterations)

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """The rows where the measure has v in it: softmax rows."""
        return Softmax().rows(scores, measure, tokens)


@dataclass(frozen=True)
class Entmax:
    """alpha-entmax: sparse, exact to rounding for every alpha. Raises InvalidInput for alpha outside (1, 2]."""

    alpha: float = 1.5
    mean_field: bool = False
    name: ClassVar[str] = "entmax"
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (isinstance(self.alpha, (int, float)) and 1.0 < self.alpha <= 2.0):
            raise InvalidInput(f"alpha of entmax must be above 1 and at most 2; got {self.alpha!r}")

    @property
    def splits(self) -> bool:
        """See `Normalisation`."""
        return self.mean_field

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`.

        tau is found by Newton's method for (sum_j nu_j (z_j - tau)_+^p)^(1/p) = 1, z = (alpha - 1) s and
        p = 1 / (alpha - 1): convex in tau, so that from the left the iterates increase to the solution.
        """
        p = 1.0 / (self.alpha - 1.0)
        nu = np.asarray(measure if self.mean_field else tokens * measure, np.float64)
        seen = nu > 0
        z = np.where(seen, (self.alpha - 1.0) * np.asarray(scores, np.float64), -np.inf)
        highest = z.max(axis=1, keepdims=True, initial=-np.inf)
        z = np.where(seen, z - np.where(np.isfinite(highest), highest, 0.0), -np.inf)
        top = np.max(np.where(z == 0, nu, 0.0), axis=1, keepdims=True, initial=0.0)
        tau = -(np.where(top > 0, top, 1.0) ** (-1.0 / p))
        for _ in range(200):
            above = np.maximum(z - tau, 0.0)
            power = np.where(above > 0, nu * above ** (p - 1.0), 0.0)
            total, slope = (power * above).sum(axis=1, keepdims=True), power.sum(axis=1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = np.where(total > 0, (total - total ** (1.0 - 1.0 / p)) / slope, 0.0)
            moved = tau + np.maximum(step, 0.0)
            if not (moved > tau).any():
                break
            tau = moved
        return divided_by_sum(nu * np.maximum(z - tau, 0.0) ** p).astype(scores.dtype)


@dataclass(frozen=True)
class TopK:
    """Softmax over the `count` largest scores that are seen; all that tie with the last of them count as well.

    Raises InvalidInput for a count below 1.
    """

    count: int
    name: ClassVar[str] = "top-k"
    stochastic: ClassVar[bool] = True
    splits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_count("count of top-k", self.count)

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        s = np.where(measure > 0, scores, -np.inf)
        if self.count < s.shape[1]:
            least = -np.partition(-s, self.count - 1, axis=1)[:, self.count - 1, None]
            measure = np.where(s >= least - tie(s), measure, 0)
        return Softmax().rows(scores, measure.astype(scores.dtype), tokens)


@dataclass(frozen=True)
class Hardmax:
    """mu_j / (their sum) over the tokens of the largest score, which share it where they tie."""

    name: ClassVar[str] = "hardmax"
    stochastic: ClassVar[bool] = True
    splits: ClassVar[bool] = True

    def rows(self, scores: Array, measure: Array, tokens: int) -> Array:
        """See `Normalisation`."""
        s = np.where(measure > 0, scores, -np.inf)
        highest = s.max(axis=1, keepdims=True, initial=-np.inf)
        return divided_by_sum(np.where((s >= highest - tie(s)) & np.isfinite(s), measure, 0).astype(scores.dtype))


NORMALISATIONS: dict[str, type] = {
    kind.name: kind  # type: ignore[attr-defined]
    for kind in (Softmax, Unnormalised, Linear, Sigmoid, Relu, Sinkhorn, Entmax, TopK, Hardmax)
}


def as_normalisation(value: Any) -> Any:
    """A normalisation, from one or from its name; "sparsemax" is Entmax(2). Raises InvalidInput for anything else."""
    if isinstance(value, tuple(NORMALISATIONS.values())):
        return value
    if value == "sparsemax":
        return Entmax(2.0)
    if value == "top-k":
        raise InvalidInput("normalisation 'top-k' needs its number: give normalisations.TopK(count)")
    if not isinstance(value, str) or value not in NORMALISATIONS:
        raise InvalidInput(f"normalisation must be one of {', '.join(NORMALISATIONS)}, sparsemax; got {value!r}")
    return NORMALISATIONS[value]()


def exponentials(scores: Array, measure: Array) -> tuple[Array, Array]:
    """mu_j exp(s_j - highest) (rows, keys) and the highest score that is seen, 0 where nobody is, (rows, 1)."""
    highest = scores.max(axis=1, keepdims=True, initial=-np.inf, where=measure > 0)
    highest = np.where(np.isfinite(highest), highest, 0.0).astype(scores.dtype)
    return measure * np.exp(np.minimum(scores - highest, 0.0)), highest


def divided_by_sum(terms: Array) -> Array:
    """Rows with sum 1; a row of zeros stays."""
    total = terms.sum(axis=1, keepdims=True)
    return np.divide(terms, total, out=np.zeros_like(terms), where=total > 0)


def tie(scores: Array) -> Array:
    """How far apart scores of a row may be by rounding, (rows, 1)."""
    largest = np.max(np.abs(scores), axis=1, keepdims=True, initial=0.0, where=np.isfinite(scores))
    return TIES[scores.dtype.itemsize] * largest


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        raise InvalidInput(f"{name} must be a finite number; got {value!r}")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{name} must be an integer of at least 1; got {value!r}")
