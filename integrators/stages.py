"""One Runge-Kutta step, written once: Python runs it for arrays and tensors, Numba compiles it for small systems.

In Python `velocity` asks the field; in compiled code the field is the plan of a small system and the kernels are
called directly, so that a step of 32 tokens costs one call from Python instead of a dozen.
"""

from __future__ import annotations

import types as types_of_python

import numpy as np
from numba import njit, types
from numba.extending import overload

from ..particles.backends.compiled.pairs import PairsPlan, attend, project
from ..particles.backends.compiled.tangents import retract


def velocity(field, t, x, out):
    """Write the drift of the field at depth t and positions x (replicas, tokens, dimension) into out."""
    field.velocity(t, x, out)


@overload(velocity)
def _compiled_velocity(field, t, x, out):
    if not (isinstance(field, types.NamedTuple) and field.instance_class is PairsPlan):
        return None

    def evaluate(field, t, x, out):
        units = field.bound.shape[0] * (field.bound.shape[2] // field.lanes)
        # not the literals 0 and True, for which Numba would compile the kernels once more
        first, tangent = units - units, units >= 0
        project(field, x, tangent, first, units)
        attend(field, out, tangent, first, units)

    return evaluate


@njit(cache=True)
def combine(out, x, h, coefficients, slopes, count):
    """out = x + h sum_{s < count} coefficients_s slopes_s, arrays (replicas, tokens, dimension)."""
    flat_out, flat_x = out.reshape(-1), x.reshape(-1)
    for i in range(flat_x.size):
        flat_out[i] = flat_x[i]
    for s in range(count):
        if coefficients[s] == 0.0:
            continue
        factor = flat_x.dtype.type(h * coefficients[s])
        slope = slopes[s].reshape(-1)
        for i in range(flat_x.size):
            flat_out[i] += factor * slope[i]


@njit(cache=True, error_model="numpy")
def error_norm(x, moved, h, slopes, error, low, atol, rtol):
    """The largest over replicas of sqrt(mean_i (|error_i| / scale_i)^2), scale_i = atol + rtol max(|x_i|, |x'_i|).

    error_i is the vector of token i, so that the norm does not change when all tokens are rotated. With a second
    estimate (`low` not empty) |error|^2 is divided by sqrt(|error|^2 + 0.01 |low|^2), as dop853 does. NaN where
    |x_i|^2 overflows.
    """
    replicas, tokens, dimension = x.shape
    two = low.size > 0
    largest = 0.0
    for r in range(replicas):
        high_sum, low_sum = 0.0, 0.0
        for i in range(tokens):
            here, there, high_square, low_square = 0.0, 0.0, 0.0, 0.0
            for c in range(dimension):
                high_part, low_part = 0.0, 0.0
                for s in range(error.shape[0]):
                    slope = np.float64(slopes[s, r, i, c])
                    high_part += error[s] * slope
                    if two:
                        low_part += low[s] * slope
                high_part, low_part = h * high_part, h * low_part  # first: the square of a slope may be 0
                high_square += high_part * high_part
                low_square += low_part * low_part
                here += np.float64(x[r, i, c]) * x[r, i, c]
                there += np.float64(moved[r, i, c]) * moved[r, i, c]
            largest_square = max(here, there)
            scale = atol + rtol * np.sqrt(largest_square)
            # NaN where the square of a length overflows: there scores do, and every error would look small
            high_sum += (high_square + (largest_square - largest_square)) / (scale * scale)
            low_sum += low_square / (scale * scale)
        if two and high_sum > 0.0:
            high_sum = high_sum * (high_sum / (high_sum + 0.01 * low_sum))
        norm = np.sqrt(high_sum / tokens)
        if norm > largest or np.isnan(norm):  # a NaN stays
            largest = norm
    return largest


def attempt(field, radius, rows, nodes, error, low, t, h, x, slopes, stage, moved, atol, rtol):
    """Try a step of size h from x, whose slope is slopes[0]: fill the other slopes and `moved`; the error norm.

    rows : (stages + 1, stages), the matrix a of the tableau with the weights b below it; nodes : (stages + 1,),
    its row sums

    Stages lie off a sphere by O(h^2), where the velocity is that of the retracted point; only the end of the step
    is retracted, which keeps the order. The error norm is NaN when anything is not finite, also without error
    weights.
    """
    stages = rows.shape[1]
    for s in range(1, stages + 1):
        target = moved if s == stages else stage
        combine(target, x, h, rows[s], slopes, s)
        if s == stages:
            retract(target, radius)
        velocity(field, t + h * nodes[s], target, slopes[s])
    return error_norm(x, moved, h, slopes, error, low, atol, rtol)


def step_of(**operations):
    """The same step with other operations under the names combine, retract, velocity and error_norm.

    Not a closure over them: Numba would not find in its cache, in another process, what it has compiled.
    """
    return types_of_python.FunctionType(attempt.__code__, {**globals(), **operations}, attempt.__name__)


compiled_attempt = njit(attempt, cache=True, error_model="numpy")
