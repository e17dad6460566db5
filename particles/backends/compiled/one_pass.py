"""Laws with a profile, replica by replica and head by head: packs queries, keys and values for the kernels.

Heads up to `LARGEST_DIMENSION` go to `pair_sums`, or, where queries are keys and each weight serves two, to
`symmetric`; larger ones to `profile_tiles`. Rows whose sums have vanished below a bound are left to `rows`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import profile_tiles, symmetric
from .exponential import LN2
from .pair_sums import LEAST_SUM32, LEAST_SUM64, TOGETHER, sum_rows
from .pairs import LARGEST_DIMENSION, MARGIN32, MARGIN64
from .plan import NO_MASK
from .profiles import PRODUCT, Profile
from .schedule import in_parallel
from .tile_sums import COLUMNS, ROWS
from .tile_sums import TOGETHER as VECTORS
from .vectors import aligned_zeros, lanes, load, store, wide

Array = NDArray[np.floating]


class Shape(NamedTuple):
    """The numbers of one replica and head."""

    tokens: int
    head_dimension: int
    value_dimension: int


class PairsRoom(NamedTuple):
    """What the kernels of pairs work in, named and shaped as in `PairsPlan`, for one replica and head."""

    lanes: int
    like: tuple[float, ...]
    values: tuple[float, ...]
    query: Array
    bound: Array
    keys: Array
    lane_values: Array
    mask: int
    profile: Profile


class TilesRoom(NamedTuple):
    """What the kernels of tiles work in, shaped as in `sum_tiles`; `padded` tokens.

    weights, log2_weights : (padded,)     query_squares, key_squares : (padded,), |q_i|^2 and |k_j|^2
    """

    query: Array
    keys: Array
    values: Array
    columns: int
    weights: Array
    log2_weights: Array
    query_squares: Array
    key_squares: Array
    mask: int
    profile: Profile


class OnePass:
    """The attention of one head under a profile."""

    def __init__(self, profile: Profile, mask: int, shape: Shape, softmax: bool, shift: float, dtype: np.dtype) -> None:
        """softmax : whether rows are normalised     shift : of an unnormalised law"""
        small = max(shape[1:]) <= LARGEST_DIMENSION
        self._profile, self._softmax, self._shift = profile, softmax, shift
        self._kernels = _Pairs(profile, mask, shape, dtype) if small else _Tiles(profile, mask, shape, dtype)

    def attend(
        self, query: Array, key: Array, value: Array, weights: Array, out: Array, cost: float, threads: int
    ) -> NDArray[np.bool_]:
        """Write sum_j w_ij v_j (tokens, value_dimension); returns which rows are still to be computed, (tokens,).

        query, key, value : (tokens, their dimension)     weights : (tokens,)     cost : nanoseconds on one thread
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self._profile.exponent == PRODUCT:
                query = key.dtype.type(self._profile.factor) * query
            sums, totals, bounds = self._kernels.sums(query, key, value, weights, cost, threads)
            if not self._profile.vanishes:
                np.copyto(out, sums)
                return ~np.isfinite(totals)
            if self._softmax:
                np.divide(sums, totals[:, None], out=out)
            else:  # in two steps: a loose bound may lie where its own power overflows, though the product does not
                root = np.exp(0.5 * (LN2 * bounds - self._shift)).astype(out.dtype)[:, None]
                np.multiply(root, root * sums, out=out)
            least = LEAST_SUM64 if out.itemsize == 8 else LEAST_SUM32
            return ~((totals > least) & (totals < np.inf))


class _Pairs:
    """See `OnePass`: `sums` returns sum_j w_ij a_j v_j, sum_j w_ij a_j and what was subtracted from exponents."""

    def __init__(self, profile: Profile, mask: int, shape: Shape, dtype: np.dtype) -> None:
        tokens, d, dv = shape
        padded, zero = -(-tokens // lanes(dtype)) * lanes(dtype), dtype.type(0)
        self._tokens = tokens
        self._room = PairsRoom(
            lanes=lanes(dtype),
            like=(zero,) * d,
            values=(zero,) * dv,
            query=aligned_zeros((1, 1, d, padded), dtype),
            bound=aligned_zeros((1, 1, padded), dtype),
            keys=aligned_zeros((1, 1, -(-tokens // TOGETHER) * TOGETHER, d + dv + 1), dtype),
            lane_values=aligned_zeros((1, dv + 1, padded), dtype),
            mask=mask,
            profile=profile,
        )
        parts = symmetric.PARTS if mask == NO_MASK and tokens >= symmetric.FEWEST_TOKENS else 1
        self._sums = aligned_zeros((1, parts, dv + 1, padded), dtype)

    def sums(self, query: Array, key: Array, value: Array, weights: Array, cost: float, threads: int):
        room, tokens, profile, d = self._room, self._tokens, self._room.profile, key.shape[1]
        room.query[0, 0, :, :tokens] = query.T
        keys = room.keys[0, 0, :tokens]
        keys[:, :d] = key
        np.multiply(weights[:, None], value, out=keys[:, d:-1])
        keys[:, -1] = weights
        # products of queries that are not the keys are symmetric as long as they are multiples of them
        factor = key.dtype.type(profile.factor if profile.exponent == PRODUCT else 1.0)
        both = self._sums.shape[1] > 1 and np.array_equal(query, factor * key)
        room.bound[...] = -profile.shift
        if profile.bounded:
            bounds = _lengths(query) * (_lengths(key).max() * (MARGIN64 if key.itemsize == 8 else MARGIN32))
            both = both and 2.0 * bounds.max() < symmetric.WIDEST[key.itemsize]
            room.bound[0, 0, :tokens] = bounds.max() if both else bounds
        if both:
            room.lane_values[0, :, :tokens] = keys[:, d:].T
            cost, parts = 0.6 * cost, self._sums
            in_parallel(lambda a, b: symmetric.sum_parts(room, parts, a, b), symmetric.PARTS, cost, threads)
            sums = parts[0].sum(axis=0)
        else:
            sums, units = self._sums[0, 0], room.bound.shape[2] // room.lanes
            in_parallel(lambda a, b: _sum_units(room, sums, a, b), units, cost, threads)
        return sums[:-1, :tokens].T, sums[-1, :tokens], room.bound[0, 0, :tokens]


class _Tiles:
    """See `_Pairs`."""

    def __init__(self, profile: Profile, mask: int, shape: Shape, dtype: np.dtype) -> None:
        tokens, d, dv = shape
        vector = lanes(dtype)
        panel = COLUMNS * vector
        padded = -(-tokens // (VECTORS * vector)) * VECTORS * vector
        self._tokens = tokens
        self._room = TilesRoom(
            query=aligned_zeros((padded // panel, d, panel), dtype),
            keys=aligned_zeros((padded // panel, d, panel), dtype),
            values=aligned_zeros((-(-dv // panel), padded, panel), dtype),
            columns=-(-dv // vector) * vector,
            weights=aligned_zeros((padded,), dtype),
            log2_weights=np.full(padded, -np.inf, dtype),
            query_squares=aligned_zeros((padded,), dtype),
            key_squares=aligned_zeros((padded,), dtype),
            mask=mask,
            profile=profile,
        )
        self._sums = np.empty((tokens, dv), dtype)
        self._totals, self._bounds = np.zeros((2, padded), dtype)

    def sums(self, query: Array, key: Array, value: Array, weights: Array, cost: float, threads: int):
        room, tokens = self._room, self._tokens
        _fill_panels(query, room.query)
        _fill_panels(key, room.keys)
        panel = room.values.shape[2]
        for p, part in enumerate(room.values):
            part[:tokens, : value.shape[1] - p * panel] = value[:, p * panel : (p + 1) * panel]
        room.weights[:tokens] = weights
        room.log2_weights[:tokens] = np.log2(weights)
        if room.profile.exponent != PRODUCT:
            room.query_squares[:tokens], room.key_squares[:tokens] = _squares(query), _squares(key)
        sums, totals, bounds = self._sums, self._totals, self._bounds
        units = len(room.weights) // ROWS
        work = profile_tiles.sum_units
        in_parallel(lambda a, b: work(room, sums, totals, bounds, a, b), units, cost, threads)
        return sums, totals[:tokens], bounds[:tokens]


def _squares(x: Array) -> Array:
    return np.einsum("ic,ic->i", x, x)


def _lengths(x: Array) -> Array:
    return np.sqrt(_squares(x))


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_panels(features, panels):
    """(tokens, dimension) as (panels, dimension, panel), tokens side by side."""
    panel = panels.shape[2]
    for i in range(features.shape[0]):
        for c in range(features.shape[1]):
            panels[i // panel, c, i % panel] = features[i, c]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_units(room, out, first, last):
    """out (value_dimension + 1, padded) of the vectors of rows first..last."""
    wide()
    like, values, lanes = room.like, room.values, room.lanes
    padded, width = out.shape[1], len(values) + 1
    sums = np.empty((1, width, lanes), out.dtype)
    for unit in range(first, last):
        i = unit * lanes
        sum_rows(room.profile, like, values, room.mask, False, room.query, room.bound, room.keys, sums, 0, 0, i)
        for k in range(width):
            store(out, k * padded + i, load(sums, k * lanes))
