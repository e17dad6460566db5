"""Half the exponentials where scores are symmetric: one weight w_ij = w_ji serves token i and token j.

For Q = K = I up to a factor on a sphere, with no mask, all rows may share one bound, so 2^(s_ij - bound) is the same
in both directions. Keys are taken in chunks; for a chunk and the vectors of rows behind it, each weight is added to
the sums of its rows, in registers, and to those of its key, kept lane by lane for the chunk. The chunks are dealt to a
fixed number of parts, each with sums of its own that are added up in their order: no thread count changes a bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem

from .pair_sums import sum_keys
from .pairs import PairsPlan, finish_unit, normalise
from .plan import NO_MASK, Matrices
from .profiles import pair_weights
from .vectors import across_sum, aligned_zeros, fma, load, spread, spread_from, store, wide, zero_vectors

PARTS = 16
CHUNK = 64  # keys whose sums lie in the first cache, lane by lane
FEWEST_TOKENS = 8 * CHUNK
TOGETHER = 2  # keys whose exponentials are computed side by side
# the spread of exponents, in base 2, that loses nothing to underflow
WIDEST = {8: 900.0, 4: 100.0}


def applies(m: Matrices, plan: PairsPlan) -> bool:
    """Whether the drift of this law can be computed this way, and is large enough for it to pay."""
    exponents = 2.0 * abs(m.query_scale) * m.radius**2
    return (
        m.radius > 0.0
        and m.mask == NO_MASK
        and m.query.size == 0
        and m.key.size == 0
        and plan.keys.shape[2] >= FEWEST_TOKENS
        and exponents < WIDEST[plan.query.itemsize]
    )


def room(plan: PairsPlan) -> np.ndarray:
    """The sums of the parts, (replicas, PARTS, value_dimension + 1, padded)."""
    return aligned_zeros((plan.query.shape[0], PARTS, len(plan.values) + 1, plan.bound.shape[2]), plan.query.dtype)


def share_bound(plan: PairsPlan) -> None:
    """Give all rows of a replica the largest bound of any, after the projection."""
    plan.bound[...] = (plan.bound.max(axis=(1, 2)) * plan.key_norm.max(axis=(1, 2)))[:, None, None]


@njit(cache=True, nogil=True, error_model="numpy")
def sum_parts(plan, part_sums, first, last):
    """The sums of the parts first..last, counted through all replicas."""
    wide()
    like, values, query, keys, bound = plan.like, plan.values, plan.query, plan.keys, plan.bound
    lane_values, lanes, profile = plan.lane_values, plan.lanes, plan.profile
    tokens, padded = keys.shape[2], bound.shape[2]
    width = len(values) + 1
    columns = np.empty((CHUNK, width, lanes), part_sums.dtype)
    for part in range(first, last):
        r, p = part // PARTS, part % PARTS
        part_sums[r, p] = 0
        base = (r * PARTS + p) * width * padded
        for chunk in range(p * CHUNK, tokens, PARTS * CHUNK):
            end = min(chunk + CHUNK, tokens)
            columns[...] = 0
            for i in range(chunk, padded, lanes):
                q = zero_vectors(query, like)
                for c in range(len(like)):
                    q = tuple_setitem(q, c, load(query, (r * len(like) + c) * padded + i))
                shift = spread(like[0] - bound[r, 0, i])
                if i < chunk + CHUNK:  # rows of the chunk itself meet all its keys
                    row = sum_keys(profile, like, values, NO_MASK, i, q, shift, keys, r, 0, chunk, end)
                else:
                    row = _sum_both(profile, like, values, q, shift, keys, lane_values, columns, r, i, chunk, end)
                for k in range(width):
                    at = base + k * padded + i
                    store(part_sums, at, load(part_sums, at) + row[k])
            for j in range(chunk, end):
                for k in range(width):
                    part_sums[r, p, k, j] += across_sum(load(columns, ((j - chunk) * width + k) * lanes))


@njit(inline="always")
def _sum_both(profile, like, values, q, shift, keys, lane_values, columns, r, i, start, stop):
    """The sums of the rows i, ... over the keys start..stop, whose own sums over the rows are added to `columns`."""
    lanes, padded = columns.shape[2], lane_values.shape[2]
    d, width = len(like), len(values) + 1
    mine = zero_vectors(keys, (0,) + values)  # noqa: RUF005
    row = zero_vectors(keys, (0,) + values)  # noqa: RUF005
    for k in range(width):
        mine = tuple_setitem(mine, k, load(lane_values, (r * width + k) * padded + i))
    key_width = keys.shape[3]
    key_at, column_at = (r * keys.shape[2] + start) * key_width, 0
    for _ in range(start, stop, TOGETHER):
        w = pair_weights(profile, q, (shift, shift), keys, key_at)
        for u in range(TOGETHER):
            for k in range(width):
                weighted = spread_from(keys, key_at + u * key_width + d + k)
                row = tuple_setitem(row, k, fma(w[u], weighted, row[k]))
                at = column_at + (u * width + k) * lanes
                store(columns, at, fma(w[u], mine[k], load(columns, at)))
        key_at += TOGETHER * key_width
        column_at += TOGETHER * width * lanes
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def finish(plan, part_sums, out, first, last):
    """Add up the parts and write the drift of the units first..last."""
    wide()
    like, values, points, output, bound = plan.like, plan.values, plan.points, plan.output, plan.bound
    lanes, radius, shift, softmax = plan.lanes, plan.radius, plan.shift, plan.softmax
    dimension, tokens, width = out.shape[2], out.shape[1], len(values) + 1
    padded = bound.shape[2]
    units = padded // lanes
    sums = np.empty((1, width, lanes), out.dtype)
    joined = np.ones((width, lanes), out.dtype)  # the last row stays 1, for the bias
    result = np.empty((dimension, lanes), out.dtype)
    for unit in range(first, last):
        r, start = unit // units, unit % units * lanes
        for k in range(width):
            total = spread(like[0])
            for p in range(PARTS):
                total = total + load(part_sums, ((r * PARTS + p) * width + k) * padded + start)
            store(sums, k * lanes, total)
        normalise(like, width - 1, lanes, softmax, shift, bound, r, 0, start, sums, joined)
        finish_unit(like, lanes, points, output, radius, r, start, True, joined, result)
        for i in range(start, min(start + lanes, tokens)):
            for c in range(dimension):
                out[r, i, c] = result[c, i - start]
