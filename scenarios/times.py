"""The depths at which the frames of a scenario are saved, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..integrators import method_of
from .sections import Depth, LogTimes, Save

MAX_FRAMES = 10_000_000
NO_INTERPOLANT = ("geodesic-euler", "euler-maruyama")
SLACK = 1e-9  # a depth is a multiple of the step, or the end of the run, up to this fraction


def save_times(depth: Depth, save: Save) -> NDArray[np.float64]:
    """Increasing depths in [0, end], (frames,); where there is nothing between two steps, whole steps."""
    end = depth.end
    if isinstance(save.times, list):
        times = np.asarray(save.times, np.float64)
        times = np.where(np.abs(times - end) <= SLACK * end, end, times)
    elif isinstance(save.times, LogTimes):
        times = np.append(0.0, np.geomspace(save.times.first, end, save.times.count))
    else:
        times = _evenly(end, _interval(depth, save))
    grid = _grid(depth, save)
    return times if grid is None else np.unique(np.where(times == end, end, np.rint(times / grid) * grid))


def wrong_times(depth: Depth, save: Save) -> Iterator[tuple[str, str]]:
    """The keys of `save` that do not go with the run, each with a sentence that says why."""
    end, grid = depth.end, _grid(depth, save)
    if save.every is not None and save.times is not None:
        yield "save.every", "give either every or times, not both"
    elif isinstance(save.times, LogTimes):
        if save.times.first >= end:
            yield "save.times.first", f"must be less than the run's depth {end:g}; got {save.times.first:g}"
    elif save.times is not None:
        yield from _wrong_list(save.times, end, grid)
    elif (every := _interval(depth, save)) > end * (1 + SLACK):
        yield "save.every", f"must be at most the run's depth {end:g}; got {every:g}"
    elif end / every > MAX_FRAMES:
        yield "save.every", f"must leave at most {MAX_FRAMES} frames; got {end / every:.3g} of them"
    elif grid is not None and not _whole(every / grid):
        yield "save.every", f"must be a multiple of the step {grid:g}; got {every:g}"


def _wrong_list(times: list[float], end: float, grid: float | None) -> Iterator[tuple[str, str]]:
    for index, time in enumerate(times):
        if time > end * (1 + SLACK):
            yield "save.times", f"must lie within the run, [0, {end:g}]; got {time:g} at position {index + 1}"
            return
        if index and time <= times[index - 1]:
            yield "save.times", f"must increase; got {time:g} after {times[index - 1]:g}"
            return
        if grid is not None and time < end * (1 - SLACK) and not _whole(time / grid):
            yield "save.times", f"must be multiples of the step {grid:g}; got {time:g}"
            return


def _interval(depth: Depth, save: Save) -> float:
    if save.every is not None:
        return save.every
    if depth.layers is not None:
        return depth.layer_step
    grid = _grid(depth, save)
    return depth.end / 100 if grid is None else max(round(depth.end / 100 / grid), 1) * grid


def _grid(depth: Depth, save: Save) -> float | None:
    """The step of which all save times are multiples, where there is nothing between two steps to save."""
    if depth.layers is not None:
        return depth.layer_step
    whole_steps = save.exact or depth.method in NO_INTERPOLANT or depth.noise > 0.0
    stepwise = not method_of(depth.method).adaptive and whole_steps
    return depth.step if stepwise else None


def _evenly(end: float, interval: float) -> NDArray[np.float64]:
    if _whole(end / interval):
        frames = round(end / interval)
        return np.arange(frames + 1) * end / frames
    return np.append(np.arange(int(end / interval) + 1) * interval, end)


def _whole(ratio: float) -> bool:
    return abs(ratio - round(ratio)) <= SLACK * max(ratio, 1.0)
