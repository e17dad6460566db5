"""Runs to depths at which clusters last: merging, sums of differences and save times in geometric progression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..particles.attention import Attention
from ..particles.backends.differences import obstacle
from ..particles.ensemble import Ensemble
from ..particles.merging import Plateau, plateaus
from ..particles.observables import energy
from .events import clusters_left
from .integrate import integrate
from .solution import Solution

FIRST, PER_DECADE = 1e-2, 10  # of the default save times


@dataclass(frozen=True)
class LongSolution:
    """A run that merges, with every merge.

    solution    : times (frames,), positions (frames, 1, tokens, dimension) of all tokens, status, statistics; its
                  record has `merge_moved` and `merge_drift_change`, the error of merging
    merge_times : (merges,), to the relative precision of numbers
    merged_into : (merges, tokens), the number of the first token of each token's group from then on
    """

    law: Attention
    ensemble: Ensemble
    solution: Solution
    merge_times: NDArray[np.float64]
    merged_into: NDArray[np.intp]

    def plateaus(self, ratio: float = 1.0) -> list[Plateau]:
        """The depths between merges with the number of clusters, of those with end >= ratio * start."""
        return plateaus(self.merge_times, self.merged_into, self.solution.t, ratio)

    def energy(self) -> NDArray[np.float64]:
        """The interaction energy at every frame, (frames,): a staircase."""
        frames = self.ensemble.at(
            self.solution.positions[:, 0], weights=np.atleast_2d(np.asarray(self.ensemble.weights))[0]
        )
        return energy(frames, self.law)


def long_time(
    law: Attention,
    ensemble: Ensemble,
    t_end: float,
    *,
    merge: float = 1e-9,
    method: str = "dop853",
    rtol: float = 1e-10,
    save_at: ArrayLike | None = None,
    stop_at_clusters: int | None = None,
    cluster_distance: float | None = None,
    on_merge: Callable[[float, NDArray[np.intp]], None] | None = None,
) -> LongSolution:
    """Follow clusters on a sphere to depths up to 1e300.

    ensemble : one replica, float64      merge : the distance at which tokens become one
    rtol     : the error of a step as a share of the radius
    save_at  : depths in [0, t_end], by default 0 and ten per factor of ten from 0.01 on
    stop_at_clusters, cluster_distance : end where this many clusters are left, tokens being joined within this distance
    on_merge : called with (t, merged_into) at every merge

    Raises InvalidInput for a law whose drift is no sum of differences (see `attndyn.particles.backends.differences`:
    one head, V a number, dot products, softmax or none, no mask), and otherwise as `integrate`.
    """
    if reason := obstacle(law, ensemble.space, ensemble.positions.dtype):
        raise InvalidInput(f"long times {reason}")
    times: list[float] = []
    groups: list[NDArray[np.intp]] = []

    def note(t: float, merged_into: NDArray[np.intp]) -> None:
        times.append(t)
        groups.append(merged_into.copy())
        if on_merge is not None:
            on_merge(t, merged_into)

    stop = [] if stop_at_clusters is None else [clusters_left(ensemble, stop_at_clusters, cluster_distance)]
    solution = integrate(
        law, ensemble, t_end=t_end, method=method, rtol=rtol, atol=0.01 * rtol, merge=merge, stop=stop,
        save_at=_in_progression(t_end) if save_at is None else save_at, on_merge=note, sums="differences",
    )  # fmt: skip
    merged_into = np.array(groups, np.intp).reshape(len(groups), ensemble.tokens)
    return LongSolution(law, ensemble, solution, np.array(times), merged_into)


def _in_progression(t_end: float) -> NDArray[np.float64]:
    """Depth 0, and ten per factor of ten from 0.01 to the end."""
    if not (np.isfinite(t_end) and t_end > FIRST):
        raise InvalidInput(f"t_end must be a number above {FIRST:g} without save_at; got {t_end}")
    return np.append(0.0, np.geomspace(FIRST, t_end, max(2, round(PER_DECADE * np.log10(t_end / FIRST)) + 1)))
