"""Where everything stands in a sweep file. The user's description is `docs/sweeps.md`.

All variables stand at the root and have the dimension scales of netCDF, so that xarray opens the file as one data set.
Every array has its place in the file before the first point is written, and nothing else of the file changes
afterwards: a process may be killed at any moment, and the file opens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidInput

CONVENTIONS = "attndyn-sweep-1"

TIME = "time"  # f8 (*grid, frame), NaN beyond a point's last frame
DONE = "done"  # u1 (*grid), written last
STATUS = "status"  # UTF-8 of fixed length (*grid)
STATISTICS = ("drift_evaluations", "accepted", "rejected", "wall_seconds")  # f8 (*grid)
FRAME = "frame"  # i4, the scale of frames
REPLICA = "replica"  # i4, the scale of replicas, where every one is kept
PARTS = ("mean", "deviation", "values")  # <observable>_<part>, f8 (*grid, frame[, replica][, <observable>_entry])

SCENARIO = "parameters/scenario"  # u1, the text, @sha256
DESCRIPTION = "parameters/description"  # u1, JSON of `Description`, @sha256
PROVENANCE = "parameters/provenance"  # u1, JSON

RESERVED = (TIME, DONE, STATUS, *STATISTICS, FRAME, REPLICA, "parameters")
STATUS_BYTES = 240


@dataclass(frozen=True)
class Description:
    """What a sweep computes: two files that differ in it, or in the scenario, are different sweeps.

    name        : of the scenario
    axes        : key -> its values
    observables : names
    engine      : backend and device, which have a part in the digits
    version     : of attndyn, for the same reason
    """

    name: str
    axes: Mapping[str, Sequence[Any]]
    observables: Sequence[str]
    every_replica: bool
    engine: Mapping[str, Any]
    version: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values of every key."""
        return tuple(map(len, self.axes.values()))

    def to_json(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Description:
        """Of what the file holds. Raises ValueError or TypeError for anything else."""
        description = cls(**fields)
        if not isinstance(description.axes, dict) or not isinstance(description.observables, list):
            raise ValueError("its axes are no table, or its observables no list")
        for key, values in description.axes.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"its axis {key} is no list of values")
            if not all(isinstance(value, bool | int | float | str) for value in values):
                raise ValueError(f"the values of its axis {key} are neither numbers nor texts")
        if not description.axes or not all(isinstance(name, str) for name in description.observables):
            raise ValueError("it has no axes, or observables without names")
        return description

    def differences(self, other: Description) -> list[str]:
        """What differs between two sweeps, in words; the axes in one word each."""
        mine, others = asdict(self) | {"axes": None}, asdict(other) | {"axes": None}
        found = [f"{name} ({others[name]!r} there)" for name in mine if _json(mine[name]) != _json(others[name])]
        keys = [*self.axes, *(key for key in other.axes if key not in self.axes)]
        changed = [f"the grid of {k}" for k in keys if _json(self.axes.get(k)) != _json(other.axes.get(k))]
        if not changed and list(self.axes) != list(other.axes):
            changed = ["the order of the grids"]
        return changed + found


def variable(observable: str, part: str) -> str:
    """Where a part, "mean", "deviation" or "values", of an observable stands."""
    return f"{observable}_{part}"


def check_names(axes: Sequence[str], observables: Sequence[str]) -> None:
    """Raise InvalidInput where two variables of the file would have one name."""
    names = [*RESERVED, *axes, *(variable(name, part) for name in observables for part in (*PARTS, "entry"))]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InvalidInput(f"a sweep file has a name of its own for {', '.join(sorted(twice))}")


def _json(value: Any) -> str:
    return json.dumps(value)
