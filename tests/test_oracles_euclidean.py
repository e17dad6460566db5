"""Oracles 4 and 5: softmax attention in R^d, without projection."""

from itertools import pairwise

import numpy as np
import pytest
from attndyn.particles import Attention, Euclidean
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

# 4. V = I: tokens run away like e^t, z = e^(-t) x does not


def rescaled(path, depths):
    return path * np.exp(-np.asarray(depths))[:, None, None]


@pytest.mark.parametrize("seed", range(4))
def test_oracle_4_1_rescaled_tokens_end_at_the_vertices_of_a_polytope(reach, seed):
    """Their convex hull shrinks, and at the end each cluster is the one that it attends to; errors like e^(-t)."""
    depths = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0])
    x = np.random.default_rng(seed).uniform(-2, 2, (40, 2))
    z = rescaled(reach(Attention(), x, Euclidean(2), depths, rtol=1e-10), depths)
    for before, after in pairwise(z):
        faces = ConvexHull(before).equations
        assert (after @ faces[:, :-1].T + faces[:, -1]).max() <= 1e-9
    assert (np.diff([ConvexHull(points).volume for points in z]) < 0).all()
    near = 5 * np.exp(-15.0) * 6  # of the diameter
    products = z[-1] @ z[-1].T
    assert (products.max(axis=1) - np.diag(products)).max() < near
    distances = np.linalg.norm(z[-1][:, None] - z[-1], axis=-1)
    count, label = connected_components(distances < near)
    assert 2 < count < 8
    centres = np.array([z[-1][label == cluster].mean(axis=0) for cluster in range(count)])
    assert len(ConvexHull(centres).vertices) == count
    np.testing.assert_array_equal(np.argmax(centres @ centres.T, axis=1), np.arange(count))


@pytest.mark.parametrize("u0, limit", [(0.5, 0.1873767679086), (1.0, 0.9483019578715), (2.0, 1.999924656889)])
def test_oracle_4_2_pair(reach, u0, limit):
    """u' = u tanh(u^2) for tokens at +-u; e^(-t) u(t) tends to a known limit."""
    depths = [8.0, 9.0]
    z = rescaled(reach(Attention(), u0 * np.array([[0.6, 0.8], [-0.6, -0.8]]), Euclidean(2), depths), depths)
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), limit, rtol=0, atol=1e-8)
    np.testing.assert_allclose(z[:, 0], -z[:, 1], rtol=0, atol=1e-12)


POLYGONS = {
    3: [0.8408799921019, 0.8408230090262, 0.8408230090261],
    4: [0.7529477751073, 0.7506675280133, 0.7506675280132],
    6: [0.7058521923452, 0.6856932423115, 0.6856931759671],
}


@pytest.mark.parametrize("corners", POLYGONS)
def test_oracle_4_2_regular_polygon(reach, corners):
    angles = 2 * np.pi * np.arange(corners) / corners
    x, depths = np.stack([np.cos(angles), np.sin(angles)], axis=-1), [1.0, 2.0, 3.0]
    radii = np.linalg.norm(rescaled(reach(Attention(), x, Euclidean(2), depths), depths), axis=-1)
    np.testing.assert_allclose(radii, np.outer(POLYGONS[corners], np.ones(corners)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_oracle_4_3_along_a_leading_eigenvector_at_most_three_values_are_left(reach, seed):
    """V = diag(1, -0.3, -0.5): generically two values of the first rescaled coordinate, one of each sign."""
    depths = [12.0, 13.0]
    x = np.random.default_rng(seed).uniform(-2, 2, (40, 3))
    path = reach(Attention(value=np.diag([1.0, -0.3, -0.5])), x, Euclidean(3), depths)
    first = rescaled(path, depths)[..., 0]
    np.testing.assert_allclose(first[1], first[0], rtol=0, atol=1e-4)
    sizes = np.sort(first[1])
    values = sizes[np.append(True, np.diff(sizes) > 1e-3)]
    assert len(values) <= 3 and values[0] < 0 < values[-1]


@pytest.mark.parametrize("seed", range(3))
def test_oracle_4_4_in_one_dimension_attention_becomes_boolean(reach, seed):
    """Each token attends to one other: the one that was least, or the one that was largest."""
    x = np.random.default_rng(seed).standard_normal((12, 1))
    end = reach(Attention(), x, Euclidean(1), 8.0, backend="reference")[0]
    scores = end @ end.T
    rows = np.exp(scores - scores.max(axis=1, keepdims=True))
    rows /= rows.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(np.flatnonzero(rows.max(axis=0) > 1e-6), np.sort([x.argmin(), x.argmax()]))
    assert (np.sort(rows.max(axis=1))[1:] > 1 - 1e-6).all()  # one exceptional row is possible


@pytest.mark.parametrize("tokens, dimension, beta", [(6, 2, 1.0), (10, 3, 2.0)])
def test_oracle_4_5_repelled_tokens_collapse_algebraically(reach, tokens, dimension, beta):
    """V = -I: 2 beta t C(t) -> I with an error like 1 / t, and |m(t)| ~ t^(-5/2), not e^(-t)."""
    depths = np.array([1e2, 1e3, 1e4])
    x = np.random.default_rng(0).standard_normal((tokens, dimension))
    path = reach(Attention(beta=beta, value=-1.0), x, Euclidean(dimension), depths, rtol=1e-10, atol=1e-16)
    mean = path.mean(axis=1)
    centred = path - mean[:, None]
    covariance = np.swapaxes(centred, -1, -2) @ centred / tokens
    off = np.abs(np.linalg.eigvalsh(2 * beta * depths[:, None, None] * covariance) - 1).max(axis=1)
    assert off[0] < 0.1 and (off[1:] < 0.13 * off[:-1]).all()
    slopes = np.diff(np.log(np.linalg.norm(mean, axis=1))) / np.log(10.0)
    np.testing.assert_allclose(slopes[1], -2.5, atol=0.02)


def test_oracle_4_5_repelled_pair(reach):
    """u' = -u tanh(u^2)."""
    path = reach(Attention(value=-1.0), np.array([[0.6, 0.8], [-0.6, -0.8]]), Euclidean(2), [1.0, 10.0, 100.0])
    exact = [0.5983948623583, 0.2198477215907, 0.0705915952601]
    np.testing.assert_allclose(np.linalg.norm(path[:, 0], axis=-1), exact, rtol=0, atol=1e-9)


# 5. Gaussian tokens stay gaussian; the measure is held by quadrature nodes with their weights

MEAN = np.array([1.0, -0.5])
COVARIANCE = np.array([[0.5, 0.1], [0.1, 0.3]])
QUERY, KEY = np.array([[1.0, 0.2], [0.0, 0.8]]), np.array([[0.9, 0.0], [-0.3, 1.1]])
VALUE = np.array([[0.5, -0.3], [0.2, 0.4]])
A = 0.5 * KEY.T @ QUERY  # beta = 0.5


def gauss_hermite(nodes=20):
    """Tokens (nodes^2, 2) and weights of the tensor quadrature of N(MEAN, COVARIANCE)."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(points, points, indexing="ij"), axis=-1).reshape(-1, 2)
    product = np.outer(weights, weights).ravel()
    return MEAN + grid @ np.linalg.cholesky(COVARIANCE).T, product / product.sum()


def moments(reach, law, depths):
    """Mean (depths, 2) and covariance (depths, 2, 2) of gaussian tokens."""
    x, weights = gauss_hermite()
    path = reach(law, x, Euclidean(2), depths, weights)
    mean = weights @ path
    centred = path - mean[:, None]
    return mean, np.swapaxes(centred, -1, -2) @ (weights[:, None] * centred)


def test_oracle_5_1_gaussian_closure(reach):
    """m' = V (I + S A) m, S' = V S A S + S A^T S V^T, by the table: m1 m2 S11 S12 S22."""
    table = {
        0.5: [1.443051932830, -0.448667229629, 0.551554725516, 0.123039293718, 0.326348923156],
        1.0: [2.033150753427, -0.299174113280, 0.613837163699, 0.154063299988, 0.360058468838],
        1.5: [2.807793203613, 0.011569985792, 0.690365675150, 0.196940905486, 0.404986461297],
        2.0: [3.809999160211, 0.583377851515, 0.786311930637, 0.258150121217, 0.468059484679],
    }
    law = Attention(beta=0.5, query=QUERY, key=KEY, value=VALUE)
    mean, covariance = moments(reach, law, list(table))
    measured = np.column_stack([mean, covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]])
    np.testing.assert_allclose(measured, list(table.values()), rtol=0, atol=5e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["attraction", "repulsion"])
def test_oracle_5_1_closed_form_for_scalar_matrices(reach, sign):
    """V = c I, A = beta I: S = S0 (I - 2 c beta t S0)^-1, m = e^(ct) (I - 2 c beta t S0)^(-1/2) m0."""
    depths = np.array([0.3, 0.8])
    mean, covariance = moments(reach, Attention(beta=0.5, value=sign), depths)
    for t, m, s in zip(depths, mean, covariance, strict=True):
        sizes, axes = np.linalg.eigh(COVARIANCE)
        shrink = 1 - sign * t * sizes
        np.testing.assert_allclose(s, axes * (sizes / shrink) @ axes.T, rtol=0, atol=5e-9)
        np.testing.assert_allclose(m, np.exp(sign * t) * (axes * shrink**-0.5) @ axes.T @ MEAN, rtol=0, atol=5e-9)


@pytest.mark.parametrize(
    "query, key, blow_up", [(1.0, 1.0, 1.8469903125906), (QUERY, KEY, 2.1067129659722)], ids=["identity", "example"]
)
def test_oracle_5_1_blow_up(reach, query, key, blow_up):
    """V = I: S(t)^-1 = S0^-1 - t (A + A^T), which is singular first at t*."""
    matrix = 0.5 * np.eye(2) if np.isscalar(query) else A
    root = np.linalg.cholesky(COVARIANCE)
    np.testing.assert_allclose(1 / np.linalg.eigvalsh(root.T @ (matrix + matrix.T) @ root).max(), blow_up, rtol=1e-12)
    depths = np.array([0.2, 0.5]) * blow_up
    _, covariance = moments(reach, Attention(beta=0.5, query=query, key=key), depths)
    precision = np.linalg.inv(covariance)
    exact = np.linalg.inv(COVARIANCE) - depths[:, None, None] * (matrix + matrix.T)
    np.testing.assert_allclose(precision, exact, rtol=0, atol=1e-7)
    straight_on = precision[1] + (precision[1] - precision[0]) * 0.5 / 0.3
    assert abs(np.linalg.eigvalsh(straight_on)[0]) < 1e-6
