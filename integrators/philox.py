"""Random numbers that are a function of where they are wanted: Philox4x64-10 and gaussians made of its words.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011). The words are those of
numpy.random.Philox(key=key, counter=[0, node, interval, 0]).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
KEY_STEPS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
LOW_BITS, ONE = np.uint64(11), np.uint64(1)  # a float64 has 53 bits of the 64
UNIT = 2.0**-53


@intrinsic
def _multiply_high(typing_context, a, b):
    """The upper 64 bits of the product of two 64-bit words."""

    def generate(context, builder, signature, arguments):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(word, wide) for word in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@njit(cache=True)
def words(block, node, interval, first_key, second_key):
    """The four 64-bit words number `block` of the stream (node, interval) under a key of two words."""
    # numpy counts one up before it draws
    a, b, c, d = block + ONE, node, interval, np.uint64(0)
    for _ in range(ROUNDS):
        low_a, low_c = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        high_a, high_c = _multiply_high(MULTIPLIERS[0], a), _multiply_high(MULTIPLIERS[1], c)
        a, b, c, d = high_c ^ b ^ first_key, low_c, high_a ^ d ^ second_key, low_a
        first_key, second_key = first_key + KEY_STEPS[0], second_key + KEY_STEPS[1]
    return a, b, c, d


@njit(cache=True)
def _two_gaussians(first, second):
    """Two independent N(0, 1) numbers from two words, by Box and Muller."""
    radius = np.sqrt(-2.0 * np.log(((first >> LOW_BITS) + ONE) * UNIT))
    angle = 2.0 * np.pi * ((second >> LOW_BITS) * UNIT)
    return radius * np.cos(angle), radius * np.sin(angle)


@njit(cache=True, nogil=True)
def gaussians(key, node, interval, scale, out):
    """Fill out (replicas, numbers) with N(0, scale^2); number k of replica r depends on key, r, node, interval and k.

    key, node, interval : 64-bit words; a replica's stream has the key (key, r)
    """
    replicas, numbers = out.shape
    for r in range(replicas):
        for block in range((numbers + 3) // 4):
            a, b, c, d = words(np.uint64(block), node, interval, key, np.uint64(r))
            first, second = _two_gaussians(a, b)
            third, fourth = _two_gaussians(c, d)
            at = 4 * block
            out[r, at] = scale * first
            if at + 1 < numbers:
                out[r, at + 1] = scale * second
            if at + 2 < numbers:
                out[r, at + 2] = scale * third
            if at + 3 < numbers:
                out[r, at + 3] = scale * fourth
