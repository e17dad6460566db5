"""The share of aligned pairs against the double sum."""

import numpy as np
import pytest
from attndyn.particles import Ensemble, Euclidean, Sphere
from attndyn.particles.observables import ALIGNED, aligned_pairs, measure


def double_sum(x, weights):
    """The definition, with the n x n arrays that the observable does without."""
    x = np.asarray(x, np.float64)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    direction = x / np.where(length == 0, 1.0, length)
    cosine = np.einsum("ric,rjc->rij", direction, direction)
    weights = weights.astype(np.longdouble)  # so many terms add up to more rounding than the observable has
    pair = np.broadcast_to(weights[..., :, None] * weights[..., None, :], cosine.shape)
    apart = ~np.eye(x.shape[1], dtype=bool)
    return np.sum(pair, axis=(1, 2), where=apart & (cosine >= ALIGNED)) / np.sum(pair, axis=(1, 2), where=apart)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weights", ["equal", "shared", "per replica"])
@pytest.mark.parametrize(
    ("replicas", "tokens", "dimension"), [(1, 600, 2), (3, 33, 3), (2, 1100, 1), (8, 3, 2), (21, 40, 2), (17, 9, 5)]
)
def test_it_is_the_double_sum(replicas, tokens, dimension, weights, dtype):
    generator = np.random.default_rng(2)
    x = generator.standard_normal((replicas, tokens, dimension)) * 3.0
    half = tokens // 2
    x[:, half : 2 * half] = 0.5 * x[:, :half] + 1e-3 * generator.standard_normal((replicas, half, dimension))
    a = {"equal": None, "shared": generator.dirichlet(np.ones(tokens))}.get(weights)
    if weights == "per replica":
        a = generator.dirichlet(np.ones(tokens), replicas)
        a[:, -1] = 0.0
        a /= a.sum(axis=1, keepdims=True)
    ensemble = Ensemble(x.astype(dtype), Euclidean(dimension), a)
    expected = double_sum(ensemble.positions, ensemble.weights)
    assert expected.max() > 0.0
    shares = aligned_pairs(ensemble)
    np.testing.assert_allclose(shares, expected.astype(np.float64), rtol=1e-13)
    for threads in (1, 2, 5):
        np.testing.assert_array_equal(measure(["aligned_pairs"], ensemble, threads=threads)["aligned_pairs"], shares)


@pytest.mark.parametrize("replicas", [1, 20])
def test_with_equal_weights_pairs_are_counted_without_rounding(replicas):
    angle = np.array([0.0, 0.01, 0.02, 1.0, 1.04, 1.1, 3.0])  # cos 0.0447 = 0.999: three pairs and one
    ensemble = Ensemble(np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None].repeat(replicas, axis=0), Sphere(2))
    assert (aligned_pairs(ensemble) == 4 / 21).all()


@pytest.mark.parametrize("replicas", [1, 20])
def test_one_cluster_one_token_the_origin_and_no_number(replicas):
    together = np.ones((replicas, 5, 2))
    assert (aligned_pairs(Ensemble(together, Euclidean(2))) == 1.0).all()
    assert (aligned_pairs(Ensemble(together[:, :1], Euclidean(2))) == 1.0).all()
    together[:, 2] = 0.0
    assert (aligned_pairs(Ensemble(together, Euclidean(2))) == 0.6).all()
    ensemble = Ensemble(together.copy(), Euclidean(2))
    ensemble.positions[0, 1, 1] = np.nan
    assert np.isnan(aligned_pairs(ensemble)[0]) and (aligned_pairs(ensemble)[1:] == 0.6).all()
