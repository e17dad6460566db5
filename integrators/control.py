"""How long the next step is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 10.0


@dataclass
class StepControl:
    """PI control: h' = h 0.9 err^(-0.7/k) err_before^(0.4/k), k = error_order + 1, within [0.2, 10] h.

    After a rejection the step does not grow. Source: Hairer, Wanner, Solving ODEs II, section IV.2; Soderlind (2002).
    """

    error_order: int
    before: float = 1.0
    rejected: bool = False

    def judge(self, error: float) -> tuple[bool, float]:
        """Whether a step with this error norm is accepted, and the factor to the next step size."""
        k = self.error_order + 1
        if not error <= 1.0:
            self.rejected = True
            # a trial that was not finite says nothing but that it was much too long
            factor = SAFETY * error ** (-1.0 / k) if np.isfinite(error) else SMALLEST_FACTOR
            return False, max(factor, SMALLEST_FACTOR)
        error = max(error, 1e-10)
        factor = SAFETY * error ** (-0.7 / k) * self.before ** (0.4 / k)
        factor = min(max(factor, SMALLEST_FACTOR), 1.0 if self.rejected else LARGEST_FACTOR)
        self.before, self.rejected = max(error, 1e-4), False
        return True, factor


def first_step(x: NDArray[np.floating], slope: NDArray[np.floating], order: int, rtol: float, atol: float) -> float:
    """A first step whose error is well below the tolerances; x and slope (replicas, tokens, dimension).

    The time in which the fastest token moves by 1 % of its scale, shrunk by the tolerance to the power of the order.
    """
    size, speed = np.linalg.norm(x, axis=-1), np.linalg.norm(slope, axis=-1)
    scale = atol + rtol * size
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.max(speed / scale)
    if not np.isfinite(ratio) or ratio < 1e-12:
        return 1e-3
    # local error of order p+1 in h |F| / |x|: aim at one hundredth of it
    lengths = np.max(speed / np.maximum(size, atol / max(rtol, 1e-300)))
    return float(min((0.01 * rtol) ** (1.0 / (order + 1)) / max(lengths, 1e-300), 1e6))
