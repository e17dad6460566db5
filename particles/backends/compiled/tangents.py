"""Around the attention on a sphere: the tokens retracted before it, and its tangential part after it."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")  # a token at the origin becomes NaN
def retract(x, radius):
    """Bring x (replicas, tokens, dimension) back to the sphere of this radius, in place; radius 0 is R^d."""
    if radius > 0.0:
        for r in range(x.shape[0]):
            for i in range(x.shape[1]):
                square = 0.0
                for c in range(x.shape[2]):
                    square += np.float64(x[r, i, c]) * x[r, i, c]
                scale = radius / np.sqrt(square)
                for c in range(x.shape[2]):
                    x[r, i, c] = scale * x[r, i, c]


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
