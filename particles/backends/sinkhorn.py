"""Sinkhorn's iteration: the potentials u and v that make P_ij = a_j m_ij exp(s_ij + u_i + v_j) doubly stochastic.

    u_i = -log sum_j a_j m_ij exp(s_ij + v_j)        v_j = -log sum_i a_i m_ij exp(s_ij + u_i)        m symmetric

Rows then are the softmax rows of the scores s_ij + v_j, so that v is all a law needs. Source: arXiv:2110.11773.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ComputationFailed

if TYPE_CHECKING:
    from ..attention import Attention
    from ..normalisations import Sinkhorn
    from ..projections import Projections


ROUNDING = 1e-14  # by which Q^T K may differ from its transpose, relatively


def potentials(
    normalisation: Sinkhorn,
    rows: Callable[[Any], Any],
    columns: Callable[[Any], Any],
    start: Any,
    symmetric: bool,
) -> tuple[Any, int]:
    """v (..., tokens), and how many iterations it took; arrays or tensors of float64.

    rows    : v -> log sum_j a_j m_ij exp(s_ij + v_j)      columns : u -> log sum_i a_i m_ij exp(s_ij + u_i)
    start   : the first v, of the shape and type of both
    symmetric : whether s_ij = s_ji; then u = v, and half of u and half of the next u is the better next one: the error
                shrinks by (1 - lambda) / 2, lambda the eigenvalues of P, and not by lambda^2

    When u moves by at most `tolerance`, rows sum to 1 and columns to a_j up to that, relatively: the next v would not
    move by more. Raises ComputationFailed where that takes too many iterations.
    """
    moved = np.inf
    if symmetric:
        u = start
        for iteration in range(1, normalisation.iterations + 1):
            following = _negative(rows(u))
            moved, u = abs(following - u).max().item(), 0.5 * (u + following)
            if moved <= normalisation.tolerance:
                return u, iteration
        raise _unfinished(normalisation, moved)
    u = _negative(rows(start))
    for iteration in range(1, normalisation.iterations + 1):
        v = _negative(columns(u))
        last, u = u, _negative(rows(v))
        moved = abs(u - last).max().item()
        if moved <= normalisation.tolerance:
            return v, iteration
    raise _unfinished(normalisation, moved)


def symmetric_scores(law: Attention, projections: Projections, head: int) -> bool:
    """Whether the scores of one head are symmetric, s_ij = s_ji for all tokens."""
    p = projections
    if p.query is None or p.key is None:
        return True
    query_bias, key_bias = (np.zeros(1) if bias is None else bias[head] for bias in (p.query_bias, p.key_bias))
    if np.array_equal(p.query[head], p.key[head]) and np.array_equal(query_bias, key_bias):
        return True
    product = p.query[head].T @ p.key[head]
    even = np.abs(product - product.T).max() <= ROUNDING * np.abs(product).max()
    plain = not law.score.distant and law.score.name != "cosine" and law.rotary is None
    return bool(even and plain and not query_bias.any() and not key_bias.any())


def _unfinished(normalisation: Sinkhorn, moved: float) -> ComputationFailed:
    return ComputationFailed(
        f"sinkhorn: columns are still off by {moved:.2g} after {normalisation.iterations} iterations, where "
        f"{normalisation.tolerance:g} is asked for; allow more iterations, a larger tolerance or a smaller beta"
    )


def _negative(log_sums: Any) -> Any:
    """-log_sums; 0 for a token that sees nobody."""
    log_sums[log_sums == -np.inf] = 0.0
    return -log_sums
