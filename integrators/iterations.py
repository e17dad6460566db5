"""Three iterations for x = g(x): Picard, Anderson acceleration, Newton-Krylov. They share what they keep, a `Trace`.

    picard         x <- g(x), what the infinitely deep network does; cycles are found by Brent's method, of any length
    anderson       x <- x + r - (dX + dR) c, r = g(x) - x, with c the least squares solution of dR c = r over the last
                   moves dX and changes dR of r (type II, by QR); back to the best point where the residual grows
    newton-krylov  Newton's method for g(x) - x = 0, its linear systems solved by Krylov spaces (scipy)

Source: D. G. Anderson, J. ACM 12 (1965) 547; H. F. Walker, P. Ni, SIAM J. Numer. Anal. 49 (2011) 1715; R. P. Brent,
BIT 20 (1980) 176; D. A. Knoll, D. E. Keyes, J. Comput. Phys. 193 (2004) 357.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CYCLE = 1e6  # by how much a cycle's moves exceed the tolerance: else it may be a fixed point that is reached slowly
RELIABLE = 1e5  # roundings of the tokens that a move must exceed for its quotient to be measured
GROWTH, PATIENCE = 1e3, 10  # of the residual, and memories full of moves, before Anderson goes back
FAR = 1e6  # times their size at the start, beyond which tokens have run off: there every move is small beside them
MOST_DROPPED = 1e10  # the condition of its least squares


@dataclass
class Trace:
    """What an iteration saw, and when it is enough. Points are all components in one row.

    tolerance : |g(x) - x| at which x counts as fixed, relative to the largest of |x| and `size`
    most      : evaluations of g                    measure : the norm in which quotients are measured
    spread    : the distance of x from consensus, all tokens at their mean
    watch     : called with (k, x_k)                   blame : why x_k or its image is no use, of (k, x_k, image)
    """

    g: Callable[[Array], Array]
    tolerance: float
    most: int
    size: float
    measure: Callable[[Array], float]
    spread: Callable[[Array], float]
    watch: Callable[[int, Array], None] = lambda k, x: None
    blame: Callable[[int, Array, Array], str] = lambda k, x, image: f"iteration {k} is not finite, or far off"
    residuals: list[float] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    evaluations: int = 0
    status: str = ""
    period: int | None = None
    image: Any = None
    _last: tuple[Array, Array] | None = None

    def scale(self, x: Array) -> float:
        """To what the tolerance is relative."""
        return max(self.size, float(np.linalg.norm(x)))

    def evaluate(self, x: Array) -> Array:
        """g(x), counted."""
        self.evaluations += 1
        return self.g(x)

    def over(self, x: Array) -> bool:
        """Evaluate g at an iterate, keep its `image`; whether the iteration is at its end, for the reason `status`."""
        return self.note(x, self.evaluate(x))

    def note(self, x: Array, image: Array) -> bool:
        """As `over`, for an iterate whose image is known."""
        scale = self.scale(x)
        self.watch(len(self.residuals), x)
        if self._last is not None:
            before, its_image = self._last
            rounding = np.finfo(np.float64).eps * max(float(np.linalg.norm(z)) for z in (x, before, image, its_image))
            reliable = float(np.linalg.norm(x - before)) > RELIABLE * rounding
            self.factors.append(self.measure(image - its_image) / self.measure(x - before) if reliable else np.nan)
        self.image, self._last = image, (x, image)
        self.residuals.append(float(np.linalg.norm(image - x)))
        self.spreads.append(self.spread(x))
        if not np.isfinite(self.residuals[-1]) or scale > FAR * self.size > 0.0:
            self.status = f"failed: {self.blame(len(self.residuals), x, image)}"
        elif self.residuals[-1] <= self.tolerance * scale:
            self.status = "converged"
        elif self.evaluations >= self.most:
            self.status = f"not converged: most = {self.most} evaluations were made"
        return bool(self.status)

    def last(self, start: Array) -> Array:
        """The last iterate, or where there is none yet the start."""
        return start if self._last is None else self._last[0]

    def returned(self, kept: Array, after: int) -> bool:
        """Whether the last image is back at a point kept so many evaluations ago, and not only slow."""
        scale = self.scale(kept)
        if after < 2 or self.residuals[-1] <= CYCLE * self.tolerance * scale:
            return False
        if float(np.linalg.norm(self.image - kept)) > self.tolerance * scale:
            return False
        self.status, self.period = f"cycle of length {after}", after
        return True


def picard(trace: Trace, x: Array) -> Array:
    """x <- g(x) until it is fixed or in a cycle; the last x."""
    kept, after, lap = x, 0, 2
    while not trace.over(x):
        after += 1
        if trace.returned(kept, after):
            break
        x = trace.image
        if after == lap:
            kept, after, lap = x, 0, 2 * lap
    return x


def anderson(trace: Trace, x: Array, memory: int) -> Array:
    """Anderson acceleration over so many moves; the last x.

    Where the residual is a thousand times its best, or did not improve for as many iterations as fill the memory ten
    times, it forgets all moves and goes on from the best point by a Picard step, the next time by two, four, ...: what
    Picard iteration solves from every start is then solved in any case.
    """
    memory = min(memory, x.size)  # more moves than components are not independent
    moves: list[Array] = []
    changes: list[Array] = []
    best, best_size, stale = x, np.inf, 0
    plain, stretch = 0, 1  # Picard steps that are due, and how many the next time
    before: tuple[Array, Array] | None = None
    while not trace.over(x):
        r, size = trace.image - x, trace.residuals[-1]
        stale = 0 if size < best_size else stale + 1
        if size < best_size:
            best, best_size = trace.image, size
        if plain > 0:
            x, plain, stale = trace.image, plain - 1, 0
            continue
        if size > GROWTH * best_size or stale > PATIENCE * memory:
            moves, changes, before = [], [], None
            x, plain, stretch, stale = best, stretch - 1, 2 * stretch, 0
            continue
        if before is not None:
            moves, changes = [*moves, x - before[0]][-memory:], [*changes, r - before[1]][-memory:]
        before = (x, r)
        x = trace.image
        if changes:
            moves, changes, coefficients = _least_squares(moves, changes, r)
            for move, change, c in zip(moves, changes, coefficients, strict=True):
                x = x - c * (move + change)
    return x


def _least_squares(moves: list[Array], changes: list[Array], r: Array) -> tuple[list[Array], list[Array], Array]:
    """c with the least |r - changes c|, by QR; the oldest columns are dropped while the rest is ill-conditioned."""
    while changes:
        q, triangle = np.linalg.qr(np.column_stack(changes))
        if np.linalg.cond(triangle) <= MOST_DROPPED:
            return moves, changes, np.linalg.solve(triangle, q.T @ r)
        moves, changes = moves[1:], changes[1:]
    return moves, changes, np.empty(0)


class _Over(Exception):
    """The trace has seen enough."""


def newton_krylov(trace: Trace, x: Array) -> Array:
    """Newton's method with inexact solves, from scipy; the last x, or where it breaks down the best there was.

    An iteration is a step of Newton's; the evaluations for the directions of the Krylov spaces count as well.
    """
    from scipy.optimize import NoConvergence
    from scipy.optimize import newton_krylov as solve

    points: list[Array] = []

    def residual(at: Array) -> Array:
        if trace.evaluations >= trace.most:
            raise _Over
        image = trace.evaluate(at)
        if not points:
            look(at, image - at)
        return image - at

    def look(at: Array, r: Array) -> None:
        points.append(np.array(at))
        if trace.note(points[-1], points[-1] + r):
            raise _Over

    goal = trace.tolerance * trace.size
    try:
        # no tolerance of scipy's is to end it before the trace does
        solve(residual, x, f_tol=goal, tol_norm=np.linalg.norm, callback=look, maxiter=trace.most)
    except _Over:
        pass
    except (NoConvergence, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        reason = "its line search found no way on" if isinstance(error, NoConvergence) else str(error)
        trace.status = f"failed: newton-krylov broke down: {reason}"
    if not trace.status:
        trace.status = f"not converged: most = {trace.most} evaluations were made"
    best = int(np.argmin(np.nan_to_num(trace.residuals, nan=np.inf)))
    return points[-1] if trace.status == "converged" else points[best]
