"""Larger heads under a profile: `tile_sums` with another step between the two products.

The squared distance of two tokens is |q|^2 + |k|^2 - 2 <q, k>, whose last two products of panels are there anyway. What
that loses of the distance of near tokens it may not: where it is below NEAR of |q|^2 + |k|^2, it is computed again from
the components.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .lanes import lane_count
from .plan import CAUSAL, NO_MASK
from .profiles import POWER, PRODUCT, exponents, weights
from .side_by_side import any_below, load_all, multiplied, scaled, store_all, zeros
from .tile_sums import BLOCK_KEYS, BLOCK_ROWS, ROWS, STRIDE, TOGETHER, add_tile, hide_tile, score_tile, sum_tiles
from .vectors import across_sum, fma, load, spread, spread_from, wide

NEAR = 1.0 / 16.0


@njit(cache=True, nogil=True, error_model="numpy")
def sum_units(plan, out, totals, bounds, first, last):
    """sum_j w_ij a_j v_j, sum_j w_ij a_j and what was subtracted from exponents, of the units first..last of ROWS rows.

    out : (tokens, value_dimension)        totals, bounds : (padded,)
    """
    profile, dtype = plan.profile, out.dtype
    tokens, dv = out.shape
    scores = np.empty((BLOCK_ROWS, STRIDE), dtype)
    sums = np.empty((BLOCK_ROWS, plan.values.shape[0] * plan.values.shape[2]), dtype)
    for unit in range(first, last, BLOCK_ROWS // ROWS):
        start, stop = unit * ROWS, min(unit + BLOCK_ROWS // ROWS, last) * ROWS
        if profile.exponent == PRODUCT and profile.weight == POWER:
            sum_tiles(
                plan.query, plan.keys, plan.values, plan.log2_weights, plan.mask, plan.query.shape[1], plan.columns,
                start, stop, scores, sums, totals[start:stop], bounds[start:stop],
            )  # fmt: skip
        else:
            _sum_weighed(plan, start, stop, scores, sums, totals)
        for i in range(start, min(stop, tokens)):
            for c in range(dv):
                out[i, c] = sums[i - start, c]


@njit(cache=True, error_model="numpy")
def _sum_weighed(plan, start, stop, scores, sums, totals):
    """The rows start..stop, where weights need no bound."""
    values, mask, rows, padded = plan.values, plan.mask, stop - start, plan.values.shape[1]
    sums[:rows] = 0
    totals[start:stop] = 0
    for t in range(0, stop if mask == CAUSAL else padded, BLOCK_KEYS):
        width = min(BLOCK_KEYS, padded - t)
        score_tile(plan.query, plan.keys, plan.query.shape[1], start, rows, t, width, scores)
        _weigh_tile(plan, start, rows, t, width, scores)
        if mask != NO_MASK and t < stop and start < t + width:
            hide_tile(mask, scores, start, rows, t, width, 0.0)
        _add_totals(scores, rows, width, totals[start:stop])
        add_tile(scores, values, t, width, rows, plan.columns, sums)


@njit(cache=True, error_model="numpy")
def _weigh_tile(plan, start, rows, t, width, scores):
    """Turn the products of a tile into a_j times the weights."""
    wide()
    profile, token_weights, vector, number = plan.profile, plan.weights, lane_count(scores), scores.dtype.type
    shift, one, near = spread(number(profile.shift)), spread(number(1.0)), spread(number(NEAR))
    shifts = (shift, shift, shift, shift)
    for row in range(rows):
        for j in range(0, width, TOGETHER * vector):
            e = load_all(shifts, scores, row * STRIDE + j, vector)
            if profile.exponent == PRODUCT:
                e = scaled(one, e, shifts)
            else:
                norms = load_all(shifts, plan.key_squares, t + j, vector)
                norms = scaled(one, norms, _four(spread_from(plan.query_squares, start + row)))
                e = scaled(spread(number(-2.0)), e, norms)
                if any_below(e, scaled(near, norms, zeros(norms))):
                    e = _squares(plan.query, plan.keys, start + row, t + j, zeros(norms))
                e = exponents(profile, scores, e, shifts)
            w = multiplied(weights(profile, scores, e), load_all(shifts, token_weights, t + j, vector))
            store_all(scores, row * STRIDE + j, vector, w)


@njit(inline="always")
def _four(vector):
    return (vector, vector, vector, vector)


@njit(cache=True, error_model="numpy")
def _squares(query, keys, i, j, start):
    """start + |q_i - k_j|^2 of a row and four vectors of keys, from the components."""
    wide()
    panel, vector, d = keys.shape[2], lane_count(keys), keys.shape[1]
    q_at = i // panel * d * panel + i % panel
    s0, s1, s2, s3 = start
    k_at = j // panel * d * panel + j % panel
    step = d * panel  # two vectors make a panel
    for c in range(d):
        q = spread_from(query, q_at + c * panel)
        at = k_at + c * panel
        d0, d1 = q - load(keys, at), q - load(keys, at + vector)
        d2, d3 = q - load(keys, at + step), q - load(keys, at + step + vector)
        s0, s1, s2, s3 = fma(d0, d0, s0), fma(d1, d1, s1), fma(d2, d2, s2), fma(d3, d3, s3)
    return s0, s1, s2, s3


@njit(cache=True, error_model="numpy")
def _add_totals(scores, rows, width, totals):
    """Add to totals the sums of the rows of a tile."""
    wide()
    vector = lane_count(scores)
    for row in range(rows):
        a, b = load(scores, row * STRIDE), load(scores, row * STRIDE + vector)
        for j in range(2 * vector, width, 2 * vector):
            a, b = a + load(scores, row * STRIDE + j), b + load(scores, row * STRIDE + j + vector)
        totals[row] += across_sum(a + b)
