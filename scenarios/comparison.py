"""Comparison of two trajectory files by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..data.analysis import compare as comparing
from ..data.analysis.table import Table
from ..errors import AttndynError
from ..particles.block import Law
from .trajectory import Trajectory
from .trajectory import open as open_trajectory


def compare(
    first: str | Path | Trajectory,
    second: str | Path | Trajectory,
    *,
    depths: Sequence[float] | None = None,
    replica: int = 0,
) -> Table:
    """How far apart the tokens of two runs are, depth by depth: see `attndyn.data.analysis.compare.compare`.

    first, second : files, or trajectories that are open
    """
    with ExitStack() as stack:
        both = [
            each if isinstance(each, Trajectory) else stack.enter_context(open_trajectory(each))
            for each in (first, second)
        ]
        laws = _law_of(both[0]), _law_of(both[1])
        return comparing.compare(both[0], both[1], depths=depths, replica=replica, laws=laws)


def _law_of(trajectory: Trajectory) -> Callable[[float], Law] | None:
    """Its law at a depth; None where its scenario is not understood."""
    try:
        trajectory.plan  # noqa: B018
    except AttndynError:
        return None
    return trajectory.law_at
