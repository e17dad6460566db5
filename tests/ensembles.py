"""Tokens that the tests of observables share."""

import numpy as np
from attndyn.particles import Ensemble, Sphere


def circle(angles, weights=None):
    """Tokens at these angles on the unit circle."""
    return Ensemble(np.stack([np.cos(angles), np.sin(angles)], -1), Sphere(2), weights)


def random_ensemble(seed, space, tokens=12, replicas=3, dtype=np.float64, zeros=0):
    """Gaussian tokens with random weights, the first of them `zeros`."""
    generator = np.random.default_rng(seed)
    weights = generator.random((replicas, tokens))
    weights[:, :zeros] = 0.0
    positions = space.retract(generator.standard_normal((replicas, tokens, space.dimension)))
    return Ensemble(positions.astype(dtype), space, weights / weights.sum(axis=1, keepdims=True))
