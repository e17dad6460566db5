"""Is there memory for what a scenario asks for? Asked before any of it is taken, since a system that promises memory
which it has not got ends a process without a word."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .mistakes import ScenarioError

if TYPE_CHECKING:
    from .schema import Scenario

COPIES = 3  # of tokens, while they are drawn: normal numbers, points, and all replicas together
OF_A_REPLICA = 100  # numbers: its random stream and its array
OF_A_LAW = 2000  # numbers: the objects of a layer


def check_tokens(scenario: Scenario, count: int, dimension: int) -> None:
    """Raise ScenarioError where the tokens that are to be drawn are more than there is memory for."""
    replicas = scenario.tokens.replicas
    _check(
        "tokens.initial", replicas * (COPIES * count * dimension + OF_A_REPLICA), f"{replicas} x {count} x {dimension}"
    )


def check_laws(scenario: Scenario, laws: int, dimension: int) -> None:
    """Raise ScenarioError where the drawn matrices of so many layers are more than there is memory for."""
    attention, feed = scenario.attention, scenario.block.feed_forward
    rows = dimension if attention.head_dimension is None else attention.heads * attention.head_dimension
    size = len(attention.drawn()) * rows * dimension
    if feed is not None:
        size += len(scenario.block.drawn()) * (feed.hidden or 4 * dimension) * dimension
    _check("attention", laws * (size + OF_A_LAW), f"matrices of {size} numbers in each of {laws} layers")


def _check(key: str, numbers: int, what: str) -> None:
    need, there = 8 * numbers, memory()
    if need > there:
        raise ScenarioError(
            f"{key}: needs {need / 1e9:.3g} GB of memory ({what}), where there are {there / 1e9:.3g} GB"
        )


def memory() -> float:
    """The bytes that this process may take: those of the machine or, where it has a limit, what is left of it."""
    if not hasattr(os, "sysconf"):
        return math.inf
    import resource  # not everywhere

    there = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, taken = resource.getrlimit(resource.RLIMIT_AS)[0], Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY:
        return there
    used = int(taken.read_text().split()[0]) * resource.getpagesize() if taken.is_file() else 0
    return min(there, float(limit - used))
