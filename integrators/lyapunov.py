"""Finite-time Lyapunov exponents: how fast neighbouring trajectories part, along a trajectory.

    x' = F(x),   v' = J(x) v,   lambda_k = (1/T) log sigma_k(D Phi_T),   D Phi_T the differential of the flow to depth T

The tangents v are carried with the flow, by products with the Jacobian, and made orthonormal before they align:
V = Q R. The exponents of the product R_m ... R_1 are found without multiplying it out: the transposed product is
brought to the same form, again and again, until its diagonals are the singular values. Source for the decompositions:
Benettin and others, Meccanica 15 (1980) 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ComputationFailed, InvalidInput
from ..particles.block import Law, switches
from ..particles.ensemble import Ensemble
from ..particles.regularity.jacobian import jacobian
from ..particles.space import Sphere

Array = NDArray[np.floating]
ALIGNED, APART = 1e5, 1e2  # by which growths may differ between two decompositions, and below which they come later
FAILURES = 2  # to follow the flow over an interval, of all, before it is given up
SWEEPS, SEPARATE = 40, 0.45  # of the staircase, and the gap of logarithms that is gone after them: exp(-2 * 40 * 0.45)


@dataclass(frozen=True)
class LyapunovExponents:
    """Exponents of a flow to a depth.

    exponents : (replicas, count), the largest first
    times     : (decompositions,), the depths at which tangents were made orthonormal
    growth    : (decompositions, replicas, count), the logarithms of the diagonals of R between them
    ensemble  : where the tokens are at the end
    """

    exponents: Array
    times: Array
    growth: Array
    ensemble: Ensemble


def lyapunov_exponents(
    law: Law,
    ensemble: Ensemble,
    t_end: float,
    count: int | None = None,
    *,
    frame: ArrayLike | None = None,
    seed: int = 0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    **engine: Any,
) -> LyapunovExponents:
    """The finite-time Lyapunov exponents of the flow of a law from an ensemble to depth t_end.

    count  : how many; by default all, tokens * dimension in R^d and tokens * (dimension - 1) on a sphere. Of fewer,
             those of the flow on the space that `frame` spans, which tend to the largest of all as t_end grows
    frame  : (count, [replicas,] tokens, dimension), the first tangents, by default random ones drawn from `seed`
    rtol, atol : of every component of tokens and tangents, by DOP853
    engine : as for `regularity.jacobian`

    In the Euclidean norm of all tokens. Raises InvalidInput for arguments out of range or a law without a Jacobian on
    the backend, and ComputationFailed where the flow cannot be followed, as where tokens run away in finite depth.
    """
    space, (replicas, tokens, dimension) = ensemble.space, ensemble.positions.shape
    on_sphere = isinstance(space, Sphere)
    most = tokens * (dimension - on_sphere)
    if not (isinstance(t_end, (int, float, np.number)) and np.isfinite(t_end) and t_end > 0):
        raise InvalidInput(f"t_end must be a positive number; got {t_end!r}")
    if count is None:
        count = most if frame is None else len(np.asarray(frame))
    if not isinstance(count, (int, np.integer)) or not 1 <= count <= most:
        raise InvalidInput(f"count must be an integer from 1 to {most}, that of all tangents; got {count!r}")
    if switches(law):
        raise InvalidInput('the space of tokens must stay the same: a block of norm "mix" changes it')
    x: Array = np.array(ensemble.positions, np.float64)
    v = _frame(frame, (int(count), replicas, tokens, dimension), seed)
    v = _orthonormal(space.project(x, v))[0]
    size = x.size

    def right_side(t: float, state: Array) -> Array:
        here = ensemble.at(state[:size].reshape(x.shape))
        derivative = jacobian(law, here, depth=t, **engine)
        return np.concatenate([derivative.value.ravel(), derivative.times(state[size:].reshape(v.shape)).ravel()])

    from scipy.integrate import solve_ivp

    speed = np.linalg.norm(jacobian(law, ensemble, depth=0.0, **engine).times(v).reshape(len(v), -1), axis=1).max()
    t, interval, failures = 0.0, min(t_end, np.log(ALIGNED) / max(float(speed), 1e-300)), 0
    factors, times = [], []
    while t < t_end:
        end = t_end if t + interval >= t_end * (1.0 - 1e-12) else t + interval
        state = np.concatenate([x.ravel(), v.ravel()])
        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(right_side, (t, end), state, "DOP853", [end], rtol=rtol, atol=atol)
        if solution.status != 0 or not np.isfinite(solution.y).all():  # tangents may overflow, or tokens run away
            failures += 1
            if failures > FAILURES:
                raise ComputationFailed(f"the flow cannot be followed beyond depth {t:.6g}: tokens grow too fast")
            interval = 0.1 * (end - t)
            continue
        moved, tangents = solution.y[:size, -1].reshape(x.shape), solution.y[size:, -1].reshape(v.shape)
        moved = space.retract(moved)
        orthonormal, upper = _orthonormal(space.project(moved, tangents))
        sizes = np.abs(np.diagonal(upper, axis1=1, axis2=2))
        spread = float(max(sizes.max(), 1.0) / max(min(sizes.min(), 1.0), 1e-300))
        if spread > ALIGNED:
            interval = 0.3 * (end - t)
            continue
        t, x, v = end, moved, orthonormal
        factors.append(upper)
        times.append(t)
        if spread < APART:
            interval *= 2.0
    uppers = np.array(factors)
    growth = np.log(np.abs(np.diagonal(uppers, axis1=2, axis2=3)))
    exponents = np.array([_log_singular_values(uppers[:, replica]) for replica in range(replicas)]) / t_end
    return LyapunovExponents(exponents, np.array(times), growth, ensemble.at(x))


def _frame(frame: ArrayLike | None, shape: tuple[int, ...], seed: int) -> Array:
    if frame is None:
        return np.random.default_rng(seed).standard_normal(shape)
    v = np.asarray(frame, np.float64)
    if v.shape not in (shape, (shape[0], *shape[2:])):
        raise InvalidInput(f"frame must have the shape {shape}; got {v.shape}")
    return np.broadcast_to(v if v.ndim == 4 else v[:, None], shape)


def _orthonormal(v: Array) -> tuple[Array, Array]:
    """V = Q R replica by replica: Q as v, (count, replicas, tokens, dimension), and R (replicas, count, count)."""
    columns = np.moveaxis(v.reshape(*v.shape[:2], -1), 0, 2)
    q, r = np.linalg.qr(columns)
    return np.moveaxis(q, 2, 0).reshape(v.shape), r


def _log_singular_values(factors: Array) -> Array:
    """The logarithms of the singular values of factors[-1] ... factors[0], upper triangular, the largest first."""
    uppers = list(factors)
    for _ in range(SWEEPS):
        turned, q = [], np.eye(uppers[0].shape[0])
        for r in reversed(uppers):
            q, upper = np.linalg.qr(r.T @ q)
            turned.append(upper)
        uppers = turned
    logs = np.sum([np.log(np.abs(np.diag(r))) for r in uppers], axis=0)
    # what is further apart has separated by now; what is near is multiplied out, block by block
    lowest, highest = np.minimum.accumulate(logs), np.maximum.accumulate(logs[::-1])[::-1]
    ends = [*(np.flatnonzero(lowest[:-1] - highest[1:] > SEPARATE) + 1), len(logs)]
    found, first = [], 0
    for last in ends:
        product = np.eye(last - first)
        scale = 0.0
        for r in uppers:
            product = r[first:last, first:last] @ product
            size = np.abs(product).max()
            product, scale = product / size, scale + np.log(size)
        found.append(scale + np.log(np.linalg.svd(product, compute_uv=False)))
        first = last
    return np.sort(np.concatenate(found))[::-1]
