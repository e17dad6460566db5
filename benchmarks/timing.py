"""Timing things side by side: alternately in one process, medians, with the machine named."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, in which unit, against which bar."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    detail: str = ""

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        return "meets the bar" if self.value <= self.bar else "falls short"


def side_by_side(calls: Sequence[Callable[[], object]], rounds: int = 5, repeats: int = 5) -> list[float]:
    """Median seconds of each call; the calls take turns, so that a busy machine disturbs all alike.

    A turn is some calls in a row, as an integrator makes them: a rest first, because torch's threads go on spinning for
    some milliseconds after their work and would disturb whoever comes next; then as many calls untimed as timed.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, record in zip(calls, seconds, strict=True):
            time.sleep(0.05)
            for _ in range(repeats):
                call()
            for _ in range(repeats):
                start = time.perf_counter()
                call()
                record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in seconds]


def machine() -> dict[str, str]:
    """The processor and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = f"{len(names)} x {names[0]}" if names else cpu
    found = {"cpu": cpu, "python": platform.python_version()}
    for package in ("numpy", "numba", "scipy", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | bar | | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:g}"
        lines.append(f"| {row.what} | {row.value:.3g} {row.unit} | {bar} | {row.verdict} | {row.detail} |")
    return "\n".join(lines)
