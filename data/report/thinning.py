"""Which frames and tokens of a trajectory go on a page, so that it stays small and its slider quick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..excerpt import evenly, sample, weights_of

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]

MOST_TOKENS = 2000
MOST_FRAMES = 600
MOST_PLACES = 320_000  # tokens times frames
BLOCK_BYTES = 1 << 26  # of positions in memory at a time


@dataclass(frozen=True, eq=False)
class Choice:
    """The frames and tokens of one replica that are shown.

    frames (frames,), tokens (tokens,) : their numbers in the file
    weights                            : of the tokens shown (tokens,)
    """

    replica: int
    frames: Numbers
    tokens: Numbers
    weights: Array
    all_frames: int
    all_tokens: int

    @property
    def sentences(self) -> list[str]:
        """What was left out, where anything was."""
        found = []
        if len(self.tokens) < self.all_tokens:
            found.append(
                f"The view shows {len(self.tokens)} of {self.all_tokens} tokens, a random choice of those that have "
                "weight; their attention is that to all."
            )
        if len(self.frames) < self.all_frames:
            found.append(
                f"The slider has {len(self.frames)} of {self.all_frames} saved frames, evenly spaced among them."
            )
        return found


def choose(trajectory: Any, replica: int) -> Choice:
    """At most MOST_TOKENS tokens, and as many frames as MOST_FRAMES and MOST_PLACES allow.

    Where all tokens fit, those of weight zero are shown as well: they move, though nobody sees them.
    """
    frames, _, count, _ = trajectory.positions.shape
    weights = weights_of(trajectory, replica)
    tokens = np.arange(count) if count <= MOST_TOKENS else sample(weights, MOST_TOKENS)
    most = min(MOST_FRAMES, max(2, MOST_PLACES // len(tokens)))
    shown = evenly(frames, most) if frames else np.empty(0, np.intp)
    return Choice(replica, shown, tokens, weights[tokens], frames, count)


def blocks(trajectory: Any, choice: Choice, frames: Numbers) -> Iterator[tuple[Numbers, Array]]:
    """Some of these frames at a time: their places in `frames`, and positions (some, all tokens, dimension)."""
    _, _, count, dimension = trajectory.positions.shape
    block = max(1, BLOCK_BYTES // (8 * count * dimension))
    for start in range(0, len(frames), block):
        part = frames[start : start + block]
        yield np.arange(start, start + len(part)), trajectory.positions[part.tolist(), choice.replica]
