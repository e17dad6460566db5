"""The spectra of the matrices of a law, head by head: of the scores' form and of the map that moves tokens.

    scores  A_h = beta Q_h^T K_h    <x, A_h y> is the score of y for x; 1/sqrt(head dimension) where it is scaled
    values  M_h = O_h V_h           what the head does to a token it attends to; V_h itself where there is no output

Both are products of a matrix (dimension, k) and one (k, dimension), k the head dimension, so nothing of the size of
dimension x dimension is decomposed where k is less: the eigenvalues of L R that are not 0 are those of R L, its
singular values those of the triangles of two QR factorisations, and its symmetric part is of rank 2k. Biases, rotary
positions and normalisation of tokens are not in them. Source: arXiv:2305.05465, which has spectra of ALBERT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput
from ..attention import Attention
from ..block import Law, attention_of
from ..projections import Projections

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
ROUNDING = 1e-12  # of the norm: what is smaller is 0
APART = 1e-9  # relatively, by which the leading eigenvalue must exceed the second to be simple


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The spectrum of a square matrix M = L R of low rank.

    dimension   : of M
    eigenvalues : (k,) by falling modulus; the other dimension - k are 0
    singular    : (k,) singular values, falling; the others are 0
    positive, negative : how many eigenvalues of (M + M^T)/2 are above and below 0, the signature of <x, M x>
    leading     : (dimension,), the unit eigenvector of the first eigenvalue where that is real, else zeros
    """

    dimension: int
    eigenvalues: Complex
    singular: Array
    positive: int
    negative: int
    leading: Array

    @property
    def norm(self) -> float:
        """The largest singular value."""
        return float(self.singular[0])

    @property
    def rank(self) -> int:
        """How many singular values are not rounding."""
        return int((self.singular > ROUNDING * self.norm).sum())

    @property
    def radius(self) -> float:
        """The largest modulus of an eigenvalue."""
        return float(abs(self.eigenvalues[0]))

    @property
    def kind(self) -> str:
        """Of the leading eigenvalue: "positive", "negative", "complex", "multiple" (not simple) or "zero"."""
        moduli = np.abs(self.eigenvalues)
        if moduli[0] <= ROUNDING * self.norm:
            return "zero"
        first = self.eigenvalues[0]
        if not _real(first, self.norm):
            return "complex"
        if len(moduli) > 1 and moduli[1] >= (1.0 - APART) * moduli[0]:
            return "multiple"
        return "positive" if first.real > 0.0 else "negative"

    @property
    def to_the_right(self) -> float:
        """The share of the eigenvalues that are not 0 whose real part is positive; NaN where all are 0."""
        there = self.eigenvalues[np.abs(self.eigenvalues) > ROUNDING * self.norm]
        return float((there.real > 0.0).mean()) if len(there) else np.nan


@dataclass(frozen=True, eq=False)
class HeadSpectra:
    """The spectra of one head.

    scores, values : of A_h and of M_h
    own_score      : beta <Q phi, K phi>, phi the leading unit eigenvector of the values; NaN where that is not simple
                     and real
    """

    scores: Spectrum
    values: Spectrum
    own_score: float

    @property
    def good_triple(self) -> bool:
        """Whether the leading eigenvalue of the values is simple and positive, and <Q phi, K phi> > 0 (2305.05465)."""
        return self.values.kind == "positive" and self.own_score > 0.0


def head_spectra(law: Law, dimension: int) -> tuple[HeadSpectra, ...]:
    """The spectra of every head of a law for tokens of this dimension. Raises InvalidInput for a wrong shape."""
    attention = attention_of(law)
    p = attention.projections(dimension)
    return tuple(_of_head(attention, p, head, dimension) for head in range(attention.heads))


def spectrum_of(left: ArrayLike, right: ArrayLike) -> Spectrum:
    """The spectrum of left @ right, with left (dimension, k) and right (k, dimension).

    Raises InvalidInput for shapes that are no such factors, and numbers that are not finite.
    """
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if left.ndim != 2 or left.shape != right.shape[::-1] or not left.size:
        raise InvalidInput(f"factors must have the shapes (dimension, k) and (k, dimension); got {left.shape} "
                           f"and {right.shape}")  # fmt: skip
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise InvalidInput("factors must hold finite numbers")
    dimension, k = left.shape
    small = k < dimension
    values, vectors = np.linalg.eig(right @ left if small else left @ right)
    order = np.lexsort((-values.imag, -values.real, -np.abs(values)))
    values, first = values[order].astype(np.complex128), vectors[:, order[0]]
    singular = _singular(left, right) if small else np.linalg.svd(left @ right, compute_uv=False)
    phi = left @ first if small else first
    length = np.linalg.norm(phi)
    real = _real(values[0], singular[0]) and length > 0.0
    leading = phi.real / np.linalg.norm(phi.real) if real else np.zeros(dimension)
    positive, negative = _signature(left, right, float(singular[0]))
    return Spectrum(dimension, values, singular, positive, negative, leading)


def _of_head(law: Attention, p: Projections, head: int, dimension: int) -> HeadSpectra:
    unit = np.eye(dimension)
    query, key = (unit, unit) if p.query is None or p.key is None else (p.query[head], p.key[head])
    scale = law.score_beta * p.score_scale
    scores = spectrum_of(scale * query.T, key)
    value = p.value_scale * unit if p.value is None else p.value[head]
    columns = slice(head * len(value), (head + 1) * len(value))
    values = spectrum_of((unit if p.output is None else p.output)[:, columns], value)
    phi = values.leading
    simple = values.kind in ("positive", "negative")
    return HeadSpectra(scores, values, float(scale * (query @ phi) @ (key @ phi)) if simple else np.nan)


def _singular(left: Array, right: Array) -> Array:
    first, second = (np.asarray(np.linalg.qr(each, mode="r")) for each in (left, right.T))
    return np.asarray(np.linalg.svd(first @ second.T, compute_uv=False))


def _signature(left: Array, right: Array, norm: float) -> tuple[int, int]:
    """The numbers of positive and negative eigenvalues of (L R + R^T L^T)/2, which lies in the span of (L, R^T)."""
    dimension, k = left.shape
    if 2 * k < dimension:
        triangle = np.asarray(np.linalg.qr(np.concatenate([left, right.T], axis=1), mode="r"))
        product = triangle[:, :k] @ triangle[:, k:].T
    else:
        product = left @ right
    values = np.linalg.eigvalsh(0.5 * (product + product.T))
    return int((values > ROUNDING * norm).sum()), int((values < -ROUNDING * norm).sum())


def _real(value: complex, norm: float) -> bool:
    return abs(value.imag) <= ROUNDING * norm
