"""Ctrl-C and SIGTERM where they may be heeded: between two steps of the work, not amid a call that swallows them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Call(threading.Event):
    """Set when the work was called to an end.

    by : the name of the signal, "SIGINT" (Ctrl-C) or "SIGTERM"; empty as long as there was none
    """

    by: str = ""


@contextmanager
def noted(called: Call | None = None) -> Iterator[Call]:
    """Meanwhile Ctrl-C and SIGTERM only set the event, for who looks at it; the second one interrupts at once.

    Outside the main thread, which alone can set signals, nothing is changed and the event stays as it is.
    """
    called = called or Call()

    def note(number: int, _: object) -> None:
        if called.is_set():
            raise KeyboardInterrupt
        called.by = signal.Signals(number).name
        called.set()

    if threading.current_thread() is not threading.main_thread():
        yield called
        return
    heard = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield called
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
