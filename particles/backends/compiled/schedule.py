"""Which thread computes what: units of work on a few Python threads, which compiled code runs without the GIL.

Every unit is written by one thread from start to end, so the bits of a result do not depend on the number of
threads. Python's threads rather than Numba's parallel loops: those compile slowly, and their OpenMP runtime slows
torch down when both live in one process.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

SMALLEST_SHARE = 150_000.0  # nanoseconds of work below which waking a second thread costs more than it saves
SHARES = 8  # per thread, so that a slow one does not keep the others waiting


def default_threads() -> int:
    """One thread per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # the process number makes a forked child start threads of its own
    return ThreadPoolExecutor(threads, thread_name_prefix="attndyn")


def in_parallel(
    work: Callable[[int, int], object], units: int, cost: float, threads: int, most: int | None = None
) -> None:
    """Call work(first, last) on consecutive ranges that make up 0..units, on `threads` threads.

    cost : the estimated nanoseconds of all units on one thread; small work stays on the calling thread
    most : ranges, where larger ones are faster; at least one a thread
    """
    shares = min(units, int(cost / SMALLEST_SHARE) + 1, SHARES * threads)
    if most is not None:
        shares = min(shares, max(most, threads))
    if threads == 1 or shares == 1:
        work(0, units)
        return
    ranges = iter(list(pairwise(units * share // shares for share in range(shares + 1))))

    def take() -> None:
        for first, last in ranges:
            work(first, last)

    pool = _pool(threads - 1, os.getpid())
    others = [pool.submit(take) for _ in range(min(threads, shares) - 1)]
    take()
    for other in others:
        other.result()
