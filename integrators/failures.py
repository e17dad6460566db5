"""Why a run failed, in a sentence: the depth, the token and the likely cause."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..particles.attention import Attention

Array = NDArray[np.floating]


def not_finite(law: Attention, t: float, x: Array, moved: Array) -> str:
    """A step of fixed size gave positions, or a drift there, that are not finite; x is where it began."""
    bad = ~np.isfinite(moved).all(axis=-1)
    what = "state" if bad.any() else "drift"
    # the longest of the tokens that failed: within a step it takes the others with it
    lengths = np.where(bad | ~bad.any(), np.linalg.norm(x, axis=-1), -1.0)
    replica, token = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
    return f"failed: the {what} is not finite at depth {t:.6g} ({_where(replica, token, x)}){_cause(law)}"


def step_too_small(law: Attention, t: float, x: Array, speed: Array | None, error: float) -> str:
    """The step of an adaptive method fell to the spacing of numbers; x and its speed (replicas, tokens, dimension)."""
    lengths = np.linalg.norm(x if speed is None else speed, axis=-1)
    replica, token = np.unravel_index(int(np.argmax(np.nan_to_num(lengths, nan=np.inf))), lengths.shape)
    what = "the step size fell to the spacing of numbers" if np.isfinite(error) else "the drift is not finite"
    return f"failed: {what} at depth {t:.6g} ({_where(replica, token, x)}){_cause(law)}"


def _where(replica: np.intp, token: np.intp, x: Array) -> str:
    return f"replica {replica}, token {token}, |x| = {np.linalg.norm(x[replica, token]):.3g} before the step"


def _cause(law: Attention) -> str:
    if law.normalisation.name == "none":
        return (
            f"; unnormalised attention grows like exp(beta |x|^2), here beta = {law.beta:g}: "
            "shift rescales its time, a sphere bounds its tokens"
        )
    return (
        "; tokens in R^d may run away in finite or in exponential time: a sphere, a smaller depth or step bounds them"
    )
