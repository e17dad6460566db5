"""An attention row as the probabilities of largest entropy that have its mean score; its temperature from that alone.

    maximise  H_alpha(p) = 1/(alpha (alpha - 1)) sum_j nu_j (q_j - q_j^alpha),  q = p / nu,    sum_j p_j = 1, sum_j p_j s_j = e
    solution  p_j = nu_j [(alpha - 1) beta s_j - tau]_+^(1 / (alpha - 1)),     alpha -> 1: p_j proportional to nu_j exp(beta s_j)

beta is the multiplier of the mean score and grows with it. H_1 is Shannon's entropy -sum_j p_j log(p_j / nu_j), the others
are Tsallis'; sparsemax has alpha = 2. nu_j = n a_j m_ij counts tokens, with weights and mask as in `normalisations`, so for
equal weights H_1 is -sum p log p. Source: arXiv:2007.02876, and arXiv:1905.05702 for entmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .backends.reference import ReferenceField, row_pairs
from .block import Law, attention_of, seen_by
from .ensemble import Ensemble
from .normalisations import Entmax, Softmax

Array = NDArray[np.float64]
ROWS = 256  # of a law that exist at a time
ENDS = 1e-14  # of the spread of scores, within which a mean score is the largest or smallest one
HALVINGS = 200  # of a bracket, at most: Newton's steps are taken wherever they stay inside it


@dataclass(frozen=True)
class MaximumEntropy:
    """What belongs to rows; axes as the scores had them, without the last where a row has one number.

    probabilities : the solution p            entropy    : H_alpha(p)
    mean_score    : sum_j p_j s_j             multiplier : beta, recovered from the mean score alone
    """

    probabilities: Array
    entropy: Array
    mean_score: Array
    multiplier: Array


def maximum_entropy(
    scores: ArrayLike, mean_score: ArrayLike, *, measure: ArrayLike | None = None, alpha: float = 1.0
) -> MaximumEntropy:
    """The probabilities of largest H_alpha with a mean score.

    scores     : (..., tokens)      mean_score : (...), between the smallest and the largest score of its row
    measure    : nu, (tokens,) or as the scores, nonnegative, by default 1; what has none is not seen
    alpha      : 1 for Shannon's entropy, up to 2 for Tsallis'

    For alpha = 1 a mean that is the largest score has multiplier inf, and the smallest -inf; for alpha > 1 it has the
    multiplier from which on the row does not change. A row whose scores are all the same has multiplier 0. Raises
    InvalidInput for a mean score out of range, or alpha outside [1, 2].
    """
    if not (isinstance(alpha, (int, float)) and 1.0 <= alpha <= 2.0):
        raise InvalidInput(f"alpha must be at least 1, for Shannon's entropy, and at most 2; got {alpha!r}")
    s, nu = _rows(scores, measure)
    target = np.broadcast_to(np.asarray(mean_score, np.float64), s.shape[:-1]).ravel()
    flat, flat_nu = s.reshape(-1, s.shape[-1]), nu.reshape(-1, s.shape[-1])
    low = np.min(flat, axis=1, initial=np.inf, where=flat_nu > 0)
    high = np.max(flat, axis=1, initial=-np.inf, where=flat_nu > 0)
    slack = 1e-12 * np.maximum(np.abs(low), np.abs(high))
    if not ((target >= low - slack) & (target <= high + slack)).all():
        worst = int(np.argmax(np.maximum(low - target, target - high)))
        raise InvalidInput(
            f"mean_score must be between the smallest and the largest score, {low[worst]:.6g} and {high[worst]:.6g}; "
            f"got {target[worst]:.6g}"
        )
    target = np.clip(target, low, high)
    beta = _multipliers(flat, flat_nu, target, low, high, alpha)
    p = _row(flat, flat_nu, beta, low, high, alpha)
    return MaximumEntropy(
        p.reshape(s.shape),
        _entropy(p, flat_nu, alpha).reshape(s.shape[:-1]),
        (p * flat).sum(axis=1).reshape(s.shape[:-1]),
        beta.reshape(s.shape[:-1]),
    )


def entropy(probabilities: ArrayLike, *, measure: ArrayLike | None = None, alpha: float = 1.0) -> Array:
    """H_alpha of rows (..., tokens), (...); `measure` and alpha as for `maximum_entropy`, alpha any positive number.

    Raises InvalidInput for alpha that is not positive, or a probability where the measure has none.
    """
    if not (isinstance(alpha, (int, float)) and np.isfinite(alpha) and alpha > 0.0):
        raise InvalidInput(f"alpha must be a positive number; got {alpha!r}")
    p, nu = _rows(probabilities, measure)
    if (p[nu == 0] != 0).any():
        raise InvalidInput("probabilities must be zero where the measure is: there is no entropy relative to it")
    return _entropy(p, nu, alpha)


def attention_rows(law: Law, ensemble: Ensemble, *, replica: int = 0, head: int = 0) -> MaximumEntropy:
    """The rows of a law at a replica, seen as solutions: the entropy and mean score, and beta from the mean score alone.

    Arrays are (tokens, tokens) and (tokens,); scores are those of the law at beta = 1, with its prior, whose part in a
    row counts as measure: nu_ij = n a_j m_ij exp(prior_ij). The multiplier is then the law's own beta, up to rounding,
    wherever a row determines it; a row that sees nobody, or scores that are all the same, has 0.

    Raises InvalidInput for a law that is not softmax or entmax of dot products, cosines or squared distances, whose
    scores have beta as a factor, or for sparse rows with a prior.
    """
    attention = attention_of(law)
    name = attention.normalisation.name
    if name not in ("softmax", "entmax") or attention.score.name == "student":
        raise InvalidInput(
            "rows maximise an entropy under softmax, sparsemax and entmax, of scores with beta as a factor; got "
            f"{name} of {attention.score.name}"
        )
    if attention.prior is not None and name == "entmax":
        raise InvalidInput("rows of entmax with a prior have no mean score that is their own")
    if attention.beta == 0.0:
        raise InvalidInput("beta must not be 0: the scores are then all the same")
    seen = seen_by(law, ensemble)
    shape, weights = (1, ensemble.tokens, ensemble.dimension), np.asarray(ensemble.weights, np.float64)
    alone = weights if weights.ndim == 1 else weights[replica]
    field = ReferenceField(attention, seen.space, alone, shape, np.float64)
    query, key, _ = field.features(np.asarray(seen.positions[replica], np.float64), head)
    tokens = ensemble.tokens
    alpha = 1.0 if name == "softmax" else attention.normalisation.alpha
    count = 1.0 if name == "entmax" and attention.normalisation.mean_field else float(tokens)
    found: list[MaximumEntropy] = []
    for first in range(0, tokens, ROWS):
        rows = first, min(first + ROWS, tokens)
        total, measure = row_pairs(attention, query, key, alone, (replica, head), rows, (0, tokens))
        logs: Any = 0.0
        if attention.prior is not None:
            logs = attention.prior.logs(*rows, 0, tokens, head, attention.heads)
        p = attention.normalisation.rows(total, measure, tokens)
        s = (total - logs) / attention.beta
        nu = count * measure * np.exp(logs)
        blind = nu.sum(axis=1) == 0
        nu[blind] = 1.0  # no row: it is given that of no scores
        s[blind] = 0.0
        mean = (p * s).sum(axis=1)
        solution = maximum_entropy(s, mean, measure=nu, alpha=alpha)
        found.append(MaximumEntropy(p, _entropy(p, nu, alpha), mean, solution.multiplier))
    names = ("probabilities", "entropy", "mean_score", "multiplier")
    return MaximumEntropy(*(np.concatenate([getattr(part, each) for part in found]) for each in names))


def _rows(values: ArrayLike, measure: ArrayLike | None) -> tuple[Array, Array]:
    """The values and the measure, of the same shape."""
    v = np.asarray(values, np.float64)
    if v.ndim < 1 or v.shape[-1] < 1 or not np.isfinite(v).all():
        raise InvalidInput(f"rows must be finite numbers (..., tokens); got the shape {v.shape}")
    nu = np.ones(v.shape[-1]) if measure is None else np.asarray(measure, np.float64)
    try:
        nu = np.broadcast_to(nu, v.shape)
    except ValueError:
        raise InvalidInput(f"measure must have the shape {v.shape[-1:]} or {v.shape}; got {nu.shape}") from None
    if not (np.isfinite(nu).all() and (nu >= 0).all() and (nu.sum(axis=-1) > 0).all()):
        raise InvalidInput("measure must be nonnegative, and positive somewhere in every row")
    return v, nu


def _entropy(p: Array, nu: Array, alpha: float) -> Array:
    q = np.divide(p, nu, out=np.zeros_like(p), where=nu > 0)
    if alpha == 1.0:
        return -np.sum(p * np.log(q, out=np.zeros_like(q), where=q > 0), axis=-1)
    return np.sum(nu * (q - q**alpha), axis=-1) / (alpha * (alpha - 1.0))


def _row(s: Array, nu: Array, beta: Array, low: Array, high: Array, alpha: float) -> Array:
    """The row of a multiplier; at +-inf what is at the largest or smallest score."""
    finite = np.isfinite(beta)
    scaled = np.where(finite, beta, 0.0)[:, None] * s
    p = _probabilities(scaled, nu, alpha)
    for end, sign in ((high, 1.0), (low, -1.0)):
        at_end = (~finite & (np.sign(beta) == sign))[:, None] & (s == end[:, None])
        share = np.where(at_end, nu, 0.0)
        total = share.sum(axis=1, keepdims=True)
        p = np.where(total > 0, np.divide(share, total, out=np.zeros_like(share), where=total > 0), p)
    return p


def _probabilities(scaled: Array, nu: Array, alpha: float) -> Array:
    if alpha == 1.0:
        return Softmax().rows(scaled, nu, 0)
    return Entmax(alpha, mean_field=True).rows(scaled, nu, 0)


def _multipliers(s: Array, nu: Array, target: Array, low: Array, high: Array, alpha: float) -> Array:
    """beta with the mean score of the target, which grows with it: Newton's method inside a bracket."""
    unit = np.where(high > low, high - low, 1.0)
    s, goal = (s - low[:, None]) / unit[:, None], (target - low) / unit
    slack = 0.0 if alpha == 1.0 else ENDS
    at_high, at_low, alike = goal >= 1.0 - slack, goal <= slack, high == low
    open_ = ~(at_high | at_low | alike)
    beta, below, above = np.zeros(len(s)), np.full(len(s), -1.0), np.full(len(s), 1.0)
    for _ in range(1100):  # doublings, up to the largest number
        short = open_ & (_mean(s, nu, above, alpha) < goal)
        long = open_ & (_mean(s, nu, below, alpha) > goal)
        if not (short | long).any():
            break
        above[short] *= 2.0
        below[long] *= 2.0
    for _ in range(HALVINGS):
        p = _probabilities(beta[:, None] * s, nu, alpha)
        gap = (p * s).sum(axis=1) - goal
        above, below = np.where(gap >= 0, beta, above), np.where(gap <= 0, beta, below)
        c = _slopes(p, nu, alpha)
        total = c.sum(axis=1)
        mean = np.divide((c * s).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
        slope = (c * (s - mean[:, None]) ** 2).sum(axis=1)
        newton = beta - np.divide(gap, slope, out=np.full_like(gap, np.inf), where=slope > 0)
        following = np.where((newton > below) & (newton < above), newton, 0.5 * (below + above))
        done = ~open_ | (gap == 0) | (following == beta) | (above - below <= 1e-15 * np.abs(beta))
        beta = np.where(done, beta, following)
        if done.all():
            break
    beta = np.where(at_high, _saturation(s, nu, alpha), np.where(at_low, -_saturation(1.0 - s, nu, alpha), beta))
    return np.where(alike, 0.0, beta / unit)


def _saturation(s: Array, nu: Array, alpha: float) -> Array:
    """The beta from which on a row with scores up to 1 holds the largest alone: nu^(1 - alpha) / ((alpha - 1) (1 - s'))."""
    if alpha == 1.0:
        return np.full(len(s), np.inf)
    top = np.sum(np.where(s == 1.0, nu, 0.0), axis=1)
    second = np.max(s, axis=1, initial=-np.inf, where=(nu > 0) & (s < 1.0))
    with np.errstate(divide="ignore"):
        return top ** (1.0 - alpha) / ((alpha - 1.0) * (1.0 - second))


def _mean(s: Array, nu: Array, beta: Array, alpha: float) -> Array:
    return (_probabilities(beta[:, None] * s, nu, alpha) * s).sum(axis=1)


def _slopes(p: Array, nu: Array, alpha: float) -> Array:
    """c with dp = c (ds - its mean under c), up to a factor of the row."""
    q = np.divide(p, nu, out=np.zeros_like(p), where=nu > 0)
    return np.where(q > 0, nu * q ** (2.0 - alpha), 0.0)
