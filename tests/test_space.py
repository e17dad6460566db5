"""Spaces: projection, retraction, geodesics and distances are those of R^d and of the sphere."""

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Euclidean, Sphere
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

examples = settings(max_examples=60, deadline=None, derandomize=True)
radii = st.floats(1e-3, 1e3)
sizes = st.floats(1e-3, 1e3)
dimensions = st.integers(2, 6)
SHAPE = (3, 4)  # of what is given at once: anything before the last axis


@st.composite
def points_on_a_sphere(draw):
    """A sphere, and two arrays (3, 4, dimension) of points of it."""
    sphere = Sphere(draw(dimensions), draw(radii))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return sphere, sphere.uniform(generator, SHAPE), sphere.uniform(generator, SHAPE)


@st.composite
def tangents_of_a_sphere(draw):
    """A sphere, points and tangent vectors (3, 4, dimension), shorter than half a great circle."""
    sphere, x, y = draw(points_on_a_sphere())
    v = sphere.project(x, y)
    v *= draw(st.floats(0, 3.1)) * sphere.radius / np.linalg.norm(v, axis=-1, keepdims=True).max()
    return sphere, x, v


def close(actual, expected, scale):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13 * scale)


@examples
@given(points_on_a_sphere(), st.floats(-5, 5))
def test_the_projection_on_a_sphere_is_orthogonal_and_a_projection(points, factor):
    sphere, x, v = points
    tangent = sphere.project(x, v)
    close(np.sum(tangent * x, axis=-1), 0.0, sphere.radius**2)
    close(sphere.project(x, tangent), tangent, sphere.radius)
    close(sphere.project(x, factor * x), 0.0, 5 * sphere.radius)
    # what is taken away is orthogonal to what is left, and the length of x does not matter
    close(np.sum(tangent * (v - tangent), axis=-1), 0.0, sphere.radius**2)
    close(sphere.project(3.0 * x, v), tangent, sphere.radius)


@examples
@given(points_on_a_sphere(), sizes)
def test_the_retraction_gives_the_nearest_point_of_the_sphere(points, size):
    sphere, x, other = points
    outside = size * x
    close(sphere.retract(outside), x, sphere.radius)
    retracted = sphere.retract(x + 0.5 * other)
    close(np.linalg.norm(retracted, axis=-1), sphere.radius, sphere.radius)
    away = np.linalg.norm(x + 0.5 * other - retracted, axis=-1)
    assert (away <= np.linalg.norm(x + 0.5 * other - other, axis=-1) + 1e-12 * sphere.radius).all()


@examples
@given(tangents_of_a_sphere())
def test_the_exponential_on_a_sphere_goes_as_far_as_the_velocity_is_long(tangents):
    sphere, x, v = tangents
    arrived = sphere.exponential(x, v)
    close(np.linalg.norm(arrived, axis=-1), sphere.radius, sphere.radius)
    # asin loses digits near the antipode
    np.testing.assert_allclose(
        sphere.distance(x, arrived), np.linalg.norm(v, axis=-1), rtol=0, atol=1e-12 * sphere.radius
    )
    close(sphere.exponential(x, np.zeros_like(v)), x, sphere.radius)


@examples
@given(tangents_of_a_sphere(), st.floats(0, 1))
def test_geodesics_of_a_sphere_are_great_circles_run_at_constant_speed(tangents, part):
    sphere, x, v = tangents
    halfway = sphere.exponential(x, part * v)
    # to first order x + t v, in the plane of x and v, and the way on from there is the rest of the way
    close(sphere.exponential(x, 1e-8 * v), x + 1e-8 * v, 3 * sphere.radius)
    angle = part * np.linalg.norm(v, axis=-1, keepdims=True) / sphere.radius
    onward = np.cos(angle) * v - np.sin(angle) * np.linalg.norm(v, axis=-1, keepdims=True) / sphere.radius * x
    close(sphere.exponential(halfway, (1 - part) * onward), sphere.exponential(x, v), 10 * sphere.radius)


@examples
@given(points_on_a_sphere())
def test_the_distance_on_a_sphere_is_the_length_of_the_arc(points):
    sphere, x, y = points
    distance = sphere.distance(x, y)
    cosine = np.sum(x * y, axis=-1) / sphere.radius**2
    np.testing.assert_allclose(np.cos(distance / sphere.radius), cosine, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(distance, sphere.distance(y, x))
    np.testing.assert_array_equal(sphere.distance(x, x), 0.0)
    np.testing.assert_allclose(sphere.distance(x, -x), np.pi * sphere.radius, rtol=1e-7)
    third = np.roll(x, 1, axis=0)
    assert (distance <= sphere.distance(x, third) + sphere.distance(third, y) + 1e-12 * sphere.radius).all()


def test_the_distance_on_a_sphere_is_accurate_for_near_points():
    sphere, angle = Sphere(2, radius=3.0), 1e-9
    x, y = 3.0 * np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    np.testing.assert_allclose(sphere.distance(x, y), 3e-9, rtol=1e-12)


@examples
@given(*[arrays(np.float64, (2, 3), elements=st.floats(-1e6, 1e6))] * 2)
def test_r_d_is_flat(x, v):
    space = Euclidean(3)
    np.testing.assert_array_equal(space.project(x, v), v)
    np.testing.assert_array_equal(space.retract(x), x)
    np.testing.assert_array_equal(space.exponential(x, v), x + v)
    np.testing.assert_allclose(space.distance(x, x + v), np.linalg.norm(v, axis=-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dimension", [2, 3, 8])
def test_uniform_points_of_a_sphere_have_the_moments_of_the_uniform_law(dimension):
    """Mean 0, second moment r^2/d I and E x_1^4 = 3 r^4 / (d (d + 2)), within five standard errors."""
    sphere, count = Sphere(dimension, radius=2.0), 40_000
    x = sphere.uniform(np.random.default_rng(0), (200, 200))
    assert x.shape == (200, 200, dimension)
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 2.0, rtol=1e-14)
    x = x.reshape(-1, dimension)
    within = 5 * 4.0 / np.sqrt(count)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=within / 2)
    np.testing.assert_allclose(x.T @ x / count, 4.0 / dimension * np.eye(dimension), atol=within)
    fourth = 3 * 16.0 / (dimension * (dimension + 2))
    np.testing.assert_allclose(np.mean(x**4, axis=0), fourth, atol=within * np.sqrt(fourth))


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_uniform_points_of_a_ball_and_of_a_cube(dimension):
    """|x|/r has the law P(|x| <= s) = s^d in the ball; every coordinate is uniform in the cube."""
    space, generator = Euclidean(dimension), np.random.default_rng(1)
    ball = space.uniform(generator, (20_000,), radius=3.0)
    shells = np.sort((np.linalg.norm(ball, axis=-1) / 3.0) ** dimension)
    cube = np.sort(space.uniform(generator, (20_000,), radius=3.0, region="cube"), axis=0)
    assert shells[-1] <= 1.0 and np.abs(cube).max() <= 3.0
    evenly = (np.arange(20_000) + 0.5) / 20_000
    kolmogorov_smirnov = 2.2 / np.sqrt(20_000)  # passed with a probability of 1 - 1e-4
    assert np.abs(shells - evenly).max() < kolmogorov_smirnov
    assert (np.abs((cube + 3.0) / 6.0 - evenly[:, None]).max(axis=0) < kolmogorov_smirnov).all()
    assert np.abs(ball.mean(axis=0)).max() < 5 * 3.0 / np.sqrt(20_000)


@pytest.mark.parametrize("space", [Euclidean, Sphere])
@pytest.mark.parametrize("dimension", [0, -1, 2.0, "3", None])
def test_a_dimension_is_a_count(space, dimension):
    with pytest.raises(InvalidInput, match=r"dimension must be an integer of at least [12]; got"):
        space(dimension)


def test_a_sphere_needs_two_dimensions_and_r_d_one():
    assert Euclidean(1).dimension == 1 and Sphere(np.int64(2)).dimension == 2
    with pytest.raises(InvalidInput, match="dimension must be an integer of at least 2; got 1"):
        Sphere(1)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf, "2", None])
def test_a_radius_is_positive(radius):
    with pytest.raises(InvalidInput, match="radius must be a positive number; got"):
        Sphere(3, radius)
