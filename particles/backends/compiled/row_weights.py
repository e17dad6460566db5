"""From a row of scores to its weights, in place, in compiled code: the formulas of `particles.normalisations`."""

from __future__ import annotations

import numpy as np
from numba import njit

from .exponential import LOG2E, exp2
from .lanes import lane_count, over, where_at_least
from .vectors import across_max, across_sum, largest, load, spread, store, wide

SOFTMAX, UNNORMALISED, LINEAR, SIGMOID, RELU, ENTMAX, TOP_K, HARDMAX = range(8)


@njit(cache=True, error_model="numpy")
def weigh(law, row, measure, spare, width):
    """Scores of a row become weights, in place."""
    if law.normalisation == SOFTMAX:
        _, total = exponentiate(row, measure, width)
        _scale(row, 1.0 / total if total > 0 else 0.0, width)
    elif law.normalisation == UNNORMALISED:
        top, _ = exponentiate(row, measure, width)
        _scale(row, np.exp(top - law.parameter), width)
    elif law.normalisation == LINEAR:
        for j in range(width):
            row[j] = measure[j] * row[j]
    elif law.normalisation == RELU:
        for j in range(width):
            row[j] = measure[j] * max(row[j], row.dtype.type(0.0))
    elif law.normalisation == SIGMOID:
        _open(row, measure, law.parameter, width)
    elif law.normalisation == ENTMAX:
        _entmax(row, measure, law.parameter, law.scale, spare, width)
    else:
        _select(law, row, measure, spare, width)


@njit(cache=True, error_model="numpy")
def _select(law, row, measure, spare, width):
    """Hardmax, or softmax over the largest scores."""
    number = row.dtype.type
    seen, top, size = 0, -np.inf, 0.0
    for j in range(width):
        if measure[j] > 0:
            spare[0, seen] = row[j]
            seen += 1
            top, size = max(top, row[j]), max(size, abs(row[j]))
    least = top
    if law.normalisation == TOP_K:
        least = _in_order(spare, seen, seen - law.most) if law.most < seen else -np.inf
    least = number(least - law.tie * size)
    for j in range(width):
        spare[0, j] = measure[j] if row[j] >= least else number(0.0)
    if law.normalisation == TOP_K:
        spare[0, width:] = 0
        _, total = exponentiate(row, spare[0], width)
    else:
        total = 0.0
        for j in range(width):
            row[j] = spare[0, j]
            total += row[j]
    _scale(row, 1.0 / total if total > 0 else 0.0, width)


@njit(cache=True, error_model="numpy")
def _in_order(spare, count, place):
    """What stands at this place of spare[0, :count] in order, which is left partly sorted: Hoare's selection.

    NumPy's partition would do, but takes as long to compile as all of `rows` does.
    """
    first, last = 0, count - 1
    while first < last:
        pivot, i, j = spare[0, place], first, last
        while i <= j:
            while spare[0, i] < pivot:
                i += 1
            while pivot < spare[0, j]:
                j -= 1
            if i <= j:
                spare[0, i], spare[0, j] = spare[0, j], spare[0, i]
                i, j = i + 1, j - 1
        if j < place:
            first = i
        if place < i:
            last = j
    return spare[0, place]


@njit(cache=True, error_model="numpy")
def _scale(row, factor, width):
    by = row.dtype.type(factor)
    for j in range(width):
        row[j] *= by


@njit(cache=True, error_model="numpy")
def exponentiate(row, measure, width):
    """row_j = mu_j exp(row_j - top), top the highest score that is seen (0 where none is); top and the sum."""
    wide()
    number, lanes = row.dtype.type, lane_count(row)
    least = spread(number(0.0)) - spread(number(np.inf))
    tiny = spread(np.nextafter(number(0.0), number(1.0)))
    high = least
    for j in range(0, width, lanes):
        high = largest(high, where_at_least(load(measure, j), tiny, load(row, j), least))
    top = across_max(high)
    if top == -np.inf:
        top = number(0.0)
    return np.float64(top), relative(row, measure, top, width)


@njit(cache=True, error_model="numpy")
def relative(row, measure, bound, width):
    """row_j = mu_j exp(row_j - bound); their sum. A token that is not seen may lie above the bound."""
    wide()
    number, lanes = row.dtype.type, lane_count(row)
    base, by = spread(number(bound)), spread(number(LOG2E))
    total = spread(number(0.0))
    for j in range(0, width, 4 * lanes):
        w = exp2((
            by * (_capped(load(row, j), base) - base),
            by * (_capped(load(row, j + lanes), base) - base),
            by * (_capped(load(row, j + 2 * lanes), base) - base),
            by * (_capped(load(row, j + 3 * lanes), base) - base),
        ))  # fmt: skip
        for u in range(4):
            term = load(measure, j + u * lanes) * w[u]
            store(row, j + u * lanes, term)
            total = total + term
    return np.float64(across_sum(total))


@njit(cache=True, error_model="numpy", inline="always")
def _capped(a, b):
    """The lesser of two, lane by lane."""
    return where_at_least(a, b, b, a)


@njit(cache=True, error_model="numpy")
def _open(row, measure, bias, width):
    """row_j = mu_j / (1 + exp(-row_j - bias))."""
    wide()
    number, lanes = row.dtype.type, lane_count(row)
    shift, by, one, zero = spread(number(bias)), spread(number(-LOG2E)), spread(number(1.0)), spread(number(0.0))
    for j in range(0, width, 4 * lanes):
        t0, t1 = load(row, j) + shift, load(row, j + lanes) + shift
        t2, t3 = load(row, j + 2 * lanes) + shift, load(row, j + 3 * lanes) + shift
        t = (t0, t1, t2, t3)
        w = exp2((
            by * largest(t0, zero - t0), by * largest(t1, zero - t1),
            by * largest(t2, zero - t2), by * largest(t3, zero - t3),
        ))  # fmt: skip
        for u in range(4):
            share = over(where_at_least(t[u], zero, one, w[u]), one + w[u])
            store(row, j + u * lanes, load(measure, j + u * lanes) * share)


@njit(cache=True, error_model="numpy")
def _entmax(row, measure, alpha, scale, spare, width):
    """`normalisations.Entmax.rows`: Newton's method over the tokens that are still above tau, which only grows."""
    p, number = 1.0 / (alpha - 1.0), row.dtype.type
    top, count = -np.inf, 0
    for j in range(width):
        if measure[j] > 0:
            top = max(top, row[j])
    heaviest = 0.0
    for j in range(width):
        if measure[j] > 0:
            z, nu = number((alpha - 1.0) * (row[j] - top)), number(scale * measure[j])
            spare[0, count], spare[1, count] = z, nu
            count += 1
            if z == 0.0:
                heaviest = max(heaviest, nu)
    tau = -(heaviest ** (-1.0 / p)) if heaviest > 0 else 0.0
    for _ in range(200):
        total, slope, above = 0.0, 0.0, 0
        for k in range(count):
            z, nu = spare[0, k], spare[1, k]
            height = np.float64(z) - tau
            if height > 0:
                power = nu if p == 1.0 else (nu * height if p == 2.0 else nu * height ** (p - 1.0))
                total, slope = total + power * height, slope + power
                spare[0, above], spare[1, above] = z, nu
                above += 1
        count = above
        if total <= 0:
            break
        moved = tau + max((total - total ** (1.0 - 1.0 / p)) / slope, 0.0)
        if not moved > tau:
            break
        tau = moved
    total = 0.0
    for j in range(width):
        height = (alpha - 1.0) * (np.float64(row[j]) - top) - tau if measure[j] > 0 else 0.0
        weight = 0.0
        if height > 0:
            weight = scale * measure[j] * (height if p == 1.0 else (height * height if p == 2.0 else height**p))
        row[j] = weight
        total += weight
    _scale(row, 1.0 / total if total > 0 else 0.0, width)
