"""Attention of any score and normalisation, a few rows at a time: scores into a buffer, weights in place, then values.

What has one pass over the pairs and no row at all, softmax of dot products, is done by `pairs` and `tiles`, faster.
Rows come in groups of `GROUP`, which share every key and value that is loaded. Memory is that of a group of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .exponential import LOG2E, exp2
from .lanes import lane_count, over, where_at_least
from .vectors import across_max, across_sum, fma, largest, load, spread, spread_from, square_root, store, wide

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
GROUP = 4  # rows that are computed together
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
def attend(law, query, keys, values, measure, prior, low, width, out):
    """out_i = sum_j w_ij v_j for some rows, over the tokens low..low + width.

    query   : (rows, head_dimension)                 out : (rows, value_dimension)
    keys    : (head_dimension, padded)               values : (value_dimension, padded), zero behind the tokens
    measure : (rows or 1, room), a_j m_ij of these tokens, zero behind them    prior : (rows or 1, room), log pi_ij
    """
    wide()
    buffer = np.zeros((GROUP, measure.shape[1]), query.dtype)
    spare = np.zeros((2, measure.shape[1]), query.dtype)
    for first in range(0, query.shape[0], GROUP):
        rows = min(GROUP, query.shape[0] - first)
        _score(law, query, first, keys, low, width, buffer)
        for r in range(rows):
            i = first + r
            _add(buffer[r], prior[i if prior.shape[0] > 1 else 0], width)
            _weigh(law, buffer[r], measure[i if measure.shape[0] > 1 else 0], spare, width)
            buffer[r, width:] = 0  # the vectors of values reach beyond the tokens
        _average(buffer, values, low, width, out, first, rows)


@njit(cache=True, nogil=True, error_model="numpy")
def log_sums(law, query, keys, measure, prior, low, width, out):
    """out_i = log sum_j mu_ij exp(s_ij) (rows,), arrays as in `attend`; -inf where nobody is seen."""
    wide()
    buffer = np.zeros((GROUP, measure.shape[1]), query.dtype)
    for first in range(0, query.shape[0], GROUP):
        _score(law, query, first, keys, low, width, buffer)
        for r in range(min(GROUP, query.shape[0] - first)):
            i = first + r
            _add(buffer[r], prior[i if prior.shape[0] > 1 else 0], width)
            top, total = _exponentiate(buffer[r], measure[i if measure.shape[0] > 1 else 0], width)
            out[i] = top + np.log(total)


@njit(cache=True, error_model="numpy")
def _score(law, query, first, keys, low, width, buffer):
    """Scores of a group of rows, without the prior; behind the last row those of the last once more."""
    wide()
    number, lanes, padded = query.dtype.type, lane_count(query), keys.shape[1]
    d, room = query.shape[1], buffer.shape[1]
    last = query.shape[0] - 1
    a, b, c, e = first * d, min(first + 1, last) * d, min(first + 2, last) * d, min(first + 3, last) * d
    zero = spread(number(0.0))
    for j in range(0, width, lanes):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for k in range(d):
            key = load(keys, k * padded + low + j)
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
def _add(row, more, width):
    for j in range(width):
        row[j] += more[j]


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
def _average(buffer, values, low, width, out, first, rows):
    """out (rows, value_dimension) of a group of rows: the sums of values with the weights in the buffer."""
    wide()
    lanes, padded, room = lane_count(buffer), values.shape[1], buffer.shape[1]
    zero = spread(buffer.dtype.type(0.0))
    for k in range(values.shape[0]):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(0, width, lanes):
            value = load(values, k * padded + low + j)
            s0, s1 = fma(load(buffer, j), value, s0), fma(load(buffer, room + j), value, s1)
            s2, s3 = fma(load(buffer, 2 * room + j), value, s2), fma(load(buffer, 3 * room + j), value, s3)
        sums = (across_sum(s0), across_sum(s1), across_sum(s2), across_sum(s3))
        for r in range(rows):
            out[first + r, k] = sums[r]
