"""The depth of a run as a base plus a local clock: steps may be far shorter than the spacing of numbers at the depth.

Two clusters that have stood still to depth 1e115 meet within a depth of order 1; there the spacing of numbers is 1e99.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHORTEST = 16  # spacings of the local clock that a step must have


@dataclass(frozen=True)
class Clock:
    """The depth base + local. A local clock is restarted where a step would fall to the spacing of its numbers.

    A restart rounds the base, so that depths have the relative precision of numbers, and what the local clock counts
    from then on is exact.
    """

    base: float = 0.0
    local: float = 0.0

    @property
    def t(self) -> float:
        """The depth as one number."""
        return self.base + self.local

    def until(self, depth: float) -> float:
        """How far it is to a depth."""
        return (depth - self.base) - self.local

    def after(self, h: float) -> Clock:
        """The clock after a step of length h."""
        if h < SHORTEST * float(np.spacing(self.local)):
            return Clock(self.t, h)
        return Clock(self.base, self.local + h)
