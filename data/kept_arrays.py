"""The arrays that a scenario read from other files, kept in the trajectory so that the law is known from it alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from . import layout, opening

ArrayName = tuple[str, str | None]  # a file and the name of an array in it, as the scenario gives them


class KeptArrays(Mapping[ArrayName, NDArray[np.float64]]):
    """(file, array) -> values; read when looked up."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path, self._file = path, file
        names = []
        if opening.has(file, layout.ARRAY_NAMES):
            names = opening.read_json(file, layout.ARRAY_NAMES, list, hashed=True)
        self._places: dict[ArrayName, str] = {}
        for number, (where, name) in enumerate(names):
            if not isinstance(where, str) or not isinstance(name, str | None):
                raise ValueError(f"its row {number} names no array")
            self._places[where, name] = f"{layout.ARRAYS}/{number}"

    def __getitem__(self, key: ArrayName) -> NDArray[np.float64]:
        place = self._places[key]
        with opening.guard(self._path, place):
            return opening.read_array(self._file, place, "f", (1, 2, 3)).astype(np.float64, copy=False)

    def __iter__(self) -> Iterator[ArrayName]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
