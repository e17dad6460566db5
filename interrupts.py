"""Ctrl-C where it may be heeded: between two steps of the work, not amid a call that would swallow it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noted(called: threading.Event | None = None) -> Iterator[threading.Event]:
    """Meanwhile Ctrl-C only sets the event, for who looks at it; the second one is a KeyboardInterrupt at once.

    Outside the main thread, which alone can set signals, nothing is changed and the event stays as it is.
    """
    called = called or threading.Event()

    def note(*_: object) -> None:
        if called.is_set():
            raise KeyboardInterrupt
        called.set()

    if threading.current_thread() is not threading.main_thread():
        yield called
        return
    heard = signal.signal(signal.SIGINT, note)
    try:
        yield called
    finally:
        signal.signal(signal.SIGINT, heard)
