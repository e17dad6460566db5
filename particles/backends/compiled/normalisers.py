"""Layer normalisation and the root mean square in compiled code, a token at a time while it is in the cache."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from ...normalisers import LayerNorm, RMSNorm
from .lanes import lane_count
from .schedule import default_threads, in_parallel
from .vectors import across_sum, fma, load, spread, store, wide

Array = NDArray[np.floating]
COST = 1.0  # nanoseconds of a component, roughly


class CompiledNormaliser:
    """n of tokens (..., dimension): see `LayerNorm` and `RMSNorm`."""

    def __init__(self, normaliser: LayerNorm | RMSNorm, dimension: int, dtype: DTypeLike, threads: int | None = None):
        kind = np.dtype(dtype)
        bias = normaliser.bias if isinstance(normaliser, LayerNorm) else 0.0
        self._centred = isinstance(normaliser, LayerNorm)
        self._gain, self._bias = (np.array(np.broadcast_to(v, dimension), kind) for v in (normaliser.gain, bias))
        self._epsilon, self._threads = float(normaliser.epsilon), threads or default_threads()

    def __call__(self, positions: Array) -> Array:
        """n of every token."""
        return self._of(np.ascontiguousarray(positions), np.empty_like(positions, order="C"), False)

    def of_sum(self, positions: Array, effect: Array) -> Array:
        """n of positions + effect for every token, written over the effect."""
        return self._of(np.ascontiguousarray(positions), effect, True)

    def _of(self, positions: Array, out: Array, add: bool) -> Array:
        x, y = (each.reshape(-1, each.shape[-1]) for each in (positions, out))
        numbers = (self._gain, self._bias, self._epsilon, self._centred)
        in_parallel(lambda a, b: _normalise(x, *numbers, add, y, a, b), len(x), COST * x.size, self._threads)
        return out


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(x, gain, bias, epsilon, centred, add, out, first, last):
    """out = gain (y - mean) / sqrt(mean square + epsilon) + bias of the tokens first..last, (tokens, dimension).

    y = x + out if add, else x.
    """
    wide()
    number, dimension, lanes = x.dtype.type, x.shape[1], lane_count(x)
    whole = dimension // lanes * lanes
    for i in range(first, last):
        at = i * dimension
        for c in range(dimension):
            out[i, c] = x[i, c] + out[i, c] if add else x[i, c]
        mean = _sum(out, at, whole, dimension, number(0.0), False) / dimension if centred else 0.0
        middle = number(mean)
        square = _sum(out, at, whole, dimension, middle, True) / dimension
        scale = number(1.0 / np.sqrt(square + epsilon))
        for c in range(0, whole, lanes):
            centre = (load(out, at + c) - spread(middle)) * spread(scale)
            store(out, at + c, fma(centre, load(gain, c), load(bias, c)))
        for c in range(whole, dimension):
            out[i, c] = gain[c] * ((out[i, c] - middle) * scale) + bias[c]


@njit(cache=True, error_model="numpy")
def _sum(x, at, whole, dimension, middle, squares):
    """The sum over a token's components of x - middle, or of its square."""
    wide()
    lanes, shift = lane_count(x), spread(middle)
    total = shift - shift
    for c in range(0, whole, lanes):
        part = load(x, at + c) - shift
        total = fma(part, part, total) if squares else total + part
    rest = 0.0
    for c in range(whole, dimension):
        part = np.float64(x.flat[at + c] - middle)
        rest += part * part if squares else part
    return np.float64(across_sum(total)) + rest
