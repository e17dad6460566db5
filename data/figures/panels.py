"""The panels beside the tokens: observables over depth, and histograms of pairwise inner products."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from ...particles import Sphere
from ..excerpt import MOST_PAIRED, evenly, read_frame, sample, weights_of
from ..layout import STATE
from .depths import DepthScale, mark, thinned

Array = NDArray[np.float64]

BINS = 60
MOST_POINTS = 2000  # of a curve
STEPS = [1, 2, 2.5, 5, 10]  # between ticks


def draw_observables(
    area: FigureBase, trajectory: Any, depths: DepthScale, frames: NDArray[np.intp], replica: int
) -> None:
    """One small panel per observable: the chosen replica, the range of all, and dots at the chosen frames."""
    names = [name for name in trajectory.observables if name not in STATE]
    columns = 1 if len(names) <= 3 else 2
    rows = -(-len(names) // columns)
    grid = area.subplots(rows, columns, sharex=True, squeeze=False)
    shown = np.union1d(evenly(len(trajectory.times), MOST_POINTS), frames)
    for place, axes in enumerate(grid.T.flat):
        if place >= len(names):
            axes.set_visible(False)
            continue
        values = np.asarray(trajectory.observables[names[place]], np.float64)[shown]
        times = np.asarray(trajectory.times)[shown]
        marked = np.searchsorted(shown, frames)
        _draw_observable(axes, names[place], times, values, replica, depths, marked)
        lowest = place % rows == rows - 1 or place == len(names) - 1
        depths.along_x(axes, label=lowest, ticks=6 // columns)
        axes.tick_params(labelbottom=lowest)


def _draw_observable(
    axes: Axes,
    name: str,
    times: Array,
    values: Array,
    replica: int,
    depths: DepthScale,
    marked: NDArray[np.intp],
) -> None:
    """`values` (frames, replicas) or (frames, replicas, k), of which each k is a curve."""
    values = np.where(np.isfinite(values), values, np.nan)
    power = power_of_ten(values)
    values = values / 10.0**power
    axes.set_title(name.replace("_", " ") + (rf" ($\times 10^{{{power}}}$)" if power else ""))
    curves = values[:, replica].reshape(len(times), -1)
    if not np.isfinite(curves).any():
        say(axes, "not finite at any depth")
        return
    if values.ndim == 2 and values.shape[1] > 1:
        some = np.isfinite(values).any(axis=1)
        low, high = (function(values[some], axis=1) for function in (np.nanmin, np.nanmax))
        axes.fill_between(times[some], low, high, color="0.87", linewidth=0)
    whole = bool((curves == np.round(curves))[np.isfinite(curves)].all())
    axes.plot(times, curves, color="0.25", drawstyle="steps-post" if whole else "default")
    mark(axes, times[marked].repeat(curves.shape[1]), curves[marked].ravel(), depths)
    scale_values(axes, values, whole)


def changes_scale(values: Array) -> bool:
    """Whether the values, some of them finite, stay positive and change a hundredfold."""
    low, high = np.nanmin(values), np.nanmax(values)
    return bool(low > 0 and high >= 100 * low)


def power_of_ten(values: Array) -> int:
    """The power of ten to take out of values on a linear axis, 0 for those easily read as they are."""
    largest = np.nanmax(np.abs(values), initial=0.0)
    if largest == 0 or 1e-2 <= largest < 1e4 or changes_scale(values):
        return 0
    return int(np.floor(np.log10(largest)))


def scale_values(axes: Axes, values: Array, whole: bool, ticks: int = 3) -> None:
    """A logarithmic axis for what changes scale, and never an axis blown up to rounding errors."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if changes_scale(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        powers = np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
        axes.set_yticks(10.0 ** thinned(powers, ticks))
        if low >= 1e-3 and high < 1e5:
            axes.yaxis.set_major_formatter(ScalarFormatter())
        return
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        margin = 1.0 if whole else 0.01 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=STEPS, integer=whole, min_n_ticks=2))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")


def draw_similarity(axes: Axes, trajectory: Any, depths: DepthScale, frames: NDArray[np.intp], replica: int) -> None:
    """Histograms of the inner products of distinct tokens, one row per frame, each to its own height.

    On a sphere they are cosines. A pair counts with the product of its weights. Of more than MOST_PAIRED
    tokens a random choice is taken, so that no n x n array of many tokens is held.
    """
    sphere = trajectory.space if isinstance(trajectory.space, Sphere) else None
    weights = weights_of(trajectory, replica)
    tokens = sample(weights, MOST_PAIRED)
    times = np.asarray(trajectory.times)[frames]
    axes.set_title("cosines of pairs of tokens" if sphere else "inner products of pairs of tokens")
    axes.set_xlabel(r"$\cos(x_i, x_j)$" if sphere else r"$\langle x_i, x_j \rangle$")
    axes.set_yticks(0.2 - np.arange(len(frames)), [f"$t = {number(time)}$" for time in times])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-len(frames) + 0.9, 1.0)
    if len(tokens) < 2:
        axes.set_xticks([])
        say(axes, "a single token has no pairs")
        return

    rows = [read_frame(trajectory, int(frame), replica, tokens) for frame in frames]
    products = [pair_products(row, sphere is not None) for row in rows]
    edges, width = edges_of(products, sphere is not None)
    counted = pair_weights(weights[tokens])
    for row, (values, colour) in enumerate(zip(products, depths.colours(times), strict=True)):
        counts = np.histogram(values, edges, weights=counted)[0]
        heights = 0.88 * counts / max(counts.max(), np.finfo(float).tiny)
        axes.axhline(-row, color="0.75", linewidth=0.5, zorder=0)
        axes.stairs(-row + heights, edges, baseline=-row, fill=True, color=colour, alpha=0.8)
        axes.stairs(-row + heights, edges, baseline=-row, color=colour, linewidth=0.6)
    axes.set_xlim(edges[0], edges[-1])
    if width:
        scale_products(axes, edges, width)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))


def pair_products(tokens: Array, cosine: bool) -> Array:
    """<x_i, x_j> or the cosine of all pairs i < j, (pairs,), row by row; `tokens` (tokens, dimension)."""
    if cosine:
        length = np.linalg.norm(tokens, axis=1, keepdims=True)
        tokens = np.divide(tokens, length, out=np.zeros_like(tokens), where=length != 0)
    products = (tokens @ tokens.T)[np.triu_indices(len(tokens), 1)]
    return np.clip(products, -1.0, 1.0) if cosine else products


def pair_weights(weights: Array) -> Array | None:
    """a_i a_j of all pairs i < j, (pairs,); None where all weights are the same."""
    if np.allclose(weights, weights[0]):
        return None
    return np.outer(weights, weights)[np.triu_indices(len(weights), 1)]


def edges_of(products: list[Array], cosine: bool) -> tuple[Array, float]:
    """Edges of the bins for all rows, and the width of the linear part of an asinh axis, 0 for a linear axis.

    Cosines: from the least one, down to a tenth, to 1. Inner products whose scale changes much from row to
    row get an axis that is linear around 0 and logarithmic beyond.
    """
    finite = [values[np.isfinite(values)] for values in products]
    finite = [values for values in finite if len(values)]
    low = min((float(values.min()) for values in finite), default=0.0)
    high = max((float(values.max()) for values in finite), default=0.0)
    if cosine:
        return np.linspace(max(-1.0, min(np.floor(10 * low) / 10, 0.5)), 1.0, BINS + 1), 0.0
    sizes = [float(np.abs(values).max()) for values in finite if np.abs(values).max() > 0]
    if sizes and max(sizes) > 30 * min(sizes):
        width = min(sizes)
        reach = np.arcsinh(np.array([low, high]) / width)
        return width * np.sinh(np.linspace(*_widened(*reach), BINS + 1)), width
    return np.linspace(*_widened(low, high), BINS + 1), 0.0


def scale_products(axes: Axes, edges: Array, width: float) -> None:
    """An axis linear within `width` of 0 and logarithmic beyond, with ticks at 0 and powers of ten."""
    axes.set_xscale("asinh", linear_width=width)
    reach = np.log10(np.abs(edges[[0, -1]]))
    least = np.log10(3 * width)
    ticks = [0.0]
    for end, sign in zip(reach, np.sign(edges[[0, -1]]), strict=True):
        ticks.extend(sign * 10.0 ** thinned(np.arange(np.ceil(least), np.floor(end) + 1), 2))
    axes.set_xticks(sorted(tick for tick in ticks if edges[0] <= tick <= edges[-1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _widened(low: float, high: float) -> tuple[float, float]:
    margin = 0.03 * (high - low)
    if not margin > 1e-9 * max(abs(low), abs(high)):
        margin = 0.5 * max(abs(low), abs(high)) or 1.0
    return low - margin, high + margin


def number(value: float) -> str:
    """A number as mathematics: 0.25, 12, 3 x 10^4."""
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    if not exponent:
        return mantissa
    return ("" if mantissa == "1" else rf"{mantissa} \times ") + f"10^{{{int(exponent)}}}"


def say(axes: Axes, sentence: str) -> None:
    """Write a sentence where there is nothing to draw."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color="0.4")
