"""Between two steps of a run that is written: where it stands is noted, and it ends when it is told to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..data import TrajectoryWriter
from ..errors import InvalidInput
from ..integrators.checkpoint import Checkpoint
from ..interrupts import Call

MARGIN = 2.0  # seconds that writing the end of a file may take


class TimeLimit:
    """The seconds after which a run must have ended, counted from here; None: no limit.

    It is near as many seconds earlier as twice the longest step took, and MARGIN (a tenth of the limit, where that is
    less). Raises InvalidInput for what is no positive number.
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise InvalidInput(f"walltime must be a positive number of seconds; got {seconds}")
        self.seconds = math.inf if seconds is None else seconds
        self._began = time.monotonic()
        self._last, self._longest = math.inf, 0.0  # what comes before the first step is no step

    def near(self) -> bool:
        """Whether the run has to end with the step just taken; asked after every step."""
        now = time.monotonic()
        self._longest, self._last = max(self._longest, now - self._last), now
        return self.seconds - (now - self._began) < 2.0 * self._longest + min(MARGIN, 0.1 * self.seconds)


class Watch:
    """What `integrate` calls after every step.

    writer   : gives the writer of the file
    called   : set by Ctrl-C and SIGTERM
    limit    : how long the run may take
    """

    def __init__(self, writer: Callable[[], TrajectoryWriter], called: Call, limit: TimeLimit) -> None:
        self._writer, self._called, self._limit = writer, called, limit
        self._first = True

    def __call__(self, checkpoint: Callable[[], Checkpoint]) -> str | None:
        """Note where the run stands, if it is time; the status with which it is to end here, or None."""
        status = self.end()
        if self.due() or status is not None:
            self.note(checkpoint())
        return status

    def due(self) -> bool:
        """Whether it is time to note where the run stands.

        After the first step too, from which on tokens that came from a file are known.
        """
        return self._first or self._writer().due()

    def note(self, taken: Checkpoint) -> None:
        """Note where the run stands."""
        self._first = False
        self._writer().keep(taken.record, taken.arrays)

    def end(self) -> str | None:
        """The status with which the run is to end here, if it is."""
        if self._called.is_set():
            return "interrupted" if self._called.by != "SIGTERM" else "interrupted: SIGTERM"
        return f"interrupted: time limit of {self._limit.seconds:g} s" if self._limit.near() else None
