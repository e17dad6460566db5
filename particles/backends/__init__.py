"""Backends: the same law computed in different ways, each a class with the methods of `Field`.

`reference` is plain NumPy, slow and obvious, and what the others are tested against; `numba` is fast; `torch` runs on a
GPU and can be differentiated. An `Engine` says which, and how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import InvalidInput
from ..space import Space
from .engine import BACKENDS, SUMS, Engine, EngineOptions

if TYPE_CHECKING:
    from ..attention import Attention

__all__ = ["BACKENDS", "SUMS", "Engine", "EngineOptions", "Field", "prepare"]

Array = NDArray[np.floating]


class Field(Protocol):
    """A law prepared for one ensemble's space, weights, shape and number type."""

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """Write the drift at depth t; both (replicas, tokens, dimension).

        On a sphere the positions are first retracted, which extends the drift to the surroundings as constant
        along each ray: the stages of a Runge-Kutta step leave the sphere by O(step^2).
        """

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """Write the attention itself, with no retraction before and no projection after it."""

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """log Z_i and the entropy of every attention row, each (replicas, heads, tokens)."""


def prepare(
    law: Attention,
    space: Space,
    weights: NDArray[np.float64],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    engine: Engine = Engine(),  # noqa: B008  (it is frozen)
) -> Field:
    """The law as a field for ensembles of this space, token weights, shape (replicas, tokens, dimension) and dtype.

    The number of threads changes the speed and not one bit of the result. Raises InvalidInput for a law whose
    matrices do not fit, or one that the engine does not have.
    """
    if engine.backend == "reference":
        from .reference import ReferenceField

        return ReferenceField(law, space, weights, shape, dtype)
    if engine.sums == "differences":
        from .differences import DifferenceField  # imports numba, which takes a while

        return DifferenceField(law, space, weights, shape, dtype, engine.threads)
    if not law.plain:
        return _general(law, space, weights, shape, dtype, engine)
    if engine.processes > 1:
        from .tensor.ring import RingField

        return RingField(law, space, weights, shape, dtype, engine)
    if engine.backend == "torch":
        from .tensor.field import TensorField  # imports torch, which is an extra

        return TensorField(law, space, weights, shape, dtype, engine)
    if engine.sums != "exact":
        from .expansions.field import expansion_field

        return expansion_field(law, space, weights, shape, dtype, engine)
    from .compiled.field import CompiledField  # imports numba, which takes a while

    return CompiledField(law, space, weights, shape, dtype, engine.threads)


def _general(
    law: Attention,
    space: Space,
    weights: NDArray[np.float64],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    engine: Engine,
) -> Field:
    """The field of a law with parts that the fastest kernels do not have."""
    if engine.processes > 1 or engine.sums != "exact":
        what = f"processes = {engine.processes}" if engine.processes > 1 else f'sums = "{engine.sums}"'
        raise InvalidInput(
            f"{what} exist for dot products under softmax or none, with the masks none, causal or without-self and "
            "without prior, rotary, gate or multipliers; exact sums in one process have every law"
        )
    if engine.backend == "torch":
        from .tensor.general import GeneralTensorField  # imports torch, which is an extra

        return GeneralTensorField(law, space, weights, shape, dtype, engine)
    from .compiled.general import GeneralField  # imports numba, which takes a while

    return GeneralField(law, space, weights, shape, dtype, engine.threads)
