"""Infinite depth: networks of L layers of step T / L, with the same weights or independent ones, as L grows.

shared weights           |X_L - X(T)| ~ C / L, X(T) the solution of the ODE; C / L^2 and C / L^4 for networks in the
                         shape of Heun's method and of RK4 (arXiv:2007.02876)
layers of a model        each of the N divided into L / N thinner ones: |X_L - X(T)| ~ C / L, X(T) the solution of the
                         ODE whose weights are those of layer k from depth k T / N to (k + 1) T / N
independent, 1 / L       centred value matrices average out: E |X_L - X_0|^2 ~ C / L, no ODE is left
independent, 1/sqrt(L)   a diffusion driven by one Brownian matrix W, V_l sqrt(T / L) = W(t_{l+1}) - W(t_l): networks
                         on the same path W are C / sqrt(L) apart (arXiv:2206.06929, arXiv:2601.21942)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.limits import Findings
from ...data.rates import Series, upper_half
from ...particles.backends import Engine
from ...particles.block import Law, attention_of
from ...particles.schedule import with_numbers
from ...particles.weights import draw
from ..build import MATRICES, build
from ..schedule import may_differ
from ..schema import Scenario
from ..values import RandomMatrix
from .course import TIGHT, followed, quiet
from .keys import DepthKeys
from .kinds import Kind, Result, Results, numbered, scalar

Array = NDArray[np.floating]
REFERENCE = "flow"
FLOOR = 1e-11  # of the size of the tokens: errors below are rounding, and of the reference
ORDERS = {"layer": 1, "heun": 2, "rk4": 4}
ROOM = 100.0  # times the tolerance of the flow: errors below are those of the flow
HALVINGS = 6  # of the layers of a model, where nothing is said: steps from 1 to 1/64
FINER = 8  # times as many layers as the most, of the network that stands for the diffusion


def wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """See `Kind`."""
    keys, depth = _keys(scenario), scenario.depth
    if not depth.residual:
        yield "depth.residual", "must be true: a layer that forgets its input has no depth T / L"
    if depth.noise > 0.0:
        yield "depth.noise", f"has no place in a study of depth; got {depth.noise:g}"
    if _of_model(scenario):
        assert depth.layers is not None
        uneven = [count for count in _layers(scenario) if count % depth.layers]
        if uneven:
            yield "limit.layers", f"must divide each of the {depth.layers} layers evenly; got {uneven[0]}"
    if depth.weights != "independent" or _of_model(scenario):
        if depth.scaling != "1/L":
            yield "depth.scaling", f'"{depth.scaling}" is for independent weights'
        if keys.samples > 1:
            yield "limit.samples", f"is for weights drawn at every layer; got {keys.samples} without"
        return
    if keys.network != "layer":
        yield "limit.network", f'must be "layer" with independent weights; got "{keys.network}"'
    if scenario.attention.drawn() != ["value"] or scenario.block.drawn():
        yield "attention.value", "must be the one matrix that is drawn, for independent weights of mean 0"
    most = max(_layers(scenario)) * FINER
    uneven = [count for count in _layers(scenario) if most % count]
    if depth.scaling != "1/L" and uneven:
        yield "limit.layers", f"must divide {most}, for networks on one path; got {uneven[0]}"


def tasks(scenario: Scenario) -> Sequence[str]:
    """See `Kind`: one network each, and what they are compared with."""
    networks = numbered("L", _layers(scenario))
    if scenario.depth.weights != "independent" or _of_model(scenario):
        return [REFERENCE, *networks]
    return networks if scenario.depth.scaling == "1/L" else [*networks, REFERENCE]


def run(scenario: Scenario, name: str, engine: Engine) -> Result:
    """See `Kind`: the tokens at depth T, (samples, replicas, tokens, dimension)."""
    if _of_model(scenario):
        scenario = divided(scenario)
    if scenario.depth.weights == "independent":
        return _independent(scenario, name, engine)
    tolerance = _keys(scenario).tolerance
    changes: dict[str, Any] = {"depth.time": scenario.depth.end} | TIGHT
    changes |= {"depth.rtol": tolerance, "depth.atol": tolerance / 10}
    if name != REFERENCE:
        changes = _discrete(scenario, int(name.removeprefix("L = ")))
    plan = build(quiet(scenario).override(changes))
    return {"final": followed(plan, engine).final[None]}


def conclude(scenario: Scenario, results: Results) -> Findings:
    """See `Kind`."""
    keys = _keys(scenario)
    counts = sorted(_layers(scenario))
    layers = np.array(counts, np.float64)
    ends = [np.asarray(results[name]["final"], np.float64) for name in numbered("L", counts)]
    if scenario.depth.weights != "independent" or _of_model(scenario):
        limit = np.asarray(results[REFERENCE]["final"], np.float64)
        error = np.array([float(np.linalg.norm(end - limit)) for end in ends])
        resolved = error > max(FLOOR, ROOM * keys.tolerance) * np.linalg.norm(limit)
        fitted = resolved & upper_half(np.where(resolved, layers, 0.0))
        order = -float(ORDERS[keys.network])
        return Findings([Series("error", "layers", layers, error, "power", fitted, order)])
    start = np.asarray(results[numbered("L", counts)[0]]["start"], np.float64)
    moved, spread = zip(*(_root_mean_square(end - start) for end in ends), strict=True)
    if scenario.depth.scaling == "1/L":
        remark = "Independent weights of mean 0 average out under the scaling 1/L: the tokens stay, and no ODE is left."
        series = Series("error", "layers", layers, moved, "power", upper_half(layers), -0.5, spread)
        return Findings([series], [remark])
    limit = np.asarray(results[REFERENCE]["final"], np.float64)
    apart, doubt = zip(*(_root_mean_square(end - limit) for end in ends), strict=True)
    finest = int(scalar(results[REFERENCE], "layers"))
    remark = (
        f"Under the scaling 1/sqrt(L) tokens move at any L, at last by {moved[-1]:.3g}: the limit is "
        f"a diffusion, for which a network of {finest} layers on the same Brownian path stands."
    )
    strong = Series("error", "layers", layers, apart, "power", None, -0.5, doubt)
    still = Series("displacement", "layers", layers, moved, "power", upper_half(layers), 0.0)
    return Findings([strong, still], [remark])


def divided(scenario: Scenario) -> Scenario:
    """The layers of a model as a schedule over depth, each with its weights for as long as it lasts."""
    step = scenario.depth.layer_step
    return scenario.override(
        {"depth.weights": "schedule", "depth.schedule": {"kind": "piecewise", "every": step}, "depth.step": step}
    )


def _of_model(scenario: Scenario) -> bool:
    """Whether layers have weights of their own that are given, not drawn."""
    drawn = scenario.attention.drawn() or scenario.block.drawn()
    return scenario.depth.weights == "independent" and not drawn and may_differ(scenario)


def _layers(scenario: Scenario) -> list[int]:
    """The numbers of layers; for those of a model, unless they are given, with each divided into 1, 2, 4, ... 64."""
    keys = _keys(scenario)
    if "layers" in keys.model_fields_set or not _of_model(scenario):
        return keys.layers
    assert scenario.depth.layers is not None
    return [scenario.depth.layers * 2**k for k in range(HALVINGS + 1)]


def _independent(scenario: Scenario, name: str, engine: Engine) -> Result:
    """Networks whose value matrices are drawn at every layer, or are sums of those of the finest network."""
    keys, root = _keys(scenario), scenario.depth.scaling != "1/L"
    most = max(_layers(scenario)) * FINER
    layers = most if name == REFERENCE else int(name.removeprefix("L = "))
    # all but the value matrices is that of one layer
    plan = build(quiet(scenario).override(_discrete(scenario, 1)))
    (law,), step = plan.laws, scenario.depth.end / layers
    ends = []
    for sample in range(keys.samples):
        values = _values(scenario, law, most if root else layers, sample)
        if root:
            values = values.reshape(layers, -1, *values.shape[1:])
            values = values.sum(axis=1) / np.sqrt(values.shape[1])
        laws = [with_numbers(law, {"value": value}) for value in values]
        ends.append(followed(replace(plan, laws=laws), engine, layers=layers, step=step).final)
    return {"final": np.stack(ends), "start": plan.ensemble.positions, "layers": np.array(layers)}


def _values(scenario: Scenario, law: Law, layers: int, sample: int) -> NDArray[np.float64]:
    """The value matrices of a network, (layers, rows, dimension); sample 0 has those that the scenario has."""
    family = scenario.attention.value
    assert isinstance(family, RandomMatrix)
    seed = (scenario.tokens.seed if family.seed is None else family.seed) + sample
    rows, columns = np.shape(attention_of(law).value)
    stream = MATRICES.index("value")
    return family.scale * np.stack([draw(family.law, rows, columns, seed, (layer, stream)) for layer in range(layers)])


def _discrete(scenario: Scenario, layers: int) -> dict[str, Any]:
    step = scenario.depth.end / layers
    network = _keys(scenario).network
    if network == "layer":
        changes = {"depth.layers": layers, "depth.step": step}
        return changes | {"depth.weights": scenario.depth.weights, "depth.scaling": scenario.depth.scaling}
    return {"depth.time": scenario.depth.end, "depth.method": network, "depth.step": step}


def _root_mean_square(apart: Array) -> tuple[float, float]:
    """The root of the mean over samples of |apart|^2, and its standard error."""
    squares = np.sum(apart.reshape(len(apart), -1) ** 2, axis=1)
    root = float(np.sqrt(squares.mean()))
    if len(squares) == 1 or root == 0.0:
        return root, np.nan
    return root, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2.0 * root))


def _keys(scenario: Scenario) -> DepthKeys:
    assert isinstance(scenario.limit, DepthKeys)
    return scenario.limit


KIND = Kind("depth", wrong, tasks, run, conclude)
