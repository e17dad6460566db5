"""Numbers of a scenario, written in it or read from a file beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .schema import Scenario
from .values import ArrayFile

Given = list[Any] | ArrayFile | None


def numbers(scenario: Scenario, value: Given) -> NDArray[np.float64] | None:
    """The array that a list or a file holds. Raises InvalidInput for a file that cannot be read."""
    if isinstance(value, ArrayFile):
        return scenario.files.array(value.file, value.array)
    return None if value is None else np.asarray(value, np.float64)


def vector(scenario: Scenario, value: Given) -> NDArray[np.float64] | None:
    """As `numbers`; a single row or column, as a .csv file has it, is a vector."""
    array = numbers(scenario, value)
    return array.ravel() if array is not None and array.size == max(array.shape) else array


class Layered:
    """The numbers of a scenario's laws, each file read once, with one of every stack.

    An array of a file with an axis more than it needs is a stack: it holds one for each layer of a model. A law takes
    the one of its number, and after the last the first again; a law that is shared by all depths takes depth.layer.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._read: dict[tuple[str, str | None], NDArray[np.float64]] = {}
        self.height: int | None = None  # how many a stack holds, once one was seen

    def matrix(self, value: Given, law: int) -> NDArray[np.float64] | None:
        """The matrix, or that of a stack, of the law of this number. Raises InvalidInput for what is none."""
        array = self._array(value)
        if array is None:
            return None
        if array.ndim == 3 and isinstance(value, ArrayFile):
            array = self._of_stack(array, law)
        if array.ndim != 2:
            raise InvalidInput(f"must be a matrix, or one for each layer; got an array of the shape {array.shape}")
        return array

    def vector(self, value: Given, law: int) -> NDArray[np.float64] | None:
        """The vector, or that of a stack, of the law of this number. Raises InvalidInput for what is none."""
        array = self._array(value)
        if array is None or array.ndim == 1:
            return array
        if array.ndim == 2 and min(array.shape) > 1 and isinstance(value, ArrayFile):
            return self._of_stack(array, law)
        if array.size > max(array.shape):
            raise InvalidInput(f"must be a list of numbers; got an array of the shape {array.shape}")
        return array.ravel()

    def _array(self, value: Given) -> NDArray[np.float64] | None:
        if not isinstance(value, ArrayFile):
            return numbers(self._scenario, value)
        name = (value.file, value.array)
        if name not in self._read:
            self._read[name] = self._scenario.files.array(*name)
        return self._read[name]

    def _of_stack(self, stack: NDArray[np.float64], law: int) -> NDArray[np.float64]:
        depth = self._scenario.depth
        if self.height not in (None, len(stack)):
            raise InvalidInput(f"must hold one for each of {self.height} layers, as others do; got {len(stack)}")
        self.height = len(stack)
        if depth.weights != "shared":
            return stack[law % len(stack)]
        number = depth.layer or 0
        if number >= len(stack):
            raise InvalidInput(f"holds the layers 0 to {len(stack) - 1}; got depth.layer = {number}")
        return stack[number]
