"""Laws of any parts in compiled code: queries, keys and values as the reference has them, rows by `rows`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...normalisations import TIES
from ...scores import directions
from ...space import Space, Sphere
from ..reference import ReferenceField, row_pairs, row_statistics
from ..sinkhorn import potentials, symmetric_scores
from . import rows
from .one_pass import OnePass, Shape
from .plan import MASKS
from .profiles import profile_of
from .schedule import default_threads, in_parallel
from .tangents import keep_tangential, retract
from .vectors import aligned_zeros, lanes

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
MARGIN = 1.0 + 1e-5  # of the longest key, above what rounding does to a score
ROWS = 32  # rows of one unit of work, whose masks and priors are held


class Weights(NamedTuple):
    """w_ij of some tokens i and j, (rows, columns); it is 0 for the tokens that are not among the columns."""

    replica: int
    head: int
    rows: slice
    columns: slice
    values: Array


class _Part(NamedTuple):
    replica: int
    head: int
    first: int
    last: int
    low: int
    high: int
    scores: Array
    measure: Array


class GeneralField:
    """See `Field`. The same bits on any number of threads: a unit of rows is computed by one."""

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        threads: int | None = None,
    ) -> None:
        self._law, self._space = law, space
        self._reference = ReferenceField(law, space, weights, shape, dtype)
        self._threads = threads or default_threads()
        self._dtype = np.dtype(dtype)
        self._kernel = rows.row_law(law, shape[1], TIES[self._dtype.itemsize])
        self._most_iterations = 0
        self._one_pass = self._prepared_profile(shape)
        products = not law.score.distant and law.normalisation.name == "linear"
        self._separates = products and law.sees_all_alike and law.prior is None

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.velocity`."""
        if not isinstance(self._space, Sphere):
            self.attention(t, positions, out)
            return
        points = positions.copy()
        retract(points, self._space.radius)
        self.attention(t, points, out)
        keep_tangential(points, self._space.radius, out)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.attention`."""
        for replica, x in enumerate(positions):
            heads = [self._head(x, replica, head) for head in range(self._law.heads)]
            out[replica] = self._reference.join(x, np.stack(heads))

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """See `Field.statistics`."""
        replicas, tokens, _ = positions.shape
        log_partition = np.empty((replicas, self._law.heads, tokens))
        entropy = np.empty_like(log_partition)
        for part in self._parts(positions):
            found = row_statistics(self._law, part.scores, part.measure, tokens)
            rows = part.replica, part.head, slice(part.first, part.last)
            log_partition[rows], entropy[rows] = found
        return log_partition, entropy

    def weights(self, positions: Array, number: int = 0) -> Iterator[Weights]:
        """The attention matrix w_ij, some rows of one replica and head at a time.

        number : that of the first replica in its run, which counts for random multipliers
        """
        for part in self._parts(positions, number):
            rows = self._law.normalisation.rows(part.scores, part.measure, positions.shape[1])
            yield Weights(part.replica, part.head, slice(part.first, part.last), slice(part.low, part.high), rows)

    def between(self, x: Array, place: tuple[int, int], first: int, last: int) -> Array:
        """Rows first <= i < last of the attention matrix of tokens x, (last - first, tokens).

        place : the numbers of replica and head
        """
        query, key, _ = self._reference.features(x, place[1])
        weights = self._reference.weights[min(place[0], len(self._reference.weights) - 1)]
        potential = self._potentials(query, key, weights, place)
        scores, measure = row_pairs(self._law, query, key, weights, place, (first, last), (0, len(x)))
        return self._law.normalisation.rows(scores + potential.astype(scores.dtype), measure, len(x))

    def features(self, x: Array, head: int) -> tuple[Array, Array]:
        """Queries and keys of one replica and head, each (tokens, head_dimension)."""
        query, key, _ = self._reference.features(x, head)
        return query, key

    def record(self) -> dict[str, Any]:
        """The most iterations that sinkhorn took for a drift."""
        return {"sinkhorn_iterations": self._most_iterations} if self._law.normalisation.name == "sinkhorn" else {}

    def _prepared_profile(self, shape: tuple[int, ...]) -> OnePass | None:
        """The faster kernels, for laws that have a profile."""
        law, projections, (_, tokens, dimension) = self._law, self._reference.projections, shape
        profile = profile_of(law)
        if profile is None:
            return None
        head, value = (
            dimension if matrix is None else matrix.shape[1] for matrix in (projections.query, projections.value)
        )
        softmax, shift = law.normalisation.name == "softmax", law.shift
        return OnePass(profile, MASKS[law.mask.name], Shape(tokens, head, value), softmax, shift, self._dtype)

    def _parts(self, positions: Array, number: int = 0) -> Iterator[_Part]:
        """All scores and measures, some rows at a time; `number` is that of the first replica."""
        for replica, x in enumerate(positions):
            weights = self._reference.weights[replica]
            for head in range(self._law.heads):
                query, key, _ = self._reference.features(x, head)
                potential = self._potentials(query, key, weights, (replica, head))
                for first, last, low, high in self._units(len(x)):
                    ranges = ((first, last), (low, high))
                    scores, measure = row_pairs(self._law, query, key, weights, (number + replica, head), *ranges)
                    scores = scores + potential[low:high].astype(scores.dtype)
                    yield _Part(replica, head, first, last, low, high, scores, measure)

    def _head(self, x: Array, replica: int, head: int) -> Array:
        """sum_j w_ij v_j of one head, (tokens, value_dimension)."""
        query, key, value = self._reference.features(x, head)
        weights = self._reference.weights[replica]
        out = np.empty((len(x), value.shape[1]), self._dtype)
        potential = self._potentials(query, key, weights, (replica, head))
        same = np.array_equal(query, key)
        query = np.ascontiguousarray(self._turned(query))
        key = query if same else np.ascontiguousarray(self._turned(key))
        if self._separates:  # sum_j a_j <q_i, k_j> v_j = (sum_j a_j v_j k_j^T) q_i needs no pairs
            return (self._law.score_beta * query) @ (key.T @ (weights[:, None] * value))
        cost = len(x) * len(x) * (1.0 + 0.1 * (query.shape[1] + value.shape[1]))
        left = np.ones(len(x), np.bool_)
        if self._one_pass is not None:
            left = self._one_pass.attend(query, key, value, weights, out, cost, self._threads)
            if not left.any():
                return out
        keys, values = _in_blocks(key), _side_by_side(value)
        longest = float(np.sqrt(np.square(key, dtype=np.float64).sum(axis=1).max())) * MARGIN

        def work(unit: tuple[int, int, int, int]) -> None:
            first, last, low, high = unit
            measure, prior = self._beside(unit, weights, potential, (replica, head))
            rows.attend(
                self._kernel, query[first:last], keys, values, measure, prior, longest, low, high - low, out[first:last]
            )

        self._over_units(work, [unit for unit in self._units(len(x)) if left[unit[0] : unit[1]].any()], cost)
        return out

    def _potentials(self, query: Array, key: Array, weights: Array, place: tuple[int, int]) -> Array:
        """What sinkhorn adds to the scores of every token, (tokens,); zero for other laws."""
        tokens = len(query)
        if self._law.normalisation.name != "sinkhorn":
            return np.zeros(tokens)
        query, key = (np.ascontiguousarray(self._turned(part), np.float64) for part in (query, key))
        sides = (query, _in_blocks(key)), (key, _in_blocks(query))
        weights = weights.astype(np.float64)

        def log_sums(side: tuple[Array, Array], additional: Array) -> Array:
            out = np.empty(tokens)

            def work(unit: tuple[int, int, int, int]) -> None:
                first, last, low, high = unit
                measure, prior = self._beside(unit, weights, additional, place)
                mine, others = side
                rows.log_sums(self._kernel, mine[first:last], others, measure, prior, low, high - low, out[first:last])

            self._over_units(work, list(self._units(tokens)), tokens * tokens * (1.0 + 0.1 * query.shape[1]))
            return out

        found, iterations = potentials(
            self._law.normalisation,
            lambda v: log_sums(sides[0], v),
            lambda u: log_sums(sides[1], u),
            np.zeros(tokens),
            symmetric_scores(self._law, self._reference.projections, place[1]),
        )
        self._most_iterations = max(self._most_iterations, iterations)
        return found

    def _turned(self, features: Array) -> Array:
        """Queries or keys as their score takes them."""
        if self._law.score.name != "cosine":
            return features
        return directions(features)

    def _beside(
        self, unit: tuple[int, int, int, int], weights: Array, additional: Array, place: tuple[int, int]
    ) -> tuple[Array, Array]:
        """a_j m_ij xi_ij and what is added to scores, of the rows and tokens of a unit, each (rows or 1, room)."""
        (first, last, low, high), (replica, head) = unit, place
        law, room = self._law, _room(high - low, weights.dtype)
        measure = np.zeros((1 if law.sees_all_alike else last - first, room), weights.dtype)
        measure[:, : high - low] = weights[low:high]
        if not law.sees_all_alike:
            measure[:, : high - low] *= law.factors(replica, head, *unit).astype(weights.dtype)
        if law.prior is None and not additional.any():
            return measure, np.zeros((0, 0), weights.dtype)
        prior = np.zeros((1 if law.prior is None else last - first, room), weights.dtype)
        prior[:, : high - low] = additional[low:high]
        if law.prior is not None:
            prior[:, : high - low] += law.prior.logs(first, last, low, high, head, law.heads).astype(weights.dtype)
        return measure, prior

    def _units(self, tokens: int) -> Iterator[tuple[int, int, int, int]]:
        """(first, last, low, high): some rows, and the tokens beyond which they see nobody."""
        width = lanes(np.float32)  # a multiple of the lanes of either type
        for first in range(0, tokens, ROWS):
            last = min(first + ROWS, tokens)
            low, high = self._law.mask.span(first, last, tokens)
            yield first, last, low // width * width, high

    def _over_units(self, work: Any, units: list[tuple[int, int, int, int]], cost: float) -> None:
        in_parallel(lambda a, b: [work(unit) for unit in units[a:b]], len(units), cost, self._threads)


def _side_by_side(features: Array) -> Array:
    """(tokens, components) as (components, padded), zero behind the tokens."""
    tokens, components = features.shape
    out = aligned_zeros((components, _room(tokens, features.dtype)), features.dtype)
    out[:, :tokens] = features.T
    return out


def _in_blocks(features: Array) -> Array:
    """(tokens, components) as (padded / lanes, components, lanes): what is loaded together lies together."""
    width = lanes(features.dtype.type)
    side = _side_by_side(features)
    out = aligned_zeros((side.shape[1] // width, side.shape[0], width), features.dtype)
    out[:] = side.reshape(side.shape[0], -1, width).swapaxes(0, 1)
    return out


def _room(tokens: int, dtype: DTypeLike) -> int:
    """Numbers of a row, so that groups of four vectors may be read from any of its tokens on."""
    step = 4 * lanes(np.dtype(dtype).type)
    return (tokens // step + 2) * step
