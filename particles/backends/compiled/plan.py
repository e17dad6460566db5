"""A law as arrays, for compiled code: its matrices, and every constant factor in few numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...space import Space, Sphere
from .exponential import LOG2E

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
Keep = Callable[[Hashable, Callable[[], Array]], Array]
NO_MASK, CAUSAL, WITHOUT_SELF = 0, 1, 2
MASKS = {"none": NO_MASK, "causal": CAUSAL, "without-self": WITHOUT_SELF}


MOST_KEPT = 2**30  # bytes
_KEPT: WeakKeyDictionary[Any, dict[Hashable, Array]] = WeakKeyDictionary()


class Matrices(NamedTuple):
    """The law's matrices, in the type that the law has them in; of size 0 for the identity, biases for zero.

    query, key   : (heads, head_dimension, dimension)
    value        : (heads, value_dimension, dimension)
    output       : (dimension, heads * value_dimension)
    *_bias       : (heads, head_dimension), (heads, value_dimension) or (dimension,)   that of the query has its factor
    query_factor : of the query: beta log2(e), and what the score has
    query_scale  : the factor of the query, value_scale that of the values, where these are the identity
    weights     : (replicas, tokens)                     log2_weights: their base-2 logarithms
    radius      : of the sphere; 0 stands for R^d
    shift       : in base 2                              softmax : whether rows are normalised
    """

    heads: int
    head_dimension: int
    value_dimension: int
    query: Array
    key: Array
    value: Array
    output: Array
    query_bias: Array
    key_bias: Array
    value_bias: Array
    output_bias: Array
    query_factor: float
    query_scale: float
    value_scale: float
    weights: Array
    mask: int
    radius: float
    shift: float
    softmax: bool


def matrices(
    law: Attention,
    space: Space,
    weights: NDArray[np.float64],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> Matrices:
    """The law for ensembles of `shape` (replicas, tokens, dimension); biases and weights are of `dtype`."""
    p = law.projections(shape[2])
    heads = law.heads
    head_dimension = shape[2] if p.query is None else p.query.shape[1]
    value_dimension = shape[2] if p.value is None else p.value.shape[1]
    exponent = law.beta * p.score_scale * LOG2E

    query_factor = p.query_factor * exponent

    def matrix(values: Array | None, axes: int) -> Array:
        return np.empty((0,) * axes, dtype) if values is None else values

    def bias(values: Array | None, axes: int, factor: float = 1.0) -> Array:
        return np.empty((0,) * axes, dtype) if values is None else np.array(factor * values, dtype, order="C")

    return Matrices(
        heads=heads,
        head_dimension=head_dimension,
        value_dimension=value_dimension,
        query=matrix(p.plain_query, 3),
        key=matrix(p.key, 3),
        value=matrix(p.value, 3),
        output=matrix(p.output, 2),
        query_bias=bias(p.plain_query_bias, 2, query_factor),
        key_bias=bias(p.key_bias, 2),
        value_bias=bias(p.value_bias, 2),
        output_bias=bias(p.output_bias, 1),
        query_factor=query_factor,
        query_scale=exponent,
        value_scale=p.value_scale,
        # a copy: for arrays that may only be read Numba would compile all kernels once more
        weights=np.array(np.broadcast_to(weights, shape[:2]), dtype, order="C"),
        mask=MASKS[law.mask.name],
        radius=space.radius if isinstance(space, Sphere) else 0.0,
        shift=law.shift * LOG2E,
        softmax=law.normalisation.name == "softmax",
    )


def made_anew(what: Hashable, make: Callable[[], Array]) -> Array:
    """What `make` gives."""
    return make()


def kept(law: Any, kind: Hashable, what: Hashable, make: Callable[[], Array]) -> Array:
    """What `make` gives, made of a law, or a part of one, for one kind of run once, within MOST_KEPT.

    A law is frozen, and its arrays are its own: what was made of them is right as long as it is there.
    """
    found = _KEPT.setdefault(law, {})
    if (kind, what) in found:
        return found[kind, what]
    made = make()
    if made.nbytes + sum(array.nbytes for arrays in list(_KEPT.values()) for array in arrays.values()) <= MOST_KEPT:
        found[kind, what] = made
    return made


def averaging_keys(m: Matrices) -> Matrices:
    """The same rows with the keys for values and no output matrix: what they average are their own keys."""
    nothing = np.empty((0, 0), m.weights.dtype)
    return m._replace(
        value=m.key,
        value_bias=m.key_bias,
        value_scale=1.0,
        value_dimension=m.head_dimension,
        output=nothing,
        output_bias=nothing[0:0].reshape(0),
        softmax=True,
    )
