"""Where the tokens are in every picture of a movie: between saved frames, and in the coordinates that are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..excerpt import affordable, blocks, evenly, read_frame
from .clock import Clock

Array = NDArray[np.float64]
Tokens = NDArray[np.intp]

MOST_TOKENS = 600  # that are drawn: more cannot be told apart, and take longer
FRAMES_OF_COMPONENTS = 24
ROWS_OF_COMPONENTS = 1500


def motion(
    trajectory: Any,
    replica: int,
    tokens: Tokens,
    clock: Clock,
    pictures: int,
    project: Callable[[Array], Array] | None = None,
) -> Array:
    """Positions (pictures, tokens, dimension) of some tokens, from the first depth of the clock to its last.

    Between two saved frames a token is on the straight line between them, at the share of the clock's time that has
    passed, retracted to the space: on a sphere it is on the great circle. Where that is no number, between antipodes or
    beside NaN, it is where the nearer frame has it. `project` maps (tokens, dimension) to fewer dimensions.
    """
    saved = clock.shares(trajectory.times)
    shares = np.linspace(0.0, 1.0, pictures)
    after = np.searchsorted(saved, shares, side="right").clip(1, max(len(saved) - 1, 1))
    needed = np.unique(np.concatenate([after - 1, after]).clip(0, len(saved) - 1))
    kept = needed[evenly(len(needed), affordable(trajectory, len(needed)))]
    left = (np.searchsorted(saved[kept], shares, side="right") - 1).clip(0, max(len(kept) - 2, 0))
    places: list[Array] = []
    start, last = 0, None
    for part in blocks(trajectory, kept, replica, tokens):
        rows = part if last is None else np.concatenate([last, part])
        inside = (left >= start) & ((left < start + len(rows) - 1) | (len(kept) == 1))
        where = left[inside] - start
        beyond = np.minimum(where + 1, len(rows) - 1)
        share = _passed(saved[kept], left[inside], shares[inside])
        for now, then, weight in zip(where, beyond, share, strict=True):
            between = _between(trajectory.space, rows[now], rows[then], float(weight))
            places.append(between if project is None else project(between))
        start, last = start + len(rows) - 1, rows[-1:]
    return np.stack(places)


def _passed(saved: Array, left: NDArray[np.intp], shares: Array) -> Array:
    """How much of the way from frame `left` to the next has passed, in [0, 1]."""
    right = np.minimum(left + 1, len(saved) - 1)
    way = saved[right] - saved[left]
    return np.divide(shares - saved[left], way, out=np.ones(len(left)), where=way > 0).clip(0.0, 1.0)


def _between(space: Any, before: Array, after: Array, share: float) -> Array:
    """Positions (tokens, dimension) at a share of the way from one frame to the next."""
    nearer = before if share < 0.5 else after
    if share in (0.0, 1.0):  # a saved frame itself, to the last digit
        return nearer
    with np.errstate(all="ignore"):
        found = space.retract((1.0 - share) * before + share * after)
    return np.where(np.isfinite(found), found, nearer)


def principal_axes(trajectory: Any, replica: int, tokens: Tokens, clock: Clock) -> tuple[Array, Array, Array]:
    """Centre (dimension,), three directions (3, dimension) and their shares of the variance (3,), of the whole part.

    From some of the tokens in some of the frames between the ends of the clock, evenly along it.
    """
    shares = np.linspace(0.0, 1.0, FRAMES_OF_COMPONENTS)
    frames = np.unique(np.abs(clock.shares(trajectory.times)[None] - shares[:, None]).argmin(axis=1))
    some = tokens[evenly(len(tokens), max(ROWS_OF_COMPONENTS // len(frames), 2))]
    rows = np.concatenate([read_frame(trajectory, int(frame), replica, some) for frame in frames])
    rows = rows[np.isfinite(rows).all(axis=1)]
    dimension = trajectory.positions.shape[3]
    directions, variances = np.eye(3, dimension), np.zeros(3)
    if len(rows) == 0:
        return np.zeros(dimension), directions, variances
    centre = rows.mean(axis=0)
    rows = rows - centre
    squares, vectors = np.linalg.eigh(rows @ rows.T if len(rows) <= dimension else rows.T @ rows)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    found = int(np.count_nonzero(squares[:3] > 1e-12 * max(squares[0], np.finfo(float).tiny)))
    leading = vectors[:, :found].T
    if len(rows) <= dimension:
        leading = (leading @ rows) / np.sqrt(squares[:found])[:, None]
    directions[:found], variances[:found] = leading, squares[:found]
    # the sign of a singular vector is arbitrary; this one does not change with the linear algebra library
    directions *= np.where(np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1) < 0, -1.0, 1.0)
    total = float(np.sum(rows**2))
    return centre, directions, variances / total if total > 0 else variances
