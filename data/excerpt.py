"""The part of a trajectory that a picture needs, read in bounded memory."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Array = NDArray[np.float64]

MOST_FRAMES = 400  # of the paths: more cannot be told apart on paper
MOST_BYTES = 1 << 26  # read for the paths: fewer frames where frames are large
MOST_PATHS = 300  # tokens whose paths are drawn
MOST_PAIRED = 2000  # tokens between which inner products are taken: 2 million pairs
BLOCK_BYTES = 1 << 25
MOST_DISTANT = 1e300  # a cluster distance; whole numbers in a text may be larger than any float


class Paths(NamedTuple):
    """times (frames,), positions (frames, shown, dimension), and the tokens' numbers and weights (shown,)."""

    times: Array
    positions: Array
    tokens: NDArray[np.intp]
    weights: Array


def read_paths(trajectory: Any, replica: int, project: Any = None) -> Paths:
    """Paths of at most MOST_PATHS tokens of one replica over at most MOST_FRAMES frames.

    `project` maps (frames, shown, dimension) to (frames, shown, fewer) and is applied block by block.
    """
    frames = evenly(len(trajectory.times), affordable(trajectory, MOST_FRAMES))
    weights = weights_of(trajectory, replica)
    tokens = sample(weights, MOST_PATHS)
    parts = [part if project is None else project(part) for part in blocks(trajectory, frames, replica, tokens)]
    return Paths(np.asarray(trajectory.times)[frames], np.concatenate(parts), tokens, weights[tokens])


def journey(trajectory: Any, replica: int) -> tuple[NDArray[np.intp], Array]:
    """Some frames (k,) and how far a token has gone until each, on average over some tokens (k,)."""
    frames = evenly(len(trajectory.times), affordable(trajectory, MOST_FRAMES // 4))
    tokens = sample(weights_of(trajectory, replica), 64)
    gone, last = [0.0], None
    for part in blocks(trajectory, frames, replica, tokens):
        rows = part if last is None else np.concatenate([last, part])
        steps = np.linalg.norm(np.diff(rows, axis=0), axis=2).mean(axis=1)
        gone.extend(gone[-1] + np.cumsum(np.nan_to_num(steps, posinf=0.0)))
        last = part[-1:]
    return frames, np.array(gone)


def affordable(trajectory: Any, most: int) -> int:
    """How many frames, at most `most` and at least 8, can be read where large frames take their time and memory."""
    _, _, tokens, dimension = trajectory.positions.shape
    return max(8, min(most, MOST_BYTES // (8 * tokens * dimension)))


def blocks(trajectory: Any, frames: NDArray[np.intp], replica: int, tokens: NDArray[np.intp]) -> Iterator[Array]:
    """Positions (some frames, tokens, dimension) of these tokens, block by block of frames."""
    _, _, count, dimension = trajectory.positions.shape
    block = max(1, BLOCK_BYTES // (8 * count * dimension))
    for start in range(0, len(frames), block):
        part = trajectory.positions[frames[start : start + block].tolist(), replica]
        yield np.asarray(part[:, tokens], np.float64)


def read_frame(trajectory: Any, frame: int, replica: int, tokens: NDArray[np.intp]) -> Array:
    """Positions (tokens, dimension) of these tokens in one frame."""
    return np.asarray(trajectory.positions[[frame], replica][0][tokens], np.float64)


def weights_of(trajectory: Any, replica: int) -> Array:
    """The token weights (tokens,) of one replica."""
    weights = np.asarray(trajectory.weights, np.float64)
    return weights if weights.ndim == 1 else weights[replica]


def sample(weights: Array, most: int) -> NDArray[np.intp]:
    """The numbers of the tokens of positive weight; a random choice of `most` of them where there are more.

    The choice is always the same. It is random because a regular one can miss every second cluster: tokens
    are often numbered cluster by cluster in turn.
    """
    tokens = np.flatnonzero(weights > 0)
    if len(tokens) <= most:
        return tokens
    return np.sort(np.random.default_rng(0).choice(tokens, most, replace=False))


def evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` of the numbers 0 ... count - 1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def frames_along(frames: NDArray[np.intp], gone: Array, count: int = 4) -> NDArray[np.intp]:
    """At most `count` of the frames of a `journey`: its first and last, and evenly along the way between."""
    if not gone[-1] > 0:
        return frames[evenly(len(frames), count)]
    return frames[np.unique(np.searchsorted(gone, np.linspace(0.0, 1.0, count) * gone[-1]).clip(0, len(gone) - 1))]


def frames_at(times: Array, depths: Sequence[float]) -> NDArray[np.intp]:
    """The frames nearest to these depths.

    Raises InvalidInput for a depth outside the trajectory or an empty list.
    """
    wanted = np.asarray(depths, np.float64)
    if wanted.ndim != 1 or len(wanted) == 0:
        raise InvalidInput(f"depths must be a list of numbers; got {depths!r}")
    slack = 1e-9 * max(abs(times[0]), abs(times[-1]))
    outside = ~((wanted >= times[0] - slack) & (wanted <= times[-1] + slack))
    if outside.any():
        raise InvalidInput(
            f"depths must lie in [{times[0]:g}, {times[-1]:g}], where the trajectory has frames; "
            f"got {wanted[outside][0]:g}"
        )
    return np.unique(np.abs(times[None, :] - wanted[:, None]).argmin(axis=1))


def title_of(trajectory: Any) -> str:
    """The title in the trajectory's scenario text, or "" where there is none."""
    title = _said(trajectory).get("title", "")
    return title if isinstance(title, str) else ""


def cluster_distance_of(trajectory: Any) -> float | None:
    """Within which two tokens belong together, where the trajectory's scenario text says so."""
    save = _said(trajectory).get("save")
    distance = save.get("cluster_distance") if isinstance(save, dict) else None
    if isinstance(distance, int | float) and 0 < distance < MOST_DISTANT:
        return float(distance)
    return None


def _said(trajectory: Any) -> dict[str, Any]:
    """The tables of the scenario text; none where it is no TOML, whoever wrote it."""
    try:
        return tomllib.loads(trajectory.scenario_text)
    except (ValueError, TypeError, RecursionError):
        return {}
