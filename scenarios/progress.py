"""The progress bar of a run: the depth reached, the drift evaluations per second, the time left."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..integrators import Statistics
from ..logs import shown

QUIET_SECONDS = 0.5  # a run that is over by then shows no bar
INTERVAL_SECONDS = 0.1


class Bar:
    """Called with (depth, statistics) after every step; draws on stderr, if that is a terminal.

    Meanwhile it prints there what the package logs as worth waiting for: that kernels are compiled, once on a machine.
    """

    def __init__(self, end: float) -> None:
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
        self._log = shown(logging.INFO, "%(message)s")

    def __enter__(self) -> Self:
        self._log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()
        self._log.__exit__(kind, error, traceback)

    def __call__(self, t: float, statistics: Statistics) -> None:
        now = time.monotonic()
        if now - self._drawn < INTERVAL_SECONDS or now - self._started < QUIET_SECONDS:
            return
        self._drawn = now
        if not self._shown and self._progress.console.is_terminal:
            self._progress.start()
            self._shown = True
        rate = statistics.drift_evaluations / (now - self._started)
        self._progress.update(self._task, completed=t, rate=rate)
        if self._shown:
            self._progress.refresh()
