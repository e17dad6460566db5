"""Observables of the frames of a file, in bounded memory: blocks of frames, measured as replicas of one ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...particles import Ensemble
from ...particles.block import Block, Law, attention_of
from ...particles.observables import REGISTRY, measure
from .in_order import in_order

BLOCK_BYTES = 1 << 20  # of the positions of a block
MOST_BYTES = 1 << 28  # of the positions of all blocks in work, as far as single frames are not larger
Values = dict[str, NDArray[Any]]


class _Block(NamedTuple):
    """Some frames: their tokens, each replica of each frame as one of its own; the law of each or None, its depth."""

    ensemble: Ensemble
    laws: Sequence[Law | None]
    depths: Sequence[float]

    def part(self, first: int, last: int) -> Ensemble:
        """The tokens of the frames first..last of the block."""
        each = self.ensemble.replicas // len(self.laws)
        rows = slice(first * each, last * each)
        weights = np.asarray(self.ensemble.weights)
        return self.ensemble.at(self.ensemble.positions[rows], weights=weights if weights.ndim == 1 else weights[rows])


@dataclass(frozen=True, eq=False)
class _Measuring:
    """What is measured in a block: observables of the tokens alone, of rows of the attention or velocities, and others.

    Those of the first two kinds treat every replica by itself, so that many frames can be one ensemble: the others may
    draw random directions for the replicas in turn.
    """

    tokens: Sequence[str]
    rows: Sequence[str]
    others: Sequence[str]
    options: dict[str, Any]

    def __call__(self, block: _Block) -> Values:
        """Name -> (frames * replicas,)."""
        found = measure(self.tokens, block.ensemble, **self.options)
        if not self.rows and not self.others:
            return found
        parts: list[Values] = []
        for _, same in groupby(range(len(block.laws)), key=self._together(block)):
            frames = [*same]
            parts += self._under(block, frames[0], frames[-1] + 1)
        return found | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _together(self, block: _Block) -> Callable[[int], int]:
        """By which frames are told apart that are not measured together: the law, or the depth if that matters."""
        moving = any("velocity" in REGISTRY[name].takes for name in self.rows)
        apart = moving and any(isinstance(law, Block) for law in block.laws)
        return (lambda frame: frame) if apart else (lambda frame: id(block.laws[frame]))

    def _under(self, block: _Block, first: int, last: int) -> list[Values]:
        """The observables of the frames first..last, which have the same law."""
        law, others = block.laws[first], self.others
        assert law is not None
        found: Values = {}
        if _draws(law):
            others = [*self.rows, *others]
        elif self.rows:
            found = measure(self.rows, block.part(first, last), law, depth=block.depths[first], **self.options)
        single = [
            measure(others, block.part(k, k + 1), law, depth=block.depths[k], **self.options)
            for k in (range(first, last) if others else ())
        ]
        return [found | {name: np.concatenate([part[name] for part in single]) for name in others}]


def observe(
    trajectory: Any,
    names: Sequence[str],
    frames: range,
    *,
    replica: int | None = None,
    law_at: Callable[[float], Law] | None = None,
    cluster_distance: float | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **engine: Any,
) -> Values:
    """Observables of these frames of a trajectory file, name -> (frames, replicas), or (frames, 1) of one replica.

    frames   : increasing
    law_at   : the law at a depth, for observables of the attention
    threads  : on which blocks of frames are measured; by default one per core
    progress : called with (frames done, frames)
    engine   : further fields of `Engine`: sums, sum_tolerance

    The values are those of `measure` for each frame alone, but for the last digit where weights change with depth.
    Raises InvalidInput as `measure`.
    """
    from ...particles.backends.compiled.schedule import default_threads  # imports numba, which takes a while

    threads = threads or default_threads()
    _, replicas, tokens, dimension = trajectory.positions.shape
    workers = min(threads, max(1, MOST_BYTES // (8 * replicas * tokens * dimension)), max(len(frames), 1))
    options = {"cluster_distance": cluster_distance, "threads": max(1, threads // workers), **engine}
    kinds = {name: _kind(name) for name in names}
    tokens_alone, rows, others = ([n for n in names if kinds[n] == kind] for kind in ("tokens", "rows", "others"))
    measuring = _Measuring(tokens_alone, rows, others, options)
    law_at = None if len(measuring.tokens) == len(names) else law_at
    # what draws random numbers for the replicas in turn must see all of them
    every = bool(measuring.others) or (law_at is not None and len(frames) > 0 and _draws(law_at(trajectory.times[0])))
    read = None if every else replica

    parts: list[Values] = []
    done = 0
    if progress is not None:
        progress(0, len(frames))
    for block, part in in_order(measuring, _blocks(trajectory, frames, read, law_at, workers), workers):
        parts.append({name: values.reshape(len(block.laws), -1) for name, values in part.items()})
        done += len(block.laws)
        if progress is not None:
            progress(done, len(frames))
    if not parts:
        return {name: np.empty((0, replicas if replica is None else 1)) for name in names}
    found = {name: np.concatenate([part[name] for part in parts]) for name in names}
    if replica is None or read == replica:
        return found
    return {name: values[:, replica : replica + 1] for name, values in found.items()}


def _kind(name: str) -> str:
    takes = REGISTRY[name].takes
    if not REGISTRY[name].needs_law:
        return "tokens"
    return "rows" if "statistics" in takes or "velocity" in takes else "others"


def _draws(law: Law | None) -> bool:
    """Whether a law has random numbers of its own, other ones for every replica."""
    return law is not None and attention_of(law).multipliers is not None


def _blocks(
    trajectory: Any,
    frames: range,
    replica: int | None,
    law_at: Callable[[float], Law] | None,
    workers: int,
) -> Iterator[_Block]:
    """The frames, block by block, as they are read."""
    _, replicas, tokens, dimension = trajectory.positions.shape
    read = replicas if replica is None else 1
    block = max(1, min(BLOCK_BYTES // (8 * read * tokens * dimension), -(-len(frames) // workers)))
    weights = np.asarray(trajectory.weights)
    changing = "token_weights" in trajectory.observables
    own = slice(None) if replica is None else slice(replica, replica + 1)
    base = Ensemble(np.zeros((1, tokens, dimension)), trajectory.space)
    for first in range(0, len(frames), block):
        chosen = frames[first : first + block]
        rows = slice(chosen.start, chosen.stop, chosen.step)
        index = rows if replica is None else (rows, replica)
        if changing:
            of_frames = trajectory.observables.rows("token_weights", rows)[:, own].reshape(-1, tokens)
        else:
            of_frames = weights if weights.ndim == 1 else np.tile(weights[own], (len(chosen), 1))
        ensemble = base.at(trajectory.positions[index].reshape(-1, tokens, dimension), weights=of_frames)
        depths = trajectory.times[rows].tolist()
        yield _Block(ensemble, [None if law_at is None else law_at(depth) for depth in depths], depths)
