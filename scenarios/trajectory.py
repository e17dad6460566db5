"""A trajectory that knows the scenario that made it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ..data import reading
from .files import LIBRARY
from .schema import Scenario


class Trajectory(reading.Trajectory):
    """A trajectory file that is open for reading: see `attndyn.data.reading.Trajectory`, and `scenario`."""

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario that was run. Raises ScenarioError where this version does not understand its text."""
        origin = self.provenance.get("scenario", {})
        folder = LIBRARY if origin.get("bundled") else origin.get("folder", ".")
        return Scenario.parse(self.scenario_text, name=origin.get("name", "scenario"), folder=folder)


def open(path: str | Path) -> Trajectory:
    """Open a trajectory file, finished or left by a killed run.

    Raises InvalidInput when there is no file, TrajectoryError when it is no trajectory or is damaged.
    """
    return Trajectory(path)
