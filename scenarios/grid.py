"""Grids of a sweep: for each key of a scenario the values it takes; the points are all their combinations.

attention.beta=0.1:9:90        90 values from 0.1 to 9, evenly, both ends included
depth.step=log:0.01:1:5        5 values in geometric progression
attention.mask=none,causal     these values; also in brackets
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInput, ScenarioError
from . import toml
from .mistakes import shown

Value = float | int | bool | str

MAX_POINTS = 1_000_000
FORMS = "first:last:count, log:first:last:count, or values separated by commas"


@dataclass(frozen=True)
class Grid:
    """The combinations of the values of some keys, numbered with the last key running fastest.

    axes : key -> its values, one after the other

    Raises ScenarioError, with the key, for values that are no numbers, truth values or texts, or not all of one kind,
    or given twice; InvalidInput for no key at all and for more than a million points.
    """

    axes: Mapping[str, Sequence[Value]]

    def __post_init__(self) -> None:
        if not self.axes:
            raise InvalidInput("a sweep needs at least one grid, for example attention.beta=0.1:9:90")
        object.__setattr__(self, "axes", {key: _checked(key, values) for key, values in self.axes.items()})
        if self.size > MAX_POINTS:
            raise InvalidInput(f"a sweep has at most {MAX_POINTS} points; these grids have {self.size}")

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each key has."""
        return tuple(map(len, self.axes.values()))

    @property
    def size(self) -> int:
        """The number of points."""
        return math.prod(self.shape)

    def place(self, number: int) -> tuple[int, ...]:
        """Where a point stands: its index along every axis."""
        return tuple(map(int, np.unravel_index(number, self.shape)))

    def changes(self, number: int) -> dict[str, Value]:
        """The value that every key has at a point."""
        return {key: values[k] for (key, values), k in zip(self.axes.items(), self.place(number), strict=True)}

    def describe(self, number: int) -> str:
        """A point in words: attention.beta = 0.1, attention.mask = "none"."""
        return ", ".join(f"{key} = {shown(value)}" for key, value in self.changes(number).items())


def parse_grids(texts: Iterable[str]) -> Grid:
    """The grid that texts of the form KEY=VALUES describe.

    Raises ScenarioError as `Grid` does, and for a text of another form, a count below 1 and a key given twice.
    """
    axes: dict[str, Sequence[Any]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise InvalidInput(f"--grid: must have the form section.key={FORMS}; got {text!r}")
        if key in axes:
            raise ScenarioError(f"{key}: has two grids")
        axes[key] = _values(key, values)
    return Grid(axes)


def _values(key: str, text: str) -> Sequence[Any]:
    """The values that the right-hand side of a grid stands for."""
    if ":" in text and not text.startswith(("[", '"', "'")):
        return _progression(key, text)
    if text.startswith("[") and text.endswith("]"):
        listed = toml.parse_value(text)
        if isinstance(listed, list):
            return listed
        text = text[1:-1]  # texts without quotes
    if not text.strip():
        raise ScenarioError(f"{key}: its grid has no values; give {FORMS}")
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        raise ScenarioError(f"{key}: an empty value in its grid {text!r}; give {FORMS}")
    return [toml.parse_value(part) for part in parts]


def _progression(key: str, text: str) -> list[float] | list[int]:
    """The values of first:last:count or log:first:last:count; whole numbers where both ends and all values are."""
    geometric = text.startswith("log:")
    parts = text.removeprefix("log:").split(":")
    try:
        if len(parts) != 3:
            raise ValueError
        first, last, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        raise ScenarioError(f"{key}: a grid is {FORMS}; got {text!r}") from None
    if not (math.isfinite(first) and math.isfinite(last)):
        raise ScenarioError(f"{key}: the ends of a grid must be finite; got {text!r}")
    if not 1 <= count <= MAX_POINTS:
        raise ScenarioError(f"{key}: the count of a grid must be from 1 to {MAX_POINTS}; got {count}")
    if count == 1 and first != last:
        raise ScenarioError(f"{key}: a grid from {first:g} to {last:g} has at least 2 values; got the count 1")
    if geometric and not (first > 0 and last > 0):
        raise ScenarioError(f"{key}: a geometric grid goes from one positive number to another; got {text!r}")
    values = (np.geomspace if geometric else np.linspace)(first, last, count)
    nearest = np.rint(values)
    if _whole(parts[0]) and _whole(parts[1]) and np.allclose(values, nearest, rtol=1e-12, atol=0):
        return [int(value) for value in nearest]
    return values.tolist()


def _whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _checked(key: str, values: Any) -> tuple[Value, ...]:
    """The values as Python's, all of one kind."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ScenarioError(f"{key}: must be a list of values; got {shown(values)}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not plain:
        raise ScenarioError(f"{key}: its grid has no values")
    for value in plain:
        if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            raise ScenarioError(f"{key}: the values of a grid are finite numbers or texts; got {shown(value)}")
    kinds = {type(value) for value in plain}
    if kinds == {int, float}:
        plain = [float(value) for value in plain]
    elif len(kinds) > 1:
        raise ScenarioError(f"{key}: the values of a grid are of one kind; got {shown(plain)}")
    if len(set(plain)) < len(plain):
        twice = next(value for value in plain if plain.count(value) > 1)
        raise ScenarioError(f"{key}: its grid has the value {shown(twice)} twice")
    return tuple(plain)
