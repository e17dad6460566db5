"""Compiled pair searches that hold no n x n array: components of the graph of near tokens, and the diameter.

Importing this module imports numba; `observables` does so when clusters or a diameter are asked for.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 128  # points whose distances to one are computed side by side in vector registers
CHECK = 8  # coordinates between two looks at whether any of them can still be near
# a sum may be reordered, so that it runs in vector registers; NaN keeps its meaning
REORDER = {"reassoc", "contract"}


@njit(cache=True, nogil=True)
def components(  # pragma: no cover
    positions: NDArray, weights: NDArray, limit: float, labels: NDArray
) -> NDArray:
    """Label the connected components of the graph that joins tokens with |x_i - x_j|^2 <= limit.

    positions : (replicas, tokens, dimension)    weights : (1 or replicas, tokens), zero weights are left out
    labels    : (replicas, tokens) int64, written: components numbered by first appearance, -1 where left out

    Returns the number of components (replicas,). A flood fill: every token that is reached scans those that
    are not yet reached, so n tokens in one cluster cost O(n) distances and n isolated ones n (n - 1) / 2.
    """
    replicas, tokens, dimension = positions.shape
    counts = np.empty(replicas, np.int64)
    points = np.empty((dimension, tokens), positions.dtype)
    token = np.empty(tokens, np.int64)
    first = np.empty(tokens, np.int64)
    for replica in range(replicas):
        own = replica if weights.shape[0] > 1 else 0
        kept = 0
        for i in range(tokens):
            labels[replica, i] = -1
            if weights[own, i] > 0.0:
                token[kept] = i
                for k in range(dimension):
                    points[k, kept] = positions[replica, i, k]
                kept += 1
        found = _flood(points, token, kept, limit, labels[replica])
        _number_by_first_appearance(labels[replica], first[:found])
        counts[replica] = found
    return counts


@njit(cache=True, nogil=True)
def _flood(  # pragma: no cover
    points: NDArray, token: NDArray, left: int, limit: float, labels: NDArray
) -> int:
    # points[:, :left] are not yet reached. A point that is reached is swapped to slot left - 1, so the slots
    # from left upwards are the queue, taken from the top: no other memory is needed.
    dimension = points.shape[0]
    head, found = left - 1, 0
    squares = np.empty(BLOCK)
    while left > 0:
        left -= 1
        labels[token[left]] = found
        while head >= left and left > 0:
            # downwards, so that what is swapped into slot j has been looked at before
            for start in range((left - 1) // BLOCK * BLOCK, -1, -BLOCK):
                width = min(BLOCK, left - start)
                if not _near(points, head, start, width, limit, squares):
                    continue
                for j in range(start + width - 1, start - 1, -1):
                    if squares[j - start] <= limit:
                        left -= 1
                        labels[token[j]] = found
                        token[j], token[left] = token[left], token[j]
                        for k in range(dimension):
                            points[k, j], points[k, left] = points[k, left], points[k, j]
            head -= 1
        head = left - 1
        found += 1
    return found


@njit(cache=True, nogil=True)
def _near(  # pragma: no cover
    points: NDArray, head: int, start: int, width: int, limit: float, squares: NDArray
) -> bool:
    """Write the squared distances of `width` points from slot `start` on to slot `head`; is one <= limit?

    The sum over the coordinates stops, every few of them, once all of the points are too far.
    """
    dimension = points.shape[0]
    squares[:width] = 0.0
    for begin in range(0, dimension, CHECK):
        for k in range(begin, min(begin + CHECK, dimension)):
            x = np.float64(points[k, head])
            row = points[k, start : start + width]  # points[k, start + j] would not be vectorised
            for j in range(width):
                step = np.float64(row[j]) - x
                squares[j] += step * step
        near = 0
        for j in range(width):
            near += squares[j] <= limit
        if near == 0:
            return False
    return True


@njit(cache=True, nogil=True)
def _number_by_first_appearance(labels: NDArray, first: NDArray) -> None:  # pragma: no cover
    first[:] = -1
    seen = 0
    for i in range(len(labels)):
        if labels[i] >= 0:
            if first[labels[i]] < 0:
                first[labels[i]] = seen
                seen += 1
            labels[i] = first[labels[i]]


@njit(cache=True, nogil=True, fastmath=REORDER)
def extremes(positions: NDArray, weights: NDArray) -> NDArray:  # pragma: no cover
    """The largest |x_i - x_j|^2 and the smallest |x_i + x_j|^2 over the pairs of tokens of positive weight.

    positions : (replicas, tokens, dimension)    weights : (1 or replicas, tokens)    returns (replicas, 2)

    A single token gives (0, inf). Tokens that are NaN are passed over.
    """
    replicas, tokens, dimension = positions.shape
    result = np.empty((replicas, 2))
    for replica in range(replicas):
        own = replica if weights.shape[0] > 1 else 0
        largest, smallest = 0.0, np.inf
        for i in range(tokens):
            if weights[own, i] <= 0.0:
                continue
            for j in range(i):
                if weights[own, j] <= 0.0:
                    continue
                apart, sums = 0.0, 0.0
                for k in range(dimension):
                    x, y = np.float64(positions[replica, i, k]), np.float64(positions[replica, j, k])
                    apart += (x - y) * (x - y)
                    sums += (x + y) * (x + y)
                if apart > largest:
                    largest = apart
                if sums < smallest:
                    smallest = sums
        result[replica, 0], result[replica, 1] = largest, smallest
    return result
