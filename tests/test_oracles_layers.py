"""Oracles 1.3, 8.1 and 8.3: the discrete network, and how fast it and the fixed-step methods reach the flow."""

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere

# 1.3 Equiangular tokens through post-layer-normalisation layers


def next_inner_product(rho, tokens, beta, h, residual):
    """Oracle 1.3, no solver involved."""
    z = np.exp(beta) + (tokens - 1) * np.exp(beta * rho)
    p, q = residual + h * np.exp(beta) / z, h * np.exp(beta * rho) / z
    square = p**2 + 2 * p * q * (tokens - 1) * rho + q**2 * (tokens - 1) * (1 + (tokens - 2) * rho)
    others = (tokens - 2) + ((tokens - 1) ** 2 - (tokens - 2)) * rho
    return (p**2 * rho + 2 * p * q * (1 + (tokens - 2) * rho) + q**2 * others) / square


# tokens, beta, step, residual: the inner product after so many layers
RECURSION = {
    (4, 1.0, 0.1, True): {
        1: 0.0339174020931,
        2: 0.0705103704413,
        3: 0.1097773331229,
        5: 0.1959931730667,
        10: 0.4431378889752,
        100: 0.9999999569708,
    },
    (32, 4.0, 0.1, True): {
        1: 0.0022325010694,
        2: 0.0046280822769,
        3: 0.0071998573373,
        5: 0.0129306815702,
        10: 0.0315317475467,
        100: 0.9999924421534,
    },
    (4, 1.0, 1.0, False): {1: 0.7158074406474, 2: 0.9979207970402, 3: 0.9999999994368, 5: 1.0},
}


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
@pytest.mark.parametrize("case", RECURSION, ids=str)
def test_oracle_1_3_layer_recursion(case, backend):
    tokens, beta, step, residual = case
    depth = max(RECURSION[case])
    start = Ensemble.draw("equiangular", Sphere(tokens + 1), tokens=tokens)
    solution = integrate(
        Attention(beta=beta),
        start,
        layers=depth,
        step=step,
        residual=residual,
        save_at=step * np.arange(depth + 1),
        backend=backend,
    )
    assert solution.statistics.drift_evaluations == depth
    x = solution.positions[:, 0]
    products = (x @ np.swapaxes(x, -1, -2))[:, *np.triu_indices(tokens, 1)]
    rho = [0.0]
    for _ in range(depth):
        rho.append(next_inner_product(rho[-1], tokens, beta, step, residual))
    np.testing.assert_allclose(products, np.outer(rho, np.ones(products.shape[1])), rtol=0, atol=1e-13)
    for layer, value in RECURSION[case].items():
        np.testing.assert_allclose(products[layer], value, rtol=0, atol=2e-13)


# 8.1 Errors at depth 2 with L steps, L = 8, 16, ..., 1024, on the sphere from the tokens of oracle 0.3

STEPS = [8, 16, 32, 64, 128, 256, 512, 1024]
ERRORS = {
    (
        "layers",
        1,
    ): "1.987295e-01 1.079255e-01 5.635420e-02 2.880915e-02 1.456702e-02 7.324681e-03 3.672704e-03 1.838952e-03",
    (
        "euler",
        1,
    ): "8.093838e-02 4.134687e-02 2.086852e-02 1.047906e-02 5.250167e-03 2.627669e-03 1.314471e-03 6.573937e-04",
    ("geodesic-euler", 1): "7.941631e-02 4.091240e-02 2.075239e-02 1.044904e-02 5.242537e-03 2.625746e-03 1.313989e-03 "
    "6.572727e-04",
    (
        "heun",
        1,
    ): "5.677406e-03 1.491090e-03 3.817551e-04 9.655970e-05 2.427982e-05 6.087426e-06 1.524039e-06 3.812825e-07",
    (
        "layers",
        4,
    ): "1.671525e-01 9.473999e-02 5.078572e-02 2.633119e-02 1.341050e-02 6.767713e-03 3.399623e-03 1.703772e-03",
    (
        "euler",
        4,
    ): "4.321127e-02 2.227371e-02 1.129962e-02 5.689564e-03 2.854576e-03 1.429717e-03 7.154630e-04 3.578823e-04",
    ("geodesic-euler", 4): "4.294140e-02 2.219549e-02 1.127865e-02 5.684141e-03 2.853198e-03 1.429369e-03 7.153758e-04 "
    "3.578605e-04",
    (
        "heun",
        4,
    ): "3.212613e-03 8.063205e-04 2.022142e-04 5.064705e-05 1.267431e-05 3.170197e-06 7.927550e-07 1.982147e-07",
}
REFERENCE_ROWS = {
    1: {
        0: [0.6403085509957, 0.2209235499447, -0.7356614334064],
        7: [0.7280581244887, 0.4388889018848, -0.5266003220359],
    },
    4: {
        0: [0.5727228177006, 0.1169510249753, -0.8113636865440],
        7: [0.6372209254105, 0.3114891045342, -0.7049283864162],
    },
}


@pytest.fixture(scope="module")
def flow(oracle_tokens, reach):
    """beta -> the state of the flow at depth 2."""
    return {
        beta: reach(Attention(beta=beta), oracle_tokens(8, 3), Sphere(3), 2.0, rtol=1e-13, atol=1e-15)[0]
        for beta in REFERENCE_ROWS
    }


def error(method, beta, steps, x, flow):
    """Frobenius norm of the difference to the flow at depth 2."""
    how = {"layers": steps} if method == "layers" else {"t_end": 2.0, "method": method}
    return np.linalg.norm(
        integrate(Attention(beta=beta), Ensemble(x, Sphere(3)), step=2.0 / steps, **how).final[0] - flow
    )


@pytest.mark.parametrize("beta", REFERENCE_ROWS)
def test_oracle_8_1_reference_state(flow, beta):
    for row, value in REFERENCE_ROWS[beta].items():
        np.testing.assert_allclose(flow[beta][row], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("method", "beta"), ERRORS)
def test_oracle_8_1_depth_table(oracle_tokens, flow, method, beta):
    """layers: n(x + h f); euler: n(x + h P f); geodesic-euler: exp_x(h P f); heun: Heun, then n."""
    printed = [float(number) for number in ERRORS[method, beta].split()]
    errors = [error(method, beta, steps, oracle_tokens(8, 3), flow[beta]) for steps in STEPS]
    np.testing.assert_allclose(errors, printed, rtol=1e-6)
    order = 2 if method == "heun" else 1
    np.testing.assert_allclose(np.log2(errors[-2] / errors[-1]), order, atol=0.01 if order == 2 else 0.02)


@pytest.mark.parametrize("beta", REFERENCE_ROWS)
def test_oracle_8_1_rk4_is_of_order_four(oracle_tokens, flow, beta):
    """Our stages are retracted before the drift is taken there, so the constant is not the table's, the order is."""
    errors = np.array([error("rk4", beta, steps, oracle_tokens(8, 3), flow[beta]) for steps in STEPS[:6]])
    np.testing.assert_allclose(np.log2(errors[2:-1] / errors[3:]), 4.0, atol=0.05)


# 8.3 Attention without residual connection: rank collapse


def through_layers(law, x, layers, **options):
    """(layers + 1, tokens, dimension) in R^d without residual connection."""
    start = Ensemble(x, Euclidean(x.shape[1]))
    solution = integrate(law, start, layers=layers, residual=False, save_at=np.arange(layers + 1), **options)
    return solution.positions[:, 0]


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_oracle_8_3_a_pair_collapses_cubically(backend):
    """u <- u tanh(beta u^2) for tokens at +-u.

    P_11 - P_12 = tanh(u^2) is the difference of two numbers near 1/2, which no float64 softmax has to more than
    eps / u^2 relatively, and an error grows threefold per layer: 1e-12 up to u_4, 1e-8 for u_5, nothing of u_6.
    """
    u = [1.0, 0.7615941559558, 0.3980731395857, 0.06255682325423, 2.448058784292e-4, 1.467119624796e-11]
    x = through_layers(Attention(), np.array([[0.6, 0.8, 0.0], [-0.6, -0.8, 0.0]]), 5, backend=backend)
    lengths = np.linalg.norm(x[:, 0] - x[:, 1], axis=-1) / 2
    np.testing.assert_allclose(lengths[:5], u[:5], rtol=1e-12)
    np.testing.assert_allclose(lengths[5], u[5], rtol=2e-8)
    np.testing.assert_allclose(lengths[1:5], lengths[:4] * np.tanh(lengths[:4] ** 2), rtol=1e-12)


def test_oracle_8_3_six_tokens_lose_their_rank(oracle_tokens):
    """|X - 1 m^T| in the Frobenius norm and sqrt(|.|_1 |.|_inf), layer by layer: a sixth of the last cubed."""
    printed = [
        (3.082144056115, 3.416806169540),
        (2.017899444933, 2.491012937533),
        (0.7916076742849, 1.046947634015),
        (0.05911207002406, 0.07905312107637),
        (3.322660338687e-5, 4.296312636636e-5),
    ]
    x = through_layers(Attention(), oracle_tokens(6, 3, unit=False), 6)
    rest = x - x.mean(axis=1, keepdims=True)
    frobenius = np.linalg.norm(rest, axis=(1, 2))
    mixed = np.sqrt(np.abs(rest).sum(axis=1).max(axis=1) * np.abs(rest).sum(axis=2).max(axis=1))
    np.testing.assert_allclose(np.column_stack([frobenius, mixed])[:5], printed, rtol=1e-10)
    assert (frobenius[5:] < 7e-15).all()  # 6.1e-15 and 3.8e-44, on the background of rounding
    np.testing.assert_allclose(frobenius[4] / frobenius[3] ** 3, 1 / 6, rtol=0.05)


# a network is its layers


def test_a_network_of_independent_layers_is_one_layer_after_the_other(oracle_tokens):
    generator = np.random.default_rng(0)
    laws = [Attention(value=generator.standard_normal((3, 3)), mask="causal") for _ in range(5)]
    x, space = oracle_tokens(7, 3), Sphere(3, radius=2.0)
    x = 2.0 * x
    solution = integrate(laws, Ensemble(x, space), layers=5, step=0.3, save_at=0.3 * np.arange(6))
    np.testing.assert_allclose(solution.times, 0.3 * np.arange(6), rtol=1e-15)
    for law, after in zip(laws, solution.positions[1:, 0], strict=True):
        x = space.retract(x + 0.3 * law.drift(x, space=Euclidean(3)))
        np.testing.assert_allclose(after, x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("residual", [True, False])
def test_a_layer_in_r_d_is_not_normalised(oracle_tokens, residual):
    x, law = oracle_tokens(7, 3, unit=False), Attention(beta=0.5, value=-0.4)
    after = integrate(law, Ensemble(x, Euclidean(3)), layers=1, step=0.7, residual=residual).final[0]
    np.testing.assert_allclose(after, residual * x + 0.7 * law.drift(x, space=Euclidean(3)), rtol=0, atol=1e-15)
