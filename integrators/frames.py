"""Which frames of a run are due, and where they go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..particles.ensemble import Ensemble

Array = NDArray[np.floating]


class Frames:
    """The frames at `times` (frames,), increasing, handed to `on_save` or kept in memory.

    ensemble_at : (t, state) -> the ensemble that the state stands for
    """

    def __init__(
        self,
        times: NDArray[np.float64],
        on_save: Callable[[int, float, Ensemble], None] | None,
        ensemble_at: Callable[[float, Array], Ensemble],
    ) -> None:
        self._times, self._next, self._on_save = [*times.tolist(), np.inf], 0, on_save
        self._ensemble_at = ensemble_at
        self._kept: list[tuple[float, Ensemble]] = []
        self.last: float | None = None

    def due(self) -> float:
        """The next depth to save, infinity after the last."""
        return self._times[self._next]

    @property
    def saved(self) -> int:
        """How many of the frames that were asked for have been saved."""
        return self._next

    def go_on(self, saved: int, last: float | None) -> None:
        """Take so many frames as saved, the last of them at this depth."""
        self._next, self.last = saved, last

    def add_due(self, step: int, state: Array) -> None:
        """Save a state as the frame that is due."""
        t = self.due()
        self._next += 1
        self.add(step, t, state)

    def add(self, step: int, t: float, state: Array) -> None:
        """Save a frame: its step number, depth and state (replicas, tokens, dimension) or with more rows."""
        self.last = t
        frame = self._ensemble_at(t, state.copy())  # the stepper writes into its own again
        if self._on_save is None:
            self._kept.append((t, frame))
        else:
            self._on_save(step, t, frame)

    def arrays(self, ensemble: Ensemble) -> tuple[NDArray[np.float64], Array, NDArray[np.float64] | None, Array | None]:
        """times, positions, weights and focus of what was kept in memory, as `Solution` has them."""
        times, frames = np.array([t for t, _ in self._kept]), [frame for _, frame in self._kept]
        if not frames:
            return times, np.empty((0, *ensemble.positions.shape), ensemble.positions.dtype), None, None
        changed = any(frame.weights is not ensemble.weights for frame in frames)
        weights = np.stack([np.asarray(frame.weights) for frame in frames]) if changed else None
        focus = np.stack([np.asarray(frame.focus) for frame in frames]) if frames[0].focus is not None else None
        return times, np.stack([frame.positions for frame in frames]), weights, focus
