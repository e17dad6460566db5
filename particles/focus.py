"""A focus of attention: a point that the tokens' density draws along, and on which the weight of the tokens lies.

The point y of the space, with velocity u, moves by a second-order equation in the potential of the tokens' density,

    D u / dt = strength grad_y rho(y) - damping u,      rho(y) = sum_j b_j exp(-|x_j - y|^2 / (2 reach^2))

with b_j the weights of the ensemble and, on a sphere, D/dt along it; and the token weights are concentrated around it,

    a_j = b_j exp(-|x_j - y|^2 / (2 width^2)) / sum_k b_k exp(-|x_k - y|^2 / (2 width^2)),

which never leave the simplex, whatever y does. Width -> infinity is attention with the weights b_j. With tokens at rest
the energy |u|^2 / 2 - strength rho(y) falls at the rate damping |u|^2. Source: arXiv:2006.09229, where the density is
that of a visual feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .ensemble import Ensemble
from .space import Space, Sphere, library_of

Array = NDArray[np.floating]
ON_THE_SPHERE = 1e-6  # how far from it, as a part of the radius, a position that is given may lie


@dataclass(frozen=True, eq=False)
class Focus:
    """Where the focus starts, how it is drawn, and how far it is seen.

    position : (dimension,) or (replicas, dimension), a point of the space
    velocity : as the position, tangent to the space; by default at rest
    strength : of the force; negative drives the focus away from tokens
    reach    : the distance at which tokens draw it
    width    : the distance around it within which tokens have weight
    damping  : at least 0

    Raises InvalidInput for values out of range; shapes are checked against the ensemble when a run starts.
    """

    position: ArrayLike
    velocity: ArrayLike | None = None
    strength: float = 1.0
    reach: float = 1.0
    width: float = 1.0
    damping: float = 1.0
    rows = 2  # of the state: where it is, and its velocity
    breaks = ()

    def __post_init__(self) -> None:
        for name in ("strength", "reach", "width", "damping"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float, np.number)) and np.isfinite(value)):
                raise InvalidInput(f"{name} must be a finite number; got {value!r}")
        for name in ("reach", "width"):
            if not getattr(self, name) > 0.0:
                raise InvalidInput(f"{name} must be above 0; got {getattr(self, name)!r}")
        if self.damping < 0.0:
            raise InvalidInput(f"damping must be at least 0; got {self.damping!r}")

    def start(self, ensemble: Ensemble) -> Array:
        """Position and velocity at depth 0, (replicas, 2, dimension).

        Raises InvalidInput for another shape, a position off the sphere, or a velocity that is not tangent to it.
        """
        space = ensemble.space
        place = _for_every_replica("position", self.position, ensemble)
        speed = np.zeros_like(place)
        if self.velocity is not None:
            speed = _for_every_replica("velocity", self.velocity, ensemble)
        if isinstance(space, Sphere):
            radii = np.linalg.norm(place, axis=-1)
            if np.abs(radii - space.radius).max() > ON_THE_SPHERE * space.radius:
                raise InvalidInput(f"position must lie on the sphere |y| = {space.radius:g}; got |y| = {radii[0]:g}")
            across = np.abs(space.project(place, speed) - speed).max()
            if across > ON_THE_SPHERE * np.abs(speed).max():
                raise InvalidInput(f"velocity must be tangent to the sphere; {across:g} of it is not")
        start = np.stack([place, speed], axis=1)
        self.retract_rows(start, space)
        return start.astype(ensemble.positions.dtype)

    def weights(self, t: float, ensemble: Ensemble, state: Any) -> NDArray[np.float64]:
        """The token weights (replicas, tokens) of a state (replicas, tokens + 2, dimension)."""
        x, y, _ = _parts(ensemble, state, ensemble.space)
        logs = -_squares(x - y) / (2.0 * (self.width * self.width))
        base = np.broadcast_to(np.asarray(ensemble.weights, np.float64), logs.shape)
        highest = np.max(logs, axis=1, keepdims=True, initial=-np.inf, where=base > 0)
        powers = base * np.exp(np.minimum(logs - highest, 0.0))  # a token of weight zero may be the nearest
        return powers / powers.sum(axis=1, keepdims=True)

    def row_velocity(self, ensemble: Ensemble, state: Any, space: Space, out: Any) -> None:
        """See `Weighting.row_velocity`."""
        x, y, u = _parts(ensemble, state, space)
        pull = np.exp(-_squares(x - y) / (2.0 * self.reach**2)) / self.reach**2
        force = self.strength * np.sum((ensemble.weights * pull)[..., None] * (x - y), axis=1, keepdims=True)
        change = space.project(y, force) - self.damping * u
        if isinstance(space, Sphere):  # the tangent plane turns along the way
            change = change - np.sum(u**2, axis=-1, keepdims=True) / space.radius**2 * y
        found = np.concatenate([u, change], axis=1)
        out[:, -self.rows :] = found if library_of(out) is np else out.new_tensor(found)

    def retract_rows(self, rows: Any, space: Space) -> None:
        """See `Weighting.retract_rows`: the place to the space, the velocity to what is tangent there."""
        rows[:, 0] = space.retract(rows[:, 0])
        rows[:, 1] = space.project(rows[:, 0], rows[:, 1])


def focus_entropy(ensemble: Ensemble) -> NDArray[np.float64]:
    """-sum_j a_j log a_j, (replicas,): of the token weights; log n where they are equal, 0 where one token has all."""
    weights = np.broadcast_to(np.asarray(ensemble.weights), ensemble.positions.shape[:2])
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return -np.sum(weights * logs, axis=1)


def _parts(ensemble: Ensemble, state: Any, space: Space) -> tuple[Array, Array, Array]:
    """Tokens (replicas, tokens, dimension), and position and velocity (replicas, 1, dimension), on the space."""
    values = np.asarray(state if library_of(state) is np else state.detach().cpu().numpy(), np.float64)
    tokens = ensemble.tokens
    y = space.retract(values[:, tokens : tokens + 1])
    return space.retract(values[:, :tokens]), y, space.project(y, values[:, tokens + 1 :])


def _squares(differences: Array) -> Array:
    return np.sum(differences**2, axis=-1)


def _for_every_replica(name: str, value: ArrayLike, ensemble: Ensemble) -> NDArray[np.float64]:
    array = np.asarray(value, np.float64)
    if array.shape not in ((ensemble.dimension,), (ensemble.replicas, ensemble.dimension)):
        raise InvalidInput(
            f"{name} must have the shape ({ensemble.dimension},) or ({ensemble.replicas}, {ensemble.dimension}); "
            f"got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise InvalidInput(f"{name} must be finite; got {array.tolist()}")
    return np.broadcast_to(array, (ensemble.replicas, ensemble.dimension)).copy()
