"""Steppers of the law with noise: dx_i = F_i(x) dt + sqrt(2 kappa) P_{x_i} o dB_i, on the sphere and in R^d.

F is the drift, P_x the projection to the tangent space (in R^d the identity), B_i independent Brownian motions in R^d.
Fixed steps; W below is sqrt(2 kappa) B. There is nothing between two steps.

**Strong order** (the distance from the solution with the same W, as the root of its mean square). In R^d the noise is
additive and both methods have order 1. On the sphere it is 1/2 for both, and no method that asks of W only its
increments has more (Clark and Cameron, 1980): the fields x -> P_x e_a do not commute, [P e_a, P e_b] is the rotation in
the plane (a, b), also on the circle, so that the solution depends in its term of size h on the area between W_a and
W_b, which the increments do not tell.

**Weak order** (expectations) is 1 for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..particles.backends import Field
from ..particles.space import Space, Sphere
from .arithmetic import Arithmetic, State
from .brownian import Noise

# the method that each is without noise
WITHOUT_NOISE = {"euler-maruyama": "geodesic-euler", "heun-stratonovich": "heun"}


class Kicks:
    """The increments of sqrt(2 kappa) B, step by step, as states (replicas, tokens, dimension)."""

    def __init__(self, noise: Noise, arithmetic: Arithmetic, shape: tuple[int, ...], dtype: np.dtype, step: float):
        self._path, self._amplitude, self._step = noise.path(shape, step), noise.amplitude(), step
        self._arithmetic, self._dtype = arithmetic, dtype

    def at(self, t: float) -> State:
        """That of the step which begins at depth t."""
        increment = self._amplitude * self._path.increment(round(t / self._step))
        return self._arithmetic.load(increment.astype(self._dtype, copy=False))


class EulerMaruyama:
    """x <- exp_x(h F(x) + P_x dW), along a great circle; in R^d x + h F(x) + dW.

    The exponential map has the drift -(d-1) kappa x of Ito's form in its second-order term, so that none is added.
    For the Brownian motion alone one step takes the mean of x to q x, q = 1F1((d-1)/2; 1/2; -kappa h / r^2), which on
    the circle is exp(-kappa h / r^2) as it should be. Without noise this is `geodesic-euler`.
    """

    adaptive, continuous, order, error_order = False, False, 1, 0

    def __init__(self, field: Field, arithmetic: Arithmetic, space: Space, x: State, kicks: Kicks) -> None:
        self.field, self.arithmetic, self._space, self._kicks = field, arithmetic, space, kicks
        self.evaluations = 0
        self.moved, self._slope = arithmetic.zeros(x), arithmetic.zeros(x)

    def start(self, t: float, x: State) -> None:
        """Compute the velocity at the start of a step from x."""
        self.field.velocity(t, x, self._slope)
        self.evaluations += 1

    def speed(self) -> State:
        """The drift at the start of the next step."""
        return self._slope

    def attempt(self, t: float, h: float, x: State) -> float:
        """Take a step from x; NaN when the result is not finite."""
        along = float(h) * self._slope + self._space.project(x, self._kicks.at(t))
        # the retraction takes away what rounding adds over many steps
        self.moved[...] = self._space.retract(self._space.exponential(x, along))
        return 0.0 if self.arithmetic.finite(self.moved) else np.nan

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """There is nothing between two steps: the state after the step."""
        out[...] = self.moved

    def accept(self, t: float) -> None:
        """The velocity at the end of the step is the first of the next."""
        self.start(t, self.moved)

    def memory(self) -> dict[str, Any]:
        """The velocity at the start of the next step."""
        return {"slope": self._slope}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told, instead of `start`."""
        self._slope[...] = memory["slope"]


class HeunStratonovich:
    """z = exp_x(P_x dW), y = z + h F(x), then x <- retract(z + h (F(x) + F(y)) / 2).

    The noise goes along a great circle, as in `EulerMaruyama`, and the drift is that of Heun's method: what is left of
    the step's error without noise is of order 2. In R^d this is the Heun method for additive noise. On the sphere the
    textbook's Heun method for Stratonovich noise, which takes the mean of P_x dW and P_y dW, has the same strong order
    and a larger weak error: for Brownian motion on S^7 at kappa h = 0.015, 25% of the mean at depth 20 h, and here 6%.
    Without noise this is `heun`.
    """

    adaptive, continuous, order, error_order = False, False, 2, 0

    def __init__(self, field: Field, arithmetic: Arithmetic, space: Space, x: State, kicks: Kicks) -> None:
        self.field, self.arithmetic, self._space, self._kicks = field, arithmetic, space, kicks
        self._radius = space.radius if isinstance(space, Sphere) else 0.0
        self.evaluations = 0
        self.moved, self._predicted = arithmetic.zeros(x), arithmetic.zeros(x)
        self._first, self._second = arithmetic.zeros(x), arithmetic.zeros(x)

    def start(self, t: float, x: State) -> None:
        """Compute the velocity at the start of a step from x."""
        self.field.velocity(t, x, self._first)
        self.evaluations += 1

    def speed(self) -> State:
        """The drift at the start of the next step."""
        return self._first

    def attempt(self, t: float, h: float, x: State) -> float:
        """Take a step from x; NaN when the result is not finite."""
        h, space = float(h), self._space
        driven = space.exponential(x, space.project(x, self._kicks.at(t)))
        self._predicted[...] = driven + h * self._first
        self.field.velocity(t + h, self._predicted, self._second)
        self.evaluations += 1
        self.moved[...] = driven + 0.5 * h * (self._first + self._second)
        self.arithmetic.retract(self.moved, self._radius)
        return 0.0 if self.arithmetic.finite(self.moved) else np.nan

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """There is nothing between two steps: the state after the step."""
        out[...] = self.moved

    def accept(self, t: float) -> None:
        """The velocity at the end of the step is the first of the next."""
        self.start(t, self.moved)

    def memory(self) -> dict[str, Any]:
        """The velocity at the start of the next step."""
        return {"slope": self._first}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told, instead of `start`."""
        self._first[...] = memory["slope"]
