"""Initial laws: where the tokens of an ensemble start. A new law is one function and one row of LAWS.

Every law is a function (space, tokens, generator, **its parameters) -> (tokens, dimension) of one replica;
`draw` calls it once per replica, each with its own spawned random stream.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .arrays import read_array
from .space import Euclidean, Space, Sphere

Positions = NDArray[np.floating]
Generator = np.random.Generator


def uniform(
    space: Space,
    tokens: int,
    generator: Generator,
    radius: float | None = None,
    region: Literal["ball", "cube", "sphere"] | None = None,
) -> Positions:
    """Uniform on the sphere; in R^d in the ball, on the sphere or in the cube of half-width `radius` (1, ball)."""
    if isinstance(space, Euclidean):
        return space.uniform(generator, (tokens,), radius=1.0 if radius is None else radius, region=region or "ball")
    if radius is not None or region not in (None, "sphere"):
        raise InvalidInput(
            "radius and region belong to uniform tokens in a Euclidean space; a sphere has its own radius"
        )
    return space.uniform(generator, (tokens,))


def gaussian(
    space: Space,
    tokens: int,
    generator: Generator,
    mean: ArrayLike | None = None,
    deviation: float = 1.0,
    covariance: ArrayLike | None = None,
) -> Positions:
    """N(mean, deviation^2 I) or N(mean, covariance), retracted to the space."""
    d = space.dimension
    centre = np.zeros(d) if mean is None else _vector("mean", mean, d)
    noise = generator.standard_normal((tokens, d))
    if covariance is None:
        return space.retract(centre + deviation * noise)
    matrix = np.asarray(covariance, np.float64)
    if matrix.shape != (d, d) or not np.allclose(matrix, matrix.T):
        raise InvalidInput(f"covariance must be a symmetric ({d}, {d}) matrix; got the shape {matrix.shape}")
    eigenvalues, eigenvectors = np.linalg.eigh(matrix)
    if eigenvalues.min() < -1e-12 * max(eigenvalues.max(), 1.0):
        raise InvalidInput(f"covariance must be positive semidefinite; its least eigenvalue is {eigenvalues.min():.3g}")
    root = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    return space.retract(centre + noise @ root.T)


def mixture(
    space: Space,
    tokens: int,
    generator: Generator,
    clusters: int | None = None,
    centres: ArrayLike | None = None,
    spread: float = 0.1,
) -> Positions:
    """Clusters: token i is gaussian with deviation `spread` about centre i mod clusters, retracted to the space.

    `centres` (clusters, dimension) are given, or `clusters` of them are drawn as `uniform` draws tokens.
    """
    if (clusters is None) == (centres is None):
        raise InvalidInput("mixture needs either clusters (a number) or centres (a list of points), not both")
    if centres is None:
        assert clusters is not None
        if clusters < 1:
            raise InvalidInput(f"clusters must be at least 1; got {clusters}")
        middle = uniform(space, clusters, generator)
    else:
        middle = np.asarray(centres, np.float64)
        if middle.ndim != 2 or middle.shape[1] != space.dimension:
            raise InvalidInput(f"centres must have the shape (clusters, {space.dimension}); got {middle.shape}")
    noise = generator.standard_normal((tokens, space.dimension))
    return space.retract(middle[np.arange(tokens) % len(middle)] + spread * noise)


def equiangular(space: Space, tokens: int, generator: Generator, cosine: float = 0.0) -> Positions:
    """Tokens on the sphere with the same cosine between any two: x_i = sqrt(1-c) u_i + b sum_k u_k.

    Needs dimension >= tokens and -1/(tokens-1) <= cosine <= 1. The u_i are the first coordinate directions.
    """
    if not isinstance(space, Sphere):
        raise InvalidInput("equiangular tokens need a sphere")
    if space.dimension < tokens:
        raise InvalidInput(
            f"equiangular tokens need a dimension of at least tokens = {tokens}; got dimension {space.dimension}"
        )
    least = -1.0 / (tokens - 1) if tokens > 1 else -1.0
    if not least - 1e-12 <= cosine <= 1.0:
        raise InvalidInput(f"cosine must lie in [{least:.6g}, 1] for {tokens} tokens; got {cosine}")
    a = np.sqrt(1.0 - cosine)
    b = (np.sqrt(max(1.0 - cosine + tokens * cosine, 0.0)) - a) / tokens
    positions = np.zeros((tokens, space.dimension))
    positions[:, :tokens] = b
    positions[np.arange(tokens), np.arange(tokens)] += a
    return space.retract(positions)


def grid(space: Space, tokens: int, generator: Generator, phase: float = 0.0) -> Positions:
    """Evenly spaced on the circle, the first token at the angle `phase` (radians)."""
    if not isinstance(space, Sphere) or space.dimension != 2:
        raise InvalidInput("grid tokens are evenly spaced on the circle: they need a sphere of dimension 2")
    angles = phase + 2.0 * np.pi * np.arange(tokens) / tokens
    return space.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


LAWS: dict[str, Callable[..., Positions]] = {
    "uniform": uniform,
    "gaussian": gaussian,
    "mixture": mixture,
    "equiangular": equiangular,
    "grid": grid,
}


def draw(
    law: str,
    space: Space,
    *,
    tokens: int | None = None,
    replicas: int = 1,
    seed: int = 0,
    **parameters: Any,
) -> Positions:
    """Positions (replicas, tokens, dimension) drawn from the law of this name; "file" reads them.

    Raises InvalidInput for an unknown law, a parameter the law does not take, or one out of range.
    """
    if law == "file":
        return from_file(space, tokens=tokens, replicas=replicas, **parameters)
    if law not in LAWS:
        raise InvalidInput(f"initial law must be one of {', '.join([*LAWS, 'file'])}; got {law!r}")
    if tokens is None or tokens < 1:
        raise InvalidInput(f"tokens must be at least 1; got {tokens}")
    if replicas < 1:
        raise InvalidInput(f"replicas must be at least 1; got {replicas}")
    allowed = list(inspect.signature(LAWS[law]).parameters)[3:]
    unknown = sorted(set(parameters) - set(allowed))
    if unknown:
        raise InvalidInput(f"initial law {law!r} takes {', '.join(allowed) or 'no parameters'}; got {unknown[0]!r}")
    streams = (np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, r))) for r in range(replicas))
    return np.stack([LAWS[law](space, tokens, stream, **parameters) for stream in streams])


def from_file(
    space: Space, *, file: str | Path, array: str | None = None, tokens: int | None = None, replicas: int = 1
) -> Positions:
    """Positions from a .npy, .npz, .csv or .h5 file, retracted to the space.

    The array is (tokens, dimension) or (replicas, tokens, dimension); the first `tokens` of it are taken. A
    single replica is repeated. Raises InvalidInput for a missing file, a wrong shape or values not finite.
    """
    return space.retract(placed(space, read_array(file, array), file, tokens, replicas))


def placed(
    space: Space, positions: Positions, file: str | Path, tokens: int | None = None, replicas: int = 1
) -> Positions:
    """Positions of `file`, (tokens, dimension) or (replicas, tokens, dimension), as (replicas, tokens, dimension).

    Raises InvalidInput where they do not fit: see `from_file`.
    """
    if positions.ndim == 2:
        positions = np.repeat(positions[None], replicas, axis=0)
    if positions.ndim != 3 or positions.shape[0] != replicas or positions.shape[2] != space.dimension:
        raise InvalidInput(
            f"the positions in {file} must have the shape (tokens, {space.dimension}) or "
            f"({replicas}, tokens, {space.dimension}); got {positions.shape}"
        )
    if tokens is not None:
        if not 1 <= tokens <= positions.shape[1]:
            raise InvalidInput(f"tokens must lie in [1, {positions.shape[1]}], what {file} holds; got {tokens}")
        positions = positions[:, :tokens]
    return positions


def _vector(name: str, value: ArrayLike, dimension: int) -> Positions:
    vector = np.asarray(value, np.float64)
    if vector.shape != (dimension,):
        raise InvalidInput(f"{name} must have {dimension} components; got the shape {vector.shape}")
    return vector
