"""Where tokens live: Euclidean space and the sphere.

A space is one frozen class with five methods. All take arrays whose last axis is the dimension, so that one
token, an ensemble or a whole trajectory can be given:

project(positions, velocities)      the part of velocities that is tangent to the space at positions
retract(positions)                  the nearest points of the space
exponential(positions, velocities)  where the geodesics from positions with these velocities arrive at time 1
distance(positions, others)         the geodesic distance
uniform(generator, shape, ...)      points drawn uniformly

The first four take the tensors of torch as well, and are differentiable then.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Array = NDArray[np.floating]


class Space(Protocol):
    """What an ensemble, a drift and an integrator need to know of the place where tokens live."""

    @property
    def dimension(self) -> int: ...

    @property
    def name(self) -> str: ...

    def project(self, positions: Array, velocities: Array) -> Array: ...

    def retract(self, positions: Array) -> Array: ...

    def exponential(self, positions: Array, velocities: Array) -> Array: ...

    def distance(self, positions: Array, others: Array) -> Array: ...

    def uniform(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Array: ...


@dataclass(frozen=True)
class Euclidean:
    """R^d: no projection, no retraction. Uniform points fill the ball or cube of half-width `radius`."""

    dimension: int

    def __post_init__(self) -> None:
        _check_dimension(self.dimension, least=1)

    @property
    def name(self) -> str:
        return "euclidean"

    def project(self, positions: Array, velocities: Array) -> Array:
        """Return `velocities` (..., dimension) unchanged: every direction is tangent."""
        return velocities

    def retract(self, positions: Array) -> Array:
        """Return `positions` (..., dimension) unchanged."""
        return positions

    def exponential(self, positions: Array, velocities: Array) -> Array:
        """Straight lines: positions + velocities, both (..., dimension)."""
        return positions + velocities

    def distance(self, positions: Array, others: Array) -> Array:
        """|x - y| over the last axis of two (..., dimension) arrays."""
        return library_of(positions).linalg.norm(positions - others, axis=-1)

    def uniform(
        self,
        generator: np.random.Generator,
        shape: tuple[int, ...],
        radius: float = 1.0,
        region: Literal["ball", "cube", "sphere"] = "ball",
    ) -> Array:
        """Points (*shape, dimension) uniform in the ball or on the sphere of this radius, or in [-radius, radius]^d."""
        if region == "cube":
            return generator.uniform(-radius, radius, (*shape, self.dimension))
        directions = _directions(generator, (*shape, self.dimension))
        if region == "sphere":
            return radius * directions
        return radius * directions * generator.random((*shape, 1)) ** (1.0 / self.dimension)


@dataclass(frozen=True)
class Sphere:
    """The sphere |x| = radius in R^d; `dimension` is that of the surrounding space (2 is the circle)."""

    dimension: int
    radius: float = 1.0

    def __post_init__(self) -> None:
        _check_dimension(self.dimension, least=2)
        number = isinstance(self.radius, (int, float, np.number))
        if not (number and np.isfinite(self.radius) and self.radius > 0):
            raise InvalidInput(f"radius must be a positive number; got {self.radius!r}")

    @property
    def name(self) -> str:
        return "sphere"

    def project(self, positions: Array, velocities: Array) -> Array:
        """P_x v = v - <x, v> x / |x|^2 for (..., dimension) arrays."""
        inner = (positions * velocities).sum(axis=-1, keepdims=True)
        return velocities - inner / (positions**2).sum(axis=-1, keepdims=True) * positions

    def retract(self, positions: Array) -> Array:
        """r x / |x|, the nearest point of the sphere; positions (..., dimension)."""
        return self.radius / library_of(positions).linalg.norm(positions, axis=-1, keepdims=True) * positions

    def exponential(self, positions: Array, velocities: Array) -> Array:
        """cos(|v|/r) x + r sin(|v|/r) v/|v| for points x of the sphere and tangent v, (..., dimension)."""
        library = library_of(positions)
        angle = library.linalg.norm(velocities, axis=-1, keepdims=True) / self.radius
        # sinc(a/pi) = sin(a)/a is exact at a = 0, where v/|v| is not defined
        return library.cos(angle) * positions + library.sinc(angle / np.pi) * velocities

    def distance(self, positions: Array, others: Array) -> Array:
        """Great-circle distance 2 r asin(|x - y| / 2r), accurate for near and for far points."""
        library = library_of(positions)
        chord = library.linalg.norm(positions - others, axis=-1) / (2.0 * self.radius)
        return 2.0 * self.radius * library.arcsin(library.clip(chord, None, 1.0))

    def uniform(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Points (*shape, dimension) uniform on the sphere: normalised gaussians."""
        return self.radius * _directions(generator, (*shape, self.dimension))


def library_of(array: Any) -> Any:
    """torch, which is loaded where there are tensors, or numpy: what is used of them has the same names in both."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def _directions(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    gaussian = generator.standard_normal(shape)
    return gaussian / np.linalg.norm(gaussian, axis=-1, keepdims=True)


def _check_dimension(dimension: int, least: int) -> None:
    if not isinstance(dimension, (int, np.integer)) or dimension < least:
        raise InvalidInput(f"dimension must be an integer of at least {least}; got {dimension!r}")
