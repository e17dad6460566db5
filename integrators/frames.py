"""Which frames of a run are due, and where they go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..particles.ensemble import Ensemble

Array = NDArray[np.floating]


class Frames:
    """The frames at `times` (frames,), increasing, handed to `on_save` or kept in memory."""

    def __init__(
        self,
        times: NDArray[np.float64],
        on_save: Callable[[int, float, Array], None] | None,
        ensemble: Ensemble,
    ) -> None:
        self._times, self._next, self._on_save = [*times.tolist(), np.inf], 0, on_save
        self._like = ensemble.positions
        self._kept: list[tuple[float, Array]] = []
        self.last: float | None = None

    def due(self) -> float:
        """The next depth to save, infinity after the last."""
        return self._times[self._next]

    def add_due(self, step: int, positions: Array) -> None:
        """Save positions (replicas, tokens, dimension) as the frame that is due."""
        t = self.due()
        self._next += 1
        self.add(step, t, positions)

    def add(self, step: int, t: float, positions: Array) -> None:
        """Save a frame: its step number, depth and positions (replicas, tokens, dimension)."""
        self.last = t
        if self._on_save is None:
            self._kept.append((t, positions.copy()))
        else:
            self._on_save(step, t, positions.copy())  # the stepper writes into its own again

    def arrays(self) -> tuple[NDArray[np.float64], Array]:
        """times (frames,) and positions (frames, replicas, tokens, dimension) of what was kept in memory."""
        if not self._kept:
            return np.empty(0), np.empty((0, *self._like.shape), self._like.dtype)
        return np.array([t for t, _ in self._kept]), np.stack([x for _, x in self._kept])
