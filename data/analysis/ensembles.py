"""The frames of a file one by one as ensembles, with the weights they had then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...particles import Ensemble
from ..excerpt import BLOCK_BYTES, weights_of

CHANGING = "token_weights"  # the series of weights that change with depth, see `layout.STATE`


def ensembles(trajectory: Any, frames: Sequence[int] | NDArray[np.integer], replica: int = 0) -> Iterator[Ensemble]:
    """The ensembles of one replica in these frames, in their order; some 32 MB are read at a time.

    Raises InvalidInput for a replica that is not there.
    """
    _, replicas, tokens, dimension = trajectory.positions.shape
    if not 0 <= replica < replicas:
        raise InvalidInput(f"replica must be one of 0 ... {replicas - 1}; got {replica}")
    weights = weights_of(trajectory, replica)
    anywhere = Ensemble(np.zeros((1, 1, dimension)), trajectory.space)
    changing = CHANGING in trajectory.observables
    block = max(1, BLOCK_BYTES // (8 * tokens * dimension))
    for start in range(0, len(frames), block):
        chosen = [int(frame) for frame in frames[start : start + block]]
        for frame, positions in zip(chosen, trajectory.positions[chosen, replica], strict=True):
            if changing:
                weights = trajectory.observables.rows(CHANGING, slice(frame, frame + 1))[0, replica]
            # as it was saved: not checked again, whether or not it is finite
            yield anywhere.at(positions[None], weights=weights)


def ensemble_at(trajectory: Any, frame: int, replica: int = 0) -> Ensemble:
    """The ensemble of one replica in one frame."""
    return next(ensembles(trajectory, [frame], replica))
