"""The gate of a token on what it receives: sigma(G x_i + b), number by number. arXiv:2602.01468

on = "output"   f_i * sigma(G x_i + b)                    G (dimension, dimension), on the whole output
on = "values"   sum_j P_ij (v_j * sigma(G x_i + b))       G (heads * value_dimension, dimension)
on = "heads"    sigma((G x_i + b)_h) times head h          G (heads, dimension)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInput

PLACES = ("output", "values", "heads")


@dataclass(frozen=True, eq=False)
class Gate:
    """sigma(matrix x_i + bias) on the "output", the "values" or the "heads".

    matrix : (rows, dimension)    bias : (rows,) or None

    Raises InvalidInput for another place, or what is no matrix of finite numbers; rows are checked when it is used.
    """

    matrix: Any
    bias: Any = None
    on: str = "output"

    def __post_init__(self) -> None:
        if self.on not in PLACES:
            raise InvalidInput(f"a gate must be on one of {', '.join(PLACES)}; got {self.on!r}")
        for name, axes in (("matrix", 2), ("bias", 1)):
            value = getattr(self, name)
            if value is None and name == "bias":
                continue
            array = np.asarray(value, np.float64)
            if array.ndim != axes or 0 in array.shape or not np.isfinite(array).all():
                raise InvalidInput(f"the {name} of a gate must have {axes} axes of finite numbers; got {array.shape}")
            object.__setattr__(self, name, array)

    def check(self, dimension: int, heads: int, width: int) -> None:
        """Raise InvalidInput unless it fits tokens of this dimension, and heads of `width` values in all."""
        rows = {"output": dimension, "values": width, "heads": heads}[self.on]
        if self.matrix.shape != (rows, dimension):
            raise InvalidInput(f'a gate on "{self.on}" must be ({rows}, {dimension}); got {self.matrix.shape}')
        if self.bias is not None and self.bias.shape != (rows,):
            raise InvalidInput(f"the bias of the gate must have {rows} numbers; got {self.bias.shape[0]}")
