"""Many small replicas: a vector holds the same component of as many replicas, so no lane is ever empty.

A block of replicas, (tokens, dimension, lanes) as in `lanes`, goes through the whole drift in the first cache. The
arithmetic is that of `pairs`, in the same order for every replica: both give the same bits, and a replica moves as it
would alone. Where `pairs` would have to replace a bound that is too loose, a replica is given to it.

Where the weight of a pair is the same in both directions (Q = K = I up to a factor on a sphere, no mask), it is
computed once. The sum of row i runs over the keys in their order all the same: when row i is reached, it holds the
terms of the keys before i, which the rows before it have left there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from .exponential import exp2
from .lanes import from_lanes, lane_count, to_lanes, zeros_beside
from .pair_sums import CHUNK, LEAST_SUM32, LEAST_SUM64
from .pairs import MARGIN32, MARGIN64, PairsPlan, attend, project
from .plan import CAUSAL, NO_MASK, WITHOUT_SELF
from .vectors import (
    across_max,
    across_sum,
    aligned_zeros,
    divide,
    fma,
    largest,
    load,
    spread,
    square_root,
    store,
    wide,
    zero_vectors,
)

TOGETHER = 4  # keys whose exponentials are computed side by side
MOST_TOKENS = CHUNK  # above, `pairs` adds up chunks of keys; and the vectors of its rows are well filled
Array = NDArray[np.floating]


class ReplicasPlan(NamedTuple):
    """The law, for blocks of replicas.

    pairs   : the same law, token by token
    weights : (blocks, tokens, lanes), or (1, tokens, lanes) where all replicas have the same
    positions, drifts : (replicas, tokens, dimension), room for replicas that are given to `pairs`
    """

    lanes: int
    pairs: PairsPlan
    weights: Array
    positions: Array
    drifts: Array


class Room(NamedTuple):
    """Where one block at a time is computed.

    points : (tokens, dimension + 1, lanes)              the retracted positions and 1
    query  : (tokens, head_dimension, lanes)             bound : (tokens, 1, lanes)
    keys   : (tokens + TOGETHER, head_dimension + value_dimension + 1, lanes)   k_j, a_j v_j, a_j; zero at the end
    sums   : (tokens + TOGETHER, value_dimension + 1, lanes)                    sum_j w_ij a_j v_j, sum_j w_ij a_j
    joined : (tokens, heads * value_dimension + 1, lanes)                       the values of all heads and 1
    x, f   : (tokens, dimension, lanes)                  positions and drift
    """

    points: Array
    query: Array
    bound: Array
    keys: Array
    sums: Array
    joined: Array
    x: Array
    f: Array


def applies(pairs: PairsPlan, shape: tuple[int, ...]) -> bool:
    """Whether replicas side by side pay: when there are enough, and few whose bound is sure to be too loose."""
    replicas, tokens, _ = shape
    # behind a mask a row may see weights of zero alone: its sum is 0, which looks like a loose bound
    seen = pairs.mask == NO_MASK or (tokens > 1 and bool((pairs.weights[:, :tokens] > 0).all()))
    return replicas >= pairs.lanes and tokens <= MOST_TOKENS and seen


def make_plan(pairs: PairsPlan, shape: tuple[int, ...]) -> ReplicasPlan:
    """The plan for ensembles of `shape`."""
    replicas, tokens, _ = shape
    dtype = pairs.weights.dtype
    given = np.ascontiguousarray(pairs.weights[:, :tokens, None])
    different = -(-replicas // pairs.lanes) if (given != given[:1]).any() else 1
    weights = aligned_zeros((different, tokens, 1, pairs.lanes), dtype)
    for block in range(different):
        to_lanes(given, block, weights[block])
    return ReplicasPlan(
        lanes=pairs.lanes,
        pairs=pairs,
        weights=weights[:, :, 0],
        positions=np.zeros(shape, dtype),
        drifts=np.zeros(shape, dtype),
    )


def blocks(plan: ReplicasPlan) -> int:
    """How many blocks there are."""
    return -(-plan.positions.shape[0] // plan.lanes)


@njit(cache=True, nogil=True)
def make_room(plan):
    """Room for one block."""
    like, tokens, dimension = plan.weights, plan.weights.shape[1], plan.positions.shape[2]
    d, dv, heads = len(plan.pairs.like), len(plan.pairs.values), plan.pairs.query.shape[1]
    room = Room(
        points=zeros_beside(like, tokens, dimension + 1),
        query=zeros_beside(like, tokens, d),
        bound=zeros_beside(like, tokens, 1),
        keys=zeros_beside(like, tokens + TOGETHER, d + dv + 1),
        sums=zeros_beside(like, tokens + TOGETHER, dv + 1),
        joined=zeros_beside(like, tokens, heads * dv + 1),
        x=zeros_beside(like, tokens, dimension),
        f=zeros_beside(like, tokens, dimension),
    )
    room.points[:, dimension] = 1
    room.joined[:, heads * dv] = 1
    return room


@njit(cache=True, nogil=True, error_model="numpy")
def drift(plan, positions, out, tangent, first, last):
    """Write the drift of the blocks first..last, positions and out (replicas, tokens, dimension)."""
    room = make_room(plan)
    for block in range(first, last):
        to_lanes(positions, block, room.x)
        drift_of_block(plan, block, room.x, room.f, tangent, room)
        from_lanes(room.f, block, out)


@njit(cache=True, nogil=True, error_model="numpy")
def drift_of_block(plan, block, x, out, tangent, room):
    """Write the drift of one block, x and out (tokens, dimension, lanes); tangent: of the retracted x, projected."""
    wide()
    p = plan.pairs
    like, values, dv = p.like, p.values, len(p.values)
    tokens, heads = x.shape[0], p.query.shape[1]
    _place(like, x, tangent, p.radius, room.points)
    lowest = spread(like[0]) - spread(like[0] + x.dtype.type(np.inf))  # minus the least of all sums
    total = spread(like[0])  # NaN where one is
    for h in range(heads):
        _project(like, values, p.matrices, p.shared_bound, plan.weights, block % plan.weights.shape[0], h, room)
        if p.shared_bound:
            _sum_both(like, values, room.query, room.bound, room.keys, room.sums)
        else:
            _sum_rows(like, values, p.mask, room.query, room.bound, room.keys, room.sums)
        for i in range(tokens):
            partition = load(room.sums, (i * (dv + 1) + dv) * p.lanes)
            lowest = largest(lowest, spread(like[0]) - partition)
            total = total + partition
        _normalise(like, values, p.softmax, p.shift, p.shared_bound, room.bound, room.sums, room.joined, h)
    _finish(like, p.output, p.radius, room.points, room.joined, tangent, out)
    least = LEAST_SUM64 if x.itemsize == 8 else LEAST_SUM32
    if not (across_max(lowest) < -least and across_sum(total) < np.inf):
        store(room.bound, 0, lowest)
        store(room.sums, 0, total)
        for lane in range(p.lanes):
            replica = block * p.lanes + lane
            sound = room.bound[0, 0, lane] < -least and room.sums[0, 0, lane] < np.inf
            if not sound and replica < plan.positions.shape[0]:
                _alone(plan, replica, lane, x, out, tangent)


@njit(cache=True, nogil=True, error_model="numpy")
def _alone(plan, replica, lane, x, out, tangent):
    """The drift of one replica by `pairs`."""
    rows = plan.pairs.bound.shape[2] // plan.lanes
    # one by one: an assignment of whole arrays has messages about their shapes to compile
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            plan.positions[replica, i, c] = x[i, c, lane]
    project(plan.pairs, plan.positions, tangent, replica * rows, (replica + 1) * rows)
    attend(plan.pairs, plan.drifts, tangent, replica * rows, (replica + 1) * rows)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c, lane] = plan.drifts[replica, i, c]


@njit(cache=True, error_model="numpy", _nrt=False)
def _place(like, x, tangent, radius, points):
    """points (tokens, dimension + 1, lanes): the positions x, retracted where tangent."""
    wide()
    dimension, lanes = x.shape[1], lane_count(x)
    for i in range(x.shape[0]):
        at, to = i * dimension * lanes, i * (dimension + 1) * lanes
        scale = spread(like[0] + x.dtype.type(1))
        if tangent and radius > 0:
            square = spread(like[0])
            for c in range(dimension):
                part = load(x, at + c * lanes)
                square = fma(part, part, square)
            scale = divide(spread(x.dtype.type(radius)), square_root(square))
        for c in range(dimension):
            store(points, to + c * lanes, scale * load(x, at + c * lanes))


@njit(cache=True, error_model="numpy", _nrt=False)
def _project(like, values, matrices, shared_bound, weights, block, h, room):
    """Queries, keys, values and bounds of one head."""
    wide()
    points, query, bound, keys = room.points, room.query, room.bound, room.keys
    d, dv, columns = len(like), len(values), points.shape[1]
    tokens, lanes = points.shape[0], lane_count(points)
    longest = spread(like[0])  # squared
    for i in range(tokens):
        weight = load(weights, (block * tokens + i) * lanes)
        at = i * keys.shape[1] * lanes
        query_square, key_square = spread(like[0]), spread(like[0])
        for c in range(max(d, dv)):
            q, k, v = spread(like[0]), spread(like[0]), spread(like[0])
            for p in range(columns):
                x = load(points, (i * columns + p) * lanes)
                if c < d:
                    q = fma(spread(matrices[0, h, c, p]), x, q)
                    k = fma(spread(matrices[1, h, c, p]), x, k)
                if c < dv:
                    v = fma(spread(matrices[2, h, c, p]), x, v)
            if c < d:
                store(query, (i * d + c) * lanes, q)
                store(keys, at + c * lanes, k)
                query_square, key_square = fma(q, q, query_square), fma(k, k, key_square)
            if c < dv:
                store(keys, at + (d + c) * lanes, weight * v)
        store(keys, at + (d + dv) * lanes, weight)
        store(bound, i * lanes, query_square)
        longest = largest(key_square, longest)
    margin = spread(query.dtype.type(MARGIN64 if query.itemsize == 8 else MARGIN32))
    longest = square_root(longest) * margin
    for i in range(tokens):
        shortest = longest if shared_bound else square_root(load(bound, i * lanes))
        store(bound, i * lanes, shortest * longest)


@njit(cache=True, error_model="numpy", _nrt=False)
def _sum_both(like, values, query, bound, keys, sums):
    """The sums of all rows, each weight once for both directions; the bound is that of all rows."""
    wide()
    d, width = len(like), len(values) + 1
    lanes = lane_count(keys)
    key_width = (d + width) * lanes
    sums[...] = 0
    shift = spread(like[0]) - load(bound, 0)
    q = zero_vectors(query, like)
    mine = zero_vectors(keys, (0,) + values)  # noqa: RUF005  (compiled code knows no starred tuples)
    row = zero_vectors(keys, (0,) + values)  # noqa: RUF005
    for i in range(query.shape[0]):
        for c in range(d):
            q = tuple_setitem(q, c, load(query, (i * d + c) * lanes))
        for k in range(width):
            mine = tuple_setitem(mine, k, load(keys, i * key_width + (d + k) * lanes))
            row = tuple_setitem(row, k, load(sums, (i * width + k) * lanes))
        # from i itself: what its weight adds to the sums in memory is overwritten by the row
        for j in range(i, query.shape[0], TOGETHER):
            at, to = j * key_width, j * width * lanes
            w = (shift, shift, shift, shift)
            for c in range(d):
                for u in range(TOGETHER):
                    w = tuple_setitem(w, u, fma(q[c], load(keys, at + u * key_width + c * lanes), w[u]))
            w = exp2(w)
            for u in range(TOGETHER):
                for k in range(width):
                    place = to + (u * width + k) * lanes
                    row = tuple_setitem(row, k, fma(w[u], load(keys, at + u * key_width + (d + k) * lanes), row[k]))
                    store(sums, place, fma(w[u], mine[k], load(sums, place)))
        for k in range(width):
            store(sums, (i * width + k) * lanes, row[k])


@njit(cache=True, error_model="numpy", _nrt=False)
def _sum_rows(like, values, mask, query, bound, keys, sums):
    """The sums of all rows over the keys they see: those before, beside and behind the vector a row has in `pairs`."""
    wide()
    width, tokens = len(values) + 1, query.shape[0]
    lanes = lane_count(keys)
    zero = spread(like[0])
    q = zero_vectors(query, like)
    for i in range(tokens):
        for c in range(len(like)):
            q = tuple_setitem(q, c, load(query, (i * len(like) + c) * lanes))
        shift = zero - load(bound, i * lanes)
        start = i // lanes * lanes if mask != NO_MASK else tokens
        # from tokens - tokens: for the literal 0 Numba would compile the kernel once more
        row = _sum_keys(like, values, NO_MASK, q, shift, zero, keys, i, tokens - tokens, start)
        if mask != NO_MASK:
            stop = min(start + lanes, tokens)
            beside = _sum_keys(like, values, mask, q, zero, shift, keys, i, start, stop if mask != CAUSAL else i + 1)
            for k in range(width):
                row = tuple_setitem(row, k, row[k] + beside[k])
            if mask == WITHOUT_SELF:
                behind = _sum_keys(like, values, NO_MASK, q, shift, zero, keys, i, stop, tokens)
                for k in range(width):
                    row = tuple_setitem(row, k, row[k] + behind[k])
        for k in range(width):
            store(sums, (i * width + k) * lanes, row[k])


@njit(cache=True, error_model="numpy", _nrt=False)
def _sum_keys(like, values, mask, q, start, end, keys, i, first, last):
    """The sums of row i over the keys first..last; each exponent is start + <query, key> + end, added in this order."""
    wide()
    d, width = len(like), len(values) + 1
    lanes = lane_count(keys)
    key_width = (d + width) * lanes
    row = zero_vectors(keys, (0,) + values)  # noqa: RUF005
    for j in range(first, last, TOGETHER):
        at = j * key_width
        w = (start, start, start, start)
        for c in range(d):
            for u in range(TOGETHER):
                w = tuple_setitem(w, u, fma(q[c], load(keys, at + u * key_width + c * lanes), w[u]))
        w = exp2((w[0] + end, w[1] + end, w[2] + end, w[3] + end))
        for u in range(TOGETHER):
            hidden = (mask == CAUSAL and j + u > i) or (mask == WITHOUT_SELF and j + u == i)
            weight = spread(like[0]) if hidden else w[u]
            for k in range(width):
                row = tuple_setitem(row, k, fma(weight, load(keys, at + u * key_width + (d + k) * lanes), row[k]))
    return row


@njit(cache=True, error_model="numpy", _nrt=False)
def _normalise(like, values, softmax, shift, shared_bound, bound, sums, joined, h):
    """The values of one head in `joined`, from its sums."""
    wide()
    dv, tokens, lanes = len(values), bound.shape[0], lane_count(bound)
    one = spread(like[0] + joined.dtype.type(1))
    root = one
    for i in range(tokens):
        at, to = i * (dv + 1) * lanes, (i * joined.shape[1] + h * dv) * lanes
        if softmax:
            scale = divide(one, load(sums, at + dv * lanes))
            for c in range(dv):
                store(joined, to + c * lanes, scale * load(sums, at + c * lanes))
        else:
            if i == 0 or not shared_bound:
                for lane in range(lanes):  # in two steps, as in `pairs`
                    bound[i, 0, lane] = np.exp2(0.5 * (bound[i, 0, lane] - shift))
                root = load(bound, i * lanes)
            for c in range(dv):
                store(joined, to + c * lanes, root * (root * load(sums, at + c * lanes)))


@njit(cache=True, error_model="numpy", _nrt=False)
def _finish(like, output, radius, points, joined, tangent, out):
    """The drift: the output matrix and bias, and the tangential part of it."""
    wide()
    dimension, lanes = out.shape[1], lane_count(out)
    for i in range(out.shape[0]):
        at, to, here = i * joined.shape[1] * lanes, i * dimension * lanes, i * points.shape[1] * lanes
        inner = spread(like[0])
        for c in range(dimension):
            f = load(joined, at + c * lanes)
            if output.size > 0:
                f = spread(like[0])
                for p in range(joined.shape[1]):
                    f = fma(spread(output[c, p]), load(joined, at + p * lanes), f)
            store(out, to + c * lanes, f)
            if tangent:
                inner = fma(f, load(points, here + c * lanes), inner)
        if tangent and radius > 0:
            along = inner * spread(out.dtype.type(-1.0 / (radius * radius)))
            for c in range(dimension):
                store(out, to + c * lanes, fma(along, load(points, here + c * lanes), load(out, to + c * lanes)))
