"""A trajectory whose positions are in memory: a page looks at all of them several times."""

from __future__ import annotations

from typing import Any

MOST_BYTES = 1 << 29  # of positions; those of larger files are read each time


class Held:
    """Everything of an open trajectory, and its positions as an array."""

    def __init__(self, trajectory: Any) -> None:
        self._trajectory = trajectory
        self.positions = trajectory.positions[:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trajectory, name)


def held(trajectory: Any) -> Any:
    """The trajectory with its positions in memory, where they are not too many."""
    frames, replicas, tokens, dimension = trajectory.positions.shape
    small = frames * replicas * tokens * dimension * trajectory.positions.dtype.itemsize <= MOST_BYTES
    return Held(trajectory) if small else trajectory
