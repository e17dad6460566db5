"""Running a scenario to a trajectory file."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import TrajectoryWriter, provenance_of_run
from ..data.target import check_target
from ..errors import InvalidInput
from ..integrators import Statistics, integrate
from ..particles.backends import BACKENDS
from ..particles.observables import measure
from .build import build
from .files import LIBRARY
from .schema import Scenario, load
from .trajectory import Trajectory

Progress = Callable[[float, Statistics], None]


def run(
    scenario: Scenario | str | Path,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    backend: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Trajectory:
    """Run a scenario, write its trajectory while it goes, and open what was written.

    scenario  : a Scenario, a bundled name or the path of a scenario file
    out       : the file to write; None: a temporary file, removed when the trajectory is no longer in use
    overwrite : whether `out` may exist already
    backend   : "numba" (the default) or "reference"; threads: by default one per core
    progress  : called with (depth, statistics) after every step

    A run that fails or is interrupted returns as well: its `status` is "failed: ..." or "interrupted", and
    the frames saved up to then stand. Raises InvalidInput for whatever is wrong before the run starts.
    """
    scenario = scenario if isinstance(scenario, Scenario) else load(scenario)
    backend = backend or BACKENDS[0]
    if backend not in BACKENDS:
        raise InvalidInput(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads must be at least 1; got {threads}")
    if out is not None:
        _write(scenario, Path(out), overwrite, backend, threads, progress)
        return Trajectory(out)
    folder = tempfile.mkdtemp(prefix="attndyn-")
    try:
        path = Path(folder) / f"{scenario.name}.h5"
        _write(scenario, path, overwrite, backend, threads, progress)
        trajectory = Trajectory(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(trajectory, shutil.rmtree, folder, ignore_errors=True)
    return trajectory


def _write(
    scenario: Scenario,
    path: Path,
    overwrite: bool,
    backend: str,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Integrate a scenario; its frames go to the file while they come."""
    check_target(path, overwrite)
    plan = build(scenario)
    names = scenario.save.observables
    with ExitStack() as stack:

        @cache  # opened with the first frame, when `integrate` has found all arguments good
        def writer() -> TrajectoryWriter:
            return stack.enter_context(
                TrajectoryWriter(
                    path,
                    ensemble=plan.ensemble,
                    scenario=scenario.text,
                    observables=names,
                    provenance=_provenance(scenario, backend, threads),
                    token_strings=plan.strings,
                    overwrite=overwrite,
                )
            )

        def keep(step: int, t: float, positions: NDArray[np.floating]) -> None:
            values = measure(
                names,
                plan.ensemble.at(positions),
                plan.law_at(t),
                cluster_distance=plan.cluster_distance,
                backend=backend,
                threads=threads,
            )
            writer().append(step, t, positions, values)

        solution = integrate(
            plan.laws if len(plan.laws) > 1 else plan.laws[0],
            plan.ensemble,
            on_save=keep,
            on_progress=progress,
            backend=backend,
            threads=threads,
            **plan.arguments(),
        )
        writer().finish(solution.status, solution.statistics.as_dict())


def _provenance(scenario: Scenario, backend: str, threads: int | None) -> dict[str, Any]:
    """What is known of the run: where the scenario came from, and all its values, defaults included."""
    origin = {"name": scenario.name, "folder": str(scenario.folder), "bundled": scenario.folder == LIBRARY}
    return provenance_of_run(
        seed=scenario.tokens.seed,
        threads=threads,
        backend=backend,
        scenario=origin,
        values=scenario.model_dump(mode="json"),
    )
