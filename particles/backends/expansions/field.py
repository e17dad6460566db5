"""A law whose sums over tokens are an expansion: O(n) per drift, with an absolute error.

A drift is computed with the degree that the tolerance needs when tokens are spread evenly. Where the least z_i of a
replica, or the size of its drift, then shows that more is needed, its sums are done once more with a higher degree,
and rows whose z_i no degree resolves are summed exactly. All this depends on the positions alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ....errors import InvalidInput
from ...space import Space
from ..compiled.schedule import default_threads, in_parallel
from ..engine import Engine
from . import fourier, harmonics
from .rows import attention_of, exact_sums
from .scores import ROUNDING, Scores, scores

if TYPE_CHECKING:
    from ...attention import Attention
    from .auto import AutoField

Array = NDArray[np.floating]
FAMILIES = {"fourier": fourier, "harmonics": harmonics}  # two modules with the same functions
DIMENSIONS = {"fourier": 2, "harmonics": 3}
MARGIN = 1e4  # a drift is resolved as long as it is this much larger than what rounding does to it
RELATIVE = 1e-6  # slow drifts get as many terms as bring their error below this part of them
RESOLVED = 1e-12  # the relative error that sums are allowed at any tolerance
REMEMBERED = ("evaluations", "checks", "largest_error", "last_error", "_highest", "exact_rows", "resolved")
CHECK_EVERY = 64  # drifts
CHECKED_ROWS = 16
_BATCH = 2**22  # numbers in the moments of the replicas that are summed together


def expansion_field(
    law: Attention,
    space: Space,
    weights: NDArray[np.float64],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    engine: Engine,
) -> ExpansionField | AutoField:
    """The field that engine.sums names. Raises InvalidInput where the law has no such expansion."""
    if engine.sums == "auto":
        from .auto import AutoField

        return AutoField(law, space, weights, shape, dtype, engine)
    return ExpansionField(law, space, weights, shape, dtype, engine, engine.sums)


class ExpansionField:
    """See `Field`. The same bits on any number of threads, and for a replica in any company.

    kind     : "fourier" or "harmonics"
    exact_rows : the most rows of a replica that were ever summed exactly
    resolved : whether every replica's drift was, at the last evaluation, well above the rounding of the expansion
    """

    step_plan = None

    def __init__(
        self,
        law: Attention,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        engine: Engine,
        kind: str,
    ) -> None:
        self.kind = kind
        self.law = scores(law, space)
        if self.law.dimension != DIMENSIONS[kind]:
            raise InvalidInput(
                f'sums = "{kind}" are for tokens of dimension {DIMENSIONS[kind]}; got {self.law.dimension}, '
                f'for which there is "{"fourier" if self.law.dimension == 2 else "harmonics"}"'
            )
        self._family, self._shape, self._dtype = FAMILIES[kind], shape, np.dtype(dtype)
        self._threads, self._tolerance = engine.threads or default_threads(), engine.sum_tolerance
        # a copy: for arrays that may only be read Numba would compile all kernels once more
        self._weights = np.array(np.broadcast_to(weights, shape[:2]), np.float64, order="C")
        self._parts = int(np.clip(shape[1] // 4096, 1, 16))
        most = self._family.HIGHEST_DEGREE
        self._series = self._family.series(min(self.law.kappa, float(most**2)))  # beyond, it is too short anyway
        even = self._series.partition[0]  # z of tokens spread evenly
        size = max(self.law.size, 1e-300)
        # how much g and z may be off for the drift to be within the tolerance, there or where z is 1
        self._allowed = max(self._tolerance / size, ROUNDING)
        self._least = ROUNDING / max(self._allowed, RESOLVED) if self.law.softmax else 0.0
        self._fullest = self._series.degree(0.1 * ROUNDING * even)
        wanted = 0.25 * self._allowed * (even if self.law.softmax else 1.0)
        self.degree = self._series.degree(wanted)
        if not self._series.tails[self.degree] <= wanted:
            raise InvalidInput(
                f'sums = "{kind}" go up to degree {most}, too few for scores up to '
                f'{self.law.kappa:.6g}; sums = "exact" has them'
            )
        self.forget()

    def forget(self) -> None:
        """Begin the record anew."""
        self.evaluations, self.checks, self.largest_error, self.last_error = 0, 0, 0.0, 0.0
        self._highest, self.exact_rows, self.resolved = self.degree, 0, True

    def memory(self) -> dict[str, Any]:
        """What it carries from one evaluation to the next."""
        return {name: getattr(self, name) for name in REMEMBERED}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told."""
        for name in REMEMBERED:
            setattr(self, name, memory[name])

    @property
    def error(self) -> float:
        """What rounding does to the drift at best, when z is 1."""
        return self.law.size * ROUNDING

    def velocity(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.velocity`."""
        self._attend(positions, out, tangent=True)

    def attention(self, t: float, positions: Array, out: Array) -> None:
        """See `Field.attention`. Raises InvalidInput for positions off the sphere, where expansions do not hold."""
        self._check_place(positions)
        self._attend(positions, out, tangent=False)

    def statistics(self, positions: Array) -> tuple[Array, Array]:
        """See `Field.statistics`: the entropy of a row is log Z_i - kappa <q_i, g_i> / z_i - sum_j P_ij log a_j."""
        self._check_place(positions)
        law, weights = self.law, self._weights
        logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
        g, z = self._plain_sums(positions, weights)
        mean_log = self._plain_sums(positions, weights * logs)[1] / z if (weights != weights[:, :1]).any() else logs
        log_partition = np.log(z, out=np.full_like(z, np.nan), where=z > 0) + law.kappa
        with np.errstate(invalid="ignore"):  # tokens that are not finite
            points = positions / np.linalg.norm(positions, axis=-1, keepdims=True)
        score = law.kappa * np.einsum("rtc,rtc->rt", points @ law.turn.T, g) / z
        for replica, weak in enumerate(z < ROUNDING / RESOLVED):
            rows = np.flatnonzero(weak)
            if len(rows):
                sums, tops = exact_sums(law, positions, weights, replica, rows, self._threads)
                by_log, log_tops = exact_sums(law, positions, weights * logs, replica, rows, self._threads)
                queries = points[replica, rows] @ law.turn.T
                score[replica, rows] = law.kappa * np.sum(queries * sums[:, :-1], axis=-1) / sums[:, -1]
                log_partition[replica, rows] = np.log(sums[:, -1]) + tops
                mean_log[replica, rows] = by_log[:, -1] / sums[:, -1] * np.exp(log_tops - tops)
        return log_partition[:, None], (log_partition - score - mean_log)[:, None]

    def record(self) -> dict[str, Any]:
        """Which sums were used, and how large their error was where it was looked at."""
        return {
            "sums": self.kind,
            "terms": self.degree + 1,
            "most_terms": self._highest + 1,
            "exact_rows": self.exact_rows,
            "sum_checks": self.checks,
            "largest_sum_error": self.largest_error,
        }

    def _attend(self, positions: Array, out: Array, tangent: bool) -> None:
        law, everyone = self.law, np.arange(self._shape[0])
        least, fastest = self._sum(positions, out, tangent, self.degree, everyone)
        z = np.maximum(least, self._least) if law.softmax else np.ones(len(least))
        wanted = np.minimum(self._allowed, RELATIVE * fastest / max(law.size, 1e-300)) * z
        degrees = np.array([min(self._series.degree(error), self._fullest) for error in wanted])
        again = (degrees > self.degree) | (least < self._least)
        for degree in np.unique(np.maximum(degrees[again], self.degree)):
            which = everyone[again & (np.maximum(degrees, self.degree) == degree)]
            self._highest = max(self._highest, int(degree))
            self._sum_again(positions, out, tangent, int(degree), which)
        if self.evaluations % CHECK_EVERY == 0:
            self._check(positions, out, tangent)
        self.evaluations += 1
        self.resolved = not bool((fastest < MARGIN * law.size * ROUNDING / z).any())

    def _sum_again(self, positions: Array, out: Array, tangent: bool, degree: int, which: NDArray[np.intp]) -> None:
        """The attention of some replicas with a higher degree, and exactly where z is too small."""
        partition = np.ones(self._shape[:2])
        self._sum(positions, out, tangent, degree, which, partition)
        for replica in which:
            rows = np.flatnonzero(partition[replica] < self._least)
            if len(rows):
                self.exact_rows = max(self.exact_rows, len(rows))
                out[replica, rows] = self._exact(positions, replica, rows, tangent)

    def _exact(self, positions: Array, replica: int, rows: NDArray[np.intp], tangent: bool) -> Array:
        points = positions[replica, rows].astype(np.float64)
        points /= np.linalg.norm(points, axis=-1, keepdims=True)
        sums, tops = exact_sums(self.law, positions, self._weights, replica, rows, self._threads)
        return attention_of(self.law, points, sums, tops, tangent)

    def _check(self, positions: Array, out: Array, tangent: bool) -> None:
        """Compare some rows with exact sums; from one check to the next it is the turn of others."""
        replicas, tokens, _ = self._shape
        stride = -(-tokens // CHECKED_ROWS)
        replica, first = self.checks % replicas, self.checks // replicas % stride
        rows = np.arange(first, tokens, stride)
        errors = np.linalg.norm(self._exact(positions, replica, rows, tangent) - out[replica, rows], axis=-1)
        self.last_error = float(errors.max())
        self.largest_error = float(max(self.largest_error, self.last_error))
        self.checks += 1

    def _plain_sums(self, positions: Array, weights: Array) -> tuple[Array, Array]:
        """g (replicas, tokens, dimension) and z (replicas, tokens) themselves."""
        d = self.law.dimension
        plain = self.law._replace(matrix=np.eye(d), along=np.zeros(d), bias=np.zeros(d), softmax=False, isotropic=False)
        g, z = np.empty(self._shape), np.empty(self._shape[:2])
        self._sum(positions, g, False, self._fullest, np.arange(self._shape[0]), z, weights, plain)
        return g, z

    def _sum(
        self,
        positions: Array,
        out: Array,
        tangent: bool,
        degree: int,
        which: NDArray[np.intp],
        partition: Array | None = None,
        weights: Array | None = None,
        law: Scores | None = None,
    ) -> tuple[Array, Array]:
        """Write the attention of the replicas `which`; the least z and the largest |f| of each of them."""
        batch = max(1, _BATCH // (8 * self._family.count(degree) * self._parts))
        if len(which) > batch:
            halves = which[:batch], which[batch:]
            both = [self._sum(positions, out, tangent, degree, half, partition, weights, law) for half in halves]
            return np.concatenate([a for a, _ in both]), np.concatenate([b for _, b in both])
        family, series, threads, parts = self._family, self._series, self._threads, self._parts
        law, weights = law or self.law, self._weights if weights is None else weights
        partition = np.empty((0, 0)) if partition is None else partition
        along = not (tangent and law.isotropic)
        cost = 0.5 * len(which) * self._shape[1] * family.nanoseconds(degree, along)
        tables = family.tables(degree)
        by_part = np.empty((len(which), parts, family.count(degree), 2))
        in_parallel(
            lambda a, b: family.sum_moments(positions, weights, which, degree, parts, tables, by_part, a, b),
            len(which) * parts, cost, threads,
        )  # fmt: skip
        moments = by_part[:, 0].copy()
        for part in range(1, parts):
            moments += by_part[:, part]
        table, levels = family.coefficients(series, degree, moments, along)
        blocks = -(-self._shape[1] // family.WIDTH)
        extremes = np.empty((len(which) * blocks, 2))
        in_parallel(
            lambda a, b: family.evaluate(
                law, tangent, series.kappa, positions, weights, which, table, levels, out, partition, extremes, a, b
            ),
            len(which) * blocks, cost, threads,
        )  # fmt: skip
        extremes = extremes.reshape(len(which), blocks, 2)
        return extremes[..., 0].min(axis=1), np.sqrt(extremes[..., 1].max(axis=1))

    def holds(self, positions: Array) -> bool:
        """Whether all positions that are finite lie on the sphere, to rounding or the tolerance."""
        return self._off(positions) <= max(64 * float(np.finfo(positions.dtype).eps), self._tolerance)

    def _off(self, positions: Array) -> float:
        lengths = np.sqrt(np.einsum("rtc,rtc->rt", positions, positions)) / self.law.radius
        return float(np.abs(lengths - 1.0).max(initial=0.0, where=np.isfinite(lengths)))

    def _check_place(self, positions: Array) -> None:
        if not self.holds(positions):
            raise InvalidInput(
                f'sums = "{self.kind}" hold on the sphere |x| = {self.law.radius:g}; some token is off it by '
                f"{self._off(positions) * self.law.radius:.3g}"
            )
