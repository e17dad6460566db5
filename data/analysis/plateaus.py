"""Metastable plateaus: depths between which the number of clusters stays and the energy is flat."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles.observables import check_names, measure
from .ensembles import ensembles
from .subject import Subject
from .table import Table
from .tree import ClusterTree, cluster_tree

Array = NDArray[np.float64]
TOLERANCE = 0.05  # of the range of levels over the whole trajectory
GROWTH = 0.5  # of the size of a level that is larger than 1
RATIO = 2.0  # of the depths of end and start
SHARE = 0.1  # of the whole depth
LARGEST = 4000  # tokens of which an energy that is not in the file is computed, frame by frame


class Plateau(NamedTuple):
    """A stretch of depth in which nothing happens.

    first, last : its first and last frame           start, end : their depths
    clusters    : of more than one token             level      : the mean level over its frames
    ended_by    : "clusters", "level", or "end" where the trajectory ends in it
    """

    first: int
    last: int
    start: float
    end: float
    clusters: int
    level: float
    ended_by: str


def plateaus(
    times: Array,
    clusters: NDArray[np.integer],
    levels: Array,
    *,
    tolerance: float = TOLERANCE,
    ratio: float = RATIO,
    share: float = SHARE,
) -> list[Plateau]:
    """The plateaus of a trajectory, in order of depth.

    times, clusters, levels : (frames,); levels are log E where there is an energy, else another measure of order

    A plateau is a run of at least three frames in which the number of clusters is the same and at least one, and the
    levels stay within `tolerance` times their range over the whole trajectory, and do not double;
    it must last: end >= ratio * start or
    end - start >= share * (the whole depth). Of runs that overlap the one that lasts longest in log depth is taken
    first, then what lasts longest of the rest. A run that begins with the trajectory, where no ratio says anything,
    counts if what comes then, until the next plateau or the end, takes no longer than it did.
    """
    finite = np.isfinite(levels)
    room = tolerance * np.ptp(levels[finite]) if finite.any() else 0.0
    origin = times[times > 0].min(initial=np.inf)
    clock = np.log1p(times / origin)

    def lasts(first: int, last: int) -> bool:
        if last - first < 2:
            return False
        start, end = times[first], times[last]
        return bool(end >= ratio * start or end - start >= share * np.ptp(times))

    found: list[Plateau] = []
    counted = np.where(finite, clusters, 0)
    stretches = _constant(counted)
    while stretches:
        low, high = stretches.pop()
        if not lasts(low, high) or counted[low] < 1:
            continue
        first, last = _longest_flat(levels[low : high + 1], clock[low : high + 1], room)
        first, last = low + first, low + last
        here = levels[first : last + 1]
        # of what grows like an exponential all but the last is flat beside the range of the run
        if lasts(first, last) and np.ptp(here) <= GROWTH * max(1.0, np.abs(here).max()):
            why = "end" if last == len(times) - 1 else "level" if counted[last + 1] == counted[last] else "clusters"
            level = float(here.mean())
            found.append(
                Plateau(first, last, float(times[first]), float(times[last]), int(clusters[first]), level, why)
            )
        stretches += [(low, first - 1), (last + 1, high)]
    return _without_rushed_start(sorted(found), times)


def plateaus_of(subject: Subject) -> Table:
    """The plateaus of a replica as rows; its remarks say the criterion and what its levels are."""
    trajectory = subject.trajectory
    tree = cluster_tree(trajectory, subject.replica, distance=subject.cluster_distance, threads=subject.threads)
    name, levels = levels_of(subject, tree)
    found = plateaus(tree.times, tree.counts(2), levels)
    columns = {key: np.array([getattr(each, key) for each in found]) for key in Plateau._fields[2:]}
    columns[name] = columns.pop("level")
    remark = (
        f"plateaus: at least three frames with the same number of clusters of more than one token and {name} within "
        f"{TOLERANCE:.0%} of its range over the run, that last until {RATIO:g} times their start or for {SHARE:.0%} of "
        "the whole depth"
    )
    return Table("plateaus", columns, (remark,))


def levels_of(subject: Subject, tree: ClusterTree) -> tuple[str, Array]:
    """What tells plateaus apart besides clusters: its name, and its values in the frames of a tree (frames,).

    log_energy, where the file has it or energy, or the law has one and tokens are at most 4000; else the mean cosine.
    """
    trajectory, stored = subject.trajectory, subject.trajectory.observables
    for name in ("log_energy", "energy"):
        if name in stored:
            values = stored[name][tree.frames, subject.replica]
            with np.errstate(divide="ignore", invalid="ignore"):
                return "log_energy", values if name == "log_energy" else np.log(np.abs(values))
    name = "log_energy" if _has_energy(subject) and trajectory.tokens <= LARGEST else "mean_cosine"
    levels = np.empty(len(tree.frames))
    for row, ensemble in enumerate(ensembles(trajectory, tree.frames, subject.replica)):
        law: Any = subject.law_at(float(tree.times[row])) if subject.law_at and name == "log_energy" else None
        levels[row] = measure([name], ensemble, law, threads=subject.threads)[name][0]
    return name, levels


def _has_energy(subject: Subject) -> bool:
    if subject.law_at is None:
        return False
    try:
        check_names(["log_energy"], subject.law_at(0.0))
    except InvalidInput:
        return False
    return True


def _without_rushed_start(found: list[Plateau], times: Array) -> list[Plateau]:
    """Without a first one that begins with the trajectory and is over sooner than what follows."""
    if not found or found[0].first > 0:
        return found
    follows = found[1].start if len(found) > 1 else times[-1]
    first = found[0]
    return found[1:] if follows - first.end > first.end - first.start else found


def _constant(values: NDArray[np.integer]) -> list[tuple[int, int]]:
    """First and last index of every run of equal values."""
    ends = [*np.flatnonzero(np.diff(values)).tolist(), len(values) - 1]
    return list(zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True))


def _longest_flat(levels: Array, clock: Array, room: float) -> tuple[int, int]:
    """First and last index of the run of levels within `room` of one another that takes longest by the clock."""
    highest: deque[int] = deque()  # of the run so far and of what may be left when its first ones leave, decreasing
    lowest: deque[int] = deque()
    best, first = (0, 0), 0
    for last, level in enumerate(levels):
        while highest and levels[highest[-1]] <= level:
            highest.pop()
        while lowest and levels[lowest[-1]] >= level:
            lowest.pop()
        highest.append(last)
        lowest.append(last)
        while levels[highest[0]] - levels[lowest[0]] > room:
            first += 1
            for ends in (highest, lowest):
                if ends[0] < first:
                    ends.popleft()
        if clock[last] - clock[first] > clock[best[1]] - clock[best[0]]:
            best = first, last
    return best
