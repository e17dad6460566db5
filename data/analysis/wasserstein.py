"""Wasserstein distances between the frames of a file, and between two ensembles of any files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import MissingExtra
from ...particles.ensemble import Ensemble
from ...particles.space import Sphere
from ...particles.wasserstein import wasserstein
from ..excerpt import frames_along, frames_at, journey
from .ensembles import ensemble_at
from .subject import Subject
from .table import Table

LARGEST_EXACT = 2000  # tokens: an assignment of so many takes about a second
DIRECTIONS = 64  # of sliced distances, always the same
FRAMES = 6  # looked at by default, evenly along the way of the tokens


class Transport(NamedTuple):
    """W1 and W2 of two ensembles, and how they were computed: "exact" or "sliced", "geodesic" or "euclidean"."""

    w1: float
    w2: float
    method: str
    metric: str

    @property
    def described(self) -> str:
        return f"{self.method}, {'along great circles' if self.metric == 'geodesic' else 'straight lines'}"


def transport(mu: Ensemble, nu: Ensemble, orders: tuple[int, ...] = (1, 2)) -> Transport:
    """W1 and W2 of two ensembles of one replica each, of the same space: exact where that takes at most seconds.

    orders : those that are wanted; the others are NaN

    Exact at any number of tokens on the line and on the circle, along it; with up to 2000 tokens elsewhere, along great
    circles on a sphere. Beyond, and where weights or numbers of tokens differ and POT is not there, sliced by 64
    directions, in straight lines. NaN where a token is not finite. Source: `particles.wasserstein`. Raises InvalidInput
    for ensembles of different spaces.
    """
    sphere = isinstance(mu.space, Sphere)
    formula = mu.dimension == (2 if sphere else 1)
    if formula or max(mu.tokens, nu.tokens) <= LARGEST_EXACT:
        try:
            return _transport(mu, nu, orders, "exact", "geodesic" if sphere else "euclidean")
        except MissingExtra:
            pass
    return _transport(mu, nu, orders, "sliced", "euclidean")


def _transport(mu: Ensemble, nu: Ensemble, orders: tuple[int, ...], method: str, metric: str) -> Transport:
    if not all(np.isfinite(each.positions).all() for each in (mu, nu)):
        return Transport(np.nan, np.nan, method, metric)
    first, second = (
        float(wasserstein(mu, nu, order=order, method=method, metric=metric, directions=DIRECTIONS)[0])  # type: ignore[arg-type]
        if order in orders
        else np.nan
        for order in (1, 2)
    )
    return Transport(first, second, method, metric)


def distances(subject: Subject) -> Table:
    """W1 and W2 of a replica from each of the depths to the next, and from each to the last, as rows."""
    trajectory = subject.trajectory
    if subject.depths is None:
        frames = frames_along(*journey(trajectory, subject.replica), count=FRAMES)
    else:
        frames = frames_at(trajectory.times, subject.depths)
    last = len(frames) - 1
    pairs = [(k, k + 1) for k in range(last)] + [(k, last) for k in range(last - 1)]
    seen = [ensemble_at(trajectory, int(frame), subject.replica) for frame in frames]
    found = [transport(seen[start], seen[end]) for start, end in pairs]
    depths = np.asarray(trajectory.times)[frames]
    columns = {
        "depth": np.array([depths[start] for start, _ in pairs]),
        "to_depth": np.array([depths[end] for _, end in pairs]),
        "w1": np.array([each.w1 for each in found]),
        "w2": np.array([each.w2 for each in found]),
    }
    ways = sorted({each.described for each in found})
    return Table("wasserstein", columns, tuple(f"Wasserstein distances: {way}" for way in ways))
