"""Work on many values by threads, the results in the order of the values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")


def in_order(work: Callable[[Value], Result], values: Iterable[Value], workers: int) -> Iterator[tuple[Value, Result]]:
    """Every value and what `work` makes of it, on threads; no more values are held than are in work, and one."""
    if workers == 1:
        for value in values:
            yield value, work(value)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Value, Future[Result]]] = deque()
        try:
            for value in values:
                waiting.append((value, pool.submit(work, value)))
                if len(waiting) > workers:
                    yield waiting[0][0], waiting.popleft()[1].result()
            while waiting:
                yield waiting[0][0], waiting.popleft()[1].result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
