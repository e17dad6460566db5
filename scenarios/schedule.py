"""The table depth.schedule of a scenario file: its keys, and what of them contradicts the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from ..integrators import method_of
from ..particles.weights import GAUSSIAN
from .sources import arrays_named
from .values import Section

if TYPE_CHECKING:
    from .schema import Scenario
    from .sections import Depth

MAX_DEPTHS = 100_000
PER_CORRELATION = 10  # depths on one correlation length, by default
SLACK = 1e-9
MUST_DIFFER = (
    "needs a matrix to draw, { law = ... }, under attention or block.feed_forward, or files whose arrays hold one "
    "matrix for each layer along their first axis"
)


class ScheduleSection(Section):
    """How matrices change with depth: those that are drawn, and those of files that hold one for each layer."""

    kind: Literal["piecewise", "interpolated", "ornstein-uhlenbeck"] = Field(
        description="Other matrices at some depths, kept until the next or interpolated; or a Gaussian process."
    )
    depths: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] | None = Field(
        default=None, description="The depths of the matrices; depth 0 is always one of them, the last ones stay."
    )
    every: float | None = Field(
        default=None, gt=0, description="Instead of depths: the distance of two; by default a tenth of the correlation."
    )
    correlation: float | None = Field(
        default=None, gt=0, description="Of ornstein-uhlenbeck: at a distance s in depth it is exp(-s / correlation)."
    )


def may_differ(scenario: Scenario) -> bool:
    """Whether laws may differ by depth: something is drawn, or read from a file, which may hold one for each layer."""
    sections = (scenario.attention, scenario.block)
    return any(section.drawn() or any(arrays_named([section.model_dump()])) for section in sections)


def depths_of(depth: Depth) -> list[float]:
    """The depths at which the matrices of a run are drawn, from 0 on; where interpolated, up to its end or beyond."""
    schedule = depth.schedule
    assert schedule is not None
    if schedule.depths is not None:
        return schedule.depths if schedule.depths[0] == 0.0 else [0.0, *schedule.depths]
    every = _every(depth)
    count = int(np.ceil(depth.end / every - SLACK)) + (schedule.kind != "piecewise")
    return (np.arange(count) * every).tolist()


def wrong_schedule(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Pairs of a key and a sentence that says with what it does not go together."""
    depth, schedule = scenario.depth, scenario.depth.schedule
    if depth.scaling != "1/L" and (depth.layers is None or not depth.residual):
        yield "depth.scaling", f'"{depth.scaling}" needs depth.layers, with the residual connection'
    if depth.weights != "schedule":
        if schedule is not None:
            yield "depth.schedule", f'belongs to weights = "schedule"; got weights = "{depth.weights}"'
        return
    if schedule is None:
        yield "depth.schedule", 'missing; weights = "schedule" needs { kind = ..., every = ... }'
        return
    if not may_differ(scenario):
        yield "depth.weights", f'"schedule" {MUST_DIFFER}'
    if scenario.block.norm == "mix":
        yield "block.norm", '"mix" does not go with depth.weights = "schedule": it has a depth of its own'
    if depth.sums != "exact" and schedule.kind != "piecewise":
        yield "depth.sums", f'must be "exact" with a schedule of kind "{schedule.kind}"; got "{depth.sums}"'
    wrong = list(_wrong_keys(scenario, schedule))
    yield from wrong or _wrong_depths(depth)


def _wrong_keys(scenario: Scenario, schedule: ScheduleSection) -> Iterator[tuple[str, str]]:
    process = schedule.kind == "ornstein-uhlenbeck"
    if schedule.depths is not None and schedule.every is not None:
        yield "depth.schedule.every", "give either every or depths, not both"
    if schedule.correlation is not None and not process:
        yield "depth.schedule.correlation", f'belongs to kind = "ornstein-uhlenbeck"; got kind = "{schedule.kind}"'
    if process and schedule.correlation is None:
        yield "depth.schedule.correlation", 'missing; kind = "ornstein-uhlenbeck" needs it'
    if schedule.depths is None and schedule.every is None and not process:
        yield "depth.schedule.every", f'missing; kind = "{schedule.kind}" needs every or depths'
    if schedule.depths is not None and (np.diff(schedule.depths) <= 0).any():
        yield "depth.schedule.depths", f"must increase; got {schedule.depths}"
    if not process:
        return
    drawn = {f"attention.{name}": getattr(scenario.attention, name) for name in scenario.attention.drawn()}
    feed = scenario.block.feed_forward
    drawn |= {f"block.feed_forward.{name}": getattr(feed, name) for name in scenario.block.drawn()}
    for key, matrix in drawn.items():
        if matrix.law not in GAUSSIAN:
            yield (
                key,
                f'must be of one of the laws {", ".join(GAUSSIAN)} with ornstein-uhlenbeck; got "{matrix.law}"',
            )


def _wrong_depths(depth: Depth) -> Iterator[tuple[str, str]]:
    """Steps of a fixed length must meet the depths, which must not be too many."""
    assert depth.schedule is not None
    if depth.schedule.depths is None and depth.end / _every(depth) > MAX_DEPTHS:
        yield "depth.schedule.every", f"must leave at most {MAX_DEPTHS} depths; got {depth.end / _every(depth):.3g}"
        return
    if depth.layers is not None or depth.step is None or method_of(depth.method).adaptive:
        return
    key = "depth.schedule.every" if depth.schedule.depths is None else "depth.schedule.depths"
    steps = np.array(depths_of(depth)) / depth.step
    off = (np.abs(steps - np.rint(steps)) > SLACK * np.maximum(steps, 1.0)) & (steps * depth.step < depth.end)
    if off.any():
        yield key, f"must lie on multiples of the step {depth.step:g}; got {steps[off][0] * depth.step:g}"


def _every(depth: Depth) -> float:
    """The distance of two depths; by default on whole steps, where there are any."""
    assert depth.schedule is not None
    if depth.schedule.every is not None:
        return depth.schedule.every
    assert depth.schedule.correlation is not None
    every = min(depth.schedule.correlation / PER_CORRELATION, depth.end)
    stepwise = depth.layers is not None or not method_of(depth.method).adaptive
    step = depth.layer_step if depth.layers is not None else depth.step
    return every if step is None or not stepwise else max(round(every / step), 1) * step
