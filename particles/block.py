"""The block: what one layer of a transformer does, attention and, optionally, a feed-forward map and normalisation.

With the parts B of the block, the attention A and the feed-forward map F, a normalisation n of single tokens, and the
depth t, a layer of step h does for each part in turn, and in continuous depth all parts act together,

    layer  x <- x + h c(t) n_out(B(n_in(x)))          flow  x' = sum over B of c(t) n_out(B(n_in(x)))

    norm      n_in   n_out  c(t)           lives     speed factor s of the directions: th' = P A / s (A alone)
    none      -      -      1              anywhere
    post      -      -      1              sphere    1
    pre       n      -      1              R^d       r
    peri      n      n      1              R^d       r |A|
    ngpt      -      n      alpha          sphere    |A| / alpha
    sqrt      -      -      1/sqrt(t + 1)  sphere    sqrt(t + 1)
    mix       post up to depth tau, pre from there on; in R^d, from tokens on the unit sphere
    add-norm  x <- x + h (n(x + B(x)) - x) and x' = sum over B of n(x + B(x)) - x, in R^d

with r = |x|, th = x / r. On a sphere x is retracted after each part of a layer, and the flow is projected: that is
post-normalisation. With add-norm a layer of step 1 is the first transformer's "Add & Norm", x <- n(x + B(x)), and as h
goes to 0 it has a flow whatever gain and bias n has; the two agree in their fixed points where the block has one part.
Source: arXiv:2510.22026 for speed factors, arXiv:2410.01131 for nGPT, arXiv:2502.02732 for peri, arXiv:1706.03762.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .attention import Attention
from .backends.engine import EngineOptions
from .ensemble import Ensemble
from .feed_forward import FeedForward
from .normalisers import Normaliser, SphereNorm
from .space import Space, Sphere

Array = NDArray[np.floating]


class Scheme(NamedTuple):
    """Where a norm normalises: what a part sees (inner), what it gives (outer); and the space it is for, if any.

    added : whether what is normalised at the end is the token with what the part gives
    """

    inner: bool
    outer: bool
    place: str | None
    added: bool = False


NORMS: dict[str, Scheme] = {
    "none": Scheme(False, False, None),
    "post": Scheme(False, False, "sphere"),
    "pre": Scheme(True, False, "euclidean"),
    "peri": Scheme(True, True, "euclidean"),
    "mix": Scheme(True, False, "euclidean"),  # as seen from its second piece
    "ngpt": Scheme(False, True, "sphere"),
    "sqrt": Scheme(False, False, "sphere"),
    "add-norm": Scheme(False, True, "euclidean", added=True),
}
OWN_NORMALISER = ("pre", "peri", "add-norm")  # the norms that take any normaliser


@dataclass(frozen=True, eq=False)
class Block:
    """Attention with, optionally, a feed-forward map and normalisation; see the module for the formulas.

    norm       : "none", "post", "pre", "peri", "mix", "ngpt", "sqrt" or "add-norm"
    normaliser : n of pre, peri and add-norm, by default the projection to the unit sphere
    alpha      : ngpt's factor
    tau        : mix's depth of the switch
    feed_forward_normaliser : n of the feed-forward map, where it has one of its own

    Raises InvalidInput for values out of range, or that another norm would need.
    """

    attention: Attention
    feed_forward: FeedForward | None = None
    norm: str = "none"
    normaliser: Normaliser | None = None
    alpha: float | None = None
    tau: float | None = None
    feed_forward_normaliser: Normaliser | None = None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise InvalidInput(f"norm must be one of {', '.join(NORMS)}; got {self.norm!r}")
        for name in ("normaliser", "feed_forward_normaliser"):
            if getattr(self, name) is not None and self.norm not in OWN_NORMALISER:
                owners = ", ".join(OWN_NORMALISER)
                raise InvalidInput(f'{name} must be left out unless norm is one of {owners}; got norm = "{self.norm}"')
        if self.feed_forward is None and self.feed_forward_normaliser is not None:
            raise InvalidInput("feed_forward_normaliser belongs to a feed-forward map; give feed_forward as well")
        for name, norm in (("alpha", "ngpt"), ("tau", "mix")):
            value = getattr(self, name)
            if value is not None and self.norm != norm:
                raise InvalidInput(f'{name} must be left out unless norm is "{norm}"; got norm = "{self.norm}"')
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InvalidInput(f"{name} must be a positive number; got {value!r}")
        if self.norm == "mix" and self.tau is None:
            raise InvalidInput('tau must be given with norm = "mix": the depth of the switch from post to pre')

    @property
    def scheme(self) -> Scheme:
        """Where it normalises."""
        return NORMS[self.norm]

    def factor(self, t: float) -> float:
        """c(t), by which the speed of all tokens is multiplied at depth t."""
        if self.norm == "sqrt":
            return float((t + 1.0) ** -0.5)
        return 1.0 if self.alpha is None else float(self.alpha)

    def normaliser_in(self, space: Space) -> Normaliser:
        """n for tokens of this space."""
        return self.normaliser or SphereNorm(space.radius if isinstance(space, Sphere) else 1.0)

    @property
    def is_attention(self) -> bool:
        """Whether it adds nothing to its attention."""
        return self.feed_forward is None and self.norm in ("none", "post")

    def check(self, space: Space) -> None:
        """Raise InvalidInput unless the norm is for this space and all shapes fit its dimension."""
        place = self.scheme.place
        if place not in (None, space.name):
            where = "tokens on a sphere" if place == "sphere" else "tokens in R^d, whose length it lets grow"
            raise InvalidInput(f'norm must be another here: "{self.norm}" is for {where}; got space "{space.name}"')
        self.attention.projections(space.dimension)
        self.normaliser_in(space).check(space.dimension)
        if self.feed_forward_normaliser is not None:
            self.feed_forward_normaliser.check(space.dimension)
        if self.feed_forward is not None:
            self.feed_forward.check(space.dimension)

    def check_residual(self, residual: bool) -> None:
        """Raise InvalidInput where a network without residual connection has a norm that contains it."""
        if self.scheme.added and not residual:
            raise InvalidInput(f'residual must be true: norm "{self.norm}" normalises a token with what is added to it')

    def at(self, t: float, space: Space) -> tuple[Block, Space]:
        """The block that acts from depth t on, and the space it acts in: they change where mix switches."""
        if self.norm != "mix":
            return self, space
        self.check(space)
        assert self.tau is not None
        after = t >= self.tau * (1.0 - 1e-12)
        piece = replace(self, norm="pre" if after else "post", tau=None)
        return piece, space if after else Sphere(space.dimension)

    def seen(self, ensemble: Ensemble) -> Ensemble:
        """The tokens as the attention sees them: normalised, where the norm does that before it."""
        if not self.scheme.inner:
            return ensemble
        normaliser, space = self.normaliser_in(ensemble.space), ensemble.space
        if isinstance(normaliser, SphereNorm):
            space = Sphere(space.dimension, normaliser.radius)
        return ensemble.at(normaliser(ensemble.positions), space)

    def drift(
        self,
        positions: ArrayLike,
        *,
        space: Space,
        weights: ArrayLike | None = None,
        depth: float = 0.0,
        **engine: Unpack[EngineOptions],
    ) -> Any:
        """Velocities of the tokens at this depth, as `Attention.drift`: tensors of torch can be differentiated."""
        from .block_field import drift  # it imports this module for the type

        return drift(self, positions, space, weights, depth, engine)


Law = Attention | Block


def attention_of(law: Law) -> Attention:
    """The attention in a law."""
    return law.attention if isinstance(law, Block) else law


def feed_forward_of(law: Law) -> FeedForward | None:
    """The feed-forward map in a law, if there is one."""
    return law.feed_forward if isinstance(law, Block) else None


def in_force(law: Law, t: float, space: Space) -> tuple[Law, Space]:
    """The law that acts from depth t on, and the space it acts in."""
    return law.at(t, space) if isinstance(law, Block) else (law, space)


def in_layer(law: Law, layer: int) -> Law:
    """The law of a layer of a network by its number: with random multipliers those that are drawn for it."""
    attention = attention_of(law)
    if attention.multipliers is None:
        return law
    attention = replace(attention, multipliers=attention.multipliers.after(layer))
    return replace(law, attention=attention) if isinstance(law, Block) else attention


def switches(law: Law) -> tuple[float, ...]:
    """The depths at which another law comes into force."""
    return (law.tau,) if isinstance(law, Block) and law.tau is not None else ()


def check_start(law: Law, ensemble: Ensemble) -> None:
    """Raise InvalidInput unless the law can begin with these tokens: mix begins on the unit sphere."""
    in_force(law, 0.0, ensemble.space)
    lengths = np.linalg.norm(ensemble.positions, axis=-1).ravel() if switches(law) else np.ones(1)
    off = np.abs(lengths - 1.0)
    if off.max() > 1e-5:
        raise InvalidInput(
            f'norm "mix" begins on the unit sphere: tokens must have length 1; got one of {lengths[off.argmax()]:.6g}'
        )


def seen_by(law: Law, ensemble: Ensemble) -> Ensemble:
    """The tokens as the attention in a law sees them."""
    return law.seen(ensemble) if isinstance(law, Block) else ensemble
