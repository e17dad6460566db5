"""How an ensemble moves: methods, step control, events, and the loop that all of them share."""

from . import events
from .density import density_flow
from .fixed_point import FixedPoint, fixed_point
from .gaussian_closure import blow_up, gaussian_flow
from .integrate import integrate
from .layer_bound import LayerBound, layer_bound
from .layer_map import LayerMap, spectral_radius
from .long_time import LongSolution, long_time
from .lyapunov import LyapunovExponents, lyapunov_exponents
from .methods import METHODS, SPLITTING_METHODS, method_of
from .several_starts import Starts, several_starts
from .solution import Solution, Statistics

__all__ = [
    "METHODS",
    "SPLITTING_METHODS",
    "FixedPoint",
    "LayerBound",
    "LayerMap",
    "LongSolution",
    "LyapunovExponents",
    "Solution",
    "Starts",
    "Statistics",
    "blow_up",
    "density_flow",
    "events",
    "fixed_point",
    "gaussian_flow",
    "integrate",
    "layer_bound",
    "long_time",
    "lyapunov_exponents",
    "method_of",
    "several_starts",
    "spectral_radius",
]
