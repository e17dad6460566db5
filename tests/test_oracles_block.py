"""Oracles 1.3 and 8.4: the schemes of layer normalisation, as flows and as layers, from equiangular tokens."""

from functools import cache

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, Sphere

DEPTHS = [0.5, 1.0, 2.0, 5.0, 10.0]
# n = 4, beta = 1, rho = 0 and r = 1 at depth 0, alpha = 1, tau = 1
RHO = {
    "post": [0.212686811455, 0.479486782185, 0.877131172550, 0.999653298593, 0.999999984254],
    "pre": [0.186714394533, 0.374274160243, 0.656503731052, 0.921160948499, 0.979899394895],
    "peri": [0.297485774717, 0.520358509578, 0.759812302255, 0.939873060109, 0.982858280547],
    "ngpt": [0.358745010845, 0.680141027697, 0.947526603738, 0.999865524817, 0.999999993894],
    "sqrt": [0.187937705628, 0.385745219504, 0.708037063475, 0.977348685486, 0.999278314399],
    "mix": [0.212686811455, 0.479486782185, 0.811584792938, 0.970617212445, 0.993117098244],
}
RADIUS = {
    "pre": [1.251783475023, 1.538870963020, 2.232882933844, 4.871062877062, 9.722677398830],
    "peri": [1.413374981398, 1.832745830382, 2.722079610424, 5.592032615052, 10.532408141664],
    "mix": [1.0, 1.0, 1.780809603743, 4.614105021629, 9.560879160147],
}
ON_THE_SPHERE = ("post", "ngpt", "sqrt")
norms = pytest.mark.parametrize("norm", RHO)


def block_of(norm, beta=1.0, **options):
    return Block(Attention(beta=beta), norm=norm, **options | ({"tau": 1.0} if norm == "mix" else {}))


def at_right_angles(norm, tokens=4, dimension=5):
    x = np.eye(tokens, dimension)
    return Ensemble(x, Sphere(dimension) if norm in ON_THE_SPHERE else Euclidean(dimension))


def rho_and_radius(positions):
    """The cosines of all pairs (..., pairs) and the lengths (..., tokens)."""
    radius = np.linalg.norm(positions, axis=-1)
    th = positions / radius[..., None]
    pairs = np.triu_indices(positions.shape[-2], 1)
    return (th @ np.swapaxes(th, -1, -2))[..., pairs[0], pairs[1]], radius


@cache
def flow(norm):
    """The frames of the flow at DEPTHS, (depths, tokens, dimension)."""
    options = {"method": "dop853", "rtol": 1e-12, "atol": 1e-14, "exact": True}
    solution = integrate(block_of(norm), at_right_angles(norm), t_end=10.0, save_at=DEPTHS, **options)
    assert solution.status == "finished"
    return solution.positions[:, 0]


@norms
def test_oracle_8_4_the_flow_of_every_scheme(norm):
    rho, radius = rho_and_radius(flow(norm))
    np.testing.assert_allclose(rho, np.outer(RHO[norm], np.ones(6)), rtol=0, atol=2e-11)
    np.testing.assert_allclose(radius, np.outer(RADIUS.get(norm, np.ones(5)), np.ones(4)), rtol=2e-12)


@pytest.mark.parametrize("backend", ["torch", "reference"])
@norms
def test_oracle_8_4_by_the_other_backends_and_the_default_method(norm, backend):
    options = {"rtol": 1e-10, "atol": 1e-12, "backend": backend}
    solution = integrate(block_of(norm), at_right_angles(norm), t_end=2.0, save_at=DEPTHS[:3], **options)
    rho, radius = rho_and_radius(solution.positions[:, 0])
    np.testing.assert_allclose(rho, np.outer(RHO[norm][:3], np.ones(6)), rtol=0, atol=1e-8)
    np.testing.assert_allclose(radius, np.outer(RADIUS.get(norm, np.ones(5))[:3], np.ones(4)), rtol=1e-8)


def test_oracle_8_4_pre_and_peri_trace_the_same_curve_of_the_angle_over_the_radius():
    """log r as the independent variable: where peri has the radius that pre had, it has its angle."""
    options = {"method": "dop853", "rtol": 1e-12, "atol": 1e-14}
    fine = np.linspace(0.0, 10.0, 2001)
    frames = integrate(block_of("peri"), at_right_angles("peri"), t_end=10.0, save_at=fine, **options).positions[:, 0]
    rho, radius = (values[:, 0] for values in rho_and_radius(frames))
    from scipy.interpolate import CubicSpline

    at = CubicSpline(np.log(radius), rho)(np.log(RADIUS["pre"]))
    np.testing.assert_allclose(at, RHO["pre"], rtol=0, atol=1e-9)
    assert np.abs(np.array(RHO["peri"]) - RHO["pre"]).max() > 0.1  # at equal depth they differ


@pytest.mark.parametrize("norm", ["pre", "peri"])
def test_oracle_8_4_at_beta_zero_one_minus_rho_falls_as_the_radius_squared(norm):
    solution = integrate(block_of(norm, beta=0.0), at_right_angles(norm), t_end=5.0, rtol=1e-11, atol=1e-13)
    rho, radius = rho_and_radius(solution.positions[:, 0])
    np.testing.assert_allclose((1.0 - rho[-1]) * radius[-1, 0] ** 2, 1.0, rtol=1e-9)


def test_oracle_8_4_sqrt_is_post_in_another_time():
    clock = 2.0 * (np.sqrt(np.array(DEPTHS) + 1.0) - 1.0)
    options = {"method": "dop853", "rtol": 1e-12, "atol": 1e-14, "exact": True}
    post = integrate(block_of("post"), at_right_angles("post"), t_end=clock[-1], save_at=clock, **options)
    np.testing.assert_allclose(flow("sqrt"), post.positions[:, 0], rtol=0, atol=1e-11)


def test_ngpt_s_alpha_is_a_time_change_too():
    slow = integrate(block_of("ngpt", alpha=0.25), at_right_angles("ngpt"), t_end=4.0, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(rho_and_radius(slow.final[0])[0], RHO["ngpt"][1], rtol=0, atol=1e-9)


# layers


@norms
@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_oracle_8_4_layers_reach_the_flow_with_order_one(norm, backend):
    def error(layers):
        how = {"layers": layers, "step": 2.0 / layers, "backend": backend}
        return np.linalg.norm(integrate(block_of(norm), at_right_angles(norm), **how).final[0] - flow(norm)[2])

    errors = [error(layers) for layers in (256, 512, 1024)]
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 1.0, atol=0.02)


def pair_sums(rho, tokens, beta, res, h):
    """Of oracle 1.3: the squared length and the inner product after a layer, p and q as there."""
    z = np.exp(beta) + (tokens - 1) * np.exp(beta * rho)
    p, q = res + h * np.exp(beta) / z, h * np.exp(beta * rho) / z
    square = p**2 + 2 * p * q * (tokens - 1) * rho + q**2 * (tokens - 1) * (1 + (tokens - 2) * rho)
    others = (tokens - 2) + ((tokens - 1) ** 2 - (tokens - 2)) * rho
    return square, p**2 * rho + 2 * p * q * (1 + (tokens - 2) * rho) + q**2 * others


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
@pytest.mark.parametrize("tokens", [4, 9])
def test_oracle_1_3_pre_norm_layers(tokens, backend):
    beta, h, layers = 1.0, 0.1, 20
    depths = h * np.arange(layers + 1)
    start = at_right_angles("pre", tokens, tokens + 1)
    solution = integrate(block_of("pre"), start, layers=layers, step=h, save_at=depths, backend=backend)
    rho, radius = [0.0], [1.0]
    for _ in range(layers):
        square, product = pair_sums(rho[-1], tokens, beta, radius[-1], h)
        rho.append(product / square)
        radius.append(np.sqrt(square))
    found_rho, found_radius = rho_and_radius(solution.positions[:, 0])
    np.testing.assert_allclose(found_rho, np.outer(rho, np.ones(found_rho.shape[1])), rtol=0, atol=1e-13)
    np.testing.assert_allclose(found_radius, np.outer(radius, np.ones(tokens)), rtol=1e-13)
    if tokens == 4:
        np.testing.assert_allclose([rho[-1], radius[-1]], [0.6399241961686, 2.2157147546422], rtol=1e-12)


def test_oracle_1_3_post_norm_layers_are_those_of_the_attention_alone():
    start = at_right_angles("post")
    block = integrate(block_of("post"), start, layers=10, step=0.1)
    np.testing.assert_array_equal(block.final, integrate(Attention(), start, layers=10, step=0.1).final)
    np.testing.assert_allclose(rho_and_radius(block.final[0])[0], 0.4431378889752, rtol=0, atol=1e-12)
    alone = integrate(block_of("post"), start, layers=3, residual=False)
    np.testing.assert_allclose(rho_and_radius(alone.final[0])[0], 0.9999999994368, rtol=0, atol=1e-12)
