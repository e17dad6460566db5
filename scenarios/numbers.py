"""Numbers of a scenario, written in it or read from a file beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .schema import Scenario
from .values import ArrayFile


def numbers(scenario: Scenario, value: list[Any] | ArrayFile | None) -> NDArray[np.float64] | None:
    """The array that a list or a file holds. Raises InvalidInput for a file that cannot be read."""
    if isinstance(value, ArrayFile):
        return scenario.files.array(value.file, value.array)
    return None if value is None else np.asarray(value, np.float64)


def vector(scenario: Scenario, value: list[Any] | ArrayFile | None) -> NDArray[np.float64] | None:
    """As `numbers`; a single row or column, as a .csv file has it, is a vector."""
    array = numbers(scenario, value)
    return array.ravel() if array is not None and array.size == max(array.shape) else array
