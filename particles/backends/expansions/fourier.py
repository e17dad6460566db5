"""The circle: exp(kappa cos t) = I_0(kappa) + 2 sum_k I_k(kappa) cos(k t), so sums over tokens are moments.

With tokens as complex numbers u_j of length 1 and mu_k = sum_j a_j conj(u_j)^k, at the point q

    z = Re sum_k c_k mu_k q^k,     c_0 = I_0, c_k = 2 I_k
    g = A q + B i q,   A = Re sum_k c'_k mu_k q^k,   B = -Im sum_k s_k mu_k q^k,   s_k = 2 k I_k / kappa

all times exp(-kappa). Powers are made by multiplication, with no sine or cosine; polynomials by Horner's rule, whose
rounding does not grow near real q as that of Clenshaw's does.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from ..compiled.vectors import across_sum, fma, load, spread, spread_from, store, wide, zero_vectors
from .blocks import LANES, TOGETHER, Series, bessel_ratios, finish, gather, scatter, truncated, turned

Array = NDArray[np.floating]
WIDTH = 128  # tokens of a block
HIGHEST_DEGREE = 4096
_SIDE_BY_SIDE = (0.0,) * TOGETHER


def series(kappa: float) -> Series:
    """The coefficients for degrees whose size matters at all, and the first that are left out."""
    k = np.arange(2 * HIGHEST_DEGREE)
    bessel = bessel_ratios(kappa, 0.0, len(k))
    bessel /= 2.0 * bessel[::-1].sum() - 1.0  # exp(kappa) = I_0 + 2 I_1 + 2 I_2 + ...
    k = k[: min(np.flatnonzero(bessel)[-1] + 2, len(k) - 1)]
    below, above = bessel[np.abs(k - 1)], bessel[k + 1]
    partition, along = 2.0 * bessel[k], below + above
    across = below - above if kappa < 1.0 else k * partition / kappa
    partition[0], across[0], along[0] = bessel[0], 0.0, bessel[1]
    return truncated(kappa, partition, across, along, partition + across + along, HIGHEST_DEGREE)


def tables(degree: int) -> Array:
    """What `sum_moments` needs: nothing."""
    return np.empty(0)


def count(degree: int) -> int:
    """How many complex moments there are up to a degree."""
    return degree + 1


def nanoseconds(degree: int, along: bool) -> float:
    """Of one token's sums, on one thread, roughly: for the moments and for the evaluation together."""
    return 4.0 + (0.17 if along else 0.13) * degree


def coefficients(expansion: Series, degree: int, moments: Array, along: bool) -> tuple[Array, Array]:
    """What `evaluate` needs: (replicas, 2 or 3 polynomials, degree + 1, 2) from moments (replicas, degree + 1, 2)."""
    kinds = (expansion.partition, expansion.across, expansion.along)[: 3 if along else 2]
    by_kind = np.stack([kind[: degree + 1] for kind in kinds])
    return by_kind[:, :, None] * moments[:, None], moments[:, 0, 0].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def sum_moments(positions, weights, which, degree, parts, tables, out, first, last):
    """out[i, p] (degree + 1, 2): the sums over part p of the tokens of replica which[i], for the units first..last."""
    wide()
    tokens = positions.shape[1]
    points, weight = np.empty((2, WIDTH)), np.empty(WIDTH)
    lane_sums = np.empty((degree + 1, 2, LANES))
    share = -(-tokens // (parts * WIDTH)) * WIDTH
    for unit in range(first, last):
        i, part = unit // parts, unit % parts
        stop = min((part + 1) * share, tokens)
        lane_sums[...] = 0.0
        for start in range(part * share, stop, WIDTH):
            gather(positions, weights, which[i], start, stop, points, weight)
            for at in range(0, WIDTH, TOGETHER * LANES):
                _add_powers(points, weight, at, degree, lane_sums)
        for k in range(degree + 1):
            for c in range(2):
                out[i, part, k, c] = across_sum(load(lane_sums, (2 * k + c) * LANES))


@njit(inline="always")
def _add_powers(points, weight, at, degree, lane_sums):
    """Add a conj(u)^k of some vectors of tokens, lane by lane."""
    x = y = minus_y = re = im = zero_vectors(points, _SIDE_BY_SIDE)
    total = spread(0.0)
    for v in range(TOGETHER):
        x = tuple_setitem(x, v, load(points, at + v * LANES))
        y = tuple_setitem(y, v, load(points, WIDTH + at + v * LANES))
        minus_y = tuple_setitem(minus_y, v, spread(0.0) - y[v])
        re = tuple_setitem(re, v, load(weight, at + v * LANES))
        total = total + re[v]
    store(lane_sums, 0, load(lane_sums, 0) + total)
    for k in range(1, degree + 1):
        for v in range(TOGETHER):
            new = fma(re[v], x[v], im[v] * y[v])
            im = tuple_setitem(im, v, fma(im[v], x[v], re[v] * minus_y[v]))
            re = tuple_setitem(re, v, new)
        real, imaginary = load(lane_sums, 2 * k * LANES), load(lane_sums, (2 * k + 1) * LANES)
        for v in range(TOGETHER):
            real, imaginary = real + re[v], imaginary + im[v]
        store(lane_sums, 2 * k * LANES, real)
        store(lane_sums, (2 * k + 1) * LANES, imaginary)


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(
    law, tangent, kappa, positions, weights, which, table, levels, out, partition, extremes, first, last
):  # fmt: skip
    """Write the attention of the blocks first..last, counted through the replicas `which`.

    partition : (replicas, tokens), out: z, or of size 0
    extremes  : (blocks, 2), out: the least z and the largest |f|^2 of a block
    """
    wide()
    tokens = positions.shape[1]
    blocks = -(-tokens // WIDTH)
    points, weight, query, result = np.empty((2, WIDTH)), np.empty(WIDTH), np.empty((2, WIDTH)), np.empty((2, WIDTH))
    sums = np.empty((3, WIDTH))
    for unit in range(first, last):
        i, start = unit // blocks, unit % blocks * WIDTH
        r = which[i]
        gather(positions, weights, r, start, tokens, points, weight)
        turned(points, law.turn, query)
        for at in range(0, WIDTH, TOGETHER * LANES):
            _evaluate_vectors(query, at, table, i, sums)
        extremes[unit, 0], extremes[unit, 1] = finish(law, tangent, points, sums, result)
        scatter(result, out, r, start, tokens)
        if partition.size > 0:
            for j in range(start, min(start + WIDTH, tokens)):
                partition[r, j] = sums[2, j - start]


@njit(inline="always")
def _evaluate_vectors(query, at, table, i, sums):
    """The sums at some vectors of points."""
    kinds = table.shape[1]
    z = _horner(query, at, table, i * kinds)[0]
    across = _horner(query, at, table, i * kinds + 1)[1]
    along = _horner(query, at, table, i * kinds + 2)[0] if kinds > 2 else zero_vectors(query, _SIDE_BY_SIDE)
    for v in range(TOGETHER):
        place = at + v * LANES
        x, y = load(query, place), load(query, WIDTH + place)
        store(sums, place, fma(along[v], x, across[v] * y))
        store(sums, WIDTH + place, along[v] * y - across[v] * x)
        store(sums, 2 * WIDTH + place, z[v])


@njit(inline="always")
def _horner(query, at, table, which):
    """Real and imaginary parts of one polynomial at some vectors of points."""
    degrees = table.shape[2]
    x = y = minus_y = re = im = zero_vectors(query, _SIDE_BY_SIDE)
    for v in range(TOGETHER):
        x = tuple_setitem(x, v, load(query, at + v * LANES))
        y = tuple_setitem(y, v, load(query, WIDTH + at + v * LANES))
        minus_y = tuple_setitem(minus_y, v, spread(0.0) - y[v])
    place = 2 * degrees * (which + 1)
    for _ in range(degrees):
        place -= 2
        real, imaginary = spread_from(table, place), spread_from(table, place + 1)
        for v in range(TOGETHER):
            new = fma(im[v], minus_y[v], fma(re[v], x[v], real))
            im = tuple_setitem(im, v, fma(re[v], y[v], fma(im[v], x[v], imaginary)))
            re = tuple_setitem(re, v, new)
    return re, im
