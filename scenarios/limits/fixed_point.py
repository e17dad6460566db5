"""The infinitely deep network itself: one layer iterated without end, by three methods and from several starts.

What is seen is the residual over the iterations of the network (Picard) and of methods that look for its fixed point,
beside the bound of the theory, and what the end is: see `attndyn.integrators.fixed_point` (arXiv:2007.02876).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series
from ...integrators.fixed_point import ITERATIONS, fixed_point
from ...integrators.several_starts import several_starts
from ...particles.backends import Engine
from ..build import Plan, build
from ..mistakes import blaming
from ..numbers import numbers
from ..schema import Scenario
from ..values import ArrayFile
from ..weighting import wrong_unless_fixed
from .keys import FixedPointKeys
from .kinds import Kind, Result, Results, scalar

Array = NDArray[np.float64]
STARTS = "starts"
MOST = 500  # residuals that are kept of a method, evenly
RAN_OFF = 10.0  # times as long as at the start, and still moving: tokens that no fixed point holds
ROUNDING = 1e3  # times the tolerance: residuals below say nothing of the rate


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    if scenario.tokens.replicas > 1:
        yield "tokens.replicas", f"must be 1; got {scenario.tokens.replicas}"
    if scenario.depth.layers is None:
        yield "depth.layers", "missing: the layers of the network, whose number does not count, with step and residual"
    if scenario.depth.weights != "shared":
        yield "depth.weights", f'must be "shared", for one layer without end; got "{scenario.depth.weights}"'
    if scenario.depth.scaling != "1/L":
        yield "depth.scaling", f'must be "1/L", for one layer without end; got "{scenario.depth.scaling}"'
    yield from wrong_unless_fixed(scenario)
    if scenario.depth.noise > 0.0:
        yield "depth.noise", f"has no place in a study of fixed points; got {scenario.depth.noise:g}"


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: each method, and the network from several starts."""
    keys = _keys(scenario)
    return [*keys.methods, *([STARTS] if keys.starts > 1 else [])]


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: where a method ended and its residuals, or how far the ends of several starts are apart."""
    keys = _keys(scenario)
    plan = build(scenario.override({"save": None}))
    options = _options(scenario, plan) | asdict(replace(engine, processes=1, sums="exact"))
    if name == STARTS:
        many = several_starts(plan.laws[0], plan.ensemble, starts=keys.starts, seed=scenario.tokens.seed, **options)
        kinds = [point.kind for point in many.points]
        found: Result = {
            "distances": many.distances,
            "labels": many.labels,
            "kinds": _text(", ".join(sorted(set(kinds)))),
        }
        return found | {"final": np.concatenate([point.positions for point in many.points])}
    method = next(known for known in ITERATIONS if known == name)
    point = fixed_point(plan.laws[0], plan.ensemble, method=method, **options)
    kept = np.unique(np.linspace(0, point.iterations - 1, min(point.iterations, MOST)).round().astype(int))
    bound = np.nan if point.bound is None else point.bound.value
    return {
        "final": point.positions,
        "length": np.array([_length(plan.ensemble.positions), _length(point.positions)]),
        "iterations": kept,
        "residuals": point.residuals[kept],
        "factors": point.factors,
        "factor": np.array(point.factor),
        "bound": np.array(bound),
        "error": np.array(point.error),
        "evaluations": np.array(point.evaluations),
        "rank": np.array(point.rank),
        "effective_rank": np.array(point.effective_rank),
        "clusters": np.array(point.clusters),
        "kind": _text(point.kind),
        "status": _text(point.status),
        "bound_name": _text(point.unbounded if point.bound is None else f"{point.bound.name} ({point.bound.norm})"),
    }


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`."""
    keys = _keys(scenario)
    series = [_residuals(name, results[name], keys.tolerance) for name in keys.methods]
    first = results[keys.methods[0]]
    remarks = [_told(name, results[name]) for name in keys.methods]
    remarks += [_ran_off(name, results[name]) for name in keys.methods if _runs_off(results[name])]
    bound = scalar(first, "bound")
    if np.isnan(bound):
        remarks.append(f"No bound of the theory: {_string(first['bound_name'])}.")
    elif bound < 1.0:
        factors = np.asarray(first["factors"])
        largest = float(np.nanmax(factors, initial=0.0))
        remarks.append(
            f"The layer is a contraction by {bound:.4g}, so there is one fixed point and every start leads to it; the "
            f"largest factor measured is {largest:.4g} ({_string(first['bound_name'])})."
        )
        if _string(first["kind"]) == "trivial":
            remarks.append("Without input that fixed point is the trivial one: all tokens at the origin.")
    else:
        remarks.append(f"The bound of the theory, {bound:.4g}, is not below 1: it says nothing of uniqueness.")
    if STARTS in results:
        remarks.append(_of_starts(results[STARTS], keys.starts))
    return Findings(series, remarks)


def _options(scenario: Scenario, plan: Plan) -> dict[str, Any]:
    """The arguments of `fixed_point` that the scenario decides."""
    keys, depth = _keys(scenario), scenario.depth
    injection: Array | None = None
    with blaming("limit.injection"):
        if keys.injection == "tokens":
            injection = keys.scale * np.asarray(plan.ensemble.positions[0], np.float64)
        elif isinstance(keys.injection, ArrayFile):
            injection = keys.scale * np.asarray(numbers(scenario, keys.injection))
    options = {"step": depth.layer_step, "residual": depth.residual, "injection": injection}
    return options | {"tolerance": keys.tolerance, "most": keys.most, "memory": keys.memory}


def _residuals(name: str, result: Result, tolerance: float) -> Series:
    """The residual over iterations; of the network's own, with the bound's powers where it is a contraction."""
    iterations, residuals = np.asarray(result["iterations"], np.float64), np.asarray(result["residuals"], np.float64)
    positive = residuals > ROUNDING * tolerance * residuals[0]
    later = iterations >= 0.25 * iterations[positive][-1] if positive.any() else positive
    bound = scalar(result, "bound")
    powers = residuals[0] * bound**iterations if name == "picard" and bound < 1.0 else None
    law = "exponential" if name == "picard" and (positive & later).sum() > 2 else ""
    return Series(
        f"residual of {name}", "iteration", iterations, residuals, law, positive & later,
        bound=powers, bound_name="bound" if powers is not None else "",
    )  # fmt: skip


def _told(name: str, result: Result) -> str:
    status, kind = _string(result["status"]), _string(result["kind"])
    end = kind if status == "converged" else f"{status} ({kind})"
    factor = scalar(result, "factor")
    contraction = f", factor {factor:.4g} at the end" if name == "picard" and np.isfinite(factor) else ""
    residual = float(np.asarray(result["residuals"])[-1])
    return (
        f"{name}: {end} after {int(scalar(result, 'evaluations'))} layers, residual {residual:.2g}{contraction}, "
        f"rank {int(scalar(result, 'rank'))}, {int(scalar(result, 'clusters'))} clusters."
    )


def _runs_off(result: Result) -> bool:
    start, end = np.asarray(result["length"])
    return _string(result["status"]) != "converged" and bool(end > RAN_OFF * start > 0.0)


def _ran_off(name: str, result: Result) -> str:
    (start, end), tokens = np.asarray(result["length"]), np.asarray(result["final"]).shape[1]
    move = float(np.asarray(result["residuals"])[-1]) / np.sqrt(tokens)
    return (
        f"Tokens run off under {name}: their root mean square length grew from {start:.3g} to {end:.3g}, and a layer "
        f"still moves them by {move:.3g}. Such a layer need not have a fixed point in R^d."
    )


def _length(positions: NDArray[np.floating]) -> float:
    """The root mean square of the lengths of tokens."""
    return float(np.sqrt(np.square(np.asarray(positions, np.float64)).sum(axis=-1).mean()))


def _of_starts(result: Result, starts: int) -> str:
    labels, distances = np.asarray(result["labels"]), np.asarray(result["distances"])
    distinct, lost = int(labels.max(initial=-1)) + 1, int((labels < 0).sum())
    if distinct == 1 and not lost:
        return f"All of {starts} starts lead to the same fixed point, to {np.nanmax(distances):.2g}."
    ends = f"{distinct} different fixed points" if distinct else "no fixed point"
    missed = f", {lost} of them to none" if lost and distinct else ""
    return f"{starts} starts lead to {ends}{missed} ({_string(result['kinds'])})."


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _string(stored: NDArray[Any]) -> str:
    return np.asarray(stored, np.uint8).tobytes().decode()


def _keys(scenario: Scenario) -> FixedPointKeys:
    assert isinstance(scenario.limit, FixedPointKeys)
    return scenario.limit


KIND = Kind("fixed-point", wrong, tasks, run, conclude)
