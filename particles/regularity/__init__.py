"""How regular a law is: its Lipschitz constants, bounded and measured, contraction of measures, inversion of layers."""

from .adversarial import Worst, worst_ensemble
from .bounds import BOUNDS, Bound, bound, bounds
from .jacobian import Jacobian, jacobian
from .local import LocalConstant, jacobian_matrix, local_constant, one_sided_constant

__all__ = [
    "BOUNDS",
    "Bound",
    "Jacobian",
    "LocalConstant",
    "Worst",
    "bound",
    "bounds",
    "jacobian",
    "jacobian_matrix",
    "local_constant",
    "one_sided_constant",
    "worst_ensemble",
]
