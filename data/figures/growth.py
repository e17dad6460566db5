"""The figure of a study of regularity: constants against the number of tokens, and the exponents of all layers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..limits import Limit
from ..rates import Series

STEEP = "steepest"  # the first word of the names of series at the steepest tokens known
MASKS = {"none": "without mask", "causal": "causal mask"}
SLOPES = ((0.25, "$n^{1/4}$", "--"), (0.5, "$n^{1/2}$", ":"))
NAMED = 8  # layers up to which each has its line in the legend


def draw_growth(study: Limit) -> Figure:
    """A panel of constants for each mask and for the steepest tokens, and one of their exponents with 95 % intervals.

    Grey lines are n^(1/4), seen on texts, and n^(1/2), which no law exceeds. Source: arXiv:2312.14820.
    """
    groups: dict[str, list[Series]] = {}
    for series in study.series:
        groups.setdefault(_group(series.name), []).append(series)
    figure = Figure(figsize=(0.4 + 3.1 * (len(groups) + 1), 3.2))
    *panels, last = figure.subplots(1, len(groups) + 1)
    for axes, (name, group) in zip(panels, groups.items(), strict=True):
        _constants(axes, group)
        axes.set_title(name, parse_math=False)
    panels[0].set_ylabel("local Lipschitz constant")
    if len(groups[next(iter(groups))]) <= NAMED:
        panels[0].legend(ncols=2, fontsize=6, loc="lower right")
    for number, (name, group) in enumerate(groups.items()):
        _exponents(last, group, f"C{number}", name, 0.12 * (number - 0.5 * (len(groups) - 1)))
    for slope, label, style in SLOPES:
        last.axhline(slope, color="0.6", linestyle=style, linewidth=0.8, zorder=0)
        last.annotate(label, (1.0, slope), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      color="0.4", va="center", fontsize=7)  # fmt: skip
    last.set_title("exponent")
    last.legend()
    return figure


def _group(name: str) -> str:
    """What a series is of: the words of its name beside its layer."""
    first, *rest = name.split()
    if first == STEEP:
        return "steepest tokens"
    return MASKS.get(rest[-1], "on the text") if len(rest) > 1 else "on the text"


def _place(series: Series) -> tuple[str, float]:
    """Layer or depth, and its number."""
    kind, number = series.name.removeprefix(f"{STEEP} ").split()[:2]
    return kind, float(number)


def _constants(axes: Axes, group: Sequence[Series]) -> None:
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, len(group)))
    n = np.asarray(group[0].parameter)
    for series, colour in zip(group, colours, strict=True):
        error = np.asarray(series.error)
        label = " ".join(series.name.removeprefix(f"{STEEP} ").split()[:2])
        spread = None if series.spread is None else np.nan_to_num(np.asarray(series.spread))
        axes.errorbar(n, error, spread, fmt="o-", markersize=2.5, linewidth=0.9, color=colour, label=label)
    low = 0.8 * min(float(np.asarray(series.error)[0]) for series in group)
    for slope, _, style in SLOPES:
        axes.plot(n, low * (n / n[0]) ** slope, color="0.6", linestyle=style, linewidth=0.8, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("tokens $n$")


def _exponents(axes: Axes, group: Sequence[Series], colour: str, name: str, beside: float) -> None:
    places, rates = [_place(series) for series in group], [series.rate() for series in group]
    values = np.array([rate.value for rate in rates])
    reach = np.nan_to_num(np.array([0.5 * (rate.interval[1] - rate.interval[0]) for rate in rates]))
    at = np.array([number for _, number in places])
    gap = np.diff(at).min() if len(at) > 1 else 1.0
    axes.errorbar(at + beside * gap, values, reach, fmt="o", markersize=3.0, linewidth=0.8, color=colour, label=name)
    axes.set_xlabel(places[0][0])
    if (at == np.round(at)).all() and len(at) <= 12:
        axes.set_xticks(at, [f"{number:g}" for number in at])
