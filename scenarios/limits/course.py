"""The runs of a study: a plan that is followed to its end, with some frames kept in memory."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ComputationFailed
from ...integrators import Solution, integrate, method_of
from ...particles import Ensemble
from ...particles.backends import Engine
from ..build import Plan
from ..schema import Scenario

TIGHT = {"depth.method": "dop853", "depth.rtol": 1e-13, "depth.atol": 1e-14, "depth.step": None}


def quiet(scenario: Scenario) -> Scenario:
    """The scenario with nothing to save or to stop for on the way, and with all its tokens."""
    return scenario.override({"save": None, "depth.merge": None})


def tightened(scenario: Scenario) -> Scenario:
    """The scenario with the smallest errors of integration there are, where it has a method that adapts its step."""
    depth = scenario.depth
    if depth.layers is not None or not method_of(depth.method).adaptive:
        return scenario
    return scenario.override({"depth.time": depth.end} | TIGHT)


def followed(
    plan: Plan,
    engine: Engine,
    depths: ArrayLike | None = None,
    ensemble: Ensemble | None = None,
    **changes: Any,
) -> Solution:
    """Integrate a plan, from its ensemble or another, to its end. Raises ComputationFailed where the run fails.

    depths  : increasing, of the frames that are kept
    changes : arguments of `integrate` in the place of the plan's
    """
    arguments: dict[str, Any] = plan.arguments() | {"save_at": depths, "stop": []} | changes
    alone = asdict(replace(engine, processes=1))
    solution = integrate(plan.law, plan.ensemble if ensemble is None else ensemble, **alone, **arguments)
    if solution.status != "finished":
        raise ComputationFailed(solution.status.removeprefix("failed: "))
    return solution


def even_depths(scenario: Scenario, count: int) -> NDArray[np.float64]:
    """0 and about `count` depths to the end: whole layers of a network."""
    depth = scenario.depth
    if depth.layers is None:
        return np.linspace(0.0, depth.end, count + 1)
    return np.unique(np.round(np.linspace(0, depth.layers, min(count, depth.layers) + 1))) * depth.layer_step
