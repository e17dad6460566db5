"""Two files of the same tokens over depth: how far apart each token is in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles.block import Law
from ...particles.ensemble import Ensemble
from ...particles.observables import check_names, measure
from ..excerpt import evenly, frames_at
from .ensembles import ensemble_at
from .table import Table
from .wasserstein import transport

Array = NDArray[np.float64]
LawAt = Callable[[float], Law]
FRAMES = 12  # compared by default, evenly chosen among those that both have
LARGEST = 10_000  # tokens of which energies, sums over all pairs, are compared
SAME = 1e-9  # of the larger of two depths: those no further apart are the same


def compare(
    first: Any,
    second: Any,
    *,
    depths: Sequence[float] | None = None,
    replica: int = 0,
    laws: tuple[LawAt | None, LawAt | None] = (None, None),
) -> Table:
    """A row for each depth that both files have: token by token, as measures, and in their energies.

    depth        : of the frames of both, which is the same
    mean, largest: of the distances of the same token in both, sum_i a_i d(x_i, y_i) with the weights of the first, and
                   max; d is that of the space; NaN, and a remark, where the files have different numbers of tokens
    w1           : the Wasserstein-1 distance of both ensembles, see `wasserstein.transport`
    log_energy   : that of the second less that of the first, where both laws have one and tokens are at most 10 000

    depths  : the nearest that both have are compared; by default twelve of these, evenly among them
    laws    : the law of each at a depth, for energies; None where it is not known

    Frames are not interpolated. Raises InvalidInput for files of different spaces, of no common depths, for depths
    outside of them, and for a replica that one of them has not.
    """
    if first.space != second.space:
        raise InvalidInput(f"files to compare must be of the same space; got {first.space} and {second.space}")
    for one in (first, second):
        if not len(one):
            raise InvalidInput(f"{one.path} has no frames to compare")
    ours, theirs = common_frames(np.asarray(first.times), np.asarray(second.times))
    if len(ours) == 0:
        raise InvalidInput(
            f"the files have no depth in common: {_span(first)} and {_span(second)}; frames are not interpolated, so "
            "save both at the same depths"
        )
    chosen = evenly(len(ours), FRAMES) if depths is None else frames_at(np.asarray(first.times)[ours], depths)
    same_tokens = first.tokens == second.tokens
    rows = []
    for a, b in zip(ours[chosen].tolist(), theirs[chosen].tolist(), strict=True):
        mu, nu = ensemble_at(first, a, replica), ensemble_at(second, b, replica)
        apart = _apart(mu, nu) if same_tokens else np.full(1, np.nan)
        weights = np.asarray(mu.weights) if same_tokens else np.ones(1)
        depth = float(first.times[a])
        moved = transport(mu, nu, orders=(1,))
        energies = [_log_energy(law, depth, each) for law, each in zip(laws, (mu, nu), strict=True)]
        counted = apart[weights > 0]
        rows.append((depth, weights[weights > 0] @ counted, counted.max(), moved.w1, energies[1] - energies[0]))
        how = moved.described
    names = ("depth", "mean", "largest", "w1", "log_energy")
    columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    if np.isnan(columns["log_energy"]).all():
        del columns["log_energy"]
    return Table("compare", columns, _remarks(first, second, ours, same_tokens, how))


def common_frames(times: Array, others: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The frames of two files at the same depths, to nine digits: their numbers in the one and in the other."""
    nearest = np.searchsorted(others, times)
    left, right = np.maximum(nearest - 1, 0), np.minimum(nearest, len(others) - 1)
    nearest = np.where(np.abs(others[left] - times) < np.abs(others[right] - times), left, right)
    same = np.abs(others[nearest] - times) <= SAME * np.maximum(np.abs(times), np.abs(others[nearest]))
    ours = np.flatnonzero(same)
    return ours, nearest[ours]


def _apart(mu: Ensemble, nu: Ensemble) -> Array:
    """The distances of the same tokens, (tokens,)."""
    x, y = (np.asarray(each.positions[0], np.float64) for each in (mu, nu))
    return np.asarray(mu.space.distance(x, y), np.float64)


def _log_energy(law_at: LawAt | None, depth: float, ensemble: Ensemble) -> float:
    """log E of the law at this depth; NaN where there is no law, or none with an energy."""
    if law_at is None or ensemble.tokens > LARGEST:
        return float("nan")
    law = law_at(depth)
    try:
        check_names(["log_energy"], law)
    except InvalidInput:
        return float("nan")
    return float(measure(["log_energy"], ensemble, law)["log_energy"][0])


def _remarks(first: Any, second: Any, ours: NDArray[np.intp], same_tokens: bool, how: str) -> tuple[str, ...]:
    remarks = [f"w1: {how}"]
    if len(ours) < max(len(first.times), len(second.times)):
        remarks.append(f"{len(ours)} depths are in both files, of {len(first.times)} and {len(second.times)}")
    if not same_tokens:
        remarks.append(
            f"{first.tokens} and {second.tokens} tokens: no token is the same, distances are those of measures"
        )
    elif first.token_strings != second.token_strings:
        remarks.append("the tokens have different strings: token by token they may not be the same")
    return tuple(remarks)


def _span(trajectory: Any) -> str:
    return f"{len(trajectory.times)} frames from {trajectory.times[0]:g} to {trajectory.times[-1]:g}"
