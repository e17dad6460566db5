"""A density of tokens on the circle, held by its Fourier coefficients.

    mu(theta) = (1 / 2 pi) (1 + 2 Re sum_k mu_k e^(ik theta)),      mu_k = E e^(-ik theta), k = 1, 2, ...

It is what the empirical measure of n tokens tends to; the coefficients of tokens are mu_k = sum_j a_j e^(-ik theta_j).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .ensemble import Ensemble
from .space import Sphere

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
RESOLVED = 1e-12  # of the mass: coefficients of a density that is resolved are below it from some degree on
HIGHEST_DEGREE = 1 << 14


@dataclass(frozen=True, eq=False)
class CircleDensity:
    """A density on the circle.

    coefficients : (degrees + 1,), complex: mu_0 = 1, mu_1, ..., what is beyond being zero

    Raises InvalidInput unless mu_0 = 1 and all are finite.
    """

    coefficients: Complex

    def __post_init__(self) -> None:
        coefficients = np.asarray(self.coefficients, np.complex128)
        if coefficients.ndim != 1 or coefficients.size == 0 or not np.isfinite(coefficients).all():
            raise InvalidInput(f"a density has finite coefficients (degrees + 1,); got {coefficients.shape}")
        if abs(coefficients[0] - 1.0) > 1e-9:
            raise InvalidInput(f"a density has the mass mu_0 = 1; got {coefficients[0]}")
        object.__setattr__(self, "coefficients", coefficients)

    @classmethod
    def of(cls, density: Callable[[Array], Array]) -> CircleDensity:
        """A smooth nonnegative function of the angle, up to a factor, to rounding.

        Raises InvalidInput where it is negative, not finite, or not resolved by 2^14 degrees.
        """
        degrees = 32
        while degrees <= HIGHEST_DEGREE:
            values = np.asarray(density(2.0 * np.pi * np.arange(4 * degrees) / (4 * degrees)), np.float64)
            if values.shape != (4 * degrees,) or not np.isfinite(values).all() or values.min() < 0 or values.max() == 0:
                raise InvalidInput("a density must be finite and nonnegative, and positive somewhere")
            found = np.fft.rfft(values)
            found = found / found[0].real
            if np.abs(found[degrees:]).max() < 1e-14 * np.sqrt(degrees):
                return cls(found[: degrees + 1])
            degrees *= 2
        raise InvalidInput(f"the density is not smooth enough for its first {HIGHEST_DEGREE} Fourier coefficients")

    @classmethod
    def uniform(cls) -> CircleDensity:
        """1 / 2 pi."""
        return cls(np.ones(1, np.complex128))

    @classmethod
    def poisson(cls, order: float, centre: float = 0.0) -> CircleDensity:
        """Poisson's kernel, mu_k = order^k e^(-ik centre), 0 <= order < 1: what beta = 0 keeps in its form."""
        if not 0.0 <= order < 1.0:
            raise InvalidInput(f"order must be at least 0 and below 1; got {order!r}")
        degrees = 1 if order == 0.0 else int(np.ceil(np.log(1e-17) / np.log(order))) + 1
        return cls((order * np.exp(-1j * centre)) ** np.arange(degrees + 1))

    @classmethod
    def gaussian(cls, mean: ArrayLike, covariance: ArrayLike) -> CircleDensity:
        """The directions of tokens N(mean, covariance) of the plane: gaussian tokens that are retracted to the circle.

        mean : (2,)      covariance : (2, 2), positive definite. Raises InvalidInput for another.
        """
        m, s = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
        if m.shape != (2,) or s.shape != (2, 2) or not np.allclose(s, s.T) or np.linalg.eigvalsh(s)[0] <= 0.0:
            raise InvalidInput(
                "directions of gaussian tokens need a mean (2,) and a positive definite covariance (2, 2)"
            )
        from scipy.special import log_ndtr

        precision = np.linalg.inv(s)

        def density(angles: Array) -> Array:
            u = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            square = np.einsum("ia,ab,ib->i", u, precision, u)
            along = u @ precision @ m / np.sqrt(square)
            # 1 + z Phi(z) / phi(z), of rays that carry r dr of the gaussian density, times exp(-m^T S^-1 m / 2)
            tail = np.exp(log_ndtr(along) + 0.5 * (along**2 - m @ precision @ m)) * np.sqrt(2.0 * np.pi)
            return np.maximum((np.exp(-0.5 * m @ precision @ m) + along * tail) / square, 0.0)

        return cls.of(density)

    @classmethod
    def mixture(cls, densities: list[CircleDensity], shares: ArrayLike | None = None) -> CircleDensity:
        """sum_c shares_c mu^c, by default of equal shares."""
        share = np.full(len(densities), 1.0 / len(densities)) if shares is None else np.asarray(shares, np.float64)
        if share.shape != (len(densities),) or (share < 0).any() or abs(share.sum() - 1.0) > 1e-9:
            raise InvalidInput("shares must be nonnegative and sum to 1, one for each density")
        total = np.zeros(max(len(each.coefficients) for each in densities), np.complex128)
        for part, each in zip(share, densities, strict=True):
            total[: len(each.coefficients)] += part * each.coefficients
        return cls(total)

    @property
    def order(self) -> float:
        """|mu_1|, the length of the mean token."""
        return float(np.abs(self.coefficients[1])) if len(self.coefficients) > 1 else 0.0

    def values(self, angles: ArrayLike) -> Array:
        """mu at angles of any shape."""
        theta = np.asarray(angles, np.float64)
        return (1.0 + 2.0 * _series(self.coefficients[1:], theta).real) / (2.0 * np.pi)

    def distribution(self, angles: ArrayLike) -> Array:
        """F(theta) = the mass between 0 and theta, at angles of any shape; F(theta + 2 pi) = F(theta) + 1."""
        theta = np.asarray(angles, np.float64)
        powers = self.coefficients[1:] / (1j * np.arange(1, len(self.coefficients)))
        return theta / (2.0 * np.pi) + (_series(powers, theta).real - powers.sum().real) / np.pi

    def quantiles(self, levels: ArrayLike) -> Array:
        """The angles in [0, 2 pi] with F = levels, of any shape, from 0 to 1."""
        level = np.asarray(levels, np.float64)
        if not ((level >= 0.0) & (level <= 1.0)).all():
            raise InvalidInput("levels must lie between 0 and 1")
        grid = np.linspace(0.0, 2.0 * np.pi, 16 * len(self.coefficients) + 1025)
        heights = np.maximum.accumulate(self.distribution(grid))
        goal = level.ravel()
        at = np.clip(np.searchsorted(heights, goal, side="right") - 1, 0, len(grid) - 2)
        low, high, theta = grid[at], grid[at + 1], np.interp(goal, heights, grid)
        open_ = np.arange(goal.size)
        for _ in range(60):
            here = theta[open_]
            gap = self.distribution(here) - goal[open_]
            low[open_], high[open_] = np.where(gap <= 0.0, here, low[open_]), np.where(gap >= 0.0, here, high[open_])
            slope = self.values(here)
            newton = here - np.divide(gap, slope, out=np.full_like(gap, np.inf), where=slope > 0.0)
            inside = (newton >= low[open_]) & (newton <= high[open_])
            theta[open_] = np.where(inside, newton, 0.5 * (low[open_] + high[open_]))
            open_ = open_[(np.abs(gap) > 4e-16) & (np.abs(theta[open_] - here) > 1e-13)]
            if not open_.size:
                break
        return theta.reshape(level.shape)

    def tokens(self, tokens: int, radius: float = 1.0) -> Ensemble:
        """Tokens at the quantiles (j + 1/2) / tokens, (1, tokens, 2): the nearest in W1 that so many come."""
        return self._at((np.arange(tokens) + 0.5) / tokens, radius)

    def draw(self, tokens: int, replicas: int = 1, seed: int = 0, radius: float = 1.0) -> Ensemble:
        """Independent tokens of this density; a replica's do not depend on how many replicas there are."""
        streams = (np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, r))) for r in range(replicas))
        return self._at(np.stack([stream.random(tokens) for stream in streams]), radius)

    def _at(self, levels: Array, radius: float) -> Ensemble:
        theta = self.quantiles(levels)
        return Ensemble(radius * np.stack([np.cos(theta), np.sin(theta)], axis=-1), Sphere(2, radius))


def _series(coefficients: Complex, theta: Array) -> Complex:
    """sum_k c_k e^(ik theta) with k from 1, by Horner's rule."""
    z, total = np.exp(1j * theta), np.zeros(theta.shape, np.complex128)
    for c in coefficients[::-1]:
        total += c
        total *= z
    return total
