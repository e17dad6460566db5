"""How far a change of one token spreads to the others: by how much each is off, over depth, beside the change itself.

    off_j(t) = |y_j(t) - x_j(t)| / |y_k(0) - x_k(0)|

of token j in two runs that differ at the start in token k alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.rates import Series
from .kinds import Result

Array = NDArray[np.float64]
NAMED = 5  # tokens that are named


def spreading(name: str, original: Result, other: Result, strings: Sequence[str] | None) -> tuple[Series, str] | None:
    """The mean of off_j over the other tokens, over depth, and who is off most, in a sentence.

    None where not exactly one token differs at the start, or there is no other.
    """
    if np.shape(original["positions"]) != np.shape(other["positions"]):  # some are left out
        return None
    off = moved(original, other)
    changed = np.flatnonzero(off[0])
    if len(changed) != 1 or off.shape[1] < 2:
        return None
    word, depths = int(changed[0]), np.asarray(original["depths"], np.float64)
    off = off / off[0, word]
    others = np.delete(off, word, axis=1)
    series = Series(f"others, {name}", "depth", depths, others.mean(axis=1))
    return series, f"{name}: {_overtaken(depths, off[:, word], others)}; {_last(depths[-1], off[-1], word, strings)}."


def moved(original: Result, other: Result) -> Array:
    """|y_j(t) - x_j(t)|, (depths, tokens)."""
    x, y = (np.asarray(each["positions"], np.float64) for each in (original, other))
    return np.asarray(np.linalg.norm(y - x, axis=-1))


def _overtaken(depths: Array, own: Array, others: Array) -> str:
    """Where the others together are off by more than the token itself."""
    there = np.flatnonzero(others.sum(axis=1) > own)
    together = f"{others[-1].sum() / own[-1]:.3g} times" if own[-1] > 0.0 else "more than"
    if len(there) == 0:
        return f"the other tokens together stay less off than it, {together} as much at the end"
    return f"from depth {depths[there[0]]:g} the other tokens together are off by more than it, {together} at the end"


def _last(depth: float, off: Array, word: int, strings: Sequence[str] | None) -> str:
    """Who is off most."""
    order = [int(token) for token in np.argsort(-off, kind="stable") if token != word][:NAMED]
    texts: Mapping[int, str] = {
        token: f"{token}" if strings is None else f"{strings[token]} ({token})" for token in order
    }
    most = ", ".join(f"{texts[token]} {off[token]:.2g}" for token in order)
    own = f"it is off by {off[word]:.3g} of the change"
    return f"at depth {depth:g} {own}, the others by {np.delete(off, word).mean():.2g} in the mean, most {most}"
