"""What steppers do with the states they move: as NumPy arrays here, as torch tensors in `tensors`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..particles.backends import Engine, Field
from ..particles.weighting import WeightedField
from . import stages

Array = NDArray[np.floating]
State = Any  # an array or a tensor (replicas, tokens, dimension); steppers only hand it on


class Arithmetic(Protocol):
    """The operations of a stepper on states.

    load    : a state of one's own from an array         host : the array of a state, not to be written to
    zeros   : (copies, *shape of like), on the same device; without copies as `like`
    combine, retract, attempt : see `stages`             finite : whether all components are
    fill_slopes : what `attempt` did not write of the slopes of the same step
    """

    def load(self, positions: Array) -> State: ...

    def host(self, state: State) -> Array: ...

    def zeros(self, like: State, copies: int | None = None) -> State: ...

    def finite(self, state: State) -> bool: ...

    def combine(self, out: State, x: State, h: float, coefficients: Array, slopes: State, count: int) -> None: ...

    def retract(self, x: State, radius: float) -> None: ...

    def attempt(self, field: Field, *arguments: Any) -> float: ...

    def fill_slopes(self, field: Field, *arguments: Any) -> None: ...


class Arrays:
    """Arithmetic of NumPy arrays."""

    combine = staticmethod(stages.combine)
    retract = staticmethod(stages.retract)
    error_norm = staticmethod(stages.error_norm)

    def load(self, positions: Array) -> Array:
        """A copy."""
        return positions.copy()

    def host(self, state: Array) -> Array:
        """The state itself."""
        return state

    def zeros(self, like: Array, copies: int | None = None) -> Array:
        """Zeros of the type of `like`."""
        return np.zeros(like.shape if copies is None else (copies, *like.shape), like.dtype)

    def finite(self, state: Array) -> bool:
        """Whether no component is infinite or NaN."""
        return bool(np.isfinite(state).all())

    def attempt(self, field: Field, *arguments: Any) -> float:
        """Try a step; of small systems in compiled code, which gives the same numbers."""
        if getattr(field, "replicas_plan", None) is not None:
            from . import blocks  # its kernels are for many small replicas alone

            return blocks.attempt(field, *arguments)
        plan = getattr(field, "step_plan", None)
        if plan is None:
            return stages.attempt(field, *arguments)
        return stages.compiled_attempt(plan, *arguments)

    def fill_slopes(self, field: Field, *arguments: Any) -> None:
        """Of many small replicas a step without error estimate is taken once more, keeping its slopes."""
        if getattr(field, "replicas_plan", None) is not None and not arguments[3].any():
            from . import blocks  # its kernels are for many small replicas alone

            blocks.attempt(field, *arguments, every_slope=True)


class FurtherRows:
    """Arithmetic of states that hold more than tokens: further rows are retracted by the rule of their weighting."""

    def __init__(self, inner: Any, field: WeightedField) -> None:
        self.load, self.host, self.zeros, self.finite = inner.load, inner.host, inner.zeros, inner.finite
        self.combine, self._field = inner.combine, field
        self._step = stages.step_of(combine=inner.combine, retract=self.retract, error_norm=inner.error_norm)

    def retract(self, x: State, radius: float) -> None:
        """Bring the tokens, and what the further rows hold, back to their space, in place."""
        self._field.retract(x)

    def attempt(self, field: Field, *arguments: Any) -> float:
        """Try a step."""
        return self._step(field, *arguments)

    def fill_slopes(self, field: Field, *arguments: Any) -> None:
        """All are there."""


def arithmetic_of(field: Field, engine: Engine) -> Arithmetic:
    """The arithmetic of the states that this field, prepared for this engine, moves."""
    found: Arithmetic = Arrays()
    if engine.backend == "torch":
        from .tensors import Tensors  # imports torch, which is an extra

        found = Tensors(field)
    return FurtherRows(found, field) if isinstance(field, WeightedField) and field.rows else found
