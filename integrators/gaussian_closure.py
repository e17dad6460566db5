"""The limit of many gaussian tokens: the closed equations of their mean and covariance, and when these run to infinity.

    m' = b + G m,   S' = G S + S G^T,      with v(x) = b + G x of `particles.gaussian`

The solution is exact for infinitely many tokens; n tokens drawn from N(m_0, S_0) are off by n^(-1/2). Under linear
attention it is exact for every number of tokens with their own mean and covariance. Source: arXiv:2501.18322.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ComputationFailed, InvalidInput
from ..particles.attention import Attention
from ..particles.gaussian import DOTS, GaussianMeasure, affine_drift, check_closed

Array = NDArray[np.float64]
RUN_AWAY = 1e12  # times its first size, from which on a mean or covariance counts as infinite


@dataclass(frozen=True)
class GaussianFlow:
    """Gaussian measures over depth.

    times : (frames,)      means : (frames, dimension)      covariances : (frames, dimension, dimension)
    """

    times: Array
    means: Array
    covariances: Array

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, frame: int) -> GaussianMeasure:
        """The measure of one frame."""
        return GaussianMeasure(self.means[frame], self.covariances[frame])


def gaussian_flow(
    law: Attention,
    measure: GaussianMeasure,
    t_end: float,
    *,
    save_at: ArrayLike | None = None,
    rtol: float = 1e-12,
    atol: float = 1e-13,
) -> GaussianFlow:
    """Mean and covariance of infinitely many gaussian tokens, from depth 0 to t_end.

    save_at    : increasing depths in [0, t_end], by default both ends
    rtol, atol : of every entry, by DOP853

    Raises InvalidInput for a law under which tokens do not stay gaussian or for arguments out of range, and
    ComputationFailed where mean or covariance run to infinity before t_end; the message says at about which depth.
    """
    from scipy.integrate import solve_ivp

    check_closed(law)
    times = checked_times(t_end, save_at)
    d = measure.dimension
    start = np.concatenate([measure.mean, measure.covariance.ravel()])
    bound = RUN_AWAY * max(1.0, np.abs(start).max())

    def slope(_t: float, state: Array) -> Array:
        if not np.abs(state).max() < bound:
            return np.full_like(state, np.nan)  # the step is tried again, shorter, until there is none
        m, s = state[:d], state[d:].reshape(d, d)
        b, g = affine_drift(law, _unchecked(m, 0.5 * (s + s.T)))
        gs = g @ s
        return np.concatenate([b + g @ m, (gs + gs.T).ravel()])

    def far(_t: float, state: Array) -> float:
        return float(0.1 * bound - np.abs(state).max())

    far.terminal = True  # type: ignore[attr-defined]
    with np.errstate(all="ignore"):
        solution = solve_ivp(slope, (0.0, t_end), start, "DOP853", times, events=far, rtol=rtol, atol=atol)
    if solution.status != 0:
        depth = float(solution.t_events[0][0]) if solution.status == 1 else float(solution.t[-1])
        raise ComputationFailed(
            f"mean or covariance of the tokens run to infinity at about depth {depth:.6g}, before t_end = {t_end:g}"
        )
    covariances = solution.y[d:].T.reshape(-1, d, d)
    return GaussianFlow(times, solution.y[:d].T.copy(), 0.5 * (covariances + np.swapaxes(covariances, 1, 2)))


def blow_up(law: Attention, measure: GaussianMeasure) -> float:
    """The depth t* at which the covariance of gaussian tokens becomes infinite, under softmax of dot products, V = c I.

    S(t)^-1 = S_0^-1 - c t (A + A^T), A = beta K^T Q, so t* = 1 / (c lambda_max(S_0^(1/2) (A + A^T) S_0^(1/2))); inf
    where there is none. Raises InvalidInput for another law, whose blow-up `gaussian_flow` finds.
    """
    check_closed(law)
    parts = law.projections(measure.dimension)
    value = parts.value_scale * np.eye(measure.dimension) if parts.value is None else parts.value[0]
    through = value if parts.output is None else parts.output @ value
    scaled = law.heads == 1 and np.array_equal(through, through[0, 0] * np.eye(measure.dimension))
    if law.normalisation.name != "softmax" or law.score.name not in DOTS or not scaled:
        raise InvalidInput(
            "the depth of the blow-up is known for one head of softmax of dot products, with value c times the identity"
        )
    identity = np.eye(measure.dimension)
    query = identity if parts.query is None else parts.query[0]
    key = identity if parts.key is None else parts.key[0]
    a = law.beta * parts.score_scale * key.T @ query
    root = measure.root
    rate = np.linalg.eigvalsh(through[0, 0] * root @ (a + a.T) @ root)[-1]
    return float(1.0 / rate) if rate > 0.0 else float("inf")


def checked_times(t_end: float, save_at: ArrayLike | None) -> Array:
    """The depths to save, (frames,). Raises InvalidInput unless they increase from 0 to t_end, a positive number."""
    if not (isinstance(t_end, (int, float, np.number)) and np.isfinite(t_end) and t_end > 0):
        raise InvalidInput(f"t_end must be a positive number; got {t_end!r}")
    times = np.array([0.0, t_end]) if save_at is None else np.atleast_1d(np.asarray(save_at, np.float64))
    good = times.ndim == 1 and times.size > 0 and np.isfinite(times).all()
    if not good or times[0] < 0.0 or times[-1] > t_end or (np.diff(times) <= 0).any():
        raise InvalidInput(f"save_at must be increasing depths between 0 and t_end = {t_end:g}; got {save_at!r}")
    return times


def _unchecked(mean: Array, covariance: Array) -> GaussianMeasure:
    """A measure inside a step, whose covariance may be off by the step's error."""
    measure = object.__new__(GaussianMeasure)
    object.__setattr__(measure, "mean", mean)
    object.__setattr__(measure, "covariance", covariance)
    return measure
