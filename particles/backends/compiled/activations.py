"""The activations of `feed_forward.ACTIVATIONS` on vectors of numbers, without branch or table.

With a = |x|, cut off where the rest is nothing, and e = 2^(-log2(e) y), y >= 0:

    silu        (max(x, 0) + e min(x, 0)) / (1 + e)                 y = a
    gelu-tanh   the same                                            y = 2 sqrt(2/pi) (a + 0.044715 a^3)
    gelu        max(x, 0) - a q(a) e                                y = a^2 / 2, q(a) e = erfc(a / sqrt 2) / 2

(1 + sqrt(2) a) q(a) is a Chebyshev interpolant in (a - 5) / (a + 5) (degree 23: relative error 2.2e-16; degree 11 in
float32: 8e-8), the form of Shepherd and Laframboise, Math. Comp. 36 (1981) 249.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .exponential import LOG2E, exp2
from .lanes import lane_count
from .side_by_side import at_most, load_all, multiplied, openings, positive_parts, scaled, store_all, zeros
from .vectors import CONTRACT, Vector, constant, spread, wide

RELU, GELU, GELU_TANH, SILU = range(4)
NUMBERS = {"relu": RELU, "gelu": GELU, "gelu-tanh": GELU_TANH, "silu": SILU}
TOGETHER = 4  # vectors side by side, see `exp2`
# of a in float64 and in float32: beyond, e would be a number so small that processors are slow at it
FURTHEST_GELU, FURTHEST_GELU_TANH, FURTHEST_SILU = (37.0, 12.5), (21.0, 9.8), (690.0, 80.0)
MIDDLE = 5.0  # of the interpolant's variable
LINEAR = 2.0 * sqrt(2.0 / pi) * LOG2E  # of log2(e) y of gelu-tanh, whose cubic term has this times 0.044715

# highest power first
_C64 = (
    -5.653668435866834e-10,
    -3.469899739370109e-10,
    6.548279342231471e-09,
    4.54504089931767e-09,
    -4.6259201097902323e-08,
    -3.2915085807863654e-08,
    2.9391020827875105e-07,
    1.492013629735911e-07,
    -1.949862801746648e-06,
    1.799572739257574e-07,
    1.3338626123726891e-05,
    -1.6747328999494725e-05,
    -7.621075726421244e-05,
    0.0002828892833455376,
    -4.460030664714639e-05,
    -0.002461265130851664,
    0.010208851393502314,
    -0.02517855483579757,
    0.0443988613287147,
    -0.057159048971975226,
    0.04764866133894879,
    -0.004193708178282688,
    -0.07005241362061797,
    0.6208209264948372,
)
_C32 = (
    -4.311760130804032e-05,
    0.00023464536934625357,
    -8.215755224227905e-05,
    -0.002407889813184738,
    0.010230319574475288,
    -0.025205977261066437,
    0.04439277946949005,
    -0.05715265870094299,
    0.047649405896663666,
    -0.0041942535899579525,
    -0.07005243748426437,
    0.620820939540863,
)


@intrinsic
def _tails(typing_context, magnitudes):
    """q(a), lane by lane, of each vector of a tuple, 0 <= a < inf; written out for the reason given in `exp2`."""
    if not (isinstance(magnitudes, types.UniTuple) and isinstance(magnitudes.dtype, Vector)):
        return None
    vector = magnitudes.dtype
    coefficients = _C64 if vector.number == types.float64 else _C32

    def generate(context, builder, signature, arguments):
        vector_type = context.get_value_type(vector)

        def all_lanes(number):
            return constant(
                vector_type, float(number if isinstance(vector_type.element, ir.DoubleType) else np.float32(number))
            )

        def multiply_add(a, b, c):
            return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)

        given = cgutils.unpack_tuple(builder, arguments[0])
        middle = all_lanes(MIDDLE)
        t = [builder.fdiv(builder.fsub(a, middle), builder.fadd(a, middle)) for a in given]
        values = [all_lanes(coefficients[0])] * len(t)
        for coefficient in coefficients[1:]:
            values = [multiply_add(value, part, all_lanes(coefficient)) for value, part in zip(values, t, strict=True)]
        below = [multiply_add(a, all_lanes(sqrt(2.0)), all_lanes(1.0)) for a in given]
        return context.make_tuple(builder, magnitudes, [builder.fdiv(v, b) for v, b in zip(values, below, strict=True)])

    return magnitudes(magnitudes), generate


@njit(cache=True, error_model="numpy")
def _furthest(which, double):
    """Where a is cut off; for relu anywhere."""
    if which == GELU:
        return FURTHEST_GELU[0] if double else FURTHEST_GELU[1]
    if which == SILU:
        return FURTHEST_SILU[0] if double else FURTHEST_SILU[1]
    return FURTHEST_GELU_TANH[0] if double else FURTHEST_GELU_TANH[1]


@njit(cache=True, error_model="numpy")
def activate(which, x, first, last):
    """Replace the numbers x.flat[first : last], TOGETHER vectors or a multiple, by act of them; which: of NUMBERS."""
    wide()
    number, lanes = x.dtype.type, lane_count(x)
    minus, furthest = spread(number(-1.0)), spread(number(_furthest(which, x.itemsize == 8)))
    for at in range(first, last, TOGETHER * lanes):
        u = load_all((minus, minus, minus, minus), x, at, lanes)
        positive, negative = positive_parts(u), at_most(positive_parts(scaled(minus, u, zeros(u))), furthest)
        if which == RELU:
            store_all(x, at, lanes, positive)
            continue
        a = at_most(scaled(minus, scaled(minus, positive, zeros(u)), negative), furthest)
        if which == GELU:
            e = exp2(multiplied(scaled(spread(number(-0.5 * LOG2E)), a, zeros(u)), a))
            rest = multiplied(multiplied(a, _tails(a)), e)
            store_all(x, at, lanes, scaled(minus, rest, positive))
            continue
        if which == SILU:
            e = exp2(scaled(spread(number(-LOG2E)), a, zeros(u)))
        else:
            cubic = scaled(spread(number(-0.044715 * LINEAR)), multiplied(a, a), spread(number(-LINEAR)))
            e = exp2(multiplied(cubic, a))
        rest = scaled(minus, multiplied(e, negative), positive)
        store_all(x, at, lanes, multiplied(rest, openings(e)))
