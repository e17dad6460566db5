"""Observables of how fast tokens move: the drift of their law where they are, in their space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ensemble import Ensemble
from .shape import average, weights_of

Array = NDArray[np.float64]


def speed(ensemble: Ensemble, velocity: Array) -> Array:
    """The mean speed sum_i a_i |dx_i/dt|, (replicas,).

    velocity : (replicas, tokens, dimension), the drift of the law: tangent on a sphere, of a block all of its parts
               with their normalisation; without noise. Of a network of layers that of the flow its steps are taken in.
    """
    return average(_speeds(velocity), ensemble)


def largest_speed(ensemble: Ensemble, velocity: Array) -> Array:
    """max_i |dx_i/dt| over the tokens of positive weight, (replicas,). Arguments as in `speed`."""
    return np.max(_speeds(velocity), axis=-1, initial=0.0, where=weights_of(ensemble) > 0)


def _speeds(velocity: Array) -> Array:
    return np.linalg.norm(np.asarray(velocity, np.float64), axis=-1)
