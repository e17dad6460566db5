"""`sums = "auto"`: exact sums or an expansion, whichever is faster here and accurate enough; exact where none exists.

Where the two costs are far apart by their models, the models decide, and the same is chosen on every machine;
in between both are timed at the first evaluation. As the run goes, the errors of some rows are looked at; and once the
drift is no longer far above what the expansion rounds to, or an error exceeds the tolerance, sums are exact.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ....errors import InvalidInput
from ....logs import logger_of
from ...space import Space
from ..compiled.field import CompiledField
from ..engine import Engine
from .field import DIMENSIONS, FAMILIES, RESOLVED, ExpansionField
from .scores import obstacle

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
LOG = logger_of(__name__)
FAR_APART = 4.0  # ratio of estimated costs beyond which nothing is timed
_NANOSECONDS_PER_PAIR, _NANOSECONDS_PER_EVALUATION = 0.4, 1e5
_SMALL = 1e6  # nanoseconds of exact sums: there may be a compiled step for all of it
_TIMED = 3  # times each
SHARE_OF_ROWS = 0.1  # of all tokens


class AutoField:
    """See `Field`.

    at_floor  : the expansion no longer resolved the drift, and sums are exact from now on; with merged tokens they
                are fast
    step_plan, replicas_plan : those of `CompiledField` where sums are exact from the start
    """

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        engine: Engine,
    ) -> None:
        self.at_floor, self.step_plan, self.replicas_plan = False, None, None
        self._arguments = (law, space, weights, shape, dtype, engine.threads)
        self._exact_field: CompiledField | None = None
        self._expansion: ExpansionField | None = None
        self._undecided, self._allowed = False, 0.0
        self._found: dict[str, Any] = {"reason": obstacle(law, space) or self._expand(engine)}
        LOG.debug("sums: %s", self._found["reason"])
        if self._expansion is None:
            self.step_plan = getattr(self._exact, "step_plan", None)
            self.replicas_plan = getattr(self._exact, "replicas_plan", None)

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.velocity`."""
        if self._undecided:
            self._time(t, positions)
        if self._expansion is not None:
            self._expansion.velocity(t, positions, out)
            if not self._expansion.resolved:
                self.at_floor = True
                self._found["floor_at_evaluation"] = self._expansion.evaluations
                self._leave("the drift is near the rounding of the expansion")
            self._look()
        if self._expansion is None:
            self._exact.velocity(t, positions, out)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.attention`."""
        if self._undecided:
            self._time(t, positions)
        if self._expansion is not None and self._expansion.holds(positions):
            self._expansion.attention(t, positions, out)
            self._look()
            if self._expansion is not None:
                return
        self._exact.attention(t, positions, out)

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """See `Field.statistics`."""
        if self._expansion is None or not self._expansion.holds(positions):
            return self._exact.statistics(positions)
        return self._expansion.statistics(positions)

    def record(self) -> dict[str, Any]:
        """Which sums are used now and why, and what the expansion's errors were."""
        if self._expansion is None:
            return {"sums": "exact"} | self._found
        return self._found | self._expansion.record()

    def memory(self) -> dict[str, Any]:
        """What was decided, and what the expansion carries from one evaluation to the next."""
        expansion = None if self._expansion is None else self._expansion.memory()
        return {
            "expansion": expansion,
            "undecided": self._undecided,
            "at_floor": self.at_floor,
            "found": dict(self._found),
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told: nothing is timed anew."""
        self._undecided, self.at_floor, self._found = memory["undecided"], memory["at_floor"], dict(memory["found"])
        if memory["expansion"] is None:
            self._expansion = None
        elif self._expansion is not None:
            self._expansion.recall(memory["expansion"])

    @property
    def _exact(self) -> CompiledField:
        if self._exact_field is None:
            self._exact_field = CompiledField(*self._arguments)
        return self._exact_field

    def _expand(self, engine: Engine) -> str:
        """Prepare the expansion if it may be chosen; why it is, or why it is not."""
        law, space, weights, shape, dtype, _ = self._arguments
        kind = next(kind for kind, dimension in DIMENSIONS.items() if dimension == space.dimension)
        exact_cost = _NANOSECONDS_PER_PAIR * shape[0] * float(shape[1]) ** 2
        if exact_cost < _SMALL and (
            self._exact.step_plan is not None or getattr(self._exact, "replicas_plan", None) is not None
        ):
            return "the system is small"
        try:
            expansion = ExpansionField(law, space, weights, shape, dtype, engine, kind)
        except InvalidInput as error:
            return str(error)
        self._allowed = max(engine.sum_tolerance, RESOLVED * expansion.law.size)
        if not expansion.error <= engine.sum_tolerance:
            return f"the rounding of the expansion, {expansion.error:.3g}, exceeds the tolerance"
        cost = shape[0] * shape[1] * FAMILIES[kind].nanoseconds(expansion.degree, True) + _NANOSECONDS_PER_EVALUATION
        if exact_cost < cost / FAR_APART:
            return "exact sums are much faster"
        self._expansion, self._undecided = expansion, exact_cost < cost * FAR_APART
        return f"{kind} sums are much faster"

    def _time(self, t: float, positions: Array) -> None:
        """Choose the faster of the two at these positions, after a call of each that compiles it."""
        assert self._expansion is not None
        self._undecided = False
        room, seconds = np.empty_like(positions), []
        for field in (self._exact, self._expansion):
            field.velocity(t, positions, room)
            seconds.append(min(_seconds(field, t, positions, room) for _ in range(_TIMED)))
        self._expansion.forget()
        self._found["exact_seconds"], self._found["expansion_seconds"] = seconds
        if seconds[0] < seconds[1]:
            self._leave("exact sums were faster when both were timed")
        else:
            self._exact_field = None
            self._found["reason"] = f"{self._expansion.kind} sums were faster when both were timed"

    def _look(self) -> None:
        """Go over to exact sums where the expansion has shown an error too large, or left most rows to them anyway."""
        if self._expansion is None:
            return
        if self._expansion.last_error > self._allowed:
            self._leave(f"the error of the expansion was {self._expansion.last_error:.3g}, above the tolerance")
        elif self._expansion.exact_rows > SHARE_OF_ROWS * self._arguments[3][1]:
            self.at_floor = True  # clusters far apart: merged, they are few
            self._leave("too many rows were summed exactly")

    def _leave(self, reason: str) -> None:
        """Use exact sums from now on."""
        assert self._expansion is not None
        LOG.info("exact sums from now on: %s", reason)
        self._found |= self._expansion.record() | {"reason": reason, "sums": f"{self._expansion.kind}, then exact"}
        self._expansion = None


def _seconds(field: CompiledField | ExpansionField, t: float, positions: Array, out: Array) -> float:
    start = time.perf_counter()
    field.velocity(t, positions, out)
    return time.perf_counter() - start
