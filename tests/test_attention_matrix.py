"""Observables of the attention matrix, of keys and of queries."""

import numpy as np
import pytest
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere, masks, normalisations
from attndyn.particles.observables import measure

NAMES = ["attention_sparsity", "row_sum", "column_spread"]


def ensemble_of(tokens=40, replicas=2, dimension=3, weights=None):
    return Ensemble(
        np.random.default_rng(0).standard_normal((replicas, tokens, dimension)), Euclidean(dimension), weights
    )


def matrix_of(law, ensemble, replica=0):
    """The attention matrix (tokens, tokens) from drifts: the tokens' values are unit vectors."""
    x, n = ensemble.positions[replica], ensemble.tokens
    d = x.shape[1]
    wide = Attention(
        **{
            **vars(law),
            "query": np.eye(d, d + n),
            "key": np.eye(d, d + n),
            "value": np.eye(n, d + n, d),
            "output": np.eye(d + n, n),
        }
    )
    together = np.concatenate([x, np.eye(n)], axis=1)
    return wide.drift(together, space=Euclidean(d + n), weights=ensemble.weights)[:, :n]


@pytest.mark.parametrize(
    "law",
    [
        Attention(beta=2.0),
        Attention(beta=2.0, normalisation="sparsemax"),
        Attention(beta=0.5, normalisation="sinkhorn"),
        Attention(normalisation=normalisations.TopK(5)),
        Attention(normalisation=normalisations.Sigmoid(-1.0)),
        Attention(beta=2.0, mask=masks.Window(4)),
        Attention(score="laplace", mask="causal", normalisation="entmax"),
    ],
    ids=["softmax", "sparsemax", "sinkhorn", "top-k", "sigmoid", "window", "laplace entmax"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_they_are_read_off_the_matrix(law, weighted):
    weights = np.random.default_rng(3).random(40) + 0.1 if weighted else np.ones(40)
    weights /= weights.sum()
    ensemble = ensemble_of(weights=weights)
    found = measure(NAMES, ensemble, law)
    for replica in range(2):
        w = matrix_of(law, ensemble, replica)
        assert found["attention_sparsity"][replica] == pytest.approx(weights @ (w == 0).mean(axis=1), abs=1e-12)
        assert found["row_sum"][replica] == pytest.approx(weights @ w.sum(axis=1), rel=1e-12)
        spread = np.sqrt(weights @ (weights @ w / weights - 1) ** 2)
        assert found["column_spread"][replica] == pytest.approx(spread, abs=2e-10)


def test_sinkhorn_has_columns_without_spread_and_softmax_has_not():
    ensemble = ensemble_of()
    assert (
        measure(["column_spread"], ensemble, Attention(beta=0.5, normalisation="sinkhorn"))["column_spread"].max()
        < 1e-9
    )
    assert measure(["column_spread"], ensemble, Attention(beta=0.5))["column_spread"].min() > 0.1


def test_sparsity_is_that_of_the_mask_under_softmax_and_more_under_sparsemax():
    ensemble = ensemble_of(tokens=50)
    name = "attention_sparsity"
    np.testing.assert_array_equal(measure([name], ensemble, Attention())[name], 0.0)
    np.testing.assert_allclose(measure([name], ensemble, Attention(mask=masks.Block(10)))[name], 0.8, rtol=1e-12)
    np.testing.assert_allclose(measure([name], ensemble, Attention(beta=np.inf))[name], 0.98, rtol=1e-12)
    assert 0.5 < measure([name], ensemble, Attention(beta=4.0, normalisation="sparsemax"))[name].min() < 1.0


def test_keys_that_are_queries_have_no_mismatch_and_shifted_ones_have_their_shift():
    ensemble = ensemble_of(dimension=4)
    names = ["key_query_distance", "key_query_discrepancy"]
    for values in measure(names, ensemble, Attention()).values():
        np.testing.assert_allclose(values, 0.0, atol=1e-7)
    shift = np.array([3.0, 0.0, 0.0, 0.0])
    apart = measure(names, ensemble, Attention(key_bias=shift))
    # the mean of <u, shift>^2 over 64 directions is about |shift|^2 / 4
    np.testing.assert_allclose(apart["key_query_distance"], 1.5, rtol=0.2)
    far = measure(names, ensemble, Attention(key_bias=100 * shift))
    assert (far["key_query_discrepancy"] > apart["key_query_discrepancy"]).all()
    assert (apart["key_query_discrepancy"] > 0.1).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_distance_on_the_line_is_scipy_s(weighted):
    from attndyn.particles.wasserstein import on_line
    from scipy.optimize import linprog

    generator = np.random.default_rng(2)
    x, y = generator.standard_normal((2, 7))
    weights = generator.random(7) + 0.1 if weighted else np.ones(7)
    weights /= weights.sum()
    cost = (x[:, None] - y[None]) ** 2
    sums = [np.kron(np.eye(7), np.ones(7)), np.kron(np.ones(7), np.eye(7))]
    solved = linprog(cost.ravel(), A_eq=np.vstack(sums), b_eq=np.concatenate([weights, weights]))
    assert on_line(x, weights, y, weights, 2) == pytest.approx(solved.fun, rel=1e-9)


def test_they_are_kept_by_a_run_of_a_law_and_on_a_sphere():
    ensemble = Ensemble.uniform(Sphere(3), 30, replicas=2)
    law = Attention(heads=1, query=np.diag([1.0, 2.0, 0.5]), key=np.eye(3))
    values = measure([*NAMES, "key_query_distance", "key_query_discrepancy"], ensemble, law)
    assert all(value.shape == (2,) and np.isfinite(value).all() for value in values.values())
    assert (values["key_query_distance"] > 0.1).all()
