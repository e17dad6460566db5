"""Depth in a figure: the axis it is drawn along and the colour it is shown in, the same in every panel."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, PowerNorm, SymLogNorm
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class DepthScale:
    """How the depths of a trajectory are scaled: logarithmically where they were saved so, else linearly.

    A first frame at depth 0 stays on a logarithmic axis: below the first positive depth the axis is linear.
    Early depths are light and late ones dark, so that the end of a path is seen on top of its beginning.
    Where the tokens are half way early in the run, at the depth `half`, colour goes with the root of the
    depth. `marks` are the depths that are looked at more closely. With `logarithmic` any depths are scaled so
    that are positive and range over a factor of 20.
    """

    def __init__(
        self, times: Array, half: float | None = None, marks: ArrayLike = (), logarithmic: bool = False
    ) -> None:
        self.marks = np.asarray(marks, np.float64)
        self.first, self.last = float(times[0]), float(times[-1])
        self.logarithmic = saved_logarithmically(times) or (logarithmic and _over_decades(times[times > 0]))
        self.threshold = float(times[times > 0][0]) if self.logarithmic else 0.0
        self.early = half is not None and half - self.first < 0.15 * (self.last - self.first)
        self.colormap = _light_to_dark()

    @property
    def norm(self) -> Normalize:
        last = self.last if self.last > self.first else self.first + 1.0
        if not self.logarithmic:
            return PowerNorm(0.5, self.first, last) if self.early else Normalize(self.first, last)
        if self.first > 0:
            return LogNorm(self.first, last)
        return SymLogNorm(self.threshold, linscale=0.5, vmin=self.first, vmax=last)

    def colours(self, times: ArrayLike) -> NDArray[np.float64]:
        """Colours (..., 4) of these depths."""
        return self.colormap(np.asarray(self.norm(np.asarray(times, np.float64))))

    def along_x(self, axes: Axes, label: bool = True, ticks: int = 5) -> None:
        """Make the x axis of `axes` the depth, with about so many ticks."""
        if self.logarithmic and self.first > 0:
            axes.set_xscale("log")
        elif self.logarithmic:
            axes.set_xscale("symlog", linthresh=self.threshold, linscale=0.5)
        if self.last > self.first:
            axes.set_xlim(self.first, self.last)
        else:
            axes.set_xlim(self.first - 0.5, self.first + 0.5)
        if self.logarithmic:
            low = np.log10(self.threshold) + 0.35 * (self.first <= 0)
            powers = 10.0 ** thinned(np.arange(np.ceil(low), np.floor(np.log10(self.last)) + 1), ticks)
            axes.set_xticks([*([0.0] if self.first <= 0 else []), *powers])
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
        if label:
            axes.set_xlabel("depth $t$")


def mark(axes: Axes, times: Array, values: Array, depths: DepthScale, **options: Any) -> None:
    """Dots at `values` (marks,) over `times` (marks,), each in the colour of its depth."""
    colours = depths.colours(times)
    style = {"s": 14, "edgecolors": "white", "linewidths": 0.5, "zorder": 3, "clip_on": False}
    axes.scatter(times, values, color=colours, **{**style, **options})


def saved_logarithmically(times: Array) -> bool:
    """Whether the positive depths, at least 5 of them over a factor of 20, are far closer to a geometric
    sequence than to an arithmetic one."""
    positive = times[times > 0]
    if not _over_decades(positive):
        return False
    ratios, steps = np.diff(np.log(positive)), np.diff(positive)
    return bool(np.std(ratios) * np.mean(steps) < 0.2 * np.std(steps) * np.mean(ratios))


def _over_decades(positive: Array) -> bool:
    return len(positive) >= 5 and bool(positive[-1] >= 20 * positive[0])


def thinned(values: Array, most: int) -> Array:
    """Every k-th of the values, counted from the last, such that at most about `most` are left."""
    return values[::-1][:: max(1, -(-len(values) // most))][::-1]


def _light_to_dark() -> Colormap:
    """Viridis backwards without its ends: yellow is not seen on white, the last purple is nearly black."""
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.86, 0.03, 256)), name="depth")
