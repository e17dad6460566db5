"""How many pairs of tokens point the same way: a compiled sum over pairs that holds no n x n array.

Importing this module imports numba; `observables` does so when aligned pairs are asked for.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from .backends.compiled.lanes import lane_count, over, to_lanes, where_at_least, zeros_beside
from .backends.compiled.schedule import default_threads, in_parallel
from .backends.compiled.vectors import (
    across_sum,
    aligned_zeros,
    clear_between,
    lane_numbers,
    lanes,
    load,
    number_in,
    spread,
    spread_from,
    square_root,
    store,
    wide,
)

TOGETHER = 4  # pairs whose cosines are computed side by side
ROWS = 512  # tokens whose pairs one thread adds up at a time


def aligned_weight(
    positions: NDArray[np.floating], weights: NDArray[np.float64], cosine: float, threads: int | None
) -> NDArray[np.float64]:
    """sum_{i < j} a_i a_j [cos(x_i, x_j) >= cosine], (replicas,), on threads; one thread adds up each sum.

    positions : (replicas, tokens, dimension)    weights : (1 or replicas, tokens)

    A token at the origin has no direction: its cosine with every token is 0. NaN where a token is not finite.
    """
    positions = np.ascontiguousarray(positions, np.float64)
    replicas, tokens, dimension = positions.shape
    threads = threads or default_threads()
    width = lanes(np.float64)
    cost = (0.1 + 0.05 * dimension) * replicas * tokens**2
    if replicas >= width:  # side by side
        sums = np.empty(replicas)
        blocks, beside = -(-replicas // width), weights[:, :, None]
        in_parallel(lambda a, b: _sum_blocks(positions, beside, cosine, sums, a, b), blocks, cost, threads)
        return sums
    padded = -(-tokens // width) * width
    directions = aligned_zeros((replicas, dimension, padded), np.float64)
    beside = aligned_zeros((weights.shape[0], padded), np.float64)
    beside[:, :tokens] = weights
    parts = np.empty((replicas, -(-tokens // ROWS)))
    _direct(positions, directions)
    in_parallel(lambda a, b: _sum_parts(directions, beside, cosine, tokens, parts, a, b), parts.size, cost, threads)
    return np.where(np.isfinite(positions).all(axis=(1, 2)), parts.sum(axis=1), np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_blocks(positions, weights, cosine, sums, first, last):
    """The sums of the blocks first..last of replicas side by side; weights (1 or replicas, tokens, 1)."""
    wide()
    replicas, tokens, dimension = positions.shape
    width = lane_count(sums)
    # behind the last token zeros, whose weights are zero too
    x, weight = zeros_beside(sums, tokens + TOGETHER, dimension), zeros_beside(sums, tokens + TOGETHER, 1)
    found = np.empty(width)
    one, nothing, least = spread(1.0), spread(0.0), spread(cosine)
    for block in range(first, last):
        to_lanes(positions, block, x[:tokens])
        if block == first or weights.shape[0] > 1:
            to_lanes(weights, block if weights.shape[0] > 1 else 0, weight[:tokens])
        total = nothing
        for i in range(tokens):
            square = nothing
            for c in range(dimension):
                part = load(x, (i * dimension + c) * width)
                square = square + part * part
                total = total + (part - part)  # NaN unless it is a number
            length = where_at_least(nothing, square, one, square_root(square))
            for c in range(dimension):
                at = (i * dimension + c) * width
                store(x, at, over(load(x, at), length))
        for i in range(tokens):
            aligned = (nothing, nothing, nothing, nothing)
            for j in range(i + 1, tokens, TOGETHER):
                dot = (nothing, nothing, nothing, nothing)
                for c in range(dimension):
                    mine = load(x, (i * dimension + c) * width)
                    for u in range(TOGETHER):
                        dot = tuple_setitem(dot, u, dot[u] + mine * load(x, ((j + u) * dimension + c) * width))
                for u in range(TOGETHER):
                    near = where_at_least(dot[u], least, load(weight, (j + u) * width), nothing)
                    aligned = tuple_setitem(aligned, u, aligned[u] + near)
            total = total + load(weight, i * width) * ((aligned[0] + aligned[1]) + (aligned[2] + aligned[3]))
        store(found, 0, total)
        for lane in range(min(width, replicas - block * width)):
            sums[block * width + lane] = found[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _direct(positions, directions):
    """directions (replicas, dimension, padded): x / |x|."""
    tokens, dimension = positions.shape[1], positions.shape[2]
    length = np.empty(tokens)
    for r in range(positions.shape[0]):
        length[:] = 0.0
        for c in range(dimension):
            for i in range(tokens):
                part = np.float64(positions[r, i, c])
                length[i] += part * part
        for i in range(tokens):
            root = np.sqrt(length[i])
            length[i] = 1.0 if root == 0.0 else root
        for c in range(dimension):
            for i in range(tokens):
                directions[r, c, i] = np.float64(positions[r, i, c]) / length[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_parts(directions, weights, cosine, tokens, sums, first, last):
    """The sums of the parts first..last: part p of a replica has its tokens p ROWS, ... with those after them."""
    wide()
    dimension, padded, width = directions.shape[1], directions.shape[2], lane_count(directions)
    parts = sums.shape[1]
    lane, nothing, least = lane_numbers(cosine), spread(0.0), spread(cosine)
    for unit in range(first, last):
        r, part = unit // parts, unit % parts
        own = r * padded if weights.shape[0] > 1 else 0
        total = nothing
        for i in range(part * ROWS, min((part + 1) * ROWS, tokens)):
            here = r * dimension * padded
            aligned = nothing
            start = i // width * width
            for j in range(start, padded, width):
                dot = nothing
                for c in range(dimension):
                    at = here + c * padded
                    dot = dot + spread_from(directions, at + i) * load(directions, at + j)
                near = where_at_least(dot, least, load(weights, own + j), nothing)
                if j == start:  # pairs are counted from their first token
                    near = clear_between(lane, number_in(lane, -1), number_in(lane, i + 1 - start), near, nothing)
                aligned = aligned + near
            total = total + spread_from(weights, own + i) * aligned
        sums[r, part] = across_sum(total)
