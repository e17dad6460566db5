"""Splitting methods for blocks: attention and the feed-forward map act one after the other within a step.

    lie-trotter   F_h o A_h                 order 1, both by Euler: without normalisation the transformer's own layer
    strang        F_{h/2} o A_h o F_{h/2}   order 2, all by Heun's method; the Macaron network

A and F are the flows of the two parts. Source: arXiv:1906.02762, which reads a transformer as the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..particles.backends import Field
from ..particles.block import Law, feed_forward_of
from ..particles.space import Space, Sphere
from .arithmetic import Arithmetic, State
from .tableaux import TABLEAUX, Tableau

SLACK = 1e-12  # of a step
Velocity = Callable[[float, State, State], None]


@dataclass(frozen=True)
class Substep:
    """The part of a block that moves the tokens, from which fraction of the step to which."""

    part: str
    begin: float
    end: float


@dataclass(frozen=True)
class Split:
    """The substeps of one step, each by one step of a Runge-Kutta method."""

    order: int
    method: str
    substeps: tuple[Substep, ...]


SPLITTINGS = {
    "lie-trotter": Split(1, "euler", (Substep("attention", 0.0, 1.0), Substep("feed_forward", 0.0, 1.0))),
    "strang": Split(
        2,
        "heun",
        (Substep("feed_forward", 0.0, 0.5), Substep("attention", 0.0, 1.0), Substep("feed_forward", 0.5, 1.0)),
    ),
}


def check_splittable(method: str, law: Any) -> None:
    """Raise InvalidInput unless the law has the two parts that a splitting needs."""
    if not isinstance(law, Law) or feed_forward_of(law) is None:
        raise InvalidInput(f"method {method!r} splits attention from a feed-forward map; this law has none")


class Splitting:
    """Steps of one splitting. See `Stepper` in methods.py for what its methods promise. Fixed steps only."""

    adaptive, continuous, error_order = False, True, 0

    def __init__(self, split: Split, field: Any, arithmetic: Arithmetic, space: Space, x: State) -> None:
        self.order, self.arithmetic = split.order, arithmetic
        self.field: Field = field
        self._substeps, self._tableau = split.substeps, TABLEAUX[split.method]
        self._velocity: dict[str, Velocity] = {
            "attention": field.attention_velocity,
            "feed_forward": field.feed_forward_velocity,
        }
        self._radius = space.radius if isinstance(space, Sphere) else 0.0
        self.evaluations = 0
        self.moved, self._between, self._stage = (arithmetic.zeros(x) for _ in range(3))
        self._slopes = arithmetic.zeros(x, self._tableau.stages)
        self._now: tuple[float, State] = (0.0, x)

    def start(self, t: float, x: State) -> None:
        """Nothing to compute beforehand."""
        self._now = (t, x)

    def speed(self) -> State:
        """The velocity of both parts together, (replicas, tokens, dimension); computed when asked for."""
        velocity = self.arithmetic.zeros(self.moved)
        self.field.velocity(*self._now, velocity)
        self.evaluations += 1
        return velocity

    def attempt(self, t: float, h: float, x: State) -> float:
        """Try a step from x; NaN when the result is not finite."""
        self._move(t, h, x, self.moved)
        return 0.0 if self.arithmetic.finite(self.moved) else np.nan

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """The end of a shorter step, theta h, from the same x; nothing to compute where that is an end of this step."""
        if SLACK < theta < 1.0 - SLACK:
            self._move(t, theta * h, x, out)
        else:
            out[...] = x if theta <= SLACK else self.moved

    def accept(self, t: float) -> None:
        """The step just tried is taken."""
        self._now = (t, self.moved)

    def memory(self) -> dict[str, Any]:
        """Nothing: a step begins with the state alone."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Nothing to recall; the depth and state of the next step are told by `start`."""

    def _move(self, t: float, h: float, x: State, out: State) -> None:
        self._between[...] = x
        for substep in self._substeps:
            length = (substep.end - substep.begin) * h
            self._runge_kutta(self._velocity[substep.part], t + substep.begin * h, length, self._between, out)
            self._between[...] = out
            if substep.part == "attention":
                self.evaluations += self._tableau.stages

    def _runge_kutta(self, velocity: Velocity, t: float, h: float, x: State, out: State) -> None:
        """One step of the tableau, retracted at its end; unlike `stages.attempt` without the slope there."""
        tableau: Tableau = self._tableau
        for s in range(tableau.stages):
            self.arithmetic.combine(self._stage, x, h, tableau.a[s], self._slopes, s)
            velocity(t + h * float(tableau.a[s].sum()), self._stage, self._slopes[s])
        self.arithmetic.combine(out, x, h, tableau.b, self._slopes, tableau.stages)
        self.arithmetic.retract(out, self._radius)
