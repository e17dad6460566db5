"""2^y of a vector, without branch or table: y = k + f with |f| <= 1/2, a polynomial for 2^f, k put into the exponent.

The polynomials are Chebyshev interpolants of 2^f on [-1/2, 1/2] (degree 10: relative error 2.2e-16; degree 5 in
float32: 8e-8). y is clamped from below at the smallest normal power; y above the largest one is the caller's error:
every kernel subtracts an upper bound of its exponents first.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from .vectors import Vector, fma, largest, scale_by_power, spread

LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453

# highest power first
_C64 = (
    7.072585949269223e-09,
    1.0208690299958306e-07,
    1.321544258792169e-06,
    1.5252657260200837e-05,
    0.0001540353044173605,
    0.0013333558230164974,
    0.009618129107606888,
    0.05550410866444772,
    0.24022650695910097,
    0.69314718055995,
    1.0,
)


_C32 = (
    np.float32(0.0013390863314270973),
    np.float32(0.009676031768321991),
    np.float32(0.055503569543361664),
    np.float32(0.2402210682630539),
    np.float32(0.6931471824645996),
    np.float32(1.0000001192092896),
)

# 1.5 * 2^52 and 1.5 * 2^23: adding one rounds to an integer and leaves it in the low bits
_MAGIC64, _MAGIC32 = 6755399441055744.0, np.float32(12582912.0)
_LEAST64, _LEAST32 = -1022.0, np.float32(-126.0)


def exp2(y):
    """2^y, lane by lane (in compiled code)."""
    raise NotImplementedError("exp2 of a vector exists in compiled code only")


@overload(exp2)
def _exp2(y):
    if isinstance(y, Vector):
        return (lambda y: _exp2_float64(y)) if y.number == types.float64 else (lambda y: _exp2_float32(y))


@njit(cache=True)
def _exp2_float64(y):
    y = largest(y, spread(_LEAST64))
    marked = y + spread(_MAGIC64)
    f = y - (marked - spread(_MAGIC64))
    value = spread(_C64[0])
    for power in range(1, len(_C64)):
        value = fma(value, f, spread(_C64[power]))
    return scale_by_power(value, marked)


@njit(cache=True)
def _exp2_float32(y):
    y = largest(y, spread(_LEAST32))
    marked = y + spread(_MAGIC32)
    f = y - (marked - spread(_MAGIC32))
    value = spread(_C32[0])
    for power in range(1, len(_C32)):
        value = fma(value, f, spread(_C32[power]))
    return scale_by_power(value, marked)
