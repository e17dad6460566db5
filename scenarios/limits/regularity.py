"""The regularity of attention on a text: its local Lipschitz constant in every layer against the number of tokens.

For each n the first n tokens go through the network, and the constant is the largest singular value of the Jacobian of
a layer's attention, all its heads, at what that layer is given: on texts it grows about like n^(1/4), on the worst
tokens like sqrt(n), and it is never above the bound for the ball in which the tokens are (arXiv:2312.14820).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series
from ...errors import InvalidInput
from ...particles import Attention, Ensemble, Euclidean
from ...particles.backends import Engine
from ...particles.block import attention_of, in_force, seen_by
from ...particles.masks import as_mask
from ...particles.regularity import local_constant
from ...particles.regularity.bounds import softmax_of_many
from ...particles.regularity.compiled import applies
from ...particles.regularity.steep import steep_ensemble
from ..build import Plan, build
from ..schema import Scenario
from ..weighting import wrong_unless_fixed
from .course import followed, quiet
from .keys import RegularityKeys
from .kinds import Kind, Result, Results, numbered

Array = NDArray[np.float64]
FEWEST, MOST = 8, 512  # tokens, by default, in powers of two
MOST_LAYERS = 12  # by default
TOLERANCE = 3e-3  # of the iteration; the constants err by its square, mostly
WORST = 0.5  # the exponent at the steepest tokens


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    keys, depth = _keys(scenario), scenario.depth
    if scenario.tokens.replicas > 1:
        yield "tokens.replicas", f"must be 1: the text; got {scenario.tokens.replicas}"
    if depth.noise > 0.0 or depth.merge is not None:
        yield "depth.noise" if depth.noise > 0.0 else "depth.merge", "has no place in a study of regularity"
    yield from wrong_unless_fixed(scenario)
    if keys.layers is not None and depth.layers is None:
        yield "limit.layers", "belongs to a network; in a flow limit.depths says where"
    if keys.depths is not None and depth.layers is not None:
        yield "limit.depths", "belongs to a flow; in a network limit.layers says where"
    if keys.layers is not None and depth.layers is not None and max(keys.layers) >= depth.layers:
        yield "limit.layers", f"must be from 0 to {depth.layers - 1}; got {max(keys.layers)}"
    if keys.depths is not None and max(keys.depths) > depth.end * (1.0 + 1e-12):
        yield "limit.depths", f"must be at most the run's depth {depth.end:g}; got {max(keys.depths):g}"
    plan = build(scenario)
    attention, tokens = attention_of(plan.laws[0]), plan.ensemble.tokens
    if keys.tokens is not None and max(keys.tokens) > tokens:
        yield "limit.tokens", f"must be at most the {tokens} tokens that there are; got {max(keys.tokens)}"
    if len(_counts(keys, tokens)) < 2:
        yield "limit.tokens", f"must be two numbers at least, which by default are from {FEWEST}; there are {tokens}"
    if attention.gate is not None or attention.normalisation.name == "sinkhorn":
        yield "attention", "must be without gate and sinkhorn in a study of regularity"
    try:
        for count in _counts(keys, tokens):
            attention.check_tokens(count)
    except InvalidInput as error:
        yield "attention", f"must be a law for any number of tokens: {error}"


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: one run for each number of tokens."""
    return numbered("n", _counts(_keys(scenario), build(scenario).ensemble.tokens))


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: constants (masks, layers, samples), radii (layers, samples), those at steep tokens (layers,)."""
    keys, plan = _keys(scenario), build(quiet(scenario))
    count, depths, masks = int(name.removeprefix("n = ")), _depths(scenario), _masks(scenario, plan)
    starts = np.unique(np.linspace(0, plan.ensemble.tokens - count, keys.samples).round().astype(int))
    constants = np.empty((len(masks), len(depths), len(starts)))
    radii = np.empty((len(depths), len(starts)))
    laws = [in_force(plan.law_at(depth), depth, plan.ensemble.space) for depth in depths]
    for sample, start in enumerate(starts):
        text = _part(plan.ensemble, start, count)
        frames = followed(plan, engine, depths, text).positions if depths[-1] > 0.0 else text.positions[None]
        for place, (law, space) in enumerate(laws):
            given = seen_by(law, Ensemble(frames[place], space, text.weights))
            free = Ensemble(np.asarray(given.positions, np.float64), Euclidean(given.dimension), given.weights)
            radii[place, sample] = np.linalg.norm(free.positions, axis=-1).max()
            for number, mask in enumerate(masks):
                attention = replace(attention_of(law), mask=as_mask(mask))
                constants[number, place, sample] = _constant(attention, free, engine)
    found = {"constants": constants, "radii": radii, "starts": starts, "tokens": np.array(count)}
    if keys.adversarial:
        each = zip(laws, radii.max(axis=1), strict=True)
        dimension = plan.ensemble.dimension
        found["steep"] = np.array(
            [_steepest(attention_of(law), dimension, count, radius, engine) for (law, _), radius in each]
        )
    return found


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`: a series for each layer and mask, and for the steepest tokens of each layer."""
    keys, plan = _keys(scenario), build(quiet(scenario))
    masks, places, depths = _masks(scenario, plan), _names(scenario), _depths(scenario)
    every = [results[name] for name in tasks(scenario)]
    counts = np.array([int(np.asarray(each["tokens"])) for each in every])
    radii = np.array([np.asarray(each["radii"]).max(axis=1) for each in every])
    series, remarks = [], []
    for number, mask in enumerate(masks):
        here = []
        for layer, place in enumerate(places):
            values = [np.asarray(each["constants"])[number, layer] for each in every]
            limit = _bounds(_masked(plan, depths[layer], mask), plan, counts, radii[:, layer])
            name = place + (f" {mask}" if len(masks) > 1 else "")
            here.append(_series(name, counts, values, limit))
        remarks.append(_exponents(here, places, mask))
        series.extend(here)
    shares = [float((np.asarray(one.error) / one.bound).max()) for one in series if one.bound is not None]
    if shares:
        remarks.append(f"The constants are at most {max(shares):.2g} of the bound for the ball that holds the tokens.")
    if keys.adversarial:
        worst = []
        for layer, place in enumerate(places):
            steep = np.array([np.asarray(each["steep"])[layer] for each in every])
            if np.isfinite(steep).all():
                limit = _bounds(_masked(plan, depths[layer], "none"), plan, counts, radii[:, layer])
                worst.append(_worst(f"steepest {place}", counts, steep, limit))
        remarks.append(_worst_case(worst) if worst else "No steep tokens are known for this law in this ball.")
        series.extend(worst)
    return Findings(series, remarks)


def _masked(plan: Plan, depth: float, mask: str) -> Attention:
    """The attention of a layer under another mask."""
    return replace(attention_of(in_force(plan.law_at(depth), depth, plan.ensemble.space)[0]), mask=as_mask(mask))


def _constant(law: Attention, ensemble: Ensemble, engine: Engine) -> float:
    """The largest singular value of the Jacobian of the attention, without the space's projection."""
    backend = "reference" if engine.backend == "numba" and not applies(law) else engine.backend
    options: Any = {"backend": backend, "device": engine.device, "threads": engine.threads}
    return float(local_constant(law, ensemble, of="attention", tolerance=TOLERANCE, **options).value[0])


def _bounds(law: Attention, plan: Plan, counts: Array, radii: Array) -> Array | None:
    """The bound for every number of tokens in the ball of its radius, None where none is known."""
    weights = np.asarray(plan.ensemble.weights)
    if weights.min() < weights.max():
        return None
    try:
        return np.asarray(softmax_of_many(law, plan.ensemble.dimension, counts, radii), np.float64)
    except InvalidInput:
        return None


def _steepest(law: Attention, dimension: int, count: int, radius: float, engine: Engine) -> float:
    """The constant at the steepest tokens in the ball, without mask; NaN where they are not known."""
    free = replace(law, mask=as_mask("none"))
    try:
        tokens = steep_ensemble(free, dimension, count, float(radius))
    except InvalidInput:
        return np.nan
    return _constant(free, tokens, engine)


def _series(name: str, counts: Array, values: Sequence[Array], limit: Array | None) -> Series:
    """The mean of a constant over the parts of the text, with its standard error; values : for each n (samples,)."""
    mean, spread = np.array([each.mean() for each in values]), None
    if min(map(len, values)) > 1:
        spread = np.array([each.std(ddof=1) / np.sqrt(len(each)) for each in values])
    named = "" if limit is None else "bound"
    return Series(name, "tokens", counts, mean, "power", spread=spread, bound=limit, bound_name=named)


def _worst(name: str, counts: Array, values: Array, limit: Array | None) -> Series:
    named = "" if limit is None else "bound"
    return Series(name, "tokens", counts, values, "power", expected=WORST, bound=limit, bound_name=named)


def _exponents(series: Sequence[Series], places: Sequence[str], mask: str) -> str:
    """The exponents of all layers under a mask in a sentence."""
    rates = [one.rate() for one in series]
    values = np.array([rate.value for rate in rates])
    each = ", ".join(
        f"{place} {rate.value:.2f} +- {0.5 * (rate.interval[1] - rate.interval[0]):.2f}"
        for place, rate in zip(places, rates, strict=True)
    )
    how = "without mask" if mask == "none" else f"under the mask {mask}"
    middle = f"; their mean is {values.mean():.3f}" if len(values) > 1 else ""
    return f"Exponents of the constant in the number of tokens, {how} (95 %): {each}{middle}."


def _worst_case(series: Sequence[Series]) -> str:
    values = [one.rate().value for one in series]
    shares = [float((np.asarray(one.error) / one.bound).max()) for one in series if one.bound is not None]
    span = f"{min(values):.2f}" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"
    reached = f", and up to {max(shares):.2g} of the bound is reached" if shares else ""
    return f"At the steepest tokens known in the same ball the exponent is {span}{reached}."


def _part(text: Ensemble, start: int, count: int) -> Ensemble:
    """So many tokens of a text from one on; their weights sum to 1 again."""
    weights = np.broadcast_to(np.asarray(text.weights, np.float64), text.positions.shape[:2])[0, start : start + count]
    if weights.sum() == 0.0:
        raise InvalidInput(f"the tokens {start} to {start + count - 1} have no weight")
    return Ensemble(text.positions[:, start : start + count], text.space, weights / weights.sum())


def _counts(keys: RegularityKeys, tokens: int) -> list[int]:
    if keys.tokens is not None:
        return sorted(keys.tokens)
    return [2**k for k in range(3, 10) if FEWEST <= 2**k <= min(tokens, MOST)]


def _layers(scenario: Scenario) -> list[int]:
    """The layers of a network at which it is measured."""
    given, count = _keys(scenario).layers, scenario.depth.layers
    assert count is not None
    if given is not None:
        return sorted(given)
    return np.unique(np.linspace(0, count - 1, min(count, MOST_LAYERS)).round().astype(int)).tolist()


def _depths(scenario: Scenario) -> Array:
    if scenario.depth.layers is None:
        return np.array(sorted(_keys(scenario).depths or [0.0]))
    return np.array(_layers(scenario)) * scenario.depth.layer_step


def _names(scenario: Scenario) -> list[str]:
    if scenario.depth.layers is None:
        return [f"depth {depth:g}" for depth in _depths(scenario)]
    return [f"layer {layer}" for layer in _layers(scenario)]


def _masks(scenario: Scenario, plan: Plan) -> list[str]:
    return list(_keys(scenario).masks or [attention_of(plan.laws[0]).mask.name])


def _keys(scenario: Scenario) -> RegularityKeys:
    assert isinstance(scenario.limit, RegularityKeys)
    return scenario.limit


KIND = Kind("regularity", wrong, tasks, run, conclude)
