"""Finite-time Lyapunov exponents against linear flows, equilibria, two tokens and the flow's own differential."""

import numpy as np
import pytest
from attndyn import AttndynError, InvalidInput
from attndyn.integrators import integrate, lyapunov_exponents
from attndyn.particles import Attention, Block, Ensemble, Euclidean, Sphere


def circle(angles):
    return Ensemble(np.stack([np.cos(angles), np.sin(angles)], axis=-1), Sphere(2))


def test_beta_zero_is_linear():
    """x_i' = V m: the mean grows by exp(t V), what is apart from it does not move; V symmetric."""
    value = np.random.default_rng(0).standard_normal((3, 3))
    value = value + value.T
    here = Ensemble(np.random.default_rng(1).standard_normal((2, 5, 3)), Euclidean(3))
    found = lyapunov_exponents(Attention(0.0, value=value), here, 6.0)
    exact = np.sort(np.concatenate([np.linalg.eigvalsh(value), np.zeros(12)]))[::-1]
    np.testing.assert_allclose(found.exponents, [exact, exact], rtol=0, atol=1e-9)
    assert len(found.times) > 1 and found.growth.shape == (len(found.times), 2, 15)


@pytest.mark.parametrize("normalisation", ["none", "softmax"])
def test_oracle_10_3_the_growth_rates_of_a_regular_polygon(normalisation):
    n, beta = 8, 2.0
    angles = 2 * np.pi * np.arange(n) / n
    slope = np.exp(beta * np.cos(angles)) * (np.cos(angles) - beta * np.sin(angles) ** 2)
    rates = np.array([np.mean(slope * (np.cos(k * angles) - 1)) for k in range(n)])
    if normalisation == "softmax":
        rates /= np.mean(np.exp(beta * np.cos(angles)))
    found = lyapunov_exponents(Attention(beta, normalisation=normalisation), circle(angles), 0.5)
    np.testing.assert_allclose(found.exponents[0], np.sort(rates)[::-1], rtol=0, atol=1e-9)
    # in between the decompositions, the exponents of a flow that stays where it is are the same
    np.testing.assert_allclose(found.growth.sum() / 0.5, rates.sum(), rtol=0, atol=1e-9)


def test_two_tokens_on_the_circle():
    """phi' = g(phi): the angle's exponent is log(g(phi(T)) / g(phi(0))) / T, that of turning both 0."""
    law, start, depth = Attention(1.0), 2.0, 8.0
    found = lyapunov_exponents(law, circle(np.array([0.0, start])), depth)
    x = found.ensemble.positions[0]
    end = 2 * np.arcsin(np.linalg.norm(x[0] - x[1]) / 2)
    g = [np.sin(phi) / (1 + np.exp(1 - np.cos(phi))) for phi in (start, end)]
    np.testing.assert_allclose(found.exponents[0], [0.0, np.log(g[1] / g[0]) / depth], rtol=0, atol=1e-8)


def test_they_are_the_singular_values_of_the_differential_of_the_flow():
    law, space = Attention(3.0, mask="causal"), Sphere(3)
    here, depth, h = Ensemble.uniform(space, 4, seed=2), 3.0, 1e-4
    frames = np.linalg.svd(here.positions[0][:, None, :])[2][:, 1:]  # two tangents of every token
    tangents = [np.eye(4)[i][:, None] * frames[i, k] for i in range(4) for k in range(2)]

    def flow(v):
        return integrate(
            law,
            here.at(space.exponential(here.positions, v[None])),
            t_end=depth,
            method="dop853",
            rtol=1e-13,
            atol=1e-14,
        ).final[0]

    differential = np.stack(
        [(8 * (flow(h * v) - flow(-h * v)) - flow(2 * h * v) + flow(-2 * h * v)).ravel() / (12 * h) for v in tangents]
    )
    exact = np.log(np.linalg.svd(differential, compute_uv=False)) / depth
    found = lyapunov_exponents(law, here, depth)
    np.testing.assert_allclose(found.exponents[0], exact, rtol=0, atol=1e-6)
    assert found.exponents[0, -1] < -0.3 < 0.2 < found.exponents[0, 0]


def test_many_decompositions_lose_nothing():
    """exp(-40) besides 1: a product written out in float64 would have forgotten it."""
    value = np.diag([1.0, -4.0])
    here = Ensemble(np.array([[1.0, 0.3]]), Euclidean(2))
    found = lyapunov_exponents(Attention(0.0, value=value), here, 10.0)
    np.testing.assert_allclose(found.exponents[0], [1.0, -4.0], rtol=0, atol=1e-9)


def test_some_of_them_on_a_given_frame():
    value = np.diag([2.0, 1.0])
    here = Ensemble(np.array([[1.0, 0.3]]), Euclidean(2))
    found = lyapunov_exponents(Attention(0.0, value=value), here, 3.0, frame=np.array([[[0.0, 1.0]]]))
    np.testing.assert_allclose(found.exponents, [[1.0]], rtol=0, atol=1e-10)
    found = lyapunov_exponents(Attention(0.0, value=value), here, 30.0, 1)
    np.testing.assert_allclose(found.exponents, [[2.0]], rtol=0, atol=0.1)


def test_a_growth_beyond_float64_is_followed():
    """A token on an invariant axis of x' = V x: the tangent across it grows by exp(720), which is no number."""
    law, here = Attention(0.0, value=np.diag([4.0, 1e-3])), Ensemble([[0.0, 1.0]], Euclidean(2))
    found = lyapunov_exponents(law, here, 180.0, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.exponents[0], [4.0, 1e-3], rtol=0, atol=1e-3)


def test_backends_agree():
    pytest.importorskip("torch")
    here = Ensemble.uniform(Sphere(3), 4, seed=0)
    found = [lyapunov_exponents(Attention(2.0), here, 0.1, 2, backend=b).exponents for b in ("numba", "torch")]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-9)


def test_tokens_that_run_away_are_told_of():
    with pytest.raises(AttndynError, match="grow too fast"):
        here = Ensemble(np.ones((2, 1)), Euclidean(1))
        lyapunov_exponents(Attention(2.0, normalisation="none"), here, 0.1, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"t_end": 0.0}, "t_end must be a positive number"),
        ({"t_end": 1.0, "count": 7}, "count must be an integer from 1 to 6"),
        ({"t_end": 1.0, "count": 2, "frame": np.ones((1, 3, 2))}, "frame must have the shape"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        lyapunov_exponents(Attention(), Ensemble(np.ones((3, 2)), Euclidean(2)), **arguments)


def test_a_block_that_changes_its_space_is_refused():
    here = Ensemble(np.eye(3), Euclidean(3))
    with pytest.raises(InvalidInput, match="space of tokens must stay"):
        lyapunov_exponents(Block(Attention(), norm="mix", tau=1.0), here, 2.0)
