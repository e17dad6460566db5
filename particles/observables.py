"""Observables: numbers read off an ensemble, one per replica. A new one is a function and a row of REGISTRY.

Every observable is a function (ensemble, **what it takes) -> (replicas,), where what it takes is any of

law         the attention law the tokens move under
statistics  (log Z, entropy) of the attention rows, each (replicas, heads, tokens): `Attention.statistics`
velocity    the drift of the law where the tokens are, (replicas, tokens, dimension)
distance    the distance within which two tokens belong together
threads     on how many threads the pairs are gone through; None: one per core

and `measure` supplies them. Throughout, a_i are the token weights, m = sum_i a_i x_i, and a token of weight
zero does not count. All is computed in float64, also for float32 tokens, and no n x n array is held.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .attention import Attention, Matrix
from .attention_matrix import column_spread, key_query_discrepancy, key_query_distance, row_sum, sparsity
from .backends.engine import EngineOptions
from .block import Block, Law, attention_of, seen_by
from .ensemble import Ensemble
from .focus import focus_entropy
from .hull import check_plane, hull_area, hull_perimeter, hull_vertices
from .motion import largest_speed, speed
from .shape import (
    ALIGNED,
    aligned_pairs,
    average,
    diameter,
    effective_rank,
    in_rows,
    mean_cosine,
    mean_inner_product,
    mean_token,
    order,
    radius,
    rank,
    weights_of,
)
from .space import Space, Sphere

Array = NDArray[np.float64]
Statistics = tuple[NDArray[np.floating], NDArray[np.floating]]


@dataclass(frozen=True)
class Observable:
    """A named observable.

    takes : the keyword arguments the function takes, of "law", "statistics", "velocity", "distance" and "threads"
    check : raises InvalidInput, with the name in it, for a law the observable is not defined for
    place : the same for a space
    """

    name: str
    function: Callable[..., NDArray]
    description: str
    takes: tuple[str, ...] = ()
    check: Callable[[str, Attention], None] | None = None
    place: Callable[[str, Space], None] | None = None

    @property
    def of_attention(self) -> bool:
        return "law" in self.takes or "statistics" in self.takes

    @property
    def needs_law(self) -> bool:
        return self.of_attention or "velocity" in self.takes


def energy(ensemble: Ensemble, law: Attention, statistics: Statistics | None = None) -> Array:
    """Interaction energy E = (1 / 2 beta) sum_ij a_i a_j exp(beta <Q x_i, K x_j>), (replicas,).

    That is (1 / 2 beta) sum_i a_i Z_i. For beta = 0 it is the limit of E - 1 / (2 beta), (1/2) <Q m, K m>.
    Where the law has biases, they are part of the queries and keys, so of log Z and of E. Unnormalised
    attention with V = Q^T K symmetric is the gradient ascent of E, softmax attention the same in another
    metric (arXiv:2312.10794).

    E grows like exp(beta |x|^2): beyond float64 it is inf, and `log_energy` is the one to look at. Raises
    InvalidInput unless the law has one head and no mask: only then is E defined.
    """
    _check_energy("energy", law)
    if law.beta == 0.0:
        mean = mean_token(ensemble)
        query = _affine(law.query, law.query_bias, mean)
        key = _affine(law.key, law.key_bias, mean)
        return 0.5 * np.sum(query * key, axis=-1)
    with np.errstate(over="ignore"):
        return np.exp(log_energy(ensemble, law, statistics)) / (2.0 * law.beta)


def log_energy(ensemble: Ensemble, law: Attention, statistics: Statistics | None = None) -> Array:
    """log sum_ij a_i a_j exp(beta <Q x_i, K x_j>) = log(2 beta E), (replicas,): finite at every beta.

    Raises InvalidInput unless the law has one head and no mask.
    """
    _check_energy("log_energy", law)
    log_partition = np.asarray(_statistics(ensemble, law, statistics)[0], np.float64)[:, 0]
    highest = np.max(log_partition, axis=-1, keepdims=True, initial=-np.inf, where=weights_of(ensemble) > 0)
    # a token of weight zero may lie above the highest that counts
    terms = np.exp(np.minimum(log_partition - highest, 0.0))
    return highest[:, 0] + np.log(average(terms, ensemble))


def clusters(ensemble: Ensemble, distance: float | None = None) -> NDArray[np.int64]:
    """How many clusters there are, (replicas,): components of the graph joining tokens within `distance`.

    The distance is geodesic on a sphere and Euclidean in R^d; `default_cluster_distance` when not given. A
    token belongs to a cluster when it is near to one of its tokens, not to all of them. Costs little more than
    O(n) for n tokens in one cluster or in up to 16 dimensions, O(n^2) where many are far in more, and O(n d)
    memory. Raises InvalidInput for a distance that is negative or not a number.
    """
    return _components(ensemble, distance)[0]


def cluster_labels(ensemble: Ensemble, distance: float | None = None) -> NDArray[np.int64]:
    """Which cluster each token is in, (replicas, tokens), numbered by first appearance; -1 for weight zero.

    Arguments and errors as for `clusters`.
    """
    return _components(ensemble, distance)[1]


def default_cluster_distance(space: Space) -> float:
    """0.1 radius on a sphere, an angle of 0.1 radians; 0.1 in R^d."""
    return 0.1 * space.radius if isinstance(space, Sphere) else 0.1


def attention_entropy(ensemble: Ensemble, law: Attention, statistics: Statistics | None = None) -> Array:
    """The mean over tokens (weighted by a_i) and heads of -sum_j P_ij log P_ij, in nats, (replicas,).

    log(tokens) for uniform attention and weights, 0 where every token attends to one. P is the softmax weight
    also where the law is unnormalised.
    """
    entropy = np.asarray(_statistics(ensemble, law, statistics)[1], np.float64)
    return average(entropy.mean(axis=1), ensemble)


def _check_energy(name: str, law: Attention) -> None:
    if law.heads != 1:
        raise InvalidInput(f"{name} is defined for an attention law with one head; this one has {law.heads}")
    if law.mask.name != "none":
        raise InvalidInput(f"{name} is defined for an attention law without a mask; this one is {law.mask.name}")
    if law.score.name not in ("dot", "scaled-dot") or law.normalisation.name not in ("softmax", "none"):
        raise InvalidInput(
            f"{name} is defined for dot products under softmax or none; got {law.score.name}, {law.normalisation.name}"
        )
    if law.prior is not None or law.rotary is not None:
        raise InvalidInput(f"{name} is defined for an attention law without prior and without rotary positions")
    if law.multipliers is not None:
        raise InvalidInput(f"{name} is defined for an attention law without random multipliers")


_ENERGY = "interaction energy (1/2 beta) sum a_i a_j exp(beta <Q x_i, K x_j>)"
_LAW = ("law", "statistics")

REGISTRY: dict[str, Observable] = {
    observable.name: observable
    for observable in (
        Observable("energy", energy, _ENERGY, _LAW, _check_energy),
        Observable("log_energy", log_energy, "log(2 beta energy), finite at every beta", _LAW, _check_energy),
        Observable("clusters", clusters, "number of groups of tokens joined within a distance", ("distance",)),
        Observable("mean_inner_product", mean_inner_product, "mean of <x_i, x_j> over pairs"),
        Observable("mean_cosine", mean_cosine, "mean of cos(x_i, x_j) over pairs"),
        Observable("aligned_pairs", aligned_pairs, f"share of pairs with cos(x_i, x_j) >= {ALIGNED}", ("threads",)),
        Observable("order", order, "order parameter |mean token|, over the radius on a sphere"),
        Observable("attention_entropy", attention_entropy, "mean entropy of the attention rows (nats)", _LAW),
        Observable("attention_sparsity", sparsity, "share of the attention weights that are exactly zero", ("law",)),
        Observable("row_sum", row_sum, "mean sum of an attention row: 1 for stochastic laws", ("law",)),
        Observable("column_spread", column_spread, "deviation of the columns' sums from doubly stochastic", ("law",)),
        Observable(
            "key_query_distance", key_query_distance, "sliced Wasserstein distance of queries and keys", ("law",)
        ),
        Observable("key_query_discrepancy", key_query_discrepancy, "maximum mean discrepancy of them", ("law",)),
        Observable("focus_entropy", focus_entropy, "entropy of the token weights (nats)"),
        Observable("effective_rank", effective_rank, "exp of the entropy of the tokens' singular values"),
        Observable("rank", rank, "number of the tokens' singular values above 1e-6 of the largest"),
        Observable("radius", radius, "largest |x_i|"),
        Observable("diameter", diameter, "largest distance between two tokens"),
        Observable("speed", speed, "mean of |dx_i/dt|", ("velocity",)),
        Observable("largest_speed", largest_speed, "largest |dx_i/dt|", ("velocity",)),
        Observable("hull_area", hull_area, "area of the convex hull, in the plane", place=check_plane),
        Observable("hull_perimeter", hull_perimeter, "length of its boundary", place=check_plane),
        Observable("hull_vertices", hull_vertices, "number of its vertices", place=check_plane),
    )
}


def check_names(names: Sequence[str], law: Law | None = None, space: Space | None = None) -> None:
    """Raise InvalidInput unless every name is in REGISTRY and defined for the law and the space, where these are given.

    For an unknown name the message holds the nearest one and all that there are.
    """
    for name in names:
        if name not in REGISTRY:
            near = difflib.get_close_matches(str(name), REGISTRY, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise InvalidInput(f"observables must be among {', '.join(REGISTRY)}; got {name!r}{hint}")
        check, place = REGISTRY[name].check, REGISTRY[name].place
        if law is not None and check is not None:
            check(name, attention_of(law))
        if space is not None and place is not None:
            place(name, space)


def measure(
    names: Sequence[str],
    ensemble: Ensemble,
    law: Law | None = None,
    *,
    depth: float = 0.0,
    cluster_distance: float | None = None,
    **engine: Unpack[EngineOptions],
) -> dict[str, NDArray]:
    """Every named observable of one ensemble, name -> (replicas,); what several need is computed once.

    depth is for the speed of blocks that act otherwise at other depths, cluster_distance for `clusters` (default:
    `default_cluster_distance`); `engine` as in `Attention.drift`. What belongs to the attention of a block is that of
    the tokens as its attention sees them, normalised or not. Raises InvalidInput for an unknown name, for an observable
    of the attention or the motion without a law, and for one that is not defined for this law or space.
    """
    check_names(names, law, ensemble.space)
    chosen = [REGISTRY[name] for name in names]
    supply: dict[str, Any] = {"distance": cluster_distance, "threads": engine.get("threads")}
    taken = {key for observable in chosen for key in observable.takes}
    seen = ensemble
    if law is not None:
        seen, supply["law"] = seen_by(law, ensemble), attention_of(law)
        if "statistics" in taken:
            supply["statistics"] = _statistics(seen, supply["law"], None, **engine)
        if "velocity" in taken:
            supply["velocity"] = _velocity(ensemble, law, depth, **engine)
    for observable in chosen:
        if law is None and observable.needs_law:
            what = "attention" if observable.of_attention else "motion"
            raise InvalidInput(f"{observable.name} is an observable of the {what}: it needs a law")
    return {
        observable.name: observable.function(
            seen if observable.of_attention else ensemble, **{key: supply[key] for key in observable.takes}
        )
        for observable in chosen
    }


def _velocity(ensemble: Ensemble, law: Law, depth: float, **engine: Unpack[EngineOptions]) -> NDArray[np.floating]:
    at = {"depth": depth} if isinstance(law, Block) else {}
    return law.drift(ensemble.positions, space=ensemble.space, weights=ensemble.weights, **at, **engine)


def _statistics(
    ensemble: Ensemble,
    law: Attention,
    statistics: Statistics | None,
    **engine: Unpack[EngineOptions],
) -> Statistics:
    if statistics is not None:
        return statistics
    return law.statistics(ensemble.positions, space=ensemble.space, weights=ensemble.weights, **engine)


def _components(ensemble: Ensemble, distance: float | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from .clusters import components_kernel  # imports numba, which takes a while

    if distance is None:
        distance = default_cluster_distance(ensemble.space)
    if not distance >= 0.0:
        raise InvalidInput(f"cluster distance must be a number of at least 0; got {distance!r}")
    if isinstance(ensemble.space, Sphere):  # compare chords, which keep their digits where cosines lose them
        diameter = 2.0 * ensemble.space.radius
        chord = diameter * np.sin(min(distance / diameter, 0.5 * np.pi))
        # at half the circumference every token is near to every other, whatever the rounding of its length
        distance = chord if distance < 0.5 * np.pi * diameter else np.inf
    labels = np.empty(ensemble.positions.shape[:2], np.int64)
    kernel = components_kernel(ensemble.tokens, ensemble.dimension)
    counts = kernel(*in_rows(ensemble), float(distance) ** 2, labels)
    return counts, labels


def _affine(matrix: Matrix, bias: NDArray[np.floating] | None, vectors: Array) -> Array:
    """matrix v + bias for vectors (replicas, dimension); a number stands for a multiple of the identity."""
    image = vectors @ matrix.T if isinstance(matrix, np.ndarray) else float(matrix) * vectors
    return image if bias is None else image + bias
