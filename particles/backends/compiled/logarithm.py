"""log2(1 + u) of vectors of u >= 0, without branch or table: 1 + u = 2^k m with m near 1, a polynomial for log2 m.

With s = (m - 1) / (m + 1), |s| < 0.172, log2 m = s P(s^2), P a Chebyshev interpolant of 2 log2(e) artanh(s) / s (degree
7: relative error 1e-18; degree 3 in float32: 7e-10). What is lost of a small u in 1 + u is added to m - 1, so that the
relative error stays below three roundings for every u.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import CONTRACT, Vector, constant

# highest power of s^2 first
_C64 = (
    0.21366122502798326,
    0.22091286734180157,
    0.26233436060329546,
    0.3205985347650481,
    0.4121985858422942,
    0.577078016345514,
    0.9617966939259898,
    2.8853900817779268,
)
_C32 = (0.4317197157256091, 0.5767151118408125, 0.9617988394560251, 2.8853900798025367)
# sqrt(1/2), below which m does not go, and 1.5 * 2^52 or 1.5 * 2^23, whose low bits hold an integer
_ROOT64, _ROOT32 = 0x3FE6A09E667F3BCD, 0x3F3504F3
_MAGIC64, _MAGIC32 = 6755399441055744.0, 12582912.0
_MAGIC_BITS64, _MAGIC_BITS32 = 0x4338000000000000, 0x4B400000


@intrinsic
def log2_beyond_one(typing_context, us):
    """log2(1 + u), lane by lane, of each vector of a tuple, 0 <= u < inf."""
    if not (isinstance(us, types.UniTuple) and isinstance(us.dtype, Vector)):
        return None
    vector = us.dtype
    double = vector.number == types.float64
    bits, digits, one_bits = (64, 52, 1023 << 52) if double else (32, 23, 127 << 23)
    root, magic_bits = (_ROOT64, _MAGIC_BITS64) if double else (_ROOT32, _MAGIC_BITS32)
    magic, coefficients = (_MAGIC64, _C64) if double else (_MAGIC32, _C32)

    def generate(context, builder, signature, arguments):
        numbers = context.get_value_type(vector)
        integers = ir.VectorType(ir.IntType(bits), vector.lanes)

        def all_lanes(number):
            return constant(numbers, float(number if double else np.float32(number)))

        def all_integers(number):
            return ir.Constant(integers, [number] * vector.lanes)

        def fma(a, b, c):
            return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)

        one, results = all_lanes(1.0), []
        for u in cgutils.unpack_tuple(builder, arguments[0]):
            x = builder.fadd(u, one)
            lost = builder.fsub(u, builder.fsub(x, one))
            as_bits = builder.bitcast(x, integers)
            k = builder.lshr(builder.sub(as_bits, all_integers(root)), all_integers(digits))
            shifted = builder.shl(k, all_integers(digits))
            m = builder.bitcast(builder.sub(as_bits, shifted), numbers)
            scale = builder.bitcast(builder.sub(all_integers(one_bits), shifted), numbers)
            power = builder.fsub(builder.bitcast(builder.add(k, all_integers(magic_bits)), numbers), all_lanes(magic))
            f = fma(lost, scale, builder.fsub(m, one))
            s = builder.fdiv(f, builder.fadd(f, all_lanes(2.0)))
            z = builder.fmul(s, s)
            value = all_lanes(coefficients[0])
            for coefficient in coefficients[1:]:
                value = fma(value, z, all_lanes(coefficient))
            results.append(fma(s, value, power))
        return context.make_tuple(builder, us, results)

    return us(us), generate
