"""Where a run stands between two steps. With it the run goes on, in another process, to the same bits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a step, complete: numbers and texts as JSON holds them, and arrays.

    record : what is not an array: depth, step size, step control, counts, which sums are used
    arrays : "state" (replicas, rows, dimension), the tokens that are moved; what the method carries from step to
             step; after merging also which tokens they are
    """

    record: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def frames(self) -> int:
        """How many frames had been saved."""
        return int(self.record["frames"])

    @property
    def t(self) -> float:
        """The depth reached."""
        return float(self.record["clock"][0] + self.record["clock"][1])


def memory_of(thing: Any) -> dict[str, Any]:
    """What a stepper or a field carries from one step to the next besides the state; nothing, where it says so."""
    tell = getattr(thing, "memory", None)
    return {} if tell is None else tell()


def recall_field(field: Any, memory: Mapping[str, Any]) -> None:
    """Let a field go on with what it told."""
    if memory:
        field.recall(memory)


def checkpoint_of(run: Any) -> Checkpoint:
    """The checkpoint of a run, a `_Run` of integrate.py, between two steps."""
    stepper, merging = run.stepper, run.merging
    host = stepper.arithmetic.host
    method, memory = memory_of(stepper), memory_of(stepper.field)
    arrays = {f"method_{name}": np.array(host(value)) for name, value in method.items() if np.ndim(value)}
    arrays["state"] = np.array(host(run.now[1]))
    if merging.rows is not None:
        arrays |= {"rows": merging.rows.copy(), "weights": np.array(merging.ensemble.weights)}
    if merging.moved is not None:
        arrays["moved"] = merging.moved.copy()
    record = {
        "clock": [run.clock.base, run.clock.local],
        "h": run.h,
        "control": [run.control.before, run.control.rejected],
        "statistics": asdict(run.statistics) | {"wall_seconds": time.perf_counter() - run.began},
        "drifts_before": run.drifts_before,
        "evaluations": stepper.evaluations,
        "frames": run.frames.saved,
        "last": run.frames.last,
        "sums": run.course.engine.sums,
        "merge": merging.distance,
        "drift_change": merging.drift_change,
        "records": run.records,
        "method": {name: value for name, value in method.items() if not np.ndim(value)},
        "field": memory,
    }
    return Checkpoint(record, arrays)


def check(checkpoint: Checkpoint, shape: tuple[int, ...]) -> None:
    """Raise InvalidInput unless a run of tokens of this shape (replicas, tokens, dimension) may go on from here."""
    state = checkpoint.arrays["state"]
    if state.shape[0] != shape[0] or state.shape[2] != shape[2]:
        raise InvalidInput(f"the checkpoint has a state of the shape {state.shape}, the ensemble {shape}")
