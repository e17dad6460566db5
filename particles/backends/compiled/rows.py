"""Attention of any score and normalisation, a few rows at a time: scores into a buffer, weights in place, then values.

What has one pass over the pairs and no row at all, softmax of dot products, is done by `pairs` and `tiles`, faster.
Rows come in groups of `GROUP`, which share every key and value that is loaded. Where a weight needs no more of its row
than an upper bound of the scores, tile by tile of `TILE` tokens; else the whole group is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .exponential import LOG2E, exp2
from .lanes import lane_count, over, where_at_least
from .pair_sums import LEAST_SUM32, LEAST_SUM64
from .vectors import across_max, across_sum, fma, largest, load, spread, spread_from, square_root, store, wide

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
GROUP = 4  # rows that are computed together
TILE = 512  # tokens whose weights are in the first cache; a multiple of four vectors
DOT, GAUSSIAN, LAPLACE, STUDENT = range(4)
SOFTMAX, UNNORMALISED, LINEAR, SIGMOID, RELU, ENTMAX, TOP_K, HARDMAX = range(8)
_SCORES = {"gaussian": GAUSSIAN, "metric": GAUSSIAN, "laplace": LAPLACE, "student": STUDENT}
_NORMALISATIONS = {
    "softmax": SOFTMAX,
    "sinkhorn": SOFTMAX,
    "none": UNNORMALISED,
    "linear": LINEAR,
    "sigmoid": SIGMOID,
    "relu": RELU,
    "entmax": ENTMAX,
    "top-k": TOP_K,
    "hardmax": HARDMAX,
}


class RowLaw(NamedTuple):
    """Score and normalisation as numbers.

    parameter : the shift, the bias or alpha of the normalisation     most : the count of top-k
    scale     : of the measure in entmax
    tie       : of a row's largest |s|, below which scores are the same: `normalisations.tie`
    """

    score: int
    beta: float
    freedom: float
    normalisation: int
    parameter: float
    most: int
    scale: float
    tie: float


def row_law(law: Attention, tokens: int, tie: float) -> RowLaw:
    """The numbers of a law."""
    score, normalisation = law.score, law.normalisation
    parameter = next(
        (getattr(normalisation, name) for name in ("shift", "bias", "alpha") if hasattr(normalisation, name)), 0.0
    )
    counted = normalisation.name == "entmax" and not normalisation.mean_field
    return RowLaw(
        score=_SCORES.get(score.name, DOT),
        beta=law.score_beta,
        freedom=getattr(score, "freedom", 1.0),
        normalisation=_NORMALISATIONS[normalisation.name],
        parameter=float(parameter),
        most=getattr(normalisation, "count", 1),
        scale=float(tokens) if counted else 1.0,
        tie=tie,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def attend(law, query, keys, values, measure, prior, longest, low, width, out):
    """out_i = sum_j w_ij v_j for some rows, over the tokens low..low + width; low is a multiple of the lanes.

    query   : (rows, head_dimension)                 out : (rows, value_dimension)
    keys    : (padded / lanes, head_dimension, lanes)    values : (value_dimension, padded), zero behind the tokens
    measure : (rows or 1, room), a_j m_ij of these tokens, zero behind them
    prior   : (rows or 1, room), log pi_ij; (0, 0) for none             longest : the norm of the longest key
    """
    buffer = np.zeros((GROUP, TILE + 4 * lane_count(query)), query.dtype)
    whole = np.zeros((GROUP, measure.shape[1] if _needs_rows(law, prior) else 0), query.dtype)
    spare = np.zeros((2, whole.shape[1]), query.dtype)
    sums, totals, bounds = np.zeros((GROUP, out.shape[1])), np.zeros(GROUP), np.zeros(GROUP)
    for first in range(0, query.shape[0], GROUP):
        rows = min(GROUP, query.shape[0] - first)
        if not _needs_rows(law, prior):
            _bound(law, query, first, rows, longest, bounds)
            _sum_tiles(law, query, first, rows, keys, values, measure, prior, low, width, buffer, bounds, sums, totals)
            if _finish(law, bounds, sums, totals, rows, out, first):
                continue
            if whole.size == 0:  # a bound was too loose: the rows need their own largest score
                whole = np.zeros((GROUP, measure.shape[1]), query.dtype)
                spare = np.zeros((2, whole.shape[1]), query.dtype)
        _score(law, query, first, keys, low, width, whole)
        for r in range(rows):
            i = first + r
            _add(whole[r], prior, i, 0, width)
            _weigh(law, whole[r], measure[i if measure.shape[0] > 1 else 0], spare, width)
            whole[r, width:] = 0  # the vectors of values reach beyond the tokens
        sums[:] = 0
        _average(whole, values, low, width, sums, rows)
        for r in range(rows):
            out[first + r] = sums[r]


@njit(cache=True, error_model="numpy")
def _needs_rows(law, prior):
    """Whether a row has to be known before its first weight is."""
    return law.normalisation > RELU or (law.normalisation <= UNNORMALISED and prior.shape[0] > 0)


@njit(cache=True, error_model="numpy")
def _bound(law, query, first, rows, longest, bounds):
    """An upper bound of the scores of each row: 0 for distances, that of Cauchy and Schwarz for products."""
    for r in range(rows):
        square = 0.0
        for k in range(query.shape[1]):
            square += np.float64(query[first + r, k]) ** 2
        bounds[r] = 0.0
        if law.score == DOT:
            bounds[r] = abs(law.beta) * np.sqrt(square) * longest
        elif law.beta < 0:
            bounds[r] = np.inf  # tokens repel by their distance, which has no bound here
        bounds[r] = query.dtype.type(bounds[r])


@njit(cache=True, error_model="numpy")
def _sum_tiles(law, query, first, rows, keys, values, measure, prior, low, width, buffer, bounds, sums, totals):
    """sum_j w_ij v_j and sum_j w_ij of a group of rows, tile by tile; powers are relative to the bound."""
    sums[:], totals[:] = 0, 0
    exponential = law.normalisation <= UNNORMALISED
    for t in range(0, width, TILE):
        size = min(TILE, width - t)
        _score(law, query, first, keys, low + t, size, buffer)
        for r in range(rows):
            i = first + r
            mu = measure[i if measure.shape[0] > 1 else 0, t:]
            _add(buffer[r], prior, i, t, size)
            if exponential:
                totals[r] += _relative(buffer[r], mu, bounds[r], size)
            else:
                _weigh(law, buffer[r], mu, buffer, size)
            buffer[r, size:] = 0
        _average(buffer, values, low + t, size, sums, rows)


@njit(cache=True, error_model="numpy")
def _finish(law, bounds, sums, totals, rows, out, first):
    """Write a group of rows from its sums; False where a bound was so loose that nothing is left of a sum."""
    if law.normalisation <= UNNORMALISED:
        least = LEAST_SUM64 if out.itemsize == 8 else LEAST_SUM32
        for r in range(rows):
            if not least < totals[r] < np.inf:
                return False
    for r in range(rows):
        factor = 1.0
        if law.normalisation == SOFTMAX:
            factor = 1.0 / totals[r]
        elif law.normalisation == UNNORMALISED:
            factor = np.exp(0.5 * (bounds[r] - law.parameter))  # in two steps, of which none overflows
            for k in range(out.shape[1]):
                sums[r, k] *= factor
        for k in range(out.shape[1]):
            out[first + r, k] = factor * sums[r, k]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def log_sums(law, query, keys, measure, prior, low, width, out):
    """out_i = log sum_j mu_ij exp(s_ij) (rows,), arrays as in `attend`; -inf where nobody is seen."""
    buffer = np.zeros((GROUP, measure.shape[1]), query.dtype)
    for first in range(0, query.shape[0], GROUP):
        _score(law, query, first, keys, low, width, buffer)
        for r in range(min(GROUP, query.shape[0] - first)):
            i = first + r
            _add(buffer[r], prior, i, 0, width)
            top, total = _exponentiate(buffer[r], measure[i if measure.shape[0] > 1 else 0], width)
            out[i] = top + np.log(total)


@njit(cache=True, error_model="numpy")
def _score(law, query, first, keys, low, width, buffer):
    """Scores of a group of rows, without the prior; behind the last row those of the last once more."""
    wide()
    number, lanes = query.dtype.type, lane_count(query)
    d, room = query.shape[1], buffer.shape[1]
    last = query.shape[0] - 1
    a, b, c, e = first * d, min(first + 1, last) * d, min(first + 2, last) * d, min(first + 3, last) * d
    zero = spread(number(0.0))
    for j in range(0, width, lanes):
        s0, s1, s2, s3 = zero, zero, zero, zero
        at = (low + j) * d
        for k in range(d):
            key = load(keys, at + k * lanes)
            q0, q1, q2, q3 = (
                spread_from(query, a + k),
                spread_from(query, b + k),
                spread_from(query, c + k),
                spread_from(query, e + k),
            )
            if law.score == DOT:
                s0, s1, s2, s3 = fma(q0, key, s0), fma(q1, key, s1), fma(q2, key, s2), fma(q3, key, s3)
            else:
                q0, q1, q2, q3 = q0 - key, q1 - key, q2 - key, q3 - key
                s0, s1, s2, s3 = fma(q0, q0, s0), fma(q1, q1, s1), fma(q2, q2, s2), fma(q3, q3, s3)
        if law.score == LAPLACE:
            s0, s1, s2, s3 = square_root(s0), square_root(s1), square_root(s2), square_root(s3)
        factor = law.beta
        if law.score == GAUSSIAN:
            factor = -0.5 * law.beta
        elif law.score == LAPLACE:
            factor = -law.beta
        elif law.score == STUDENT:
            factor = law.beta / law.freedom
        by = spread(number(factor))
        store(buffer, j, by * s0)
        store(buffer, room + j, by * s1)
        store(buffer, 2 * room + j, by * s2)
        store(buffer, 3 * room + j, by * s3)
    if law.score == STUDENT:
        slope = number(-0.5 * (law.freedom + 1.0))
        for r in range(GROUP):
            for j in range(width):
                buffer[r, j] = slope * np.log1p(buffer[r, j])


@njit(cache=True, error_model="numpy")
def _add(row, prior, i, start, width):
    """Add log pi_ij of the tokens start, ... to a row of scores."""
    if prior.shape[0] > 0:
        more = prior[i if prior.shape[0] > 1 else 0]
        for j in range(width):
            row[j] += more[start + j]


@njit(cache=True, error_model="numpy")
def _weigh(law, row, measure, spare, width):
    """Scores of a row become weights, in place."""
    if law.normalisation == SOFTMAX:
        _, total = _exponentiate(row, measure, width)
        _scale(row, 1.0 / total if total > 0 else 0.0, width)
    elif law.normalisation == UNNORMALISED:
        top, _ = _exponentiate(row, measure, width)
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
        least = np.partition(spare[0, :seen], seen - law.most)[seen - law.most] if law.most < seen else -np.inf
    least = number(least - law.tie * size)
    for j in range(width):
        spare[0, j] = measure[j] if row[j] >= least else number(0.0)
    if law.normalisation == TOP_K:
        spare[0, width:] = 0
        _, total = _exponentiate(row, spare[0], width)
    else:
        total = 0.0
        for j in range(width):
            row[j] = spare[0, j]
            total += row[j]
    _scale(row, 1.0 / total if total > 0 else 0.0, width)


@njit(cache=True, error_model="numpy")
def _scale(row, factor, width):
    by = row.dtype.type(factor)
    for j in range(width):
        row[j] *= by


@njit(cache=True, error_model="numpy")
def _exponentiate(row, measure, width):
    """row_j = mu_j exp(row_j - top), top the highest score that is seen (0 where none is); top and the sum."""
    wide()
    number, lanes = row.dtype.type, lane_count(row)
    least, nothing = spread(number(0.0)), spread(number(0.0))
    least = least - spread(number(np.inf))
    tiny = spread(np.nextafter(number(0.0), number(1.0)))
    high = least
    for j in range(0, width, lanes):
        high = largest(high, where_at_least(load(measure, j), tiny, load(row, j), least))
    top = across_max(high)
    if top == -np.inf:
        top = number(0.0)
    base, by = spread(top), spread(number(LOG2E))
    total = nothing
    for j in range(0, width, 4 * lanes):
        w = (
            by * (_capped(load(row, j), base) - base),
            by * (_capped(load(row, j + lanes), base) - base),
            by * (_capped(load(row, j + 2 * lanes), base) - base),
            by * (_capped(load(row, j + 3 * lanes), base) - base),
        )
        w = exp2(w)
        for u in range(4):
            term = load(measure, j + u * lanes) * w[u]
            store(row, j + u * lanes, term)
            total = total + term
    return np.float64(top), np.float64(across_sum(total))


@njit(cache=True, error_model="numpy")
def _relative(row, measure, bound, width):
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


@njit(cache=True, error_model="numpy")
def _average(buffer, values, low, width, sums, rows):
    """Add to sums (rows, value_dimension) of a group the sums of values with the weights in the buffer."""
    wide()
    lanes, padded, room = lane_count(buffer), values.shape[1], buffer.shape[1]
    zero = spread(buffer.dtype.type(0.0))
    for k in range(values.shape[0]):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(0, width, lanes):
            value = load(values, k * padded + low + j)
            s0, s1 = fma(load(buffer, j), value, s0), fma(load(buffer, room + j), value, s1)
            s2, s3 = fma(load(buffer, 2 * room + j), value, s2), fma(load(buffer, 3 * room + j), value, s3)
        parts = (across_sum(s0), across_sum(s1), across_sum(s2), across_sum(s3))
        for r in range(rows):
            sums[r, k] += parts[r]
