"""How an ensemble moves: methods, step control, events, and the loop that all of them share."""

from . import events
from .density import density_flow
from .gaussian_closure import blow_up, gaussian_flow
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
    "blow_up",
    "density_flow",
    "events",
    "gaussian_flow",
    "integrate",
    "lyapunov_exponents",
    "method_of",
]
