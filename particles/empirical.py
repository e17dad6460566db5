"""How far n tokens are from the measure they are drawn from, or tend to: in moments and in W1.

    gaussian limit   |m_n - m|, |S_n - S|_F (the norm of Frobenius); W1 on the line and along random directions, exactly
    circle density   |mu_n,k - mu_k|; W1 along the circle, exactly
    more tokens      |m_n - m|, |S_n - S|_F in any space; W1 by `wasserstein`

For independent tokens the root mean square of each is of order n^(-1/2), so is W1 on the line, on the circle and
sliced. W1 itself is of order (log n / n)^(1/2) in the plane and n^(-1/d) for d >= 3 (arXiv:1312.2128; Ajtai, Komlos,
Tusnady, Combinatorica 4 (1984) 259). The same holds at later depths, as long as the limit's velocity is Lipschitz: the
error grows by a constant factor then.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .circle_density import CircleDensity
from .ensemble import Ensemble
from .gaussian import GaussianMeasure
from .space import Sphere
from .wasserstein import wasserstein

Array = NDArray[np.float64]
CELLS = 2048  # of the circle, besides those between tokens, on which a distribution function is taken as linear


def moment_errors(ensemble: Ensemble, limit: GaussianMeasure | CircleDensity | Ensemble) -> dict[str, Array]:
    """What separates the moments of each replica from those of the limit, each (replicas,).

    gaussian limit : mean |m_n - m|, covariance |S_n - S|_F, with S_n = sum_i a_i (x_i - m_n)(x_i - m_n)^T
    circle density : first, second |mu_n,k - mu_k|, k = 1, 2, with mu_n,k = sum_i a_i e^(-ik theta_i)
    an ensemble    : as a gaussian limit with its mean and covariance, of one replica or as many

    Raises InvalidInput for a limit of another space.
    """
    x, a = _tokens(ensemble, limit)
    if isinstance(limit, CircleDensity):
        z = (x[..., 0] - 1j * x[..., 1]) / limit_radius(ensemble)
        known = np.append(limit.coefficients, [0.0, 0.0])
        ours = [np.sum(a * z**k, axis=-1) for k in (1, 2)]
        names = ("first", "second")
        return {name: np.abs(each - known[k]) for name, each, k in zip(names, ours, (1, 2), strict=True)}
    mean, covariance = _moments(x, a)
    there = _moments(*_tokens(limit, ensemble)) if isinstance(limit, Ensemble) else (limit.mean, limit.covariance)
    return {
        "mean": np.linalg.norm(mean - there[0], axis=-1),
        "covariance": np.linalg.norm(covariance - there[1], axis=(-2, -1)),
    }


def wasserstein_to_gaussian(
    ensemble: Ensemble,
    limit: GaussianMeasure,
    *,
    method: Literal["sliced", "sample"] = "sliced",
    directions: int = 64,
    seed: int = 0,
) -> Array:
    """W1 between each replica and a gaussian measure, (replicas,).

    method : "sliced", the mean over random `directions` u of W1(<x, u>, N(<m, u>, u^T S u)), each exact, O(n log n);
             on the line it is W1. "sample", W1 itself to as many independent tokens of the limit (`wasserstein`, at
             most 5000): the error of two draws, of the order of one

    Raises InvalidInput for a limit of another space, or what `wasserstein` refuses.
    """
    if method not in ("sliced", "sample"):
        raise InvalidInput(f'method must be "sliced" or "sample"; got {method!r}')
    x, a = _tokens(ensemble, limit)
    if method == "sample":
        return np.asarray(wasserstein(ensemble, limit.draw(ensemble.tokens, ensemble.replicas, seed)), np.float64)
    u = np.random.default_rng(seed).standard_normal((directions, limit.dimension))
    u = np.ones((1, 1)) if limit.dimension == 1 else u / np.linalg.norm(u, axis=1, keepdims=True)
    deviations = np.sqrt(np.maximum(np.einsum("ud,de,ue->u", u, limit.covariance, u), 0.0))
    measures = list(zip(u, u @ limit.mean, deviations, strict=True))
    return np.array(
        [np.mean([to_normal(y @ v, b, *normal) for v, *normal in measures]) for y, b in zip(x, a, strict=True)]
    )


def to_normal(x: ArrayLike, weights: ArrayLike, mean: float, deviation: float) -> float:
    """W1 of sum_i a_i delta_{x_i} and N(mean, deviation^2) on the line: the integral of |F_n - F|, in closed form.

    Between two tokens F_n is a constant c; with H(z) = z Phi(z) + phi(z), H' = Phi, the integral of |c - Phi| is a
    matter of H at both ends and at Phi^-1(c), where it lies between them.
    """
    from scipy.special import ndtr, ndtri

    x, a = np.asarray(x, np.float64), np.asarray(weights, np.float64)
    order = np.argsort(x)
    if deviation == 0.0:
        return float(a @ np.abs(x - mean))
    z = (x[order] - mean) / deviation
    level = np.clip(np.cumsum(a[order])[:-1], 0.0, 1.0)

    def below(y: Array) -> Array:  # H
        return y * ndtr(y) + np.exp(-0.5 * y * y) / np.sqrt(2.0 * np.pi)

    crossing = np.clip(ndtri(level), z[:-1], z[1:])
    between = level * (2.0 * crossing - z[:-1] - z[1:]) + below(z[:-1]) + below(z[1:]) - 2.0 * below(crossing)
    return float(deviation * (np.maximum(between, 0.0).sum() + below(z[0]) + below(-z[-1])))


def wasserstein_to_density(ensemble: Ensemble, density: CircleDensity) -> Array:
    """W1 along the circle between each replica and a density, (replicas,).

    The integral of |F_n - F - c| with c the median of F_n - F over the circle. F is taken as linear between tokens and
    2048 further angles, which errs by 1e-6 of the total variation of the density. Raises InvalidInput off the circle.
    """
    x, a = _tokens(ensemble, density)
    radius = limit_radius(ensemble)
    grid = np.linspace(0.0, 2.0 * np.pi, CELLS + 1)
    known_there = density.distribution(grid)
    found = []
    for tokens, weights in zip(x, a, strict=True):
        angles = np.arctan2(tokens[:, 1], tokens[:, 0]) % (2.0 * np.pi)
        places = np.concatenate([angles, grid])
        order = np.argsort(places, kind="stable")
        known = np.concatenate([density.distribution(angles), known_there])[order]
        ahead = np.cumsum(np.concatenate([weights, np.zeros(len(grid))])[order])[:-1]
        found.append(radius * _median_distance(np.diff(places[order]), ahead - known[:-1], ahead - known[1:]))
    return np.array(found)


def rate(tokens: ArrayLike, what: Literal["moments", "sliced", "wasserstein"], dimension: int = 1) -> Array:
    """The known order of the root mean square error of n independent tokens, up to a factor, of the shape of `tokens`.

    dimension : of the set that tokens fill, 1 for the circle. Moments and sliced W1 n^(-1/2); W1 n^(-1/2) for d = 1,
                (log n / n)^(1/2) for d = 2 and n^(-1/d) for d >= 3
    """
    if what not in ("moments", "sliced", "wasserstein"):
        raise InvalidInput(f'what must be "moments", "sliced" or "wasserstein"; got {what!r}')
    n = np.asarray(tokens, np.float64)
    if what != "wasserstein" or dimension == 1:
        return n**-0.5
    return np.sqrt(np.log(n) / n) if dimension == 2 else n ** (-1.0 / dimension)


def limit_radius(ensemble: Ensemble) -> float:
    """The radius of the circle that tokens live on. Raises InvalidInput elsewhere."""
    if not isinstance(ensemble.space, Sphere) or ensemble.dimension != 2:
        raise InvalidInput(f"a density on the circle is the limit of tokens on a circle; got {ensemble.space}")
    return float(ensemble.space.radius)


def _tokens(ensemble: Ensemble, limit: GaussianMeasure | CircleDensity | Ensemble) -> tuple[Array, Array]:
    """Positions and weights (replicas, tokens) of an ensemble whose space is that of the limit."""
    if isinstance(limit, CircleDensity):
        limit_radius(ensemble)
    elif isinstance(limit, Ensemble):
        if ensemble.space != limit.space or len({ensemble.replicas, limit.replicas, 1}) > 2:
            raise InvalidInput(
                "what more tokens are the limit of must be in their space, with as many replicas or one; got "
                f"{ensemble.space} and {limit.space}, {ensemble.replicas} and {limit.replicas} replicas"
            )
    elif ensemble.space.name != "euclidean" or ensemble.dimension != limit.dimension:
        raise InvalidInput(
            f"a gaussian measure of R^{limit.dimension} is the limit of tokens there; got {ensemble.space}"
        )
    x = np.asarray(ensemble.positions, np.float64)
    return x, np.broadcast_to(np.asarray(ensemble.weights, np.float64), x.shape[:2])


def _moments(x: Array, a: Array) -> tuple[Array, Array]:
    """Mean (replicas, dimension) and covariance (replicas, dimension, dimension) of weighted tokens."""
    mean = np.einsum("ri,rid->rd", a, x)
    centred = x - mean[:, None]
    return mean, np.swapaxes(a[..., None] * centred, 1, 2) @ centred


def _median_distance(lengths: Array, left: Array, right: Array) -> float:
    """The integral of |D - c|, c the median of D, which on cells of these lengths goes linearly from left to right.

    The length of where D <= c is piecewise linear in c: Newton's method inside a bracket finds the median in few steps.
    """
    seen = lengths > 0
    lengths, low, high = lengths[seen], np.minimum(left, right)[seen], np.maximum(left, right)[seen]
    width = np.maximum(high - low, 1e-300)
    below, above, half = float(low.min()), float(high.max()), 0.5 * lengths.sum()
    c = float(lengths @ (low + high)) / (4.0 * half)
    for _ in range(100):
        excess = lengths @ np.clip((c - low) / width, 0.0, 1.0) - half
        below, above = (c, above) if excess < 0.0 else (below, c)
        inside = (low < c) & (c < high)
        slope = np.sum(lengths[inside] / width[inside])
        following = c - excess / slope if slope > 0.0 else below
        if not below < following < above:
            following = 0.5 * (below + above)
        if abs(following - c) <= 1e-14 or above - below <= 1e-14:
            break
        c = following
    inside = (low < c) & (c < high)
    crossed = ((high - c) ** 2 + (c - low) ** 2) / (2.0 * width)
    return float(lengths @ np.where(inside, crossed, np.abs(0.5 * (high + low) - c)))
