"""Going on with the file of a run that was interrupted, failed for want of room, or was killed.

The frames up to the last checkpoint are copied into a new file, which takes the place of the unfinished one when it
holds a checkpoint itself. So a second kill, at any moment, leaves one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..particles import Ensemble
from . import layout
from .checkpoints import Slot
from .opening import guard
from .reading import Trajectory
from .trajectory import TrajectoryWriter

OVER = ("finished", "stopped")
COPIED_BYTES = 64 * layout.MEBIBYTE  # of positions at a time


@dataclass(frozen=True)
class Unfinished:
    """A run that can be gone on with.

    path   : the name its file gets when it is finished
    source : where its file stands now
    """

    path: Path
    source: Path


def unfinished(path: str | Path) -> Unfinished:
    """The unfinished run of this name: NAME.h5, or what a killed run has left, NAME.h5.partial.

    Raises InvalidInput where there is none.
    """
    path = Path(path)
    if path.name.endswith(".partial"):
        path = path.with_name(path.name.removesuffix(".partial"))
    partial = layout.partial_path(path)
    if partial.is_file():  # later than a file of that name, if there is one
        return Unfinished(path, partial)
    if not path.is_file():
        raise InvalidInput(f"there is no run to go on with: neither {path} nor {partial}")
    return Unfinished(path, path)


def check_unfinished(trajectory: Trajectory) -> None:
    """Raise InvalidInput where a run has reached its end."""
    if trajectory.status.partition(":")[0] in OVER:
        raise InvalidInput(f"{trajectory.path} has reached its end ({trajectory.status}): nothing is left to do")


def going_on(trajectory: Trajectory, path: Path) -> tuple[TrajectoryWriter, Slot | None]:
    """A writer that has all frames of an unfinished run up to its last checkpoint, and that checkpoint.

    The new file stands in for the old one from the first `keep` of the writer on. Raises TrajectoryError where another
    run writes the file, or it cannot be written.
    """
    slot = trajectory.checkpoint
    with guard(trajectory.path, layout.CHECKPOINT):
        frames = 0 if slot is None else min(int(slot.record["frames"]), len(trajectory))
    merges = 0 if slot is None else slot.merges
    writer = TrajectoryWriter(
        path,
        ensemble=_first(trajectory),
        scenario=trajectory.scenario_text,
        observables=_shapes(trajectory),
        provenance=_resumed(trajectory.provenance, frames),
        token_strings=trajectory.token_strings,
        arrays=dict(trajectory.arrays),
        dtype=trajectory.positions.dtype,
        merging=trajectory.merging,
        overwrite=True,
        going_on=True,
    )
    try:
        _copy(trajectory, writer, frames, merges)
    except BaseException:
        writer.abandon()
        raise
    return writer, slot


def _first(trajectory: Trajectory) -> Ensemble:
    """An ensemble of the run's shape: what a writer wants to know, of which positions are no part."""
    shape = trajectory.positions.shape[1:]
    blank = Ensemble(np.ones(shape, trajectory.positions.dtype), trajectory.space)
    return blank.at(blank.positions, weights=trajectory.weights)


def _shapes(trajectory: Trajectory) -> dict[str, tuple[int, ...]]:
    return {name: trajectory.observables[name].shape[2:] for name in trajectory.observables}


def _resumed(provenance: dict[str, Any], frames: int) -> dict[str, Any]:
    """The provenance, with a line on where and by what the run was gone on with."""
    now = {"frames": frames, "at": datetime.now(UTC).isoformat(timespec="seconds"), "attndyn": version("attndyn")}
    before = provenance.get("resumed")
    return provenance | {"resumed": [*(before if isinstance(before, list) else []), now]}


def _copy(trajectory: Trajectory, writer: TrajectoryWriter, frames: int, merges: int) -> None:
    row = int(np.prod(trajectory.positions.shape[1:])) * trajectory.positions.dtype.itemsize
    block = max(1, COPIED_BYTES // row)
    observables = {name: trajectory.observables[name] for name in trajectory.observables}
    for start in range(0, frames, block):
        positions = trajectory.positions[start : min(start + block, frames)]
        for k, frame in enumerate(positions, start):
            values = {name: of[k] for name, of in observables.items()}
            writer.append(int(trajectory.steps[k]), float(trajectory.times[k]), frame, values)
    times, merged_into = trajectory.merges
    for t, groups in zip(times[:merges], merged_into[:merges], strict=True):
        writer.append_merge(float(t), groups)
