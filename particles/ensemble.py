"""The tokens of one or more independent replicas, with their weights: an empirical measure sum_i a_i delta_{x_i}."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import InvalidInput
from . import initial
from .space import Space


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Tokens in a space.

    positions : (replicas, tokens, dimension), float64 or float32; points of the space
    weights   : (tokens,) or (replicas, tokens), nonnegative, each replica's sum is 1; 1/tokens when not given
    space     : where the tokens live
    focus     : (replicas, 2, dimension), place and velocity of the focus around which the weights lie, in the frames of
                a run that has one: see `attndyn.particles.focus`

    Raises InvalidInput for a wrong shape, a value that is not finite, or weights that are no probabilities.
    """

    positions: NDArray[np.floating]
    space: Space
    weights: NDArray[np.floating] | None = None
    focus: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions)
        if positions.dtype not in (np.float32, np.float64):
            positions = positions.astype(np.float64)
        if positions.ndim == 2:
            positions = positions[None]
        if positions.ndim != 3 or positions.shape[2] != self.space.dimension or 0 in positions.shape:
            raise InvalidInput(
                f"positions must have the shape (replicas, tokens, {self.space.dimension}) with at least "
                f"one replica and one token; got {np.shape(self.positions)}"
            )
        if not np.isfinite(positions).all():
            raise InvalidInput("positions must be finite; some are NaN or infinite")
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "weights", checked_weights(self.weights, positions.shape[:2]))

    @property
    def replicas(self) -> int:
        return self.positions.shape[0]

    @property
    def tokens(self) -> int:
        return self.positions.shape[1]

    @property
    def dimension(self) -> int:
        return self.positions.shape[2]

    def at(
        self,
        positions: NDArray[np.floating],
        space: Space | None = None,
        weights: NDArray[np.floating] | None = None,
        focus: NDArray[np.floating] | None = None,
    ) -> Ensemble:
        """The same weights at other positions (replicas, tokens, dimension), in the same space or another.

        With other weights or a focus where they are given. Not checked again.
        """
        moved = object.__new__(Ensemble)
        object.__setattr__(moved, "positions", positions)
        object.__setattr__(moved, "space", self.space if space is None else space)
        object.__setattr__(moved, "weights", self.weights if weights is None else weights)
        object.__setattr__(moved, "focus", focus)
        return moved

    @classmethod
    def draw(
        cls,
        law: str,
        space: Space,
        *,
        tokens: int | None = None,
        replicas: int = 1,
        seed: int = 0,
        weights: ArrayLike | None = None,
        dtype: DTypeLike = np.float64,
        **parameters: Any,
    ) -> Ensemble:
        """Draw tokens from an initial law of `attndyn.particles.initial` by its name.

        Each replica has its own random stream, spawned from `seed`, so a replica's tokens do not depend on how
        many others there are. Raises InvalidInput for an unknown law or parameters the law does not take.
        """
        positions = initial.draw(law, space, tokens=tokens, replicas=replicas, seed=seed, **parameters)
        return cls(positions.astype(dtype), space, None if weights is None else np.asarray(weights, np.float64))

    @classmethod
    def uniform(cls, space: Space, tokens: int, replicas: int = 1, seed: int = 0, **parameters: Any) -> Ensemble:
        """Tokens uniform on the sphere, or in a ball or cube or on a sphere of R^d (`radius`, `region`)."""
        return cls.draw("uniform", space, tokens=tokens, replicas=replicas, seed=seed, **parameters)

    @classmethod
    def gaussian(cls, space: Space, tokens: int, replicas: int = 1, seed: int = 0, **parameters: Any) -> Ensemble:
        """Gaussian tokens (`mean`, `deviation` or `covariance`), retracted to the space."""
        return cls.draw("gaussian", space, tokens=tokens, replicas=replicas, seed=seed, **parameters)

    @classmethod
    def from_file(cls, path: str | Path, space: Space, array: str | None = None, **parameters: Any) -> Ensemble:
        """Tokens from a .npy, .npz, .csv or .h5 file, retracted to the space."""
        return cls.draw("file", space, file=path, array=array, **parameters)


def checked_weights(weights: ArrayLike | Sequence[float] | None, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Token weights as (tokens,) or (replicas, tokens) float64 for `shape` (replicas, tokens).

    None is the uniform 1/tokens. Raises InvalidInput unless all are nonnegative and sum to 1 within 1e-9.
    """
    replicas, tokens = shape
    if weights is None:
        return np.full(tokens, 1.0 / tokens)
    array = np.asarray(weights, np.float64)
    if array.shape not in ((tokens,), (replicas, tokens)):
        raise InvalidInput(f"weights must have the shape ({tokens},) or ({replicas}, {tokens}); got {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise InvalidInput("weights must be finite and nonnegative")
    total = array.sum(axis=-1)
    if np.abs(total - 1.0).max() > 1e-9:
        raise InvalidInput(f"weights must sum to 1; they sum to {np.ravel(total)[np.abs(total - 1.0).argmax()]:.12g}")
    return array
