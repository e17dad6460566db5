"""How regular a law is: its Lipschitz constants, bounded and measured, contraction of measures, inversion of layers."""

from .adversarial import Worst, worst_ensemble
from .bounds import BOUNDS, Bound, bound, bounds
from .contraction import attention_map, contraction_factor
from .inversion import Inverse, invert_layer
from .jacobian import Jacobian, jacobian
from .local import LocalConstant, jacobian_matrix, local_constant, one_sided_constant

__all__ = [
    "BOUNDS",
    "Bound",
    "Inverse",
    "Jacobian",
    "LocalConstant",
    "Worst",
    "attention_map",
    "bound",
    "bounds",
    "contraction_factor",
    "invert_layer",
    "jacobian",
    "jacobian_matrix",
    "local_constant",
    "one_sided_constant",
    "worst_ensemble",
]
