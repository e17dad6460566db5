"""Random attention weights: xi_ij > 0 by which what token i sees of token j is multiplied, new at every layer.

    w_ij = normalisation of row i of s with mu_ij = a_j m_ij xi_ij, under softmax a_j m_ij xi_ij exp(s_ij) / their sum

xi_ij are independent, with mean 1 and the coefficient of variation c (standard deviation over mean):

    lognormal   exp(sigma z - sigma^2 / 2), z gaussian, sigma^2 = log(1 + c^2)
    gamma       of shape 1 / c^2 and scale c^2
    weibull     (-log(1 - u))^(1/k) / Gamma(1 + 1/k), u uniform, and Gamma(1 + 2/k) / Gamma(1 + 1/k)^2 = 1 + c^2

As c -> 0 the law is the one without them. Source: Bayesian attention belief networks, arXiv:2106.05251.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy  # whose parts, which take long to import, are imported when they are used
from numpy.typing import NDArray

from ..errors import InvalidInput
from .draws import key_of, pair_bits

Array = NDArray[np.float64]
UNITS = 2.0**-52  # of the uniform numbers, which lie in the middle of their units: never 0 or 1
LEAST = 1e-30  # so that a multiplier is positive in float32 as well
MOST = 3.0  # beyond, a share of the multipliers would be below LEAST that one sees


def lognormal(uniform: Array, variation: float) -> Array:
    """The quantiles of the lognormal law with mean 1 and this coefficient of variation."""
    square = np.log1p(variation**2)
    return np.exp(np.sqrt(square) * scipy.special.ndtri(uniform) - square / 2.0)


def gamma(uniform: Array, variation: float) -> Array:
    """The quantiles of the gamma law with mean 1 and this coefficient of variation."""
    square = max(variation, 1e-100) ** 2  # whose inverse is a number
    return scipy.special.gammaincinv(1.0 / square, uniform) * square


def weibull(uniform: Array, variation: float) -> Array:
    """The quantiles of the Weibull law with mean 1 and this coefficient of variation."""
    inverse = weibull_exponent(variation)
    return np.exp(inverse * np.log(-np.log1p(-uniform)) - scipy.special.gammaln(1.0 + inverse))


def weibull_exponent(variation: float) -> float:
    """1/k of the Weibull law with this coefficient of variation, which increases with it."""

    def excess(inverse: float) -> float:
        return (
            scipy.special.gammaln(1.0 + 2.0 * inverse)
            - 2.0 * scipy.special.gammaln(1.0 + inverse)
            - np.log1p(variation**2)
        )

    if variation < 1e-4:  # where the excess is all rounding: log(1 + c^2) = zeta(2) / k^2 - 2 zeta(3) / k^3 + ...
        inverse = variation / np.sqrt(scipy.special.zeta(2.0))
        return float(inverse * (1.0 + inverse * scipy.special.zeta(3.0) / scipy.special.zeta(2.0)))
    return float(scipy.optimize.brentq(excess, 0.0, 1.0 + variation, xtol=1e-15, rtol=1e-14))


LAWS: dict[str, Callable[[Array, float], Array]] = {"lognormal": lognormal, "gamma": gamma, "weibull": weibull}


@dataclass(frozen=True)
class Multipliers:
    """Random multipliers of attention weights; see the module for the formulas.

    law       : "lognormal", "gamma" or "weibull"
    variation : the coefficient of variation, 0 to 3; 0 is no multiplier at all
    seed      : of the draw; a multiplier is a function of the seed, the layer, the replica, the head, i and j
    layer     : the number of the first layer; layer k of a network has the number layer + k

    Raises InvalidInput for an unknown law or numbers out of range.
    """

    law: str
    variation: float
    seed: int = 0
    layer: int = 0

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise InvalidInput(f"law of the multipliers must be one of {', '.join(LAWS)}; got {self.law!r}")
        number = isinstance(self.variation, (int, float, np.number)) and not isinstance(self.variation, bool)
        if not (number and 0.0 <= self.variation <= MOST):
            raise InvalidInput(f"variation of the multipliers must be between 0 and {MOST:g}; got {self.variation!r}")
        for name in ("seed", "layer"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise InvalidInput(f"{name} of the multipliers must be an integer of at least 0; got {value!r}")

    def after(self, layers: int) -> Multipliers:
        """Those of the layer this many layers on."""
        return replace(self, layer=self.layer + layers)

    def factors(self, replica: int, head: int, first: int, last: int, low: int, high: int) -> Array:
        """xi_ij for the tokens first <= i < last and low <= j < high, (last - first, high - low)."""
        if self.variation == 0.0:
            return np.ones((last - first, high - low))
        bits = pair_bits(key_of(int(self.seed), int(self.layer), replica, head), first, last, low, high)
        uniform = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * UNITS
        return np.maximum(LAWS[self.law](uniform, float(self.variation)), LEAST)
