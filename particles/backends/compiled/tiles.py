"""The drift where heads are larger: queries, keys and values by panel products, then the sums of `tile_sums`.

The stages of one evaluation: `project` for all units of one panel of tokens, then `attend` for all units
of ROWS tokens; each unit is written by one thread alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .plan import Keep, Matrices, made_anew
from .tile_sums import BLOCK_ROWS, COLUMNS, DEPTH, ROWS, STRIDE, TOGETHER, add_product, sum_tiles
from .vectors import aligned_empty, aligned_zeros, lanes, panel_product, wide

Array = NDArray[np.floating]
FEWEST_UNITS = 128 // ROWS  # of the attention one after the other, for which keys and values come to the cache once


class TilesPlan(NamedTuple):
    """The law and the room to work in; `padded` is tokens rounded up to TOGETHER vectors, in panels of `panel` tokens.

    points        : (replicas, padded, dimension)                     the retracted positions
    transposed    : (replicas, 1, padded / panel, dimension, panel)   the same, tokens side by side
    query, keys   : (replicas, heads, padded / panel, rows, panel)    tokens side by side
    values        : (replicas, heads, value panels, padded, panel)    components side by side
    columns       : components of a value, rounded up to whole vectors
    log2_weights  : (replicas, padded)                                -inf where there is no token
    query_matrix, key_matrix : (heads, groups, dimension, ROWS)       of size 0 for the identity, as those below
    value_matrix  : (heads, value panels, dimension, panel)
    output_matrix : (panels, heads * value_dimension, panel)
    partition, highest : (replicas, heads, padded)                    out: log2 Z_i = highest_i + log2(partition_i)
    """

    matrices: Matrices
    points: Array
    transposed: Array
    query: Array
    keys: Array
    values: Array
    columns: int
    log2_weights: Array
    query_matrix: Array
    key_matrix: Array
    value_matrix: Array
    output_matrix: Array
    partition: Array
    highest: Array


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _rows(matrix: Array, factor: float, dtype: np.dtype) -> Array:
    """factor times (heads, head_dimension, dimension) as (heads, groups, dimension, ROWS): the rows of a panel product
    side by side, zero rows added."""
    heads, rows, dimension = matrix.shape
    padded = np.zeros((heads, _up(rows, ROWS), dimension), dtype)
    np.multiply(matrix, factor, padded[:, :rows], dtype=np.float64, casting="same_kind")
    groups = aligned_zeros((heads, padded.shape[1] // ROWS, dimension, ROWS), dtype)
    groups[...] = np.swapaxes(padded.reshape(heads, -1, ROWS, dimension), 2, 3)
    return groups


def _panels(matrix: Array, panel: int, dtype: np.dtype) -> Array:
    """(heads, columns, depth) as (heads, panels, depth, panel), columns side by side, zeros added."""
    heads, columns, depth = matrix.shape
    panels = aligned_zeros((heads, _up(columns, panel) // panel, depth, panel), dtype)
    for p in range(panels.shape[1]):
        part = matrix[:, p * panel : (p + 1) * panel]
        panels[:, p, :, : part.shape[1]] = np.swapaxes(part, 1, 2)
    return panels


def make_plan(m: Matrices, shape: tuple[int, ...], dtype: np.dtype, keep: Keep = made_anew) -> TilesPlan:
    """Room for ensembles of `shape`, and the matrices packed for the panel products.

    keep : gives what was packed before for this law, by a name
    """
    replicas, tokens, dimension = shape
    vector = lanes(dtype)
    panel = COLUMNS * vector
    padded = _up(tokens, TOGETHER * vector)
    width = m.value_dimension
    nothing = np.empty((0, 0, 0), dtype)
    query_matrix, key_matrix, value_matrix, output_matrix = nothing[None], nothing[None], nothing[None], nothing
    if m.query.size:
        query_matrix = keep("query", lambda: _rows(m.query, m.query_factor, dtype))
    if m.key.size:
        key_matrix = keep("key", lambda: _rows(m.key, 1.0, dtype))
    if m.value.size:
        value_matrix = keep("value", lambda: _panels(m.value, panel, dtype))
    if m.output.size:
        output_matrix = keep("output", lambda: _panels(m.output[None], panel, dtype)[0])
    log2_weights = np.full((replicas, padded), -np.inf, dtype)
    with np.errstate(divide="ignore"):
        log2_weights[:, :tokens] = np.log2(m.weights)

    # only what no token or component fills has to be 0
    room = aligned_empty if padded == tokens and width % panel == 0 else aligned_zeros

    def tokens_aside(matrix: Array) -> Array:
        rows = matrix.shape[1] * ROWS if matrix.size else dimension
        return room((replicas, m.heads, padded // panel, rows, panel), dtype)

    transposed = room((replicas, 1, padded // panel, dimension, panel), dtype)
    return TilesPlan(
        matrices=m._replace(query=nothing, key=nothing, value=nothing, output=nothing.reshape(0, 0)),
        points=room((replicas, padded, dimension), dtype),
        transposed=transposed,
        query=tokens_aside(query_matrix),
        keys=tokens_aside(key_matrix) if key_matrix.size else transposed,
        values=room((replicas, m.heads, _up(width, panel) // panel, padded, panel), dtype),
        columns=_up(width, vector),
        log2_weights=log2_weights,
        query_matrix=query_matrix,
        key_matrix=key_matrix,
        value_matrix=value_matrix,
        output_matrix=output_matrix,
        partition=aligned_zeros((replicas, m.heads, padded), dtype),
        highest=aligned_zeros((replicas, m.heads, padded), dtype),
    )


def units(plan: TilesPlan) -> int:
    """How many ranges of rows the attention falls into."""
    return plan.values.shape[0] * (plan.values.shape[3] // ROWS)


def token_units(plan: TilesPlan) -> int:
    """How many ranges of tokens the projection falls into."""
    return plan.transposed.shape[0] * plan.transposed.shape[2]


def queries(plan: TilesPlan, tokens: int) -> Array:
    """beta log2(e) q_i, (replicas, heads, tokens, head_dimension)."""
    replicas, heads, _, rows, _ = plan.query.shape
    by_token = np.moveaxis(plan.query, 3, 4).reshape(replicas, heads, -1, rows)
    return by_token[:, :, :tokens, : plan.matrices.head_dimension]


def log2_partitions(plan: TilesPlan, tokens: int) -> Array:
    """log2 Z_i as the attention just computed left it, (replicas, heads, tokens); -inf for a row that sees nobody."""
    with np.errstate(divide="ignore"):
        return plan.highest[..., :tokens].astype(np.float64) + np.log2(plan.partition[..., :tokens], dtype=np.float64)


def replace_values(plan: TilesPlan, values: Array) -> None:
    """Let the first component of every head's values be `values` (replicas, tokens), until the next projection."""
    plan.values[:, :, 0, : values.shape[1], 0] = values[:, None]


@njit(cache=True, nogil=True, error_model="numpy")
def project(plan, positions, tangent, first, last):
    """Retract the tokens of the units first..last (if tangent) and fill their queries, keys and values."""
    wide()
    m = plan.matrices
    tokens, dimension = positions.shape[1], positions.shape[2]
    units, panel = plan.transposed.shape[2], plan.transposed.shape[4]
    for unit in range(first, last):
        r, p = unit // units, unit % units
        start, count = p * panel, min(panel, tokens - p * panel)
        for i in range(start, start + count):
            scale = 1.0
            if tangent and m.radius > 0:
                square = 0.0
                for c in range(dimension):
                    square += np.float64(positions[r, i, c]) * positions[r, i, c]
                scale = m.radius / np.sqrt(square)
            for c in range(dimension):
                plan.points[r, i, c] = scale * positions[r, i, c]
        for c in range(dimension):
            for lane in range(count):
                plan.transposed[r, 0, p, c, lane] = plan.points[r, start + lane, c]
        for h in range(m.heads):
            if plan.key_matrix.size > 0:
                _project_panel(plan.key_matrix, m.key_bias, plan.transposed, plan.keys, r, h, p)
            if plan.query_matrix.size > 0:
                _project_panel(plan.query_matrix, m.query_bias, plan.transposed, plan.query, r, h, p)
            else:
                factor = plan.query.dtype.type(m.query_scale)
                for c in range(dimension):
                    for lane in range(panel):
                        plan.query[r, h, p, c, lane] = plan.transposed[r, 0, p, c, lane] * factor
            _project_values(plan, r, h, p, count)


@njit(cache=True, error_model="numpy")
def _project_panel(matrix, bias, transposed, target, r, h, p):
    """target[r, h, p] = matrix[h] @ tokens + bias, tokens side by side."""
    wide()
    groups, dimension, panel = matrix.shape[1], matrix.shape[2], transposed.shape[4]
    rows = groups * ROWS
    for c in range(rows):  # in loops: arrays that are assigned to parts of arrays take seconds to compile
        start = bias[h, c] if c < bias.shape[1] else matrix.dtype.type(0.0)
        for lane in range(panel):
            target[r, h, p, c, lane] = start
    t_at = (r * transposed.shape[2] + p) * dimension * panel
    at = ((r * target.shape[1] + h) * target.shape[2] + p) * rows * panel
    for k in range(0, dimension, DEPTH):
        deep = min(DEPTH, dimension - k)
        for g in range(groups):
            m_at, c_at = ((h * groups + g) * dimension + k) * ROWS, at + g * ROWS * panel
            panel_product(
                matrix, m_at, 1, ROWS, transposed, t_at + k * panel, panel, target, c_at, panel, deep,
                ROWS, COLUMNS, True,
            )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _project_values(plan, r, h, p, count):
    """The values of one panel of tokens, `count` of them real."""
    m = plan.matrices
    dimension, panel = plan.transposed.shape[3], plan.transposed.shape[4]
    start, padded, value_panels = p * panel, plan.values.shape[3], plan.values.shape[2]
    for vp in range(value_panels):
        first = vp * panel
        used = min(panel, m.value_dimension - first)
        target = plan.values[r, h, vp]
        for i in range(start, start + count):
            for c in range(used):
                target[i, c] = m.value_bias[h, first + c] if m.value_bias.size > 0 else 0
            if plan.value_matrix.size == 0:
                for c in range(used):
                    target[i, c] += m.value_scale * plan.points[r, i, first + c]
    if plan.value_matrix.size > 0:
        t_at = (r * plan.transposed.shape[2] + p) * dimension * panel
        w_at = h * value_panels * dimension * panel
        v_at = ((r * m.heads + h) * value_panels * padded + start) * panel
        add_product(
            plan.transposed, t_at, 1, panel, plan.value_matrix, w_at,
            plan.values, v_at, panel, padded * panel, dimension, panel, plan.columns,
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def attend(plan, out, tangent, first, last):
    """Write the drift of the units first..last; tangent: projected onto the sphere."""
    wide()
    m = plan.matrices
    dtype, tokens, dv = out.dtype, out.shape[1], m.value_dimension
    units = plan.values.shape[3] // ROWS
    panel = plan.values.shape[4]
    scores = np.empty((BLOCK_ROWS, STRIDE), dtype)
    sums = np.empty((BLOCK_ROWS, plan.values.shape[2] * panel), dtype)
    partition, highest = np.empty(BLOCK_ROWS, dtype), np.empty(BLOCK_ROWS, dtype)
    joined = np.zeros((BLOCK_ROWS, m.heads * dv), dtype)
    result = np.empty((BLOCK_ROWS, plan.output_matrix.shape[0] * panel), dtype)
    unit = first
    while unit < last:
        r, start = unit // units, unit % units * ROWS
        count = min(BLOCK_ROWS // ROWS, last - unit, units - unit % units)
        rows = count * ROWS
        for h in range(m.heads):
            sum_tiles(
                plan.query[r, h], plan.keys[r, h], plan.values[r, h], plan.log2_weights[r], m.mask, m.head_dimension,
                plan.columns, start, start + rows, scores, sums, partition, highest,
            )  # fmt: skip
            for row in range(rows):
                z = partition[row]
                plan.partition[r, h, start + row], plan.highest[r, h, start + row] = z, highest[row]
                if m.softmax:
                    scale = 1 / z if z != 0 else z
                else:
                    scale = dtype.type(np.exp2(highest[row] - m.shift)) if z != 0 else z
                for c in range(dv):
                    joined[row, h * dv + c] = scale * sums[row, c]
        if plan.output_matrix.size > 0:
            result[:rows] = 0
            depth, width = m.heads * dv, result.shape[1]
            add_product(joined, 0, depth, 1, plan.output_matrix, 0, result, 0, width, panel, depth, rows, width)
        source = result if plan.output_matrix.size > 0 else joined
        for row in range(min(rows, tokens - start)):
            _write_row(m, plan.points[r, start + row], source[row], tangent, out[r, start + row])
        unit += count


@njit(cache=True, error_model="numpy")
def _write_row(m, point, row, tangent, out):
    """out = row + output bias, its part along the point (dimension,) taken away where tangent."""
    inner = 0.0
    for c in range(out.shape[0]):
        f = row[c]
        if m.output_bias.size > 0:
            f += m.output_bias[c]
        out[c] = f
        if tangent:
            inner += np.float64(f) * point[c]
    if tangent and m.radius > 0:
        along = out.dtype.type(inner / (m.radius * m.radius))
        for c in range(out.shape[0]):
            out[c] -= along * point[c]
