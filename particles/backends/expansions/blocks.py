"""Blocks of tokens in compiled code: unit vectors component by component, and the attention from their sums.

Arrays of one block, where `width` is the tokens of a block, a multiple of the lanes of a vector:
points : (dimension, width)        unit vectors u; behind the last token stand its copies, with weight 0
weight : (width,)                  their weights
query  : (dimension, width)        unit vectors q = turn u
sums   : (dimension + 1, width)    g and z of `scores`
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..compiled.vectors import REGISTER_BYTES, across_max, divide, fma, largest, load, spread, square_root, store, wide

Array = NDArray[np.float64]
LANES = REGISTER_BYTES // 8
TOGETHER = 4 if REGISTER_BYTES == 64 else 2  # vectors side by side, as many as the registers hold


class Series(NamedTuple):
    """The expansion of exp(kappa (t - 1)), t = <q, u>, by degree k = 0, 1, ...; see `fourier` and `harmonics`.

    partition, across, along : (degrees,)   coefficients of z, of the part of g across q, of that along q
    tails : (degrees,)                      a bound of |error of z| + |error of g| when the degrees 0..k are kept
    """

    kappa: float
    partition: Array
    across: Array
    along: Array
    tails: Array

    def degree(self, error: float) -> int:
        """The lowest degree that keeps z and g within this error, or the highest that there is."""
        return int(min(np.searchsorted(-self.tails, -error), len(self.tails) - 1))


def bessel_ratios(kappa: float, order: float, count: int) -> Array:
    """I_(order + k) / I_order at kappa for k = 0..count - 1, by the recurrence of their quotients from above.

    Everything in it is positive, so no digit is lost.
    """
    nu = order + count
    quotient = kappa / (nu + np.hypot(nu, kappa))
    quotients = np.ones(count)
    for k in range(count - 1, 0, -1):
        quotient = quotients[k] = kappa / (2.0 * (order + k) + kappa * quotient)
    ratios = np.cumprod(quotients)
    return np.where(ratios > 1e-40, ratios, 0.0)


def truncated(kappa: float, partition: Array, across: Array, along: Array, size: Array, highest: int) -> Series:
    """The series up to a highest degree; size (degrees,): how much each degree may add to z and g."""
    tails = np.append(np.cumsum(size[:0:-1])[::-1], 0.0)
    return Series(kappa, *(part[: highest + 1] for part in (partition, across, along, tails)))


@njit(cache=True, nogil=True, error_model="numpy")
def gather(positions, weights, r, start, stop, points, weight):
    """Fill points and weight with the tokens start..stop of replica r."""
    wide()
    dimension, width = points.shape
    count = min(width, stop - start)
    rows, row_weights = positions[r, start : start + count], weights[r, start : start + count]
    for c in range(dimension):  # loops of one step each, which LLVM vectorises
        for i in range(count):
            points[c, i] = rows[i, c]
        for i in range(count, width):
            points[c, i] = rows[count - 1, c]
    for i in range(count):
        weight[i] = row_weights[i]
    weight[count:] = 0.0
    for at in range(0, width, LANES):
        square = spread(0.0)
        for c in range(dimension):
            x = load(points, c * width + at)
            square = fma(x, x, square)
        scale = divide(spread(1.0), square_root(square))
        for c in range(dimension):
            store(points, c * width + at, scale * load(points, c * width + at))


@njit(cache=True, nogil=True, error_model="numpy")
def turned(points, turn, query):
    """Fill query = turn points."""
    wide()
    dimension, width = points.shape
    for at in range(0, width, LANES):
        for c in range(dimension):
            q = spread(0.0)
            for p in range(dimension):
                q = fma(spread(turn[c, p]), load(points, p * width + at), q)
            store(query, c * width + at, q)


@njit(cache=True, nogil=True, error_model="numpy")
def finish(law, tangent, points, sums, result):
    """result (dimension, width), the attention or its tangential part; returns min z and max |f|^2 of the block."""
    wide()
    matrix, along, bias = law.matrix, law.along, law.bias
    dimension, width = points.shape
    least, fastest = spread(-np.inf), spread(0.0)  # of -z, so that one comparison serves both
    for at in range(0, width, LANES):
        z = load(sums, dimension * width + at)
        least = largest(spread(0.0) - z, least)
        factor = divide(spread(1.0), z) if law.softmax else spread(1.0)
        inner, square = spread(0.0), spread(0.0)
        for c in range(dimension):
            f = spread(along[c]) * z
            for p in range(dimension):
                f = fma(spread(matrix[c, p]), load(sums, p * width + at), f)
            f = fma(f, factor, spread(bias[c]))
            inner = fma(f, load(points, c * width + at), inner)
            store(result, c * width + at, f)
        for c in range(dimension):
            f = load(result, c * width + at)
            if tangent:
                f = f - inner * load(points, c * width + at)
                store(result, c * width + at, f)
            square = fma(f, f, square)
        fastest = largest(square, fastest)
    return -across_max(least), across_max(fastest)


@njit(cache=True, nogil=True, error_model="numpy")
def scatter(result, out, r, start, stop):
    """Write result to the tokens start..stop of replica r of out."""
    count = min(result.shape[1], stop - start)
    rows = out[r, start : start + count]
    for c in range(result.shape[0]):
        for i in range(count):
            rows[i, c] = result[c, i]
