"""Steppers that are maps: the discrete network, and the geodesic Euler step on the sphere. Fixed steps only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..particles.backends import Field
from ..particles.block_field import BlockField
from ..particles.space import Space, Sphere
from .arithmetic import Arithmetic, State
from .stochastic import Kicks


class Layers:
    """One layer of the network a step: x <- retract(x + h f(x)), or retract(h f(x)) without residual connection.

    f is the attention itself, with no tangential projection: on the sphere this is post-layer-normalisation. In R^d
    without residual connection and with h = 1 it is pure attention (arXiv:2103.03404). A block does what
    `BlockField.layer` says instead.
    field_of : the field of layer number k (weights may be independent at every layer)
    kicks    : with noise x <- retract(x + h f(x) + P_x dW), whose mean step without attention on the unit sphere is the
               factor E[(1 + 2 kappa h chi^2_{d-1})^(-1/2)]
    root     : whether the update is multiplied by sqrt(h) instead of h, the scaling 1/sqrt(L) of L = T / h layers
    injection : what every layer adds to what its last part does, before the retraction: x <- retract(x + h f(x) + u)
    """

    adaptive, continuous, order, error_order = False, False, 1, 0

    def __init__(
        self,
        field_of: Callable[[int], Field],
        arithmetic: Arithmetic,
        space: Space,
        x: State,
        residual: bool,
        kicks: Kicks | None = None,
        root: bool = False,
        injection: State | None = None,
    ) -> None:
        self._root, self._injection = root, injection
        self._field_of, self.arithmetic, self._residual = field_of, arithmetic, residual
        self._space, self._kicks = space, kicks
        self._radius = space.radius if isinstance(space, Sphere) else 0.0
        self.field, self._layer = field_of(0), 0
        self.evaluations = 0
        self.moved = arithmetic.zeros(x)

    def start(self, t: float, x: State) -> None:
        """Nothing to compute beforehand."""

    def speed(self) -> State | None:
        """A layer has no velocity."""
        return None

    def attempt(self, t: float, h: float, x: State) -> float:
        """Apply the next layer; NaN when the result is not finite."""
        self.field = self._field_of(self._layer)
        self.evaluations += 1
        h = float(np.sqrt(h)) if self._root else h
        if isinstance(self.field, BlockField):
            self.field.layer(t, h, self._residual, x, self.moved, self._injection)
            if self._kicks is not None:
                self.moved += self._space.project(x, self._kicks.at(t))
                self.arithmetic.retract(self.moved, self._radius)
            return 0.0 if self.arithmetic.finite(self.moved) else np.nan
        plain = self._kicks is None and self._injection is None
        if plain and getattr(self.field, "replicas_plan", None) is not None:
            from . import blocks  # its kernels are for many small replicas alone

            return 0.0 if blocks.layer(self.field, self._radius, self._residual, h, x, self.moved) else np.nan
        self.field.attention(t, x, self.moved)
        self.moved *= float(h)
        if self._residual:
            self.moved += x
        if self._injection is not None:
            self.moved += self._injection
        if self._kicks is not None:
            self.moved += self._space.project(x, self._kicks.at(t))
        self.arithmetic.retract(self.moved, self._radius)
        return 0.0 if self.arithmetic.finite(self.moved) else np.nan

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """There is nothing between two layers: the state after the layer."""
        out[...] = self.moved

    def accept(self, t: float) -> None:
        """The next step is the next layer."""
        self._layer += 1

    def memory(self) -> dict[str, Any]:
        """The number of the next layer."""
        return {"layer": self._layer}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told, instead of `start`."""
        self._layer = memory["layer"]


class GeodesicEuler:
    """x <- exp_x(h F(x)): along the great circle of the velocity; in R^d the Euler step. Order 1."""

    adaptive, continuous, order, error_order = False, True, 1, 0

    def __init__(self, field: Field, arithmetic: Arithmetic, space: Space, x: State) -> None:
        self.field, self.arithmetic, self._space = field, arithmetic, space
        self.evaluations = 0
        self.moved, self._slope = arithmetic.zeros(x), arithmetic.zeros(x)

    def start(self, t: float, x: State) -> None:
        """Compute the velocity at the start of a step from x."""
        self.field.velocity(t, x, self._slope)
        self.evaluations += 1

    def speed(self) -> State:
        """The velocity at the start of the next step."""
        return self._slope

    def attempt(self, t: float, h: float, x: State) -> float:
        """Try a step from x; NaN when the result is not finite."""
        self._move(x, h, self.moved)
        return 0.0 if self.arithmetic.finite(self.moved) else np.nan

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """The point of the same geodesic at t + theta h."""
        self._move(x, theta * h, out)

    def accept(self, t: float) -> None:
        """The velocity at the end of the step is the first of the next."""
        self.field.velocity(t, self.moved, self._slope)
        self.evaluations += 1

    def memory(self) -> dict[str, Any]:
        """The velocity at the start of the next step."""
        return {"slope": self._slope}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told, instead of `start`."""
        self._slope[...] = memory["slope"]

    def _move(self, x: State, h: float, out: State) -> None:
        # the retraction takes away what rounding adds over many steps
        out[...] = self._space.retract(self._space.exponential(x, float(h) * self._slope))
