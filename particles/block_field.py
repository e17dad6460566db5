"""A block as a field: the attention field of any backend, with what the block does around it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .attention import as_positions
from .backends import Engine, EngineOptions, Field
from .backends import prepare as prepare_attention
from .backends.compiled.feed_forward import CompiledFeedForward
from .backends.compiled.normalisers import CompiledNormaliser
from .block import Block, Law
from .ensemble import checked_weights
from .normalisers import LayerNorm, Normaliser, RMSNorm, SphereNorm, TokenMap
from .space import Space, Sphere, library_of

Array = NDArray[np.floating]
Attend = Callable[[Any], Any]


class Part(NamedTuple):
    """A part of a block as a map of tokens, and its normaliser."""

    map: Attend
    normalise: TokenMap


BELONG_TO_THE_ATTENTION = ("load", "host", "add_up", "record", "at_floor", "device", "memory", "recall")


def prepare(
    law: Law,
    space: Space,
    weights: NDArray[np.float64],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    engine: Engine,
) -> Field:
    """A law as a field, see `backends.prepare`: a block that adds nothing to its attention is its attention.

    Raises InvalidInput where the law does not fit the space.
    """
    if not isinstance(law, Block):
        return prepare_attention(law, space, weights, shape, dtype, engine)
    if law.is_attention:
        law.check(space)
        return prepare_attention(law.attention, space, weights, shape, dtype, engine)
    return BlockField(law, space, weights, shape, dtype, engine)


def drift(
    block: Block, positions: ArrayLike, space: Space, weights: ArrayLike | None, depth: float, options: EngineOptions
) -> Any:
    """See `Block.drift`."""
    block.check(space)
    piece, place = block.at(depth, space)
    x: Any = positions
    tensor = options.get("backend") == "torch" and hasattr(x, "requires_grad")
    if tensor:
        x = x if str(x.dtype) in ("torch.float64", "torch.float32") else x.double()
        options = {"device": str(x.device), **options}
        x = x[None] if x.ndim == 2 else x
    else:
        x = as_positions(x, space)
    dtype = np.dtype(str(x.dtype).removeprefix("torch."))
    field = BlockField(piece, place, checked_weights(weights, x.shape[:2]), tuple(x.shape), dtype, Engine(**options))
    if tensor:
        return field.drift(x.to(field.device), depth).to(x.device).reshape(np.shape(positions))
    out = np.empty_like(x)
    field.velocity(depth, x, out)
    return out.reshape(np.shape(positions))


class BlockField:
    """See `Field`. Positions and what is written to are what the attention's field takes: arrays, or tensors."""

    def __init__(
        self,
        block: Block,
        space: Space,
        weights: NDArray[np.float64],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        engine: Engine,
    ) -> None:
        block.check(space)
        self.block, self._space = block, space
        self._normaliser = block.normaliser_in(space)
        seen = space
        if block.scheme.inner and isinstance(self._normaliser, SphereNorm):
            seen = Sphere(space.dimension, self._normaliser.radius)
        self._attention = prepare_attention(block.attention, seen, weights, shape, dtype, engine)
        self._engine = engine
        self._precisely: Callable[[], AbstractContextManager[Any]] = nullcontext
        if engine.backend == "torch":
            from .backends.tensor.precision import full_precision  # imports torch, which is an extra

            self._precisely = full_precision
        self._maps: tuple[Any, TokenMap, Part | None] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in BELONG_TO_THE_ATTENTION:
            return getattr(self._attention, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def velocity(self, t: float, positions: Any, out: Any) -> None:
        """See `Field.velocity`: the sum of what the parts of the block do."""
        self.attention_velocity(t, positions, out)
        if self.block.feed_forward is not None:
            out += self._feed_forward_velocity(t, positions)

    def attention_velocity(self, t: float, positions: Any, out: Any) -> None:
        """As `velocity`, of the attention alone."""
        if self.block.scheme.inner or self.block.scheme.outer:
            x = self._space.retract(positions)
            out[...] = self._space.project(x, self._effect(self._parts(x, self._attend(t))[0], t, x))
            return
        self._attention.velocity(t, positions, out)  # which has a faster way than projecting its `attention`
        if (factor := self.block.factor(t)) != 1.0:
            out *= factor

    def feed_forward_velocity(self, t: float, positions: Any, out: Any) -> None:
        """As `velocity`, of the feed-forward map alone."""
        out[...] = self._feed_forward_velocity(t, positions)

    def attention(self, t: float, positions: Any, out: Any) -> None:
        """See `Field.attention`: the sum of what the parts do, with no retraction and no projection."""
        out[...] = sum(self._effect(part, t, positions) for part in self._parts(positions, self._attend(t)))

    def layer(self, t: float, h: float, residual: bool, x: Any, out: Any, injection: Any = None) -> None:
        """One layer of step h at depth t, part by part: x + h effect(x), or h effect(x), retracted to the space.

        injection : like x, added to the effect of the last part
        """
        parts = self._parts(x, self._attend(t))
        whole = self.block.scheme.added and h == 1.0 and injection is None
        for part in parts:
            if whole:
                x = self._added(part, x)
                continue
            step = float(h) * self._effect(part, t, x)
            if injection is not None and part is parts[-1]:
                step = step + injection
            x = self._space.retract(x + step if residual else step)
        out[...] = x

    def drift(self, positions: Any, t: float = 0.0) -> Any:
        """The velocity (replicas, tokens, dimension) of a tensor of positions, a differentiable function of them."""
        x = self._space.retract(positions)
        parts = self._parts(x, self._attention.attended)  # type: ignore[attr-defined]
        return self._space.project(x, sum(self._effect(part, t, x) for part in parts))

    def attended(self, positions: Any, t: float = 0.0) -> Any:
        """`attention` (replicas, tokens, dimension) of a tensor of positions, a differentiable function of them."""
        parts = self._parts(positions, self._attention.attended)  # type: ignore[attr-defined]
        return sum(self._effect(part, t, positions) for part in parts)

    def statistics(self, positions: Any) -> tuple[Any, Any]:
        """See `Field.statistics`: of the rows as they are, of normalised tokens where the attention sees those."""
        normalise, _ = self._maps_for(positions)
        return self._attention.statistics(normalise(positions) if self.block.scheme.inner else positions)

    def _feed_forward_velocity(self, t: float, positions: Any) -> Any:
        x = self._space.retract(positions)
        feed = self._maps_for(x)[1]
        assert feed is not None
        return self._space.project(x, self._effect(feed, t, x))

    def _effect(self, part: Part, t: float, x: Any) -> Any:
        """c(t) n_out(B(n_in(x))) of one part or, under add-norm, n(x + B(x)) - x."""
        scheme = self.block.scheme
        if scheme.added:
            return self._added(part, x) - x
        with self._precisely():
            effect = part.map(part.normalise(x) if scheme.inner else x)
        effect = part.normalise(effect) if scheme.outer else effect
        factor = self.block.factor(t)
        return effect if factor == 1.0 else factor * effect

    def _added(self, part: Part, x: Any) -> Any:
        """n(x + B(x)) of one part."""
        with self._precisely():
            effect = part.map(x)
            if isinstance(part.normalise, CompiledNormaliser):
                return part.normalise.of_sum(x, effect)
            return part.normalise(x + effect)

    def _parts(self, x: Any, attend: Attend) -> list[Part]:
        normalise, feed = self._maps_for(x)
        return [Part(attend, normalise)] if feed is None else [Part(attend, normalise), feed]

    def _attend(self, t: float) -> Attend:
        def attend(x: Any) -> Any:
            out = library_of(x).empty_like(x)
            self._attention.attention(t, x, out)
            return out

        return attend

    def _maps_for(self, x: Any) -> tuple[TokenMap, Part | None]:
        """n of the attention, and F with its own, with their numbers where x is."""
        kind = (type(x), x.dtype, getattr(x, "device", None))
        if self._maps is None or self._maps[0] != kind:
            normalise, part, own = self._prepared(self._normaliser, x), None, self.block.feed_forward_normaliser
            if (feed := self.block.feed_forward) is not None:
                compiled = self._engine.backend == "numba" and isinstance(x, np.ndarray)
                mapped = CompiledFeedForward(feed, x.dtype, self._engine.threads) if compiled else feed.prepared(x)
                part = Part(mapped, normalise if own is None else self._prepared(own, x))
            self._maps = (kind, normalise, part)
        return self._maps[1:]

    def _prepared(self, normaliser: Normaliser, x: Any) -> TokenMap:
        """The map of a normaliser for tokens like x."""
        if (
            self._engine.backend == "numba"
            and isinstance(x, np.ndarray)
            and isinstance(normaliser, LayerNorm | RMSNorm)
        ):
            return CompiledNormaliser(normaliser, x.shape[-1], x.dtype, self._engine.threads)
        return normaliser.prepared(x)
