"""A transformer as its configuration describes it: which tensors become which arrays of a scenario. Nothing is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .tensors import Tensors

Array = NDArray[np.floating]
Ids = NDArray[np.int64]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A tensor of a checkpoint, its shape there, and what makes an array of a scenario of it; by default nothing."""

    tensor: str
    shape: Shape
    turn: Callable[[Array], Array] | None = None

    def read(self, tensors: Tensors, rows: Ids | slice | None = None) -> Array:
        """The array, or rows of the tensor."""
        numbers = tensors.read(self.tensor, rows)
        return numbers if self.turn is None else self.turn(numbers)


class Read(Protocol):
    """Gives a table of the embedding layer by its name, or some of its rows, in float64."""

    def __call__(self, table: str, rows: Ids | slice | None = None) -> Array: ...


@dataclass(frozen=True)
class Model:
    """What a family makes of a configuration.

    layers     : how many the model goes through
    stack      : of each layer, in the order of use, the parts of its arrays by their scenario key; a model that uses
                 its layers again and again in turn has each once
    tables     : of the embedding layer, whose output is embed(read, ids, types), (tokens, dimension)
    vocabulary : rows of the table of words; positions, types : those of positions and token types, None without
    attention, block, feed_forward, readout : keys of these sections that are no stacks
    closing    : parts of the arrays of the readout
    """

    family: str
    dimension: int
    layers: int
    stack: tuple[Mapping[str, Part], ...]
    tables: Mapping[str, Part]
    embed: Callable[[Read, Ids, Ids], Array]
    vocabulary: int
    positions: int | None
    types: int | None
    attention: Mapping[str, Any]
    block: Mapping[str, Any]
    feed_forward: Mapping[str, Any]
    readout: Mapping[str, Any] = field(default_factory=dict)
    closing: Mapping[str, Part] = field(default_factory=dict)

    def parts(self) -> Iterator[Part]:
        """All tensors it needs."""
        yield from self.tables.values()
        for layer in self.stack:
            yield from layer.values()
        yield from self.closing.values()


def linear(tensor: str, rows: int, columns: int, key: str, bias_key: str | None) -> dict[str, Part]:
    """The parts of a map y = W x + b as torch keeps it: weight (rows, columns) and, with a key, bias (rows,)."""
    parts = {key: Part(f"{tensor}.weight", (rows, columns))}
    if bias_key is not None:
        parts[bias_key] = Part(f"{tensor}.bias", (rows,))
    return parts


def layer_norm(tensor: str, dimension: int, gain: str = "gain", bias: str = "bias") -> dict[str, Part]:
    """The parts of a layer normalisation."""
    return {gain: Part(f"{tensor}.weight", (dimension,)), bias: Part(f"{tensor}.bias", (dimension,))}


def normalised(x: Array, gain: Array, bias: Array, epsilon: float) -> Array:
    """Layer normalisation of tokens (tokens, dimension), in their precision."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + epsilon) + bias
