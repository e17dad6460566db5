"""One point of a sweep, computed where a worker is, and reduced there to what the sweep keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtra
from ..particles import Ensemble
from ..particles.backends import Engine
from . import toml
from .build import Plan, build
from .mistakes import one_line
from .run import engine_of, follow
from .schema import Scenario
from .values import ArrayFile
from .weighting import WeightTable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """What all points of a sweep share. It is sent to the workers, so it holds text and numbers only.

    text, name, folder : the scenario, as for `Scenario.parse`
    backend, device, threads : as for `run`
    every_replica      : whether the values of all replicas are kept, beside their mean and deviation
    """

    text: str
    name: str
    folder: Path
    backend: str
    device: str
    threads: int
    every_replica: bool = False

    def scenario(self, changes: Mapping[str, Any]) -> Scenario:
        """The scenario of a point. Raises ScenarioError for one that is not valid."""
        return _parsed(self.text, self.name, self.folder).override(changes)

    def engine(self, scenario: Scenario) -> Engine:
        """How the drift of a point's scenario is computed."""
        return engine_of(scenario, backend=self.backend, device=self.device, threads=self.threads)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a point gave.

    status     : "finished", "stopped: ..." or "failed: ..."
    times      : (frames,)
    means, deviations : observable -> (frames,) or (frames, k), over the replicas; the deviation is the root of the
                 mean square, 0 for a single replica
    values     : observable -> (frames, replicas) or (frames, replicas, k), where every replica is kept
    statistics : drift evaluations, steps, seconds
    """

    status: str
    times: Array
    means: dict[str, Array] = field(default_factory=dict)
    deviations: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    statistics: dict[str, float] = field(default_factory=dict)


def compute(study: Study, changes: Mapping[str, Any]) -> Outcome:
    """Run one point. Whatever goes wrong with it is its status, "failed: ...", beside the frames it had.

    Raises KeyboardInterrupt where the run was interrupted, and MissingExtra, which no other point would do without.
    """
    frames = _Frames(study.every_replica)
    try:
        scenario = study.scenario(changes)
        solution = follow(_plan(scenario), study.engine(scenario), frames.add)
    except MissingExtra:
        raise
    except Exception as error:
        return frames.outcome(failure(error).status, {})
    if solution.status == "interrupted":
        raise KeyboardInterrupt
    return frames.outcome(solution.status, solution.statistics.as_dict())


def failure(error: Exception) -> Outcome:
    """The outcome of a point that gave nothing but this error."""
    return Outcome(f"failed: {type(error).__name__}: {one_line(str(error))}", np.empty(0))


def check(scenario: Scenario) -> Plan:
    """The plan of a point with, where that shows every mistake, the tokens of one replica only.

    Raises ScenarioError as `build` does.
    """
    reducible = scenario.tokens.replicas > 1 and _drawn(scenario)
    return build(scenario.override({"tokens.replicas": 1}) if reducible else scenario)


class _Frames:
    """The frames of one run, reduced as they come."""

    def __init__(self, every_replica: bool) -> None:
        self._every_replica = every_replica
        self._times: list[float] = []
        self._rows: dict[str, list[tuple[Array, ...]]] = {}

    def add(self, step: int, t: float, frame: Ensemble, observables: Mapping[str, NDArray]) -> None:
        self._times.append(t)
        for name, given in observables.items():
            values = np.asarray(given, np.float64)
            with np.errstate(all="ignore"):  # an observable may be infinite
                row = values.mean(axis=0), values.std(axis=0)
            self._rows.setdefault(name, []).append((*row, values) if self._every_replica else row)

    def outcome(self, status: str, statistics: dict[str, float]) -> Outcome:
        means, deviations, values = (
            {name: np.stack([row[part] for row in rows]) for name, rows in self._rows.items() if part < len(rows[0])}
            for part in range(3)
        )
        return Outcome(status, np.array(self._times), means, deviations, values, statistics)


@lru_cache(maxsize=1)
def _parsed(text: str, name: str, folder: Path) -> Scenario:
    return Scenario.parse(text, name=name, folder=folder, outside=True)


def _plan(scenario: Scenario) -> Plan:
    """The plan of a point; tokens that do not depend on what the sweep varies are drawn once by each worker."""
    if not _drawn(scenario):
        return build(scenario)
    sections = {"tokens": scenario.tokens, "space": scenario.space}
    given = {name: section.model_dump(exclude_unset=True, exclude_none=True) for name, section in sections.items()}
    return replace(check(scenario), scenario=scenario, ensemble=_ensemble(toml.write(given)))


@lru_cache(maxsize=1)
def _ensemble(text: str) -> Ensemble:
    """The tokens of a scenario that has only them and their space; they are never written to."""
    return build(Scenario.parse(text)).ensemble


def _drawn(scenario: Scenario) -> bool:
    """Whether the replicas are alike: drawn, with the same weights throughout, and not read from files."""
    fixed = scenario.focus is None and not isinstance(scenario.tokens.weights, ArrayFile | WeightTable)
    return scenario.tokens.from_file is None and fixed
