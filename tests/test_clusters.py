"""Clusters of tokens: those that scipy finds, at any distance, radius and weight."""

import time

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Ensemble, Euclidean, Sphere, observables
from attndyn.particles.clusters import components, components_in_boxes
from ensembles import circle, random_ensemble
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

KERNELS = (components, components_in_boxes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dimension", [1, 2, 3, 9, 20])
def test_clusters_are_the_components_that_scipy_finds(dimension, dtype):
    tokens = random_ensemble(dimension, Euclidean(dimension), tokens=300, dtype=dtype, zeros=20)
    for quantile in (0.0002, 0.002, 0.006, 0.02):
        x = tokens.positions.astype(float)
        distance = float(np.quantile(cdist(x[0], x[0]), 1 / 300 + quantile)) + 1e-9
        counts = observables.clusters(tokens, distance)
        labels = observables.cluster_labels(tokens, distance)
        assert counts.dtype == labels.dtype == np.int64
        for replica in range(3):
            kept = tokens.weights[replica] > 0
            near = cdist(x[replica][kept], x[replica][kept]) <= distance
            count, expected = connected_components(near, directed=False)
            assert counts[replica] == count
            first = np.unique(expected, return_index=True)[1]
            by_first_appearance = np.argsort(np.argsort(first))[expected]
            np.testing.assert_array_equal(labels[replica][kept], by_first_appearance)
            assert (labels[replica][~kept] == -1).all()


@pytest.mark.parametrize("radius", [1.0, 20.0])
def test_clusters_on_a_sphere_use_the_geodesic_distance(radius):
    angles = np.array([0.0, 0.5, 1.0, 2.5, 2.5])
    tokens = circle(angles).positions * radius
    tokens = Ensemble(tokens, Sphere(2, radius))
    for distance, count in ((0.4999, 4), (0.5001, 2), (1.4999, 2), (1.5001, 1), (4.0, 1)):
        assert observables.clusters(tokens, distance * radius)[0] == count


def test_a_small_cluster_distance_keeps_its_digits_and_a_large_one_joins_all():
    near = circle(np.array([0.0, 1e-9, 3e-9]))
    assert observables.clusters(near, 1.5e-9)[0] == 2
    assert observables.clusters(near, 0.5e-9)[0] == 3
    assert observables.clusters(circle(np.array([0.0, np.pi])), np.pi)[0] == 1
    assert observables.clusters(circle(np.array([0.3, 0.3])), 0.0)[0] == 1


def test_a_chain_of_near_tokens_is_one_cluster_and_the_default_distance_is_a_tenth():
    chain = Ensemble(0.099 * np.arange(1000.0)[:, None], Euclidean(1))
    assert observables.clusters(chain)[0] == 1
    assert observables.clusters(Ensemble(chain.positions * 1.02, Euclidean(1)))[0] == 1000
    assert observables.default_cluster_distance(Sphere(3, 20.0)) == pytest.approx(2.0)
    assert observables.default_cluster_distance(Euclidean(3)) == 0.1


def test_a_token_of_weight_zero_does_not_bridge_two_clusters():
    tokens = np.array([[0.0], [1.0], [2.0]])
    assert observables.clusters(Ensemble(tokens, Euclidean(1)), 1.0)[0] == 1
    bridge = Ensemble(tokens, Euclidean(1), np.array([0.5, 0.0, 0.5]))
    assert observables.clusters(bridge, 1.0)[0] == 2
    assert observables.cluster_labels(bridge, 1.0).tolist() == [[0, -1, 1]]


@pytest.mark.parametrize("dimension", [1, 3, 17])
def test_tokens_that_are_not_finite_are_alone_and_coinciding_ones_together(dimension):
    generator = np.random.default_rng(0)
    tokens = 0.001 * generator.standard_normal((400, dimension))
    tokens[200:] = 1.0  # half of them at one place
    tokens[[3, 100, 250]] = np.nan
    tokens[7, 0] = np.inf
    ensemble = Ensemble(np.zeros((1, 1)), Euclidean(1)).at(tokens[None], Euclidean(dimension), np.full(400, 1 / 400))
    labels = observables.cluster_labels(ensemble)[0]
    alone = [3, 7, 100, 250]
    assert observables.clusters(ensemble)[0] == 6
    assert len({labels[token] for token in alone}) == 4
    assert len(np.unique(np.delete(labels, alone))) == 2


@pytest.mark.parametrize("dimension", [2, 3, 16])
@pytest.mark.parametrize("spread", [1e-9, 0.02, 0.3])
def test_clusters_of_many_tokens_are_the_components_that_scipy_finds(dimension, spread):
    generator = np.random.default_rng(dimension)
    centres = generator.standard_normal((25, dimension))
    which = generator.choice(25, 2000, p=np.arange(1, 26) / 325)
    tokens = Ensemble(centres[which] + spread * generator.standard_normal((2000, dimension)), Euclidean(dimension))
    labels = observables.cluster_labels(tokens)[0]
    x = tokens.positions[0]
    count, expected = connected_components(cdist(x, x) <= 0.1, directed=False)
    assert len({*zip(labels.tolist(), expected.tolist(), strict=True)}) == count == labels.max() + 1


@pytest.mark.parametrize("distance", [-0.1, float("nan")])
def test_a_cluster_distance_that_is_none_is_refused(distance):
    with pytest.raises(InvalidInput, match="cluster distance must be a number of at least 0"):
        observables.clusters(circle(np.arange(3.0)), distance)


def test_collapsed_tokens_cost_a_scan_and_not_all_pairs():
    spread = np.random.default_rng(0).standard_normal((200_000, 3))
    space = Sphere(3)
    collapsed = Ensemble(space.retract(np.array([0.0, 0.0, 1.0]) + 1e-6 * spread), space)
    observables.clusters(collapsed)  # compiles
    start = time.perf_counter()
    assert observables.clusters(collapsed)[0] == 1
    assert time.perf_counter() - start < 2.0  # a scan takes milliseconds, the 2e10 pairs 10 s and more


@pytest.mark.parametrize("dimension", [1, 2, 3, 16])
def test_both_kernels_find_the_same(dimension):
    generator = np.random.default_rng(dimension)
    for tokens in (1, 5, 200, 700):
        x = generator.uniform(0.0, 1.0, (2, tokens, dimension))
        weights = np.where(generator.random((2, tokens)) < 0.2, 0.0, 1.0)
        weights[:, 0] = 1.0
        labels = np.empty((2, 2, tokens), np.int64)
        for limit in (1e-4, 0.05 * dimension, 9.0):
            counts = [kernel(x, weights, limit, out) for kernel, out in zip(KERNELS, labels, strict=True)]
            np.testing.assert_array_equal(*counts)
            np.testing.assert_array_equal(*labels)
