"""How an ensemble moves: methods, step control, events, and the loop that all of them share."""

from . import events
from .integrate import integrate
from .lyapunov import LyapunovExponents, lyapunov_exponents
from .methods import METHODS, SPLITTING_METHODS, method_of
from .solution import Solution, Statistics

__all__ = [
    "METHODS",
    "SPLITTING_METHODS",
    "LyapunovExponents",
    "Solution",
    "Statistics",
    "events",
    "integrate",
    "lyapunov_exponents",
    "method_of",
]
