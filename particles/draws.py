"""Random numbers of pairs of tokens by their place: functions of a seed and of numbers, without any state.

Each is a hash of its place, so it depends neither on the number of tokens nor on who asks, and no n x n array is held.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]


def pair_bits(key: Words, first: int, last: int, low: int, high: int) -> Words:
    """64 random bits for each pair of tokens first <= i < last and low <= j < high, (last - first, high - low)."""
    i, j = (np.arange(*places, dtype=np.uint64) for places in ((first, last), (low, high)))
    return mixed(mixed((i[:, None] << np.uint64(32)) | j) ^ key)


def key_of(seed: int, *place: int) -> Words:
    """The key of a stream of its own for every seed and place, as (layer, replica, head)."""
    key = mixed(np.uint64(seed % 2**64))
    for number in place:
        key = mixed(key ^ np.uint64(number))
    return key


def mixed(number: ArrayLike) -> Words:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014): every bit of the result depends on every bit."""
    with np.errstate(over="ignore"):
        z = np.asarray(number, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
