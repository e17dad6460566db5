"""Observables of where the tokens are: how they agree in direction, how far they reach, which space they span.

As all of `observables`, each takes an ensemble and gives (replicas,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ensemble import Ensemble
from .space import Sphere

ALIGNED = 1.0 - 1e-3  # the cosine from which on two tokens count as aligned
RANKED = 1e-6  # of the largest singular value: those above count for the rank, in float32 as well
Array = NDArray[np.float64]


def mean_inner_product(ensemble: Ensemble) -> Array:
    """The mean of <x_i, x_j> over pairs i != j, weighted by a_i a_j, (replicas,).

    Equal to (|m|^2 - sum a_i^2 |x_i|^2) / (1 - sum a_i^2), computed without the cancellation of that form.
    One token alone counts as two that coincide: |x|^2.
    """
    return _mean_over_pairs(ensemble, tokens_of(ensemble))


def mean_cosine(ensemble: Ensemble) -> Array:
    """The mean of cos(x_i, x_j) over pairs i != j, weighted by a_i a_j, (replicas,); 1 for one token alone.

    A token at the origin has no direction: its cosine with every token is taken to be 0.
    """
    tokens = tokens_of(ensemble)
    length = np.linalg.norm(tokens, axis=-1, keepdims=True)
    return _mean_over_pairs(ensemble, np.divide(tokens, length, out=np.zeros_like(tokens), where=length != 0))


def aligned_pairs(ensemble: Ensemble, threads: int | None = None) -> Array:
    """The share of pairs i != j with cos(x_i, x_j) >= ALIGNED, weighted by a_i a_j, (replicas,).

    sum_{i != j} a_i a_j [cos(x_i, x_j) >= ALIGNED] / sum_{i != j} a_i a_j. It is 1 for one cluster and for one token
    alone; a token at the origin has no direction and is aligned with nobody. NaN where a token is not finite. Costs
    O(n^2) time and no memory. Source: arXiv:2312.10794, figure 4.
    """
    from .alignment import aligned_weight  # imports numba, which takes a while

    weights = np.atleast_2d(weights_of(ensemble))
    weights = weights / weights.max(axis=1, keepdims=True)  # equal ones become 1: pairs are counted, without rounding
    pairs = np.einsum("rn,rn->r", weights[:, 1:], np.cumsum(weights[:, :-1], axis=1))
    aligned = aligned_weight(ensemble.positions, weights, ALIGNED, threads)
    # one token alone: 1, or NaN as the others
    return np.divide(aligned, pairs, out=aligned + 1.0, where=pairs > 0)


def order(ensemble: Ensemble) -> Array:
    """The order parameter, (replicas,): |m| / r on a sphere (1 where all tokens coincide), |m| in R^d."""
    length = np.linalg.norm(mean_token(ensemble), axis=-1)
    return length / ensemble.space.radius if isinstance(ensemble.space, Sphere) else length


def effective_rank(ensemble: Ensemble) -> Array:
    """exp(-sum_k p_k log p_k), p = sigma / sum sigma, sigma the singular values of the rows sqrt(a_i) x_i.

    (replicas,); between 1 and min(tokens, dimension), and 0 where all tokens are at the origin. With equal
    weights these are the singular values of the token matrix up to a factor. NaN where a token is not finite.
    Source: Roy & Vetterli, EUSIPCO 2007.
    """
    singular = _singular_values(ensemble)
    total = singular.sum(axis=-1, keepdims=True)
    share = np.divide(singular, total, out=np.zeros_like(singular), where=total != 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.where(total[:, 0] != 0, np.exp(-np.sum(share * logs, axis=-1)), 0.0)


def rank(ensemble: Ensemble) -> Array:
    """The numerical rank of the token matrix, (replicas,): the number of singular values above 1e-6 of the largest.

    Those of the rows sqrt(a_i) x_i, as in `effective_rank`; 0 where all tokens are at the origin, 1 where they lie on
    one line through it. NaN where a token is not finite. Source for the collapse of rank: arXiv:2103.03404.
    """
    singular = _singular_values(ensemble)
    largest = singular.max(axis=-1, keepdims=True)
    return np.where(np.isnan(largest[:, 0]), np.nan, np.sum(singular > RANKED * largest, axis=-1))


def radius(ensemble: Ensemble) -> Array:
    """max_i |x_i|, (replicas,)."""
    length = np.linalg.norm(tokens_of(ensemble), axis=-1)
    return np.max(length, axis=-1, initial=0.0, where=weights_of(ensemble) > 0)


def diameter(ensemble: Ensemble) -> Array:
    """The largest distance between two tokens, (replicas,): geodesic on a sphere, Euclidean in R^d.

    Costs O(n^2) time and no memory. On a sphere it is accurate for coinciding and for opposite tokens. NaN
    where a token is not finite.
    """
    from .clusters import extremes  # imports numba, which takes a while

    apart, total = np.sqrt(extremes(*in_rows(ensemble))).T
    if isinstance(ensemble.space, Sphere):
        # |x - y| = 2 r sin(angle/2) and |x + y| = 2 r cos(angle/2) are extreme for the same pair
        apart = 2.0 * ensemble.space.radius * np.arctan2(apart, total)
    return np.where(np.isfinite(ensemble.positions).all(axis=(1, 2)), apart, np.nan)


def in_rows(ensemble: Ensemble) -> tuple[Array, Array]:
    """Positions and weights in the one layout that compiled code is compiled for."""
    return np.ascontiguousarray(ensemble.positions), np.ascontiguousarray(np.atleast_2d(weights_of(ensemble)))


def _singular_values(ensemble: Ensemble) -> Array:
    """Of the rows sqrt(a_i) x_i, (replicas, min(tokens, dimension)); NaN where a token is not finite."""
    rows = np.sqrt(weights_of(ensemble))[..., None] * tokens_of(ensemble)
    singular = np.full((len(rows), min(rows.shape[1:])), np.nan)
    finite = np.isfinite(rows).all(axis=(1, 2))  # LAPACK fails on a matrix with NaN
    singular[finite] = np.linalg.svd(rows[finite], compute_uv=False)
    return singular


def weights_of(ensemble: Ensemble) -> Array:
    """Token weights in float64, (tokens,) or (replicas, tokens)."""
    assert ensemble.weights is not None  # an Ensemble fills them in
    return np.asarray(ensemble.weights, np.float64)


def tokens_of(ensemble: Ensemble) -> Array:
    """Positions in float64, (replicas, tokens, dimension)."""
    return np.asarray(ensemble.positions, np.float64)


def average(values: Array, ensemble: Ensemble) -> Array:
    """sum_i a_i values_i of (replicas, tokens), without letting 0 times inf in."""
    weights = weights_of(ensemble)
    return np.sum(weights * np.where(weights > 0, values, 0.0), axis=-1)


def mean_token(ensemble: Ensemble) -> Array:
    """m = sum_i a_i x_i, (replicas, dimension)."""
    return np.matmul(weights_of(ensemble)[..., None, :], tokens_of(ensemble))[..., 0, :]


def _mean_over_pairs(ensemble: Ensemble, vectors: Array) -> Array:
    """The mean of <v_i, v_j> over i != j weighted by a_i a_j, (replicas,).

    vectors : (replicas, tokens, dimension). Over j < i by running totals: sum_i a_i <v_i, sum_{j<i} a_j v_j>
    divided by sum_i a_i sum_{j<i} a_j.
    """
    weights = np.broadcast_to(weights_of(ensemble), vectors.shape[:2])
    weighted = weights[..., None] * vectors
    products = np.einsum("rnd,rnd->r", weighted[:, 1:], np.cumsum(weighted[:, :-1], axis=1))
    pairs = np.einsum("rn,rn->r", weights[:, 1:], np.cumsum(weights[:, :-1], axis=1))
    alone = np.einsum("rnd,rnd,rn->r", vectors, vectors, weights)
    return np.divide(products, pairs, out=alone, where=pairs > 0)
