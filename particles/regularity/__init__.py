"""How regular a law is: its Lipschitz constants, bounded and measured, spectra, contraction, inversion."""

from .adversarial import Worst, worst_ensemble
from .bounds import BOUNDS, Bound, bound, bounds
from .contraction import attention_map, contraction_factor
from .inversion import Inverse, invert_layer
from .jacobian import Jacobian, jacobian
from .local import LocalConstant, jacobian_matrix, local_constant, one_sided_constant
from .spectra import HeadSpectra, Spectrum, head_spectra, spectrum_of
from .steep import steep_ensemble

__all__ = [
    "BOUNDS",
    "Bound",
    "HeadSpectra",
    "Inverse",
    "Jacobian",
    "LocalConstant",
    "Spectrum",
    "Worst",
    "attention_map",
    "bound",
    "bounds",
    "contraction_factor",
    "head_spectra",
    "invert_layer",
    "jacobian",
    "jacobian_matrix",
    "local_constant",
    "one_sided_constant",
    "spectrum_of",
    "steep_ensemble",
    "worst_ensemble",
]
