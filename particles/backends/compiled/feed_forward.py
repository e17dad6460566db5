"""The feed-forward map in compiled code: panel products with the activation between them, while it is in the cache.

A unit of work is one panel of tokens, which lie side by side: the hidden components of a panel are made, activated and
used up before the next. Every token is computed by one thread, in one order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from ...feed_forward import FeedForward
from .activations import NUMBERS, activate
from .schedule import default_threads, in_parallel
from .tile_sums import COLUMNS, ROWS, add_product
from .vectors import REGISTER_BYTES, aligned_zeros, lanes, wide

Array = NDArray[np.floating]
COST = {4: 0.015, 8: 0.03}  # nanoseconds of a multiplication and an addition, roughly


class FeedForwardPlan(NamedTuple):
    """The map's numbers; rows of matrices are rounded up to panel products, and of size 0 where there is no gate.

    inner, gate : (hidden, dimension)    outer : (dimension, hidden)    *_bias : as many as the matrix has rows
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

        def padded(matrix: Array | None, columns: int) -> Array:
            return np.empty((0, 0), kind) if matrix is None else _padded(matrix, columns, kind)

        def bias(values: Array | None, rows: int) -> Array:
            return _padded(np.zeros((1, rows)) if values is None else values[None], _up(rows), kind)[0]

        self._plan = FeedForwardPlan(
            inner=padded(feed.inner, dimension),
            inner_bias=bias(feed.inner_bias, hidden),
            gate=padded(feed.gate, dimension),
            gate_bias=bias(feed.gate_bias, hidden),
            outer=padded(feed.outer, _up(hidden)),
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


def _padded(matrix: Array, columns: int, kind: np.dtype) -> Array:
    """The matrix with zero rows and columns added, up to whole panel products and to so many columns."""
    if matrix.shape == (_up(len(matrix)), columns):
        return np.ascontiguousarray(matrix, kind)
    found = aligned_zeros((_up(len(matrix)), columns), kind)
    found[: len(matrix), : matrix.shape[1]] = matrix
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _map(plan, x, out, first, last):
    """F of the tokens x (tokens, dimension) in the panels first..last."""
    wide()
    tokens, dimension = x.shape
    hidden, panel = plan.inner.shape[0], COLUMNS * (REGISTER_BYTES // x.itemsize)
    aside = np.zeros((dimension, panel), x.dtype)
    inner, result = np.empty((hidden, panel), x.dtype), np.empty((plan.outer.shape[0], panel), x.dtype)
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
    rows, depth = matrix.shape
    panel = tokens.shape[1]
    for k in range(rows):
        out[k] = bias[k]
    add_product(matrix, 0, depth, 1, tokens, 0, out, 0, panel, 0, depth, rows, panel)
