"""The progress bar of a sweep, a limit study or an analysis: points done, points per second, the time left."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .progress import QUIET_SECONDS


class PointsBar:
    """Called with (points done, points) at the start and after every point; draws on stderr, if that is a terminal."""

    def __init__(self, what: str = "points", after: float = QUIET_SECONDS) -> None:
        self._progress = Progress(
            TextColumn("{task.completed:.0f} of {task.total} " + what),
            BarColumn(),
            TextColumn("{task.fields[rate]:.3g} " + what + "/s"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            refresh_per_second=4,
            transient=True,
            disable=not Console(stderr=True).is_terminal,
        )
        self._task = self._progress.add_task("", total=0, rate=0.0)
        self._started: float | None = None
        self._before = 0  # points that were done when it started
        self._opening = threading.Timer(after, self._progress.start)  # after that a bar is worth while
        self._opening.daemon = True

    def __enter__(self) -> Self:
        self._opening.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opening.cancel()
        self._opening.join()
        self._progress.stop()

    def __call__(self, done: int, points: int) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started, self._before = now, done
            self._progress.reset(self._task, total=points, completed=done)
        rate = (done - self._before) / max(now - self._started, 1e-9)
        self._progress.update(self._task, completed=done, rate=rate)
