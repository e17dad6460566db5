"""From a scenario to how its token weights change with depth, and what of that is kept with every frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..particles import Ensemble, Focus, WeightSchedule
from ..particles.weighting import Weighting
from .mistakes import blaming
from .numbers import numbers
from .schema import Scenario
from .weighting import FocusSection, WeightTable


def weighting_of(scenario: Scenario, ensemble: Ensemble) -> Weighting | None:
    """The weighting of a scenario, None where token weights stay. Raises ScenarioError."""
    table, focus = scenario.tokens.weights, scenario.focus
    weighting: Weighting | None = None
    if isinstance(table, WeightTable):
        with blaming("tokens.weights"):
            rows = np.asarray(numbers(scenario, table.rows))
            weighting = WeightSchedule(rows, table.depths, table.interpolated)
            weighting.start(ensemble)
    elif focus is not None:
        with blaming("focus", {name: f"focus.{name}" for name in FocusSection.model_fields}):
            weighting = Focus(**focus.model_dump())
            weighting.start(ensemble)
    return weighting


def series(weighting: Weighting | None, ensemble: Ensemble) -> dict[str, tuple[int, ...]]:
    """What is kept with every frame besides observables, by the shape of one replica's value."""
    if weighting is None:
        return {}
    names = ("focus", "focus_velocity") if weighting.rows else ()
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (ensemble.dimension,))
    return {"token_weights": (ensemble.tokens,)} | shapes


def values(weighting: Weighting | None, frame: Ensemble) -> dict[str, NDArray[np.floating]]:
    """The values of `series` in a frame, each (replicas, ...)."""
    if weighting is None:
        return {}
    found: dict[str, NDArray[np.floating]] = {
        "token_weights": np.broadcast_to(np.asarray(frame.weights), frame.positions.shape[:2])
    }
    if frame.focus is not None:
        found |= {"focus": frame.focus[:, 0], "focus_velocity": frame.focus[:, 1]}
    return found
