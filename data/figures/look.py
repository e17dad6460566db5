"""What is looked at in a figure of a trajectory: one replica, some of its depths, and the law if it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles import Ensemble
from ...particles.block import Law
from ..analysis.ensembles import ensemble_at
from ..excerpt import cluster_distance_of, frames_along, frames_at, journey
from ..layout import STATE
from .depths import DepthScale

Array = NDArray[np.float64]


class Sheet(NamedTuple):
    """A figure without title and facts, and what is to be said below it: what was sampled, what is marked."""

    figure: Figure
    remarks: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Look:
    """A view of a trajectory.

    trajectory : an open file, see `attndyn.data.reading.Trajectory`
    law_at     : the law at a depth; None where it is not known
    replica    : one of its replicas
    chosen     : depths at which to look closely; by default the first and the last, and some along the way
    heads      : of the attention; by default the first few

    Raises InvalidInput for a trajectory without frames, a replica that is not there, a depth outside the trajectory.
    """

    trajectory: Any
    law_at: Callable[[float], Law] | None = None
    replica: int = 0
    chosen: Sequence[float] | None = None
    heads: Sequence[int] | None = None

    def __post_init__(self) -> None:
        replicas, replica = self.trajectory.positions.shape[1], self.replica
        if isinstance(replica, bool) or not isinstance(replica, int | np.integer) or not 0 <= replica < replicas:
            raise InvalidInput(f"replica must be an integer in [0, {replicas - 1}]; got {replica!r}")
        if len(self.times) == 0:
            raise InvalidInput("the trajectory has no frames to draw")
        if self.chosen is not None:
            frames_at(self.times, self.chosen)

    @cached_property
    def times(self) -> Array:
        """All depths (frames,)."""
        return np.asarray(self.trajectory.times, np.float64)

    @property
    def space(self) -> Any:
        return self.trajectory.space

    @property
    def tokens(self) -> int:
        return int(self.trajectory.positions.shape[2])

    @cached_property
    def _journey(self) -> tuple[NDArray[np.intp], Array]:
        return journey(self.trajectory, self.replica)

    @cached_property
    def frames(self) -> NDArray[np.intp]:
        """The frames that are looked at closely."""
        return frames_along(*self._journey) if self.chosen is None else frames_at(self.times, self.chosen)

    @cached_property
    def scale(self) -> DepthScale:
        """How depths are scaled and coloured."""
        sampled, gone = self._journey
        half = self.times[sampled[np.searchsorted(gone, 0.5 * gone[-1])]] if gone[-1] > 0 else None
        return DepthScale(self.times, half, self.times[self.frames])

    def spread(self, most: int, scale: DepthScale | None = None) -> NDArray[np.intp]:
        """At most about `most` frames, the nearest to depths that are evenly spaced on a scale; first and last too."""
        if len(self.times) <= most:
            return np.arange(len(self.times))
        depths = np.asarray((scale or self.scale).norm.inverse(np.linspace(0.0, 1.0, most)))
        return np.unique([0, *np.abs(self.times[None, :] - depths[:, None]).argmin(axis=1), len(self.times) - 1])

    @property
    def cluster_distance(self) -> float | None:
        """Within which two tokens belong together, where the trajectory's scenario says so."""
        return cluster_distance_of(self.trajectory)

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The names of the observables that the file holds."""
        return tuple(name for name in self.trajectory.observables if name not in STATE)

    def observable(self, name: str) -> Array:
        """The values (frames,) of an observable that the file holds, for the replica."""
        return np.asarray(self.trajectory.observables[name], np.float64)[:, self.replica]

    def law(self, frame: int = 0) -> Law:
        """The law at a frame. Raises InvalidInput where it is not known."""
        if self.law_at is None:
            raise InvalidInput("the law is not known: the file's scenario is not understood")
        return self.law_at(float(self.times[frame]))

    def ensemble(self, frame: int) -> Ensemble:
        """The tokens of a frame with the weights they have there, the replica alone."""
        return ensemble_at(self.trajectory, frame, self.replica)
