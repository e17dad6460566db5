"""Blocks of every scheme of normalisation, and their formulas written out in NumPy, for the tests of blocks."""

import numpy as np
import pytest
from attndyn.particles import Attention, Block, Euclidean, FeedForward, LayerNorm, RMSNorm, Sphere, SphereNorm
from attndyn.particles.block import NORMS
from scipy.special import erf

D, HIDDEN = 3, 5
DEPTH = 0.7  # at which velocities are compared: before the switch of mix below
WEIGHTS = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
ATTENTION = Attention(
    beta=1.3,
    value=np.random.default_rng(2).standard_normal((D, D)),
    output_bias=np.array([0.1, -0.2, 0.3]),
)
GAIN, BIAS = np.array([0.5, 1.5, -0.7]), np.array([0.2, 0.0, -0.1])
NORMALISERS = {
    "sphere": SphereNorm(1.4),
    "layer": LayerNorm(GAIN, BIAS, epsilon=1e-3),
    "rms": RMSNorm(GAIN, epsilon=1e-3),
}
backends = pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
norms = pytest.mark.parametrize("norm", NORMS)
feeds = pytest.mark.parametrize("feed", [False, True], ids=["attention", "with feed-forward"])


def feed_forward(activation="gelu", biases=True):
    """The feed-forward map of the blocks below."""
    generator = np.random.default_rng(4)
    inner, outer = generator.standard_normal((HIDDEN, D)), generator.standard_normal((D, HIDDEN)) / 2.0
    inner_bias, outer_bias = generator.standard_normal(HIDDEN), generator.standard_normal(D)
    return FeedForward(inner, outer, *((inner_bias, outer_bias) if biases else ()), activation=activation)


def block_of(norm, feed=True, tau=2.0, **options):
    """A block of this scheme."""
    options |= {"tau": tau} if norm == "mix" else {"alpha": 1.7} if norm == "ngpt" else {}
    return Block(ATTENTION, feed_forward() if feed else None, norm, **options)


def space_of(norm):
    """Where its tokens live."""
    return Sphere(D, 1.6) if NORMS[norm].place == "sphere" else Euclidean(D)


def tokens(norm, replicas=2, unit=False):
    """Tokens (replicas, 5, 3) there, of unit length where asked for or needed."""
    x = np.random.default_rng(7).standard_normal((replicas, len(WEIGHTS), D))
    if norm == "mix" or unit:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)
    return space_of(norm).retract(x)


# the formulas again, without the package


def plain_attention(x):
    """ATTENTION, written out."""
    scores = 1.3 * x @ np.swapaxes(x, -1, -2)
    rows = WEIGHTS * np.exp(scores - scores.max(axis=-1, keepdims=True))
    return rows / rows.sum(axis=-1, keepdims=True) @ x @ ATTENTION.value.T + ATTENTION.output_bias


def plain_feed_forward(x):
    """The feed-forward map, written out."""
    f = feed_forward()
    hidden = x @ f.inner.T + f.inner_bias
    return (0.5 * hidden * (1.0 + erf(hidden / np.sqrt(2.0)))) @ f.outer.T + f.outer_bias


def plain_normaliser(norm, normaliser):
    """n of a scheme, with one of NORMALISERS or its own."""
    if normaliser is None:
        radius = getattr(space_of(norm), "radius", 1.0)
        return lambda x: radius * x / np.linalg.norm(x, axis=-1, keepdims=True)
    if normaliser == "sphere":
        return lambda x: 1.4 * x / np.linalg.norm(x, axis=-1, keepdims=True)
    if normaliser == "layer":
        return lambda x: GAIN * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) + BIAS
    return lambda x: GAIN * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3)


def effects(norm, feed, t, normaliser=None):
    """What each part of a block does to tokens x, a list of functions."""
    n = plain_normaliser(norm, normaliser)
    factor = {"ngpt": 1.7, "sqrt": 1.0 / np.sqrt(1.0 + t)}.get(norm, 1.0)

    def effect(part):
        def function(x):
            if norm == "add-norm":
                return n(x + part(x)) - x
            y = part(n(x) if norm in ("pre", "peri") else x)
            return factor * (n(y) if norm in ("peri", "ngpt") else y)

        return function

    return [effect(part) for part in ([plain_attention, plain_feed_forward] if feed else [plain_attention])]


def unit(x):
    """x / |x|."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
