"""Products with the Jacobian of softmax rows in compiled code: one kind of sum over pairs serves them all.

    out_l = sum_s p_ls (t_ls E_s + F_s),     p_ls = b_s m_ls 2^<A_l, B_s>,     t_ls = <C_l, D_s>

Tokens l stand side by side in a vector, tokens s are gone through; each vector of l is summed by one thread, so the bits
do not depend on their number. Memory is that of the tokens. Importing this module imports numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

from ..backends.compiled.exponential import LN2, LOG2E, exp2
from ..backends.compiled.schedule import default_threads, in_parallel
from ..backends.compiled.vectors import (
    REGISTER_BYTES,
    aligned_zeros,
    clear_between,
    fma,
    lane_numbers,
    largest,
    load,
    number_in,
    spread,
    spread_from,
    store,
    wide,
)

if TYPE_CHECKING:
    from ..attention import Attention

Array = NDArray[np.float64]
WIDTH = REGISTER_BYTES // 8  # tokens l side by side
TOGETHER = 4  # tokens s whose exponentials are computed side by side
EVERYONE, UP_TO, FROM, OTHERS = 0, 1, 2, 3  # which s a token l sees: all, s <= l, s >= l, s != l
_ROWS = {"none": EVERYONE, "causal": UP_TO, "without-self": OTHERS}
_COLUMNS = {"none": EVERYONE, "causal": FROM, "without-self": OTHERS}


class CompiledRows:
    """The rows P_ij of a law and products with the derivatives of what they average.

    query, key, value : (replicas, heads, tokens, components)      weights : (replicas, tokens)

    With directions D in front, tangents and gradients are (directions, replicas, heads, tokens, components).
    """

    def __init__(
        self, law: Attention, query: Array, key: Array, value: Array, weights: Array, threads: int | None
    ) -> None:
        self._threads = threads or default_threads()
        self._rows, self._columns = _ROWS[law.mask.name], _COLUMNS[law.mask.name]
        self._shape = query.shape[:3]
        heads = query.shape[1]
        self._query, self._key, self._value = law.score_beta * LOG2E * query, key, value
        self._beta = law.score_beta
        self._weights = np.repeat(weights, heads, axis=0)  # (replicas * heads, tokens)
        self._query_unit = law.score_beta * query
        highest = self._highest()
        ones = np.ones((*self._shape, 1))
        sums = self._sums(
            _beside(self._query, -highest[..., None]), _beside(key, ones), self._weights, self._rows,
            None, None, None, _beside(value, ones)[None],
        )[0]  # fmt: skip
        total = sums[..., -1]
        with np.errstate(divide="ignore"):
            self.log_partition = LN2 * (highest + np.log2(total))
        seen = total > 0
        self.average = np.divide(sums[..., :-1], total[..., None], out=np.zeros_like(value), where=seen[..., None])
        base = np.where(seen, highest + np.log2(np.where(seen, total, 1.0)), 0.0)
        self._lane_query = _beside(self._query, -base[..., None])
        self._lane_key = _beside(key, ones)
        # unnormalised rows are those of softmax times Z_i exp(-shift)
        normalised = law.normalisation.name == "softmax"
        self._size = None if normalised else np.where(seen, np.exp(LN2 * base - law.shift), 0.0)[..., None]

    @property
    def attended(self) -> Array:
        """sum_j w_ij v_j, (replicas, heads, tokens, value_dimension)."""
        return self.average if self._size is None else self._size * self.average

    def forward(self, query: Array, key: Array, value: Array) -> Array:
        """sum_j w_ij (dv_j + (ds_ij - dlog Z_i) v_j), without the term dlog Z_i where rows are not normalised."""
        nothing = np.zeros((*value.shape[:-1], 1))
        own = _beside(self._value, np.ones((*self._shape, 1)))
        sums = self._sums(
            self._lane_query, self._lane_key, self._weights, self._rows,
            _beside(self._beta * query, np.broadcast_to(self._query_unit, query.shape)),
            _beside(np.broadcast_to(self._key, key.shape), key),
            np.broadcast_to(own, (*value.shape[:-1], own.shape[-1])),
            _beside(value, nothing),
        )  # fmt: skip
        if self._size is not None:
            return self._size * sums[..., :-1]
        return sums[..., :-1] - sums[..., -1:] * self.average

    def backward(self, of_heads: Array) -> tuple[Array, Array, Array]:
        """The gradients of queries, keys and values from those of what the heads give."""
        g = of_heads if self._size is None else self._size * of_heads
        level = np.zeros((*g.shape[:-1], 1))
        if self._size is None:
            level = -(g * self.average).sum(axis=-1, keepdims=True)
        rows = _beside(g, level)
        columns = _beside(self._value, np.ones((*self._shape, 1)))
        columns = np.broadcast_to(columns, rows.shape)
        key = np.broadcast_to(self._key, (*g.shape[:-1], self._key.shape[-1]))
        of_query = self._beta * self._sums(
            self._lane_query, self._lane_key, self._weights, self._rows, rows, columns, key, np.zeros_like(key)
        )
        query = np.broadcast_to(self._query_unit, key.shape)
        both = self._sums(
            self._lane_key, self._lane_query, np.ones_like(self._weights), self._columns, columns, rows,
            _beside(query, np.zeros_like(g)), _beside(np.zeros_like(key), g),
        )  # fmt: skip
        weights = self._weights.reshape(*self._shape)[..., None]
        both = np.where(weights > 0, weights * both, 0.0)
        return of_query, both[..., : key.shape[-1]], both[..., key.shape[-1] :]

    def _highest(self) -> Array:
        """The largest exponent of every row, 0 for one that sees nobody, (replicas, heads, tokens)."""
        replicas, heads, tokens = self._shape
        lane, beside = _lanes(self._query), _flat(self._key)
        out = np.empty((replicas * heads, lane.shape[2]))
        units = out.size // WIDTH
        cost = units * tokens * (0.5 + 0.2 * lane.shape[1])
        in_parallel(lambda a, b: _highest(lane, beside, self._weights, self._rows, out, a, b), units, cost, 1)
        out = out[:, :tokens].reshape(self._shape)
        return np.where(np.isfinite(out), out, 0.0)

    def _sums(self, a: Array, b: Array, weights: Array, mask: int, c: Any, d: Any, e: Any, f: Array) -> Array:
        """out (directions, replicas, heads, tokens, components) of the module's formula; c to e None where t is 0."""
        directions, tokens = f.shape[0], self._shape[2]
        if c is None:
            nothing = np.zeros((*f.shape[:-1], 1))
            c, d, e = nothing, nothing, np.zeros_like(f)
        lane_a, lane_c = _lanes(a), _lanes(c)
        beside = np.ascontiguousarray(
            np.concatenate([np.broadcast_to(b, (*f.shape[:-1], b.shape[-1])), d, e, f], axis=-1)
        ).reshape(-1, tokens, b.shape[-1] + d.shape[-1] + 2 * f.shape[-1])
        out = aligned_zeros((lane_c.shape[0], f.shape[-1], lane_c.shape[2]), np.float64)
        units = out.shape[0] * (out.shape[2] // WIDTH)
        cost = units * tokens * (2.0 + 0.25 * beside.shape[2])

        def work(first: int, last: int) -> None:
            _sum_pairs(lane_a, lane_c, beside, weights, mask, out, first, last)

        in_parallel(work, units, cost, self._threads)
        out = np.swapaxes(out[:, :, :tokens], 1, 2)
        return out.reshape(directions, *self._shape, f.shape[-1])


class LiftedRows:
    """As `CompiledRows` for softmax of -beta/2 |q - k|^2, which is that of beta <(q, 1), (k, -|k|^2 / 2)>.

    Queries and keys are counted from the mean key, which changes no row and leaves less to cancel.
    """

    def __init__(
        self, law: Attention, query: Array, key: Array, value: Array, weights: Array, threads: int | None
    ) -> None:
        centre = key.mean(axis=-2, keepdims=True)
        self._key = key - centre
        lifted = _beside(self._key, -0.5 * _inner(self._key, self._key))
        rows = CompiledRows(
            law, _beside(query - centre, np.ones((*query.shape[:-1], 1))), lifted, value, weights, threads
        )
        self._rows, self.attended = rows, rows.attended

    def forward(self, query: Array, key: Array, value: Array) -> Array:
        """See `CompiledRows.forward`."""
        nothing = np.zeros((*query.shape[:-1], 1))
        return self._rows.forward(_beside(query, nothing), _beside(key, -_inner(self._key, key)), value)

    def backward(self, of_heads: Array) -> tuple[Array, Array, Array]:
        """See `CompiledRows.backward`."""
        of_query, of_key, of_value = self._rows.backward(of_heads)
        return of_query[..., :-1], of_key[..., :-1] - self._key * of_key[..., -1:], of_value


def applies(law: Attention) -> bool:
    """Whether the rows of a law are those of one of these classes."""
    alone = law.prior is None and law.rotary is None and law.multipliers is None
    distant = law.score.name in ("gaussian", "metric") and law.normalisation.name == "softmax"
    return law.plain or (alone and law.mask.name in _ROWS and distant)


def _beside(x: Array, y: Array) -> Array:
    return np.concatenate([x, y], axis=-1)


def _inner(x: Array, y: Array) -> Array:
    return (x * y).sum(axis=-1, keepdims=True)


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-2:])


def _lanes(x: Array) -> Array:
    """(places, components, tokens rounded up to whole vectors) from (..., tokens, components)."""
    flat = _flat(x)
    out = aligned_zeros((flat.shape[0], flat.shape[2], -(-flat.shape[1] // WIDTH) * WIDTH), np.float64)
    out[:, :, : flat.shape[1]] = np.swapaxes(flat, 1, 2)
    return out


@njit(cache=True, inline="always")
def _hide(mask, lane, distance, vector, value):
    """Put `value` where a lane's token does not see the token `distance` after the first lane's."""
    low = -1 if mask == UP_TO else (distance + 1 if mask == FROM else distance)
    high = distance if mask == UP_TO else (WIDTH if mask == FROM else distance + 1)
    return clear_between(lane, number_in(lane, low), number_in(lane, high), vector, value)


@njit(cache=True, nogil=True, error_model="numpy")
def _highest(a, b, weights, mask, out, first, last):
    """The largest <A_l, B_s> among the s of positive weight that l sees, for the vectors first..last of l."""
    wide()
    lane, nothing = lane_numbers(1.0), spread(-np.inf)
    padded, tokens, depth = a.shape[2], b.shape[1], a.shape[1]
    units = padded // WIDTH
    for unit in range(first, last):
        place, l = unit // units, unit % units * WIDTH
        found = nothing
        for s in range(min(tokens, l + WIDTH) if mask == UP_TO else tokens):
            if weights[place, s] == 0.0:
                continue
            score = spread(0.0)
            for k in range(depth):
                score = fma(load(a, (place * depth + k) * padded + l), spread(b[place, s, k]), score)
            if mask != EVERYONE and l <= s < l + WIDTH:
                score = _hide(mask, lane, s - l, score, nothing)
            found = largest(found, score)
        store(out, place * padded + l, found)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_pairs(a, c, beside, weights, mask, out, first, last):
    """The sums of the vectors first..last of l; `beside` holds B, D, E and F of every s in a row.

    a : (places, components, padded), weights (places, tokens); c, beside and out have the directions in front of places
    """
    wide()
    lane, nothing = lane_numbers(1.0), spread(0.0)
    places, depth, padded = a.shape
    deep, width, tokens, row = c.shape[1], out.shape[1], beside.shape[1], beside.shape[2]
    units = padded // WIDTH
    for unit in range(first, last):
        where, l = unit // units, unit % units * WIDTH
        place = where % places
        a_at, c_at, out_at = place * depth * padded + l, where * deep * padded + l, where * width * padded + l
        begin = l if mask == FROM else 0
        end = min(tokens, l + WIDTH) if mask == UP_TO else tokens
        for start in range(begin, end, TOGETHER):
            score, t = (nothing, nothing, nothing, nothing), (nothing, nothing, nothing, nothing)
            for k in range(depth):
                own = load(a, a_at + k * padded)
                for u in range(TOGETHER):
                    at = (where * tokens + min(start + u, end - 1)) * row
                    score = tuple_setitem(score, u, fma(own, spread_from(beside, at + k), score[u]))
            for k in range(deep):
                own = load(c, c_at + k * padded)
                for u in range(TOGETHER):
                    at = (where * tokens + min(start + u, end - 1)) * row + depth
                    t = tuple_setitem(t, u, fma(own, spread_from(beside, at + k), t[u]))
            p = exp2(score)
            for u in range(TOGETHER):
                s = start + u
                weight = weights[place, s] if s < end else 0.0
                # a power above the bound is no number, so that of a token without weight is not multiplied by 0
                weighted = p[u] * spread(weight) if weight > 0.0 else nothing
                if mask != EVERYONE and l <= s < l + WIDTH:
                    weighted = _hide(mask, lane, s - l, weighted, nothing)
                p = tuple_setitem(p, u, weighted)
            for k in range(width):
                total = load(out, out_at + k * padded)
                for u in range(TOGETHER):
                    at = (where * tokens + min(start + u, end - 1)) * row + depth + deep + k
                    term = fma(t[u], spread_from(beside, at), spread_from(beside, at + width))
                    total = fma(p[u], term, total)
                store(out, out_at + k * padded, total)
