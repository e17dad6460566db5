"""The drift where heads are small: queries, keys and values token by token, then the sums of `pair_sums`.

The stages of one evaluation, each for a range of units (one vector of tokens of one replica), each unit written by
one thread alone: `project` for all units, then `attend`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .pair_sums import TOGETHER, sum_pairs
from .plan import NO_MASK, Keep, Matrices, made_anew
from .vectors import aligned_zeros, divide, fma, lanes, load, spread, square_root, store, wide

LARGEST_DIMENSION = 4  # of a head; above, the panels of `tiles` are faster
MARGIN64, MARGIN32 = 1.0 + 16.0 * 2.0**-52, 1.0 + 16.0 * 2.0**-23  # more than rounding adds to a score
Array = NDArray[np.floating]


class PairsPlan(NamedTuple):
    """The law and the room to work in; `padded` is tokens rounded up to whole vectors of `lanes` tokens.

    like, values : tuples of zeros as long as the head and the value dimension
    matrices     : (3, heads, rows, dimension + 1)     query, key and value; the last column is the bias
    output       : (dimension, heads * value_dimension + 1), the last column the bias; of size 0 for the identity
    weights      : (replicas, padded)
    points       : (replicas, dimension + 1, padded)   the retracted positions, component by component, and 1
    query, bound, keys : see `pair_sums`               key_norm : (replicas, heads, padded)
    lane_values  : (replicas, heads * (value_dimension + 1), padded)   a_i v_i and a_i, component by component
    partition    : (replicas, heads, padded)           out: log2 Z_i = bound_i + log2(partition_i)
    key_scale    : the factor of the keys, which with Q = K = I has half of beta log2(e): then <q_i, k_j> = <q_j, k_i>
                   to the last bit
    shared_bound : whether all rows of a replica have the same bound, so that their weights are symmetric too
    mask, radius, shift, softmax : as in `Matrices`     profile : None, as in `profiles`
    """

    lanes: int
    like: tuple[float, ...]
    values: tuple[float, ...]
    matrices: Array
    output: Array
    weights: Array
    points: Array
    query: Array
    bound: Array
    keys: Array
    key_norm: Array
    lane_values: Array
    partition: Array
    key_scale: float
    shared_bound: bool
    mask: int
    radius: float
    shift: float
    softmax: bool
    profile: None = None


def make_plan(m: Matrices, shape: tuple[int, ...], dtype: np.dtype, keep: Keep = made_anew) -> PairsPlan:
    """Room for ensembles of `shape`; matrices are small here: identities are written out, and nothing is kept."""
    replicas, tokens, dimension = shape
    padded = -(-tokens // lanes(dtype)) * lanes(dtype)
    d, dv = m.head_dimension, m.value_dimension
    matrices = np.zeros((3, m.heads, max(d, dv), dimension + 1), dtype)
    same = m.query.size == 0 and m.key.size == 0
    key_scale = abs(m.query_scale) ** 0.5 if same else 1.0
    parts = (
        (m.query, m.query_bias, m.query_factor, np.copysign(key_scale, m.query_scale) if same else m.query_scale),
        (m.key, m.key_bias, 1.0, key_scale),
        (m.value, m.value_bias, 1.0, m.value_scale),
    )
    for target, (matrix, bias, factor, scale) in zip(matrices, parts, strict=True):
        if matrix.size:
            target[:, : matrix.shape[1], :dimension] = factor * matrix
        else:
            target[0, :dimension, :dimension] = scale * np.eye(dimension)
        if bias.size:
            target[:, : bias.shape[1], dimension] = bias
    output = np.zeros((0, 0), dtype)
    if m.output.size or m.output_bias.size:
        output = np.zeros((dimension, m.heads * m.value_dimension + 1), dtype)
        output[:, :-1] = m.output if m.output.size else np.eye(dimension)
        output[:, -1] = m.output_bias if m.output_bias.size else 0.0
    points = aligned_zeros((replicas, dimension + 1, padded), dtype)
    points[:, dimension] = 1.0
    weights = aligned_zeros((replicas, padded), dtype)
    weights[:, :tokens] = m.weights
    zero = dtype.type(0)
    return PairsPlan(
        lanes=lanes(dtype),
        like=(zero,) * d,
        values=(zero,) * dv,
        matrices=matrices,
        output=output,
        weights=weights,
        points=points,
        query=aligned_zeros((replicas, m.heads, d, padded), dtype),
        bound=aligned_zeros((replicas, m.heads, padded), dtype),
        keys=aligned_zeros((replicas, m.heads, -(-tokens // TOGETHER) * TOGETHER, d + dv + 1), dtype),
        key_norm=aligned_zeros((replicas, m.heads, padded), dtype),
        lane_values=aligned_zeros((replicas, m.heads * (dv + 1), padded), dtype),
        partition=aligned_zeros((replicas, m.heads, padded), dtype),
        key_scale=key_scale,
        shared_bound=same and m.mask == NO_MASK and m.radius > 0,
        mask=m.mask,
        radius=m.radius,
        shift=m.shift,
        softmax=m.softmax,
    )


def units(plan: PairsPlan) -> int:
    """How many ranges of rows the attention falls into; the projection falls into `token_units`, here the same."""
    return plan.bound.shape[0] * (plan.bound.shape[2] // plan.lanes)


token_units = units


def queries(plan: PairsPlan, tokens: int) -> Array:
    """beta log2(e) q_i, (replicas, heads, tokens, head_dimension)."""
    return plan.key_scale * np.swapaxes(plan.query[..., :tokens], 2, 3)


def log2_partitions(plan: PairsPlan, tokens: int) -> Array:
    """log2 Z_i as the attention just computed left it, (replicas, heads, tokens); -inf for a row that sees nobody."""
    with np.errstate(divide="ignore"):
        return plan.bound[..., :tokens].astype(np.float64) + np.log2(plan.partition[..., :tokens], dtype=np.float64)


def replace_values(plan: PairsPlan, values: Array) -> None:
    """Let the first component of every head's values be `values` (replicas, tokens), until the next projection."""
    tokens = values.shape[1]
    plan.keys[:, :, :tokens, len(plan.like)] = plan.keys[:, :, :tokens, -1] * values[:, None]


@njit(cache=True, nogil=True, error_model="numpy")
def project(plan, positions, tangent, first, last):
    """Retract the tokens of the units first..last (if tangent) and fill their queries, keys and values."""
    row = np.empty((plan.keys.shape[3], plan.lanes), positions.dtype)
    _project_units(plan, positions, tangent, first, last, row)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _project_units(plan, positions, tangent, first, last, row):
    """The loop of `project`, without counting references as in `_attend_units`."""
    wide()
    like, values, matrices, weights, points = plan.like, plan.values, plan.matrices, plan.weights, plan.points
    query, bound, keys, key_norm = plan.query, plan.bound, plan.keys, plan.key_norm
    lane_values, width = plan.lane_values, len(values) + 1
    lanes, radius = plan.lanes, plan.radius
    tokens, dimension = positions.shape[1], positions.shape[2]
    padded = points.shape[2]
    units = padded // lanes
    for unit in range(first, last):
        r, start = unit // units, unit % units * lanes
        at = r * (dimension + 1) * padded + start
        square = spread(like[0])
        for c in range(dimension):
            for lane in range(lanes):  # behind the last token its copies: real numbers that nobody reads
                points[r, c, start + lane] = positions[r, min(start + lane, tokens - 1), c]
            x = load(points, at + c * padded)
            square = fma(x, x, square)
        if tangent and radius > 0:
            scale = divide(spread(positions.dtype.type(radius)), square_root(square))
            for c in range(dimension):
                store(points, at + c * padded, scale * load(points, at + c * padded))
        for h in range(query.shape[1]):
            _project_head(like, values, matrices, weights, points, query, bound, key_norm, lanes, r, h, start, row)
            for k in range(width):
                at_values = ((r * query.shape[1] + h) * width + k) * padded + start
                store(lane_values, at_values, load(row, (len(like) + k) * lanes))
            for i in range(start, min(start + lanes, tokens)):
                for m in range(row.shape[0]):
                    keys[r, h, i, m] = row[m, i - start]


@njit(inline="always")
def _project_head(like, values, matrices, weights, points, query, bound, key_norm, lanes, r, h, start, row):
    """Queries of one unit, and in row (head_dimension + value_dimension + 1, lanes) its keys, values and weights."""
    d, dv, columns, padded = len(like), len(values), points.shape[1], points.shape[2]
    place = r * query.shape[1] + h
    weight = load(weights, r * padded + start)
    query_square, key_square = spread(like[0]), spread(like[0])
    for c in range(max(d, dv)):
        q, k, v = spread(like[0]), spread(like[0]), spread(like[0])
        for p in range(columns):
            x = load(points, (r * columns + p) * padded + start)
            if c < d:
                q = fma(spread(matrices[0, h, c, p]), x, q)
                k = fma(spread(matrices[1, h, c, p]), x, k)
            if c < dv:
                v = fma(spread(matrices[2, h, c, p]), x, v)
        if c < d:
            store(query, (place * d + c) * padded + start, q)
            store(row, c * lanes, k)
            query_square, key_square = fma(q, q, query_square), fma(k, k, key_square)
        if c < dv:
            store(row, (d + c) * lanes, weight * v)
    # |q_i| for now; times the longest key it bounds the exponents of the row
    store(bound, place * padded + start, square_root(query_square))
    store(key_norm, place * padded + start, square_root(key_square))
    store(row, (d + dv) * lanes, weight)


@njit(cache=True, nogil=True, error_model="numpy")
def attend(plan, out, tangent, first, last):
    """Write the drift of the units first..last; tangent: projected onto the sphere. Once after each projection."""
    heads, dv = plan.query.shape[1], len(plan.values)
    sums = np.empty((heads, dv + 1, plan.lanes), out.dtype)
    longest = np.empty(heads, out.dtype)
    joined = np.ones((heads * dv + 1, plan.lanes), out.dtype)  # the last row stays 1, for the bias
    result = np.empty((out.shape[2], plan.lanes), out.dtype)
    _attend_units(plan, out, tangent, first, last, sums, longest, joined, result)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _attend_units(plan, out, tangent, first, last, sums, longest, joined, result):
    """The loop of `attend`. Without Numba's counting of references, which costs more than the sums of a few tokens."""
    wide()
    like, values, points, output = plan.like, plan.values, plan.points, plan.output
    query, bound, keys, key_norm, partition = plan.query, plan.bound, plan.keys, plan.key_norm, plan.partition
    lanes, mask, radius, shift, softmax = plan.lanes, plan.mask, plan.radius, plan.shift, plan.softmax
    shared_bound = plan.shared_bound
    tokens, dimension, heads, dv = out.shape[1], out.shape[2], query.shape[1], len(values)
    padded = bound.shape[2]
    units = padded // lanes
    for unit in range(first, last):
        r, start = unit // units, unit % units * lanes
        if unit == first or start == 0:
            _longest_keys(key_norm, tokens, r, longest)
        for h in range(heads):
            at = (r * heads + h) * padded + start
            shortest = spread(longest[h]) if shared_bound else load(bound, at)
            store(bound, at, shortest * spread(longest[h]))
            sum_pairs(like, values, mask, query, bound, keys, sums, r, h, start)
            store(partition, at, load(sums, (h * (dv + 1) + dv) * lanes))
            normalise(like, dv, lanes, softmax, shift, bound, r, h, start, sums, joined)
        finish_unit(like, lanes, points, output, radius, r, start, tangent, joined, result)
        for i in range(start, min(start + lanes, tokens)):
            for c in range(dimension):
                out[r, i, c] = result[c, i - start]


@njit(inline="always")
def _longest_keys(key_norm, tokens, r, longest):
    """The norm of the longest key of every head of a replica and a little more, longest : (heads,).

    The margin is above the rounding of a score: however large scores are, no exponent exceeds its bound.
    """
    for h in range(longest.shape[0]):
        norm = key_norm[r, h, 0]
        for j in range(1, tokens):
            if not key_norm[r, h, j] <= norm:  # written so that a NaN stays
                norm = key_norm[r, h, j]
        longest[h] = norm * (MARGIN64 if key_norm.itemsize == 8 else MARGIN32)


@njit(inline="always")
def normalise(like, dv, lanes, softmax, shift, bound, r, h, start, sums, joined):
    """joined (heads * value_dimension + 1, lanes) of one head from its sums."""
    at = h * (dv + 1) * lanes
    if softmax:
        scale = divide(spread(like[0] + joined.dtype.type(1)), load(sums, at + dv * lanes))
        for c in range(dv):
            store(joined, (h * dv + c) * lanes, scale * load(sums, at + c * lanes))
    else:
        # in two steps: a loose bound may lie where its own power overflows, though the product does not
        for lane in range(lanes):
            sums[h, dv, lane] = np.exp2(0.5 * (bound[r, h, start + lane] - shift))
        root = load(sums, at + dv * lanes)
        for c in range(dv):
            store(joined, (h * dv + c) * lanes, root * (root * load(sums, at + c * lanes)))


@njit(inline="always")
def finish_unit(like, lanes, points, output, radius, r, start, tangent, joined, result):
    """result (dimension, lanes): the output matrix and bias, and the tangential part of it."""
    padded, dimension = points.shape[2], result.shape[0]
    at = r * points.shape[1] * padded + start
    inner = spread(like[0])
    for c in range(dimension):
        f = load(joined, c * lanes)
        if output.size > 0:
            f = spread(like[0])
            for p in range(joined.shape[0]):
                f = fma(spread(output[c, p]), load(joined, p * lanes), f)
        store(result, c * lanes, f)
        if tangent:
            inner = fma(f, load(points, at + c * padded), inner)
    if tangent and radius > 0:
        along = inner * spread(result.dtype.type(-1.0 / (radius * radius)))
        for c in range(dimension):
            store(result, c * lanes, fma(along, load(points, at + c * padded), load(result, c * lanes)))
