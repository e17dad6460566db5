"""The figure of a limit study: error against parameter, the line that was fitted, and the slope of the theory."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..limits import Limit
from ..rates import Series

MOST_PANELS = 4
DECADES = 1e3  # from which on a parameter is drawn by its logarithm
SYMBOLS = {"layers": "layers $L$", "tokens": "tokens $n$", "beta": r"inverse temperature $\beta$", "depth": "depth $t$"}


def draw_limit(study: Limit) -> Figure:
    """A panel for each series, at most four."""
    shown = study.series[:MOST_PANELS]
    figure = Figure(figsize=(0.4 + 3.4 * len(shown), 3.2))
    for axes, series in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        draw_series(axes, series)
    return figure


def draw_series(axes: Axes, series: Series) -> None:
    """The points, hollow where no rate was taken from them; the fit; a line with the slope of the theory; the bound."""
    parameter, error = np.asarray(series.parameter), np.asarray(series.error)
    seen = np.isfinite(error) & ((error > 0) | (series.law == ""))
    positive = bool((error[seen] > 0).all()) if seen.any() else False
    wide = positive and bool((parameter > 0).all())
    if wide and not series.law and parameter.max() >= DECADES * parameter.min():
        axes.set_xscale("log")
    if series.law == "power" and wide:
        axes.set_xscale("log", base=2 if series.parameter_name in ("layers", "tokens") else 10)
    bound = np.array([]) if series.bound is None else np.asarray(series.bound)
    heights = np.concatenate([error[seen], bound[np.isfinite(bound) & (bound > 0.0)]])
    if positive and _changes_scale(heights, 2.0 if series.law else 100.0):
        axes.set_yscale("log")
    elif positive:
        axes.set_ylim(0.0, 1.3 * heights.max())
    fitted = np.asarray(series.fitted) & seen if series.law else seen
    spread = None if series.spread is None else np.where(np.isfinite(series.spread), series.spread, 0.0)
    if spread is not None:
        axes.errorbar(parameter[seen], error[seen], spread[seen], fmt="none", ecolor="0.6", elinewidth=0.8, zorder=1)
    if not series.law:
        few = seen.sum() <= 25
        axes.plot(parameter[seen], error[seen], color="C0", marker="o" if few else None, markersize=3.0)
    else:
        axes.plot(parameter[seen & ~fitted], error[seen & ~fitted], "o", markersize=4, mfc="white", mec="C0")
        axes.plot(parameter[fitted], error[fitted], "o", markersize=4, color="C0", label="computed")
        _lines(axes, series, fitted)
    if series.bound is not None:
        axes.plot(parameter, bound, color="C1", linestyle=":", label=series.bound_name or "bound")
    if axes.get_yscale() == "log":
        # a line of theory that goes on below all errors is not to hide them
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.1 * error[seen].min()))
    known = SYMBOLS.get(series.parameter_name)
    axes.set_xlabel(known or series.parameter_name, parse_math=known is not None)
    axes.set_title(series.name.replace("_", " "), parse_math=False)
    if not series.law and axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=bool((parameter == np.round(parameter)).all())))
    if series.law or series.bound is not None:
        axes.legend()


def _lines(axes: Axes, series: Series, fitted: np.ndarray) -> None:
    """The fit where it was made, and through its middle a line with the expected slope over all points."""
    rate, parameter = series.rate(), np.asarray(series.parameter)
    if not np.isfinite(rate.value):
        return
    scale = np.log if series.law == "power" else np.asarray
    ends = np.array([parameter[fitted].min(), parameter[fitted].max()])
    low, high = rate.interval
    width = "" if not np.isfinite(low) else rf" $\pm$ {0.5 * (high - low):.2g}"
    label = f"rate {rate.value:.3f}{width}"
    axes.plot(ends, np.exp(rate.intercept + rate.value * scale(ends)), color="C0", label=label)
    if series.expected is None:
        return
    middle = scale(ends).mean()
    whole = np.array([parameter.min(), parameter.max()])
    height = rate.intercept + rate.value * middle + series.expected * (scale(whole) - middle)
    axes.plot(whole, np.exp(height), color="0.5", linestyle="--", zorder=0, label=f"theory {series.expected:.4g}")


def _changes_scale(values: np.ndarray, times: float) -> bool:
    return bool(values.max() >= times * values.min())
