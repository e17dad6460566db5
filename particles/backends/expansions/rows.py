"""Some rows of the attention by exact sums over all tokens: what an expansion is checked with, and what it leaves.

An expansion's error is absolute, so a token whose sum z is tiny, far from all others at a large kappa, needs this.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from ..compiled.exponential import LOG2E, exp2
from ..compiled.schedule import in_parallel
from ..compiled.vectors import across_sum, fma, load, spread, spread_from, store, wide, zero_vectors
from .blocks import LANES, gather, turned
from .scores import Scores

Array = NDArray[np.floating]
WIDTH = 512  # tokens of a block
ROWS = 8  # rows that share one pass over the tokens
_AT_ONCE = (0.0,) * 4  # exponentials side by side
_LEAST_SUM = 1e-250  # below, the smallest powers of exp2 could be seen


def exact_sums(
    law: Scores, positions: Array, weights: Array, replica: int, rows: NDArray[np.intp], threads: int
) -> tuple[Array, Array]:
    """g and z of some tokens of one replica, (rows, dimension + 1), times exp(kappa - top), and top (rows,).

    top is kappa, or the row's largest score where kappa is so far above it that the sums would underflow.
    """
    units = -(-len(rows) // ROWS)
    padded = np.resize(rows, units * ROWS)
    sums = np.empty((units * ROWS, law.dimension + 1))
    tops = np.empty(units * ROWS)

    def work(first: int, last: int) -> None:
        sum_rows(law, positions, weights, replica, padded, sums, tops, first, last)

    in_parallel(work, units, 0.6 * len(rows) * positions.shape[1], threads)
    return sums[: len(rows)], tops[: len(rows)]


def attention_of(law: Scores, points: Array, sums: Array, tops: Array, tangent: bool) -> Array:
    """The attention of tokens at unit vectors `points` (rows, dimension) from their exact sums."""
    g, z = sums[:, :-1], sums[:, -1:]
    f = g @ law.matrix.T + z * law.along
    f = f / z if law.softmax else f * np.exp(tops - law.kappa)[:, None]
    f = f + law.bias
    return f - np.sum(f * points, axis=-1, keepdims=True) * points if tangent else f


@njit(cache=True, nogil=True, error_model="numpy")
def sum_rows(law, positions, weights, replica, rows, sums, tops, first, last):
    """See `exact_sums`; for the groups first..last of ROWS rows."""
    wide()
    dimension, tokens = positions.shape[2], positions.shape[1]
    mine, ones, query = np.empty((dimension, ROWS)), np.ones((1, ROWS)), np.empty((dimension, ROWS))
    one, own = np.empty((dimension, LANES)), np.empty(LANES)
    points, weight = np.empty((dimension, WIDTH)), np.empty(WIDTH)
    block_sums, totals = np.empty((ROWS, dimension + 1, LANES)), np.empty((ROWS, dimension + 1))
    for unit in range(first, last):
        for row in range(ROWS):
            token = rows[unit * ROWS + row]
            gather(positions, ones, replica, token, token + 1, one, own)
            for c in range(dimension):  # number by number: arrays assigned to parts of arrays take seconds to compile
                mine[c, row] = one[c, 0]
        turned(mine, law.turn, query)
        query *= law.kappa * LOG2E
        top = np.full(ROWS, law.kappa * LOG2E)
        for tight in (False, True):
            if tight:
                _raise_tops(positions, weights, replica, query, points, weight, top)
            totals[...] = 0.0
            for start in range(0, tokens, WIDTH):
                gather(positions, weights, replica, start, tokens, points, weight)
                block_sums[...] = 0.0
                for row in range(0, ROWS, len(_AT_ONCE)):
                    _add_block(query, points, weight, top, row, block_sums)
                for row in range(ROWS):
                    for c in range(dimension + 1):
                        totals[row, c] += across_sum(load(block_sums, (row * (dimension + 1) + c) * LANES))
            if not np.abs(totals[:, dimension]).min() < _LEAST_SUM:
                break
        for row in range(ROWS):
            for c in range(dimension + 1):
                sums[unit * ROWS + row, c] = totals[row, c]
            tops[unit * ROWS + row] = top[row] / LOG2E


@njit(cache=True, nogil=True, error_model="numpy")
def _add_block(query, points, weight, top, row, block_sums):
    """Add what a block of tokens gives to the rows row, row + 1, ..., lane by lane."""
    wide()
    for at in range(0, WIDTH, LANES):
        _add_vector(query, points, weight, top, row, at, block_sums)


@njit(inline="always")
def _add_vector(query, points, weight, top, row, at, block_sums):
    dimension = points.shape[0]
    w = zero_vectors(points, _AT_ONCE)
    for u in range(len(_AT_ONCE)):
        score = spread(0.0) - spread_from(top, row + u)
        for c in range(dimension):
            score = fma(spread_from(query, c * ROWS + row + u), load(points, c * WIDTH + at), score)
        w = tuple_setitem(w, u, score)
    w = exp2(w)
    for u in range(len(_AT_ONCE)):
        weighted = w[u] * load(weight, at)
        place = (row + u) * (dimension + 1) * LANES
        for c in range(dimension):
            here = place + c * LANES
            store(block_sums, here, fma(weighted, load(points, c * WIDTH + at), load(block_sums, here)))
        here = place + dimension * LANES
        store(block_sums, here, load(block_sums, here) + weighted)


@njit(cache=True, nogil=True, error_model="numpy")
def _raise_tops(positions, weights, replica, query, points, weight, top):
    """Let top be the largest score that a row sees, in base 2."""
    wide()
    dimension, tokens = points.shape[0], positions.shape[1]
    top[:] = -np.inf
    for start in range(0, tokens, WIDTH):
        gather(positions, weights, replica, start, tokens, points, weight)
        for i in range(WIDTH):
            if weight[i] != 0.0:
                for row in range(ROWS):
                    score = 0.0
                    for c in range(dimension):
                        score += query[c, row] * points[c, i]
                    top[row] = max(top[row], score)
    for row in range(ROWS):
        if top[row] == -np.inf:  # all weights are zero
            top[row] = 0.0
