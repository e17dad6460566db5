"""A law prepared for one kind of ensemble: which kernels compute it, and on how many threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...space import Space
from .pairs import LARGEST_DIMENSION, attend_pairs, plan_pairs, project_pairs, row_statistics_pairs
from .plan import CAUSAL, matrices
from .schedule import SMALLEST_SHARE, default_threads, in_parallel
from .tile_sums import ROWS
from .tiles import attend_tiles, plan_tiles, project_tiles, row_statistics_tiles
from .vectors import lanes

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]


class CompiledField:
    """See `Field`. Small heads go to `pairs`, larger ones to `tiles`; both give the same bits on any threads."""

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        threads: int | None = None,
    ) -> None:
        self._arguments = law, space, weights, shape, np.dtype(dtype)
        self.threads = threads or default_threads()
        m = matrices(*self._arguments, with_entropy=False)
        self.small = max(m.head_dimension, m.value_dimension) <= LARGEST_DIMENSION
        self.plan = (plan_pairs if self.small else plan_tiles)(m, shape, self._arguments[-1])
        # nanoseconds, roughly, of projecting a token and of the attention: enough to know how many threads to wake
        self._token_cost = 0.05 * (m.query.size + m.key.size + m.value.size) + 3.0 * shape[2] + 20.0
        self._cost = _cost(m, shape, self._arguments[-1])
        # what a compiled step can work on directly: a small system, computed on one thread anyway
        self.step_plan = self.plan if self.small and self._cost < SMALLEST_SHARE else None

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.velocity`."""
        self._evaluate(positions, out, tangent=True)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.attention`."""
        self._evaluate(positions, out, tangent=False)

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """See `Field.statistics`."""
        m = matrices(*self._arguments, with_entropy=True)
        shape, dtype = self._arguments[3:]
        plan = (plan_pairs if self.small else plan_tiles)(m, shape, dtype)
        log_partition = np.empty((shape[0], m.heads, shape[1]))
        entropy = np.empty_like(log_partition)
        self._project(plan, positions, False)
        rows = row_statistics_pairs if self.small else row_statistics_tiles
        units = self._units(plan)
        in_parallel(lambda a, b: rows(plan, log_partition, entropy, a, b), units, self._cost, self.threads)
        return log_partition, entropy

    def _evaluate(self, positions: Array, out: Array, tangent: bool) -> None:
        plan = self.plan
        self._project(plan, positions, tangent)
        attend = attend_pairs if self.small else attend_tiles
        in_parallel(lambda a, b: attend(plan, out, tangent, a, b), self._units(plan), self._cost, self.threads)

    def _project(self, plan, positions: Array, tangent: bool) -> None:
        project = project_pairs if self.small else project_tiles
        shape = self._arguments[3]
        cost = shape[0] * shape[1] * self._token_cost
        units = self._units(plan) if self.small else plan.transposed.shape[0] * plan.transposed.shape[2]
        in_parallel(lambda a, b: project(plan, positions, tangent, a, b), units, cost, self.threads)

    def _units(self, plan) -> int:
        """How many ranges of rows the attention falls into."""
        if self.small:
            return plan.bound.shape[0] * (plan.bound.shape[2] // lanes(plan.bound.dtype))
        return plan.values.shape[0] * (plan.values.shape[3] // ROWS)


def _cost(m, shape: tuple[int, ...], dtype: np.dtype) -> float:
    """Nanoseconds of the attention on one thread, roughly."""
    pairs = shape[0] * shape[1] ** 2 * m.heads * (0.5 if m.mask == CAUSAL else 1.0)
    return (
        pairs * (0.4 + 0.025 * (m.head_dimension + m.value_dimension)) * (dtype.itemsize / 8)
        + 20.0 * shape[0] * shape[1]
    )
