"""The stepper of an implicit Runge-Kutta method, for the depths at which clusters have formed.

Within a cluster tokens approach one another at rates of order 1 (without normalisation up to exp(beta r^2)) while the
clusters move exponentially slowly. An explicit method is held to steps of the inverse rate by its stability, though
nothing happens; this one is held by its accuracy alone.

Stages 1 to 5 of a step of size h solve, with gamma = 1/4,

    z_s = x + h sum_{r<s} a_sr k_r + h gamma F(z_s),      k_s = (z_s - x - h sum_{r<s} a_sr k_r) / (h gamma)

and the last of them is the end of the step. k_s is F(z_s) without the error of z_s being multiplied by the stiffness.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..particles.backends import Field
from ..particles.space import Space, Sphere, library_of
from .arithmetic import Arithmetic, State
from .krylov import gmres
from .tableaux import lower

Array = NDArray[np.float64]

# C. A. Kennedy, M. H. Carpenter, Appl. Numer. Math. 44 (2003) 139: the implicit part of ARK4(3)6L[2]SA, known as
# KenCarp4. L-stable, stiffly accurate, its stages of order 2; the embedded weights are of order 3
GAMMA = 0.25
A = lower(
    [],
    [1 / 4],
    [8611 / 62500, -1743 / 31250],
    [5012029 / 34652500, -654441 / 2922500, 174375 / 388108],
    [15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768, 2285395 / 8070912],
    [82889 / 524892, 0, 15625 / 83664, 69875 / 102672, -2260 / 8211],
)
NODES = A.sum(axis=1) + np.array([0.0, *[GAMMA] * 5])
B = A[5] + np.array([0.0, 0.0, 0.0, 0.0, 0.0, GAMMA])
EMBEDDED = np.array(
    [
        4586570599 / 29645900160, 0, 178811875 / 945068544, 814220225 / 1159782912, -3700637 / 11593932,
        61727 / 225920,
    ]
)  # fmt: skip


def _dense() -> Array:
    """The interpolant's weights b_s(theta) = sum_p dense_sp theta^(p+1), (6, 4): order 4, bounded in the stiff limit.

    With stages of order 2 five conditions are left for order 4 at every theta: the quadrature of c^0, ..., c^3, and
    b(theta) A c^2 = theta^4 / 12. The sixth is b(theta) . v = 0, v the null vector of A, along which the slopes grow
    with the stiffness; without it a component that the step itself damps away would be seen between the steps.
    """
    a = A + np.diag([0.0, *[GAMMA] * 5])
    null = np.append(1.0, np.linalg.solve(a[1:, 1:], -a[1:, 0]))
    conditions = np.array([NODES**0, NODES, NODES**2, NODES**3, a @ NODES**2, null])
    right = np.zeros((6, 4))
    right[range(4), range(4)] = 1.0 / np.arange(1, 5)
    right[4, 3] = 1.0 / 12.0
    return np.linalg.solve(conditions, right)


DENSE = _dense()

SOLVED = 0.02  # the error of a stage, as a part of the tolerance
LINEAR = 1e-2  # the error of a linear system, as a part of its right-hand side
MOST_ITERATIONS = 8
UNSOLVED = 1e3  # an error norm that makes the next trial as short as the control allows


class Implicit:
    """Steps of KenCarp4 by Newton's method and GMRES. See `Stepper` in methods.py for what its methods promise.

    The Jacobian is known by differences of the drift alone: no matrix is formed. All replicas are one system.
    """

    adaptive, continuous, order, error_order = True, True, 4, 3

    def __init__(self, field: Field, arithmetic: Arithmetic, space: Space, x: State, rtol: float, atol: float) -> None:
        self.field, self.arithmetic = field, arithmetic
        self.evaluations = 0
        self._radius = space.radius if isinstance(space, Sphere) else 0.0
        self._atol, self._rtol = atol, rtol
        self._add_up = getattr(field, "add_up", None)  # sums over tokens in several processes
        self._library = library_of(x)
        self._slopes = arithmetic.zeros(x, len(B))
        self._base, self._stage, self._drift = (arithmetic.zeros(x) for _ in range(3))
        self.moved = arithmetic.zeros(x)
        rounding = float(np.finfo(arithmetic.host(x).dtype).eps)
        self._difference = rounding**0.5
        self._solved = min(max(SOLVED, 30.0 * rounding / rtol), 1.0)  # no stage is solved below its rounding
        self._tokens = float(self._total(self._squares(x) * 0.0 + 1.0)[0])
        self._rate = 1.0  # by which Newton's method shrank its steps when last seen

    def start(self, t: float, x: State) -> None:
        """Compute the slope at the start of a step from x; call it once, and after x was changed from outside."""
        self._velocity(t, x, self._slopes[0])

    def speed(self) -> State:
        """The slope at the start of the next step, (replicas, tokens, dimension)."""
        return self._slopes[0]

    def attempt(self, t: float, h: float, x: State) -> float:
        """Try a step from x, leaving its end in `moved`; the error norm, or one far above 1 if a stage has no end."""
        h, slopes = float(h), self._slopes
        squares = self._squares(x)
        scale = self._atol + self._rtol * squares**0.5
        # of <a, b> = the sum over replicas of mean_i a_i b_i / scale_i^2
        self._weight = (1.0 / (scale * scale * self._tokens))[..., None]
        self._small = self._difference * self._inner(x, x) ** 0.5
        for s in range(1, len(B)):
            self.arithmetic.combine(self._base, x, h, A[s], slopes, s)
            self._stage[...] = self._base + h * GAMMA * slopes[s - 1]
            if not self._solve(t + h * float(NODES[s]), h * GAMMA):
                self._rate = 1.0
                return UNSOLVED
            slopes[s][...] = (self._stage - self._base) / (h * GAMMA)
        self.moved[...] = self._stage
        self.arithmetic.retract(self.moved, self._radius)
        error = self._base * 0.0
        for weight, slope in zip(B - EMBEDDED, slopes, strict=True):
            error += h * float(weight) * slope
        largest = self._library.maximum(squares, self._squares(self.moved))
        scale = self._atol + self._rtol * largest**0.5
        # NaN where the square of a length overflows, see `stages.error_norm`
        squares = self._squares(error) + (largest - largest)
        return float((self._total(squares / scale**2) / self._tokens).max()) ** 0.5

    def interpolate(self, t: float, h: float, x: State, theta: float, out: State) -> None:
        """The state at t + theta h inside the step just tried from x, retracted."""
        weights = DENSE @ theta ** np.arange(1, 5)
        self.arithmetic.combine(out, x, h, weights, self._slopes, len(B))
        self.arithmetic.retract(out, self._radius)

    def accept(self, t: float) -> None:
        """The step just tried is taken: its last slope is the first of the next."""
        self._slopes[0][...] = self._slopes[-1]

    def memory(self) -> dict[str, Any]:
        """The first slope of the next step, and the rate at which Newton's method converged."""
        return {"slope": self._slopes[0], "rate": self._rate}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what `memory` has told, instead of `start`."""
        self._slopes[0][...] = memory["slope"]
        self._rate = memory["rate"]

    def _solve(self, t: float, c: float) -> bool:
        """Bring `_stage` to the solution of z = base + c F(z) at depth t by Newton's method; whether it was found."""
        z, drift, before = self._stage, self._drift, None

        def apply(v: State) -> State:
            self._velocity(t, z + self._small * v, along)
            return v - (c / self._small) * (along - drift)

        along = self.arithmetic.zeros(z)
        for _ in range(MOST_ITERATIONS):
            self._velocity(t, z, drift)
            residual = self._base - z + c * drift
            length = self._inner(residual, residual) ** 0.5
            if not np.isfinite(length):
                return False
            if length == 0.0:
                return True
            change = gmres(apply, residual, self._inner, max(0.1 * self._solved, LINEAR * length))
            size = self._inner(change, change) ** 0.5
            if not np.isfinite(size):
                return False
            z += change
            # the error left is the sum of a geometric series; at first with the rate of the stage before
            rate = self._rate**0.8 if before is None else size / before
            if (rate < 1.0 and size * rate / (1.0 - rate) <= self._solved) or size <= self._solved:
                self._rate = max(rate, 1e-3)
                return True
            if before is not None and rate > 0.5:
                return False
            before = size
        return False

    def _velocity(self, t: float, x: State, out: State) -> None:
        self.field.velocity(t, x, out)
        self.evaluations += 1

    def _squares(self, x: State) -> State:
        """|x|^2, (replicas, tokens)."""
        return (x * x).sum(-1)

    def _inner(self, a: State, b: State) -> float:
        return float(self._total((a * b * self._weight).sum(-1)).sum())

    def _total(self, values: State) -> State:
        """The sum over tokens of (replicas, tokens), in all processes."""
        total = values.sum(1)
        return total if self._add_up is None else self._add_up(total)
