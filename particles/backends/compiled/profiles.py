"""From the product or the squared distance of query and key to the weight of a pair, in vectors of pairs.

A profile is two steps, each chosen by a number, for laws whose weights need no more of their row than a bound:

    exponent  e = factor <q, k>,  factor u,  factor sqrt(u)  or  factor log2(1 + steps u),   u = |q - k|^2;   plus shift
    weight    2^e,  1 / (1 + 2^e),  max(e, 0),  e  or, where Student's power is half an integer,  (1 + e)^(-halves/2)

so that dot products, gaussian, laplace and student meet softmax, sigmoid, relu and linear in one kernel. A kernel that
is given None for a profile has softmax of dot products, compiled as if there were no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from numba import njit
from numba.core.types import NoneType
from numba.extending import overload

from .exponential import LN2, LOG2E, exp2
from .logarithm import log2_beyond_one
from .plan import MASKS
from .side_by_side import (
    add_products,
    add_squares,
    at_most,
    multiplied,
    openings,
    positive_parts,
    scaled,
    square_roots,
    zeros,
)
from .vectors import spread

if TYPE_CHECKING:
    from ...attention import Attention

PRODUCT, SQUARE, DISTANCE, LOGARITHM = range(4)
POWER, SIGMOID, RELU, LINEAR, RATIONAL = range(5)
MOST_HALVES = 16  # of a rational power, which rounds once more for each
_EXPONENTS = {"gaussian": SQUARE, "metric": SQUARE, "laplace": DISTANCE, "student": LOGARITHM}
_WEIGHTS = {"softmax": POWER, "none": POWER, "sigmoid": SIGMOID, "relu": RELU, "linear": LINEAR}
_MOST64, _MOST32 = 1022.0, 126.0  # of an exponent of the sigmoid: beyond, its weight is below every normal number


class Profile(NamedTuple):
    """A law as the numbers above; the factor of products is to be in the queries already.

    shift : what is added to every exponent, but for the bound of its row
    """

    exponent: int
    weight: int
    factor: float
    steps: float
    shift: float
    halves: int = 0

    @property
    def bounded(self) -> bool:
        """Whether weights are powers whose bound has to be subtracted, that of the products of their row."""
        return self.exponent == PRODUCT and self.weight == POWER

    @property
    def vanishes(self) -> bool:
        """Whether all weights of a row may be too small for the number type."""
        return self.weight in (POWER, RATIONAL)


def profile_of(law: Attention) -> Profile | None:
    """The profile of a law whose weights need no more of their row than a bound; None for all others."""
    score, normalisation = law.score, law.normalisation
    repelled = score.distant and law.beta < 0  # exponents grow with the distance, which has no bound here
    power = normalisation.name in ("softmax", "none")
    if (
        normalisation.name not in _WEIGHTS
        or law.mask.name not in MASKS
        or law.prior is not None
        or law.multipliers is not None
        or (repelled and power)
    ):
        return None
    exponent, weight = _EXPONENTS.get(score.name, PRODUCT), _WEIGHTS[normalisation.name]
    unit = {POWER: LOG2E, SIGMOID: -LOG2E}.get(weight, 1.0)
    freedom = float(getattr(score, "freedom", 1.0))
    if exponent == LOGARITHM and power and freedom.is_integer() and freedom < MOST_HALVES:
        return Profile(SQUARE, RATIONAL, law.beta / freedom, 0.0, 0.0, int(freedom) + 1)
    factor = {
        PRODUCT: law.beta,
        SQUARE: -0.5 * law.beta,
        DISTANCE: -law.beta,
        LOGARITHM: -0.5 * (freedom + 1.0) * LN2,
    }[exponent]
    return Profile(exponent, weight, unit * factor, law.beta / freedom, unit * getattr(normalisation, "bias", 0.0))


def pair_weights(profile, q, shifts, keys, at):
    """The weights of a vector of queries for len(shifts) keys side by side, in compiled code.

    q      : the components of the queries, a tuple
    shifts : what is added to the exponents, once for every key
    keys   : those of the next key lie keys.shape[3] numbers further            at : where the first begins
    """
    raise NotImplementedError("for compiled code")


@overload(pair_weights, inline="always")
def _pair_weights(profile, q, shifts, keys, at):
    if isinstance(profile, NoneType):
        return lambda profile, q, shifts, keys, at: exp2(add_products(shifts, q, keys, at, keys.shape[3]))
    return lambda profile, q, shifts, keys, at: _profile_weights(profile, q, shifts, keys, at)


def pair_weight(profile, q, shift, keys, at):
    """The same for one key; where `shift` is the product itself, the power is 1 to the last bit."""
    raise NotImplementedError("for compiled code")


@overload(pair_weight, inline="always")
def _pair_weight(profile, q, shift, keys, at):
    if isinstance(profile, NoneType):
        return _power_of_product
    return lambda profile, q, shift, keys, at: _profile_weights(profile, q, (shift,), keys, at)[0]


def _power_of_product(profile, q, shift, keys, at):
    product = add_products((spread(keys.dtype.type(0.0)),), q, keys, at, keys.shape[3])[0]
    return exp2((product + shift,))[0]


@njit(inline="always")
def _profile_weights(profile, q, shifts, keys, at):
    if profile.exponent == PRODUCT:
        return weights(profile, keys, add_products(shifts, q, keys, at, keys.shape[3]))
    return weights(
        profile, keys, exponents(profile, keys, add_squares(zeros(shifts), q, keys, at, keys.shape[3]), shifts)
    )


@njit(inline="always")
def exponents(profile, array, squares, shifts):
    """The exponents of squared distances, a tuple of vectors; array : any one of their number type."""
    number, u = array.dtype.type, squares
    if profile.exponent == DISTANCE:
        u = square_roots(u)
    elif profile.exponent == LOGARITHM:
        u = log2_beyond_one(scaled(spread(number(profile.steps)), u, zeros(u)))
    return scaled(spread(number(profile.factor)), u, shifts)


@njit(inline="always")
def weights(profile, array, exponents):
    """The weights of exponents, a tuple of vectors; array : any one of their number type."""
    if profile.weight == POWER:
        return exp2(exponents)
    if profile.weight == SIGMOID:
        return openings(exp2(at_most(exponents, spread(array.dtype.type(_MOST64 if array.itemsize == 8 else _MOST32)))))
    if profile.weight == RELU:
        return positive_parts(exponents)
    if profile.weight == RATIONAL:
        return _rational(profile, exponents)
    return exponents


@njit(inline="always")
def _rational(profile, us):
    """(1 + u)^(-halves/2)."""
    base = openings(us)
    result, left = base, profile.halves // 2 - 1
    if profile.halves % 2 == 1:
        result, left = square_roots(base), left + 1
    while left > 0:
        result = multiplied(result, base)
        left -= 1
    return result
