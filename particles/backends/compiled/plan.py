"""A law as arrays, for compiled code: the matrices with every constant factor in them, and the room to work in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...space import Space, Sphere
from .exponential import LOG2E

if TYPE_CHECKING:
    from ...attention import Attention

Array = NDArray[np.floating]
NO_MASK, CAUSAL, WITHOUT_SELF = 0, 1, 2
MASKS = {"none": NO_MASK, "causal": CAUSAL, "without-self": WITHOUT_SELF}


class Matrices(NamedTuple):
    """The law's matrices; an array of size 0 is the identity (matrices) or zero (biases).

    query, key  : (heads, head_dimension, dimension)     the query times beta log2(e)
    value       : (heads, value_dimension, dimension)
    output      : (dimension, heads * value_dimension)
    *_bias      : (heads, head_dimension), (heads, value_dimension) or (dimension,)
    query_scale : the factor of the query, value_scale that of the values, where these are the identity
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
    """The law as arrays of `dtype` for ensembles of `shape` (replicas, tokens, dimension)."""
    p = law.projections(shape[2])
    heads = law.heads
    head_dimension = shape[2] if p.query is None else p.query.shape[1]
    value_dimension = shape[2] if p.value is None else p.value.shape[1]
    exponent = law.beta * p.score_scale * LOG2E

    def array(values: Array | None, axes: int, factor: float = 1.0) -> Array:
        if values is None:
            return np.empty((0,) * axes, dtype)
        return np.array(values if factor == 1.0 else values * factor, dtype, order="C")

    return Matrices(
        heads=heads,
        head_dimension=head_dimension,
        value_dimension=value_dimension,
        query=array(p.query, 3, exponent),
        key=array(p.key, 3),
        value=array(p.value, 3),
        output=array(p.output, 2),
        query_bias=array(p.query_bias, 2, exponent),
        key_bias=array(p.key_bias, 2),
        value_bias=array(p.value_bias, 2),
        output_bias=array(p.output_bias, 1),
        query_scale=exponent,
        value_scale=p.value_scale,
        # a copy: for arrays that may only be read Numba would compile all kernels once more
        weights=np.array(np.broadcast_to(weights, shape[:2]), dtype, order="C"),
        mask=MASKS[law.mask.name],
        radius=space.radius if isinstance(space, Sphere) else 0.0,
        shift=law.shift * LOG2E,
        softmax=law.normalisation.name == "softmax",
    )


def averaging_keys(m: Matrices) -> Matrices:
    """The same rows with the keys for values and no output matrix: what they average are their own keys."""
    nothing = np.empty((0, 0), m.key.dtype)
    return m._replace(
        value=m.key,
        value_bias=m.key_bias,
        value_scale=1.0,
        value_dimension=m.head_dimension,
        output=nothing,
        output_bias=nothing[0:0].reshape(0),
        softmax=True,
    )
