"""Who computes the points of a sweep or the runs of a limit study: this process, others here, or a cluster of Dask.

Each is given compute(study, what a point is), a function of a module, and the points by number, and is a generator of
(number, outcome), in the order in which they are ready; the outcomes do not depend on who computes them. To close a
generator is to stop the work.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import Any

from ..errors import InvalidInput, MissingExtra, TrajectoryError
from ..interrupts import noted
from ..logs import logger_of
from .points import failure

LOG = logger_of(__name__)
Compute = Callable[[Any, Any], Any]
Points = Iterable[tuple[int, Any]]
Outcomes = Generator[tuple[int, Any], None, None]

HEED = 0.1  # seconds within which Ctrl-C is heeded
WAITING = 2  # points handed to each process, so that none waits for the next
ANSWER_WITHIN = "20s"  # a scheduler that is there
LOST = 5  # times that a point is given to the cluster again when Dask gives up because its workers die


def in_this_process(compute: Compute, study: Any, points: Points) -> Outcomes:
    """One point after the other."""
    for number, changes in points:
        yield from _kept(number, compute(study, changes))


def in_processes(compute: Compute, study: Any, points: Points, workers: int) -> Outcomes:
    """So many processes of this machine, which start and import once. They end when this process does.

    Raises TrajectoryError where one of them dies.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_serve)
    running: dict[Future[Any], int] = {}
    remaining = iter(points)
    try:
        with _deaf():  # the executor starts a process with each of the first tasks
            _submit(executor, compute, study, remaining, running, workers)
        with noted() as called:  # the executor's locks would not survive a KeyboardInterrupt
            while not called.is_set():
                _submit(executor, compute, study, remaining, running, WAITING * workers - len(running))
                if not running:
                    return
                ready, _ = wait(running, HEED, FIRST_COMPLETED)
                for future in sorted(ready, key=running.__getitem__):
                    yield running.pop(future), future.result()
            raise KeyboardInterrupt
    except BrokenProcessPool:
        raise TrajectoryError(
            "a worker process died, maybe for lack of memory: try fewer workers. In a Python script, call this "
            'under `if __name__ == "__main__":`, since workers import the script'
        ) from None
    finally:
        for child in set(multiprocessing.active_children()) - others if running else ():
            child.terminate()  # amid its point, which nobody waits for any more
        executor.shutdown(cancel_futures=True)


def on_cluster(compute: Compute, study: Any, points: Points, address: str) -> Outcomes:
    """The workers of a Dask scheduler at `address`; one task per point, run again where a worker is lost.

    Raises MissingExtra without Dask, InvalidInput where no scheduler answers.
    """
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise MissingExtra("a sweep on a cluster needs Dask: pip install 'attndyn[cluster]'") from None
    try:
        client = Client(address, timeout=ANSWER_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"no Dask scheduler answers at {address}: {error}") from None

    def submit(number: int, changes: Any) -> Any:
        # earlier points first; impure, for a second sweep is not to be given the results of the first
        return client.submit(compute, study, changes, pure=False, priority=-number)

    with client:
        numbers, changes_of, lost = {}, dict(points), dict[int, int]()
        for number, changes in changes_of.items():
            numbers[submit(number, changes)] = number
        ready = as_completed(list(numbers), loop=client.loop)
        for future in ready:
            number = numbers.pop(future)
            try:
                outcome = future.result()
            except KilledWorker as error:
                lost[number] = lost.get(number, 0) + 1
                LOG.warning("point %d was lost by the cluster, for the %d. time", number, lost[number])
                if lost[number] <= LOST:
                    again = submit(number, changes_of[number])
                    numbers[again] = number
                    ready.add(again)
                    continue
                outcome = failure(error)
            except CancelledError:
                raise TrajectoryError(f"the Dask scheduler at {address} was lost") from None
            yield from _kept(number, outcome)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _kept(number: int, outcome: Any) -> Outcomes:
    """Hand over an outcome, and raise KeyboardInterrupt for a Ctrl-C only when it has been written."""
    with noted() as called:
        yield number, outcome
    if called.is_set():
        raise KeyboardInterrupt


def _submit(
    executor: ProcessPoolExecutor,
    compute: Compute,
    study: Any,
    remaining: Iterator[tuple[int, Any]],
    running: dict[Future[Any], int],
    count: int,
) -> None:
    for number, changes in islice(remaining, count):
        running[executor.submit(compute, study, changes)] = number


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile do not hear Ctrl-C, which a terminal sends to all: this one sees to their end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there can signals be set
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _serve() -> None:
    """Prepare a worker process: it ends at once when the process that started it is gone, even by a kill."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
