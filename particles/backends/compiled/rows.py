"""Attention of any score and normalisation, a few rows at a time: scores into a buffer, weights in place, then values.

Softmax of dot products is done by `pairs` and `tiles`, faster, and what has a profile by `one_pass`. Here is what needs
its row, has a prior, multipliers or another mask, or whose sums have vanished below their bound. Rows come in groups of
`GROUP`, which share every key and value that is loaded. Where a weight needs no more of its row than an upper bound of
the scores, tile by tile of `TILE` tokens; else the whole group is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import lane_count
from .pair_sums import LEAST_SUM32, LEAST_SUM64
from .row_weights import (
    ENTMAX,
    HARDMAX,
    LINEAR,
    RELU,
    SIGMOID,
    SOFTMAX,
    TOP_K,
    UNNORMALISED,
    exponentiate,
    relative,
    weigh,
)
from .vectors import across_sum, fma, load, spread, spread_from, square_root, store, wide

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
GROUP = 4  # rows that are computed together
TILE = 512  # tokens whose weights are in the first cache; a multiple of four vectors
DOT, GAUSSIAN, LAPLACE, STUDENT = range(4)
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
            weigh(law, whole[r], measure[i if measure.shape[0] > 1 else 0], spare, width)
            whole[r, width:] = 0  # the vectors of values reach beyond the tokens
        sums[:] = 0
        _average(whole, values, low, width, sums, rows)
        for r in range(rows):
            for k in range(out.shape[1]):  # number by number, as everywhere: an array takes seconds to compile
                out[first + r, k] = sums[r, k]


@njit(cache=True, error_model="numpy")
def _needs_rows(law, prior):
    """Whether a row has to be known before its first weight is."""
    repelled = law.score != DOT and law.beta < 0  # scores grow with the distance, which has no bound here
    return law.normalisation > RELU or (law.normalisation <= UNNORMALISED and (prior.shape[0] > 0 or repelled))


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
                totals[r] += relative(buffer[r], mu, bounds[r], size)
            else:
                weigh(law, buffer[r], mu, buffer, size)
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
            top, total = exponentiate(buffer[r], measure[i if measure.shape[0] > 1 else 0], width)
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
