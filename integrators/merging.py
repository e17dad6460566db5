"""Which tokens a run moves once some of them have become one, and where each of the user's tokens is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..particles.ensemble import Ensemble
from ..particles.merging import merged

Array = NDArray[np.floating]
MERGE_AT_THE_FLOOR = 1e-9  # of the tokens' size, where a run needs merging and the user named no distance


@dataclass
class Merging:
    """The ensemble that is moved, and the row in it of each token of the ensemble that the run began with.

    rows     : (tokens,), or None as long as nobody has met
    distance : within which tokens become one; None: not at all
    on_merge : called with (t, merged_into (tokens,)) when tokens have become one: the number of the first token of
               the group that each belongs to
    """

    ensemble: Ensemble
    distance: float | None
    on_merge: Callable[[float, NDArray[np.intp]], None] | None = None
    rows: NDArray[np.intp] | None = None

    def of_all(self, positions: Array) -> Array:
        """Positions (or speeds) of all tokens from those that are moved, both (replicas, tokens, dimension)."""
        return positions if self.rows is None else positions[:, self.rows]

    def look(self, t: float, positions: Array) -> bool:
        """Join what has met at depth t, positions (1, rows, dimension); whether anything has."""
        if self.distance is None:
            return False
        joined, rows = merged(self.ensemble.at(positions), self.distance)
        if joined.tokens == self.ensemble.tokens:
            return False
        self.ensemble = joined
        self.rows = rows if self.rows is None else rows[self.rows]
        if self.on_merge is not None:
            self.on_merge(t, self.merged_into)
        return True

    @property
    def merged_into(self) -> NDArray[np.intp]:
        """The number of the first token of each token's group, (tokens,)."""
        if self.rows is None:
            return np.arange(self.ensemble.tokens)
        return np.unique(self.rows, return_index=True)[1][self.rows]
