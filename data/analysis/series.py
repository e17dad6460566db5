"""Observables over depth as tables of rows: a row a frame for a person, a row a frame and replica for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingExtra
from .table import Table

if TYPE_CHECKING:
    import pandas
    import xarray

DIGITS = 4  # of the mean of replicas, and one less of their range


@dataclass(frozen=True, eq=False)
class Series:
    """Observables of some frames and replicas.

    times, steps : (frames,)
    replicas     : their numbers
    observables  : name -> (frames, replicas) or (frames, replicas, k)
    """

    times: NDArray[np.float64]
    steps: NDArray[np.int64]
    replicas: Sequence[int]
    observables: Mapping[str, NDArray[Any]]

    def by_frame(self) -> Table:
        """A row a frame: step, depth, and each observable; of several replicas a column each, energy_0, energy_1."""
        columns: dict[str, NDArray[Any]] = {"step": self.steps, "depth": self.times}
        for name, values in self._numbers().items():
            for place, replica in enumerate(self.replicas):
                columns[name if len(self.replicas) == 1 else f"{name}_{replica}"] = values[:, place]
        return Table("observables", columns)

    def by_replica(self) -> Table:
        """A row a frame and replica: frame, step, depth, replica, and each observable."""
        count = len(self.replicas)
        columns: dict[str, NDArray[Any]] = {
            "step": np.repeat(self.steps, count),
            "depth": np.repeat(self.times, count),
            "replica": np.tile(np.asarray(self.replicas, np.int64), len(self.times)),
        }
        return Table("observables", columns | {name: values.reshape(-1) for name, values in self._numbers().items()})

    def in_short(self) -> Table:
        """A row a frame: depth and each observable, of several replicas their mean and range as text."""
        columns: dict[str, NDArray[Any]] = {"depth": self.times}
        for name, values in self._numbers().items():
            columns[name] = values[:, 0] if len(self.replicas) == 1 else np.array([_range(row) for row in values])
        remarks = () if len(self.replicas) == 1 else (f"mean and range of {len(self.replicas)} replicas",)
        return Table("observables", columns, remarks)

    def to_dataframe(self) -> pandas.DataFrame:
        """See `by_replica`. Raises MissingExtra without pandas."""
        return self.by_replica().to_dataframe()

    def to_xarray(self) -> xarray.Dataset:
        """Observables (time, replica[, <name>_entry]). Raises MissingExtra without xarray."""
        try:
            import xarray
        except ImportError:
            raise MissingExtra("to_xarray needs xarray: pip install 'attndyn[xarray]'") from None
        variables = {
            name: (("time", "replica", f"{name}_entry")[: values.ndim], values)
            for name, values in self.observables.items()
        }
        coordinates = {"time": self.times, "step": ("time", self.steps), "replica": [*self.replicas]}
        return xarray.Dataset(variables, coordinates)

    def _numbers(self) -> dict[str, NDArray[Any]]:
        """The observables, each (frames, replicas): one of k numbers is k of them, focus_0, focus_1."""
        found: dict[str, NDArray[Any]] = {}
        for name, values in self.observables.items():
            if values.ndim == 2:
                found[name] = values
            else:
                found |= {f"{name}_{k}": values[:, :, k] for k in range(values.shape[2])}
        return found


def _range(values: NDArray[Any]) -> str:
    low, high = values.min(), values.max()
    if low == high:
        return f"{low:.{DIGITS}g}"
    return f"{values.mean():.{DIGITS}g} ({low:.{DIGITS - 1}g} to {high:.{DIGITS - 1}g})"
