"""The observables of a trajectory as the page draws them: one small chart each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...particles.observables import REGISTRY
from ..excerpt import evenly
from ..layout import STATE
from .packing import packed
from .thinning import Choice

MOST_POINTS = 1500  # of a curve
MOST_CURVES = 12  # of an observable with several entries
CHANGES_SCALE = 100.0


def charts_of(trajectory: Any, choice: Choice) -> dict[str, Any]:
    """{"times": all depths of the curves, "at": where among them the shown frames are, "charts": [...]}.

    A chart has a name, what it means, whether its axis is logarithmic and whether its values are whole numbers,
    curves (curves, points) of the chosen replica, and the range (2, points) over replicas where there are several.
    """
    shown = np.union1d(evenly(choice.all_frames, MOST_POINTS), choice.frames)
    charts = []
    for name in trajectory.observables:
        if name in STATE:
            continue
        values = np.asarray(trajectory.observables[name], np.float64)[shown]
        values = np.where(np.isfinite(values), values, np.nan)
        curves = values[:, choice.replica].reshape(len(shown), -1)[:, :MOST_CURVES].T
        finite = curves[np.isfinite(curves)]
        known = REGISTRY.get(name)
        chart = {
            "name": name.replace("_", " "),
            "meaning": "" if known is None else known.description,
            "logarithmic": bool(len(finite) and finite.min() > 0 and finite.max() >= CHANGES_SCALE * finite.min()),
            "whole": bool(len(finite) and (finite == np.round(finite)).all()),
            "first": _first(curves),
            "last": _first(curves[:, ::-1]),
            "curves": packed(curves.astype(np.float32)),
        }
        if values.ndim == 2 and values.shape[1] > 1:
            chart["range"] = packed(_span(values).astype(np.float32))
        charts.append(chart)
    return {"times": np.asarray(trajectory.times)[shown], "at": np.searchsorted(shown, choice.frames), "charts": charts}


def _first(curves: NDArray[np.float64]) -> float | None:
    """The first finite value of the first curve."""
    finite = curves[0][np.isfinite(curves[0])] if len(curves) else np.empty(0)
    return float(finite[0]) if len(finite) else None


def _span(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lowest and highest over replicas, (2, points)."""
    low = np.where(np.isnan(values), np.inf, values).min(axis=1)
    high = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return np.where(np.isfinite([low, high]), [low, high], np.nan)
