"""Oracles 0 to 2 and 12: what is known in closed form of tokens on the sphere."""

import numpy as np
import pytest
from attndyn.particles import Attention, Ensemble, Sphere
from scipy.integrate import solve_ivp
from scipy.special import expi

SA, USA = "softmax", "none"


def inner_products(x):
    """<x_i, x_j> over i < j, (..., pairs)."""
    above = np.triu_indices(x.shape[-2], 1)
    return (x @ np.swapaxes(x, -1, -2))[..., above[0], above[1]]


def angle(x):
    """Between two tokens (..., 2, dimension), accurate also where it is small."""
    return 2.0 * np.arcsin(np.minimum(0.5 * np.linalg.norm(x[..., 0, :] - x[..., 1, :], axis=-1), 1.0))


def two_tokens(phi, dimension=2):
    """A pair at the angle phi in a plane that is no coordinate plane."""
    plane = np.linalg.qr(np.cos(np.arange(2 * dimension) ** 2.0).reshape(dimension, 2))[0]
    return np.array([[1.0, 0.0], [np.cos(phi), np.sin(phi)]]) @ plane.T


# 0. Reference states


def test_oracle_0_3_the_tokens_of_the_oracles(oracle_tokens):
    np.testing.assert_allclose(
        oracle_tokens(4, 3)[[0, 3]],
        [
            [0.476777935228843, -0.285279797062027, -0.831443466428819],
            [0.628875539605075, -0.615506111494321, 0.475045031970197],
        ],
        atol=1e-14,
    )
    np.testing.assert_allclose(
        oracle_tokens(8, 3)[7], [0.826332183798280, 0.275398201025204, -0.491254468571277], atol=1e-14
    )


END_STATES = {
    "softmax": [
        [0.4314980604959, -0.2029366236109, -0.8789915531939],
        [-0.5982365515036, -0.2286697286004, 0.7679994685330],
        [-0.1313527792009, 0.4463594952615, -0.8851608036886],
        [0.6024176884921, -0.6569703084242, 0.4533022638823],
    ],
    "unnormalised": [
        [0.2636679904376, 0.0119141257732, -0.9645399133399],
        [-0.4348608354521, -0.3852538695329, 0.8139259854556],
        [0.1388361969896, 0.1563555244212, -0.9778944014507],
        [0.4826973452889, -0.7101047403374, 0.5125958745459],
    ],
    "causal": [
        [0.4767779352288, -0.2852797970620, -0.8314434664288],
        [-0.6650601762047, -0.1642041024788, 0.7285135377985],
        [-0.1467442348603, 0.4534868620419, -0.8790994229839],
        [0.6142660346274, -0.6587199442670, 0.4344712576546],
    ],
}
LAWS = {
    "softmax": Attention(beta=2.0),
    "unnormalised": Attention(beta=2.0, normalisation=USA),
    "causal": Attention(beta=2.0, mask="causal"),
}


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
@pytest.mark.parametrize("method", ["tsit5", "dp54", "dop853"])
@pytest.mark.parametrize("law", END_STATES)
def test_oracle_0_4_end_states(oracle_tokens, reach, law, method, backend):
    x = reach(LAWS[law], oracle_tokens(4, 3), Sphere(3), 1.0, rtol=1e-10, method=method, backend=backend)[0]
    np.testing.assert_allclose(x, END_STATES[law], rtol=0, atol=1e-8)


# 1. Equiangular tokens


def equiangular(tokens, cosine=0.0):
    """One replica on S^(tokens): one dimension more than the tokens need."""
    return Ensemble.draw("equiangular", Sphere(tokens + 1), tokens=tokens, cosine=cosine).positions[0]


def equiangular_speed(rho, tokens, beta, normalisation):
    """Oracle 1.1: rho'."""
    speed = 2.0 * np.exp(beta * rho) * (1.0 - rho) * (1.0 + (tokens - 1) * rho)
    return speed / (tokens if normalisation == USA else np.exp(beta) + (tokens - 1) * np.exp(beta * rho))


@pytest.mark.parametrize("normalisation", [SA, USA])
@pytest.mark.parametrize("beta", [0.0, 1.0, 9.0])
@pytest.mark.parametrize("cosine", [-0.2, 0.0, 0.6])
def test_oracle_1_1_speed_of_the_inner_product(cosine, beta, normalisation):
    x = equiangular(5, cosine)
    drift = Attention(beta=beta, normalisation=normalisation).drift(x, space=Sphere(6))
    rates = drift @ x.T + x @ drift.T
    speed = equiangular_speed(cosine, 5, beta, normalisation)
    np.testing.assert_allclose(rates[np.triu_indices(5, 1)], speed, rtol=1e-12, atol=1e-15 * np.exp(beta))


DEPTHS = [0.5, 1.0, 2.0, 5.0, 10.0]
TABLE_1 = {
    (SA, 4, 0): [0.300489181892, 0.614979458970, 0.930553325103, 0.999818425011, 0.999999991755],
    (SA, 4, 1): [0.212686811455, 0.479486782185, 0.877131172550, 0.999653298593, 0.999999984254],
    (SA, 4, 4): [0.018286790778, 0.038661408598, 0.087556022939, 0.385355947913, 0.999637280087],
    (SA, 4, 9): [1.23447881219e-4, 2.47063553763e-4, 4.94800025594e-4, 1.24208231283e-3, 2.50134539843e-3],
    (USA, 4, 0): [0.300489181892, 0.614979458970, 0.930553325103, 0.999818425011, 0.999999991755],
    (USA, 4, 1): [0.360793109911, 0.832087876469, 0.998992792378, 1 - 8.33059662435e-11, 1.0],
    (USA, 4, 4): [0.999970823595, 1.0, 1.0, 1.0, 1.0],
    (SA, 32, 0): [0.050959946216, 0.166429101108, 0.626160144961, 0.998549244038, 0.999999934043],
    (SA, 32, 1): [0.047255928737, 0.151849335544, 0.589772822900, 0.998284248622, 0.999999921971],
    (SA, 32, 4): [0.014250870866, 0.035441398374, 0.118065652057, 0.952774849743, 0.999997738901],
    (SA, 32, 9): [1.23234583927e-4, 2.47061974645e-4, 4.96510840061e-4, 1.25949856455e-3, 2.58195815244e-3],
    (USA, 32, 0): [0.050959946216, 0.166429101108, 0.626160144961, 0.998549244038, 0.999999934043],
    (USA, 32, 1): [0.052700248863, 0.189942113749, 0.894673749151, 0.999999989145, 1.0],
    (USA, 32, 4): [0.059087391248, 0.437360252806, 1.0, 1.0, 1.0],
}
EARLY_DEPTHS = [0.001, 0.01, 0.05, 0.1, 0.2, 0.3]
TABLE_1B = {
    (4, 1): [5.00375166677e-4, 5.03766676366e-3, 0.025958374781, 0.053916898379, 0.116320237911, 0.188074049018],
    (4, 4): [5.00751294088e-4, 5.07631631662e-3, 0.027053208534, 0.059092706707, 0.146756882475, 0.301959026551],
    (4, 9): [5.01379852339e-4, 5.14253083041e-3, 0.029191393667, 0.071881059404, 1.0, 1.0],
    (32, 1): [6.25605859563e-5, 6.31093938725e-4, 3.28136975651e-3, 6.89648437486e-3, 0.015266861690, 0.025424991543],
    (32, 4): [6.25664612239e-5, 6.31695982420e-4, 3.29815682345e-3, 6.97357624304e-3, 0.015675835259, 0.026657302379],
    (32, 9): [6.25762566077e-5, 6.32702806665e-4, 3.32665552235e-3, 7.10740917182e-3, 0.016429389649, 0.029134568326],
}


@pytest.mark.parametrize("case", TABLE_1, ids=str)
def test_oracle_1_2_table_1(reach, case):
    normalisation, tokens, beta = case
    law = Attention(beta=beta, normalisation=normalisation)
    rho = inner_products(reach(law, equiangular(tokens), Sphere(tokens + 1), DEPTHS))
    np.testing.assert_allclose(rho, np.outer(TABLE_1[case], np.ones(rho.shape[1])), rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", TABLE_1B, ids=str)
def test_oracle_1_2_table_1b_unnormalised_at_early_depths(reach, case):
    tokens, beta = case
    law = Attention(beta=beta, normalisation=USA)
    rho = inner_products(reach(law, equiangular(tokens), Sphere(tokens + 1), EARLY_DEPTHS))
    np.testing.assert_allclose(rho, np.outer(TABLE_1B[case], np.ones(rho.shape[1])), rtol=0, atol=1e-9)


def depth_of(rho, rho0, tokens, beta, normalisation):
    """Oracle 1.2: the depth at which the inner product is rho, by exponential integrals."""
    b, w, w0 = tokens / (tokens - 1), rho + 1 / (tokens - 1), rho0 + 1 / (tokens - 1)
    near = expi(beta * (1 - rho0)) - expi(beta * (1 - rho))
    far = expi(-beta * w) - expi(-beta * w0)
    if normalisation == USA:
        return 0.5 * (np.exp(-beta) * near + np.exp(beta / (tokens - 1)) * far)
    logarithm = np.log((1 + (tokens - 1) * rho) * (1 - rho0) / ((1 - rho) * (1 + (tokens - 1) * rho0)))
    return (near + np.exp(beta * b) * far + (tokens - 1) * logarithm) / (2 * tokens)


@pytest.mark.parametrize("value", [1.0, -1.0], ids=["attraction", "repulsion"])
@pytest.mark.parametrize("normalisation", [SA, USA])
@pytest.mark.parametrize(("tokens", "beta"), [(3, 0.5), (5, 2.0), (9, 4.0)])
def test_oracle_1_2_closed_form(reach, tokens, beta, normalisation, value):
    """Under V = -I the same with time reversed."""
    depths = np.array([0.1, 0.3])
    law = Attention(beta=beta, normalisation=normalisation, value=value)
    rho = inner_products(reach(law, equiangular(tokens, 0.2), Sphere(tokens + 1), depths))
    np.testing.assert_allclose(np.ptp(rho, axis=1), 0.0, atol=1e-10)
    reached = [depth_of(r, 0.2, tokens, beta, normalisation) for r in rho[:, 0]]
    np.testing.assert_allclose(reached, value * depths, rtol=0, atol=1e-8)


@pytest.mark.parametrize("beta, rho", [(0.0, -0.1878817203594), (1.0, -0.0997367342092), (4.0, 0.1897501623072)])
def test_oracle_1_2_repulsion(reach, beta, rho):
    x = reach(Attention(beta=beta, value=-1.0), equiangular(4, 0.3), Sphere(5), 1.0)
    np.testing.assert_allclose(inner_products(x), rho, rtol=0, atol=1e-9)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_oracle_1_2_softmax_tokens_meet_at_the_rate_of_beta_zero(reach, beta):
    """1 - rho ~ exp(-2 t) at late depths, whatever beta."""
    x = reach(Attention(beta=beta), equiangular(4), Sphere(5), [10.0, 11.0], atol=1e-15)
    far = np.sum((x[:, 0] - x[:, 1]) ** 2, axis=-1) / 2
    np.testing.assert_allclose(np.log(far[1] / far[0]), -2.0, atol=1e-3)


# 2. Two tokens; beta = 0

TABLE_2 = {
    (np.pi / 2, SA, 0): [1.09041524766, 0.705026843555, 0.269035990749, 0.0134756900688, 9.07998594626e-5],
    (np.pi / 2, SA, 1): [1.27707302390, 0.953055070685, 0.417743426253, 0.0215833469306, 0.000145441562296],
    (np.pi / 2, SA, 4): [1.55214457801, 1.53202783125, 1.48639570005, 1.26958735184, 0.102185346703],
    (np.pi / 2, SA, 9): [1.57067286366, 1.57054926320, 1.57030164910, 1.56955547926, 1.56830062150],
    (np.pi / 2, USA, 0): [1.09041524766, 0.705026843555, 0.269035990749, 0.0134756900688, 9.07998594626e-5],
    (np.pi / 2, USA, 1): [0.942135818287, 0.326608209475, 0.0223406010912, 6.42040931850e-6, 8.03320268266e-12],
    (np.pi / 2, USA, 4): [3.57368369107e-6, 4.98056336137e-18, 0.0, 0.0, 0.0],
    (2.5, SA, 0): [2.13924710601, 1.67241806932, 0.773568847320, 0.0405510841733, 0.000273268501917],
    (2.5, SA, 1): [2.40800860662, 2.29920578427, 2.01033672471, 0.418724125518, 0.00292864726019],
    (2.5, SA, 4): [2.49955518986, 2.49910964031, 2.49821631294, 2.49551832230, 2.49096039546],
    (2.5, SA, 9): [2.49999994542, 2.49999989085, 2.49999978170, 2.49999945424, 2.49999890847],
    (2.5, USA, 0): [2.13924710601, 1.67241806932, 0.773568847320, 0.0405510841733, 0.000273268501917],
    (2.5, USA, 1): [2.34562711560, 2.13642688127, 1.35430383118, 0.000865001429377, 1.08228824538e-9],
    (2.5, USA, 4): [2.48757426970, 2.47454313444, 2.44640092234, 2.33779446718, 1.78490595960],
    (2.5, USA, 9): [2.49977871764, 2.49955710545, 2.49911288745, 2.49777220908, 2.49551048328],
}


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("case", TABLE_2, ids=str)
def test_oracle_2_1_table_2_angle_of_two_tokens(reach, case, dimension):
    phi, normalisation, beta = case
    law = Attention(beta=beta, normalisation=normalisation)
    x = reach(law, two_tokens(phi, dimension), Sphere(dimension), DEPTHS)
    np.testing.assert_allclose(angle(x), TABLE_2[case], rtol=0, atol=2e-9)


@pytest.mark.parametrize("normalisation, phi", [(SA, 1.8458561629675), (USA, 1.1361753690133)])
def test_oracle_2_1_two_tokens_of_unequal_weights(reach, normalisation, phi):
    law = Attention(beta=2.0, normalisation=normalisation)
    x = reach(law, two_tokens(2.0, 3), Sphere(3), 1.0, weights=np.array([0.3, 0.7]))
    np.testing.assert_allclose(angle(x), phi, rtol=0, atol=1e-9)


def test_oracle_2_1_half_angle_at_beta_zero(reach):
    depths = np.array([0.5, 1.0, 3.0])
    phi = angle(reach(Attention(beta=0.0), two_tokens(2.0), Sphere(2), depths))
    np.testing.assert_allclose(np.tan(phi / 2), np.tan(1.0) * np.exp(-depths), rtol=1e-9)


def cross_ratios(x):
    """|x_i - x_j|^2 |x_k - x_l|^2 / (|x_i - x_k|^2 |x_j - x_l|^2) of consecutive tokens i, j, k, l."""
    square = np.sum((x[:, None] - x[None]) ** 2, axis=-1)
    i = np.arange(len(x) - 3)
    return square[i, i + 1] * square[i + 2, i + 3] / (square[i, i + 2] * square[i + 1, i + 3])


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_oracle_2_2_cross_ratios_are_conserved_at_beta_zero_and_only_there(oracle_tokens, reach, dimension):
    """In every dimension, for any V and any weights."""
    generator = np.random.default_rng(0)
    x, weights = oracle_tokens(7, dimension), generator.dirichlet(np.ones(7))
    law = Attention(beta=0.0, value=generator.standard_normal((dimension, dimension)))
    end = reach(law, x, Sphere(dimension), 3.0, weights)[0]
    np.testing.assert_allclose(cross_ratios(end), cross_ratios(x), rtol=1e-8)
    end = reach(Attention(beta=1.0), x, Sphere(dimension), 3.0, weights)[0]
    assert np.abs(cross_ratios(end) / cross_ratios(x) - 1.0).max() > 0.05


ORDER = {0.5: 0.2535366580559, 1.0: 0.3189649611495, 2.0: 0.4851827523061, 5.0: 0.9277928045266}


def test_oracle_2_2_ott_antonsen_order_parameter(reach):
    """beta = 0 on the circle is the Kuramoto model: |m| and every token of Poisson-kernel data in closed form."""

    def poisson_kernel(r):
        u = 2 * np.pi * (np.arange(400) + 0.5) / 400 - np.pi
        theta = 2 * np.arctan((1 - r) / (1 + r) * np.tan(u / 2))
        return np.stack([np.cos(theta), np.sin(theta)], axis=-1)

    depths = np.array(list(ORDER))
    closed = (1 + (1 / 0.2**2 - 1) * np.exp(-depths)) ** -0.5
    np.testing.assert_allclose(closed, list(ORDER.values()), atol=1e-13)
    x = reach(Attention(beta=0.0), poisson_kernel(0.2), Sphere(2), depths)
    np.testing.assert_allclose(np.linalg.norm(x.mean(axis=1), axis=-1), closed, rtol=0, atol=1e-9)
    np.testing.assert_allclose(x, [poisson_kernel(r) for r in closed], rtol=0, atol=1e-8)


@pytest.mark.parametrize("normalisation, beta, conserved", [(USA, 1.0, True), (SA, 0.0, True), (SA, 1.0, False)])
def test_oracle_2_3_the_mean_angle_on_the_circle(reach, normalisation, beta, conserved):
    weights = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    angles = np.array([-1.2, -0.3, 0.4, 0.9, 2.0])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    end = reach(Attention(beta=beta, normalisation=normalisation), x, Sphere(2), 2.0, weights)[0]
    turned = np.arctan2(x[:, 0] * end[:, 1] - x[:, 1] * end[:, 0], np.sum(x * end, axis=-1))  # less than pi each
    assert (abs(weights @ turned) < 1e-9) == conserved
    assert np.abs(turned).max() > 0.5


def test_oracle_2_3_the_angular_momentum_of_unnormalised_attention_vanishes(oracle_tokens):
    x, weights = oracle_tokens(9, 3), np.random.default_rng(1).dirichlet(np.ones(9))

    def momentum(normalisation):
        drift = Attention(beta=1.0, normalisation=normalisation).drift(x, space=Sphere(3), weights=weights)
        moment = x.T @ (weights[:, None] * drift)
        return np.abs(moment - moment.T).max()

    assert momentum(USA) < 1e-15 and momentum(SA) > 1e-3


@pytest.mark.parametrize("normalisation", [SA, USA])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_oracle_2_4_polygon_and_octahedron_are_stationary(beta, normalisation):
    law = Attention(beta=beta, normalisation=normalisation)
    polygon = Ensemble.draw("grid", Sphere(2), tokens=7, phase=0.3).positions
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    for x in (polygon, octahedron):
        drift = law.drift(x, space=Sphere(x.shape[-1]))
        assert np.abs(drift).max() <= 1e-15 * np.exp(beta if normalisation == USA else 0.0)


@pytest.mark.parametrize("normalisation", [SA, USA])
def test_oracle_2_5_tokens_of_a_cone_close_up(oracle_tokens, reach, normalisation):
    """min <x_i, w> never falls in a hemisphere; where min <x_i, x_j> >= 0 it never falls and beats u(t)."""
    beta, tokens, depths = 2.0, 8, np.linspace(0.0, 4.0, 41)
    x = np.abs(oracle_tokens(tokens, 3))  # in one octant
    law = Attention(beta=beta, normalisation=normalisation)
    path = reach(law, x, Sphere(3), depths)
    lowest = inner_products(path).min(axis=1)
    assert (np.diff((path @ (np.ones(3) / np.sqrt(3))).min(axis=1)) >= -1e-9).all()
    assert (np.diff(lowest) >= -1e-9).all()

    def bound_speed(t, u):
        return 2 / tokens * np.exp(beta * u if normalisation == USA else -beta * (1 - u)) * (1 - u**2)

    bound = solve_ivp(bound_speed, (0, 4), [inner_products(x).min()], t_eval=depths, rtol=1e-10, atol=1e-12).y[0]
    assert (lowest >= bound - 1e-8).all()
    assert lowest[-1] > lowest[0] + 0.1


# 12. Causal attention


def test_oracle_12_1_the_first_token_under_a_causal_mask_is_alone(oracle_tokens, reach):
    """x_1(t) = e^(tV) x_1 / |e^(tV) x_1|; with V = I it does not move."""
    x = oracle_tokens(5, 3)
    value = np.array([[0.3, 1.0, 0.0], [-1.0, 0.1, 0.4], [0.2, 0.0, -0.5]])
    rates, vectors = np.linalg.eig(value)
    depths = np.array([0.5, 2.0])
    moved = reach(Attention(beta=2.0, value=value, mask="causal"), x, Sphere(3), depths)[:, 0]
    exact = np.array([(vectors @ (np.exp(t * rates) * np.linalg.solve(vectors, x[0]))).real for t in depths])
    np.testing.assert_allclose(moved, exact / np.linalg.norm(exact, axis=1, keepdims=True), rtol=0, atol=1e-9)
    still = reach(Attention(beta=2.0, mask="causal"), x, Sphere(3), 5.0)[0, 0]
    np.testing.assert_allclose(still, x[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_oracle_12_2_under_a_causal_mask_all_tokens_end_at_the_first(oracle_tokens, reach, dimension):
    """V = I, any query and key; at small beta, as large ones are metastable."""
    generator = np.random.default_rng(0)
    query, key = generator.standard_normal((2, dimension, dimension))
    law = Attention(beta=0.5, query=query, key=key, mask="causal")
    x = oracle_tokens(8, dimension)
    path = reach(law, x, Sphere(dimension), [20.0, 60.0], rtol=1e-9, atol=1e-13)
    away = np.linalg.norm(path - x[0], axis=-1).max(axis=1)
    assert away[0] < 0.1 and away[1] < 1e-8


@pytest.mark.parametrize("beta, phi", [(0.0, 0.668900099480), (1.0, 1.260143115234), (4.0, 1.990390101213)])
def test_oracle_12_3_the_second_causal_token_runs_at_half_speed(reach, beta, phi):
    """phi_causal(t) = phi(t / 2)."""
    x = two_tokens(2.0, 3)
    causal = angle(reach(Attention(beta=beta, mask="causal"), x, Sphere(3), 3.0))
    np.testing.assert_allclose(causal, angle(reach(Attention(beta=beta), x, Sphere(3), 1.5)), rtol=0, atol=1e-9)
    np.testing.assert_allclose(causal, phi, rtol=0, atol=1e-9)


def test_oracle_12_4_paths_under_a_causal_mask_do_not_depend_on_later_tokens(oracle_tokens, reach):
    generator = np.random.default_rng(2)
    query, key, value = generator.standard_normal((3, 3, 3))
    law = Attention(beta=0.7, query=query, key=key, value=value, mask="causal")
    x = oracle_tokens(9, 3)
    together = reach(law, x, Sphere(3), [0.5, 2.0])
    alone = reach(law, x[:4], Sphere(3), [0.5, 2.0])
    np.testing.assert_allclose(together[:, :4], alone, rtol=0, atol=1e-9)
