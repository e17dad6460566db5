"""The limit of many tokens on the circle, and how far n tokens are from a limit: closed forms and moved tokens."""

import numpy as np
import pytest
from attndyn import AttndynError, InvalidInput
from attndyn.data.rates import line, root_mean_squares
from attndyn.integrators import integrate
from attndyn.integrators.density import density_flow
from attndyn.integrators.gaussian_closure import gaussian_flow
from attndyn.particles import Attention, Block, Ensemble, Euclidean, Sphere
from attndyn.particles.circle_density import CircleDensity
from attndyn.particles.empirical import (
    moment_errors,
    rate,
    to_normal,
    wasserstein_to_density,
    wasserstein_to_gaussian,
)
from attndyn.particles.gaussian import GaussianMeasure
from attndyn.particles.wasserstein import wasserstein
from scipy.integrate import quad
from scipy.special import iv, ndtr

MEAN, COVARIANCE = np.array([1.0, 0.3]), np.array([[0.5, 0.1], [0.1, 0.3]])


def mode(k, size=1e-6):
    """The uniform density with one coefficient more."""
    return CircleDensity(np.append(np.eye(1, k)[0], size))


# the density's equation


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
def test_poisson_kernels_stay_poisson_kernels_at_beta_zero(normalisation):
    """R(t) = (1 + (1/R0^2 - 1) e^-t)^(-1/2), mu_k = R^k e^(-ik centre)."""
    table = {0.5: 0.2535366580559, 1.0: 0.3189649611495, 2.0: 0.4851827523061, 5.0: 0.9277928045266}
    depths = list(table) if normalisation == "softmax" else [0.5, 1.0, 2.0]
    law = Attention(beta=0.0, normalisation=normalisation)
    flow = density_flow(law, CircleDensity.poisson(0.2, 0.7), depths[-1], save_at=depths)
    known = [table[t] for t in depths]
    np.testing.assert_allclose([each.order for each in flow], known, rtol=0, atol=2e-12)
    k = np.arange(20)
    np.testing.assert_allclose(flow[-1].coefficients[:20], (known[-1] * np.exp(-0.7j)) ** k, atol=1e-10)
    assert len(flow[0].coefficients) < len(flow[-1].coefficients)  # more degrees where the density is narrow


@pytest.mark.parametrize("beta", [1.0, 4.0, 9.0, -2.0])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_perturbations_of_the_uniform_density_grow_at_the_known_rate(beta, k):
    """k^2 I_k(beta) / beta, over I_0(beta) with softmax."""
    for normalisation, scale in (("softmax", iv(0, beta)), ("none", 1.0)):
        known = k**2 * iv(k, beta) / beta / scale
        t = min(0.5, 1.0 / abs(known))
        law = Attention(beta=beta, normalisation=normalisation)
        end = density_flow(law, mode(k), t)[-1]
        assert np.log(abs(end.coefficients[k]) / 1e-6) / t == pytest.approx(known, rel=1e-6)


def test_the_uniform_density_stays():
    end = density_flow(Attention(beta=4.0), CircleDensity.uniform(), 3.0)[-1]
    assert np.abs(end.coefficients[1:]).max() < 1e-15


LAWS = {
    "softmax": Attention(beta=2.0),
    "repulsion": Attention(beta=1.5, value=-1.0),
    "negative beta": Attention(beta=-2.0),
    "matrices": Attention(beta=1.0, query=0.5 * np.eye(2), key=-2.0, value=2.0, output=0.5 * np.eye(2)),
    "scaled": Attention(beta=2.0, score="scaled-dot"),
    "unnormalised": Attention(beta=2.0, normalisation="none"),
    "shifted": Attention(beta=2.0, normalisation="none", shift=2.0, value=-1.0),
}


@pytest.mark.parametrize("radius", [1.0, 1.3])
@pytest.mark.parametrize("name", LAWS)
def test_tokens_at_quantiles_follow_the_density(name, radius, reach):
    """Integrals over a period by equal steps converge exponentially, so few hundred tokens are many."""
    law, start, t = LAWS[name], CircleDensity.poisson(0.4, 1.0), 0.1 if name == "unnormalised" else 0.4
    tokens = start.tokens(400, radius)
    end = tokens.at(reach(law, tokens.positions[0], Sphere(2, radius), t)[:1])
    limit = density_flow(law, start, t, radius=radius)[-1]
    errors = moment_errors(end, limit)
    assert max(errors["first"][0], errors["second"][0]) < 1e-10
    # tokens keep their order, so they are still the quantiles: W1 is that of 1 / n of mass to its middle
    np.testing.assert_allclose(wasserstein_to_density(end, limit), radius * np.pi / (2 * 400), rtol=1e-5)
    assert np.abs(limit.coefficients[1:4] - start.coefficients[1:4]).max() > 0.01  # it moved


def test_the_mass_is_kept_and_nowhere_negative():
    start = CircleDensity.gaussian(MEAN, COVARIANCE)
    end = density_flow(Attention(beta=2.0), start, 1.0)[-1]
    angles = np.linspace(0, 2 * np.pi, 801)
    assert end.values(angles).min() > 0
    np.testing.assert_allclose(end.values(angles[1:]).mean() * 2 * np.pi, 1.0, rtol=1e-12)


def test_degrees_are_checked():
    law, start = Attention(beta=1.0), CircleDensity.poisson(0.2)
    with pytest.raises(AttndynError, match="more than 64 Fourier"):
        density_flow(law, start, 10.0, most_degrees=64)
    coarse, fine = (density_flow(law, start, 3.0, resolution=each)[-1] for each in (1e-4, 1e-11))
    known = fine.coefficients[: len(coarse.coefficients)]
    assert len(known) < len(fine.coefficients)
    assert 1e-10 < np.abs(coarse.coefficients - known).max() < 1e-4
    wide = CircleDensity(np.append(CircleDensity.poisson(0.2).coefficients, np.zeros(500)))
    again = density_flow(law, wide, 3.0, resolution=1e-11)[-1]  # with fewer degrees, then with more
    assert len(again.coefficients) < 500
    np.testing.assert_allclose(again.coefficients[:20], fine.coefficients[:20], atol=1e-9)


def test_noise_is_heat():
    start, t = CircleDensity.poisson(0.5, 0.3), 0.7
    end = density_flow(Attention(value=0.0), start, t, noise=0.2, radius=1.5)[-1]
    k = np.arange(len(end.coefficients))
    ours = np.append(start.coefficients, np.zeros(len(k)))[: len(k)] * np.exp(-0.2 / 1.5**2 * k**2 * t)
    np.testing.assert_allclose(end.coefficients, ours, atol=1e-11)
    known = 4 * iv(2, 4.0) / 4.0 / iv(0, 4.0) - 4 * 0.3
    grown = density_flow(Attention(beta=4.0), mode(2), 0.5, noise=0.3)[-1]
    assert np.log(abs(grown.coefficients[2]) / 1e-6) / 0.5 == pytest.approx(known, rel=1e-8)


@pytest.mark.parametrize(
    "beta, kappa, normalisation, depth, order",
    [
        (0.0, 0.3, "softmax", 40.0, 0.773129625370),
        (1.0, 0.3, "softmax", 50.0, 0.714577934512),
        (4.0, 0.1, "softmax", 40.0, 0.913136127880),
        (1.0, 0.3, "none", 40.0, 0.892537676148),
    ],
)
def test_stationary_densities_with_noise(beta, kappa, normalisation, depth, order):
    law = Attention(beta=beta, normalisation=normalisation)
    end = density_flow(law, CircleDensity([1.0, 0.48]), depth, noise=kappa, resolution=1e-9, rtol=1e-8)[-1]
    assert end.order == pytest.approx(order, abs=2e-8)


@pytest.mark.parametrize(
    "law, message",
    [
        (Attention(mask="causal"), "mask causal"),
        (Attention(normalisation="linear"), "linear of dot"),
        (Attention(score="gaussian"), "softmax of gaussian"),
        (Attention(rotary=100.0), "rotary"),
        (Attention(heads=2, query=np.eye(2)), "2 heads"),
        (Attention(value=np.diag([1.0, 2.0])), "needs value to be a number"),
        (Attention(value_bias=np.ones(2)), "without biases"),
        (Block(Attention()), "got Block"),
    ],
)
def test_laws_without_the_equation_are_refused(law, message):
    with pytest.raises(InvalidInput, match=message):
        density_flow(law, CircleDensity.uniform(), 1.0)


# densities


def test_directions_of_gaussian_tokens():
    density = CircleDensity.gaussian(MEAN, COVARIANCE)
    precision = np.linalg.inv(COVARIANCE)

    def on_ray(r, angle):
        y = r * np.array([np.cos(angle), np.sin(angle)]) - MEAN
        return r * np.exp(-0.5 * y @ precision @ y) / (2 * np.pi * np.sqrt(np.linalg.det(COVARIANCE)))

    for angle in (0.0, 0.4, 2.0, 3.5):
        assert density.values(angle) == pytest.approx(quad(on_ray, 0, 12, args=(angle,), epsabs=1e-13)[0], abs=1e-11)
    drawn = Ensemble.gaussian(Sphere(2), 40_000, seed=1, mean=MEAN, covariance=COVARIANCE)
    assert moment_errors(drawn, density)["first"][0] < 5 / np.sqrt(40_000)


def test_distribution_and_quantiles_are_inverse():
    density = CircleDensity.mixture([CircleDensity.poisson(0.8, 2.0), CircleDensity.uniform()], [0.7, 0.3])
    levels = np.linspace(0.0, 1.0, 501)
    angles = density.quantiles(levels)
    np.testing.assert_allclose(density.distribution(angles), levels, atol=1e-13)
    middle = quad(lambda angle: float(density.values(angle)), 0.0, 1.7)[0]
    assert density.distribution(1.7) == pytest.approx(middle, abs=1e-10)
    np.testing.assert_allclose(density.distribution(1.7 + 2 * np.pi), 1 + density.distribution(1.7), atol=1e-13)


def test_drawn_tokens_have_the_density():
    density = CircleDensity.poisson(0.6, 2.5)
    drawn = density.draw(20_000, replicas=3, seed=4, radius=2.0)
    errors = moment_errors(drawn, density)
    assert max(errors["first"].max(), errors["second"].max()) < 5 / np.sqrt(20_000)
    np.testing.assert_array_equal(density.draw(20_000, seed=4, radius=2.0).positions[0], drawn.positions[0])


def test_wrong_densities_are_refused():
    with pytest.raises(InvalidInput, match="mass"):
        CircleDensity([2.0, 0.1])
    with pytest.raises(InvalidInput, match="nonnegative"):
        CircleDensity.of(np.cos)
    with pytest.raises(InvalidInput, match="not smooth enough"):
        CircleDensity.of(lambda angle: (angle < 1.0).astype(float))
    with pytest.raises(InvalidInput, match="order"):
        CircleDensity.poisson(1.0)
    with pytest.raises(InvalidInput, match="positive definite"):
        CircleDensity.gaussian([1.0, 0.0], np.diag([1.0, 0.0]))
    with pytest.raises(InvalidInput, match="levels"):
        CircleDensity.uniform().quantiles([1.5])


# what separates n tokens from a limit


def test_the_distance_to_a_normal_law_on_the_line():
    x, weights = np.array([0.3, -1.2, 2.0, 0.9]), np.array([0.1, 0.4, 0.2, 0.3])
    y = (np.arange(200_000) + 0.5) * 1e-4 - 10.0
    below = (weights[:, None] * (x[:, None] <= y)).sum(axis=0)
    known = np.abs(below - ndtr((y - 0.5) / 0.8)).sum() * 1e-4  # tokens lie between the places
    assert to_normal(x, weights, 0.5, 0.8) == pytest.approx(known, abs=1e-8)
    assert to_normal([0.5], [1.0], 0.5, 0.8) == pytest.approx(0.8 * np.sqrt(2 / np.pi), rel=1e-14)
    assert to_normal(x, weights, 0.5, 0.0) == pytest.approx(weights @ np.abs(x - 0.5))


def test_the_distance_to_a_gaussian_measure():
    limit = GaussianMeasure(MEAN, COVARIANCE)
    drawn = limit.draw(500, replicas=2, seed=3)
    many = limit.draw(100_000, seed=9)
    sliced = wasserstein_to_gaussian(drawn, limit, directions=32, seed=2)
    np.testing.assert_allclose(sliced, wasserstein(drawn, many, method="sliced", directions=32, seed=2), rtol=0.15)
    moved = drawn.at(drawn.positions + np.array([3.0, 0.0]))
    assert wasserstein_to_gaussian(moved, limit, method="sample")[0] == pytest.approx(3.0, rel=0.05)
    line = GaussianMeasure([0.4], [[0.25]])
    tokens = Ensemble(np.array([[0.1], [0.7]]), Euclidean(1), np.array([0.2, 0.8]))
    assert wasserstein_to_gaussian(tokens, line)[0] == to_normal([0.1, 0.7], [0.2, 0.8], 0.4, 0.5)


def test_the_distance_to_a_density_on_the_circle():
    one = Ensemble(np.array([[0.0, 2.0]]), Sphere(2, 2.0))
    np.testing.assert_allclose(wasserstein_to_density(one, CircleDensity.uniform()), 2.0 * np.pi / 2, rtol=1e-7)
    density = CircleDensity.poisson(0.7, 0.1)
    drawn = density.draw(300, replicas=2, seed=5)
    weights = np.random.default_rng(6).dirichlet(np.ones(300), 2)
    weighted = Ensemble(drawn.positions, drawn.space, weights)
    for tokens in (drawn, weighted):
        near = wasserstein(tokens, density.tokens(20_000), metric="geodesic")
        np.testing.assert_allclose(wasserstein_to_density(tokens, density), near, atol=1e-4)


def test_moments_are_those_of_weighted_tokens():
    limit = GaussianMeasure([0.0, 0.0], np.eye(2))
    tokens = Ensemble(np.array([[3.0, 0.0], [-1.0, 0.0]]), Euclidean(2), np.array([0.25, 0.75]))
    errors = moment_errors(tokens, limit)
    assert errors["mean"][0] == 0.0
    assert errors["covariance"][0] == pytest.approx(np.sqrt(2.0**2 + 1.0))  # diag(3, 0) - I
    more = GaussianMeasure([1.0, 2.0], COVARIANCE).quadrature(4)
    against = moment_errors(tokens, more)
    known = moment_errors(tokens, GaussianMeasure([1.0, 2.0], COVARIANCE))
    np.testing.assert_allclose([*against.values()], [*known.values()], rtol=1e-13)
    turned = Ensemble(np.array([[0.0, 1.0]]), Sphere(2))
    found = moment_errors(turned, CircleDensity.poisson(0.5))
    assert (found["first"][0], found["second"][0]) == pytest.approx((abs(-1j - 0.5), 1.25))


def test_limits_of_another_space_are_refused():
    plane, circle = Ensemble.gaussian(Euclidean(2), 8), Ensemble.uniform(Sphere(2), 8)
    gaussian, density = GaussianMeasure([0.0, 0.0], np.eye(2)), CircleDensity.uniform()
    with pytest.raises(InvalidInput, match="in their space"):
        moment_errors(plane, circle)
    for wrong in (
        lambda: moment_errors(plane, density),
        lambda: moment_errors(circle, gaussian),
        lambda: wasserstein_to_density(plane, density),
        lambda: wasserstein_to_gaussian(circle, gaussian),
        lambda: wasserstein_to_gaussian(Ensemble.gaussian(Euclidean(3), 8), gaussian),
    ):
        with pytest.raises(InvalidInput, match="is the limit of tokens"):
            wrong()
    with pytest.raises(InvalidInput, match="method"):
        wasserstein_to_gaussian(plane, gaussian, method="entropic")


# rates


def test_known_orders():
    n = np.array([100.0, 400.0])
    for what, d, ratio in (
        ("moments", 5, 0.5), ("sliced", 7, 0.5), ("wasserstein", 1, 0.5),
        ("wasserstein", 2, 0.5 * np.sqrt(np.log(400) / np.log(100))), ("wasserstein", 4, 4 ** -0.25),
    ):  # fmt: skip
        assert np.divide(*rate(n, what, d)[::-1]) == pytest.approx(ratio)
    sizes = 2.0 ** np.arange(6, 12)
    assert -0.5 < line(np.log(sizes), np.log(rate(sizes, "wasserstein", 2))).value < -0.4


def test_errors_fall_like_the_root_of_the_number_of_tokens():
    """Independent gaussian tokens under softmax attention, against the closure."""
    law, start = Attention(beta=0.5), GaussianMeasure([1.0, -0.5], COVARIANCE)
    limit = gaussian_flow(law, start, 0.5)[-1]
    sizes, errors = [32, 128, 512, 2048], {"mean": [], "covariance": [], "sliced": []}
    for n in sizes:
        tokens = start.draw(n, max(8, 4096 // n), seed=n)
        end = tokens.at(integrate(law, tokens, t_end=0.5, method="rk4", step=0.25).final)
        for name, found in moment_errors(end, limit).items():
            errors[name].append(found)
        errors["sliced"].append(wasserstein_to_gaussian(end, limit, directions=16))
    for name, each in errors.items():
        roots, spread = root_mean_squares(each)
        fit = line(np.log(sizes), np.log(roots), spread / roots)
        assert fit.value == pytest.approx(-0.5, abs=0.1), name
