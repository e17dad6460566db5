"""Self-attention as an interacting particle system: tokens are particles, depth is time.

    scenario = attndyn.load("sphere-clusters").override({"attention.beta": 9.0})
    trajectory = attndyn.run(scenario, out="clusters.h5")

The names below are imported when they are first used, so that `import attndyn` itself costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.importers import import_model
    from .data.movies import movie
    from .errors import (
        AttndynError,
        ComputationFailed,
        InvalidInput,
        MissingExtra,
        NoSuchFrame,
        NoSuchName,
        ScenarioError,
        TrajectoryError,
    )
    from .integrators import Solution, integrate
    from .particles import Attention, Block, Ensemble, Euclidean, FeedForward, Schedule, Space, Sphere
    from .scenarios.analysis import Findings, analyze
    from .scenarios.comparison import compare
    from .scenarios.files import names
    from .scenarios.limits.study import limit
    from .scenarios.report import report
    from .scenarios.resume import resume
    from .scenarios.run import run
    from .scenarios.schema import Scenario, load
    from .scenarios.spectrum import spectrum
    from .scenarios.sweep import Sweep, open_sweep, sweep
    from .scenarios.trajectory import Trajectory, open

    __version__: str

_HOME = {
    "data.importers": ("import_model",),
    "data.movies": ("movie",),
    "errors": (
        "AttndynError",
        "ComputationFailed",
        "InvalidInput",
        "MissingExtra",
        "NoSuchFrame",
        "NoSuchName",
        "ScenarioError",
        "TrajectoryError",
    ),
    "integrators": ("Solution", "integrate"),
    "particles": ("Attention", "Block", "Ensemble", "Euclidean", "FeedForward", "Schedule", "Space", "Sphere"),
    "scenarios.analysis": ("Findings", "analyze"),
    "scenarios.comparison": ("compare",),
    "scenarios.files": ("names",),
    "scenarios.limits.study": ("limit",),
    "scenarios.report": ("report",),
    "scenarios.resume": ("resume",),
    "scenarios.run": ("run",),
    "scenarios.schema": ("Scenario", "load"),
    "scenarios.spectrum": ("spectrum",),
    "scenarios.sweep": ("Sweep", "open_sweep", "sweep"),
    "scenarios.trajectory": ("Trajectory", "open"),
}
_MODULE_OF = {name: module for module, names_of_it in _HOME.items() for name in names_of_it}

__all__ = [
    "Attention",
    "AttndynError",
    "Block",
    "ComputationFailed",
    "Ensemble",
    "Euclidean",
    "FeedForward",
    "Findings",
    "InvalidInput",
    "MissingExtra",
    "NoSuchFrame",
    "NoSuchName",
    "Scenario",
    "ScenarioError",
    "Schedule",
    "Solution",
    "Space",
    "Sphere",
    "Sweep",
    "Trajectory",
    "TrajectoryError",
    "__version__",
    "analyze",
    "compare",
    "import_model",
    "integrate",
    "limit",
    "load",
    "movie",
    "names",
    "open",
    "open_sweep",
    "report",
    "resume",
    "run",
    "spectrum",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("attndyn")
    elif name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
