"""A law prepared for one kind of ensemble: which kernels compute it, and on how many threads."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ....logs import logger_of
from ...space import Space
from . import pairs, replicas, symmetric, tiles
from .exponential import LN2
from .plan import CAUSAL, Matrices, averaging_keys, kept, matrices
from .schedule import SHARES, SMALLEST_SHARE, default_threads, in_parallel

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
logger = logger_of(__name__)


class CompiledField:
    """See `Field`. Small heads go to `pairs`, many small replicas of them to `replicas`, larger heads to `tiles`.

    All give the same bits on any threads, and `replicas` those of `pairs`.
    """

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        threads: int | None = None,
    ) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._threads = threads or default_threads()
        self._matrices = matrices(law, space, weights, shape, self._dtype)
        m = self._matrices
        # two modules with the same functions
        self._kernels = pairs if max(m.head_dimension, m.value_dimension) <= pairs.LARGEST_DIMENSION else tiles
        keep = functools.partial(kept, law, (shape[2], self._dtype.str))
        self._plan = self._kernels.make_plan(m, shape, self._dtype, keep)
        _announce(self._kernels.attend, self._plan)
        # nanoseconds, roughly, of projecting all tokens and of the attention: enough to know how many threads to wake
        self._project_cost = shape[0] * shape[1] * (0.05 * (m.query.size + m.key.size + m.value.size) + 3.0 * shape[2])
        self._attend_cost = _attend_cost(m, shape, self._dtype)
        # what a compiled step can work on directly: a small system, computed on one thread anyway
        self.step_plan = self._plan if self._kernels is pairs and self._attend_cost < SMALLEST_SHARE else None
        # what compiled steps of many small replicas work on, block by block
        self.replicas_plan = None
        if self._kernels is pairs and replicas.applies(self._plan, shape):
            self.step_plan, self.replicas_plan = None, replicas.make_plan(self._plan, shape)
            _announce(replicas.drift_of_block, self.replicas_plan)

        half = self._kernels is pairs and symmetric.applies(m, self._plan)
        self._part_sums = symmetric.room(self._plan) if half else None

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.velocity`."""
        if self._part_sums is None:
            self._evaluate(positions, out, tangent=True)
        else:
            self._project(self._plan, positions, tangent=True)
            self._attend_symmetrically(self._part_sums, out)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.attention`."""
        self._evaluate(positions, out, tangent=False)

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """See `Field.statistics`: the entropy of a row is log Z_i - sum_j P_ij s_ij - sum_j P_ij log a_j.

        The second term is <q_i, sum_j P_ij k_j>, so the row's average key is all that is needed; the third, which
        only differs between rows where weights do, is one more average.
        """
        (count, tokens, _), m, kernels = self._shape, averaging_keys(self._matrices), self._kernels
        plan = kernels.make_plan(m, self._shape, self._dtype)
        average = np.empty((count, tokens, m.heads * m.head_dimension), self._dtype)
        by_head = np.moveaxis(average.reshape(count, tokens, m.heads, -1), 2, 1)
        self._project(plan, positions, tangent=False)
        self._attend(plan, average, tangent=False)
        log2_partition = kernels.log2_partitions(plan, tokens)
        mean_score = np.einsum("rhic,rhic->rhi", kernels.queries(plan, tokens), by_head, dtype=np.float64)
        weights = m.weights.astype(np.float64)
        logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
        mean_log_weight = logs[:, None, :1]
        if (weights != weights[:, :1]).any():
            self._project(plan, positions, tangent=False)
            kernels.replace_values(plan, logs)
            self._attend(plan, average, tangent=False)
            mean_log_weight = by_head[..., 0]
        entropy = np.where(np.isneginf(log2_partition), 0.0, log2_partition - mean_score - mean_log_weight)
        return LN2 * log2_partition, LN2 * entropy

    def _evaluate(self, positions: Array, out: Array, tangent: bool) -> None:
        if self.replicas_plan is not None:
            self.over_blocks(lambda a, b: replicas.drift(self.replicas_plan, positions, out, tangent, a, b))
            return
        plan, kernels, count = self._plan, self._kernels, self._shape[0]
        if count < SHARES * self._threads:
            self._project(plan, positions, tangent)
            self._attend(plan, out, tangent)
            return
        # replicas do not see each other: each share goes through both stages while its tokens are in the cache
        token_units, units = kernels.token_units(plan) // count, kernels.units(plan) // count

        def work(first: int, last: int) -> None:
            kernels.project(plan, positions, tangent, first * token_units, last * token_units)
            kernels.attend(plan, out, tangent, first * units, last * units)

        in_parallel(work, count, self._project_cost + self._attend_cost, self._threads)

    def over_blocks(self, work: Callable[[int, int], object], drifts: int = 1) -> None:
        """Call work(first, last) on ranges of the blocks of `replicas_plan`, on threads; it computes so many drifts."""
        assert self.replicas_plan is not None
        cost = drifts * (self._project_cost + self._attend_cost)
        in_parallel(work, replicas.blocks(self.replicas_plan), cost, self._threads)

    def _project(self, plan, positions: Array, tangent: bool) -> None:
        project, units = self._kernels.project, self._kernels.token_units(plan)
        in_parallel(lambda a, b: project(plan, positions, tangent, a, b), units, self._project_cost, self._threads)

    def _attend(self, plan, out: Array, tangent: bool) -> None:
        attend, units = self._kernels.attend, self._kernels.units(plan)
        most = units // tiles.FEWEST_UNITS if self._kernels is tiles else None
        in_parallel(lambda a, b: attend(plan, out, tangent, a, b), units, self._attend_cost, self._threads, most)

    def _attend_symmetrically(self, sums: Array, out: Array) -> None:
        plan = self._plan
        symmetric.share_bound(plan)
        parts = sums.shape[0] * symmetric.PARTS
        in_parallel(lambda a, b: symmetric.sum_parts(plan, sums, a, b), parts, 0.6 * self._attend_cost, self._threads)
        finishing = 10.0 * self._shape[0] * self._shape[1]
        in_parallel(lambda a, b: symmetric.finish(plan, sums, out, a, b), pairs.units(plan), finishing, self._threads)


def _attend_cost(m: Matrices, shape: tuple[int, ...], dtype: np.dtype) -> float:
    """Nanoseconds of the attention on one thread, roughly."""
    rows = shape[0] * shape[1] * m.heads
    pairs_seen = rows * shape[1] * (0.5 if m.mask == CAUSAL else 1.0)
    return pairs_seen * (0.4 + 0.025 * (m.head_dimension + m.value_dimension)) * dtype.itemsize / 8 + 5.0 * rows


def _announce(kernel, plan) -> None:
    """Say, through `logging`, that kernels for this kind of plan are not on disk yet and will be compiled now."""
    if logger.isEnabledFor(logging.INFO):  # the type of a plan takes as long as all else that is prepared
        _look_up(kernel, numba.typeof(plan))


@functools.cache
def _look_up(kernel, plan_type) -> None:
    # Numba has no public question for this; the index is what it looks a compiled function up in
    try:
        index = kernel._cache._cache_file._load_index()
    except AttributeError:
        return  # another Numba keeps it elsewhere: a line less is said, nothing else changes
    if not any(signature[0] == plan_type for signature, *_ in index):
        logger.info("compiling kernels (once on this machine for this dimension and number type) ...")
