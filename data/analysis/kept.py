"""What was computed from a trajectory file and is kept in it: looked up, with the distrust that files deserve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import TrajectoryError
from .. import layout, opening
from .table import Table

MOST_RECORDS = 10_000


@dataclass(frozen=True)
class Request:
    """What a result is a result of: two that are equal need not be computed twice.

    name       : of an observable or a table
    frames     : (first, behind the last, step) of the frames, of which there are `of`
    replica    : one, or None for all
    parameters : what else it depends on, as JSON has it
    version    : of attndyn
    """

    name: str
    frames: tuple[int, int, int]
    replica: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: str = field(default_factory=lambda: version("attndyn"))

    def as_record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "frames": list(self.frames), "parameters": dict(self.parameters)}


@dataclass(frozen=True, eq=False)
class Result:
    """A request and what came of it: a table, or values (frames, replicas)."""

    request: Request
    value: Table | NDArray[Any]


class Kept:
    """The results that a file keeps; what is damaged in it is left out, and told.

    results : those that were understood, the latest last
    remarks : sentences on those that were not
    """

    def __init__(self, results: tuple[Result, ...] = (), remarks: tuple[str, ...] = ()) -> None:
        self.results, self.remarks = results, remarks

    def find(self, request: Request, every_frame: tuple[int, int, int]) -> Table | NDArray[Any] | None:
        """The result of a request, or the part of a larger one, of every frame or all replicas, that it is."""
        for result in reversed(self.results):
            kept, value = result.request, result.value
            if (kept.name, kept.version, dict(kept.parameters)) != (
                request.name, request.version, dict(request.parameters),
            ):  # fmt: skip
                continue
            if (kept.frames, kept.replica) == (request.frames, request.replica):
                return value
            if isinstance(value, Table) or kept.replica not in (None, request.replica):
                continue
            if kept.frames in (every_frame, request.frames):
                rows = value if kept.frames == request.frames else value[slice(*request.frames)]
                if request.replica is None or kept.replica == request.replica:
                    return rows
                return rows[:, request.replica : request.replica + 1]
        return None

    def with_new(self, results: tuple[Result, ...]) -> Kept:
        """With further results, which replace those of the same name, frames, replica and parameters."""
        new = [_place_of(result.request) for result in results]
        return Kept((*(old for old in self.results if _place_of(old.request) not in new), *results), self.remarks)

    def in_words(self, every_frame: tuple[int, int, int]) -> str:
        """The names of what is kept, each with what it is a part of, where it is one."""
        words = []
        for result in self.results:
            request = result.request
            part = "" if request.frames == every_frame else f"frames {':'.join(map(str, request.frames))}"
            one = "" if request.replica is None else f"replica {request.replica}"
            parts = [part, one, *(f"{key} {value}" for key, value in request.parameters.items() if value is not None)]
            about = ", ".join(part for part in parts if part)
            words.append(f"{request.name} ({about})" if about else request.name)
        return ", ".join(words)

    def observables(self, frames: int) -> dict[str, Result]:
        """The latest result of every observable that was computed for all frames and replicas."""
        return {
            result.request.name: result
            for result in self.results
            if not isinstance(result.value, Table)
            and result.request.frames == (0, frames, 1)
            and result.request.replica is None
        }


def _place_of(request: Request) -> dict[str, Any]:
    """A request but for the version."""
    return {**request.as_record(), "version": None}


def read_kept(file: h5py.File, path: Path, shape: tuple[int, int]) -> Kept:
    """What a file keeps, for its numbers of frames and replicas. It raises nothing."""
    try:
        with opening.guard(path, layout.ANALYSIS):
            if layout.ANALYSIS not in file or not opening.has(file, layout.ANALYSIS_INDEX):
                return Kept()
            records = opening.read_json(file, layout.ANALYSIS_INDEX, list, hashed=True)[:MOST_RECORDS]
    except (TrajectoryError, RecursionError) as error:
        return Kept((), (f"kept analyses are not used: {error}",))
    results, remarks = [], []
    places: set[int] = set()
    for number, record in enumerate(records):
        try:
            with opening.guard(path, f"{layout.ANALYSIS}/{number}"):
                place = int(record["place"])
                if place in places:  # memory for each of many records of one place is a trap
                    raise ValueError(f"the place {place} is another's")
                places.add(place)
                results.append(_read(file, record, shape))
        except (TrajectoryError, AttributeError) as error:
            remarks.append(f"a kept analysis is not used: {error}")
    return Kept(tuple(results), tuple(remarks))


def _read(file: h5py.File, record: Any, shape: tuple[int, int]) -> Result:
    if not isinstance(record, dict) or not isinstance(record.get("name"), str) or not record["name"].isidentifier():
        raise ValueError("its record names no analysis")
    frames, replicas = shape
    of = tuple(int(number) for number in record["frames"])
    replica = record["replica"]
    if len(of) != 3 or of[2] < 1 or not 0 <= of[0] <= of[1] <= frames:
        raise ValueError(f"it is of the frames {of}, where there are {frames}")
    if replica is not None and not (isinstance(replica, int) and 0 <= replica < replicas):
        raise ValueError(f"it is of the replica {replica}, where there are {replicas}")
    request = Request(
        record["name"], (of[0], of[1], of[2]), replica, dict(record["parameters"]), str(record["version"])
    )
    place = int(record["place"])
    if "columns" in record:
        return Result(request, _read_table(file, f"{layout.ANALYSIS}/{place}", record))
    values = opening.read_array(file, f"{layout.ANALYSIS}/{place}/values", "fi", (2,))
    expected = (len(range(*of)), replicas if replica is None else 1)
    if values.shape != expected:
        raise ValueError(f"its values have the shape {values.shape}, and should have {expected}")
    return Result(request, values.astype(values.dtype.newbyteorder("="), copy=False))


def _read_table(file: h5py.File, place: str, record: dict[str, Any]) -> Table:
    columns: dict[str, NDArray[Any]] = {}
    for number, (name, kind) in enumerate(record["columns"]):
        where = f"{place}/{number}"
        if kind == "text":
            texts = opening.read_json(file, where, list, hashed=True)
            columns[str(name)] = np.array([str(text) for text in texts], dtype=np.str_)
        else:
            values = opening.read_array(file, where, "fiu", (1,))
            columns[str(name)] = values.astype(bool if kind == "bool" else values.dtype.newbyteorder("="), copy=False)
    return Table(record["name"], columns, tuple(str(remark) for remark in record["remarks"]))
