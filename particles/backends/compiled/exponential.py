"""2^y of a vector, without branch or table: y = k + f with |f| <= 1/2, a polynomial for 2^f, k put into the exponent.

The polynomials are Chebyshev interpolants of 2^f on [-1/2, 1/2] (degree 10: relative error 2.2e-16; degree 5 in
float32: 8e-8). y is clamped from below at the smallest normal power; y above the largest one is the caller's error:
every kernel subtracts an upper bound of its exponents first.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import CONTRACT, Vector, constant, times_power

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


@intrinsic
def exp2(typing_context, ys):
    """2^y, lane by lane, of each vector of a tuple.

    Several at once, step by step side by side: one alone is a chain of steps that wait for each other. Written out
    here, for LLVM leaves a loop over coefficients in a tuple a loop, which costs more than what it does.
    """
    if not (isinstance(ys, types.UniTuple) and isinstance(ys.dtype, Vector)):
        return None
    vector = ys.dtype
    double = vector.number == types.float64
    coefficients, magic, least = (_C64, _MAGIC64, _LEAST64) if double else (_C32, _MAGIC32, _LEAST32)

    def generate(context, builder, signature, arguments):
        vector_type = context.get_value_type(vector)

        def all_lanes(number):
            return constant(vector_type, float(number))

        def fma(a, b, c):
            return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)

        clamped, marked, f = [], [], []
        for y in cgutils.unpack_tuple(builder, arguments[0]):
            above = builder.fcmp_ordered("<", y, all_lanes(least))
            clamped.append(builder.select(above, all_lanes(least), y))
        for y in clamped:
            marked.append(builder.fadd(y, all_lanes(magic)))
            f.append(builder.fsub(y, builder.fsub(marked[-1], all_lanes(magic))))
        values = [all_lanes(coefficients[0])] * len(f)
        for coefficient in coefficients[1:]:
            values = [fma(value, part, all_lanes(coefficient)) for value, part in zip(values, f, strict=True)]
        powers = [times_power(builder, value, mark) for value, mark in zip(values, marked, strict=True)]
        return context.make_tuple(builder, ys, powers)

    return ys(ys), generate
