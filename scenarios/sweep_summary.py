"""A sweep in words, for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..data.sweeps import Sweep, is_sweep, open_sweep
from .grid import Grid


def was_finished(path: Path) -> bool:
    """Whether there is a sweep file with all its points."""
    if not is_sweep(path):
        return False
    with open_sweep(path) as there:
        return there.finished


def failures(sweep: Sweep) -> int:
    """The number of points that failed."""
    return sum(status.startswith("failed") for status in sweep.status.ravel())


def sweep_ending(sweep: Sweep, finished_before: bool) -> str:
    """How a sweep ended, in one line."""
    failed = failures(sweep)
    seconds = np.nansum(sweep.statistics["wall_seconds"])
    if finished_before:
        return f"{sweep.path} is finished already: {len(sweep)} points; nothing to do (--overwrite runs them again)"
    if failed:
        first = next(status for status in sweep.status.ravel() if status.startswith("failed"))
        return f"{failed} of {len(sweep)} points failed; the first: {first.removeprefix('failed: ')} ({sweep.path})"
    return f"finished: {len(sweep)} points in {sweep.path} ({seconds:.2f} s of work)"


def interruption(path: Path, grid: Grid) -> str:
    """What is there after Ctrl-C, and how to go on, in one line."""
    done = 0
    if is_sweep(path):
        with open_sweep(path) as there:
            done = int(there.done.sum())
    return f"interrupted after {done} of {grid.size} points; the same command goes on with the rest ({path})"


def account(sweep: Sweep) -> dict[str, Any]:
    """What a sweep file holds, as JSON has it."""
    times = sweep.times
    return {
        "out": str(sweep.path),
        "scenario": sweep.name,
        "axes": {key: values.tolist() for key, values in sweep.axes.items()},
        "points": len(sweep),
        "done": int(sweep.done.sum()),
        "failed": failures(sweep),
        "frames": sweep.frames,
        "depth": float(np.nanmax(times)) if np.isfinite(times).any() else None,
        "observables": list(sweep.observables),
        "every_replica": bool(sweep.description.every_replica),
        "statistics": {name: float(np.nansum(values)) for name, values in sweep.statistics.items()},
    }


def sweep_overview(sweep: Sweep) -> str:
    """What a sweep file holds, in a few lines."""
    found = account(sweep)
    lines = [f"{sweep.path}: a sweep of {sweep.name}, {found['done']} of {len(sweep)} points done"]
    lines += [f"  {key:<18} {_range(values)}" for key, values in sweep.axes.items()]
    if found["depth"] is not None:
        lines.append(f"  frames             at most {sweep.frames}, up to depth {found['depth']:g}")
    for name, values in sweep.observables.items():
        finite = values[np.isfinite(values)]
        span = f"mean {finite.min():.6g} .. {finite.max():.6g}" if finite.size else "no values"
        lines.append(f"  {name:<18} {span}")
    if found["failed"]:
        lines.append(f"  failed             {found['failed']} points")
    lines += [f"  {name:<18} {value:g}" for name, value in found["statistics"].items()]
    return "\n".join(lines)


def _range(values: np.ndarray) -> str:
    if values.dtype.kind not in "if" or len(values) < 4:
        return ", ".join(map(str, values.tolist()))
    return f"{len(values)} values, {values[0]:g} .. {values[-1]:g}"
