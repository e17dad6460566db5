"""Compiled pair searches that hold no n x n array: components of the graph of near tokens, and the diameter.

Importing this module imports numba; `observables` does so when clusters or a diameter are asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 128  # points whose distances to one are computed side by side in vector registers
LEAF = 64  # the same, of points that lie in one box
MANY = 1000  # tokens from which on looking for boxes pays
LOW_DIMENSION = 16  # up to which most boxes are far from a point; beyond, all are about equally near
CHECK = 8  # coordinates between two looks at whether any of them can still be near
ROUNDING = 1.0 - 1e-9  # by which a squared distance from a cell is lowered, so that it is one for sure
# a sum may be reordered, so that it runs in vector registers; NaN keeps its meaning
REORDER = {"reassoc", "contract"}


def components_kernel(tokens: int, dimension: int) -> Callable[[NDArray, NDArray, float, NDArray], NDArray]:
    """The quicker of the two below for replicas of so many tokens; that with boxes takes longer to compile."""
    return components_in_boxes if dimension <= LOW_DIMENSION and tokens >= MANY else components


@njit(cache=True, nogil=True)
def components(  # pragma: no cover
    positions: NDArray, weights: NDArray, limit: float, labels: NDArray
) -> NDArray:
    """Label the connected components of the graph that joins tokens with |x_i - x_j|^2 <= limit.

    positions : (replicas, tokens, dimension)    weights : (1 or replicas, tokens), zero weights are left out
    labels    : (replicas, tokens) int64, written: components numbered by first appearance, -1 where left out

    Returns the number of components (replicas,). A flood fill: every token that is reached looks at those that are
    not yet reached.
    """
    counts = np.empty(positions.shape[0], np.int64)
    points = np.empty((positions.shape[2], positions.shape[1]), positions.dtype)
    token, first = np.empty(positions.shape[1], np.int64), np.empty(positions.shape[1], np.int64)
    for replica in range(len(counts)):
        kept = _collect(positions, weights, replica, points, token, labels)
        counts[replica] = _flood(points, token, kept, limit, labels[replica])
        _number_by_first_appearance(labels[replica], first[: counts[replica]])
    return counts


@njit(cache=True, nogil=True)
def components_in_boxes(  # pragma: no cover
    positions: NDArray, weights: NDArray, limit: float, labels: NDArray
) -> NDArray:
    """As `components`; in few dimensions tokens lie in boxes, most of which are too far to look inside."""
    counts = np.empty(positions.shape[0], np.int64)
    points = np.empty((positions.shape[2], positions.shape[1]), positions.dtype)
    token, first = np.empty(positions.shape[1], np.int64), np.empty(positions.shape[1], np.int64)
    for replica in range(len(counts)):
        kept = _collect(positions, weights, replica, points, token, labels)
        counts[replica] = _flood_boxes(points, token, kept, limit, labels[replica])
        _number_by_first_appearance(labels[replica], first[: counts[replica]])
    return counts


@njit(cache=True, nogil=True)
def _collect(  # pragma: no cover
    positions: NDArray, weights: NDArray, replica: int, points: NDArray, token: NDArray, labels: NDArray
) -> int:
    """Write the tokens of positive weight of a replica to `points` and their numbers to `token`; how many they are."""
    own = replica if weights.shape[0] > 1 else 0
    kept = 0
    for i in range(positions.shape[1]):
        labels[replica, i] = -1
        if weights[own, i] > 0.0:
            token[kept] = i
            for k in range(positions.shape[2]):
                points[k, kept] = positions[replica, i, k]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _flood(  # pragma: no cover
    points: NDArray, token: NDArray, left: int, limit: float, labels: NDArray
) -> int:
    # points[:, :left] are not yet reached. A point that is reached is swapped to slot left - 1, so the slots
    # from left upwards are the queue, taken from the top: no other memory is needed.
    dimension = points.shape[0]
    head, found = left - 1, 0
    squares, point = np.empty(BLOCK), np.empty(dimension)
    while left > 0:
        left -= 1
        labels[token[left]] = found
        while head >= left and left > 0:
            for k in range(dimension):
                point[k] = points[k, head]
            # downwards, so that what is swapped into slot j has been looked at before
            for start in range((left - 1) // BLOCK * BLOCK, -1, -BLOCK):
                width = min(BLOCK, left - start)
                if not _near(points, point, start, width, limit, squares):
                    continue
                for j in range(start + width - 1, start - 1, -1):
                    if squares[j - start] <= limit:
                        left -= 1
                        labels[token[j]] = found
                        _swap(points, token, j, left)
            head -= 1
        head = left - 1
        found += 1
    return found


@njit(cache=True, nogil=True)
def _flood_boxes(points: NDArray, token: NDArray, count: int, limit: float, labels: NDArray) -> int:  # pragma: no cover
    # Of every cell the first left[cell] points are not yet reached; one that is reached is swapped to the end of these
    # and stays there, so that the queue can name it by its place.
    starts = _cells(points, token, count)
    cells = len(starts) - 1
    lows, highs = _boxes(points, starts)
    left = starts[1:] - starts[:-1]
    open_cells = np.arange(cells)
    queue = np.empty(count, np.int64)
    squares, point = np.empty(LEAF), np.empty(points.shape[0])
    found, opened = 0, cells
    while opened > 0:
        last = open_cells[opened - 1]
        if left[last] == 0:
            opened -= 1
            continue
        left[last] -= 1
        queue[0] = starts[last] + left[last]
        labels[token[queue[0]]] = found
        taken, reached = 0, 1
        while taken < reached:
            for k in range(len(point)):
                point[k] = points[k, queue[taken]]
            taken += 1
            k = 0
            while k < opened:
                cell = open_cells[k]
                if left[cell] == 0:
                    opened -= 1
                    open_cells[k] = open_cells[opened]
                    continue
                k += 1
                if _away(point, lows, highs, cell, limit):
                    continue
                start, width = starts[cell], left[cell]
                if not _near(points, point, start, width, limit, squares):
                    continue
                for j in range(width - 1, -1, -1):  # downwards: what is swapped to j has been looked at before
                    if squares[j] <= limit:
                        left[cell] -= 1
                        place = start + left[cell]
                        _swap(points, token, start + j, place)
                        labels[token[place]] = found
                        queue[reached] = place
                        reached += 1
        found += 1
    return found


@njit(cache=True, nogil=True)
def _swap(points: NDArray, token: NDArray, i: int, j: int) -> None:  # pragma: no cover
    token[i], token[j] = token[j], token[i]
    for k in range(points.shape[0]):
        points[k, i], points[k, j] = points[k, j], points[k, i]


@njit(cache=True, nogil=True)
def _cells(points: NDArray, token: NDArray, count: int) -> NDArray:  # pragma: no cover
    """Sort the points into cells of at most LEAF each, and return where these begin and end.

    A cell is halved across its longest side, which keeps clusters whole; where that would leave next to nothing on one
    of the sides, at the median, so that it ends.
    """
    starts, ends = np.empty(count + 1, np.int64), np.empty(count + 1, np.int64)
    ends[0] = count
    low, found, waiting = 0, 0, 1
    while low < count:
        high = ends[waiting - 1]
        if high - low <= LEAF:
            starts[found] = low
            low = high
            found += 1
            waiting -= 1
            continue
        axis, middle = _halved(points, token, low, high)
        if min(middle - low, high - middle) * LEAF < high - low:
            middle = (low + high) // 2
            _part(points, token, low, high, middle, axis)
        ends[waiting] = middle
        waiting += 1
    starts[found] = count
    return starts[: found + 1]


@njit(cache=True, nogil=True)
def _halved(points: NDArray, token: NDArray, low: int, high: int) -> tuple[int, int]:  # pragma: no cover
    """Part the points low <= i < high in the middle of where they lie furthest apart: along which axis, and where."""
    axis, width, middle = 0, -1.0, 0.0
    for k in range(points.shape[0]):
        row = points[k, low:high]
        least, largest = np.float64(row.min()), np.float64(row.max())
        if largest - least > width:
            axis, width, middle = k, largest - least, 0.5 * (least + largest)
    last = high - 1
    while low <= last:
        if points[axis, low] <= middle:
            low += 1
        else:
            _swap(points, token, low, last)
            last -= 1
    return axis, low


@njit(cache=True, nogil=True)
def _part(  # pragma: no cover
    points: NDArray, token: NDArray, low: int, high: int, middle: int, axis: int
) -> None:
    """Order the points low <= i < high so that along the axis none before `middle` lies beyond one from there on."""
    high -= 1
    while low < high:
        pivot = points[axis, (low + high) // 2]
        i, j = low, high
        while i <= j:  # also ends where some are NaN, which no comparison moves
            while points[axis, i] < pivot:
                i += 1
            while points[axis, j] > pivot:
                j -= 1
            if i <= j:
                _swap(points, token, i, j)
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(cache=True, nogil=True)
def _boxes(points: NDArray, starts: NDArray) -> tuple[NDArray, NDArray]:  # pragma: no cover
    """The least and the largest coordinate of the points in each cell, each (cells, dimension), NaN left out."""
    dimension, cells = points.shape[0], len(starts) - 1
    lows = np.full((cells, dimension), np.inf)
    highs = np.full((cells, dimension), -np.inf)
    for cell in range(cells):
        for k in range(dimension):
            for i in range(starts[cell], starts[cell + 1]):
                x = np.float64(points[k, i])
                if x < lows[cell, k]:
                    lows[cell, k] = x
                if x > highs[cell, k]:
                    highs[cell, k] = x
    return lows, highs


@njit(cache=True, nogil=True)
def _away(point: NDArray, lows: NDArray, highs: NDArray, cell: int, limit: float) -> bool:  # pragma: no cover
    """Whether all of a cell is further than the limit from a point."""
    square = 0.0
    for k in range(len(point)):
        below, above = lows[cell, k] - point[k], point[k] - highs[cell, k]
        step = below if below > above else above
        square += step * step if step > 0.0 else 0.0
        if square * ROUNDING > limit:
            return True
    return False


@njit(cache=True, nogil=True)
def _near(  # pragma: no cover
    points: NDArray, point: NDArray, start: int, width: int, limit: float, squares: NDArray
) -> bool:
    """Write the squared distances of `width` points from slot `start` on to one point; is one <= limit?

    The sum over the coordinates stops, every few of them, once all of the points are too far.
    """
    dimension = points.shape[0]
    squares[:width] = 0.0
    for begin in range(0, dimension, CHECK):
        for k in range(begin, min(begin + CHECK, dimension)):
            x = point[k]
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
