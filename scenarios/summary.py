"""A plan and a trajectory in words, for the command line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..data import Trajectory
from ..data.layout import partial_path
from .build import Plan
from .parts import word


def summary(plan: Plan) -> str:
    """What a run would do, in one line."""
    return f"{dynamics(plan)}, {len(plan.save_times)} frames, about {_bytes(plan.file_size)}"


def dynamics(plan: Plan) -> str:
    """Which tokens move where, by which law, and how far, in one line."""
    ensemble, scenario = plan.ensemble, plan.scenario
    attention, depth = scenario.attention, scenario.depth
    replicas = f"{ensemble.replicas} x " if ensemble.replicas > 1 else ""
    law = "unnormalised" if word(attention.normalisation) == "none" else word(attention.normalisation)
    score = "" if word(attention.score) == "dot" else f" {word(attention.score)}"
    mask = score + ("" if word(attention.mask) == "none" else f" {word(attention.mask)}")
    norm = "" if scenario.block.norm == "none" else f" {scenario.block.norm.removesuffix('-norm')}-normalised"
    feed = scenario.block.feed_forward
    more = "" if feed is None else f" and a {feed.activation} feed-forward map"
    heads = f" {attention.heads} heads," if attention.heads > 1 else ""
    if depth.layers is not None:
        way = f"{depth.layers} layers of step {depth.layer_step:g} with {depth.weights} weights"
    else:
        way = f"depth {depth.end:g} by {depth.method}"
    if depth.noise > 0.0:
        way += f" with noise {depth.noise:g}"
    return (
        f"{replicas}{ensemble.tokens} tokens {place(plan)},{norm} {law}{mask} attention{more},{heads} beta = "
        f"{attention.beta:g}, {way}"
    )


def ending(trajectory: Trajectory) -> str:
    """How a run ended, in one line."""
    statistics = trajectory.statistics
    depth = f"at depth {trajectory.times[-1]:g}" if len(trajectory) else "before the first frame"
    return (
        f"{trajectory.status} {depth}: {len(trajectory)} frames in {trajectory.path} "
        f"({statistics.get('wall_seconds', math.nan):.2f} s, "
        f"{statistics.get('drift_evaluations', math.nan):.0f} drift evaluations)"
    )


def outcome(trajectory: Trajectory) -> dict[str, Any]:
    """The end of a run as JSON has it; numbers that are not finite become null."""
    return {
        "status": trajectory.status,
        "out": str(trajectory.path),
        "frames": len(trajectory),
        "depth": float(trajectory.times[-1]) if len(trajectory) else None,
        "shape": dict(zip(("replicas", "tokens", "dimension"), trajectory.positions.shape[1:], strict=True)),
        "statistics": {name: _finite(value) for name, value in trajectory.statistics.items()},
        "analyses": [result.request.as_record() for result in trajectory.kept.results],
        "observables": {
            name: _finite(values[-1]) if len(values) else None for name, values in trajectory.observables.items()
        },
    }


def overview(trajectory: Trajectory) -> str:
    """What a trajectory file holds, in a few lines."""
    frames, replicas, tokens, dimension = trajectory.positions.shape
    lines = [
        f"{trajectory.path}: {trajectory.status}",
        f"  tokens       {replicas} x {tokens} in dimension {dimension}, {trajectory.positions.dtype}, "
        f"{trajectory.space.name}",
    ]
    if (partial := partial_path(trajectory.path)).is_file():
        lines.append(f"  newer        {partial}, of a run that goes on with this one, or was killed when it did")
    if frames:
        lines.append(f"  frames       {frames}, depth {trajectory.times[0]:g} to {trajectory.times[-1]:g}")
        lines += [
            f"  {name:<18} {_span(values[0])} -> {_span(values[-1])}" for name, values in trajectory.observables.items()
        ]
    every = (0, frames, 1)
    if trajectory.kept.results:
        lines.append(f"  kept analyses      {trajectory.kept.in_words(every)}")
    lines += [f"  {remark}" for remark in trajectory.kept.remarks]
    for name, value in trajectory.statistics.items():
        lines.append(f"  {name:<18} {value:g}" if isinstance(value, (int, float)) else f"  {name:<18} {value}")
    return "\n".join(lines)


def _span(values: np.ndarray) -> str:
    """The value of one replica, or the range over several."""
    low, high = np.min(values), np.max(values)
    return f"{low:.6g}" if low == high else f"{low:.6g} .. {high:.6g}"


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_finite(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def place(plan: Plan) -> str:
    """Where tokens live, with its preposition: "on the circle", "in R^3"."""
    space, dimension = plan.scenario.space, plan.ensemble.dimension
    if space.kind == "euclidean":
        return f"in R^{dimension}"
    radius = "" if space.radius in (None, 1.0) else f" of radius {space.radius:.6g}"
    return f"on the circle{radius}" if dimension == 2 else f"on the sphere{radius} in R^{dimension}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
