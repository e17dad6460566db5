"""The attention law: how a token moves in the field of the others.

    q_i = Q x_i + b_q,   k_j = K x_j + b_k,   v_j = V x_j + b_v           (each split into heads by rows)
    s_ij = beta <q_i, k_j>                                                for each head
    softmax:       f_i = O concat_heads( sum_j P_ij v_j ) + b_o,   P_ij = a_j exp(s_ij) / Z_i
    unnormalised:  f_i = O concat_heads( sum_j a_j exp(s_ij - shift) v_j ) + b_o

with token weights a_j and Z_i = sum_k a_k exp(s_ik), the sums over the tokens j that the mask lets i see. On a
sphere the drift is the tangential part P_x f. Source: arXiv:2007.02876, arXiv:2312.10794.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .backends.engine import Engine, EngineOptions
from .ensemble import checked_weights
from .space import Space

if TYPE_CHECKING:
    pass

Array = NDArray[np.floating]
Matrix = float | NDArray[np.floating]

NORMALISATIONS = ("softmax", "none")
MASKS = ("none", "causal", "without-self")
_TENSOR_TYPES = {"torch.float64": np.float64, "torch.float32": np.float32}


class Projections(NamedTuple):
    """The matrices of a law for one dimension; None stands for the identity or for no bias.

    query, key : (heads, head_dimension, dimension)     query_bias, key_bias : (heads, head_dimension)
    value      : (heads, value_dimension, dimension)    value_bias           : (heads, value_dimension)
    output     : (dimension, heads * value_dimension)   output_bias          : (dimension,)
    Where query and key are None, scores are beta score_scale <x_i, x_j> and there are no biases of theirs; where
    value is None, V = value_scale * identity, without bias.
    """

    query: Array | None
    key: Array | None
    value: Array | None
    output: Array | None
    query_bias: Array | None
    key_bias: Array | None
    value_bias: Array | None
    output_bias: Array | None
    value_scale: float
    score_scale: float


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention law.

    beta          : the inverse temperature, any finite number
    heads         : query, key and value are split by rows into this many heads
    query, key    : a number c for c times the identity, or (heads * head_dimension, dimension)
    value         : a number, or (heads * value_dimension, dimension)
    output        : None for the plain concatenation of the heads, or (dimension, heads * value_dimension)
    *_bias        : None, or as many numbers as the matrix has rows
    normalisation : "softmax" or "none" (unnormalised)
    mask          : "none", "causal" (token i sees j <= i) or "without-self" (i sees j != i)
    shift         : unnormalised only: the drift is multiplied by exp(-shift), that is, time is counted in
                    units of exp(-shift). Its growth like exp(beta r^2) is tamed by shift = beta r^2.

    A token that sees nobody (one token without self) has drift zero. Raises InvalidInput for values out of range;
    shapes are checked against the tokens' dimension when the law is used.
    """

    beta: float = 1.0
    heads: int = 1
    query: Matrix = 1.0
    key: Matrix = 1.0
    value: Matrix = 1.0
    output: Array | None = None
    query_bias: Array | None = None
    key_bias: Array | None = None
    value_bias: Array | None = None
    output_bias: Array | None = None
    normalisation: Literal["softmax", "none"] = "softmax"
    mask: Literal["none", "causal", "without-self"] = "none"
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beta", "shift"):
            object.__setattr__(self, name, _checked_number(name, getattr(self, name)))
        if not isinstance(self.heads, (int, np.integer)) or self.heads < 1:
            raise InvalidInput(f"heads must be an integer of at least 1; got {self.heads!r}")
        _check_choice("normalisation", self.normalisation, NORMALISATIONS)
        _check_choice("mask", self.mask, MASKS)
        if self.normalisation == "softmax" and self.shift != 0.0:
            raise InvalidInput("shift rescales the time of unnormalised attention; softmax does not change with it")
        for name in ("query", "key", "value", "output"):
            matrix = getattr(self, name)
            if name != "output" and np.isscalar(matrix):
                object.__setattr__(self, name, _checked_number(name, matrix))
            elif matrix is not None:
                object.__setattr__(self, name, _checked_array(name, matrix, axes=2))
        for name in ("query_bias", "key_bias", "value_bias", "output_bias"):
            bias = getattr(self, name)
            if bias is not None:
                object.__setattr__(self, name, _checked_array(name, bias, axes=1))

    def projections(self, dimension: int) -> Projections:
        """The law's matrices for tokens of this dimension, split into heads.

        Raises InvalidInput when a shape does not fit the dimension or the number of heads.
        """
        query: Matrix | None = self.query
        key: Matrix | None = self.key
        score_scale = 1.0
        plain = self.heads == 1 and self.query_bias is None and self.key_bias is None
        if plain and isinstance(query, (int, float)) and isinstance(key, (int, float)):
            score_scale, query, key = float(query) * float(key), None, None
        value: Array | None
        value_scale = 1.0
        if self.heads == 1 and self.value_bias is None and isinstance(self.value, (int, float)):
            value_scale, value = float(self.value), None
        else:
            value = self._split("value", self.value, dimension)
        queries: Array | None = None
        keys: Array | None = None
        if query is not None:
            queries, keys = self._split("query", query, dimension), self._split("key", key, dimension)
            if queries.shape != keys.shape:
                raise InvalidInput(
                    f"query and key must have the same number of rows; got {queries.shape[0] * queries.shape[1]} "
                    f"and {keys.shape[0] * keys.shape[1]}"
                )
        rows = dimension if queries is None else queries.shape[0] * queries.shape[1]
        width = dimension if value is None else value.shape[0] * value.shape[1]
        if self.output is None and width != dimension:
            raise InvalidInput(f"value must have {dimension} rows when there is no output matrix; it has {width}")
        if self.output is not None and self.output.shape != (dimension, width):
            raise InvalidInput(f"output must have the shape ({dimension}, {width}); got {self.output.shape}")
        return Projections(
            queries,
            keys,
            value,
            self.output,
            self._bias("query_bias", rows),
            self._bias("key_bias", rows),
            self._bias("value_bias", width),
            self._bias("output_bias", dimension, split=False),
            value_scale,
            score_scale,
        )

    def drift(
        self,
        positions: ArrayLike,
        *,
        space: Space,
        weights: ArrayLike | None = None,
        **engine: Unpack[EngineOptions],
    ) -> Array:
        """Velocities of the tokens: P_x f on a sphere, f in R^d.

        positions : (replicas, tokens, dimension), float64 or float32    returns the same shape and type
        weights   : (tokens,) or (replicas, tokens), by default 1/tokens
        engine    : the fields of `Engine`: backend, device, threads, sums, sum_tolerance

        With backend="torch", positions may be a tensor of torch. The drift is then a tensor on the same device, a
        differentiable function of the positions in reverse and in forward mode; by default it is computed there.
        Raises InvalidInput for wrong shapes or a law that the engine does not have.
        """
        x, field = self._prepared(positions, space, weights, engine)
        if _is_tensor(x):
            return field.drift(x.to(field.device)).to(x.device).reshape(np.shape(positions))
        out = np.empty_like(x)
        field.velocity(0.0, x, out)
        return out.reshape(np.shape(positions))

    def statistics(
        self,
        positions: ArrayLike,
        *,
        space: Space,
        weights: ArrayLike | None = None,
        **engine: Unpack[EngineOptions],
    ) -> tuple[Array, Array]:
        """log Z_i and the entropy -sum_j P_ij log P_ij of every attention row, each (replicas, heads, tokens).

        P is the softmax weight also where the law is unnormalised. A row that sees nobody has log Z = -inf and
        entropy 0. Arguments as in `drift`.
        """
        x, field = self._prepared(positions, space, weights, engine)
        return field.statistics(x)

    def _prepared(
        self, positions: ArrayLike, space: Space, weights: ArrayLike | None, options: EngineOptions
    ) -> tuple[Any, Any]:
        """The positions with all their axes, and the law as a field for them."""
        from .backends import prepare  # a backend imports this module for the law's type

        if options.get("backend") == "torch" and _is_tensor(positions):
            x = _checked_positions(positions, space)
            x = x if str(x.dtype) in _TENSOR_TYPES else x.double()
            dtype: Any = _TENSOR_TYPES[str(x.dtype)]
            options = {"device": str(x.device), **options}
        else:
            x = as_positions(positions, space)
            dtype = x.dtype
        weights = checked_weights(weights, x.shape[:2])
        return x, prepare(self, space, weights, tuple(x.shape), dtype, Engine(**options))

    def _split(self, name: str, matrix: Matrix | None, dimension: int) -> Array:
        if not isinstance(matrix, np.ndarray):
            matrix = np.eye(dimension) * (1.0 if matrix is None else float(matrix))
        if matrix.shape[1] != dimension or matrix.shape[0] % self.heads:
            raise InvalidInput(
                f"{name} must have the shape (a multiple of heads = {self.heads}, dimension = {dimension}); "
                f"got {matrix.shape}"
            )
        return matrix.reshape(self.heads, -1, dimension)

    def _bias(self, name: str, rows: int, split: bool = True) -> Array | None:
        bias = getattr(self, name)
        if bias is None:
            return None
        if bias.shape != (rows,):
            raise InvalidInput(f"{name} must have {rows} numbers; got {bias.shape[0]}")
        return bias.reshape(self.heads, -1) if split else bias


def as_positions(positions: ArrayLike, space: Space) -> Array:
    """Positions as a contiguous float array (replicas, tokens, dimension); a single replica may leave its axis out."""
    x = np.ascontiguousarray(positions)
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    return _checked_positions(x, space)


def _checked_positions(x: Any, space: Space) -> Any:
    """An array or a tensor (replicas, tokens, dimension) where the first axis may be left out."""
    shape = tuple(x.shape)
    if len(shape) == 2:
        x = x[None]
    if len(x.shape) != 3 or x.shape[2] != space.dimension:
        raise InvalidInput(f"positions must have the shape (replicas, tokens, {space.dimension}); got {shape}")
    return x


def _is_tensor(array: Any) -> bool:
    """Whether it is a tensor of torch, which is loaded where there is one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInput(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def _checked_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        raise InvalidInput(f"{name} must be a finite number; got {value!r}")
    return float(value)


def _checked_array(name: str, value: ArrayLike, axes: int) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != axes or 0 in array.shape:
        raise InvalidInput(f"{name} must have {axes} axes, none of them empty; got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{name} must be finite; it holds NaN or infinite values")
    return array
