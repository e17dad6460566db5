"""Larger heads: the sums of a block of rows over all keys, tile by tile, with running maxima.

For each block of keys in turn: the scores (rows, keys) of the tile by panel products, plus log2 a_j; the largest score
of each row so far; 2^(score - largest) in place, the earlier sums scaled down where the largest has grown; and the
product with the values added to the sums. Memory is O(tokens x dimension), and a row's numbers do not depend on the
block it is computed in.

Panels: an array (panels, depth, panel) holds a matrix of `depth` rows and many columns, cut into panels of
`panel` = COLUMNS vectors, so that a panel product reads it in one sweep.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem

from .exponential import exp2
from .plan import CAUSAL, NO_MASK
from .vectors import REGISTER_BYTES, across_max, across_sum, largest, load, panel_product, spread, store, wide

ROWS = 8  # of a panel product
COLUMNS = 2  # its vectors side by side
DEPTH = 192  # of a product that is added at a time: this much of B stays in the cache for all rows of A
TOGETHER = 4  # vectors whose exponentials are computed side by side
# many rows, so that the keys are fetched from afar seldom; few keys, so that a tile and its values stay in the cache
BLOCK_ROWS = 256
BLOCK_KEYS = 128
STRIDE = BLOCK_KEYS + 16  # of a row of scores; a power of two would put all rows in the same cache set


@njit(cache=True, error_model="numpy")
def add_product(a, a_start, a_row, a_depth, b, b_start, c, c_start, c_row, c_panel, depth, rows, columns):
    """C += A B, flat addressing as in `panel_product`; B in panels, C's panels c_panel apart.

    rows : a multiple of ROWS    columns : a multiple of the lanes of a vector
    """
    wide()
    vector = REGISTER_BYTES // a.itemsize
    panel = COLUMNS * vector
    for p in range((columns + vector) // panel):
        for k in range(0, depth, DEPTH):
            b_at, deep = b_start + (p * depth + k) * panel, min(DEPTH, depth - k)
            row = 0
            while row < rows:
                a_at, c_at = a_start + row * a_row + k * a_depth, c_start + p * c_panel + row * c_row
                if columns - p * panel >= panel:
                    panel_product(a, a_at, a_row, a_depth, b, b_at, panel, c, c_at, c_row, deep, 8, 2, True)
                elif rows - row >= 2 * ROWS:  # a single vector needs twice the rows to keep the adders busy
                    panel_product(a, a_at, a_row, a_depth, b, b_at, panel, c, c_at, c_row, deep, 16, 1, True)
                    row += ROWS
                else:
                    panel_product(a, a_at, a_row, a_depth, b, b_at, panel, c, c_at, c_row, deep, 8, 1, True)
                row += ROWS


@njit(cache=True, error_model="numpy")
def sum_tiles(query, keys, values, log2_weights, mask, d, columns, start, stop, scores, sums, partition, highest):
    """Rows start..stop, multiples of ROWS, of one replica and head.

    query, keys  : (panels, at least d, panel), tokens side by side, the query times beta log2(e)
    values       : (value panels, padded, panel), components side by side, `columns` of them in use
    log2_weights : (padded,), -inf where there is no token
    scores       : (BLOCK_ROWS, STRIDE), room to work in
    sums         : (BLOCK_ROWS, value panels * panel)   out: sum_j w_ij v_j, w_ij = a_j 2^(s_ij - highest_i)
    partition    : (BLOCK_ROWS,)                        out: sum_j w_ij      highest : (BLOCK_ROWS,)   out
    """
    wide()
    padded, rows = values.shape[1], stop - start
    sums[:rows] = 0
    partition[:rows] = 0
    highest[:rows] = -np.inf
    for t in range(0, stop if mask == CAUSAL else padded, BLOCK_KEYS):
        width = min(BLOCK_KEYS, padded - t)
        score_tile(query, keys, d, start, rows, t, width, scores)
        if mask != NO_MASK and t < stop and start < t + width:
            hide_tile(mask, scores, start, rows, t, width, -np.inf)
        _exponentials(scores, log2_weights, t, width, rows, sums, partition, highest)
        add_tile(scores, values, t, width, rows, columns, sums)


@njit(cache=True, error_model="numpy")
def score_tile(query, keys, d, start, rows, t, width, scores):
    """scores = <q_i, k_j> of the rows from start on and the keys from t on, arrays as in `sum_tiles`."""
    wide()
    panel = keys.shape[2]
    query_panel, key_panel = query.shape[1] * panel, keys.shape[1] * panel
    for column in range(0, width, panel):
        k_at = (t + column) // panel * key_panel
        for row in range(0, rows, ROWS):
            q_at = (start + row) // panel * query_panel + (start + row) % panel
            s_at = row * STRIDE + column
            panel_product(query, q_at, 1, panel, keys, k_at, panel, scores, s_at, STRIDE, d, 8, 2, False)


@njit(cache=True, error_model="numpy")
def add_tile(scores, values, t, width, rows, columns, sums):
    """Add to sums those of the values from t on with the weights that the tile holds now."""
    panel, padded = values.shape[2], values.shape[1]
    for p in range(values.shape[0]):
        first = p * panel
        v_at = (p * padded + t) * panel
        # columns of one panel at a time: the panels of the values are `padded` long, not `width`
        add_product(
            scores, 0, STRIDE, 1, values, v_at, sums, first, sums.shape[1], 0, width, rows, min(panel, columns - first)
        )


@njit(cache=True, error_model="numpy")
def hide_tile(mask, scores, start, rows, t, width, value):
    """Put `value` where a row of the tile does not see a key."""
    for row in range(rows):
        i = start + row
        if mask == CAUSAL:
            for j in range(max(i + 1, t), t + width):
                scores[row, j - t] = value
        elif t <= i < t + width:
            scores[row, i - t] = value


@njit(cache=True, error_model="numpy")
def _exponentials(scores, log2_weights, t, width, rows, sums, partition, highest):
    """Turn the scores of a tile into weights relative to the highest score of each row so far."""
    wide()
    vector = REGISTER_BYTES // scores.itemsize
    nothing = spread(scores.dtype.type(-np.inf))
    for row in range(rows):
        base = row * STRIDE
        even, odd = nothing, nothing  # two chains: one alone waits for itself
        for j in range(0, width, COLUMNS * vector):
            even = largest(even, load(scores, base + j) + load(log2_weights, t + j))
            j += vector
            odd = largest(odd, load(scores, base + j) + load(log2_weights, t + j))
        before, top = highest[row], across_max(largest(even, odd))
        if not top <= before:  # so that a NaN spreads
            highest[row] = top
            if before > -np.inf:
                factor = np.exp2(before - top)
                partition[row] *= factor
                for c in range(sums.shape[1]):
                    sums[row, c] *= factor
        top = highest[row]
        if top == -np.inf:  # nobody seen yet
            scores[row, :width] = 0
            continue
        shift = spread(top)
        total = shift - shift
        for j in range(0, width, TOGETHER * vector):
            w = (shift, shift, shift, shift)
            for u in range(TOGETHER):
                k = j + u * vector
                w = tuple_setitem(w, u, load(scores, base + k) + load(log2_weights, t + k) - shift)
            w = exp2(w)
            for u in range(TOGETHER):
                store(scores, base + j + u * vector, w[u])
            total = total + ((w[0] + w[1]) + (w[2] + w[3]))
        partition[row] += across_sum(total)
