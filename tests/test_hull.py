"""The convex hull in the plane against known polygons and scipy, and the observables of motion and rank."""

import attndyn
import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Attention, Block, Ensemble, Euclidean, Sphere, observables
from attndyn.particles.hull import corners_of
from ensembles import circle, random_ensemble
from scipy.spatial import ConvexHull

PLANE = Euclidean(2)
HULL = ["hull_area", "hull_perimeter", "hull_vertices"]


def hull(points, weights=None):
    found = observables.measure(HULL, Ensemble(np.asarray(points, float), PLANE, weights))
    return [found[name][0] for name in HULL]


def test_the_hull_of_known_polygons():
    square = [[0, 0], [2, 0], [2, 2], [0, 2]]
    assert hull(square) == pytest.approx([4.0, 8.0, 4])
    inside = [[1, 1], [1, 0], [2, 1.5], [0, 0], [0.3, 0.2]]  # on edges, on a corner, in the middle
    assert hull([*inside, *square]) == pytest.approx([4.0, 8.0, 4])
    assert hull([[0, 0], [3, 0], [0, 4]]) == pytest.approx([6.0, 12.0, 3])
    angles = 2 * np.pi * np.arange(7) / 7
    polygon = np.stack([np.cos(angles), np.sin(angles)], -1)
    area, perimeter = 7 / 2 * np.sin(2 * np.pi / 7), 14 * np.sin(np.pi / 7)
    assert hull(1e-3 * polygon + 5.0) == pytest.approx([1e-6 * area, 1e-3 * perimeter, 7], rel=1e-9)
    on_circle = observables.measure(HULL, circle(angles))
    assert [on_circle[name][0] for name in HULL] == pytest.approx([area, perimeter, 7])


def test_a_hull_that_is_a_segment_or_a_point():
    assert hull([[0, 0], [3, 4], [1.5, 2.0], [0, 0]]) == pytest.approx([0.0, 10.0, 2], abs=1e-12)
    assert hull([[1, 2]]) == [0.0, 0.0, 1]
    assert hull([[1, 2]] * 5) == [0.0, 0.0, 1]
    assert hull([[1, 2], [1, 5]]) == pytest.approx([0.0, 6.0, 2])


def test_clusters_are_one_vertex_each():
    generator = np.random.default_rng(0)
    corners = np.array([[0, 0], [1, 0], [0, 1]], float)
    tokens = corners[np.arange(300) % 3] + 1e-12 * generator.standard_normal((300, 2))
    area, perimeter, vertices = hull(tokens)
    assert vertices == 3
    assert area == pytest.approx(0.5, rel=1e-10)
    assert perimeter == pytest.approx(2 + np.sqrt(2), rel=1e-10)
    assert hull(1 + 1e-13 * generator.standard_normal((50, 2)))[2] == 1


@pytest.mark.parametrize("count", [3, 10, 500])
def test_the_hull_is_that_of_scipy(count):
    for seed in range(10):
        points = np.random.default_rng(seed).standard_normal((count, 2))
        expected = ConvexHull(points)
        assert sorted(corners_of(points)) == sorted(expected.vertices)
        assert hull(points) == pytest.approx([expected.volume, expected.area, len(expected.vertices)], rel=1e-12)


def test_tokens_of_weight_zero_are_outside_the_hull_and_replicas_have_their_own():
    points = np.array([[0, 0], [1, 0], [0, 1], [9, 9.0]])
    assert hull(points, np.array([0.5, 0.25, 0.25, 0.0]))[0] == pytest.approx(0.5)
    both = Ensemble(np.stack([points, 2 * points]), PLANE)
    areas = observables.measure(["hull_area"], both)["hull_area"]
    assert areas[1] == pytest.approx(4 * areas[0])
    broken = both.positions.copy()
    broken[0, 0, 0] = np.nan
    assert np.isnan(observables.measure(["hull_area"], both.at(broken))["hull_area"]).tolist() == [True, False]


def test_the_hull_is_for_the_plane_and_a_scenario_says_so_before_it_runs():
    with pytest.raises(InvalidInput, match="hull_area is defined for tokens in the plane, of dimension 2; got 3"):
        observables.measure(["hull_area"], Ensemble(np.eye(3), Euclidean(3)))
    scenario = attndyn.load("sphere-clusters")
    with pytest.raises(InvalidInput, match=r"save.observables.*hull_vertices is defined for tokens in the plane"):
        attndyn.run(scenario.override({"save.observables": ["hull_vertices"]}))


# motion and rank


def test_the_speed_is_that_of_the_drift():
    tokens = random_ensemble(3, Sphere(3, 2.0), zeros=2)
    law = Attention(beta=1.5, value=-1.0)
    velocity = law.drift(tokens.positions, space=tokens.space, weights=tokens.weights, backend="reference")
    speeds = np.linalg.norm(velocity, axis=-1)
    found = observables.measure(["speed", "largest_speed"], tokens, law)
    np.testing.assert_allclose(found["speed"], np.sum(tokens.weights * speeds, axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["largest_speed"], speeds[:, 2:].max(axis=1), rtol=1e-12)


def test_the_speed_of_two_tokens_on_the_circle():
    # th' = -(1/2) sum_j a_j exp(beta cos) sin / Z, for one half of the weight at an angle of 1
    tokens, beta = circle(np.array([0.0, 1.0])), 2.0
    one, other = np.exp(beta), np.exp(beta * np.cos(1.0))
    exact = other * np.sin(1.0) / (one + other)
    assert observables.measure(["speed"], tokens, Attention(beta=beta))["speed"][0] == pytest.approx(exact, rel=1e-13)


def test_the_speed_of_a_block_is_that_of_all_its_parts_at_its_depth():
    tokens, attention = random_ensemble(4, Sphere(2)), Attention(beta=2.0)
    plain = observables.measure(["speed"], tokens, attention)["speed"]
    slowing = Block(attention, norm="sqrt")  # divided by sqrt(t + 1)
    found = observables.measure(["speed"], tokens, slowing, depth=3.0)["speed"]
    np.testing.assert_allclose(found, plain / 2.0, rtol=1e-13)
    far = Ensemble(3.0 * tokens.positions, PLANE, tokens.weights)
    # peri: the tokens are normalised before, and what comes out after: every speed is 1
    assert observables.measure(["speed"], far, Block(attention, norm="peri"))["speed"] == pytest.approx(1.0)


def test_motion_needs_a_law():
    with pytest.raises(InvalidInput, match="largest_speed is an observable of the motion: it needs a law"):
        observables.measure(["largest_speed"], circle(np.arange(3.0)))


def test_the_speed_in_a_run_is_the_distance_gone():
    scenario = attndyn.load("circle-modes").override(
        {"tokens.count": 20, "save.observables": ["speed"], "save.every": 0.01, "depth.time": 0.2}
    )
    run = attndyn.run(scenario)
    gone = np.linalg.norm(run.positions[2][0] - run.positions[0][0], axis=-1) @ run.weights
    assert run.observables["speed"][1, 0] == pytest.approx(gone / (run.times[2] - run.times[0]), rel=1e-3)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_rank_counts_singular_values(rank):
    generator = np.random.default_rng(rank)
    x = generator.standard_normal((30, rank)) @ generator.standard_normal((rank, 5))
    noisy = np.stack([x, x + 1e-9 * generator.standard_normal(x.shape), x + 1e-3 * generator.standard_normal(x.shape)])
    found = observables.measure(["rank"], Ensemble(noisy, Euclidean(5)))["rank"]
    assert found.tolist() == [rank, rank, 5]
    assert observables.measure(["rank"], Ensemble(np.zeros((3, 5)), Euclidean(5)))["rank"][0] == 0
    assert observables.measure(["rank"], Ensemble(noisy.astype(np.float32), Euclidean(5)))["rank"][0] == rank
