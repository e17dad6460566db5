"""The Jacobian of a law at an ensemble, by what it does to tangents: no matrix is formed, nothing is differenced.

    df_i = sum_j w_ij dv_j + dw_ij v_j
    df_i/dx_j = P_ij V (I + (x_j - g_i) (A x_i)^T) + delta_ij V C_i A

the second for softmax of <A x_i, x_j>, with g_i and C_i the mean and covariance of row i.

On a sphere the drift is P_x f, whose differential along a tangent v is P_x df - (<v, f> x + <x, f> v) / r^2, the second
term with its normal part, so that tangents stay tangent under the flow. All is computed in float64.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput
from ..attention import Attention
from ..backends import Engine
from ..block import Block, Law
from ..ensemble import Ensemble
from ..priors import rotated
from ..scores import directions
from ..space import Sphere

Array = NDArray[np.floating]
Of = Literal["drift", "attention"]


class Jacobian(Protocol):
    """Products with the Jacobian J of a law's drift, or of its attention, at an ensemble.

    value : the drift or attention itself, (replicas, tokens, dimension)
    """

    value: Array

    def times(self, tangents: ArrayLike) -> Array:
        """J v of tangents ([directions,] replicas, tokens, dimension), of the same shape."""

    def transpose_times(self, gradients: ArrayLike) -> Array:
        """J^T g of gradients ([directions,] replicas, tokens, dimension), of the same shape."""


def jacobian(law: Law, ensemble: Ensemble, *, of: Of = "drift", depth: float = 0.0, **engine: Any) -> Jacobian:
    """The Jacobian of a law at an ensemble.

    of     : "drift", P_x f on a sphere and f in R^d, or "attention", f itself with no projection
    depth  : for a block whose law changes with it
    engine : backend "numba" (dot products under softmax or none, gaussian scores under softmax, with the masks none,
             causal and without-self), "reference" (any score, prior, mask and normalisation but sinkhorn) or "torch"
             (every law, blocks as well); threads and device

    On a sphere directions are tangents, and what is not tangent counts as nothing: J P_x. Raises InvalidInput for a law
    that the backend does not have, with those that have it.
    """
    if of not in ("drift", "attention"):
        raise InvalidInput(f'of must be "drift" or "attention"; got {of!r}')
    chosen = Engine(**engine)
    if isinstance(law, Block) and law.feed_forward is None and law.norm in ("none", "post"):
        law.check(ensemble.space)
        law = law.attention
    if chosen.sums != "exact" or chosen.processes > 1:
        raise InvalidInput("products with the Jacobian are sums over all pairs in one process: sums must be exact")
    if chosen.backend == "torch":
        from .tensor import TensorJacobian  # imports torch, which is an extra

        return TensorJacobian(law, ensemble, of, depth, chosen)
    if isinstance(law, Block):
        raise InvalidInput('the Jacobian of a block needs backend = "torch"')
    if law.gate is not None or law.normalisation.name == "sinkhorn":
        raise InvalidInput('the Jacobian of a law with a gate, or with sinkhorn, needs backend = "torch"')
    return _RowsJacobian(law, ensemble, of, chosen)


class _RowsJacobian:
    """See `Jacobian`: the maps of a law and of its space around the rows of a backend."""

    def __init__(self, law: Attention, ensemble: Ensemble, of: Of, engine: Engine) -> None:
        law.check_tokens(ensemble.tokens)
        space: Any = ensemble.space
        self._law, self._space = law, space
        self._tangent = of == "drift" and isinstance(ensemble.space, Sphere)
        self._projections = p = law.projections(ensemble.dimension)
        x = np.asarray(ensemble.positions, np.float64)
        self._x = self._space.retract(x) if self._tangent else x
        # how much the retraction stretches tangents: 1 but for rounding
        self._stretch = self._space.radius / np.linalg.norm(x, axis=-1, keepdims=True) if self._tangent else 1.0
        query, key, value = (
            self._map(self._x, *each)
            for each in (
                (p.query, p.query_bias, p.score_scale), (p.key, p.key_bias, 1.0), (p.value, p.value_bias, p.value_scale)
            )
        )  # fmt: skip
        if law.rotary is not None:
            query, key = rotated(query, law.rotary), rotated(key, law.rotary)
        self._query, self._key = query, key
        weights = np.broadcast_to(np.asarray(ensemble.weights, np.float64), x.shape[:2])
        if law.score.name == "cosine":
            query, key = directions(query), directions(key)
        self._rows: Any
        if engine.backend == "reference":
            from .reference import ReferenceRows

            self._rows = ReferenceRows(law, query, key, value, weights)
        else:
            from .compiled import CompiledRows, LiftedRows, applies  # imports numba, which takes a while

            if not applies(law):
                raise InvalidInput(
                    "the numba backend has the Jacobian for dot products under softmax or none and for gaussian scores "
                    "under softmax, with the masks none, causal or without-self and without prior, rotary or "
                    'multipliers; this law has one with backend = "reference" or "torch"'
                )
            rows = LiftedRows if law.score.distant else CompiledRows
            self._rows = rows(law, query, key, value, weights, engine.threads)
        self._f = self._joined(self._rows.attended)
        if p.output_bias is not None:
            self._f = self._f + p.output_bias
        self.value = self._space.project(self._x, self._f) if self._tangent else self._f

    def times(self, tangents: ArrayLike) -> Array:
        """See `Jacobian`."""
        v = as_directions(tangents, self._x.shape)
        if self._tangent:
            v = self._stretch * self._space.project(self._x, v)
        p = self._projections
        query, key = self._map(v, p.query, None, p.score_scale), self._map(v, p.key, None, 1.0)
        if self._law.rotary is not None:
            query, key = rotated(query, self._law.rotary), rotated(key, self._law.rotary)
        if self._law.score.name == "cosine":
            query, key = _turned(self._query, query), _turned(self._key, key)
        out = self._joined(self._rows.forward(query, key, self._map(v, p.value, None, p.value_scale)))
        if self._tangent:
            out = self._space.project(self._x, out) - self._bend(v)
        return out.reshape(np.shape(tangents))

    def transpose_times(self, gradients: ArrayLike) -> Array:
        """See `Jacobian`."""
        g = as_directions(gradients, self._x.shape)
        p, heads = self._projections, self._law.heads
        inner = self._space.project(self._x, g) if self._tangent else g
        of_heads = inner if p.output is None else inner @ p.output
        of_heads = np.moveaxis(of_heads.reshape(*g.shape[:-1], heads, -1), -2, -3)
        query, key, value = self._rows.backward(of_heads)
        if self._law.score.name == "cosine":
            query, key = _turned(self._query, query), _turned(self._key, key)
        if self._law.rotary is not None:
            query, key = _turned_back(query, self._law.rotary), _turned_back(key, self._law.rotary)
        out = _back(query, p.query, p.score_scale) + _back(key, p.key, 1.0) + _back(value, p.value, p.value_scale)
        if self._tangent:
            # v -> <v, f> x + <x, f> v is transposed to g -> <x, g> f + <x, f> g
            out = self._stretch * self._space.project(self._x, out - self._bend(g, transposed=True))
        return out.reshape(np.shape(gradients))

    def _bend(self, v: Array, transposed: bool = False) -> Array:
        """(<v, f> x + <x, f> v) / r^2, or its transpose."""
        x, f = self._x, self._f
        along, of = (x, f) if transposed else (f, x)
        inner = (v * along).sum(axis=-1, keepdims=True) * of + (x * f).sum(axis=-1, keepdims=True) * v
        return inner / (x * x).sum(axis=-1, keepdims=True)

    def _map(self, x: Array, matrix: Array | None, bias: Array | None, scale: float) -> Array:
        """(..., heads, tokens, components) from (..., tokens, dimension)."""
        y = x[..., None, :, :]
        if matrix is not None:  # one product for all heads
            y = (x @ matrix.reshape(-1, matrix.shape[-1]).T).reshape(*x.shape[:-1], *matrix.shape[:2])
            y = np.moveaxis(y, -2, -3)
        if bias is not None:
            y = y + bias[:, None, :]
        return scale * y

    def _joined(self, heads: Array) -> Array:
        """(..., tokens, dimension) from (..., heads, tokens, value_dimension)."""
        side = np.moveaxis(heads, -3, -2)
        joined = side.reshape(*side.shape[:-2], -1)
        return joined if self._projections.output is None else joined @ self._projections.output.T


def as_directions(tangents: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Tangents (directions, replicas, tokens, dimension); the first axis may be left out, and that of one replica.

    Raises InvalidInput for another shape.
    """
    v = np.asarray(tangents, np.float64)
    if v.shape == shape or (shape[0] == 1 and v.shape == shape[1:]):
        return v.reshape(1, *shape)
    if v.ndim != 4 or v.shape[1:] != shape:
        raise InvalidInput(f"tangents must have the shape {shape}, or this with directions in front; got {v.shape}")
    return v


def _back(of_features: Array, matrix: Array | None, scale: float) -> Array:
    """The transpose of the linear part of a map: (..., tokens, dimension) from (..., heads, tokens, components)."""
    if matrix is None:
        return scale * of_features.sum(axis=-3)
    side = np.moveaxis(of_features, -3, -2)  # one product for all heads
    return scale * (side.reshape(*side.shape[:-2], -1) @ matrix.reshape(-1, matrix.shape[-1]))


def _turned(x: Array, v: Array) -> Array:
    """The differential of x / |x| along v, its own transpose; 0 where x is."""
    u, length = directions(x), np.linalg.norm(x, axis=-1, keepdims=True)
    turned = v - (u * v).sum(axis=-1, keepdims=True) * u
    return np.divide(turned, length, out=np.zeros_like(turned), where=np.broadcast_to(length > 0, turned.shape))


def _turned_back(x: Array, rotary: float | Array) -> Array:
    """The transpose of `rotated`."""
    signs = np.where(np.arange(x.shape[-1]) % 2, -1.0, 1.0)
    return signs * rotated(signs * x, rotary)
