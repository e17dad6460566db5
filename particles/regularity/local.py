"""The local Lipschitz constant of a law at an ensemble, |J|, and its one-sided one, measured by products with J.

    constant    max |J v| / |v|         the largest singular value of J
    one-sided   max <v, J v> / |v|^2    the largest eigenvalue of (J + J^T) / 2: two solutions near one another part at
                                        most as exp of its integral, and approach where it is below zero

both over tangents v. Small systems are given to LAPACK whole; of larger ones Lanczos' iteration, power iteration with
memory, finds the extreme values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..block import Law
from ..ensemble import Ensemble
from ..space import Sphere
from .jacobian import Jacobian, Of, jacobian

Array = NDArray[np.floating]
Norm = Literal["euclidean", "measure"]
SMALL = 96  # tokens * dimension up to which the matrix is written out
ROUGH, STEPS = 1e-3, 40  # for tolerances from ROUGH on Lanczos' iteration looks after each of so many steps


@dataclass(frozen=True)
class LocalConstant:
    """What was measured at an ensemble.

    value     : (replicas,)
    direction : (replicas, tokens, dimension), the tangent of norm 1 that is stretched most
    image     : J direction / value, of norm 1, for the constant; the direction again for the one-sided one
    """

    value: Array
    direction: Array
    image: Array


def local_constant(
    law: Law,
    ensemble: Ensemble,
    *,
    norm: Norm = "euclidean",
    of: Of = "drift",
    tolerance: float = 1e-6,
    seed: int = 0,
    **engine: Any,
) -> LocalConstant:
    """The local Lipschitz constant |J| of a law at every replica of an ensemble.

    norm      : "euclidean", (sum_i |v_i|^2)^(1/2), or "measure", (sum_i a_i |v_i|^2)^(1/2), of tokens with weight
    of        : "drift" or "attention", as for `jacobian`
    tolerance : of the residual of the iteration, relatively: the value errs by at most that, mostly by its square;
                `seed` of its start
    engine    : as for `jacobian`

    Raises InvalidInput as `jacobian`, and ComputationFailed where the iteration does not converge.
    """
    return _measured(law, ensemble, norm, of, tolerance, seed, engine, one_sided=False)


def one_sided_constant(
    law: Law,
    ensemble: Ensemble,
    *,
    norm: Norm = "euclidean",
    tolerance: float = 1e-6,
    seed: int = 0,
    **engine: Any,
) -> LocalConstant:
    """The one-sided Lipschitz constant (logarithmic norm) of the drift; arguments as for `local_constant`.

    Below zero, the flow contracts there.
    """
    return _measured(law, ensemble, norm, "drift", tolerance, seed, engine, one_sided=True)


def jacobian_matrix(law: Law, ensemble: Ensemble, *, of: Of = "drift", **engine: Any) -> Array:
    """J written out, (replicas, tokens, dimension, tokens, dimension), [:, i, :, j, :] being df_i/dx_j: O((n d)^2)."""
    return _matrix(jacobian(law, ensemble, of=of, **engine)).reshape(
        ensemble.replicas, *ensemble.positions.shape[1:], *ensemble.positions.shape[1:]
    )


def _matrix(derivative: Jacobian) -> Array:
    """(replicas, tokens * dimension, tokens * dimension)."""
    replicas, *shape = derivative.value.shape
    size = int(np.prod(shape))
    each = np.eye(size).reshape(size, 1, *shape)
    images = derivative.times(np.broadcast_to(each, (size, replicas, *shape)))
    return np.moveaxis(images.reshape(size, replicas, size), 0, 2)


def _measured(
    law: Law, ensemble: Ensemble, norm: Norm, of: Of, tolerance: float, seed: int, engine: Any, one_sided: bool
) -> LocalConstant:
    if norm not in ("euclidean", "measure"):
        raise InvalidInput(f'norm must be "euclidean" or "measure"; got {norm!r}')
    shape = ensemble.positions.shape
    weights = np.broadcast_to(np.asarray(ensemble.weights, np.float64), shape[:2])[..., None]
    root = np.sqrt(weights) if norm == "measure" else np.ones_like(weights)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    if shape[1] * shape[2] <= SMALL:
        matrices = _matrix(jacobian(law, ensemble, of=of, **engine))
        of_rows, of_columns = (np.repeat(each, shape[2], axis=2).reshape(len(each), -1) for each in (root, inverse))
        matrices = of_rows[:, :, None] * matrices * of_columns[:, None, :]
        value, image, direction = _dense(matrices, _normals(ensemble, of), one_sided)
    else:
        value, image, direction = np.empty(shape[0]), np.empty(shape), np.empty(shape)
        for replica in range(shape[0]):
            alone = _replica(ensemble, replica)
            operator = _Operator(jacobian(law, alone, of=of, **engine), alone, root[replica], inverse[replica], of)
            value[replica], image[replica], direction[replica] = operator.extreme(one_sided, tolerance, seed)
    return LocalConstant(value, inverse * direction.reshape(shape), inverse * image.reshape(shape))


def _replica(ensemble: Ensemble, replica: int) -> Ensemble:
    weights = np.asarray(ensemble.weights)
    return Ensemble(ensemble.positions[replica], ensemble.space, weights if weights.ndim == 1 else weights[replica])


def _normals(ensemble: Ensemble, of: Of) -> Array | None:
    """The unit normals at the tokens of a sphere, (replicas, tokens, dimension)."""
    if of != "drift" or not isinstance(ensemble.space, Sphere):
        return None
    x = np.asarray(ensemble.positions, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _dense(matrices: Array, normals: Array | None, one_sided: bool) -> tuple[Array, Array, Array]:
    """The extreme value, its left and its right vector, of every matrix."""
    if not one_sided:
        left, values, right = np.linalg.svd(matrices)
        return values[:, 0], left[:, :, 0], right[:, 0, :]
    even = 0.5 * (matrices + np.swapaxes(matrices, 1, 2))
    if normals is not None:  # what is normal goes below all that is tangent
        size, (tokens, dimension) = even.shape[1], normals.shape[1:]
        normal = np.zeros((len(even), size, tokens))
        for i in range(tokens):
            normal[:, i * dimension : (i + 1) * dimension, i] = normals[:, i]
        projection = np.eye(size) - normal @ np.swapaxes(normal, 1, 2)
        below = 1.0 + np.abs(matrices).sum(axis=(1, 2))
        even = projection @ even @ projection - below[:, None, None] * (normal @ np.swapaxes(normal, 1, 2))
    values, vectors = np.linalg.eigh(even)
    return values[:, -1], vectors[:, :, -1], vectors[:, :, -1]


class _Operator:
    """S J S^-1 of one replica, S the square roots of the weights of a norm, for Lanczos' iteration."""

    def __init__(self, derivative: Jacobian, ensemble: Ensemble, root: Array, inverse: Array, of: Of) -> None:
        self._derivative, self._root, self._inverse = derivative, root, inverse
        self._shape = derivative.value.shape
        self._normal = _normals(ensemble, of)

    def extreme(self, one_sided: bool, tolerance: float, seed: int) -> tuple[float, Array, Array]:
        """The extreme value, its left and its right vector, (tokens, dimension)."""
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        from ...errors import ComputationFailed

        size = int(np.prod(self._shape))
        start = self._tangent(np.random.default_rng(seed).standard_normal(self._shape)).ravel()
        apply = self._even if one_sided else lambda v: self._transpose_times(self._times(v))
        square = LinearOperator((size, size), matvec=lambda v: apply(v.reshape(self._shape)).ravel(), dtype=np.float64)
        # the normal directions of a sphere are a kernel, which must not be taken for the largest of negative values
        try:
            if one_sided and self._normal is not None:
                far = eigsh(square, k=1, which="LM", v0=start, tol=1e-2, return_eigenvectors=False)[0]
                below = 1.0 + 2.0 * abs(float(far))
                moved = lambda v: apply(v.reshape(self._shape)).ravel() - below * self._off(v)  # noqa: E731
                square = LinearOperator((size, size), matvec=moved, dtype=np.float64)
            found = _quickly(square.matvec, start, tolerance) if tolerance >= ROUGH and not one_sided else None
            values, vectors = found or eigsh(square, k=1, which="LA", v0=start, tol=tolerance)
        except ArpackNoConvergence as error:
            raise ComputationFailed(f"the local constant was not found to {tolerance:g}: {error}") from error
        right = vectors[:, 0].reshape(self._shape)
        if one_sided:
            return float(values[0]), right[0], right[0]
        image = self._times(right)
        value = float(np.linalg.norm(image))
        return value, (image / value if value > 0 else image)[0], right[0]

    def _tangent(self, v: Array) -> Array:
        if self._normal is None:
            return v
        return v - (v * self._normal).sum(axis=-1, keepdims=True) * self._normal

    def _off(self, v: Array) -> Array:
        """The part of a vector that is normal."""
        return v - self._tangent(v.reshape(self._shape)).ravel()

    def _times(self, v: Array) -> Array:
        return self._root * self._derivative.times(self._inverse * v)

    def _transpose_times(self, g: Array) -> Array:
        return self._inverse * self._derivative.transpose_times(self._root * g)

    def _even(self, v: Array) -> Array:
        v = self._tangent(v)
        return self._tangent(0.5 * (self._times(v) + self._transpose_times(v)))


def _quickly(apply: Callable[[Array], Array], start: Array, tolerance: float) -> tuple[Array, Array] | None:
    """The largest eigenvalue of a symmetric map (1,), and its vector (size, 1), as soon as its residual is small.

    ARPACK looks only after as many steps as it keeps vectors. None where `STEPS` are not enough.
    """
    from scipy.linalg import eigh_tridiagonal

    basis = np.empty((STEPS, start.size))
    basis[0] = start / np.linalg.norm(start)
    diagonal, beside = np.empty(STEPS), np.empty(STEPS)
    for step in range(STEPS):
        rest = apply(basis[step])
        diagonal[step] = rest @ basis[step]
        for _ in range(2):
            rest = rest - (basis[: step + 1] @ rest) @ basis[: step + 1]
        beside[step] = np.linalg.norm(rest)
        values, vectors = eigh_tridiagonal(diagonal[: step + 1], beside[:step])
        if beside[step] * abs(vectors[-1, -1]) <= tolerance * values[-1]:
            return values[-1:], (vectors[:, -1] @ basis[: step + 1])[:, None]
        if step + 1 < STEPS:
            basis[step + 1] = rest / beside[step]
    return None
