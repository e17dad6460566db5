"""Wasserstein distances against closed forms, and every way of computing one against the others."""

import sys

import numpy as np
import pytest
from attndyn import InvalidInput, MissingExtra
from attndyn.particles import Ensemble, Euclidean, Sphere
from attndyn.particles.wasserstein import wasserstein


def cloud(space, tokens, seed, weighted=False, replicas=1):
    generator = np.random.default_rng(seed)
    x = space.retract(generator.standard_normal((replicas, tokens, space.dimension)))
    return Ensemble(x, space, generator.dirichlet(np.ones(tokens), replicas) if weighted else None)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("method", ["exact", "sliced"])
def test_a_shift_moves_everything_by_itself(method, order):
    mu = cloud(Euclidean(2), 7, 0)
    shift = np.array([0.3, -0.4])
    nu = mu.at(mu.positions + shift)
    found = wasserstein(mu, nu, order=order, method=method, directions=4000)[0]
    # the mean of |cos| over the circle is 2 / pi, that of cos^2 is 1/2
    exact = 0.5 if method == "exact" else 0.5 * (2 / np.pi if order == 1 else np.sqrt(0.5))
    assert found == pytest.approx(exact, rel=1e-12 if method == "exact" else 0.03)


@pytest.mark.parametrize("order", [1, 2])
def test_on_the_line_it_is_the_distance_of_quantiles(order):
    pytest.importorskip("ot", reason="POT is an extra")
    mu, nu = (cloud(Euclidean(1), tokens, seed, weighted=True) for tokens, seed in ((6, 1), (9, 2)))
    plane = [
        Ensemble(np.concatenate([each.positions, 0 * each.positions], axis=-1), Euclidean(2), each.weights)
        for each in (mu, nu)
    ]
    assert wasserstein(mu, nu, order=order)[0] == pytest.approx(wasserstein(*plane, order=order)[0], rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_on_the_circle_it_is_the_cheapest_transport_along_it(weighted):
    pytest.importorskip("ot", reason="POT is an extra")
    circle = Sphere(2, 1.7)
    for seed in range(20):
        mu, nu = (cloud(circle, tokens, seed + shift, weighted) for tokens, shift in ((5, 0), (8, 100)))
        angles = [np.arctan2(*each.positions[0].T[::-1]) for each in (mu, nu)]
        apart = np.abs(angles[0][:, None] - angles[1])
        import ot

        weights = [np.broadcast_to(each.weights, each.positions.shape[:2])[0] for each in (mu, nu)]
        exact = ot.emd2(*weights, 1.7 * np.minimum(apart, 2 * np.pi - apart))
        assert wasserstein(mu, nu, metric="geodesic")[0] == pytest.approx(exact, rel=1e-10)
        exact = ot.emd2(*weights, (1.7 * np.minimum(apart, 2 * np.pi - apart)) ** 2) ** 0.5
        assert wasserstein(mu, nu, metric="geodesic", order=2)[0] == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_on_the_circle_it_is_a_distance_that_turns_with_the_tokens(order):
    circle = Sphere(2, 0.6)
    mu, nu, rho = (cloud(circle, tokens, tokens, weighted=True) for tokens in (4, 7, 400))
    between = {"order": order, "metric": "geodesic"}
    ab, bc, ac = wasserstein(mu, nu, **between), wasserstein(nu, rho, **between), wasserstein(mu, rho, **between)
    assert ac <= ab + bc and ab <= ac + bc and bc <= ab + ac
    assert wasserstein(nu, mu, **between) == pytest.approx(ab, rel=1e-12)
    assert wasserstein(rho, rho, **between) == pytest.approx(0.0, abs=1e-7)
    for angle in (0.3, 2.0, 3.1, 4.0):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = [each.at(each.positions @ turn.T) for each in (mu, nu)]
        assert wasserstein(*turned, **between) == pytest.approx(ab, rel=1e-12)
    # a turn of a measure is the best there is: W of a single token is how far it went, the short way
    one = cloud(circle, 1, 0)
    assert wasserstein(one, one.at(one.positions @ turn.T), **between) == pytest.approx(0.6 * (2 * np.pi - 4.0))


def test_on_a_sphere_lengths_are_those_of_great_circles():
    north, south = (Ensemble(np.array([[0.0, 0.0, z]]), Sphere(3, 2.0)) for z in (2.0, -2.0))
    assert wasserstein(north, south)[0] == pytest.approx(4.0)
    assert wasserstein(north, south, metric="geodesic")[0] == pytest.approx(2 * np.pi)
    assert wasserstein(north, south, metric="geodesic", order=2)[0] == pytest.approx(2 * np.pi)


def test_equal_tokens_and_the_linear_programme_agree():
    pytest.importorskip("ot", reason="POT is an extra")
    mu, nu = cloud(Euclidean(3), 12, 0), cloud(Euclidean(3), 12, 1)
    doubled = Ensemble(np.repeat(nu.positions, 2, axis=1), nu.space)  # the same measure of more tokens
    for order in (1, 2):
        exact = wasserstein(mu, nu, order=order)
        np.testing.assert_allclose(wasserstein(mu, doubled, order=order), exact, rtol=1e-10)
        assert (wasserstein(mu, nu, order=order, method="sliced") < exact).all()


def test_it_is_a_distance_of_measures():
    mu, nu, rho = (cloud(Euclidean(2), 6, seed, replicas=5) for seed in range(3))
    ab, bc, ac = wasserstein(mu, nu), wasserstein(nu, rho), wasserstein(mu, rho)
    assert (ac <= ab + bc + 1e-14).all()
    np.testing.assert_allclose(wasserstein(nu, mu), ab, rtol=1e-14)
    shuffled = mu.at(mu.positions[:, ::-1])
    assert wasserstein(mu, shuffled).max() == 0.0
    assert wasserstein(mu, cloud(Euclidean(2), 6, 9)).shape == (5,)


def test_tokens_of_weight_zero_do_not_count():
    mu = Ensemble(np.array([[0.0, 0.0], [9.0, 9.0]]), Euclidean(2), np.array([1.0, 0.0]))
    assert wasserstein(mu, Ensemble(np.array([[3.0, 4.0]]), Euclidean(2)))[0] == pytest.approx(5.0)


def test_without_pot_it_says_which_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingExtra, match="attndyn\\[transport\\]"):
        wasserstein(cloud(Euclidean(2), 3, 0), cloud(Euclidean(2), 4, 0))


@pytest.mark.parametrize(
    "second, options, message",
    [
        (cloud(Euclidean(3), 4, 0), {}, "same space"),
        (cloud(Euclidean(2), 4, 0), {"order": 3}, "order must be 1 or 2"),
        (cloud(Euclidean(2), 4, 0), {"metric": "chord"}, "metric must be"),
        (cloud(Euclidean(2), 4, 0), {"method": "fast"}, "method must be"),
        (cloud(Euclidean(2), 4, 0, replicas=3), {}, "same number of replicas"),
        (cloud(Euclidean(2), 5001, 0), {}, "at most 5000 tokens"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(second, options, message):
    with pytest.raises(InvalidInput, match=message):
        wasserstein(cloud(Euclidean(2), 4, 1, replicas=2), second, **options)
