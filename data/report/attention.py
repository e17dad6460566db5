"""To whom tokens attend: the largest weights of some rows of the attention matrix at some depths, small enough for
a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...particles.attention_matrix import by_whole_matrices, some_attention_rows
from ...particles.block import Law, attention_of, seen_by
from ..analysis.attention import LARGEST
from ..analysis.ensembles import ensemble_at
from ..excerpt import evenly
from .packing import packed, quantised
from .thinning import Choice

Array = NDArray[np.float64]

MOST_KEPT = 400_000  # weights on the page
MOST_PAIRS = 100_000_000  # that are computed for them
MOST_DEPTHS = 100
MOST_ROWS = 400  # tokens whose attention is kept, where there are many
WIDTH = 10  # largest weights of a row
LEAST_DEPTHS = 12


@dataclass(frozen=True, eq=False)
class Rows:
    """The attention of some tokens.

    frames : (depths,), places among the shown frames        tokens : (rows,), places among the shown tokens
    heads  : names, "all heads" for their mean where there are several
    to, weights : (depths, heads, rows, width): the numbers of the tokens attended to in the file, and w_ij, the largest
                  first; entries beyond a short row have weight 0
    """

    frames: NDArray[np.intp]
    tokens: NDArray[np.intp]
    heads: list[str]
    to: NDArray[np.int64]
    weights: Array
    sentences: list[str]

    def for_page(self) -> dict[str, Any]:
        """As the page holds it: weights as shares of the largest of their row."""
        peaks = np.abs(self.weights).max(axis=-1)
        wide = np.uint32 if self.to.max(initial=0) > 65535 else np.uint16
        return {
            "frames": self.frames,
            "tokens": self.tokens,
            "heads": self.heads,
            "width": self.to.shape[-1],
            "to": packed(self.to.astype(wide)),
            "shares": packed(quantised(self.weights, peaks[..., None])),
            "peaks": packed(peaks.astype(np.float32)),
        }


def rows_of(trajectory: Any, choice: Choice, law_at: Callable[[float], Law]) -> Rows | None:
    """The largest attention weights of the shown tokens, or of some of them, at some of the shown frames.

    None where that would take too long: sinkhorn gives all rows or none, and there are many tokens.
    """
    times, tokens = trajectory.times, choice.all_tokens
    attention = attention_of(law_at(float(times[choice.frames[0]])))
    heads = attention.heads
    if tokens > LARGEST and attention.normalisation.name == "sinkhorn":
        return None
    pages = heads + (heads > 1)
    width = min(WIDTH, tokens)
    rows = np.arange(len(choice.tokens))
    most = max(1, MOST_KEPT // (pages * width * LEAST_DEPTHS))
    if len(rows) > min(most, MOST_ROWS):
        rows = np.sort(np.random.default_rng(1).choice(rows, min(most, MOST_ROWS), replace=False))
    computed = tokens if by_whole_matrices(attention, tokens, len(rows)) else len(rows)
    affordable = min(MOST_KEPT // (pages * width * len(rows)), MOST_PAIRS // (tokens * computed * heads), MOST_DEPTHS)
    frames = evenly(len(choice.frames), max(2, affordable))
    to = np.zeros((len(frames), pages, len(rows), width), np.int64)
    values = np.zeros(to.shape)
    for place, frame in enumerate(choice.frames[frames]):
        full = rows_at(trajectory, int(frame), choice.replica, law_at(float(times[frame])), choice.tokens[rows])
        if heads > 1:
            full = np.concatenate([full.mean(axis=0, keepdims=True), full])
        to[place], values[place] = _largest(full, width)
    names = [f"head {k}" for k in range(1, heads + 1)]
    sentences = [f"Of the attention of a token the {width} largest weights are kept"]
    sentences[0] += f" at {len(frames)} of the {len(choice.frames)} depths" if len(frames) < len(choice.frames) else ""
    sentences[0] += f", of {len(rows)} of the {len(choice.tokens)} tokens." if len(rows) < len(choice.tokens) else "."
    return Rows(frames, rows, (["all heads (mean)", *names] if heads > 1 else names), to, values, sentences)


def _largest(rows: Array, width: int) -> tuple[NDArray[np.intp], Array]:
    """Where the largest numbers of each row are, the largest first, and the numbers."""
    sizes = np.abs(rows)
    some = np.argpartition(-sizes, width - 1, axis=-1)[..., :width]
    order = np.lexsort((some, -np.take_along_axis(sizes, some, axis=-1)), axis=-1)
    some = np.take_along_axis(some, order, axis=-1)
    return some, np.take_along_axis(rows, some, axis=-1)


def rows_at(trajectory: Any, frame: int, replica: int, law: Law, tokens: NDArray[np.intp]) -> Array:
    """Rows w_ij of these tokens in one frame, (heads, rows, all tokens); zeros where positions are not finite."""
    ensemble, attention = ensemble_at(trajectory, frame, replica), attention_of(law)
    result = np.zeros((attention.heads, len(tokens), ensemble.tokens))
    if not np.isfinite(ensemble.positions).all():
        return result
    seen = seen_by(law, ensemble)
    for head in range(attention.heads):
        result[head] = some_attention_rows(attention, seen, tokens, head, replica)
    return result
