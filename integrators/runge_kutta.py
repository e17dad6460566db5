"""The stepper of explicit Runge-Kutta methods, on the sphere and in R^d."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..particles.backends import Field
from ..particles.space import Space, Sphere
from .arithmetic import Arithmetic, State
from .tableaux import Tableau


class RungeKutta:
    """Steps of one tableau. See `Stepper` in methods.py for what its methods promise."""

    def __init__(
        self,
        tableau: Tableau,
        field: Field,
        arithmetic: Arithmetic,
        space: Space,
        x: State,
        rtol: float,
        atol: float,
    ) -> None:
        self.tableau, self.field, self.arithmetic = tableau, field, arithmetic
        self.adaptive, self.continuous, self.order = tableau.error is not None, True, tableau.order
        self.error_order = tableau.error_order
        self.evaluations = 0
        self._radius = space.radius if isinstance(space, Sphere) else 0.0
        self._tolerances = (atol, rtol) if self.adaptive else (1.0, 0.0)
        self._rows = np.vstack([tableau.a, tableau.b])
        self._nodes = self._rows.sum(axis=1)
        self._error = np.zeros(tableau.stages + 1) if tableau.error is None else tableau.error
        self._low = np.zeros(0) if tableau.low is None else tableau.low
        self._slopes = arithmetic.zeros(x, tableau.slopes)
        self._first, self._last = self._slopes[0], self._slopes[tableau.stages]
        self._stages = tableau.stages
        self._stage, self.moved = arithmetic.zeros(x), arithmetic.zeros(x)
        self._dense_ready = False

    def start(self, t: float, x: State) -> None:
        """Compute the slope at the start of a step from x; call it once, and after x was changed from outside."""
        self.field.velocity(t, x, self._first)
        self.evaluations += 1

    def speed(self) -> State:
        """The slope at the start of the next step, (replicas, tokens, dimension)."""
        return self._first

    def attempt(self, t: float, h: float, x: State) -> float:
        """Try a step from x, leaving its end in `moved`; the error norm, at most 1 when it is good enough."""
        self._dense_ready = False
        self.evaluations += self._stages
        return self.arithmetic.attempt(*self._arguments(t, h, x))

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """The state at t + theta h inside the step just tried from x, retracted."""
        tableau, combine = self.tableau, self.arithmetic.combine
        if not self._dense_ready:
            self.arithmetic.fill_slopes(*self._arguments(t, h, x))
            first = tableau.stages + 1
            for number, row in enumerate(tableau.extra):
                combine(self._stage, x, h, row, self._slopes, first + number)
                self.field.velocity(t + h * row.sum(), self._stage, self._slopes[first + number])
            self.evaluations += len(tableau.extra)
            self._dense_ready = True
        combine(out, x, h, tableau.weights(theta), self._slopes, tableau.slopes)
        self.arithmetic.retract(out, self._radius)

    def accept(self, t: float) -> None:
        """The step just tried is taken: its last slope is the first of the next."""
        self._first[...] = self._last

    def memory(self) -> dict[str, Any]:
        """The slope at the start of the next step."""
        return {"slope": self._first}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told, instead of `start`."""
        self._first[...] = memory["slope"]

    def _arguments(self, t: float, h: float, x: State) -> tuple[Any, ...]:
        return (
            self.field, self._radius, self._rows, self._nodes, self._error, self._low, t, h,
            x, self._slopes, self._stage, self.moved, *self._tolerances,
        )  # fmt: skip
