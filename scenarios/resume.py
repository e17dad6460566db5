"""Going on with a run that was interrupted, killed or had no room, from its file alone."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..data.checkpoints import Slot
from ..data.opening import guard
from ..data.resuming import Unfinished, check_unfinished, going_on, unfinished
from ..errors import InvalidInput
from ..integrators.checkpoint import Checkpoint
from ..interrupts import Call
from ..logs import logger_of
from ..particles.backends import Engine
from .build import Plan
from .processes import check_divisible, launched, ring, watched
from .run import Progress, engine_of, follow, write_frames
from .schema import Scenario
from .trajectory import Trajectory
from .watch import TimeLimit

LOG = logger_of(__name__)
FEW_PROCESSES = 8  # that are started on any machine


def resume(
    path: str | Path,
    *,
    threads: int | None = None,
    walltime: float | None = None,
    progress: Progress | None = None,
) -> Trajectory:
    """Go on with the run whose file is at `path`, or at `path`.partial, to its end, and open what was written.

    The file that comes out is that of a run that was not disturbed, but for clock times and the note of where it was
    gone on with: to the bit, on the same version of attndyn and kind of machine, on any number of threads.

    threads  : of the numba backend, by default as before
    walltime : seconds after which this piece of the run must have ended
    progress : called with (depth, statistics) after every step

    Raises InvalidInput where there is no run, or one that has reached its end; TrajectoryError where the file cannot be
    read, or another run writes it.
    """
    limit = TimeLimit(walltime)
    found = unfinished(path)
    with Trajectory(found.source) as before:
        check_unfinished(before)
        if not len(before):
            raise InvalidInput(f"{before.path} holds no frame to go on from; run its scenario again with --overwrite")
        _compare_versions(before)
        plan, engine = before.plan, _engine(before.scenario, before.provenance, threads)
        scenario, checkpoint = before.scenario, checkpoint_of(before.checkpoint)
    if engine.processes == 1 and launched() is None:
        _go_on(found, plan, engine, limit, progress)
        return Trajectory(found.path)
    check_divisible(plan, engine.processes)
    with ring(scenario, engine, found.source) as own:
        if own.rank == 0:
            _go_on(found, plan, own.engine, limit, progress, own.called)
        else:
            follow(plan, own.engine, on_checkpoint=watched(own.called, None), resume=checkpoint)
    return Trajectory(found.path)


def _go_on(
    found: Unfinished,
    plan: Plan,
    engine: Engine,
    limit: TimeLimit,
    progress: Progress | None,
    called: Call | None = None,
) -> None:
    """Go on in a new file, which takes the place of the one before. called : of the first of many processes."""
    with Trajectory(found.source) as before:
        writer, slot = going_on(before, found.path)
    try:
        checkpoint = checkpoint_of(slot)
        with guard(found.source, "its checkpoint", "cannot be gone on from"):
            depth, frames = (0.0, 0) if checkpoint is None else (checkpoint.t, checkpoint.frames)
        LOG.info("%s: going on from depth %.6g with %d frames", found.path, depth, frames)
        if checkpoint is not None:
            writer.keep(checkpoint.record, checkpoint.arrays)
        with guard(found.source, "its checkpoint", "cannot be gone on from"):
            write_frames(plan, lambda: writer, engine, limit, progress, checkpoint, called)
    finally:
        writer.abandon()  # where the run has not finished it


def checkpoint_of(slot: Slot | None) -> Checkpoint | None:
    """Where the run of a file stood when that was noted last; None where it never was."""
    return None if slot is None else Checkpoint(slot.record, slot.arrays)


def is_begun(path: Path, scenario: Scenario, **asked: Any) -> bool:
    """Whether there is an unfinished run of this scenario at `path`; False where there is none at all.

    asked : backend, device, processes, where they were named; a run goes on with those that it was begun with

    Raises InvalidInput where the file is that of another scenario, of a run with other ones of these, or of one that
    has reached its end.
    """
    try:
        found = unfinished(path)
    except InvalidInput:
        return False
    with Trajectory(found.source) as there:
        if there.scenario != scenario:
            raise InvalidInput(f"{found.source} is not this scenario; give another name, or leave out --resume")
        check_unfinished(there)
        for name, value in asked.items():
            if (begun := there.provenance.get(name)) != value:
                raise InvalidInput(
                    f"--{name} {value}: {found.source} was begun with {begun}, and goes on so; leave it out"
                )
    return True


def depth_of(path: Path) -> float:
    """The depth that the run at `path` is to reach."""
    with Trajectory(unfinished(path).source) as there:
        return there.scenario.depth.end


def _engine(scenario: Scenario, provenance: dict[str, Any], threads: int | None) -> Engine:
    """The engine of the run, with as many threads as are wanted now."""
    backend, device = _said(provenance, "backend", str, "numba"), _said(provenance, "device", str, "cpu")
    threads = _said(provenance, "threads", int, None) if threads is None else threads
    processes = _said(provenance, "processes", int, 1)
    given, most = launched(), max(FEW_PROCESSES, os.cpu_count() or 1)
    if given is not None and given[1] != processes:
        raise InvalidInput(
            f"the run was begun by {processes} process(es), and goes on with as many; torchrun has {given[1]}"
        )
    if given is None and processes > most:  # the file may be anybody's
        raise InvalidInput(f"the run was begun by {processes} processes; here {most} can be started, more by torchrun")
    return engine_of(scenario, backend=backend, device=device, threads=threads, processes=processes)


def _said(provenance: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """What a file says of its run, which anybody may have written: a value of the type that it should have."""
    value = provenance.get(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else default


def _compare_versions(trajectory: Trajectory) -> None:
    """Warn where what is computed now may differ in its last digits from what was computed before."""
    versions = trajectory.provenance.get("versions")
    wrote, now = versions.get("attndyn") if isinstance(versions, dict) else None, version("attndyn")
    if wrote != now:
        LOG.warning("%s was begun by attndyn %s; this is %s: the last digits may differ", trajectory.path, wrote, now)
