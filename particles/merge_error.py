"""What it changes that tokens become one: how far they are moved, and how much the drift of the others may change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .attention import Attention
from .ensemble import Ensemble
from .space import Sphere

Array = NDArray[np.float64]


def drift_change(law: Attention, ensemble: Ensemble, moved: Array, labels: NDArray[np.intp]) -> float | None:
    """A bound of |f_i' - f_i| for every token i of no group that is joined; None where none is known.

    ensemble : before, one replica     moved, labels (tokens,) : how far each is from its group's token, and its group

    To first order the group's token, at the mean, is seen as the group is. With m the largest mean square of `moved`
    in a group, B = |beta| |K| (|Q| r + |b_q|) the steepness of scores, W = |V| r + |b_v|, on a sphere of radius r

        softmax:  m (B^2 W + B |V| + (B W + |V| / 2) / r)
        none:     the sum over groups of a m (B^2 W / 2 + B |V| + (B W + |V|) / (2 r)) exp(highest score - shift)

    times exp(2 B max moved) for the orders above; in R^d without the terms in 1 / r, where r is the largest |x_i|.
    """
    known = law.plain and law.mask.name == "none" and law.heads == 1 and law.output is None and np.isfinite(law.beta)
    if not known:
        return None
    x = np.asarray(ensemble.positions[0], np.float64)
    sphere = isinstance(ensemble.space, Sphere)
    r = ensemble.space.radius if isinstance(ensemble.space, Sphere) else float(np.linalg.norm(x, axis=1).max())
    p = law.projections(x.shape[1])
    query = abs(p.score_scale) if p.query is None else float(np.linalg.norm(p.query[0], 2))
    key = 1.0 if p.key is None else float(np.linalg.norm(p.key[0], 2))
    value = abs(p.value_scale) if p.value is None else float(np.linalg.norm(p.value[0], 2))
    longest_query = query * r + _length(p.query_bias)
    steepness, longest = abs(law.beta) * key * longest_query, value * r + _length(p.value_bias)
    curved = 0.5 / r if sphere else 0.0  # what the retraction of a mean moves it by, for a mean square of 1
    numerator = 0.5 * steepness**2 * longest + steepness * value + (steepness * longest + value) * curved
    weights = np.broadcast_to(np.asarray(ensemble.weights), (1, len(x)))[0]
    squares, total = np.bincount(labels, weights * moved**2), np.bincount(labels, weights)
    above = float(np.exp(2.0 * steepness * moved.max()))
    if law.normalisation.name == "none":
        highest = abs(law.beta) * longest_query * (key * r + _length(p.key_bias))
        return above * float(squares.sum()) * numerator * float(np.exp(highest - law.shift))
    mean = float(np.divide(squares, total, out=np.zeros_like(total), where=total > 0).max())
    return above * mean * (numerator + longest * steepness * (0.5 * steepness + curved))


def _length(bias: NDArray[np.floating] | None) -> float:
    return 0.0 if bias is None else float(np.linalg.norm(bias[0]))
