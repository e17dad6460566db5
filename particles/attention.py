"""The attention law: how a token moves in the field of the others.

    q_i = Q x_i + b_q,   k_j = K x_j + b_k,   v_j = V x_j + b_v           (each split into heads by rows)
    s_ij = score(q_i, k_j) + log pi_ij                                    for each head; by default beta <q_i, k_j>
    w_ij = normalisation of row i of s, with token weights a_j m_ij       by default a_j m_ij exp(s_ij) / Z_i
                                                                          times random xi_ij, where there are any
    f_i  = O concat_heads( sum_j w_ij v_j ) + b_o                         times the gate of x_i, where there is one

A law is put together from small parts, each with a module of its own: `scores`, `priors`, `normalisations`, `masks`
(m_ij), `multipliers` (xi_ij) and `gates`. On a sphere the drift is the tangential part P_x f. Source: arXiv:2007.02876,
arXiv:2312.10794.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .backends.engine import Engine, EngineOptions
from .ensemble import checked_weights
from .gates import Gate
from .masks import MASKS, as_mask
from .multipliers import Multipliers
from .normalisations import NORMALISATIONS, Hardmax, Unnormalised, as_normalisation
from .normalisers import checked_numbers
from .priors import as_prior
from .projections import Projections
from .scores import SCORES, Metric, as_score
from .space import Space

Array = NDArray[np.floating]
Matrix = float | NDArray[np.floating]

__all__ = ["MASKS", "NORMALISATIONS", "SCORES", "Attention", "as_positions"]
# what the fastest kernels of all backends are for
_PLAIN = {"score": ("dot", "scaled-dot"), "normalisation": ("softmax", "none")}
_PLAIN_MASKS = ("none", "causal", "without-self")
_TENSOR_TYPES = {"torch.float64": np.float64, "torch.float32": np.float32}


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention law.

    beta          : the inverse temperature, any number; inf is the limit of softmax, hardmax
    heads         : query, key and value are split by rows into this many heads
    query, key    : a number c for c times the identity, or (heads * head_dimension, dimension)
    value         : a number, or (heads * value_dimension, dimension)
    output        : None for the plain concatenation of the heads, or (dimension, heads * value_dimension)
    *_bias        : None, or as many numbers as the matrix has rows
    score         : a name of `scores.SCORES`, or one with numbers of its own, as scores.Student(3.0)
    normalisation : a name of `normalisations.NORMALISATIONS`, "sparsemax", or one as normalisations.Entmax(1.3)
    mask          : "none", "causal" (token i sees j <= i), "without-self" (i sees j != i), or one of `masks`
    prior         : None, "alibi", or one of `priors`, added to every score
    rotary        : None, or what turns queries and keys of token i, see `priors.rotated`: the base of the angles
                    (10 000 in transformers), or the angles themselves (head_dimension / 2,)
    gate          : None, or a `gates.Gate`
    multipliers   : None, or random `multipliers.Multipliers` of the weights, for networks; None with variation 0
    shift         : unnormalised only: the drift is multiplied by exp(-shift), that is, time is counted in
                    units of exp(-shift). Its growth like exp(beta r^2) is tamed by shift = beta r^2.

    A token that sees nobody (one token without self) has drift zero. Raises InvalidInput for values out of range, or
    parts that do not go together; shapes are checked against the tokens' dimension when the law is used.
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
    score: Any = "dot"  # these four are given as a part or its name, and hold the part
    normalisation: Any = "softmax"
    mask: Any = "none"
    prior: Any = None
    rotary: float | Array | None = None
    gate: Gate | None = None
    multipliers: Multipliers | None = None
    shift: float = 0.0

    def __post_init__(self) -> None:
        self._put_together()
        if not isinstance(self.heads, (int, np.integer)) or self.heads < 1:
            raise InvalidInput(f"heads must be an integer of at least 1; got {self.heads!r}")
        for name in ("query", "key", "value", "output"):
            matrix = getattr(self, name)
            if name != "output" and np.isscalar(matrix):
                object.__setattr__(self, name, _checked_number(name, matrix))
            elif matrix is not None:
                object.__setattr__(self, name, checked_numbers(name, matrix, axes=2))
        for name in ("query_bias", "key_bias", "value_bias", "output_bias"):
            bias = getattr(self, name)
            if bias is not None:
                object.__setattr__(self, name, checked_numbers(name, bias, axes=1))

    def _put_together(self) -> None:
        """Replace the names of parts by the parts, and check those that belong together."""
        parts: dict[str, Any] = {
            "score": as_score(self.score),
            "normalisation": as_normalisation(self.normalisation),
            "mask": as_mask(self.mask),
            "prior": as_prior(self.prior),
            "shift": _checked_number("shift", self.shift),
        }
        if isinstance(self.beta, (int, float)) and self.beta == np.inf:
            if parts["normalisation"].name not in ("softmax", "hardmax"):
                raise InvalidInput(f"beta = inf is the limit of softmax; got {parts['normalisation'].name}")
            parts |= {"normalisation": Hardmax(), "beta": np.inf}
        else:
            parts["beta"] = _checked_number("beta", self.beta)
        if parts["score"].name == "student" and parts["beta"] < 0.0:
            raise InvalidInput(
                f"beta must be at least 0 with the score student, for its logarithm; got {parts['beta']:g}"
            )
        if isinstance(parts["normalisation"], Unnormalised):
            shift = parts["shift"] or parts["normalisation"].shift
            parts |= {"normalisation": Unnormalised(shift), "shift": shift}
        elif parts["shift"] != 0.0:
            raise InvalidInput(
                f"shift rescales the time of unnormalised attention; got it with {parts['normalisation'].name}"
            )
        if parts["normalisation"].name == "sinkhorn" and not parts["mask"].symmetric:
            raise InvalidInput(
                f"sinkhorn needs a symmetric mask, for its columns have a sum as well; got {parts['mask'].name}"
            )
        if parts["normalisation"].name == "sinkhorn" and parts["prior"] is not None and not parts["prior"].symmetric:
            raise InvalidInput("sinkhorn needs a symmetric prior, for its columns have a sum as well")
        if isinstance(self.rotary, np.ndarray | list):
            parts["rotary"] = checked_numbers("rotary", self.rotary, axes=1)
        elif self.rotary is not None and not (_checked_number("rotary", self.rotary) > 1.0):
            raise InvalidInput(f"rotary must be a base above 1, or a list of angles; got {self.rotary!r}")
        if isinstance(parts["score"], Metric) and not (_is_one(self.query) and _is_one(self.key)):
            raise InvalidInput("the score metric has the matrix of its own; query and key must be left out")
        if self.gate is not None and not isinstance(self.gate, Gate):
            raise InvalidInput(f"gate must be a gates.Gate; got {self.gate!r}")
        if self.multipliers is not None:
            if not isinstance(self.multipliers, Multipliers):
                raise InvalidInput(f"multipliers must be a multipliers.Multipliers; got {self.multipliers!r}")
            if parts["normalisation"].name == "sinkhorn":
                raise InvalidInput("multipliers do not go with sinkhorn, whose columns have a sum as well")
            parts["multipliers"] = self.multipliers if self.multipliers.variation > 0.0 else None
        for name, part in parts.items():
            object.__setattr__(self, name, part)

    @property
    def plain(self) -> bool:
        """Whether it is a law of the fastest kernels: dot products, softmax or unnormalised, no further parts."""
        others = all(part is None for part in (self.prior, self.rotary, self.gate, self.multipliers))
        return (
            others
            and self.mask.name in _PLAIN_MASKS
            and all(getattr(self, part).name in names for part, names in _PLAIN.items())
        )

    @property
    def score_beta(self) -> float:
        """The beta of scores: 1 where only their order counts."""
        return 1.0 if self.beta == np.inf else self.beta

    @property
    def sees_all_alike(self) -> bool:
        """Whether `factors` are all 1."""
        return self.mask.name == "none" and self.multipliers is None

    def factors(self, replica: int, head: int, first: int, last: int, low: int, high: int) -> Array:
        """m_ij xi_ij for the tokens first <= i < last and low <= j < high, (last - first, high - low)."""
        seen = self.mask.factors(first, last, low, high)
        if self.multipliers is None:
            return seen
        return seen * self.multipliers.factors(replica, head, first, last, low, high)

    def check_tokens(self, tokens: int) -> None:
        """Raise InvalidInput unless mask and prior are for as many tokens."""
        self.mask.span(0, tokens, tokens)
        if self.prior is not None:
            self.prior.check(tokens, self.heads)

    def projections(self, dimension: int) -> Projections:
        """The law's matrices for tokens of this dimension, split into heads; 1/sqrt(head dimension) is in the query.

        Raises InvalidInput when a shape does not fit the dimension or the number of heads.
        """
        query: Matrix | None = self.query
        key: Matrix | None = self.key
        if isinstance(self.score, Metric):
            query = key = self.score.factor
        score_scale = 1.0
        plain = self.heads == 1 and self.query_bias is None and self.key_bias is None
        product = not self.score.distant or (_is_one(query) and _is_one(key))
        if plain and product and isinstance(query, (int, float)) and isinstance(key, (int, float)):
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
        query_factor = 1.0
        if self.score.name == "scaled-dot":
            factor = 1.0 / float(np.sqrt(rows // self.heads))
            query_factor, score_scale = (1.0, score_scale * factor) if queries is None else (factor, 1.0)
        width = dimension if value is None else value.shape[0] * value.shape[1]
        if self.output is None and width != dimension:
            raise InvalidInput(f"value must have {dimension} rows when there is no output matrix; it has {width}")
        if self.output is not None and self.output.shape != (dimension, width):
            raise InvalidInput(f"output must have the shape ({dimension}, {width}); got {self.output.shape}")
        if self.gate is not None:
            self.gate.check(dimension, self.heads, width)
        if self.rotary is not None and rows // self.heads % 2:
            raise InvalidInput(f"rotary needs heads of even dimension; this one is {rows // self.heads}")
        if isinstance(self.rotary, np.ndarray) and 2 * self.rotary.size * self.heads != rows:
            raise InvalidInput(
                f"rotary must have an angle for every two of a head's {rows // self.heads} components; "
                f"got {self.rotary.size}"
            )
        return Projections(
            queries,
            keys,
            value,
            self.output,
            self._bias("query_bias", rows),
            self._bias("key_bias", rows),
            self._bias("value_bias", width),
            self._bias("output_bias", dimension, split=False),
            query_factor,
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

        Z_i = sum_j a_j m_ij exp(s_ij). P are the weights of the law, or those of softmax where the law's are no
        probabilities. A row that sees nobody has log Z = -inf and entropy 0. Arguments as in `drift`.
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


def _is_one(matrix: Any) -> bool:
    return isinstance(matrix, (int, float)) and matrix == 1.0


def _checked_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        raise InvalidInput(f"{name} must be a finite number; got {value!r}")
    return float(value)
