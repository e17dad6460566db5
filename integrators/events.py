"""What ends a run before its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..particles import observables
from ..particles.ensemble import Ensemble

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Event:
    """A condition that ends a run.

    name    : what the status says: "stopped: <name>"
    reached : (t, positions (replicas, tokens, dimension), speed or None) -> bool; the speed is the drift there
    located : whether the depth at which it came true is found inside the step by bisection
    """

    name: str
    reached: Callable[[float, Array, Array | None], bool]
    located: bool = False


def clusters_left(ensemble: Ensemble, count: int = 1, distance: float | None = None) -> Event:
    """Every replica has at most `count` clusters, tokens being joined within `distance` (default: the space's)."""
    if count < 1:
        raise InvalidInput(f"clusters must be at least 1; got {count}")
    if distance is None:
        distance = observables.default_cluster_distance(ensemble.space)

    def reached(t: float, positions: Array, speed: Array | None) -> bool:
        return bool((observables.clusters(ensemble.at(positions), distance) <= count).all())

    return Event(f"clusters <= {count}", reached, located=True)


def slower_than(tolerance: float) -> Event:
    """The fastest token's drift is below `tolerance`; needs a method with a velocity, not layers."""
    if not tolerance > 0:
        raise InvalidInput(f"drift must be a positive number; got {tolerance}")

    def reached(t: float, positions: Array, speed: Array | None) -> bool:
        return speed is not None and bool(np.sqrt(np.max(np.sum(speed**2, axis=-1))) < tolerance)

    return Event(f"drift < {tolerance:g}", reached)


def wall_clock(seconds: float) -> Event:
    """So many seconds have passed since this function was called."""
    if not seconds > 0:
        raise InvalidInput(f"seconds must be a positive number; got {seconds}")
    end = time.monotonic() + seconds
    return Event(f"{seconds:g} seconds passed", lambda t, positions, speed: time.monotonic() >= end)
