"""One layer of a weight-sharing network as a map of tokens, x -> retract(x + h f(x) + u), to be iterated without end.

    attention      x <- retract(residual x + h f(x) + u)
    a block        its parts one after another as in `Layers`, and u is added to what the last of them does

u is the injected input of a deep equilibrium network (arXiv:1909.01377), one vector a token, the same at all layers. On
a sphere retract is post-layer-normalisation, in R^d it is nothing.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..particles.backends import Engine, EngineOptions
from ..particles.block import Block, Law, attention_of
from ..particles.block_field import prepare
from ..particles.ensemble import Ensemble
from .arithmetic import arithmetic_of
from .maps import Layers

Array = NDArray[np.float64]
DENSE = 300  # components up to which all of them are differentiated
DEPTH_DEPENDENT = ("sqrt", "mix")  # the norms whose layers are not all the same map


class LayerMap:
    """The map of one layer, for ensembles with these tokens and weights.

    evaluations : how often it was asked        shape : (1, tokens, dimension)
    injection   : u (1, tokens, dimension), or None

    Raises InvalidInput for a law whose layers differ, more than one replica, or an injection of another shape.
    """

    def __init__(
        self,
        law: Law,
        ensemble: Ensemble,
        *,
        step: float = 1.0,
        residual: bool = False,
        injection: ArrayLike | None = None,
        engine: Engine = Engine(),  # noqa: B008  (it is frozen)
    ) -> None:
        _check(law, ensemble, step, engine)
        if isinstance(law, Block):
            law.check_residual(residual)
        self.law, self.space, self.step, self.residual = law, ensemble.space, float(step), residual
        self.shape, self.evaluations = ensemble.positions.shape, 0
        self.injection = None if injection is None else as_injection(injection, self.shape)
        weights: Any = ensemble.weights
        field = prepare(law, self.space, weights, self.shape, np.float64, engine)
        self._arithmetic = arithmetic_of(field, engine)
        load = self._arithmetic.load
        x = load(np.zeros(self.shape))
        added = None if self.injection is None else load(self.injection)
        self._layers = Layers(lambda _: field, self._arithmetic, self.space, x, residual, injection=added)

    def __call__(self, positions: Array) -> Array:
        """The tokens after the layer, of the shape of `positions`, which are first brought to the space.

        positions : (1, tokens, dimension), or all components in one row; NaN where a token has no image
        """
        self.evaluations += 1
        with np.errstate(all="ignore"):
            x = self._arithmetic.load(np.asarray(self.space.retract(positions.reshape(self.shape)), np.float64))
            self._layers.attempt(0.0, self.step, x)
        return np.array(self._arithmetic.host(self._layers.moved), np.float64).reshape(positions.shape)


def spectral_radius(
    law: Law,
    ensemble: Ensemble,
    *,
    step: float = 1.0,
    residual: bool = False,
    injection: ArrayLike | None = None,
    **engine: Unpack[EngineOptions],
) -> float:
    """The spectral radius of the derivative of the layer at a point: below 1 the network reaches it from near starts.

    Above 1 it leaves it, and 1 is that of a point among others, as a consensus with V = I. By central differences,
    of all components where these are at most 300, else by Arnoldi's method (scipy). Good to about 1e-9.

    Raises InvalidInput as `fixed_point`.
    """
    options: Any = {"step": step, "residual": residual, "injection": injection, "engine": Engine(**engine)}
    layer = LayerMap(law, ensemble, **options)
    x = np.array(ensemble.positions, np.float64).ravel()
    length = np.cbrt(np.finfo(np.float64).eps) * max(float(np.abs(x).max()), 1e-3)

    def along(v: Array) -> Array:
        v = np.ravel(v)
        h = length / max(float(np.abs(v).max()), 1e-300)
        return (layer(x + h * v) - layer(x - h * v)) / (2.0 * h)

    if x.size <= DENSE:
        matrix = np.column_stack([along(v) for v in np.eye(x.size)])
        return float(np.abs(np.linalg.eigvals(matrix)).max())
    from scipy.sparse.linalg import LinearOperator, eigs

    start = np.random.default_rng(0).standard_normal(x.size)
    operator = LinearOperator((x.size, x.size), matvec=along, dtype=np.float64)
    return float(np.abs(eigs(operator, k=1, v0=start, tol=1e-8, return_eigenvectors=False)).max())


def _check(law: Law, ensemble: Ensemble, step: float, engine: Engine) -> None:
    if not isinstance(law, Law):
        raise InvalidInput(
            f"law must be one law, an Attention or a Block, that all layers share; got {type(law).__name__}"
        )
    if isinstance(law, Block) and law.norm in DEPTH_DEPENDENT:
        raise InvalidInput(f'norm must not depend on depth: the layers of "{law.norm}" are not all the same map')
    if attention_of(law).multipliers is not None:
        raise InvalidInput("multipliers are drawn anew at every layer: there is no one map to be iterated")
    if ensemble.replicas != 1:
        raise InvalidInput(
            f"ensemble must have one replica; got {ensemble.replicas}: see several_starts for many starts"
        )
    if isinstance(step, bool) or not isinstance(step, (int, float, np.number)) or not 0 < step < np.inf:
        raise InvalidInput(f"step must be a positive number; got {step!r}")
    if engine.processes > 1:
        raise InvalidInput(f"fixed points are sought in one process; got processes = {engine.processes}")


def as_injection(injection: ArrayLike, shape: tuple[int, ...]) -> Array:
    """u as an array of this shape, (1, tokens, dimension). Raises InvalidInput for another shape or NaN."""
    u = np.asarray(injection, np.float64)
    if u.shape not in (shape, shape[1:]):
        raise InvalidInput(f"injection must have the shape (tokens, dimension) = {shape[1:]}; got {u.shape}")
    if not np.isfinite(u).all():
        raise InvalidInput("injection must be finite; it holds NaN or infinite values")
    return u.reshape(shape).copy()
