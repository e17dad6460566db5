"""Linear systems that are known only by what their matrix does to a vector: GMRES."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .arithmetic import State

LARGEST_SPACE = 40


def gmres(
    apply: Callable[[State], State],
    b: State,
    inner: Callable[[State, State], float],
    tolerance: float,
    largest: int = LARGEST_SPACE,
) -> State:
    """y from the Krylov space of b, of at most this dimension, with |b - apply(y)| <= tolerance if there is one.

    apply : the matrix times a state      inner : the scalar product, whose norm is meant
    b     : (replicas, tokens, dimension), not zero

    The dimension that is needed is at most the number of distinct eigenvalues. Source: Y. Saad, M. H. Schultz,
    SIAM J. Sci. Stat. Comput. 7 (1986) 856.
    """
    length = inner(b, b) ** 0.5
    basis, hessenberg = [b / length], np.zeros((largest + 1, largest))
    right = np.zeros(largest + 1)
    right[0] = length
    coefficients: NDArray[np.floating] = right[:0]
    for k in range(largest):
        w = apply(basis[k])
        for j in range(k + 1):
            hessenberg[j, k] = inner(basis[j], w)
            w = w - hessenberg[j, k].item() * basis[j]
        rest = hessenberg[k + 1, k] = inner(w, w) ** 0.5
        if not np.isfinite(hessenberg[: k + 2, k]).all():
            return b * np.nan
        matrix = hessenberg[: k + 2, : k + 1]
        coefficients = np.linalg.lstsq(matrix, right[: k + 2], rcond=None)[0]
        residual = np.linalg.norm(right[: k + 2] - matrix @ coefficients)
        # what is left of w after rounding has no direction
        if residual <= tolerance or rest <= 1e-14 * np.linalg.norm(hessenberg[: k + 1, k]):
            break
        basis.append(w / rest)
    y = coefficients[0].item() * basis[0]
    for coefficient, direction in zip(coefficients[1:], basis[1:], strict=False):
        y = y + coefficient.item() * direction
    return y
