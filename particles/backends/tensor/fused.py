"""The sums of `bounded` in kernels of our own for NVIDIA GPUs, written in Triton: nothing but sums reaches memory.

For what torch has no fused kernel: float64, and float32 with heads of few components. A program owns a block of
queries of one system and runs over the keys. Heads of up to 4 components are unrolled, and their sums kept for every
pair of a query and a lane until the end, so that nothing crosses threads on the way; larger ones are products of
blocks padded to powers of 2, in full precision.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bounded import Pairs

_MASKS = {"none": 0, "causal": 1, "without-self": 2}
UNROLLED = 4  # components of a head


def sums(pairs: Pairs, reference: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
    """See `bounded.Kernels.sums`."""
    systems, tokens, _ = pairs.queries.shape
    numerator = pairs.values.new_empty(systems, tokens, pairs.values.shape[2])
    partition = pairs.values.new_empty(systems, tokens)
    grid, arrays, options = _launch(pairs)
    kernel = _unrolled_sums if options.pop("SMALL") else _product_sums
    kernel[grid](*arrays, reference.contiguous(), numerator, partition, CUT=cut, **options)
    return numerator, partition


def highest(pairs: Pairs) -> Tensor:
    """See `bounded.Kernels.highest`."""
    top = pairs.queries.new_empty(pairs.queries.shape[:2])
    grid, arrays, options = _launch(pairs)
    _highest[grid](*arrays, top, **options)
    return top


def _launch(pairs: Pairs) -> tuple[tuple[int], tuple[Any, ...], dict[str, Any]]:
    """The grid of a kernel, its first arguments and its constants."""
    systems, tokens, head = pairs.queries.shape
    others, width = pairs.values.shape[1:]
    double = pairs.queries.dtype == torch.float64
    small = max(head, width) <= UNROLLED
    padded, padded_width = (max(16, triton.next_power_of_2(size)) for size in (head, width))
    wide = max(padded, padded_width) > 64
    rows, lanes = (32, 16 if wide and not small else 32) if double else (64, 32)
    queries, keys, values = (tensor.contiguous() for tensor in (pairs.queries, pairs.keys, pairs.values))
    weighted = pairs.weights is not None
    weights = keys if pairs.weights is None else pairs.weights.contiguous()  # not read where there are none
    options = {"HEAD": head, "WIDTH": width, "PADDED": padded, "PADDED_WIDTH": padded_width, "SMALL": small}
    options |= {"MASK": _MASKS[pairs.mask], "WEIGHTED": weighted, "ROWS": rows, "LANES": lanes}
    arrays = (queries, keys, values, weights, tokens, others, pairs.ahead)
    return (systems * triton.cdiv(tokens, rows),), arrays, options


@triton.jit
def _end(MASK: tl.constexpr, i, others, ahead, ROWS: tl.constexpr):
    """Behind the last key that a block of queries from number i on sees."""
    if MASK == 1:
        return tl.minimum(others, tl.maximum(i + ROWS - ahead, 0))
    return others


@triton.jit
def _seen(MASK: tl.constexpr, i, j, others, ahead):
    """Which queries i (ROWS,) see which keys j (LANES,)."""
    seen = (i[:, None] >= 0) & (j < others)[None, :]
    if MASK == 1:
        seen = seen & (j[None, :] + ahead <= i[:, None])
    if MASK == 2:
        seen = seen & (j[None, :] + ahead != i[:, None])
    return seen


@triton.jit
def _exponential(exponent, seen, CUT: tl.constexpr):
    if CUT:
        exponent = tl.where(exponent > 0, 0.0, exponent)  # a NaN stays
    return tl.where(seen, tl.exp(exponent), 0.0)


@triton.jit
def _unrolled_scores(queries, keys, i, j, tokens, others, HEAD: tl.constexpr):
    """<q_i, k_j> (ROWS, LANES), component by component; the queries' loads do not change in the loop over keys."""
    there, here = i < tokens, j < others
    score = tl.load(queries + i * HEAD, there, 0.0)[:, None] * tl.load(keys + j * HEAD, here, 0.0)[None, :]
    for c in tl.static_range(1, HEAD):
        q = tl.load(queries + i * HEAD + c, there, 0.0)
        score += q[:, None] * tl.load(keys + j * HEAD + c, here, 0.0)[None, :]
    return score


@triton.jit
def _block(start, first, tokens, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Rows first[0], first[1], ... of an array (tokens, WIDTH), padded with zeros to PADDED columns."""
    c = tl.arange(0, PADDED)
    inside = (first < tokens)[:, None] & (c < WIDTH)[None, :]
    return tl.load(start + first[:, None] * WIDTH + c[None, :], inside, 0.0)


@triton.jit
def _place(tokens, ROWS: tl.constexpr):
    """The system of this program, and its first query."""
    blocks = tl.cdiv(tokens, ROWS)
    return (tl.program_id(0) // blocks).to(tl.int64), (tl.program_id(0) % blocks) * ROWS


@triton.jit
def _unrolled_sums(
    queries, keys, values, weights, tokens, others, ahead, reference, numerator, partition,
    HEAD: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, PADDED_WIDTH: tl.constexpr,
    MASK: tl.constexpr, WEIGHTED: tl.constexpr, CUT: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    system, first = _place(tokens, ROWS)
    i = first + tl.arange(0, ROWS)
    queries += system * tokens * HEAD
    keys += system * others * HEAD
    values += system * others * WIDTH
    weights += system * others
    base = tl.load(reference + system * tokens + i, i < tokens, 0.0)
    total = tl.zeros((ROWS, LANES), base.dtype)
    sum0, sum1, sum2, sum3 = total, total, total, total
    for start in range(0, _end(MASK, first, others, ahead, ROWS), LANES):
        j = start + tl.arange(0, LANES)
        score = _unrolled_scores(queries, keys, i, j, tokens, others, HEAD)
        w = _exponential(score - base[:, None], _seen(MASK, i, j, others, ahead), CUT)
        if WEIGHTED:
            w *= tl.load(weights + j, j < others, 0.0)[None, :]
        total += w
        sum0 += w * tl.load(values + j * WIDTH, j < others, 0.0)[None, :]
        if WIDTH > 1:
            sum1 += w * tl.load(values + j * WIDTH + 1, j < others, 0.0)[None, :]
        if WIDTH > 2:
            sum2 += w * tl.load(values + j * WIDTH + 2, j < others, 0.0)[None, :]
        if WIDTH > 3:
            sum3 += w * tl.load(values + j * WIDTH + 3, j < others, 0.0)[None, :]
    out = numerator + (system * tokens + i) * WIDTH
    tl.store(partition + system * tokens + i, tl.sum(total, axis=1), i < tokens)
    tl.store(out, tl.sum(sum0, axis=1), i < tokens)
    if WIDTH > 1:
        tl.store(out + 1, tl.sum(sum1, axis=1), i < tokens)
    if WIDTH > 2:
        tl.store(out + 2, tl.sum(sum2, axis=1), i < tokens)
    if WIDTH > 3:
        tl.store(out + 3, tl.sum(sum3, axis=1), i < tokens)


@triton.jit
def _product_sums(
    queries, keys, values, weights, tokens, others, ahead, reference, numerator, partition,
    HEAD: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, PADDED_WIDTH: tl.constexpr,
    MASK: tl.constexpr, WEIGHTED: tl.constexpr, CUT: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    system, first = _place(tokens, ROWS)
    i = first + tl.arange(0, ROWS)
    base = tl.load(reference + system * tokens + i, i < tokens, 0.0)
    q = _block(queries + system * tokens * HEAD, i, tokens, HEAD, PADDED)
    total = tl.zeros((ROWS, LANES), base.dtype)
    sum_of = tl.zeros((ROWS, PADDED_WIDTH), base.dtype)
    for start in range(0, _end(MASK, first, others, ahead, ROWS), LANES):
        j = start + tl.arange(0, LANES)
        k = _block(keys + system * others * HEAD, j, others, HEAD, PADDED)
        v = _block(values + system * others * WIDTH, j, others, WIDTH, PADDED_WIDTH)
        score = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=base.dtype)
        w = _exponential(score - base[:, None], _seen(MASK, i, j, others, ahead), CUT)
        if WEIGHTED:
            w *= tl.load(weights + system * others + j, j < others, 0.0)[None, :]
        total += w
        sum_of = tl.dot(w, v, sum_of, input_precision="ieee", out_dtype=base.dtype)
    c = tl.arange(0, PADDED_WIDTH)
    inside = (i < tokens)[:, None] & (c < WIDTH)[None, :]
    tl.store(partition + system * tokens + i, tl.sum(total, axis=1), i < tokens)
    tl.store(numerator + (system * tokens + i)[:, None] * WIDTH + c[None, :], sum_of, inside)


@triton.jit
def _highest(
    queries, keys, values, weights, tokens, others, ahead, top,
    HEAD: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, PADDED_WIDTH: tl.constexpr, SMALL: tl.constexpr,
    MASK: tl.constexpr, WEIGHTED: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    system, first = _place(tokens, ROWS)
    i = first + tl.arange(0, ROWS)
    queries += system * tokens * HEAD
    keys += system * others * HEAD
    number = top.dtype.element_ty
    largest = tl.full((ROWS, LANES), float("-inf"), number)
    for start in range(0, _end(MASK, first, others, ahead, ROWS), LANES):
        j = start + tl.arange(0, LANES)
        if SMALL:
            score = _unrolled_scores(queries, keys, i, j, tokens, others, HEAD)
        else:
            q = _block(queries, i, tokens, HEAD, PADDED)
            k = _block(keys, j, others, HEAD, PADDED)
            score = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=number)
        seen = _seen(MASK, i, j, others, ahead)
        if WEIGHTED:
            seen = seen & (tl.load(weights + system * others + j, j < others, 0.0) > 0)[None, :]
        largest = tl.maximum(largest, tl.where(seen, score, float("-inf")))
    tl.store(top + system * tokens + i, tl.max(largest, axis=1), i < tokens)
