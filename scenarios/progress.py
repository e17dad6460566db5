"""The progress bar of a run: the depth reached, the drift evaluations per second, the time left."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..integrators import Statistics

QUIET_SECONDS = 0.5  # a run that is over by then shows no bar
INTERVAL_SECONDS = 0.1


def tell_what_takes_long() -> None:
    """Print on stderr what the package logs as worth waiting for: that kernels are compiled, once on a machine."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("attndyn")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class Bar:
    """Called with (depth, statistics) after every step; draws on stderr, if that is a terminal."""

    def __init__(self, end: float, *, shown: bool = True) -> None:
        self._wanted = shown
        self._started = self._drawn = time.monotonic()
        self._progress = Progress(
            TextColumn("depth {task.completed:.4g} of {task.total:.4g}"),
            BarColumn(),
            TextColumn("{task.fields[rate]:,.0f} drifts/s"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("", total=end, rate=0.0)
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()

    def __call__(self, t: float, statistics: Statistics) -> None:
        now = time.monotonic()
        if now - self._drawn < INTERVAL_SECONDS or now - self._started < QUIET_SECONDS:
            return
        self._drawn = now
        if self._wanted and not self._shown and self._progress.console.is_terminal:
            self._progress.start()
            self._shown = True
        rate = statistics.drift_evaluations / (now - self._started)
        self._progress.update(self._task, completed=t, rate=rate)
        if self._shown:
            self._progress.refresh()
