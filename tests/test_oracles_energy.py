"""Oracle 3 (energies, on the sphere and in R^d) and oracle 6.1 (the Gibbs identity of a softmax row)."""

from itertools import pairwise

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere, observables
from scipy.special import exp1

WEIGHTS = np.array([0.1, 0.25, 0.3, 0.05, 0.2, 0.1])
SYMMETRIC = np.array([[0.6, 0.3, -0.2], [0.3, -0.8, 0.1], [-0.2, 0.1, 0.4]])  # indefinite
MATRICES = {"identity": np.eye(3), "symmetric": SYMMETRIC}


def energy(x, matrix, beta):
    """Oracle 3.1: (1 / 2 beta) sum_ij a_i a_j exp(beta x_i^T B x_j), at beta = 0 half of m^T B m; x (..., 6, 3)."""
    if beta == 0.0:
        mean = WEIGHTS @ x
        return 0.5 * np.einsum("...k,kl,...l->...", mean, matrix, mean)
    return np.exp(beta * x @ matrix @ np.swapaxes(x, -1, -2)) @ WEIGHTS @ WEIGHTS / (2 * beta)


def rate(law, x, space):
    """sum_i a_i |x_i'|^2, for softmax attention sum_i a_i Z_i |x_i'|^2; x (depths, 6, 3)."""
    square = np.sum(law.drift(x, space=space, weights=WEIGHTS) ** 2, axis=-1)
    if law.normalisation.name == "softmax":
        square *= np.exp(law.statistics(x, space=space, weights=WEIGHTS)[0][:, 0])
    return square @ WEIGHTS


def gauss_legendre(pieces):
    """Nodes and weights of 12 points on each piece (first, last)."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    halves = [(last - first) / 2 for first, last in pieces]
    centres = [(last + first) / 2 for first, last in pieces]
    return np.concatenate([c + h * nodes for c, h in zip(centres, halves, strict=True)]), np.concatenate(
        [h * weights for h in halves]
    )


def gained_and_integrated(reach, x, space, matrix, beta, normalisation, sign):
    """E(T) - E(0), sign * the integral of the rate, and E along the way."""
    law = Attention(beta=beta, query=matrix, key=1.0, value=sign * matrix, normalisation=normalisation)
    pieces = list(pairwise(np.linspace(0.0, 0.3, 4)))
    depths, quadrature = gauss_legendre(pieces)
    path = reach(law, x, space, np.concatenate([[0.0], depths, [0.3]]), WEIGHTS)
    along = energy(path, matrix, beta)
    return along[-1] - along[0], sign * quadrature @ rate(law, path[1:-1], space), along


@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)], ids=["sphere", "euclidean"])
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["V = B", "V = -B"])
@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("matrix", MATRICES)
def test_oracle_3_1_the_energy_changes_at_the_rate_of_the_speeds(
    oracle_tokens, reach, matrix, beta, normalisation, sign, space
):
    """dE/dt = +- sum_i a_i |x_i'|^2 (softmax: times Z_i): never falls under V = B, never rises under V = -B."""
    x = oracle_tokens(6, 3) * (1.0 if space.name == "sphere" else 0.6)
    gained, integrated, along = gained_and_integrated(reach, x, space, MATRICES[matrix], beta, normalisation, sign)
    np.testing.assert_allclose(gained, integrated, rtol=0, atol=1e-9)
    assert abs(gained) > 1e-4
    assert (sign * np.diff(along) >= -1e-12).all()


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
def test_oracle_3_2_the_identity_fails_where_the_matrix_is_not_symmetric(oracle_tokens, reach, normalisation):
    matrix = SYMMETRIC + np.array([[0.0, 0.9, 0.0], [-0.9, 0.0, 0.5], [0.0, -0.5, 0.0]])
    x = oracle_tokens(6, 3)
    gained, integrated, _ = gained_and_integrated(reach, x, Sphere(3), matrix, 1.0, normalisation, 1.0)
    assert abs(gained - integrated) > 1e-2


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
def test_oracle_3_1_the_drift_is_the_gradient_of_the_energy(oracle_tokens, normalisation):
    """a_i x_i' = grad_i E, for softmax a_i Z_i x_i' = grad_i E: by central differences."""
    law = Attention(beta=1.5, query=SYMMETRIC, value=SYMMETRIC, normalisation=normalisation)
    x = oracle_tokens(6, 3)
    drift = WEIGHTS[:, None] * law.drift(x, space=Euclidean(3), weights=WEIGHTS)
    if normalisation == "softmax":
        drift *= np.exp(law.statistics(x, space=Euclidean(3), weights=WEIGHTS)[0][0, 0])[:, None]
    small = 1e-5 * np.eye(18).reshape(18, 6, 3)
    difference = (energy(x + small, SYMMETRIC, 1.5) - energy(x - small, SYMMETRIC, 1.5)) / 2e-5
    np.testing.assert_allclose(drift.ravel(), difference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_oracle_3_1_the_energy_observable_is_this_energy(oracle_tokens, beta):
    x, law = oracle_tokens(6, 3), Attention(beta=beta, query=SYMMETRIC)
    measured = observables.measure(["energy"], Ensemble(x, Sphere(3), WEIGHTS), law)["energy"]
    np.testing.assert_allclose(measured, energy(x, SYMMETRIC, beta), rtol=1e-13)


@pytest.mark.parametrize("method", ["tsit5", "dop853", "rk4"])
def test_oracle_3_3_unnormalised_tokens_in_r_d_blow_up_and_the_run_says_so(method):
    """One token: x' = exp(beta |x|^2) x is infinite at the depth E_1(beta |x_0|^2) / 2."""
    law = Attention(beta=1.0, normalisation="none")
    tokens = Ensemble(np.array([[[0.5, 0.0, 0.3]]]), Euclidean(3))
    blow_up = exp1(0.34) / 2
    solution = integrate(law, tokens, t_end=2.0, method=method, step=1e-3, save_at=[0.0, 0.2, 2.0])
    assert solution.status.startswith("failed: ")
    for word in (f"depth {solution.t:.3g}"[:9], "token 0", "unnormalised attention grows like exp(beta |x|^2)"):
        assert word in solution.status
    np.testing.assert_allclose(solution.t, blow_up, rtol=1e-2 if method == "rk4" else 1e-6)
    np.testing.assert_array_equal(solution.times[:2], [0.0, 0.2])  # what was saved stands
    assert np.isfinite(solution.positions).all()


# tokens, dimension, depth: inner products that occur, E at beta = 2, how near both come
MINIMISERS = [
    (4, 3, 100.0, [-1 / 3], 0.558081716002, 1e-6),
    (5, 2, 100.0, [(1 + np.sqrt(5)) / -4, (np.sqrt(5) - 1) / 4], 0.574809316094, 1e-6),
    (6, 3, 100.0, [-1.0, 0.0], 0.480182974257, 1e-5),
    (12, 3, 300.0, [-1.0, -(5**-0.5), 5**-0.5], 0.454130659495, 2e-3),
]


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("case", MINIMISERS, ids=["simplex", "pentagon", "octahedron", "icosahedron"])
def test_oracle_3_4_repelling_tokens_find_the_best_configuration(oracle_tokens, reach, case, normalisation):
    tokens, dimension, depth, allowed, least, near = case
    law = Attention(beta=2.0, value=-1.0, normalisation=normalisation)
    x = reach(law, oracle_tokens(tokens, dimension), Sphere(dimension), depth, rtol=1e-9, atol=1e-12, method="tsit5")[0]
    products = (x @ x.T)[np.triu_indices(tokens, 1)]
    assert np.abs(products[:, None] - allowed).min(axis=1).max() < near
    np.testing.assert_allclose(np.exp(2 * x @ x.T).mean() / 4, least, rtol=0, atol=near**2 + 1e-11)


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_oracle_6_1_gibbs_identity(oracle_tokens, backend):
    """<p, s> - KL(p | a) = log Z - KL(p | P) for any probabilities p; for p = P it gives the entropy of the row."""
    generator = np.random.default_rng(0)
    x, beta = oracle_tokens(6, 3), 2.0
    log_partition, entropy = Attention(beta=beta).statistics(x, space=Sphere(3), weights=WEIGHTS, backend=backend)
    scores = beta * x @ x.T
    rows = WEIGHTS * np.exp(scores - log_partition[0, 0][:, None])  # P_ij, by the log Z under test
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-13)
    np.testing.assert_allclose(entropy[0, 0], -np.sum(rows * np.log(rows), axis=1), rtol=1e-13)
    p = generator.dirichlet(np.ones(6), size=(50, 1))
    gain = np.sum(p * scores, axis=-1) - np.sum(p * np.log(p / WEIGHTS), axis=-1)
    np.testing.assert_allclose(gain, log_partition[0, 0] - np.sum(p * np.log(p / rows), axis=-1), rtol=0, atol=1e-13)
