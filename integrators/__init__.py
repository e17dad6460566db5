"""How an ensemble moves: methods, step control, events, and the loop that all of them share."""

from . import events
from .integrate import integrate
from .long_time import LongSolution, long_time
from .methods import METHODS, SPLITTING_METHODS, method_of
from .solution import Solution, Statistics

__all__ = [
    "METHODS",
    "SPLITTING_METHODS",
    "LongSolution",
    "Solution",
    "Statistics",
    "events",
    "integrate",
    "long_time",
    "method_of",
]
