"""Replicas side by side: a block of as many replicas as a vector has lanes, (tokens, dimension, lanes), and back.

The number at [token, component, lane] is that of the replica `lane` of the block, so what is done to a vector is done
to the same component of every replica. Behind the last replica a block holds copies of it, which nobody reads.

What has to be computed in float64 for float32 replicas too, norms, is done with vectors of as many float64 numbers:
`load_double`, `store_double`, `doubles`, `over`.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .vectors import Vector, _address, _spread, wide


@intrinsic
def lane_count(typing_context, array):
    """How many numbers of this array a vector holds, a constant when compiling: addresses need no multiplications."""
    lanes = Vector(array.dtype).lanes
    return types.intp(array), lambda context, builder, signature, arguments: context.get_constant(types.intp, lanes)


@intrinsic
def load_double(typing_context, array, index):
    """The vector array.flat[index : index + lanes] as float64."""
    wide_vector, vector = Vector(types.float64, Vector(array.dtype).lanes), Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        pointer = _address(context, builder, signature.args[0], *arguments, context.get_value_type(vector))
        value = builder.load(pointer, align=array.dtype.bitwidth // 8)
        return value if vector == wide_vector else builder.fpext(value, context.get_value_type(wide_vector))

    return wide_vector(array, types.intp), generate


@intrinsic
def store_double(typing_context, array, index, vector):
    """array.flat[index : index + lanes] = vector, rounded to the type of the array."""

    def generate(context, builder, signature, arguments):
        narrow = context.get_value_type(Vector(array.dtype, vector.lanes))
        value = arguments[2] if narrow == arguments[2].type else builder.fptrunc(arguments[2], narrow)
        pointer = _address(context, builder, signature.args[0], arguments[0], arguments[1], narrow)
        builder.store(value, pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), generate


@intrinsic
def doubles(typing_context, array, number):
    """The vector of float64, as many as a vector of this array holds, whose lanes all hold this number."""
    vector = Vector(types.float64, Vector(array.dtype).lanes)

    def generate(context, builder, signature, arguments):
        return _spread(builder, context.get_value_type(vector), arguments[1])

    return vector(array, types.float64), generate


@intrinsic
def over(typing_context, a, b):
    """a / b, lane by lane."""
    return a(a, b), lambda context, builder, signature, arguments: builder.fdiv(*arguments)


@intrinsic
def where_at_least(typing_context, number, least, value, otherwise):
    """`value` in the lanes whose number is at least `least`, `otherwise` elsewhere."""

    def generate(context, builder, signature, arguments):
        a, b, yes, no = arguments
        return builder.select(builder.fcmp_ordered(">=", a, b), yes, no)

    return value(number, least, value, otherwise), generate


@intrinsic
def _transpose(typing_context, source, start, row, target, target_start, target_row):
    """target[target_start + m target_row + l] = source[start + l row + m] for all l, m < lanes, both arrays flat."""
    vector, size = Vector(source.dtype), source.dtype.bitwidth // 8

    def generate(context, builder, signature, arguments):
        vector_type, index_type = context.get_value_type(vector), arguments[1].type

        def pointer(which, number):
            array, first, stride = arguments[3 * which : 3 * which + 3]
            offset = builder.add(first, builder.mul(stride, ir.Constant(index_type, number)))
            return _address(context, builder, signature.args[3 * which], array, offset, vector_type)

        rows = [builder.load(pointer(0, number), align=size) for number in range(vector.lanes)]
        half = 1
        while half < vector.lanes:  # swap blocks of this width across the diagonal
            for first in range(vector.lanes):
                if not first & half:
                    low, high = rows[first], rows[first + half]
                    rows[first] = builder.shuffle_vector(low, high, _places(vector.lanes, half, 0))
                    rows[first + half] = builder.shuffle_vector(low, high, _places(vector.lanes, half, half))
            half *= 2
        for number, values in enumerate(rows):
            builder.store(values, pointer(1, number), align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.none(source, i, i, target, i, i), generate


def _places(lanes: int, half: int, shift: int) -> ir.Constant:
    """Which lanes of two vectors, one behind the other, a swap takes."""
    taken = [shift + (k if not k & half else lanes + k - half) for k in range(lanes)]
    return ir.Constant(ir.VectorType(ir.IntType(32), lanes), taken)


@njit(cache=True, nogil=True)
def zeros_beside(like, rows, columns):
    """Zeros (rows, columns, lanes) of the type of `like`, starting where a register's worth of memory starts."""
    lanes = lane_count(like)
    size = rows * columns * lanes
    memory = np.zeros(size + lanes, like.dtype)
    first = -memory.ctypes.data % (lanes * like.itemsize) // like.itemsize
    return memory[first : first + size].reshape(rows, columns, lanes)


@njit(cache=True, nogil=True)
def to_lanes(x, block, out):
    """The replicas of one block of x (replicas, tokens, dimension) as out (tokens, dimension, lanes)."""
    wide()
    replicas, tokens, dimension = x.shape
    lanes, width = lane_count(out), tokens * dimension
    first = block * lanes
    done = 0
    if first + lanes <= replicas and x.itemsize == out.itemsize:
        done = width // lanes * lanes
        for m in range(0, done, lanes):
            _transpose(x, first * width + m, width, out, m * lanes, lanes)
    for m in range(done, width):
        i, c = m // dimension, m % dimension
        for lane in range(lanes):
            out[i, c, lane] = x[min(first + lane, replicas - 1), i, c]


@njit(cache=True, nogil=True)
def from_lanes(x, block, out):
    """Write x (tokens, dimension, lanes) to the replicas of its block in out (replicas, tokens, dimension)."""
    wide()
    replicas, tokens, dimension = out.shape
    lanes, width = lane_count(x), tokens * dimension
    first = block * lanes
    done = 0
    if first + lanes <= replicas:
        done = width // lanes * lanes
        for m in range(0, done, lanes):
            _transpose(x, m * lanes, lanes, out, first * width + m, width)
    for m in range(done, width):
        i, c = m // dimension, m % dimension
        for lane in range(min(lanes, replicas - first)):
            out[first + lane, i, c] = x[i, c, lane]
