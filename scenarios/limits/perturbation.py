"""Mis-specified inputs: two ensembles mu and nu under one law, W1(mu_t, nu_t) / W1(mu_0, nu_0) over depth t.

The bound is that of the law's W1 Lipschitz constant `bound("W1")` (or "l2-W1", for as many tokens of equal weight):

    the flow                                exp(L t), L that of the drift, on the sphere tau + sup |f| / R
    x <- x + h f, in R^d                    (1 + h L)^layers, without the residual connection (h L)^layers
    x <- retract(x + h f), on the sphere    ((1 + h tau) / (1 - h sup |f| / R))^layers: there |x + h f| >= R - h sup |f|
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series
from ...errors import InvalidInput, MissingExtra
from ...particles import Ensemble, Euclidean
from ...particles.backends import Engine
from ...particles.block import Law, attention_of
from ...particles.regularity import bound
from ...particles.regularity.jacobian import Of
from ...particles.space import Sphere
from ...particles.wasserstein import wasserstein
from ..build import Plan, build
from ..schema import Scenario
from ..weighting import wrong_unless_fixed
from .changes import LARGEST, changed, compared_at, kept_of, swaps
from .course import followed, quiet
from .keys import PerturbationKeys
from .kinds import Kind, Result, Results
from .spreading import spreading

Array = NDArray[np.float64]
ORIGINAL = "original"
RANDOM = ("noise", "subsample")
BELONGS = {
    "token": ("swap",),
    "by": ("swap",),
    "rows": ("swap",),
    "row_strings": ("swap",),
    "size": ("noise", "adversarial"),
    "keep": RANDOM[1:],
}


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    keys, depth = _keys(scenario), scenario.depth
    if scenario.tokens.replicas > 1:
        yield "tokens.replicas", f"must be 1; got {scenario.tokens.replicas}"
    if depth.noise > 0.0:
        yield "depth.noise", f"has no place in a study of perturbations; got {depth.noise:g}"
    if depth.merge is not None:
        yield "depth.merge", f"has no place in a study of perturbations; got {depth.merge:g}"
    yield from wrong_unless_fixed(scenario)
    for name, changes in BELONGS.items():
        if getattr(keys, name) is not None and keys.change not in changes:
            yield f"limit.{name}", f'belongs to change = "{changes[0]}"; got "{keys.change}"'
    if keys.samples > 1 and keys.change not in RANDOM:
        yield "limit.samples", f'is for random changes; got {keys.samples} with change = "{keys.change}"'
    if keys.row_strings is not None and keys.rows is None:
        yield "limit.row_strings", "belongs to limit.rows, which is missing"
    if keys.change == "swap" and (keys.token is None or keys.by is None):
        yield "limit.token" if keys.token is None else "limit.by", 'missing; change = "swap" needs it'
    elif keys.depths is not None and max(keys.depths) > depth.end * (1.0 + 1e-12):
        yield "limit.depths", f"must be at most the run's depth {depth.end:g}; got {max(keys.depths):g}"
    else:
        yield from _wrong_tokens(keys, build(scenario))


def _wrong_tokens(keys: PerturbationKeys, plan: Plan) -> Iterator[tuple[str, str]]:
    tokens, dimension = plan.ensemble.positions.shape[1:]
    if keys.change == "swap":
        try:
            swaps(keys, plan)
        except InvalidInput as error:
            key, _, sentence = str(error).partition(": ")
            yield (key, sentence) if key.startswith("limit.") else ("limit.rows", str(error))
    if keys.change == "subsample":
        if kept_of(keys, tokens) >= tokens:
            yield "limit.keep", f"must be less than the {tokens} tokens; got {kept_of(keys, tokens)}"
        if dimension > 1 and importlib.util.find_spec("ot") is None:
            raise MissingExtra('distances of different numbers of tokens need POT: pip install "attndyn[transport]"')
    if keys.change == "adversarial" and tokens * dimension > LARGEST:
        yield "limit.change", f'"adversarial" is for at most {LARGEST} components; got {tokens} tokens of {dimension}'


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: the ensemble as it is, and after every change."""
    keys = _keys(scenario)
    count = keys.samples if keys.by is None else len(keys.by)
    return [ORIGINAL, *(f"{keys.change} {number + 1}" for number in range(count))]


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: the tokens at every depth, (depths, tokens, dimension), and their weights (tokens,)."""
    plan = build(quiet(scenario))
    ensemble = plan.ensemble
    if name != ORIGINAL:
        ensemble = changed(scenario, plan, int(name.split()[-1]) - 1, engine)
    depths = compared_at(scenario)
    solution = followed(plan, engine, depths, ensemble)
    weights = np.broadcast_to(np.asarray(ensemble.weights, np.float64), ensemble.positions.shape[:2])[0]
    return {"positions": solution.positions[:, 0], "weights": weights, "depths": depths}


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`."""
    keys, plan = _keys(scenario), build(quiet(scenario))
    depths = np.asarray(results[ORIGINAL]["depths"])
    distances = np.stack([_distances(results[ORIGINAL], results[name]) for name in tasks(scenario)[1:]])
    if not distances[:, 0].all():
        raise InvalidInput("a change left the measure as it was: there is no distance to compare with")
    ratios = distances / distances[:, :1]
    limit, remarks = _bound(scenario, plan, depths)
    remarks = [_starts(scenario, plan, distances[:, 0]), _fastest(depths, ratios), *remarks]
    if limit is not None and len(depths) > 1:
        room = (limit / ratios.max(axis=0))[1:]
        remarks.append(
            f"The bound is at least {room.min():.3g} times the largest ratio, at depth {depths[1 + room.argmin()]:g}."
        )

    def series(name: str, ratio: Array, spread: Array | None = None) -> Series:
        named = "" if limit is None else "bound"
        return Series(name, "depth", depths, ratio, spread=spread, bound=limit, bound_name=named)

    if keys.change == "swap" or len(ratios) == 1:
        names = [swap.name for swap in swaps(keys, plan)] if keys.change == "swap" else [keys.change]
        each = [series(*both) for both in zip(names, ratios, strict=True)]
        runs = zip(names, tasks(scenario)[1:], strict=True)
        said = [spreading(name, results[ORIGINAL], results[task], plan.strings) for name, task in runs]
        spread = [both for both in said if both is not None]
        return Findings([*each, *(one for one, _ in spread)], [*remarks, *(sentence for _, sentence in spread)])
    spread = ratios.std(axis=0, ddof=1) / np.sqrt(len(ratios))
    return Findings([series("largest", ratios.max(axis=0)), series("mean", ratios.mean(axis=0), spread)], remarks)


def _distances(original: Result, other: Result) -> Array:
    """W1 at every depth."""
    mu, nu = (
        Ensemble(np.asarray(each["positions"], np.float64), Euclidean(each["positions"].shape[-1]), each["weights"])
        for each in (original, other)
    )
    return np.asarray(wasserstein(mu, nu), np.float64)


def _starts(scenario: Scenario, plan: Plan, distances: Array) -> str:
    """How far apart the measures are at the start."""
    keys = _keys(scenario)
    if keys.change == "swap":
        each = zip(swaps(keys, plan), distances, strict=True)
        return "W1 at the start: " + ", ".join(f"{swap.name} {distance:.4g}" for swap, distance in each) + "."
    if len(distances) == 1:
        return f"W1 at the start: {distances[0]:.4g}."
    return f"W1 at the start: from {distances.min():.4g} to {distances.max():.4g}, {len(distances)} samples."


def _fastest(depths: Array, ratios: Array) -> str:
    """Where a ratio grows most."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.nan_to_num(np.diff(np.log(ratios), axis=1) / np.diff(depths), nan=-np.inf, posinf=-np.inf)
    _, at = np.unravel_index(int(slopes.argmax()), slopes.shape)
    return f"The fastest growth is like exp({slopes.max():.3g} t), from depth {depths[at]:g} to {depths[at + 1]:g}."


def _bound(scenario: Scenario, plan: Plan, depths: Array) -> tuple[Array | None, list[str]]:
    """The bound at every depth, or None and the hypothesis that fails."""
    keys, depth = _keys(scenario), scenario.depth
    try:
        if plan.schedule is not None:
            raise InvalidInput("the law changes with depth by a schedule")
        if depth.layers is None:
            rate = _constant(plan.laws[0], plan, "drift", keys.change)
            logs = np.where(depths > 0.0, rate, 0.0) * depths
        else:
            each = np.array([np.log(_layer(scenario, law, plan)) for law in plan.laws])
            each = np.broadcast_to(each, depth.layers) if len(each) == 1 else each
            through = np.round(depths / depth.layer_step).astype(int)
            logs = np.concatenate([[0.0], np.cumsum(each)])[through]
    except InvalidInput as error:
        return None, [f"No bound: {error}."]
    with np.errstate(over="ignore"):
        values = np.exp(logs)
    if not np.isfinite(values).all():
        what = "of a layer" if depth.layers is not None else "of the drift"
        return None, [
            f"No bound within float64: the constant {what} grows like exp(2 r), r the largest score there may be."
        ]
    return values, []


def _constant(law: Law, plan: Plan, of: Of, change: str) -> float:
    """The smallest W1 constant that holds. Raises InvalidInput with the hypothesis that fails."""
    here = plan.ensemble
    weights = np.broadcast_to(np.asarray(here.weights, np.float64), here.positions.shape[:2])[0]
    found, reasons = [], []
    equal = attention_of(law).score.distant and change != "subsample"
    for name in ("W1", "l2-W1") if equal else ("W1",):
        try:
            found.append(bound(name, law, here.space, tokens=here.tokens, weights=weights, of=of).value)
        except InvalidInput as error:
            reasons.append(str(error))
    if not found:
        raise InvalidInput("; ".join(reasons))
    return min(found)


def _layer(scenario: Scenario, law: Law, plan: Plan) -> float:
    """The factor of one layer."""
    depth, change, space = scenario.depth, _keys(scenario).change, plan.ensemble.space
    h = np.sqrt(depth.layer_step) if depth.scaling != "1/L" else depth.layer_step
    attention = _constant(law, plan, "attention", change)
    kept = 1.0 if depth.residual else 0.0
    if not isinstance(space, Sphere):
        return kept + h * attention
    largest = _constant(law, plan, "drift", change) - attention  # sup |f| / R
    if not depth.residual or h * largest >= 1.0:
        raise InvalidInput(
            f"a layer may take a token to 0, where retraction is not Lipschitz (h sup |f| / R = {h * largest:.3g})"
        )
    return (1.0 + h * attention) / (1.0 - h * largest)


def _keys(scenario: Scenario) -> PerturbationKeys:
    assert isinstance(scenario.limit, PerturbationKeys)
    return scenario.limit


KIND = Kind("perturbation", wrong, tasks, run, conclude)
