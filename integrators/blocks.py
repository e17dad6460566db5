"""Whole steps of many small replicas: a block of them goes through all stages while its numbers are in the cache.

Replicas do not see each other, so every block is stepped by one thread. A block is (tokens, dimension, lanes), the
replicas side by side; its operations are those of `stages`, in the same order for every replica, and give its bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from ..particles.backends.compiled.lanes import (
    doubles,
    from_lanes,
    lane_count,
    load_double,
    over,
    store_double,
    to_lanes,
    zeros_beside,
)
from ..particles.backends.compiled.replicas import ReplicasPlan, Room, blocks, drift_of_block, make_room
from ..particles.backends.compiled.vectors import across_sum, load, spread, square_root, store, wide
from ..particles.backends.compiled.vectors import largest as largest_of
from .stages import combine, step_of, velocity

Array = NDArray[np.floating]


class Block(NamedTuple):
    """One block of replicas as a field."""

    plan: ReplicasPlan
    number: int
    room: Room


def attempt(field: Any, *arguments: Any, every_slope: bool = False) -> float:
    """Try a step as `stages.attempt` with a `CompiledField` of many replicas; it leaves the room for a stage alone.

    Without an error estimate only the last slope is written, unless every slope is asked for.
    """
    radius, rows, nodes, error, low, t, h, x, slopes, _, moved, atol, rtol = arguments
    plan = field.replicas_plan
    norms = np.empty(blocks(plan))
    kept = 1 if every_slope or error.any() else len(rows) - 1

    def work(first: int, last: int) -> None:
        _attempt(plan, radius, rows, nodes, error, low, t, h, x, slopes, moved, atol, rtol, norms, kept, first, last)

    field.over_blocks(work, drifts=len(rows))
    return float(norms.max())  # NaN where one is


def layer(field: Any, radius: float, residual: bool, h: float, x: Array, moved: Array) -> bool:
    """moved = retract(x + h f(x)), or retract(h f(x)), arrays (replicas, tokens, dimension); whether all is finite."""
    plan = field.replicas_plan
    finite = np.empty(blocks(plan), np.bool_)
    field.over_blocks(lambda first, last: _layer(plan, radius, residual, h, x, moved, finite, first, last))
    return bool(finite.all())


@njit(cache=True, nogil=True, error_model="numpy")
def _attempt(plan, radius, rows, nodes, error, low, t, h, x, slopes, moved, atol, rtol, norms, kept, first, last):
    """Try the step of the blocks first..last; norms (blocks,) are their error norms. Slopes kept.. are written."""
    stages = rows.shape[1]
    room = make_room(plan)
    tokens, dimension, lanes = room.x.shape
    here, stage, there = (
        zeros_beside(x, tokens, dimension),
        zeros_beside(x, tokens, dimension),
        zeros_beside(x, tokens, dimension),
    )
    own = zeros_beside(x, (stages + 1) * tokens, dimension).reshape(stages + 1, tokens, dimension, lanes)
    for number in range(first, last):
        to_lanes(x, number, here)
        to_lanes(slopes[0], number, own[0])
        block = Block(plan, number, room)
        norms[number] = _block_attempt(
            block, radius, rows, nodes, error, low, t, h, here, own, stage, there, atol, rtol
        )
        from_lanes(there, number, moved)
        for s in range(kept, stages + 1):
            from_lanes(own[s], number, slopes[s])


@njit(cache=True, nogil=True, error_model="numpy")
def _layer(plan, radius, residual, h, x, moved, finite, first, last):
    """One layer for the blocks first..last; finite (blocks,) says where all components are."""
    room = make_room(plan)
    _, tokens, dimension = x.shape
    here, there = zeros_beside(x, tokens, dimension), zeros_beside(x, tokens, dimension)
    for number in range(first, last):
        to_lanes(x, number, here)
        tangent = number < 0  # False, but no literal
        drift_of_block(plan, number, here, there, tangent, room)
        _advance(here, there, here.dtype.type(h), residual)
        _retract(there, radius)
        finite[number] = _is_finite(there)
        from_lanes(there, number, moved)


@njit(cache=True, error_model="numpy", _nrt=False)
def _advance(here, there, h, residual):
    """there = here + h there, or h there without residual connection."""
    wide()
    for at in range(0, there.size, lane_count(there)):
        step = load(there, at) * spread(h)
        store(there, at, step + load(here, at) if residual else step)


@njit(cache=True, error_model="numpy", _nrt=False)
def _is_finite(x):
    """Whether all components of a block are: x - x is 0 for a number."""
    wide()
    differences = doubles(x, 0.0)
    for at in range(0, x.size, lane_count(x)):
        number = load_double(x, at)
        differences = differences + (number - number)
    return across_sum(differences) == 0.0


@overload(velocity)
def _velocity_of_block(field, t, x, out):
    if not (isinstance(field, types.NamedTuple) and field.instance_class is Block):
        return None

    def evaluate(field, t, x, out):
        tangent = field.number >= 0  # not the literal True, for which Numba would compile the kernels once more
        drift_of_block(field.plan, field.number, x, out, tangent, field.room)

    return evaluate


@njit(cache=True, error_model="numpy", _nrt=False)
def _retract(x, radius):
    """`stages.retract` of a block."""
    wide()
    tokens, dimension, lanes = x.shape[0], x.shape[1], lane_count(x)
    if radius > 0.0:
        for i in range(tokens):
            at = i * dimension * lanes
            square = doubles(x, 0.0)
            for c in range(dimension):
                part = load_double(x, at + c * lanes)
                square = square + part * part
            scale = over(doubles(x, radius), square_root(square))
            for c in range(dimension):
                store_double(x, at + c * lanes, scale * load_double(x, at + c * lanes))


@njit(cache=True, error_model="numpy")
def _error_norm(x, moved, h, slopes, error, low, atol, rtol):
    """`stages.error_norm` of a block."""
    if not np.any(error):  # what is not finite in a slope is not finite at the end of the step
        return 0.0 if _is_finite(moved) and _is_finite(slopes[slopes.shape[0] - 1]) else np.nan
    sums = np.empty((2, x.shape[2]))
    _error_sums(x, moved, h, slopes, error, low, atol, rtol, sums)
    largest = 0.0
    for lane in range(x.shape[2]):
        high, two = sums[0, lane], low.size > 0
        if two and high > 0.0:
            high = high * (high / (high + 0.01 * sums[1, lane]))
        norm = np.sqrt(high / x.shape[0])
        if norm > largest or np.isnan(norm):
            largest = norm
    return largest


@njit(cache=True, error_model="numpy", _nrt=False)
def _error_sums(x, moved, h, slopes, error, low, atol, rtol, sums):
    """sum_i (|error_i| / scale_i)^2 of both estimates, sums (2, lanes)."""
    wide()
    tokens, dimension, lanes = x.shape[0], x.shape[1], lane_count(x)
    nothing = doubles(x, 0.0)
    high_sum, low_sum = nothing, nothing
    for i in range(tokens):
        high_square, low_square, here, there = nothing, nothing, nothing, nothing
        for c in range(dimension):
            at = (i * dimension + c) * lanes
            high_part, low_part = nothing, nothing
            for s in range(error.shape[0]):
                slope = load_double(slopes, s * tokens * dimension * lanes + at)
                high_part = high_part + doubles(x, error[s]) * slope
                if low.size > 0:
                    low_part = low_part + doubles(x, low[s]) * slope
            high_part, low_part = doubles(x, h) * high_part, doubles(x, h) * low_part
            high_square = high_square + high_part * high_part
            low_square = low_square + low_part * low_part
            from_here, to_there = load_double(x, at), load_double(moved, at)
            here, there = here + from_here * from_here, there + to_there * to_there
        largest_square = largest_of(here, there)
        scale = doubles(x, atol) + doubles(x, rtol) * square_root(largest_square)
        scale = scale * scale
        high_sum = high_sum + over(high_square + (largest_square - largest_square), scale)  # NaN where it overflows
        low_sum = low_sum + over(low_square, scale)
    store(sums, 0, high_sum)
    store(sums, lanes, low_sum)


_block_attempt = njit(
    step_of(combine=combine, retract=_retract, velocity=velocity, error_norm=_error_norm),
    cache=True,
    error_model="numpy",
)
