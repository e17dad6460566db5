"""Timing things side by side: alternately in one process, with the median and the spread of every number."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WARM = 0.2  # seconds of untimed calls are enough


class Measured(float):
    """The median of repeated measurements, which it keeps.

    The quotient of two that took turns is taken repeat by repeat: what disturbed both cancels.
    """

    samples: tuple[float, ...]

    def __new__(cls, samples: Sequence[float]) -> Measured:
        """From the repeats, in their order."""
        self = super().__new__(cls, statistics.median(samples))
        self.samples = tuple(map(float, samples))
        return self

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the repeats: their first and third quartile."""
        if len(self.samples) == 1:
            return self.samples * 2
        lower, _, upper = statistics.quantiles(self.samples, n=4, method="inclusive")
        return lower, upper

    def __truediv__(self, other: float) -> float:
        """Repeat by repeat, if the other was measured as often."""
        if not isinstance(other, Measured):
            return Measured([sample / other for sample in self.samples])
        if len(other.samples) != len(self.samples):
            return float(self) / float(other)
        return Measured([mine / theirs for mine, theirs in zip(self.samples, other.samples, strict=True)])

    def __mul__(self, factor: float) -> Measured:
        """In another unit."""
        return Measured([sample * float(factor) for sample in self.samples])

    __rmul__ = __mul__


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, in which unit, against which bar.

    bar      : what the value should be at most, or with `at_least` at least
    column   : rows with columns become one wide table, a line for each `what`
    """

    what: str
    value: float
    unit: str
    bar: float | None = None
    detail: str = ""
    at_least: bool = False
    column: str = ""

    @property
    def verdict(self) -> str:
        """Whether the bar is met."""
        if self.bar is None:
            return ""
        met = self.value >= self.bar if self.at_least else self.value <= self.bar
        return "meets the bar" if met else "falls short"

    @property
    def spread(self) -> tuple[float, float] | None:
        """The middle half of the repeats, where there were several."""
        if isinstance(self.value, Measured) and len(self.value.samples) > 1:
            return self.value.spread
        return None

    @property
    def repeats(self) -> int:
        """How often it was measured."""
        return len(self.value.samples) if isinstance(self.value, Measured) else 1


@dataclass(frozen=True)
class LeftOut:
    """What could not be measured here, and why."""

    what: str
    why: str


def not_installed(missing: ImportError, extra: str) -> str:
    """Why something is left out that needs an extra."""
    return f"{missing.name or missing} is not installed: pip install '.[{extra}]'"


def side_by_side(calls: Sequence[Callable[[], object]], rounds: int = 5, repeats: int = 5) -> list[Measured]:
    """Seconds of each call, rounds x repeats times; the calls take turns, so that a busy machine disturbs all alike.

    A turn is some calls in a row, as an integrator makes them: a rest first, because torch's threads go on spinning for
    some milliseconds after their work and would disturb whoever comes next; then as many calls untimed as timed, or of
    slow calls as many as begin within 0.2 s.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, record in zip(calls, seconds, strict=True):
            time.sleep(0.05)
            warm = time.perf_counter() + WARM
            for _ in range(repeats):
                call()
                if time.perf_counter() > warm:
                    break
            for _ in range(repeats):
                start = time.perf_counter()
                call()
                record.append(time.perf_counter() - start)
    return [Measured(record) for record in seconds]
