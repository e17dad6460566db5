"""The sphere in R^3: exp(kappa t) = sum_l (2l + 1) i_l(kappa) P_l(t), so sums over tokens are moments of harmonics.

i_l is the modified spherical Bessel function sqrt(pi / 2 kappa) I_(l+1/2). With w = x + iy and the polynomials
Pi_l^m(z), d^m P_l / dz^m divided by its leading coefficient, the addition theorem is, without angles or poles,

    P_l(<q, u>) = Re sum_m N_lm Pi_l^m(z_q) Pi_l^m(z_u) w_q^m conj(w_u)^m
    Pi_l^m = z Pi_(l-1)^m - ((l-1)^2 - m^2) / (4 (l-1)^2 - 1) Pi_(l-2)^m,    d Pi_l^m / dz = (l - m) Pi_l^(m+1)

With C_lm = h_l N_lm conj(M_lm), M_lm = sum_j a_j Pi_l^m(z_j) w_j^m and S = Re sum_lm C_lm Pi_l^m(z) w^m,

    z = i_0 M_00 + kappa S,   g = (1 - q q^T) grad S + A q,   h_l = (2l + 1) i_l / kappa

and A is the sum S with (2l + 1) i_l' for h_l; all times exp(-kappa). The sum over m is done by Horner's rule in w.
Source: Funk-Hecke formula; Holmes and Featherstone, J. Geodesy 76 (2002) 279.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from ..compiled.vectors import across_sum, fma, load, spread, spread_from, store, wide, zero_vectors
from .blocks import LANES, TOGETHER, Series, bessel_ratios, finish, gather, scatter, truncated, turned

Array = NDArray[np.floating]
WIDTH = 128  # tokens of a block
HIGHEST_DEGREE = 200
_SIDE_BY_SIDE = (0.0,) * TOGETHER


def series(kappa: float) -> Series:
    """The coefficients for degrees whose size matters at all, and the first that are left out."""
    ell = np.arange(4 * HIGHEST_DEGREE)
    bessel = bessel_ratios(kappa, 0.5, len(ell))
    if kappa > 0.0:
        bessel *= -np.expm1(-2.0 * kappa) / (2.0 * kappa)  # i_0 = sinh(kappa) / kappa
    ell = ell[: min(np.flatnonzero(bessel)[-1] + 2, len(ell) - 1)]
    below, above = bessel[np.abs(ell - 1)], bessel[ell + 1]
    partition, along = (2 * ell + 1) * bessel[ell], ell * below + (ell + 1) * above
    across = below - above if kappa < 1.0 else partition / kappa
    across[0] = 0.0
    # a gradient of P_l on the sphere is at most l long
    return truncated(kappa, partition, across, along, partition + ell * across + along, HIGHEST_DEGREE)


def tables(degree: int) -> Array:
    """What `sum_moments` needs: the steps, (count,)."""
    return orders_up_to(degree).steps


def count(degree: int) -> int:
    """How many complex moments there are up to a degree."""
    return (degree + 1) * (degree + 2) // 2


def nanoseconds(degree: int, along: bool) -> float:
    """Of one token's sums, on one thread, roughly: for the moments and for the evaluation together."""
    return 6.0 + 0.6 * degree + (0.35 if along else 0.3) * count(degree)


class Orders(NamedTuple):
    """Tables of the pairs (l, m), 0 <= m <= l <= degree, column after column of equal m.

    degrees, orders : (count,) l and m       steps : (count,) the factor of Pi_(l-2)^m in Pi_l^m; 1 where l = m,
                                             for Pi_m^m = 1 follows on Pi_(m-1)^m = 0 and Pi_(m-2)^m = 1
    norms : (count,) N_lm                    before : (count,) where (l, m - 1) stands
    """

    degrees: NDArray[np.integer]
    orders: NDArray[np.integer]
    steps: Array
    norms: Array
    before: Array


@functools.lru_cache(maxsize=64)
def orders_up_to(degree: int) -> Orders:
    """The tables for one highest degree."""
    m, ell = np.triu_indices(degree + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(ell > m, (2.0 * ell - 1.0) ** 2 / np.maximum((ell - m) * (ell + m), 1), 1.0)
    norms = np.empty(len(ell))
    first = 1.0
    for order in range(degree + 1):
        column = m == order
        norms[column] = first * np.cumprod(growth[column])
        first *= (2 * order + 1) / (2 * order + 2) * (2.0 if order == 0 else 1.0)
    steps = -((ell - 1.0) ** 2 - m**2) / (4.0 * (ell - 1.0) ** 2 - 1.0)
    steps[ell == m + 1] = 0.0
    steps[ell == m] = 1.0
    start = np.flatnonzero(ell == m)
    before = np.where(m > 0, start[np.maximum(m - 1, 0)] + ell - m + 1, 0)
    return Orders(ell, m, steps, norms, before)


def coefficients(expansion: Series, degree: int, moments: Array, along: bool) -> tuple[Array, Array]:
    """What `evaluate` needs from moments (replicas, count, 2).

    (replicas, count, 5 or 7): for (l, m) its step, C_lm, (l - m + 1) C_(l, m-1), and the C_lm of A; and i_0 M_00
    """
    t = orders_up_to(degree)
    conjugate = moments * (t.norms[:, None] * np.array([1.0, -1.0]))
    out = np.empty((len(moments), len(t.norms), 7 if along else 5))
    out[..., 0] = t.steps
    out[..., 1:3] = expansion.across[t.degrees][:, None] * conjugate
    rise = np.where(t.orders > 0, t.degrees - t.orders + 1.0, 0.0)
    out[..., 3:5] = rise[:, None] * out[:, t.before, 1:3]
    if along:
        out[..., 5:7] = expansion.along[t.degrees][:, None] * conjugate
    return out, expansion.partition[0] * moments[:, 0, 0]


@njit(cache=True, nogil=True, error_model="numpy")
def sum_moments(positions, weights, which, degree, parts, tables, out, first, last):
    """out[i, p] (count, 2): the sums over part p of the tokens of replica which[i], for the units first..last.

    tables : (count,), the steps
    """
    wide()
    tokens = positions.shape[1]
    points, weight, power = np.empty((3, WIDTH)), np.empty(WIDTH), np.empty((2, WIDTH))
    lane_sums = np.empty((tables.size, 2, LANES))
    share = -(-tokens // (parts * WIDTH)) * WIDTH
    for unit in range(first, last):
        i, part = unit // parts, unit % parts
        stop = min((part + 1) * share, tokens)
        lane_sums[...] = 0.0
        for start in range(part * share, stop, WIDTH):
            gather(positions, weights, which[i], start, stop, points, weight)
            power[0] = weight
            power[1] = 0.0
            column = 0
            for m in range(degree + 1):
                for at in range(0, WIDTH, TOGETHER * LANES):
                    _add_column(points, power, at, tables, column, degree - m + 1, lane_sums)
                column += degree - m + 1
                _raise(points, power)
        for k in range(tables.size):
            for c in range(2):
                out[i, part, k, c] = across_sum(load(lane_sums, (2 * k + c) * LANES))


@njit(inline="always")
def _raise(points, power):
    """power times x + iy."""
    for at in range(0, WIDTH, LANES):
        x, y = load(points, at), load(points, WIDTH + at)
        re, im = load(power, at), load(power, WIDTH + at)
        store(power, at, re * x - im * y)
        store(power, WIDTH + at, re * y + im * x)


@njit(inline="always")
def _add_column(points, power, at, steps, column, length, lane_sums):
    """Add Pi_l^m a w^m of some vectors of tokens for all l of one m, lane by lane."""
    z = re = im = now = before = zero_vectors(points, _SIDE_BY_SIDE)
    for v in range(TOGETHER):
        z = tuple_setitem(z, v, load(points, 2 * WIDTH + at + v * LANES))
        re = tuple_setitem(re, v, load(power, at + v * LANES))
        im = tuple_setitem(im, v, load(power, WIDTH + at + v * LANES))
        before = tuple_setitem(before, v, spread(1.0))
    for k in range(column, column + length):
        step, place = spread_from(steps, k), 2 * k * LANES
        real, imaginary = load(lane_sums, place), load(lane_sums, place + LANES)
        for v in range(TOGETHER):
            new = fma(step, before[v], z[v] * now[v])
            before = tuple_setitem(before, v, now[v])
            now = tuple_setitem(now, v, new)
            real, imaginary = fma(new, re[v], real), fma(new, im[v], imaginary)
        store(lane_sums, place, real)
        store(lane_sums, place + LANES, imaginary)


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(
    law, tangent, kappa, positions, weights, which, table, levels, out, partition, extremes, first, last
):  # fmt: skip
    """Write the attention of the blocks first..last, counted through the replicas `which`.

    partition : (replicas, tokens), out: z, or of size 0
    extremes  : (blocks, 2), out: the least z and the largest |f|^2 of a block
    """
    wide()
    tokens, kinds = positions.shape[1], table.shape[2]
    degree = int((np.sqrt(8.0 * table.shape[1] + 1.0) - 3.0) / 2.0 + 0.5)
    blocks = -(-tokens // WIDTH)
    points, weight, query, result = np.empty((3, WIDTH)), np.empty(WIDTH), np.empty((3, WIDTH)), np.empty((3, WIDTH))
    sums, state = np.empty((4, WIDTH)), np.empty((8, WIDTH))
    for unit in range(first, last):
        i, start = unit // blocks, unit % blocks * WIDTH
        r = which[i]
        gather(positions, weights, r, start, tokens, points, weight)
        turned(points, law.turn, query)
        state[...] = 0.0
        column = table.shape[1]
        for m in range(degree, -1, -1):
            column -= degree - m + 1
            for at in range(0, WIDTH, TOGETHER * LANES):
                _join_column(query, at, table, i, column, degree - m + 1, m, state)
                if kinds > 5:
                    _join_along(query, at, table, i, column, degree - m + 1, state)
        _gradient(query, state, kappa, levels[i], sums)
        extremes[unit, 0], extremes[unit, 1] = finish(law, tangent, points, sums, result)
        scatter(result, out, r, start, tokens)
        if partition.size > 0:
            for j in range(start, min(start + WIDTH, tokens)):
                partition[r, j] = sums[3, j - start]


@njit(inline="always")
def _join_column(query, at, table, i, column, length, m, state):
    """One step of Horner's rule for S, its derivatives in w and in z, at some vectors of points.

    state : (8, width), real and imaginary parts of S, dS/dw, dS/dz and A
    """
    z = now = before = zero_vectors(query, _SIDE_BY_SIDE)
    re = im = rise_re = rise_im = now
    for v in range(TOGETHER):
        z = tuple_setitem(z, v, load(query, 2 * WIDTH + at + v * LANES))
        before = tuple_setitem(before, v, spread(1.0))
    width = table.shape[2]
    place = (i * table.shape[1] + column) * width
    for _ in range(length):
        for v in range(TOGETHER):
            new = fma(spread_from(table, place), before[v], z[v] * now[v])
            before = tuple_setitem(before, v, now[v])
            now = tuple_setitem(now, v, new)
        for v in range(TOGETHER):
            re = tuple_setitem(re, v, fma(now[v], spread_from(table, place + 1), re[v]))
        for v in range(TOGETHER):
            im = tuple_setitem(im, v, fma(now[v], spread_from(table, place + 2), im[v]))
        for v in range(TOGETHER):
            rise_re = tuple_setitem(rise_re, v, fma(now[v], spread_from(table, place + 3), rise_re[v]))
        for v in range(TOGETHER):
            rise_im = tuple_setitem(rise_im, v, fma(now[v], spread_from(table, place + 4), rise_im[v]))
        place += width
    for v in range(TOGETHER):
        here = at + v * LANES
        _horner(query, state, here, 2, load(state, here), load(state, WIDTH + here))
        _horner(query, state, here, 0, re[v], im[v])
        if m > 0:
            _horner(query, state, here, 4, rise_re[v], rise_im[v])


@njit(inline="always")
def _join_along(query, at, table, i, column, length, state):
    """The same for A alone."""
    z = now = before = re = im = zero_vectors(query, _SIDE_BY_SIDE)
    for v in range(TOGETHER):
        z = tuple_setitem(z, v, load(query, 2 * WIDTH + at + v * LANES))
        before = tuple_setitem(before, v, spread(1.0))
    width = table.shape[2]
    place = (i * table.shape[1] + column) * width
    for _ in range(length):
        step, real, imaginary = (
            spread_from(table, place), spread_from(table, place + 5), spread_from(table, place + 6)
        )  # fmt: skip
        for v in range(TOGETHER):
            new = fma(step, before[v], z[v] * now[v])
            before = tuple_setitem(before, v, now[v])
            now = tuple_setitem(now, v, new)
            re = tuple_setitem(re, v, fma(new, real, re[v]))
            im = tuple_setitem(im, v, fma(new, imaginary, im[v]))
        place += width
    for v in range(TOGETHER):
        _horner(query, state, at + v * LANES, 6, re[v], im[v])


@njit(inline="always")
def _horner(query, state, here, row, re, im):
    """state = state * w + (re + i im), for the complex number in rows row, row + 1."""
    x, y = load(query, here), load(query, WIDTH + here)
    old_re, old_im = load(state, row * WIDTH + here), load(state, (row + 1) * WIDTH + here)
    store(state, row * WIDTH + here, fma(old_re, x, re) - old_im * y)
    store(state, (row + 1) * WIDTH + here, fma(old_re, y, fma(old_im, x, im)))


@njit(inline="always")
def _gradient(query, state, kappa, level, sums):
    """g and z from S, its gradient and A."""
    for at in range(0, WIDTH, LANES):
        x, y, z = load(query, at), load(query, WIDTH + at), load(query, 2 * WIDTH + at)
        gx, gy, gz = load(state, 2 * WIDTH + at), spread(0.0) - load(state, 3 * WIDTH + at), load(state, 4 * WIDTH + at)
        inner = load(state, 6 * WIDTH + at) - fma(gx, x, fma(gy, y, gz * z))
        store(sums, at, fma(inner, x, gx))
        store(sums, WIDTH + at, fma(inner, y, gy))
        store(sums, 2 * WIDTH + at, fma(inner, z, gz))
        store(sums, 3 * WIDTH + at, fma(spread(kappa), load(state, at), spread(level)))
