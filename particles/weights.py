"""Families of query, key, value and output matrices. A new family is one function and one row of FAMILIES.

Every family is (rows, columns, generator) -> (rows, columns), scaled so that it keeps the length of a typical
vector; the caller multiplies by the scale it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Matrix = NDArray[np.float64]
Generator = np.random.Generator


def identity(rows: int, columns: int, generator: Generator) -> Matrix:
    """The identity; a rectangle of it where rows and columns differ."""
    return np.eye(rows, columns)


def gaussian(rows: int, columns: int, generator: Generator) -> Matrix:
    """Independent N(0, 1/columns) entries."""
    return generator.standard_normal((rows, columns)) / np.sqrt(columns)


def orthogonal(rows: int, columns: int, generator: Generator) -> Matrix:
    """Haar-distributed orthonormal rows or, where there are more rows than columns, columns."""
    tall = generator.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))  # without the signs, QR does not give the Haar measure
    return q if rows >= columns else q.T


def symmetric(rows: int, columns: int, generator: Generator) -> Matrix:
    """The Gaussian orthogonal ensemble (G + G^T) / sqrt(2d), spectrum on about [-2, 2]; square only."""
    _square("symmetric", rows, columns)
    g = generator.standard_normal((rows, rows))
    return (g + g.T) / np.sqrt(2.0 * rows)


def diagonal(rows: int, columns: int, generator: Generator) -> Matrix:
    """A diagonal of independent N(0, 1) entries; square only."""
    _square("diagonal", rows, columns)
    return np.diag(generator.standard_normal(rows))


FAMILIES: dict[str, Callable[[int, int, Generator], Matrix]] = {
    "identity": identity,
    "gaussian": gaussian,
    "orthogonal": orthogonal,
    "symmetric": symmetric,
    "diagonal": diagonal,
}

GAUSSIAN = ("gaussian", "symmetric", "diagonal")  # families that stay what they are in an Ornstein-Uhlenbeck process


def ornstein_uhlenbeck(drawn: Sequence[Matrix], depths: Sequence[float], correlation: float) -> list[Matrix]:
    """The stationary process with correlation exp(-|t - s| / correlation), exactly, at increasing depths.

    M_0 = G_0,  M_k = r M_{k-1} + sqrt(1 - r^2) G_k,  r = exp(-(t_k - t_{k-1}) / correlation)

    drawn : G_0, G_1, ..., independent and of one family of GAUSSIAN, which is then the law of every M_k
    """
    path = [drawn[0]]
    for fresh, step in zip(drawn[1:], np.diff(depths) / correlation, strict=True):
        path.append(np.exp(-step) * path[-1] + np.sqrt(-np.expm1(-2.0 * step)) * fresh)
    return path


def draw(family: str, rows: int, columns: int, seed: int, stream: tuple[int, ...] = ()) -> Matrix:
    """A (rows, columns) matrix of the family of this name.

    The random stream is spawned from `seed` by `stream` (for example which matrix of which layer), so that no
    matrix depends on how many others are drawn. Raises InvalidInput for an unknown family.
    """
    if family not in FAMILIES:
        raise InvalidInput(f"matrix law must be one of {', '.join(FAMILIES)}; got {family!r}")
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, *stream)))
    return FAMILIES[family](rows, columns, generator)


def _square(family: str, rows: int, columns: int) -> None:
    if rows != columns:
        raise InvalidInput(f"a {family} matrix is square; this one would be ({rows}, {columns})")
