"""Which tokens a run moves once some of them have become one, and where each of the user's tokens is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..logs import logger_of
from ..particles.attention import Attention
from ..particles.backends import Engine
from ..particles.backends.differences import obstacle
from ..particles.ensemble import Ensemble
from ..particles.merge_error import drift_change
from ..particles.merging import merged

Array = NDArray[np.floating]
LOG = logger_of(__name__)
FEW = 64  # tokens of which sums of differences take no longer than a step in Python
MERGE_AT_THE_FLOOR = 1e-9  # of the tokens' size, where a run needs merging and the user named no distance


@dataclass
class Merging:
    """The ensemble that is moved, and the row in it of each token of the ensemble that the run began with.

    rows     : (tokens,), or None as long as nobody has met
    distance : within which tokens become one; None: not at all
    on_merge : called with (t, merged_into (tokens,)) when tokens have become one: the number of the first token of
               the group that each belongs to
    laws     : under which they move
    moved, drift_change : how far merging has moved each token, (tokens,), and what it changed in the drift of tokens
               that did not take part, at most: sums over all merges; None where nobody has met, or no bound is known
    """

    ensemble: Ensemble
    distance: float | None
    on_merge: Callable[[float, NDArray[np.intp]], None] | None = None
    laws: Sequence[Attention] = ()
    rows: NDArray[np.intp] | None = None
    moved: NDArray[np.float64] | None = None
    drift_change: float | None = 0.0

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
        self._note_error(positions, joined, rows)
        LOG.debug("depth %.6g: %d tokens have become %d", t, self.ensemble.tokens, joined.tokens)
        self.ensemble = joined
        self.rows = rows if self.rows is None else rows[self.rows]
        if self.on_merge is not None:
            self.on_merge(t, self.merged_into)
        return True

    def resolving(self, engine: Engine) -> Engine:
        """The engine, with sums of differences where they exist and few tokens are left.

        With merging one goes on to depths at which clusters move by less than other sums round to.
        """
        if not self.laws or self.ensemble.tokens > FEW or (engine.backend, engine.sums) != ("numba", "exact"):
            return engine
        space, dtype = self.ensemble.space, self.ensemble.positions.dtype
        return engine if any(obstacle(law, space, dtype) for law in self.laws) else replace(engine, sums="differences")

    def go_on(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what a checkpoint says of the tokens that are moved."""
        self.distance, self.drift_change = record["merge"], record["drift_change"]
        if "rows" in arrays:
            self.rows = arrays["rows"].copy()
            self.ensemble = self.ensemble.at(arrays["state"].copy(), weights=arrays["weights"].copy())
        if "moved" in arrays:
            self.moved = arrays["moved"].copy()

    @property
    def merged_into(self) -> NDArray[np.intp]:
        """The number of the first token of each token's group, (tokens,)."""
        if self.rows is None:
            return np.arange(self.ensemble.tokens)
        return np.unique(self.rows, return_index=True)[1][self.rows]

    def record(self) -> dict[str, Any]:
        """The error of merging, for the record of a run; nothing where nobody has met."""
        if self.moved is None:
            return {}
        change = {} if self.drift_change is None else {"merge_drift_change": self.drift_change}
        return {"merge_moved": float(self.moved.max())} | change

    def _note_error(self, positions: Array, joined: Ensemble, rows: NDArray[np.intp]) -> None:
        """Add up what is changed when the rows that are moved now, at positions (1, rows, dimension), become others."""
        moved = np.linalg.norm(np.asarray(positions[0] - joined.positions[0, rows], np.float64), axis=1)
        if self.moved is None:
            self.moved = np.zeros(len(moved))
        self.moved += moved if self.rows is None else moved[self.rows]
        changes = [drift_change(law, self.ensemble.at(positions), moved, rows) for law in self.laws]
        known = [change for change in changes if change is not None]
        if self.drift_change is not None:
            self.drift_change = self.drift_change + max(known) if 0 < len(known) == len(changes) else None
