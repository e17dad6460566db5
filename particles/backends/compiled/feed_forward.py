"""The feed-forward map in compiled code: panel products with the activation between them, while it is in the cache.

Matrices are packed: ROWS rows side by side, (groups, depth, ROWS), so that a product reads them in one sweep. A unit of
work is one panel of tokens, which lie side by side: the hidden components of a panel are made, activated and
used up before the next. Every token is computed by one thread, in one order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from ...feed_forward import FeedForward
from .activations import NUMBERS, activate
from .plan import kept
from .schedule import default_threads, in_parallel
from .tile_sums import COLUMNS, DEPTH
from .vectors import REGISTER_BYTES, aligned_zeros, lanes, panel_product, wide

Array = NDArray[np.floating]
ROWS = 12 if REGISTER_BYTES == 64 else 6  # of a panel product: as many as registers hold the sums of
COST = {4: 0.015, 8: 0.03}  # nanoseconds of a multiplication and an addition, roughly


class FeedForwardPlan(NamedTuple):
    """The map's numbers; rows of matrices are rounded up to groups, and of size 0 where there is no gate.

    inner, gate : (groups, dimension, ROWS)    outer : (groups, hidden, ROWS)    *_bias : as many as the matrix has rows
    activation  : a number of `activations.NUMBERS`
    """

    inner: Array
    inner_bias: Array
    gate: Array
    gate_bias: Array
    outer: Array
    outer_bias: Array
    activation: int


class CompiledFeedForward:
    """F of tokens (replicas, tokens, dimension): see `FeedForward`."""

    def __init__(self, feed: FeedForward, dtype: DTypeLike, threads: int | None = None) -> None:
        kind = np.dtype(dtype)
        hidden, dimension = feed.inner.shape
        self._threads = threads or default_threads()
        self._panel = COLUMNS * lanes(kind)
        self._cost = COST[kind.itemsize] * dimension * hidden * (2 if feed.gate is None else 3)

        def packed(name: str, columns: int) -> Array:
            matrix = getattr(feed, name)
            if matrix is None:
                return np.empty((0, 0, 0), kind)
            return kept(feed, kind.str, name, lambda: packed_rows(matrix, columns, kind))

        def bias(values: Array | None, rows: int) -> Array:
            found = np.zeros(_up(rows), kind)
            found[:rows] = 0.0 if values is None else values
            return found

        self._plan = FeedForwardPlan(
            inner=packed("inner", dimension),
            inner_bias=bias(feed.inner_bias, hidden),
            gate=packed("gate", dimension),
            gate_bias=bias(feed.gate_bias, hidden),
            outer=packed("outer", _up(hidden)),
            outer_bias=bias(feed.outer_bias, dimension),
            activation=NUMBERS[feed.activation],
        )

    def __call__(self, positions: Array) -> Array:
        """F of every token."""
        x = np.ascontiguousarray(positions).reshape(-1, positions.shape[-1])
        out = np.empty_like(x)
        units = -(-len(x) // self._panel)
        in_parallel(lambda a, b: _map(self._plan, x, out, a, b), units, self._cost * len(x), self._threads)
        return out.reshape(positions.shape)


def _up(count: int) -> int:
    return -(-count // ROWS) * ROWS


def packed_rows(matrix: Array, columns: int, kind: np.dtype) -> Array:
    """A matrix (rows, depth) as (groups, columns, ROWS), with zero rows and columns added."""
    found = aligned_zeros((_up(len(matrix)) // ROWS, columns, ROWS), kind)
    for group, target in enumerate(found):
        part = matrix[group * ROWS : (group + 1) * ROWS]
        target[: part.shape[1], : len(part)] = part.T
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _map(plan, x, out, first, last):
    """F of the tokens x (tokens, dimension) in the panels first..last."""
    wide()
    tokens, dimension = x.shape
    hidden, panel = plan.inner.shape[0] * ROWS, COLUMNS * (REGISTER_BYTES // x.itemsize)
    aside = np.zeros((dimension, panel), x.dtype)
    inner, result = np.empty((hidden, panel), x.dtype), np.empty((plan.outer.shape[0] * ROWS, panel), x.dtype)
    gate = np.empty((hidden if plan.gate.size > 0 else 0, panel), x.dtype)
    for unit in range(first, last):
        start = unit * panel
        count = min(panel, tokens - start)
        for i in range(count):
            for c in range(dimension):
                aside[c, i] = x[start + i, c]
        _product(plan.inner, plan.inner_bias, aside, inner)
        if plan.gate.size > 0:
            _product(plan.gate, plan.gate_bias, aside, gate)
            activate(plan.activation, gate, 0, gate.size)
            for k in range(hidden):
                for i in range(panel):
                    inner[k, i] *= gate[k, i]
        else:
            activate(plan.activation, inner, 0, inner.size)
        _product(plan.outer, plan.outer_bias, inner, result)
        for i in range(count):
            for c in range(dimension):
                out[start + i, c] = result[c, i]


@njit(cache=True, error_model="numpy")
def _product(matrix, bias, tokens, out):
    """out = matrix tokens + bias, tokens side by side in one panel."""
    wide()
    groups, depth, panel = matrix.shape[0], matrix.shape[1], tokens.shape[1]
    for row in range(groups * ROWS):
        out[row] = bias[row]
    for k in range(0, depth, DEPTH):
        deep = min(DEPTH, depth - k)
        for g in range(groups):
            at, to = (g * depth + k) * ROWS, g * ROWS * panel
            panel_product(
                matrix, at, 1, ROWS, tokens, k * panel, panel, out, to, panel, deep, ROWS, COLUMNS, True
            )  # fmt: skip
