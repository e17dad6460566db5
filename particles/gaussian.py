"""Gaussian measures of tokens in R^d, and the laws that keep them gaussian: those whose velocity is affine.

    v(x) = b + G x      so that      m' = b + G m,   S' = G S + S G^T                        for tokens N(m, S)

With g(x) = beta (Q x + b_q), P = V S K^T, and one head (several add up, each through its columns of O):

    softmax of dot products   v = V (m + S K^T g) + b_v
    linear                    v = (P + (V m + b_v) (K m + b_k)^T) g           of any measure, gaussian or not
    softmax of -beta/2 |.|^2  v = V M (m + S K^T (g - beta b_k)) + b_v,   M = (I + beta S K^T K)^-1
    sinkhorn                  v = V (m + C^T S^-1 (x - m)) + b_v,   C the cross-covariance of the coupling

The coupling of sinkhorn has density exp(beta x^T B y), B = Q^T K, up to functions of x and of y alone. With R = S^(1/2)
and singular values beta R B R = U D W^T, C = R U E W^T R with E = D (I - E^2): E = 2 D / (I + (I + 4 D^2)^(1/2)).
Source: arXiv:2501.18322, where Gaussian measures are shown to stay Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .attention import Attention
from .ensemble import Ensemble
from .space import Euclidean

Array = NDArray[np.float64]
DOTS, DISTANCES = ("dot", "scaled-dot"), ("gaussian", "metric")
LARGEST_GRID = 1_000_000  # tokens of a quadrature


@dataclass(frozen=True, eq=False)
class GaussianMeasure:
    """The measure N(mean, covariance) of tokens in R^d.

    mean : (dimension,)      covariance : (dimension, dimension), symmetric, positive semidefinite

    Raises InvalidInput for other shapes, or a matrix that is no covariance.
    """

    mean: Array
    covariance: Array

    def __post_init__(self) -> None:
        mean, covariance = (np.asarray(each, np.float64) for each in (self.mean, self.covariance))
        if mean.ndim != 1 or mean.size == 0 or covariance.shape != 2 * mean.shape:
            raise InvalidInput(
                "a gaussian measure has a mean (dimension,) and a covariance (dimension, dimension); "
                f"got the shapes {mean.shape} and {covariance.shape}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise InvalidInput("mean and covariance must be finite")
        size = np.abs(covariance).max()
        if np.abs(covariance - covariance.T).max() > 1e-8 * size:
            raise InvalidInput("a covariance must be symmetric")
        covariance = 0.5 * (covariance + covariance.T)
        least = np.linalg.eigvalsh(covariance)[0]
        if least < -1e-10 * size:
            raise InvalidInput(f"a covariance must be positive semidefinite; its least eigenvalue is {least:.3g}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)

    @property
    def dimension(self) -> int:
        return len(self.mean)

    @property
    def root(self) -> Array:
        """The symmetric square root of the covariance, (dimension, dimension)."""
        sizes, axes = np.linalg.eigh(self.covariance)
        return (axes * np.sqrt(np.maximum(sizes, 0.0))) @ axes.T

    def draw(self, tokens: int, replicas: int = 1, seed: int = 0) -> Ensemble:
        """Independent tokens of this measure; a replica's do not depend on how many replicas there are."""
        law = {"mean": self.mean, "covariance": self.covariance}
        return Ensemble.gaussian(Euclidean(self.dimension), tokens, replicas, seed, **law)

    def quadrature(self, nodes: int) -> Ensemble:
        """Weighted tokens whose sums are integrals: Gauss and Hermite's, (1, nodes^dimension, dimension).

        Exact for polynomials of degree up to 2 nodes - 1 in each of the measure's axes. Raises InvalidInput for more
        than a million tokens.
        """
        if not isinstance(nodes, (int, np.integer)) or nodes < 1 or nodes**self.dimension > LARGEST_GRID:
            raise InvalidInput(f"nodes must be an integer from 1, with nodes^dimension at most 1e6; got {nodes!r}")
        points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        axes = np.meshgrid(*[points] * self.dimension, indexing="ij")
        shares = np.meshgrid(*[weights / weights.sum()] * self.dimension, indexing="ij")
        weight = np.prod(shares, axis=0).ravel()
        grid = np.stack(axes, axis=-1).reshape(-1, self.dimension)
        sizes, directions = np.linalg.eigh(self.covariance)
        places = self.mean + (grid * np.sqrt(np.maximum(sizes, 0.0))) @ directions.T
        return Ensemble(places, Euclidean(self.dimension), weight / weight.sum())


def affine_drift(law: Attention, measure: GaussianMeasure) -> tuple[Array, Array]:
    """b (dimension,) and G (dimension, dimension) of the velocity v(x) = b + G x in the field of gaussian tokens.

    Raises InvalidInput for a law that does not keep tokens gaussian (`check_closed`), or, with squared distances and
    beta < 0, where the integral over the tokens diverges.
    """
    check_closed(law)
    d = measure.dimension
    parts = law.projections(d)
    beta = law.beta * parts.score_scale
    query = np.eye(d)[None] if parts.query is None else parts.query
    key = np.eye(d)[None] if parts.key is None else parts.key
    value = parts.value_scale * np.eye(d)[None] if parts.value is None else parts.value
    biases = (
        np.zeros(each.shape[:2]) if bias is None else bias
        for each, bias in ((query, parts.query_bias), (key, parts.key_bias), (value, parts.value_bias))
    )
    heads = [_head(law, beta, measure, *matrices) for matrices in zip(query, key, value, *biases, strict=True)]
    b, g = (np.concatenate(each) for each in zip(*heads, strict=True))
    if parts.output is not None:
        b, g = parts.output @ b, parts.output @ g
    return (b if parts.output_bias is None else b + parts.output_bias), g


def check_closed(law: Any) -> None:
    """Raise InvalidInput unless gaussian tokens stay gaussian under the law, in the limit of many tokens."""
    if not isinstance(law, Attention):
        raise InvalidInput(f"the gaussian closure is that of an Attention; got {type(law).__name__}")
    name, score = law.normalisation.name, law.score.name
    allowed = {"softmax": DOTS + DISTANCES, "linear": DOTS, "sinkhorn": DOTS + DISTANCES}
    if score not in allowed.get(name, ()):
        raise InvalidInput(
            "tokens stay gaussian under softmax and sinkhorn of dot products or squared distances (scores dot, "
            f"scaled-dot, gaussian, metric) and under linear attention of dot products; got {name} of {score}"
        )
    extra = [part for part in ("prior", "rotary", "gate", "multipliers") if getattr(law, part) is not None]
    if extra or law.mask.name != "none":
        raise InvalidInput(
            "the gaussian closure is for tokens that see all others alike; got "
            + (extra[0] if extra else f"the mask {law.mask.name}")
        )


def _head(
    law: Attention, beta: float, measure: GaussianMeasure, q: Array, k: Array, v: Array, bq: Array, bk: Array, bv: Array
) -> tuple[Array, Array]:
    """b and G of one head: (value_dimension,) and (value_dimension, dimension)."""
    m, s = measure.mean, measure.covariance
    if law.normalisation.name == "linear":
        to_value = v @ s @ k.T + np.outer(v @ m + bv, k @ m + bk)
        return beta * to_value @ bq, beta * to_value @ q
    if law.normalisation.name == "sinkhorn":
        b = beta * q.T @ k
        root = measure.root
        _, d, right = np.linalg.svd(root @ b @ root)
        shrink = (right.T * (2.0 / (1.0 + np.sqrt(1.0 + 4.0 * d**2)))) @ right
        slope = v @ root @ shrink @ root @ b.T  # V C^T S^-1, without the inverse
        return v @ m - slope @ m + bv, slope
    if law.score.name in DOTS:
        slope = beta * v @ s @ k.T
        return v @ m + slope @ bq + bv, slope @ q
    widened = np.eye(len(m)) + beta * s @ k.T @ k
    if np.linalg.eigvals(widened).real.min() <= 0.0:
        raise InvalidInput("with beta < 0 the weights exp(-beta/2 |q - k|^2) of gaussian tokens have no finite sum")
    slope = beta * v @ np.linalg.solve(widened, s @ k.T)
    return v @ np.linalg.solve(widened, m) + slope @ (bq - bk) + bv, slope @ q
