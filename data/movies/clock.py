"""The clock of a movie: which depth each of its pictures shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput
from ..figures.depths import DepthScale, saved_logarithmically

Array = NDArray[np.float64]

# decades that the depths from 0 to the first positive one take: as long as on a figure's axis, which has linscale 0.5
LINEAR_DECADES = 0.5 / (1.0 - 0.1)


@dataclass(frozen=True)
class Clock:
    """Depth as a function of the share of the movie that has passed, from `first` at 0 to `last` at 1.

    Without a threshold t = first + share * (last - first). With a threshold h > 0, from which depth goes with its
    logarithm, and D = log10(last / h), t = last * 10^(-(1 - share) D) where first = h; where first = 0 the clock has
    D + LINEAR_DECADES decades, of which the last one is the way from 0 to h in a straight line.
    """

    first: float
    last: float
    threshold: float = 0.0

    @property
    def logarithmic(self) -> bool:
        return self.threshold > 0.0

    @property
    def _decades(self) -> float:
        return float(np.log10(self.last / self.threshold))

    @property
    def _linear(self) -> float:
        return LINEAR_DECADES if self.first < self.threshold else 0.0

    def depths(self, shares: ArrayLike) -> Array:
        """The depths at these shares of the movie, of the same shape."""
        shares = np.asarray(shares, np.float64)
        if not self.logarithmic:
            found = self.first + shares * (self.last - self.first)
        else:
            passed = shares * (self._linear + self._decades)
            late = self.threshold * 10.0 ** (passed - self._linear)
            early = self.threshold * passed / self._linear if self._linear else late
            found = np.where(passed < self._linear, early, late)
        return np.where(shares >= 1.0, self.last, np.where(shares <= 0.0, self.first, found))

    def shares(self, depths: ArrayLike) -> Array:
        """The inverse of `depths`; below 0 and above 1 outside [first, last]."""
        depths = np.asarray(depths, np.float64)
        if not self.logarithmic:
            return (depths - self.first) / (self.last - self.first or 1.0)
        late = self._linear + np.log10(np.maximum(depths, self.threshold) / self.threshold)
        # the logarithm goes on as its tangent below a threshold at which the movie begins
        below = depths / self.threshold
        early = self._linear * below if self._linear else (below - 1.0) / np.log(10.0)
        return np.where(depths < self.threshold, early, late) / (self._linear + self._decades)

    def scale(self) -> DepthScale:
        """The axis on which a cursor moves steadily with this clock, and the colours of depths."""
        ends = [self.first, self.threshold, self.last] if self._linear else [self.first, self.last]
        scale = DepthScale(np.array(ends))
        scale.logarithmic, scale.threshold = self.logarithmic, self.threshold
        return scale


def clock_of(times: Array, part: Sequence[float] | None, logarithmic: bool | None) -> Clock:
    """The clock of a movie of the frames at `times`, or of a part of them, (first, last) depth.

    logarithmic : None for what the frames suggest: whether they were saved at a geometric sequence of depths

    Raises InvalidInput for a part that is none or lies outside, and for a logarithm where there is no positive depth
    below the last one.
    """
    first, last = _ends(times, part)
    inside = times[(times >= first) & (times <= last)]
    if logarithmic is None:
        logarithmic = saved_logarithmically(inside)
    if not logarithmic:
        return Clock(first, last)
    positive = times[(times > 0.0) & (times < last)]
    if first < 0.0 or not last > max(first, 0.0) or (first == 0.0 and len(positive) == 0):
        raise InvalidInput(
            f"log depth needs a frame at a positive depth before the last; the frames go from {first:g} to {last:g}"
        )
    return Clock(first, last, first if first > 0.0 else float(positive[0]))


def _ends(times: Array, part: Sequence[float] | None) -> tuple[float, float]:
    whole = float(times[0]), float(times[-1])
    if part is None:
        return whole
    ends = np.asarray(part, np.float64)
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise InvalidInput(f"depths must be the first and the last depth of a part; got {', '.join(map(str, part))}")
    slack = 1e-9 * max(map(abs, whole))
    if not (ends[0] >= whole[0] - slack and ends[1] <= whole[1] + slack):
        raise InvalidInput(
            f"depths must lie in [{whole[0]:g}, {whole[1]:g}], where the trajectory has frames; "
            f"got {ends[0]:g} to {ends[1]:g}"
        )
    return float(max(ends[0], whole[0])), float(min(ends[1], whole[1]))
