"""Small head dimensions: the scores, exponentials and sums of a pair of tokens never leave the registers.

Side by side in a vector lie queries; the loop runs over the keys, whose components are spread over the lanes. So no
sum crosses lanes, any number of tokens works at full width, and a query's sum runs over the keys in their order,
whatever the thread. From every exponent the Cauchy-Schwarz bound |q_i| max_j |k_j| is subtracted, which on a sphere
with Q = K = I is the largest score itself; where it is so loose that a sum nearly underflows, the block is computed
once more with the largest score.

Arrays, where `padded` is tokens rounded up to whole vectors; kernels take whole arrays and the place (r, h) of a
replica and head, for a view costs more than the sums of a few tokens:
query : (replicas, heads, head_dimension, padded)        beta log2(e) q_i, component by component
bound : (replicas, heads, padded)                        an upper bound of the exponents of row i
keys  : (replicas, heads, seen, head_dimension + value_dimension + 1)   k_j, a_j v_j, a_j; `seen` is tokens rounded
                                                         up to a multiple of TOGETHER, all zero behind the last
sums  : (heads, value_dimension + 1, lanes)              out: sum_j w_ij a_j v_j and sum_j w_ij a_j of the rows
                                                         i, i + 1, ...; w_ij = 2^(<query_i, k_j> - bound_i)
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem

from .plan import CAUSAL, NO_MASK
from .profiles import pair_weight, pair_weights
from .vectors import (
    REGISTER_BYTES,
    across_min,
    clear_between,
    fma,
    lane_numbers,
    largest,
    load,
    number_in,
    spread,
    spread_from,
    store,
    wide,
    zero_vectors,
)

CHUNK = 256  # keys whose sums are added up before they join the others
TOGETHER = 4  # keys whose exponentials are computed side by side
# below these sums the terms that the clamp of exp2 has cut could be seen
LEAST_SUM64, LEAST_SUM32 = 1e-280, 1e-28


@njit(inline="always")
def sum_pairs(like, values, mask, query, bound, keys, sums, r, h, i):
    """The sums of the rows i, i + 1, ... of one vector; replaces their bounds where these are too loose.

    like, values : tuples as long as the head and the value dimension, of zeros of the arrays' type
    """
    wide()
    least = LEAST_SUM64 if query.itemsize == 8 else LEAST_SUM32
    for tight in (False, True):
        if tight:
            _tighten(like, mask, query, bound, keys, r, h, i)
        sum_rows(None, like, values, mask, tight, query, bound, keys, sums, r, h, i)
        if across_min(load(sums, (h * sums.shape[1] + len(values)) * sums.shape[2])) > least:
            break


@njit(inline="always")
def sum_rows(profile, like, values, mask, tight, query, bound, keys, sums, r, h, i):
    """The sums of the vector of rows i over all keys they see, in chunks that are added up: less rounding.

    tight : the bound is the largest exponent of a token with weight; one without may lie above it
    """
    wide()
    d, dv, padded = len(like), len(values), query.shape[3]
    lanes = REGISTER_BYTES // query.itemsize
    place = r * query.shape[1] + h
    q = zero_vectors(query, like)
    sum_of = zero_vectors(query, (0,) + values)  # noqa: RUF005  (compiled code knows no starred tuples)
    for c in range(d):
        q = tuple_setitem(q, c, load(query, (place * d + c) * padded + i))
    shift = sum_of[0] - load(bound, place * padded + i)
    tokens = keys.shape[2]
    last = min(tokens, i + lanes) if mask == CAUSAL else tokens
    j = np.intp(0)  # for the literal 0 Numba would compile the sums once more, and use it nowhere
    while j < last:
        beside = mask != NO_MASK and i <= j < i + lanes  # keys that are themselves among these rows
        stop = min(i + lanes, last) if beside else min(j + CHUNK, i if mask != NO_MASK and j < i else last)
        if beside or tight:
            part = sum_keys(profile, like, values, mask if beside else NO_MASK, i, q, shift, keys, r, h, j, stop)
        else:
            part = _sum_keys_together(profile, like, values, q, shift, keys, place, j, stop)
        for k in range(dv + 1):
            sum_of = tuple_setitem(sum_of, k, sum_of[k] + part[k])
        j = stop
    for k in range(dv + 1):
        store(sums, (h * (dv + 1) + k) * lanes, sum_of[k])


@njit(cache=True, error_model="numpy")
def _sum_keys_together(profile, like, values, q, shift, keys, place, start, stop):
    """The same as `sum_keys` for a multiple of TOGETHER keys, all of which are seen and below the bound."""
    wide()
    d, dv, width = len(like), len(values), keys.shape[3]
    sum_of = zero_vectors(keys, (0,) + values)  # noqa: RUF005
    at = (place * keys.shape[2] + start) * width
    for _ in range(start, stop, TOGETHER):
        w = pair_weights(profile, q, (shift, shift, shift, shift), keys, at)
        for u in range(TOGETHER):
            for k in range(dv + 1):
                weighted = spread_from(keys, at + u * width + d + k)
                sum_of = tuple_setitem(sum_of, k, fma(w[u], weighted, sum_of[k]))
        at += TOGETHER * width
    return sum_of


@njit(cache=True, error_model="numpy")
def sum_keys(profile, like, values, mask, i, q, shift, keys, r, h, start, stop):
    """sum_j w_ij (a_j v_j, a_j) of the rows i, ... over the keys start..stop.

    Keys that the mask hides, and keys of no weight, which may lie above the bound, are left out.
    """
    wide()
    d, dv, place = len(like), len(values), r * keys.shape[1] + h
    lane = lane_numbers(like[0])
    sum_of = zero_vectors(keys, (0,) + values)  # noqa: RUF005
    for j in range(start, stop):
        if keys[r, h, j, d + dv] == 0:
            continue
        # in the order of _tighten, so that the largest exponent is 0 to the last bit
        w = pair_weight(profile, q, shift, keys, (place * keys.shape[2] + j) * keys.shape[3])
        if mask != NO_MASK:
            w = _hide(mask, lane, j - i, w, number_in(lane, 0))
        for k in range(dv + 1):
            sum_of = tuple_setitem(sum_of, k, fma(w, spread(keys[r, h, j, d + k]), sum_of[k]))
    return sum_of


@njit(cache=True, error_model="numpy")
def _tighten(like, mask, query, bound, keys, r, h, i):
    """Replace the bounds of the vector of rows i by the largest exponent of what each row sees."""
    d, padded = len(like), query.shape[3]
    lanes = REGISTER_BYTES // query.itemsize
    place = r * query.shape[1] + h
    q_at = place * d * padded + i
    lane = lane_numbers(like[0])
    nothing = spread(like[0] - query.dtype.type(np.inf))
    highest = nothing
    tokens = keys.shape[2]
    for j in range(min(tokens, i + lanes) if mask == CAUSAL else tokens):
        if keys[r, h, j, keys.shape[3] - 1] == 0:
            continue
        score = number_in(lane, 0)
        for c in range(d):
            score = fma(load(query, q_at + c * padded), spread(keys[r, h, j, c]), score)
        if mask != NO_MASK and i <= j < i + lanes:
            score = _hide(mask, lane, j - i, score, nothing)
        highest = largest(highest, score)
    store(bound, place * padded + i, highest)
    for row in range(i, i + lanes):
        if bound[r, h, row] == -np.inf:  # a row that sees nobody
            bound[r, h, row] = 0


@njit(cache=True)
def _hide(mask, lane, distance, vector, value):
    """Put `value` where a lane's token does not see the token `distance` after the first lane's."""
    low = -1 if mask == CAUSAL else distance
    high = distance if mask == CAUSAL else distance + 1
    return clear_between(lane, number_in(lane, low), number_in(lane, high), vector, value)
