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
from .block import BlockSection, FeedForwardTable
from .mistakes import blaming
from .numbers import numbers, vector
from .schema import Scenario
from .values import ArrayFile, Matrix, RandomMatrix

FIRST_STREAM = 4  # the streams before it are those of the attention's matrices
DEFAULT_RATIO = 4  # hidden components for each of a token


def with_block(scenario: Scenario, attention: Attention, space: Space, layer: int) -> Law:
    """The law of a layer: its attention, with what the scenario puts around it.

    Raises ScenarioError where a shape does not fit.
    """
    section = scenario.block
    if section == BlockSection():
        return attention
    feed_forward = None if section.feed_forward is None else _feed_forward(scenario, section.feed_forward, space, layer)
    with blaming("block.norm", {name: f"block.{name}" for name in type(section).model_fields}):
        block = Block(attention, feed_forward, section.norm, _normaliser(scenario), section.alpha, section.tau)
        block.check(space)
    return block


def _normaliser(scenario: Scenario) -> Normaliser | None:
    section = scenario.block
    if section.normaliser == "sphere":
        return None
    given: dict[str, Any] = {"epsilon": section.epsilon}
    for name in ("gain", "bias"):
        with blaming(f"block.{name}"):
            values = vector(scenario, getattr(section, name))
        if values is not None:
            given[name] = values
    return LayerNorm(**given) if section.normaliser == "layer" else RMSNorm(**given)


def _feed_forward(scenario: Scenario, table: FeedForwardTable, space: Space, layer: int) -> FeedForward:
    inner, outer = (_given(scenario, name, getattr(table, name)) for name in ("inner", "outer"))
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
    for name in ("inner_bias", "outer_bias"):
        with blaming(f"block.feed_forward.{name}"):
            parts[name] = vector(scenario, getattr(table, name))
    with blaming("block.feed_forward", {name: f"block.feed_forward.{name}" for name in parts}):
        return FeedForward(**parts, activation=table.activation)


def _given(scenario: Scenario, name: str, value: Matrix) -> NDArray[np.float64] | None:
    """A matrix whose numbers, and so whose shape, the user gives."""
    if not isinstance(value, (list, ArrayFile)):
        return None
    with blaming(f"block.feed_forward.{name}"):
        matrix = numbers(scenario, value)
        assert matrix is not None
        if matrix.ndim != 2:
            raise InvalidInput(f"must be a matrix; got an array of the shape {matrix.shape}")
        return matrix


def _made(scenario: Scenario, value: Any, shape: tuple[int, int], stream: tuple[int, int]) -> NDArray[np.float64]:
    """A matrix drawn, or a multiple of the identity."""
    if not isinstance(value, RandomMatrix):
        return (1.0 if value == "identity" else float(value)) * np.eye(*shape)
    seed = scenario.tokens.seed if value.seed is None else value.seed
    return value.scale * draw(value.law, *shape, seed, stream)
