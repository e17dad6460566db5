"""The section [block] of a scenario file: its keys, and what of them contradicts the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ..integrators import SPLITTING_METHODS, method_of
from ..particles.block import NORMS, OWN_NORMALISER
from ..particles.feed_forward import ACTIVATIONS
from ..particles.normalisers import NORMALISERS
from .parts import Array
from .values import Matrix, OneOf, RandomMatrix, Section, Vector

if TYPE_CHECKING:
    from .schema import Scenario


class FeedForwardTable(Section):
    """The feed-forward map outer act(inner x + inner_bias) + outer_bias of every token, or with a gate."""

    activation: Annotated[str, OneOf(ACTIVATIONS)] = Field(default="gelu", description="act; gelu is the exact form.")
    hidden: int | None = Field(
        default=None,
        ge=1,
        le=10**7,
        description="Rows of inner and columns of outer; by default those of a matrix that is given, or 4 dimensions.",
    )
    inner: Matrix = Field(default=RandomMatrix(law="gaussian"), description="First matrix, (hidden, dimension).")
    outer: Matrix = Field(default=RandomMatrix(law="gaussian"), description="Second matrix, (dimension, hidden).")
    inner_bias: Vector | None = Field(default=None, description="Added before the activation, (hidden,).")
    outer_bias: Vector | None = Field(default=None, description="Added at the end, (dimension,).")
    gate: Array | None = Field(
        default=None,
        description="Matrix (hidden, dimension): outer (act(gate x + gate_bias) * (inner x + inner_bias)).",
    )
    gate_bias: Vector | None = Field(default=None, description="Added within the gate, (hidden,).")
    norm_gain: Vector | None = Field(
        default=None, description="Where this part has a normaliser of its own: its gain, instead of block.gain."
    )
    norm_bias: Vector | None = Field(default=None, description="The bias of that normaliser, instead of block.bias.")


class BlockSection(Section):
    """What a layer does besides its attention: a feed-forward map, layer normalisation, or both."""

    norm: Annotated[str, OneOf(NORMS)] = Field(
        default="none",
        description="Where tokens are normalised: post, ngpt, sqrt (sphere); pre, peri, mix, add-norm (R^d); or by the "
        "space: none.",
    )
    normaliser: Annotated[str, OneOf(NORMALISERS)] = Field(
        default="sphere",
        description="How pre, peri and add-norm normalise: x / |x|, layer normalisation, or root mean square.",
    )
    gain: Vector | None = Field(default=None, description="Of layer and rms: a factor for each component.")
    bias: Vector | None = Field(default=None, description="Of layer: added to each component.")
    epsilon: float = Field(default=1e-5, gt=0, description="Of layer and rms: added to the mean square.")
    alpha: float | None = Field(default=None, gt=0, description="Of ngpt: the factor of the speed; by default 1.")
    tau: float | None = Field(default=None, gt=0, description="Of mix: the depth at which post gives way to pre.")
    feed_forward: FeedForwardTable | None = Field(default=None, description="The feed-forward map; by default none.")

    def drawn(self) -> list[str]:
        """The keys of the matrices that are drawn."""
        feed = self.feed_forward
        return [name for name in ("inner", "outer") if feed and isinstance(getattr(feed, name), RandomMatrix)]


class Readout(Section):
    """What a model does to its tokens after the last layer: no part of the dynamics."""

    normaliser: Annotated[str, OneOf([name for name in NORMALISERS if name != "sphere"])] = Field(
        description="Layer normalisation, or root mean square."
    )
    gain: Vector | None = Field(default=None, description="A factor for each component.")
    bias: Vector | None = Field(default=None, description="Of layer: added to each component.")
    epsilon: float = Field(default=1e-5, gt=0, description="Added to the mean square.")


def wrong_block(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Pairs of a key and a sentence that says with what it does not go together."""
    block, depth = scenario.block, scenario.depth
    place = NORMS[block.norm].place
    if place not in (None, scenario.space.kind):
        yield "block.norm", f'"{block.norm}" needs space.kind = "{place}"; got "{scenario.space.kind}"'
    if "normaliser" in block.model_fields_set and block.norm not in OWN_NORMALISER:
        yield "block.normaliser", f'belongs to one of the norms {", ".join(OWN_NORMALISER)}; got norm = "{block.norm}"'
    for key, owners in (("gain", ("layer", "rms")), ("bias", ("layer",)), ("epsilon", ("layer", "rms"))):
        if key in block.model_fields_set and block.normaliser not in owners:
            yield f"block.{key}", f'belongs to normaliser = "{owners[0]}"; got normaliser = "{block.normaliser}"'
    feed = block.feed_forward
    for key, owners in (("norm_gain", ("layer", "rms")), ("norm_bias", ("layer",))):
        if feed is not None and key in feed.model_fields_set and block.normaliser not in owners:
            yield f"block.feed_forward.{key}", f'belongs to normaliser = "{owners[0]}"; got "{block.normaliser}"'
    if feed is not None and feed.gate is None and feed.gate_bias is not None:
        yield "block.feed_forward.gate_bias", "belongs to a gate; give gate as well"
    if scenario.readout is not None and scenario.readout.bias is not None and scenario.readout.normaliser != "layer":
        yield "readout.bias", f'belongs to normaliser = "layer"; got normaliser = "{scenario.readout.normaliser}"'
    if NORMS[block.norm].added and not depth.residual:
        yield "depth.residual", f'must be true: norm "{block.norm}" normalises a token with what is added to it'
    for key, norm in (("alpha", "ngpt"), ("tau", "mix")):
        if getattr(block, key) is not None and block.norm != norm:
            yield f"block.{key}", f'belongs to norm = "{norm}"; got norm = "{block.norm}"'
    if block.norm == "mix" and block.tau is None:
        yield "block.tau", 'missing; norm = "mix" needs the depth at which post gives way to pre'
    if depth.layers is not None:
        return
    if depth.method in SPLITTING_METHODS and block.feed_forward is None:
        yield "depth.method", f'"{depth.method}" splits attention from a feed-forward map; give block.feed_forward'
    if block.tau is not None and depth.step is not None and not method_of(depth.method).adaptive:
        steps = block.tau / depth.step
        if abs(steps - round(steps)) > 1e-9 * max(steps, 1.0):
            yield "block.tau", f"must be a multiple of the step {depth.step:g}; got {block.tau:g}"
