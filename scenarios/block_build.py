"""From the section [block] of a scenario to the law of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..particles import Attention, Block, FeedForward, LayerNorm, RMSNorm, Space
from ..particles.block import Law
from ..particles.normalisers import Normaliser
from ..particles.weights import draw
from .block import BlockSection, FeedForwardTable, Readout
from .mistakes import blaming
from .numbers import Layered
from .schema import Scenario
from .values import ArrayFile, Matrix, RandomMatrix, Section

FIRST_STREAM = 4  # the streams before it are those of the attention's matrices
DEFAULT_RATIO = 4  # hidden components for each of a token


def with_block(scenario: Scenario, attention: Attention, space: Space, layer: int, layered: Layered) -> Law:
    """The law of a layer: its attention, with what the scenario puts around it.

    Raises ScenarioError where a shape does not fit.
    """
    section, feed = scenario.block, scenario.block.feed_forward
    if section == BlockSection():
        return attention
    feed_forward = None if feed is None else _feed_forward(scenario, feed, space, layer, layered)
    first = second = _normaliser(section, {"gain": "block.gain", "bias": "block.bias"}, section, layered, layer)
    if feed is not None and (feed.norm_gain is not None or feed.norm_bias is not None):
        keys = {"gain": "block.feed_forward.norm_gain", "bias": "block.feed_forward.norm_bias"}
        second = _normaliser(section, keys, feed, layered, layer)
    with blaming("block.norm", {name: f"block.{name}" for name in type(section).model_fields}):
        own = second if second is not first else None
        block = Block(attention, feed_forward, section.norm, first, section.alpha, section.tau, own)
        block.check(space)
    return block


def readout_of(scenario: Scenario, dimension: int) -> Normaliser | None:
    """What is done to the tokens after the last layer. Raises ScenarioError where a shape does not fit."""
    section = scenario.readout
    if section is None:
        return None
    keys = {name: f"readout.{name}" for name in ("gain", "bias")}
    normaliser = _normaliser(section, keys, section, Layered(scenario), 0)
    assert normaliser is not None
    with blaming("readout.gain", keys):
        normaliser.check(dimension)
    return normaliser


def _normaliser(
    kind: BlockSection | Readout, keys: dict[str, str], table: Section, layered: Layered, layer: int
) -> Normaliser | None:
    """The normaliser of a kind; keys: what it calls gain and bias -> the keys under which a table gives them."""
    if kind.normaliser == "sphere":
        return None
    given: dict[str, Any] = {"epsilon": kind.epsilon}
    for name, key in keys.items():
        with blaming(key):
            values = layered.vector(getattr(table, key.rpartition(".")[2]), layer)
        if values is not None:
            given[name] = values
    return LayerNorm(**given) if kind.normaliser == "layer" else RMSNorm(**given)


def _feed_forward(
    scenario: Scenario, table: FeedForwardTable, space: Space, layer: int, layered: Layered
) -> FeedForward:
    inner, outer, gate = (_given(layered, name, getattr(table, name), layer) for name in ("inner", "outer", "gate"))
    hidden = table.hidden
    if hidden is None:
        of_matrix = inner.shape[0] if inner is not None else outer.shape[1] if outer is not None else None
        hidden = DEFAULT_RATIO * space.dimension if of_matrix is None else of_matrix
    shapes = {"inner": (hidden, space.dimension), "outer": (space.dimension, hidden)}
    parts: dict[str, Any] = {}
    for number, (name, matrix) in enumerate((("inner", inner), ("outer", outer))):
        with blaming(f"block.feed_forward.{name}"):
            stream = (layer, FIRST_STREAM + number)
            parts[name] = _made(scenario, getattr(table, name), shapes[name], stream) if matrix is None else matrix
            if parts[name].shape != shapes[name]:
                raise InvalidInput(f"must have the shape {shapes[name]}; got {parts[name].shape}")
    for name in ("inner_bias", "outer_bias", "gate_bias"):
        with blaming(f"block.feed_forward.{name}"):
            parts[name] = layered.vector(getattr(table, name), layer)
    parts["gate"] = gate
    with blaming("block.feed_forward", {name: f"block.feed_forward.{name}" for name in parts}):
        return FeedForward(**parts, activation=table.activation)


def _given(layered: Layered, name: str, value: Matrix | None, layer: int) -> NDArray[np.float64] | None:
    """A matrix whose numbers, and so whose shape, the user gives."""
    if not isinstance(value, (list, ArrayFile)):
        return None
    with blaming(f"block.feed_forward.{name}"):
        return layered.matrix(value, layer)


def _made(scenario: Scenario, value: Any, shape: tuple[int, int], stream: tuple[int, int]) -> NDArray[np.float64]:
    """A matrix drawn, or a multiple of the identity."""
    if not isinstance(value, RandomMatrix):
        return (1.0 if value == "identity" else float(value)) * np.eye(*shape)
    seed = scenario.tokens.seed if value.seed is None else value.seed
    return value.scale * draw(value.law, *shape, seed, stream)
