"""The matrices of a law for tokens of one dimension, split into heads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Projections:
    """The matrices of a law for one dimension; None stands for the identity or for no bias.

    plain_query, key : (heads, head_dimension, dimension)     plain_query_bias, key_bias : (heads, head_dimension)
    value            : (heads, value_dimension, dimension)    value_bias : (heads, value_dimension)
    output           : (dimension, heads * value_dimension)   output_bias : (dimension,)
    query_factor     : of the query and its bias, 1/sqrt(head_dimension) for scaled dot products
    Where query and key are None, scores are beta score_scale <x_i, x_j> and there are no biases of theirs; where
    value is None, V = value_scale * identity, without bias.
    """

    plain_query: Array | None
    key: Array | None
    value: Array | None
    output: Array | None
    plain_query_bias: Array | None
    key_bias: Array | None
    value_bias: Array | None
    output_bias: Array | None
    query_factor: float
    value_scale: float
    score_scale: float

    @cached_property
    def query(self) -> Array | None:
        """The query with its factor."""
        return self._scaled(self.plain_query)

    @cached_property
    def query_bias(self) -> Array | None:
        """The query's bias with its factor."""
        return self._scaled(self.plain_query_bias)

    def _scaled(self, values: Array | None) -> Array | None:
        # a NumPy number: the product is in float64, whatever the type of the values
        return values if values is None or self.query_factor == 1.0 else np.float64(self.query_factor) * values
