"""A trajectory that knows the scenario that made it, and the law by which its tokens moved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data import reading
from ..errors import ScenarioError
from ..particles.block import Law

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..data.figures.page import Style
    from .build import Plan
    from .schema import Scenario


class Trajectory(reading.Trajectory):
    """A trajectory file that is open for reading: see `attndyn.data.reading.Trajectory`, `scenario` and `law_at`."""

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario that was run; what it named in other files comes from the trajectory, which keeps it.

        Raises ScenarioError where this version does not understand its text.
        """
        from .files import LIBRARY  # what knows scenarios takes a while to import, and many files are only looked at
        from .schema import Scenario
        from .sources import Kept

        if not self.scenario_text.strip():
            raise ScenarioError(f"{self.path} has no scenario, so its law is not known")
        given = self.provenance.get("scenario")
        origin = given if isinstance(given, dict) else {}
        folder = LIBRARY if origin.get("bundled") else str(origin.get("folder", "."))
        files = Kept(self.arrays, self.token_strings, lambda: self.positions[0])
        return Scenario.parse(self.scenario_text, name=str(origin.get("name", "scenario")), folder=folder, files=files)

    @cached_property
    def plan(self) -> Plan:
        """The ensemble at the start, the laws and the save times of the run. Raises ScenarioError as `scenario`."""
        from .build import build

        scenario = self.scenario
        said = (scenario.tokens.replicas, scenario.count or self.tokens, scenario.dimension or self.dimension)
        here = (self.replicas, self.tokens, self.dimension)
        if scenario.tokens.from_file is None and said != here:  # a small file could ask for any amount of memory
            raise ScenarioError(f"scenario: it is of (replicas, tokens, dimension) = {said}, where the file has {here}")
        return build(scenario)

    def law_at(self, t: float) -> Law:
        """The law that acts on the tokens at depth t: where layers differ, that of the layer to come."""
        return self.plan.law_at(t)

    def readout(self, frame: int = -1) -> NDArray[np.floating]:
        """The tokens of a frame as the model would read them after its last layer, (replicas, tokens, dimension).

        They are normalised as the scenario's [readout] says; without one they are the tokens themselves.
        """
        positions, normaliser = self.positions[frame], self.plan.readout
        return positions if normaliser is None else normaliser(positions)

    def plot(
        self,
        kind: str | None = None,
        out: str | Path | None = None,
        *,
        depths: Sequence[float] | None = None,
        replica: int = 0,
        heads: Sequence[int] | None = None,
        style: Style | None = None,
    ) -> Figure:
        """Draw the trajectory and, when `out` is given, save it: see `attndyn.data.figures.draw`."""
        from ..data.figures import draw  # imports matplotlib, which takes a while

        return draw(self, kind=kind, out=out, depths=depths, replica=replica, heads=heads, style=style)


def open(path: str | Path) -> Trajectory:
    """Open a trajectory file, finished or left by a killed run.

    Raises InvalidInput when there is no file, TrajectoryError when it is no trajectory or is damaged.
    """
    return Trajectory(path)
