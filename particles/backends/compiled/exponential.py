"""2^y of a vector, without branch or table: y = k + f with |f| <= 1/2, a polynomial for 2^f, k put into the exponent.

The polynomials are Chebyshev interpolants of 2^f on [-1/2, 1/2] (degree 10: relative error 2.2e-16; degree 5 in
float32: 8e-8). y is clamped from below at the smallest normal power; y above the largest one is the caller's error:
every kernel subtracts an upper bound of its exponents first.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.cpython.unsafe.tuple import tuple_setitem
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


def exp2(ys):
    """2^y, lane by lane, of each vector of a tuple (in compiled code).

    Several at once, step by step side by side: one alone is a chain of steps that wait for each other.
    """
    raise NotImplementedError("exp2 of vectors exists in compiled code only")


@overload(exp2)
def _exp2(ys):
    if isinstance(ys, types.UniTuple) and isinstance(ys.dtype, Vector):
        return (lambda ys: _exp2_float64(ys)) if ys.dtype.number == types.float64 else (lambda ys: _exp2_float32(ys))


def _exp2_of(coefficients, magic, least):
    def exp2_of_tuple(ys):
        marked, f, value = ys, ys, ys
        for u in range(len(ys)):
            y = largest(ys[u], spread(least))
            m = y + spread(magic)
            marked = tuple_setitem(marked, u, m)
            f = tuple_setitem(f, u, y - (m - spread(magic)))
            value = tuple_setitem(value, u, spread(coefficients[0]))
        for power in range(1, len(coefficients)):
            for u in range(len(ys)):
                value = tuple_setitem(value, u, fma(value[u], f[u], spread(coefficients[power])))
        for u in range(len(ys)):
            value = tuple_setitem(value, u, scale_by_power(value[u], marked[u]))
        return value

    return njit(exp2_of_tuple, cache=True)


_exp2_float64 = _exp2_of(_C64, _MAGIC64, _LEAST64)
_exp2_float32 = _exp2_of(_C32, _MAGIC32, _LEAST32)
