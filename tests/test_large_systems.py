"""Systems large enough for the kernels that small ones never reach: half the exponentials, several tiles and shares."""

import numpy as np
import pytest
from attndyn.particles import Attention, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.backends.compiled.symmetric import FEWEST_TOKENS
from attndyn.particles.ensemble import checked_weights

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])


def tokens_on(space, shape, dtype, seed=0):
    return space.uniform(np.random.default_rng(seed), shape).astype(dtype)


def weights_with_zeros(replicas, tokens):
    weights = np.random.default_rng(1).random((replicas, tokens))
    weights[:, :3] = 0.0
    weights[:, 7::11] = 0.0
    return weights / weights.sum(axis=1, keepdims=True)


def assert_agree(law, space, weights, x, tolerance):
    """The drift is the reference's, relative to the longest attention vector before projection."""
    points = x.astype(np.float64)
    expected = law.drift(points, space=space, weights=weights, backend="reference")
    attention = np.empty_like(points)
    field = prepare(law, space, checked_weights(weights, x.shape[:2]), x.shape, points.dtype, Engine("reference"))
    field.attention(0.0, points, attention)
    scale = np.linalg.norm(attention, axis=-1).max()
    got = law.drift(x, space=space, weights=weights, threads=2)
    assert np.linalg.norm(got - expected, axis=-1).max() <= tolerance * scale


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "zeros"])
@pytest.mark.parametrize(
    ("replicas", "tokens", "dimension", "dtype"),
    [
        (1, 512, 3, np.float64),
        (1, 512, 3, np.float32),
        (2, 701, 2, np.float64),
        (1, 1030, 4, np.float64),
        # kernels are compiled for every dimension and number type
        pytest.param(2, 701, 2, np.float32, marks=pytest.mark.slow),
        pytest.param(1, 1030, 4, np.float32, marks=pytest.mark.slow),
    ],
)
def test_symmetric_scores_agree_with_the_reference(replicas, tokens, dimension, weighted, normalisation, dtype):
    assert tokens >= FEWEST_TOKENS
    space = Sphere(dimension, 1.3)
    x = tokens_on(space, (replicas, tokens), dtype)
    law = Attention(beta=3.0, value=-0.5, normalisation=normalisation)
    weights = weights_with_zeros(replicas, tokens) if weighted else None
    assert_agree(law, space, weights, x, TOLERANCE[dtype])


@dtypes
def test_symmetric_scores_give_the_same_bits_on_any_threads(dtype):
    space = Sphere(3)
    x = tokens_on(space, (2, 900), dtype)
    alone = Attention(beta=4.0).drift(x, space=space, threads=1)
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(Attention(beta=4.0).drift(x, space=space, threads=threads), alone)


@dtypes
def test_symmetric_scores_move_a_replica_as_alone(dtype):
    space = Sphere(3, 1.7)
    x = tokens_on(space, (3, 600), dtype)
    together = Attention(beta=4.0).drift(x, space=space)
    for replica in range(3):
        np.testing.assert_array_equal(Attention(beta=4.0).drift(x[replica], space=space), together[replica])


@dtypes
@pytest.mark.parametrize("beta", [-5.0, 200.0, 5e3])
def test_symmetric_scores_at_temperatures_where_one_bound_for_all_rows_would_underflow(beta, dtype):
    space = Sphere(3)
    x = tokens_on(space, (1, 600), dtype)
    # scores are rounded relative to beta, which moves weights by as much
    assert_agree(Attention(beta=beta), space, None, x, TOLERANCE[dtype] + abs(beta) * 4 * np.finfo(dtype).eps)


def test_a_token_that_is_not_finite_shows_in_all(dtype=np.float64):
    space = Sphere(3)
    x = tokens_on(space, (1, 600), dtype)
    x[0, 17] = np.nan
    assert np.isnan(Attention(beta=2.0).drift(x, space=space)).all()


@pytest.mark.slow
@dtypes
@pytest.mark.parametrize("mask", ["none", "causal", "without-self"])
@pytest.mark.parametrize(("tokens", "dimension", "heads"), [(5000, 3, 1), (3001, 40, 1), (2500, 48, 4)])
def test_thousands_of_tokens_agree_with_the_reference(tokens, dimension, heads, mask, dtype):
    space = Sphere(dimension)
    generator = np.random.default_rng(3)
    matrices = {}
    if heads > 1:
        names = ("query", "key", "value", "output")
        matrices = {name: generator.standard_normal((dimension, dimension)) / dimension**0.5 for name in names}
    x = tokens_on(space, (1, tokens), dtype)
    assert_agree(Attention(beta=4.0, heads=heads, mask=mask, **matrices), space, None, x, TOLERANCE[dtype])
