"""The infinitely deep network itself: the layer iterated without end, where it leads, and whether theory knows it.

    x_{k+1} = retract(residual x_k + h f(x_k) + u)        u the injected input of a deep equilibrium network, or nothing

Where the bound of the layer's Lipschitz constant (`layer_bound`) is below 1 there is one fixed point, and every start
leads to it; without input in R^d it is the trivial one, all tokens at the origin. Elsewhere tokens may reach one of
several fixed points, a cycle, or agree: collapse to rank one, which without residual connection is cubically fast
(arXiv:2103.03404). Source: arXiv:2007.02876, arXiv:1909.01377; `docs/fixed-points.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..particles.backends import Engine, EngineOptions
from ..particles.block import Law
from ..particles.ensemble import Ensemble
from ..particles.observables import clusters, effective_rank
from .failures import Setting, not_finite, ran_away
from .iterations import Trace, anderson, newton_krylov, picard
from .layer_bound import LayerBound, layer_bound
from .layer_map import LayerMap

Array = NDArray[np.float64]
Method = Literal["picard", "anderson", "newton-krylov"]
ITERATIONS: tuple[Method, ...] = ("picard", "anderson", "newton-krylov")
NEAR = 1e-8  # relative to the tokens' size: nearer than that tokens agree, or are at the origin
LEAST_TOLERANCE = 1e-15
LAST = 4  # quotients from which the limit of the contraction factor is read


@dataclass(frozen=True)
class FixedPoint:
    """Where the iteration of a layer ended.

    ensemble   : the tokens at the end, one replica
    status     : "converged", "cycle of length p", "not converged: ...", "failed: ...", "interrupted"
    kind       : "trivial" (all tokens at the origin), "unique by the bound", "consensus" (all tokens agree),
                 "rank one", "fixed, not known to be unique", "cycle of length p", "consensus, still moving",
                 "not converged"
    residuals  : (iterations,), |layer(x_k) - x_k|, Euclidean over all components
    spreads    : (iterations,), |x_k - mean of x_k|, the distance from consensus
    factors    : (iterations - 1,), |layer(x_{k+1}) - layer(x_k)| / |x_{k+1} - x_k| in the norm of the bound, Euclidean
                 where there is none or it is W1: under Picard iteration the contraction factor. NaN where a move is
                 rounding alone
    factor     : what it was at the end, the geometric mean of the last four
    bound      : of all factors between tokens of its ball, or None for the reason `unbounded`
    error      : |x - x*| at most, in the norm of the bound, residual / (1 - bound); inf where that is not below 1
    iterations, evaluations : how many points the method took, and of the layer
    period     : of a cycle, else None; the tokens are one point of it
    rank       : singular values of the token matrix above 1e-8 of its size
    effective_rank, clusters : see `observables`
    """

    ensemble: Ensemble
    status: str
    kind: str
    residuals: Array
    spreads: Array
    factors: Array
    factor: float
    bound: LayerBound | None
    unbounded: str
    error: float
    evaluations: int
    period: int | None
    rank: int
    effective_rank: float
    clusters: int

    @property
    def positions(self) -> Array:
        """(1, tokens, dimension)."""
        return np.asarray(self.ensemble.positions, np.float64)

    @property
    def iterations(self) -> int:
        return len(self.residuals)

    @property
    def converged(self) -> bool:
        return self.status == "converged"


def fixed_point(
    law: Law,
    ensemble: Ensemble,
    *,
    step: float = 1.0,
    residual: bool = False,
    injection: ArrayLike | None = None,
    method: Method = "picard",
    tolerance: float = 1e-12,
    most: int = 10_000,
    memory: int = 5,
    on_iterate: Callable[[int, Ensemble], None] | None = None,
    **engine: Unpack[EngineOptions],
) -> FixedPoint:
    """Iterate x <- retract(residual x + step f(x) + injection) from an ensemble of one replica, without end.

    injection : (tokens, dimension), the input u that every layer adds; to a block after its last part
    method    : "picard" is the network itself; "anderson" and "newton-krylov" look for a fixed point of it, and may
                find one that the network leaves: see `spectral_radius`
    tolerance : a point is fixed where its residual is at most this, relative to the largest of |x|, |x_0| and |u|
    most      : evaluations of the layer                memory : moves that Anderson acceleration keeps
    on_iterate : called with (k, ensemble) for every x_k, before its image is computed or looked at
    engine    : the fields of `Engine`; all is computed in float64

    A run that does not converge or is interrupted is returned with its status, not raised. Raises InvalidInput for
    arguments out of range, or a law whose layers are not all the same map (norms sqrt and mix, multipliers).
    """
    check_options(method, tolerance, most, memory)
    options: Any = {"step": step, "residual": residual, "injection": injection, "engine": Engine(**engine)}
    layer = LayerMap(law, ensemble, **options)
    return sought(layer, ensemble, method, tolerance, most, memory, on_iterate)


def sought(
    layer: LayerMap,
    ensemble: Ensemble,
    method: Method,
    tolerance: float,
    most: int,
    memory: int,
    on_iterate: Callable[[int, Ensemble], None] | None = None,
) -> FixedPoint:
    """See `fixed_point`: from one start, with a layer that is at hand."""
    weights = np.ravel(np.asarray(ensemble.weights, np.float64))
    try:
        bound, unbounded = _bound(layer, ensemble), ""
    except InvalidInput as reason:
        bound, unbounded = None, str(reason)
    start = np.array(ensemble.positions, np.float64)
    size = float(np.linalg.norm(start))
    if layer.injection is not None:
        size = max(size, float(np.linalg.norm(layer.injection)))

    def measure(change: Array) -> float:
        if bound is None or bound.norm == "W1":
            return float(np.linalg.norm(change))
        return bound.size(change.reshape(layer.shape), weights)

    def spread(x: Array) -> float:
        tokens = x.reshape(layer.shape[1:])
        return float(np.linalg.norm(tokens - weights @ tokens))

    def watch(k: int, x: Array) -> None:
        if on_iterate is not None:
            on_iterate(k, ensemble.at(np.asarray(layer.space.retract(x.reshape(layer.shape)), np.float64)))

    def blame(k: int, x: Array, image: Array) -> str:
        setting = Setting(layer.law, layer.space, layer.step, k, noise=0.0)
        before, after = x.reshape(layer.shape), image.reshape(layer.shape)
        if np.isfinite(after).all():
            return ran_away(setting, k * layer.step, before).told()
        return not_finite(setting, k * layer.step, before, after).told()

    trace = Trace(layer, tolerance, most, size, measure, spread, watch, blame)
    end = start.ravel()
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if method == "picard":
                end = picard(trace, end)
            elif method == "anderson":
                end = anderson(trace, end, memory)
            else:
                end = newton_krylov(trace, end)
    except KeyboardInterrupt:
        trace.status, end = "interrupted", trace.last(end)
    return _told(layer, trace, ensemble, end, bound, unbounded)


def _told(
    layer: LayerMap, trace: Trace, ensemble: Ensemble, end: Array, bound: LayerBound | None, unbounded: str
) -> FixedPoint:
    weights = np.ravel(np.asarray(ensemble.weights, np.float64))
    x = np.asarray(layer.space.retract(end.reshape(layer.shape)), np.float64)
    reached, scale = ensemble.at(x), trace.scale(end)
    near = max(NEAR, 1e2 * trace.tolerance) * scale
    finite = bool(np.isfinite(x).all())
    rank = int((np.linalg.svd(x[0], compute_uv=False) > near).sum()) if finite else 0
    error = np.inf
    if bound is not None and bound.value < 1.0 and trace.status == "converged":
        error = bound.size((trace.image - end).reshape(layer.shape), weights) / (1.0 - bound.value)
    return FixedPoint(
        ensemble=reached,
        status=trace.status,
        kind=_kind(trace, x[0], near, rank, bound),
        residuals=np.array(trace.residuals),
        spreads=np.array(trace.spreads),
        factors=np.array(trace.factors),
        factor=_limit(np.array(trace.factors)),
        bound=bound,
        unbounded=unbounded,
        error=error,
        evaluations=trace.evaluations,
        period=trace.period,
        rank=rank,
        effective_rank=float(effective_rank(reached)[0]),
        clusters=int(clusters(reached)[0]) if finite else 0,
    )


def _kind(trace: Trace, x: Array, near: float, rank: int, bound: LayerBound | None) -> str:
    agree = len(x) > 1 and trace.spread(x.ravel()) <= near
    if trace.period is not None:
        return trace.status
    if trace.status != "converged":
        return "consensus, still moving" if agree else "not converged"
    if np.linalg.norm(x, axis=-1).max() <= near:
        return "trivial"
    if bound is not None and bound.value < 1.0:
        return "unique by the bound"
    if agree:
        return "consensus"
    return "rank one" if rank == 1 < min(x.shape) else "fixed, not known to be unique"


def _limit(factors: Array) -> float:
    """The geometric mean of the last measured quotients; NaN where there is none."""
    last = factors[np.isfinite(factors)][-LAST:]
    if not last.size:
        return np.nan
    return float(np.exp(np.log(last).mean())) if (last > 0).all() else 0.0


def _bound(layer: LayerMap, ensemble: Ensemble) -> LayerBound:
    return layer_bound(layer.law, ensemble, step=layer.step, residual=layer.residual, injection=layer.injection)


def check_options(method: str, tolerance: float, most: int, memory: int) -> None:
    """Raise InvalidInput for options of `fixed_point` out of range."""
    if method not in ITERATIONS:
        raise InvalidInput(f"method must be one of {', '.join(ITERATIONS)}; got {method!r}")
    if not (isinstance(tolerance, (int, float, np.number)) and LEAST_TOLERANCE <= tolerance < 1.0):
        raise InvalidInput(f"tolerance must be a number from {LEAST_TOLERANCE:g} to 1; got {tolerance!r}")
    check_count("most", most)
    check_count("memory", memory)


def check_count(name: str, value: Any) -> None:
    """Raise InvalidInput unless the value is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{name} must be an integer of at least 1; got {value!r}")
