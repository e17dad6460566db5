"""What an integration returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .failures import Failure

Array = NDArray[np.floating]


@dataclass
class Statistics:
    """What a run took."""

    drift_evaluations: int = 0
    accepted: int = 0
    rejected: int = 0
    wall_seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """The numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Solution:
    """The end of an integration, and its frames where they were kept in memory.

    times     : (frames,)
    positions : (frames, replicas, tokens, dimension); no frames where they were handed to `on_save`
    weights   : (frames, tokens) or (frames, replicas, tokens), where token weights change with depth, else None
    focus     : (frames, replicas, 2, dimension), place and velocity of the focus, where there is one
    status    : "finished", "stopped: <event>", "interrupted" or "failed: <why>"
    t, final  : depth and positions (replicas, tokens, dimension) at the end
    merged_into : (tokens,), the number of the first token of the group that each has become one with, or its own
    record    : what the sums over tokens have to tell of themselves, where they are not exact
    """

    times: NDArray[np.float64]
    positions: Array
    weights: NDArray[np.float64] | None
    focus: Array | None
    status: str
    statistics: Statistics
    t: float
    final: Array
    merged_into: NDArray[np.intp]
    record: dict[str, Any]
    failure: Failure | None = None


def joined_records(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """What two fields, used one after the other, have to tell: all the ways, all checks, the largest of numbers."""
    joined = first | then
    for name in first.keys() & then.keys():
        before, after = first[name], then[name]
        if name == "sums":
            joined[name] = before if str(before).endswith(str(after)) else f"{before}, then {after}"
        elif name == "sum_checks":
            joined[name] = before + after
        elif not isinstance(after, str):
            joined[name] = max(before, after)
    return joined
