"""Both ends of temperature: softmax at many beta against hardmax, beta = inf, or against averaging, beta = 0.

drift at the start    hardmax: exp(-beta g), g the smallest gap of the best scores of a row; averaging: beta. Each with
                      its rigorous bound, `particles.temperature`
tokens at depth T     averaging: beta. hardmax: exp(-beta g), g now the smallest gap along the way, where every row
                      keeps its best token. Where a row changes it, softmax turns over a depth of order 1 / beta, and so
                      far apart tokens are at the end: beta^-1. In a network only layers count, whose gaps are positive

Hardmax is discontinuous where the best token changes. Methods that adapt their step are run at the smallest tolerance,
and find the place; one of fixed steps is compared with itself. The gaps are looked at 400 times along the way, or once
a layer where there are fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series, upper_half
from ...integrators import method_of
from ...particles.backends import Engine
from ...particles.block import attention_of, seen_by
from ...particles.temperature import Ends, ends
from ..build import Plan, build
from ..parts import word
from ..schema import Scenario
from ..weighting import wrong_unless_fixed
from .course import even_depths, followed, quiet, tightened
from .keys import TemperatureKeys
from .kinds import Kind, Result, Results, numbered, scalar

Array = NDArray[np.floating]
LIMIT = "limit"
BETAS = {
    "hardmax": [factor * 2.0**k for k in range(10) for factor in (1.0, 1.5)] + [1024.0],
    "averaging": [2.0**-k for k in range(13)],
}
SIGN = {"hardmax": 1.0, "averaging": -1.0}
FRAMES = 400  # at which the gaps are looked at along the way
FLOOR = {"error": 1e-11, "drift": 1e-13}  # of the size of what is compared: errors below are rounding
LINEAR = ("dot", "scaled-dot", "cosine", "gaussian", "laplace", "metric")  # scores that are beta times something


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    attention, keys = scenario.attention, _keys(scenario)
    if word(attention.normalisation) != "softmax":
        yield (
            "attention.normalisation",
            f'must be "softmax", whose limits these are; got "{word(attention.normalisation)}"',
        )
    if word(attention.score) not in LINEAR:
        yield "attention.score", f'must be beta times something; got "{word(attention.score)}"'
    if word(attention.prior) != "none":
        yield "attention.prior", "has no place here: beta does not scale it, and hardmax would count it"
    if attention.multipliers is not None:
        yield "attention.multipliers", "have no place in a study of temperature"
    yield from wrong_unless_fixed(scenario)
    if len(set(numbered("", _betas(keys)))) < len(_betas(keys)):
        yield "limit.betas", "must be different"


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: the limit, and softmax at every beta."""
    return [LIMIT, *numbered("beta", _betas(_keys(scenario)))]


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: the tokens at depth T and the attention's drift at the start, (replicas, tokens, dimension)."""
    keys = _keys(scenario)
    hard = keys.towards == "hardmax"
    betas = {LIMIT: np.inf if hard else 0.0} | dict(zip(numbered("beta", _betas(keys)), _betas(keys), strict=True))
    plan = build(tightened(quiet(scenario)).override({"attention.beta": betas[name]}))
    law = attention_of(plan.laws[0])
    start = seen_by(plan.laws[0], plan.ensemble)
    options: Any = {"backend": engine.backend, "device": engine.device, "threads": engine.threads}
    drift = law.drift(start.positions, space=start.space, weights=start.weights, **options)
    if name != LIMIT:
        return {"final": followed(plan, engine).final, "drift": drift}
    here = ends(law, start)
    at_start = {key: getattr(here, key) for key in ("gap", "chosen", "reach", "slope", "linear")}
    found: Result = {"drift": drift, "start": plan.ensemble.positions, "output": np.array(here.output)} | at_start
    if not hard:
        return found | {"final": followed(plan, engine).final}
    depths = even_depths(scenario, FRAMES)
    solution = followed(plan, engine, depths)
    return found | {"final": solution.final, "depths": depths} | _along(plan, depths, solution.positions)


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`."""
    keys, limit = _keys(scenario), results[LIMIT]
    sign = SIGN[keys.towards]
    betas = sorted(_betas(keys), key=lambda beta: sign * beta)
    runs = [results[name] for name in numbered("beta", betas)]
    flow = [float(np.linalg.norm(np.asarray(one["final"], np.float64) - limit["final"])) for one in runs]
    drift = [float(np.linalg.norm(one["drift"] - limit["drift"], axis=-1).max()) for one in runs]
    names = ("gap", "chosen", "reach", "slope", "linear")
    start = Ends(**{name: np.asarray(limit[name]) for name in names}, output=scalar(limit, "output"))
    bound = start.from_hardmax if keys.towards == "hardmax" else start.from_averaging
    sizes = (
        float(np.linalg.norm(limit["final"])),
        max(float(np.linalg.norm(one["drift"], axis=-1).max()) for one in runs),
    )
    bounds = np.array([bound(beta).max() for beta in betas])
    bounds[bounds < FLOOR["drift"] * sizes[1]] = np.nan  # below rounding it says nothing
    fitted = [
        _fitted(np.array(betas), np.array(error), FLOOR[name] * size, sign)
        for name, error, size in zip(("error", "drift"), (flow, drift), sizes, strict=True)
    ]
    hard = keys.towards == "hardmax"
    (law, rate), remarks = _hardmax(scenario, limit) if hard else _averaging(start)
    first = Series("error", "beta", betas, flow, law, fitted[0], rate)
    at_start = -_least(start.gap) if hard else rate
    law = "exponential" if hard else "power"
    expected = None if at_start is None or not np.isfinite(at_start) else at_start
    second = Series("drift", "beta", betas, drift, law, fitted[1], expected, bound=bounds, bound_name="bound")
    series = [first, second]
    if hard and first.law == "exponential" and rate is not None and scenario.depth.layers is None:
        # without the factor that the way to the depth T puts before the exponential
        power = 1.0 if np.asarray(limit["least"]).argmin() in (0, len(limit["least"]) - 1) else 0.5
        name = "beta error" if power == 1.0 else "sqrt(beta) error"
        rid = np.array(betas) ** power * np.array(flow)
        series.append(Series(name, "beta", betas, rid, "exponential", fitted[0], rate))
    return Findings(series, [*remarks, *_still(limit)])


def _fitted(betas: NDArray[np.float64], error: NDArray[np.float64], floor: float, sign: float) -> NDArray[np.bool_]:
    """Of the errors that are more than rounding those nearest the limit."""
    resolved = error > floor
    return resolved & upper_half(np.where(resolved, betas**sign, 0.0))


def _hardmax(scenario: Scenario, limit: Result) -> tuple[tuple[str, float | None], list[str]]:
    """Law and rate of the error at depth T, and what is to say of them."""
    least, depths = np.asarray(limit["least"]), np.asarray(limit["depths"])
    at, changes = int(least.argmin()), int(scalar(limit, "changes"))
    if not np.isfinite(least[at]):
        return ("exponential", None), ["Every row has one best score: there is no gap to close."]
    gaps = (
        f"The smallest gap of the best scores is {_least(limit['gap']):.4g} at the start and {least[at]:.4g} along the "
        f"way to hardmax, at depth {depths[at]:.4g}."
    )
    discrete = scenario.depth.layers is not None or not method_of(scenario.depth.method).adaptive
    if changes and not discrete:
        turned = f"Changes of a row's best token on the way: {changes}. Softmax turns over a depth of order 1 / beta."
        return ("power", -1.0), [gaps, turned]
    if least[at] * max(_betas(_keys(scenario))) < 1.0:
        return ("power", None), [gaps, "That is less than 1 / beta of all beta here: no exponential is seen yet."]
    if changes:
        gaps += f" Changes of a row's best token, from one step to another: {changes}."
    note = (
        "The error is exp(-gap beta) / beta where the gap is smallest at an end, / sqrt(beta) where in passing: "
        "without that factor the rate is that of the theory."
    )
    return ("exponential", -float(least[at])), [gaps, *([] if discrete else [note])]


def _averaging(start: Ends) -> tuple[tuple[str, float | None], list[str]]:
    largest = float(start.linear.max())
    if largest > FLOOR["drift"] * float(start.slope.max()):
        return ("power", 1.0), []
    return ("power", None), [
        "The term of first order in beta vanishes at the start: the error is of higher order there."
    ]


def _still(limit: Result) -> list[str]:
    moved = float(np.abs(limit["final"] - limit["start"]).max())
    return ["In the limit no token moves."] if moved <= 1e-12 * float(np.abs(limit["start"]).max()) else []


def _along(plan: Plan, depths: NDArray[np.float64], frames: Array) -> dict[str, NDArray[Any]]:
    """The smallest gap at every depth, and how often rows change their best token between one and the next."""
    least, before, changes = [], None, 0
    for depth, positions in zip(depths, frames, strict=True):
        law = plan.law_at(float(depth))
        here = ends(attention_of(law), seen_by(law, plan.ensemble.at(positions)))
        least.append(_least(here.gap))
        if before is not None:
            changes += int((here.chosen != before).sum())
        before = here.chosen
    if plan.scenario.depth.layers is not None:
        least[-1] = np.inf  # at the end there is no layer to come
    return {"least": np.array(least), "changes": np.array(changes)}


def _least(gap: Any) -> float:
    return float(np.min(gap))


def _betas(keys: TemperatureKeys) -> list[float]:
    return BETAS[keys.towards] if keys.betas is None else keys.betas


def _keys(scenario: Scenario) -> TemperatureKeys:
    assert isinstance(scenario.limit, TemperatureKeys)
    return scenario.limit


KIND = Kind("temperature", wrong, tasks, run, conclude)
