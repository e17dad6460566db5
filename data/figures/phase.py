"""The phase diagram of a sweep: an observable over depth and one key, or over two keys at some depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..sweeps import Sweep
from .depths import DepthScale, saved_logarithmically

Array = NDArray[np.float64]

MOST_DEPTHS = 1500  # columns of a map: more cannot be told apart on paper
MOST_PANELS = 6
MISSING = {"facecolor": "0.92", "edgecolor": "0.72", "hatch": "////", "linewidth": 0.0}
SHARES = ("aligned_pairs", "attention_sparsity")  # always from 0 to 1, as in figure 4 of arXiv:2312.10794
PLAIN = StrMethodFormatter("{x:g}")
SYMBOLS = {"attention.beta": r"inverse temperature $\beta$", "tokens.count": "tokens $n$", "tokens.dimension": "$d$"}


@dataclass(frozen=True)
class Field:
    """The values of one observable over what is left of the grid: key -> values, (*grid, frames), and the times."""

    name: str
    axes: dict[str, NDArray[Any]]
    values: Array
    times: Array


def draw_phase(
    sweep: Sweep,
    observable: str | None = None,
    depths: Sequence[float] | None = None,
    at: Mapping[str, Any] | None = None,
) -> Figure:
    """The mean of an observable as colour; what was not computed is hatched.

    One key: depth along the page, the key up. Two keys: one against the other, a panel for each of `depths` (the last
    by default). Of more keys all but two must have a value in `at`, which is one of the grid.

    Raises InvalidInput for an observable, a depth or a value that the sweep does not have, and for too many keys.
    """
    field = _field(sweep, observable, at or {})
    if len(field.axes) > 2 or not field.axes:
        keys = list(field.axes) or list(sweep.axes)
        raise InvalidInput(f"a map has one or two keys; of {', '.join(keys)} give the others a value (--at KEY=VALUE)")
    if not np.isfinite(field.values).any():
        raise InvalidInput(f"the sweep has no finite value of {field.name} to draw yet")
    norm = Normalize(0.0, 1.0) if field.name in SHARES else _norm(field.values)
    if len(field.axes) == 1:
        if depths is not None:
            raise InvalidInput("depths choose the panels of a map of two keys; this one has depth as an axis")
        figure = Figure(figsize=(5.0, 3.4))
        panels = [_over_depth(figure.subplots(), field, norm)]
    else:
        chosen = _depths(field, depths)
        figure = Figure(figsize=(1.6 + 2.9 * len(chosen), 3.3))
        panels = list(figure.subplots(1, len(chosen), sharey=True, squeeze=False).flat)
        for axes, depth in zip(panels, chosen, strict=True):
            _over_keys(axes, field, depth, norm)
            axes.set_ylabel(axes.get_ylabel() if axes is panels[0] else "")
            axes.set_title("at the end" if depth is None else f"depth $t = {depth:.4g}$")
    _colour_bar(figure, panels, field.name, norm)
    return figure


def facts_of(sweep: Sweep, at: Mapping[str, Any]) -> list[str]:
    """What stands below the figure: which tokens, what is held fixed, and how much is missing."""
    values = sweep.provenance.get("values")
    tokens = values.get("tokens") if isinstance(values, dict) else None
    known = {name: count for name, count in (tokens or {}).items() if isinstance(count, int)}
    words = {"count": "tokens", "replicas": "replicas"}
    facts = [f"{known[k]} {word}" for k, word in words.items() if k in known and f"tokens.{k}" not in sweep.axes]
    facts += [f"{key} = {value}" for key, value in at.items()]
    done = int(sweep.done.sum())
    statuses = sweep.status.ravel()
    failed = sum(status.startswith("failed") for status in statuses)
    facts.append(f"{done} points" if done == len(sweep) else f"{done} of {len(sweep)} points so far")
    facts += [f"{failed} failed"] if failed else []
    return facts + (["hatched: no value"] if (statuses != "finished").any() else [])


def _field(sweep: Sweep, observable: str | None, at: Mapping[str, Any]) -> Field:
    names = list(sweep.observables)
    if not names:
        raise InvalidInput("the sweep has no observables to draw; save.observables in the scenario names them")
    name = names[0] if observable is None else observable
    if name not in names:
        raise InvalidInput(f"observable must be one of {', '.join(names)}; got {name!r}")
    values, times = sweep.observables[name], sweep.times
    if values.ndim != times.ndim:
        raise InvalidInput(f"{name} has {values.shape[-1]} numbers at every depth; a map shows one")
    unknown = [key for key in at if key not in sweep.axes]
    if unknown:
        raise InvalidInput(f"at: {unknown[0]} is none of the sweep's keys, {', '.join(sweep.axes)}")
    place = tuple(_index(key, grid, at[key]) if key in at else slice(None) for key, grid in sweep.axes.items())
    values, times = np.where(np.isfinite(values), values, np.nan)[place], times[place]
    axes = {key: grid for key, grid in sweep.axes.items() if key not in at}
    for axis, (key, grid) in enumerate(axes.items()):
        if grid.dtype.kind in "if":  # values may be given in any order
            order = np.argsort(grid)
            axes[key], values, times = grid[order], values.take(order, axis), times.take(order, axis)
    return Field(name, axes, values, times)


def _index(key: str, grid: NDArray[Any], value: Any) -> int:
    """Where a value stands in the grid of a key."""
    if grid.dtype.kind not in "if" or not isinstance(value, int | float | np.number):
        found = [k for k, there in enumerate(grid.tolist()) if there == value]
        if not found:
            raise InvalidInput(f"at: {key} is one of {', '.join(map(str, grid))}; got {value!r}")
        return found[0]
    nearest = int(np.abs(grid.astype(float) - float(value)).argmin())
    if abs(float(grid[nearest]) - float(value)) > 1e-6 * max(abs(float(value)), 1e-300):
        raise InvalidInput(f"at: {key} has no value {value} on its grid; the nearest is {grid[nearest]:g}")
    return nearest


def _over_depth(axes: Axes, field: Field, norm: Normalize) -> Axes:
    """Depth along the page and the key up. Runs with depths of their own are each drawn over these."""
    ((key, grid),) = field.axes.items()
    known = np.unique(field.times[np.isfinite(field.times)])
    shown = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), MOST_DEPTHS)).round().astype(int))]
    depth = DepthScale(shown)
    image = np.full((len(grid), len(shown)), np.nan)
    for row, times, values in zip(image, field.times, field.values, strict=True):
        there = np.isfinite(times)
        if there.any():
            edges = _edges(times[there], depth.logarithmic)
            column = np.searchsorted(edges, shown, side="right") - 1
            inside = (column >= 0) & (column < there.sum())
            row[inside] = values[there][column[inside]]
    heights, scaled = _coordinates(grid)
    columns = _edges(shown, depth.logarithmic).clip(shown[0], shown[-1]) if len(shown) > 1 else _edges(shown, False)
    _map(axes, columns, _edges(heights, scaled), image, norm)
    depth.along_x(axes)
    _scale(axes, "y", key, grid, heights, scaled)
    return axes


def _over_keys(axes: Axes, field: Field, depth: float | None, norm: Normalize) -> None:
    """The first key along the page and the second up, at one depth."""
    (first, across), (second, up) = field.axes.items()
    x, x_scaled = _coordinates(across)
    y, y_scaled = _coordinates(up)
    image = _at_depth(field, depth)
    _map(axes, _edges(x, x_scaled), _edges(y, y_scaled), image.T, norm)
    _scale(axes, "x", first, across, x, x_scaled)
    _scale(axes, "y", second, up, y, y_scaled)


def _at_depth(field: Field, depth: float | None) -> Array:
    """The values (*grid) of the frames nearest to a depth that the run reached; None: of each run's last."""
    there = np.isfinite(field.times)
    if depth is None:
        frame = np.maximum(there.shape[-1] - 1 - there[..., ::-1].argmax(axis=-1), 0)
        found = there.any(axis=-1)
    else:
        distance = np.where(there, np.abs(field.times - depth), np.inf)
        frame = distance.argmin(axis=-1)
        last = np.max(np.where(there, field.times, -np.inf), axis=-1)
        found = last >= depth * (1 - 1e-9)
    values = np.take_along_axis(field.values, frame[..., None], axis=-1)[..., 0]
    return np.where(found, values, np.nan)


def _depths(field: Field, depths: Sequence[float] | None) -> list[float | None]:
    if depths is None:
        return [None]
    last = float(np.nanmax(field.times))
    for depth in depths:
        if not 0 <= depth <= last * (1 + 1e-9):
            raise InvalidInput(f"depths must lie in [0, {last:g}], where the sweep has frames; got {depth:g}")
    if not 1 <= len(depths) <= MOST_PANELS:
        raise InvalidInput(f"a figure has at most {MOST_PANELS} depths; got {len(depths)}")
    return list(depths)


def _map(axes: Axes, x: Array, y: Array, image: Array, norm: Normalize) -> None:
    axes.patch.set(**MISSING)
    shown = np.ma.masked_invalid(image)
    axes.pcolormesh(x, y, shown, norm=norm, cmap="viridis", rasterized=True, linewidth=0)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _norm(values: Array) -> Normalize:
    """Linear; logarithmic for what stays positive and changes a hundredfold, and for counts that change tenfold."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low > 0 and high >= (10 if low >= 1 else 100) * low:
        return LogNorm(low, high)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.5 * max(abs(high), 1.0)
        return Normalize(low - margin, high + margin)
    return Normalize(low, high)


def _coordinates(grid: NDArray[Any]) -> tuple[Array, bool]:
    """Where the values of a key stand on its axis, increasing or not, and whether that axis is logarithmic."""
    if grid.dtype.kind not in "if":
        return np.arange(float(len(grid))), False
    values = grid.astype(np.float64)
    return values, bool((values > 0).all() and saved_logarithmically(np.sort(values)))


def _edges(values: Array, geometric: bool) -> Array:
    """The edges (k + 1,) of cells around k values: half way to the neighbours, in the logarithm where geometric.

    A first value of 0 of a geometric sequence has its cell end half way to the next.
    """
    if len(values) == 1:
        return values[0] + np.array([-0.5, 0.5])
    inner = 0.5 * (values[1:] + values[:-1])
    if geometric:
        positive = (values[1:] > 0) & (values[:-1] > 0)
        inner = np.where(positive, np.sqrt(np.abs(values[1:] * values[:-1])), inner)
    first, last = 2 * values[0] - inner[0], 2 * values[-1] - inner[-1]
    if geometric:
        first = values[0] ** 2 / inner[0] if values[0] > 0 else values[0]
        last = values[-1] ** 2 / inner[-1] if values[-1] > 0 else values[-1]
    return np.concatenate([[first], inner, [last]])


def _scale(axes: Axes, side: str, key: str, grid: NDArray[Any], values: Array, geometric: bool) -> None:
    """Ticks and label of the axis of a key."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_label_text(SYMBOLS.get(key, key))
    if grid.dtype.kind not in "if":
        axis.set_ticks(values, [str(value) for value in grid])
        axis.set_tick_params(length=0)
    elif geometric:
        (axes.set_xscale if side == "x" else axes.set_yscale)("log")
        if values.min() >= 1e-3 and values.max() < 1e5:
            axis.set_major_formatter(PLAIN)
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=grid.dtype.kind == "i"))


def _colour_bar(figure: Figure, panels: list[Axes], name: str, norm: Normalize) -> None:
    mappable = ScalarMappable(norm, matplotlib.colormaps["viridis"])
    bar = figure.colorbar(mappable, ax=panels, pad=0.02, aspect=25)
    bar.set_label(f"{name.replace('_', ' ')}, mean over replicas")
    bar.outline.set_linewidth(0.6)
    low, high = norm.inverse(np.array([0.0, 1.0]))
    if isinstance(norm, LogNorm) and high < 1e3 * low:
        bar.locator, bar.formatter = LogLocator(subs=(1, 2, 5)), PLAIN
        bar.ax.yaxis.set_minor_locator(NullLocator())
