"""What is done to several vectors at once, each a tuple of them.

Written out vector by vector: LLVM leaves a loop over the vectors of a tuple a loop, which costs more than what it does.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import CONTRACT, Vector, _address, _spread, constant


def _for_each(us: types.UniTuple, build: Callable[..., ir.Value]):
    """Code that calls build(builder, ...) with one vector of every tuple and all other arguments as they are."""

    def generate(context, builder, signature, arguments):
        columns = [
            cgutils.unpack_tuple(builder, value) if isinstance(kind, types.UniTuple) else [value] * us.count
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        return context.make_tuple(builder, us, [build(builder, *row) for row in zip(*columns, strict=True)])

    return generate


def _over_components(build: Callable[..., ir.Value]):
    """Code that replaces u by build(builder, u, q_c, k_c) for every component c in turn; key by key k_c is a number."""

    def generate(context, builder, signature, arguments):
        us, qs, keys, at, width = arguments
        sums = cgutils.unpack_tuple(builder, us)
        for c, q in enumerate(cgutils.unpack_tuple(builder, qs)):
            for u, total in enumerate(sums):
                place = builder.add(at, builder.mul(width, ir.Constant(at.type, u)))
                place = builder.add(place, ir.Constant(at.type, c))
                number = builder.load(_address(context, builder, signature.args[2], keys, place))
                sums[u] = build(builder, total, q, _spread(builder, q.type, number))
        return context.make_tuple(builder, signature.return_type, sums)

    return generate


def _multiply_add(builder, a, b, c):
    return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)


@intrinsic
def add_products(typing_context, us, q, keys, at, width):
    """u + <q, k> for as many keys: q is a tuple of vectors, the keys lie at keys.flat[at + u width]."""

    def build(builder, total, q_c, k_c):
        return _multiply_add(builder, q_c, k_c, total)

    return us(us, q, keys, types.intp, types.intp), _over_components(build)


@intrinsic
def add_squares(typing_context, us, q, keys, at, width):
    """u + |q - k|^2 of the same."""

    def build(builder, total, q_c, k_c):
        apart = builder.fsub(q_c, k_c)
        return _multiply_add(builder, apart, apart, total)

    return us(us, q, keys, types.intp, types.intp), _over_components(build)


@intrinsic
def zeros(typing_context, us):
    """As many zero vectors."""
    return us(us), _for_each(us, lambda builder, u: constant(u.type, 0.0))


@intrinsic
def scaled(typing_context, factor, us, cs):
    """factor u + c."""

    def build(builder, a, u, c):
        return _multiply_add(builder, a, u, c)

    return us(factor, us, cs), _for_each(us, build)


@intrinsic
def multiplied(typing_context, us, vs):
    """u v."""
    return us(us, vs), _for_each(us, lambda builder, u, v: builder.fmul(u, v))


@intrinsic
def square_roots(typing_context, us):
    """sqrt(u)."""

    def build(builder, u):
        bits = 64 if isinstance(u.type.element, ir.DoubleType) else 32
        function_type = ir.FunctionType(u.type, [u.type])
        name = f"llvm.sqrt.v{u.type.count}f{bits}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [u])

    return us(us), _for_each(us, build)


@intrinsic
def at_most(typing_context, us, most):
    """The lesser of u and the vector `most`; NaN where u is."""

    def build(builder, u, bound):
        return builder.select(builder.fcmp_ordered(">", u, bound), bound, u)

    return us(us, most), _for_each(us, build)


@intrinsic
def positive_parts(typing_context, us):
    """max(u, 0); NaN where u is."""

    def build(builder, u):
        zero = constant(u.type, 0.0)
        return builder.select(builder.fcmp_ordered("<", u, zero), zero, u)

    return us(us), _for_each(us, build)


@intrinsic
def openings(typing_context, us):
    """1 / (1 + u)."""

    def build(builder, u):
        one = constant(u.type, 1.0)
        return builder.fdiv(one, builder.fadd(one, u))

    return us(us), _for_each(us, build)


@intrinsic
def any_below(typing_context, us, vs):
    """Whether u < v in any lane of any of them."""

    def generate(context, builder, signature, arguments):
        found = None
        for u, v in zip(*(cgutils.unpack_tuple(builder, value) for value in arguments), strict=True):
            below = builder.fcmp_ordered("<", u, v)
            found = below if found is None else builder.or_(found, below)
        bits = ir.IntType(found.type.count)
        return builder.icmp_unsigned("!=", builder.bitcast(found, bits), ir.Constant(bits, 0))

    return types.boolean(us, vs), generate


@intrinsic
def load_all(typing_context, like, array, index, step):
    """The vectors array.flat[index + u step : + lanes], as many as `like` is long."""
    vectors = types.UniTuple(Vector(array.dtype), len(like))

    def generate(context, builder, signature, arguments):
        _, source, first, stride = arguments
        vector_type = context.get_value_type(vectors.dtype)
        places = _places(context, builder, signature.args[1], source, first, stride, vectors.count, vector_type)
        loaded = [builder.load(place, align=array.dtype.bitwidth // 8) for place in places]
        return context.make_tuple(builder, vectors, loaded)

    return vectors(like, array, types.intp, types.intp), generate


@intrinsic
def store_all(typing_context, array, index, step, us):
    """array.flat[index + u step : + lanes] = u."""

    def generate(context, builder, signature, arguments):
        target, first, stride, vectors = arguments
        numbers = cgutils.unpack_tuple(builder, vectors)
        places = _places(context, builder, signature.args[0], target, first, stride, len(numbers), numbers[0].type)
        for number, place in zip(numbers, places, strict=True):
            builder.store(number, place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, us), generate


def _places(context, builder, array_type, array, first, stride, count, vector_type):
    """The addresses of `count` vectors, `stride` numbers apart."""
    offsets = [builder.add(first, builder.mul(stride, ir.Constant(first.type, u))) for u in range(count)]
    return [_address(context, builder, array_type, array, offset, vector_type) for offset in offsets]
