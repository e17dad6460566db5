"""Around the attention on a sphere: the tokens retracted before it, and its tangential part after it."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def retracted(positions, radius):
    """r x / |x|, (replicas, tokens, dimension)."""
    points = np.empty_like(positions)
    for r in range(positions.shape[0]):
        for i in range(positions.shape[1]):
            square = 0.0
            for c in range(positions.shape[2]):
                square += np.float64(positions[r, i, c]) * positions[r, i, c]
            scale = radius / np.sqrt(square)
            for c in range(positions.shape[2]):
                points[r, i, c] = scale * positions[r, i, c]
    return points


@njit(cache=True, nogil=True, error_model="numpy")
def keep_tangential(points, radius, out):
    """out - <out, x> x / r^2 in place, both (replicas, tokens, dimension)."""
    for r in range(out.shape[0]):
        for i in range(out.shape[1]):
            inner = 0.0
            for c in range(out.shape[2]):
                inner += np.float64(out[r, i, c]) * points[r, i, c]
            along = out.dtype.type(inner / (radius * radius))
            for c in range(out.shape[2]):
                out[r, i, c] -= along * points[r, i, c]
