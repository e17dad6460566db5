"""Short vectors of numbers as a Numba type, so that kernels say which numbers lie side by side in a register.

A `Vector` has `lanes(dtype)` components of one float type, as many as a register of this processor holds. In
compiled code `load(array, index)` and `store(array, index, vector)` address the flat array, `spread(number)` and
`spread_from(array, index)` fill a vector, `fma(a, b, c)` is a * b + c, and +, -, * act lane by lane. Left to itself,
LLVM vectorises only inner loops, uses half the width of AVX-512 and spills the sums of a pair; with the type, the
kernels keep them in registers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, datamodel
from numba.extending import intrinsic, overload, register_model

REGISTER_BYTES = 64 if llvm.get_host_cpu_features().get("avx512f", False) else 32
CONTRACT = ("contract",)  # lets a * b + c become one instruction, in `fma` and the panel product alone


def lanes(dtype: np.dtype | type) -> int:
    """How many numbers of this type one vector holds."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Zeros that start where a register's worth of memory starts: a vector across two cache lines loads twice."""
    return _aligned(np.zeros, shape, dtype)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """The same, with any numbers, for what is written before it is read."""
    return _aligned(np.empty, shape, dtype)


def _aligned(make: Callable[..., np.ndarray], shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = make(size + REGISTER_BYTES, np.uint8)
    first = -memory.ctypes.data % REGISTER_BYTES
    return memory[first : first + size].view(dtype).reshape(shape)


class Vector(types.Type):
    """The Numba type of a vector of `number` (float32 or float64), by default as many as a register holds."""

    def __init__(self, number: types.Float, lanes: int = 0) -> None:
        self.number = number
        self.lanes = lanes or REGISTER_BYTES * 8 // number.bitwidth
        super().__init__(name=f"Vector({number}, {self.lanes})")


@register_model(Vector)
class _VectorModel(datamodel.models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = ir.FloatType() if vector.number.bitwidth == 32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


def constant(vector_type: ir.VectorType, value: float) -> ir.Constant:
    """The vector whose lanes all hold this number, known when compiling."""
    return ir.Constant(vector_type, [ir.Constant(vector_type.element, value)] * vector_type.count)


def _spread(builder, vector_type, value):
    i32 = ir.IntType(32)
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), value, ir.Constant(i32, 0))
    zeros = ir.Constant(ir.VectorType(i32, vector_type.count), [0] * vector_type.count)
    return builder.shuffle_vector(first, ir.Constant(vector_type, ir.Undefined), zeros)


def _address(context, builder, array_type, array, index, vector_type=None):
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    return pointer if vector_type is None else builder.bitcast(pointer, vector_type.as_pointer())


@intrinsic
def wide(typing_context):
    """Let LLVM use the full registers of the processor in the calling function, and in what is inlined into it."""

    def generate(context, builder, signature, arguments):
        # llvmlite knows no name for this attribute, LLVM does
        set.add(builder.function.attributes, f'"prefer-vector-width"="{REGISTER_BYTES * 8}"')
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def load(typing_context, array, index):
    """The vector array.flat[index : index + lanes]."""
    vector = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        vector_type = context.get_value_type(vector)
        pointer = _address(context, builder, signature.args[0], *arguments, vector_type)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, vector):
    """array.flat[index : index + lanes] = vector."""

    def generate(context, builder, signature, arguments):
        vector_type = context.get_value_type(vector)
        pointer = _address(context, builder, signature.args[0], arguments[0], arguments[1], vector_type)
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), generate


@intrinsic
def spread(typing_context, number):
    """The vector whose lanes all hold this number."""
    vector = Vector(number)

    def generate(context, builder, signature, arguments):
        return _spread(builder, context.get_value_type(vector), arguments[0])

    return vector(number), generate


@intrinsic
def spread_from(typing_context, array, index):
    """The vector whose lanes all hold array.flat[index]; unlike array[...] with no check for negative indices."""
    vector = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        number = builder.load(_address(context, builder, signature.args[0], *arguments))
        return _spread(builder, context.get_value_type(vector), number)

    return vector(array, types.intp), generate


@intrinsic
def lane_numbers(typing_context, number):
    """The vector 0, 1, 2, ... of the type of `number`."""
    vector = Vector(number)

    def generate(context, builder, signature, arguments):
        vector_type = context.get_value_type(vector)
        return ir.Constant(vector_type, [ir.Constant(vector_type.element, float(k)) for k in range(vector.lanes)])

    return vector(number), generate


@intrinsic
def number_in(typing_context, vector, number):
    """The vector of the type of `vector` whose lanes all hold this integer."""

    def generate(context, builder, signature, arguments):
        vector_type = context.get_value_type(vector)
        return _spread(builder, vector_type, builder.sitofp(arguments[1], vector_type.element))

    return vector(vector, types.intp), generate


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c, lane by lane."""

    def generate(context, builder, signature, arguments):
        x, y, z = arguments
        return builder.fadd(builder.fmul(x, y, flags=CONTRACT), z, flags=CONTRACT)

    return a(a, b, c), generate


@intrinsic
def largest(typing_context, a, b):
    """The larger of a and b, lane by lane; NaN where a is NaN."""

    def generate(context, builder, signature, arguments):
        x, y = arguments
        return builder.select(builder.fcmp_ordered("<", x, y), y, x)

    return a(a, b), generate


@intrinsic
def square_root(typing_context, vector):
    """The square roots, lane by lane."""

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        name = f"llvm.sqrt.v{vector.lanes}f{vector.number.bitwidth}"
        function_type = ir.FunctionType(value.type, [value.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [value])

    return vector(vector), generate


@intrinsic
def divide(typing_context, a, b):
    """a / b, lane by lane; 0 where b is 0."""

    def generate(context, builder, signature, arguments):
        numerator, denominator = arguments
        zero = constant(numerator.type, 0.0)
        nothing = builder.fcmp_ordered("==", denominator, zero)
        return builder.select(nothing, zero, builder.fdiv(numerator, denominator))

    return a(a, b), generate


@intrinsic
def clear_between(typing_context, lane, low, high, vector, value):
    """`value` in the lanes with low <= lane < high, the vector's own numbers elsewhere."""

    def generate(context, builder, signature, arguments):
        number, first, last, kept, instead = arguments
        inside = builder.and_(builder.fcmp_ordered("<=", first, number), builder.fcmp_ordered("<", number, last))
        return builder.select(inside, instead, kept)

    return vector(lane, low, high, vector, value), generate


@intrinsic
def zero_vectors(typing_context, array, like):
    """A tuple of len(like) zero vectors of the array's type."""
    vector = Vector(array.dtype)
    tuple_type = types.UniTuple(vector, len(like))

    def generate(context, builder, signature, arguments):
        zero = constant(context.get_value_type(vector), 0.0)
        return context.make_tuple(builder, tuple_type, [zero] * tuple_type.count)

    return tuple_type(array, like), generate


def times_power(builder: ir.IRBuilder, value: ir.Value, marked: ir.Value) -> ir.Value:
    """value * 2^k, where marked = 1.5 * 2^(digits - 1) + k: its low bits, moved into the exponent."""
    bits = 64 if isinstance(value.type.element, ir.DoubleType) else 32
    integers = ir.VectorType(ir.IntType(bits), value.type.count)
    fraction = ir.Constant(integers, [52 if bits == 64 else 23] * value.type.count)
    power = builder.shl(builder.bitcast(marked, integers), fraction)
    return builder.bitcast(builder.add(builder.bitcast(value, integers), power), value.type)


@intrinsic
def across_sum(typing_context, vector):
    """The sum of the lanes, halves upon halves."""

    def generate(context, builder, signature, arguments):
        return _reduce(builder, arguments[0], lambda a, b: builder.fadd(a, b))

    return vector.number(vector), generate


def _across(first: str):
    """The lane that stands first in the order "<" or ">"; NaN if one is NaN."""

    @intrinsic
    def extreme(typing_context, vector):
        def earlier(builder, a, b):
            keep = builder.or_(builder.fcmp_ordered(first, a, b), builder.fcmp_unordered("uno", a, a))
            return builder.select(keep, a, b)

        def generate(context, builder, signature, arguments):
            return _reduce(builder, arguments[0], lambda a, b: earlier(builder, a, b))

        return vector.number(vector), generate

    return extreme


across_min, across_max = _across("<"), _across(">")


def _reduce(builder, value, combine):
    i32 = ir.IntType(32)
    parts = [builder.extract_element(value, ir.Constant(i32, k)) for k in range(value.type.count)]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [combine(parts[k], parts[k + half]) for k in range(half)]
    return parts[0]


def _lane_by_lane(name):
    @intrinsic
    def operation(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return a(a, b), generate

    return operation


_add, _subtract, _multiply = _lane_by_lane("fadd"), _lane_by_lane("fsub"), _lane_by_lane("fmul")


@overload(operator.add)
def _overload_add(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _add(a, b)


@overload(operator.sub)
def _overload_subtract(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _subtract(a, b)


@overload(operator.mul)
def _overload_multiply(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _multiply(a, b)


@intrinsic(prefer_literal=True)
def panel_product(
    typing_context,
    a,
    a_start,
    a_row,
    a_depth,
    b,
    b_start,
    b_row,
    c,
    c_start,
    c_row,
    depth,
    rows,
    columns,
    add,
):
    """C (+)= A B for a panel that stays in registers: `rows` x `columns` vectors, the sum over `depth` in order.

    c[c_start + r c_row + l] (+)= sum_p a[a_start + r a_row + p a_depth] b[b_start + p b_row + l],  0 <= r < rows,
    0 <= l < columns * lanes, all arrays flat; rows, columns and add are literals.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral)):
        return None
    count, width, accumulate = rows.literal_value, columns.literal_value, bool(add.literal_value)
    vector, size = Vector(a.dtype), a.dtype.bitwidth // 8

    def generate(context, builder, signature, arguments):
        types_of, n = signature.args, arguments
        vector_type, index_type = context.get_value_type(vector), n[1].type

        def number(k):
            return ir.Constant(index_type, k)

        def pointer(which, offset, as_vector=True):
            kind = vector_type if as_vector else None
            return _address(context, builder, types_of[which], n[which], offset, kind)

        def offsets(start, stride, lane):
            return [builder.add(builder.add(start, builder.mul(stride, number(r))), lane) for r in range(count)]

        lane = [number(w * vector.lanes) for w in range(width)]
        targets = [offsets(n[8], n[9], lane[w]) for w in range(width)]
        zero = constant(vector_type, 0.0)
        start = [
            [builder.load(pointer(7, t), align=size) if accumulate else zero for t in column] for column in targets
        ]
        before = builder.block
        loop, after = builder.append_basic_block("panel"), builder.append_basic_block("panel.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        p = builder.phi(index_type)
        sums = [[builder.phi(vector_type) for _ in range(count)] for _ in range(width)]
        row_of_b = builder.add(n[5], builder.mul(p, n[6]))
        right = [builder.load(pointer(4, builder.add(row_of_b, lane[w])), align=size) for w in range(width)]
        updated = [[] for _ in range(width)]
        for r, offset in enumerate(offsets(n[1], n[2], builder.mul(p, n[3]))):
            left = _spread(builder, vector_type, builder.load(pointer(0, offset, as_vector=False)))
            for w in range(width):
                product = builder.fmul(left, right[w], flags=CONTRACT)
                updated[w].append(builder.fadd(sums[w][r], product, flags=CONTRACT))
        following = builder.add(p, number(1))
        p.add_incoming(number(0), before)
        p.add_incoming(following, loop)
        for w in range(width):
            for r in range(count):
                sums[w][r].add_incoming(start[w][r], before)
                sums[w][r].add_incoming(updated[w][r], loop)
        builder.cbranch(builder.icmp_signed("<", following, n[10]), loop, after)
        builder.position_at_end(after)
        for w in range(width):
            for r in range(count):
                builder.store(updated[w][r], pointer(7, targets[w][r]), align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.none(a, i, i, i, b, i, i, c, i, i, i, rows, columns, add), generate
