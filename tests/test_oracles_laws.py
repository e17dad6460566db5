"""Oracles of laws beyond softmax of dot products: what their closed forms, bounds and limits say."""

import numpy as np
import pytest
from attndyn.particles import Attention, Euclidean, Sphere, masks, normalisations, priors, scores
from attndyn.particles.priors import rotated
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import lambertw

SEQUENCE = np.array([1.0, 0.5, 0.2, -0.3, -1.0])


def rows_of(normalisation, row, weights=None):
    """The weights of one row of scores, computed by the kernels: values are unit vectors, the query is 1."""
    n = len(row)
    x = np.column_stack([np.ones(n), row, np.eye(n)])
    law = Attention(
        query=np.eye(1, n + 2),
        key=np.eye(1, n + 2, 1),
        value=np.eye(n, n + 2, 2),
        output=np.eye(n + 2, n),
        normalisation=normalisation,
    )
    return law.drift(x, space=Euclidean(n + 2), weights=weights)[0, :n]


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("softmax", [0.4058891759217, 0.2461842296420, 0.1823777629633, 0.1106177048870, 0.0549311265860]),
        (
            normalisations.Entmax(1.25),
            [0.4933251360421, 0.2585489879040, 0.1657635928447, 0.0692988766087, 0.0130634066005],
        ),
        (normalisations.Entmax(1.5), [0.5865718714389, 0.2661319703321, 0.1338680296679, 0.0134281285611, 0.0]),
        ("sparsemax", [0.75, 0.25, 0.0, 0.0, 0.0]),
    ],
    ids=["softmax", "entmax 1.25", "entmax 1.5", "sparsemax"],
)  # fmt: skip
def test_oracle_6_3_rows(normalisation, expected):
    np.testing.assert_allclose(rows_of(normalisation, SEQUENCE), expected, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0])
def test_oracle_6_3_entmax_is_what_a_convex_solver_finds(alpha):
    generator = np.random.default_rng(4)
    for row in generator.standard_normal((6, 8)) * 1.5:

        def loss(p, row=row):
            return -(p @ row) - np.sum(p - np.maximum(p, 0.0) ** alpha) / (alpha * (alpha - 1))

        solved = minimize(
            loss, np.full(8, 1 / 8), bounds=[(0, 1)] * 8, constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP", options={"ftol": 1e-15, "maxiter": 500},
        )  # fmt: skip
        ours = rows_of(normalisations.Entmax(alpha), row)
        assert abs(ours.sum() - 1) < 1e-14
        np.testing.assert_allclose(ours, solved.x, atol=3e-6)
        assert loss(ours) <= loss(solved.x) + 1e-12


def test_oracle_6_4_entmax_goes_to_softmax():
    gap = [
        np.abs(rows_of(normalisations.Entmax(1 + e), SEQUENCE) - rows_of("softmax", SEQUENCE)).max()
        for e in (1e-3, 1e-4)
    ]
    assert gap[1] < 4e-5
    assert gap[0] / gap[1] == pytest.approx(10.0, rel=0.01)


def test_oracle_6_5_entmax_of_densities_is_entmax_at_other_scores():
    alpha, n = 1.5, 5
    scaled = rows_of(normalisations.Entmax(alpha), SEQUENCE * n ** (1 - alpha))
    np.testing.assert_allclose(rows_of(normalisations.Entmax(alpha, mean_field=True), SEQUENCE), scaled, atol=1e-13)


def test_oracle_13_1_the_matrix_of_sinkhorn():
    x = np.array([0.0, 0.5, 1.0])
    tokens = np.column_stack([x, np.eye(3)])
    law = Attention(
        query=np.eye(1, 4), key=np.eye(1, 4), value=np.eye(3, 4, 1), output=np.eye(4, 3), normalisation="sinkhorn"
    )
    expected = [
        [0.4164014102848, 0.3310383676299, 0.2525602220853],
        [0.3310383676299, 0.3379232647402, 0.3310383676299],
        [0.2525602220853, 0.3310383676299, 0.4164014102848],
    ]
    for score in ("dot", "gaussian"):  # they differ by a function of each token alone
        again = Attention(**{**vars(law), "score": score})
        np.testing.assert_allclose(again.drift(tokens, space=Euclidean(4))[:, :3], expected, atol=2e-10)


def test_oracle_13_2_sinkhorn_moves_the_mean_by_itself_alone(oracle_tokens, reach):
    weights = np.array([0.1, 0.3, 0.05, 0.25, 0.2, 0.1])
    x = oracle_tokens(6, 2, unit=False)
    law = Attention(beta=0.7, normalisation=normalisations.Sinkhorn(1e-13))
    end = reach(law, x, Euclidean(2), [0.5], weights)[0]
    np.testing.assert_allclose(weights @ end, np.exp(0.5) * (weights @ x), rtol=1e-10)
    soft = reach(Attention(beta=0.7), x, Euclidean(2), [0.5], weights)[0]
    assert np.abs(weights @ soft - np.exp(0.5) * (weights @ x)).max() > 1e-2


def test_oracle_13_4_sinkhorn_is_a_heat_flow_half_as_fast_as_softmax():
    """x' = -(sum_j P_ij x_j - x_i) / eps goes to -(1/2) grad log rho, or -grad log rho, with an error in O(eps)."""
    n, grid = 600, np.linspace(-np.pi, np.pi, 200_001)
    cumulative = (grid + np.pi + 0.5 * np.sin(grid)) / (2 * np.pi)
    angle = np.interp((np.arange(n) + 0.5) / n, cumulative, grid)
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    slope = -0.5 * np.sin(angle) / (1 + 0.5 * np.cos(angle))
    for normalisation, factor in (("sinkhorn", 0.5), ("softmax", 1.0)):
        errors = []
        for eps in (0.04, 0.02, 0.01):
            law = Attention(beta=1 / eps, normalisation=normalisation)
            drift = law.drift(x, space=Sphere(2)) / eps
            along = -drift[:, 0] * np.sin(angle) + drift[:, 1] * np.cos(angle)
            errors.append(np.abs(along - factor * slope).max())
        assert errors[2] < 0.02
        assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.15)
        assert np.log2(errors[1] / errors[2]) == pytest.approx(1.0, abs=0.1)


Q, K = np.array([[1.0, 0.2], [0.0, 0.8]]), np.array([[0.9, 0.0], [-0.3, 1.1]])
V, MEAN, COVARIANCE = (
    np.array([[0.5, -0.3], [0.2, 0.4]]),
    np.array([1.0, -0.5]),
    np.array([[0.5, 0.1], [0.1, 0.3]]),
)


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (
            Attention(beta=1.0, score="gaussian", query=Q, key=K, value=V),  # the oracle's beta is half of ours
            [1.345946076281, -0.456437491303, 0.573464765155, 0.134676554206, 0.340910607742],
        ),
        (
            Attention(beta=0.5, normalisation="linear", query=Q, key=K, value=V),
            [1.340506825748, -0.455888774984, 0.795227136158, 0.129788514112, 0.326608544793],
        ),
        (
            Attention(beta=1.0, normalisation="sinkhorn"),
            [1.648721270700, -0.824360635350, 0.819392515237, 0.198627388606, 0.422137738025],
        ),
    ],
    ids=["L2", "linear", "sinkhorn"],
)
def test_oracle_5_gaussian_clouds_stay_gaussian(law, expected, reach):
    nodes, weights = hermegauss(16)
    x = MEAN + np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2) @ np.linalg.cholesky(COVARIANCE).T
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2
    end = reach(law, x, Euclidean(2), [0.5], weights, rtol=1e-9, atol=1e-11)[0]
    mean = weights @ end
    centred = end - mean
    covariance = (weights[:, None] * centred).T @ centred
    np.testing.assert_allclose([*mean, *covariance[np.triu_indices(2)]], expected, atol=1e-7)


def test_oracle_5_2_the_covariance_of_l2_attention_has_a_closed_form(reach):
    """It is finite at all depths, where that of dot products blows up at depth 1 / (2 beta s0)."""
    nodes, weights = hermegauss(40)
    weights = weights / weights.sum()
    beta, start = 1.0, 0.5
    x = np.sqrt(start) * nodes[:, None]
    for t in (0.5, 1.0):
        y = 1 / (2 * beta * start)
        expected = 1 / (2 * beta * lambertw(y * np.exp(y) * np.exp(-2 * t)).real)
        law = Attention(beta=2 * beta, score="gaussian")
        end = reach(law, np.pad(x, ((0, 0), (0, 1))), Euclidean(2), [t], weights, rtol=1e-9, atol=1e-11)[0]
        assert weights @ end[:, 0] ** 2 == pytest.approx(expected, rel=1e-6)


CASES = {
    "sigmoid": (Attention(beta=2.0, normalisation=normalisations.Sigmoid(-1.0)), 0.473437438679),
    "linear": (Attention(beta=2.0, normalisation="linear"), 0.698748426527),
    "relu": (Attention(beta=2.0, normalisation="relu"), 0.698748426527),
}


@pytest.mark.parametrize("name", CASES)
def test_oracle_14_2_equal_angles_stay_equal(name, reach):
    law, expected = CASES[name]
    gram = np.full((4, 4), 0.2) + 0.8 * np.eye(4)
    tokens = np.pad(np.linalg.cholesky(gram), ((0, 0), (0, 2)))  # in R^6, whose kernels other tests have as well
    end = reach(law, tokens, Sphere(6), [1.0])[0]
    off = (end @ end.T)[~np.eye(4, dtype=bool)]
    assert np.ptp(off) < 1e-11
    assert off.mean() == pytest.approx(expected, abs=1e-10)


def test_oracle_14_3_two_tokens_under_linear_attention(reach):
    x = np.array([[1.0, 0.0], [0.2, np.sqrt(0.96)]])
    end = reach(Attention(beta=2.0, normalisation="linear"), x, Sphere(2), [1.0])[0]
    assert end[0] @ end[1] == pytest.approx(0.833456238606, abs=1e-10)
    still = Attention(beta=2.0, normalisation="linear").drift(np.eye(3), space=Sphere(3))
    np.testing.assert_array_equal(still, 0.0)


def test_oracle_14_5_sigmoid_with_bias_minus_log_n_goes_to_unnormalised_attention(oracle_tokens):
    for n in (10, 40):
        x = oracle_tokens(n, 3)
        options = {"space": Sphere(3)}
        ours = n * Attention(normalisation=normalisations.Sigmoid(-np.log(n))).drift(x, **options)
        exact = Attention(normalisation="none").drift(x, **options)
        assert 1e-3 / n < np.abs(ours - exact).max() <= np.exp(2.0) / n


def test_oracle_9_1_hardmax_is_the_limit_of_softmax_and_shares_ties():
    x = np.array([[1.0, 1.0], [1.0, -1.0], [0.5, 0.0]])
    weights = np.array([0.2, 0.3, 0.5])
    for law in (Attention(beta=np.inf), Attention(beta=4.0, normalisation="hardmax")):
        drift = law.drift(x, space=Euclidean(2), weights=weights)
        np.testing.assert_allclose(drift, [[1.0, 1.0], [1.0, -1.0], [1.0, -0.2]], atol=1e-15)
    generator = np.random.default_rng(2)
    for _ in range(20):
        x, beta = generator.standard_normal((6, 3)), generator.uniform(1, 20)
        a = generator.random(6) + 0.1
        a /= a.sum()
        hard = Attention(beta=np.inf).drift(x, space=Euclidean(3), weights=a)
        soft = Attention(beta=beta).drift(x, space=Euclidean(3), weights=a)
        ordered = np.sort(x @ x.T, axis=1)
        share = a[np.argmax(x @ x.T, axis=1)]
        furthest = np.linalg.norm(x[None] - hard[:, None], axis=-1).max(axis=1)
        bound = furthest * (1 - share) / share * np.exp(-beta * (ordered[:, -1] - ordered[:, -2]))
        assert (np.linalg.norm(soft - hard, axis=1) <= bound + 1e-14).all()


def test_oracle_9_4_leaders_stand_still_and_the_others_go_to_them():
    x = np.array([[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5], [0.4, 0.1], [-0.2, 0.5]])
    leader = np.array([0, 1, 2, 0, 1])
    law = Attention(beta=np.inf)
    state, h = x.copy(), 0.001
    for _ in range(1000):
        state = state + h * (law.drift(state, space=Euclidean(2)) - state)
    np.testing.assert_allclose(state, x[leader] + (x - x[leader]) * (1 - h) ** 1000, atol=1e-12)
    assert np.abs(law.drift(x, space=Sphere(2))).max() < 1e-15  # on a sphere everybody is a leader


def test_oracle_12_4_tokens_do_not_see_what_a_causal_window_hides(oracle_tokens, reach):
    x, law = oracle_tokens(8, 3), Attention(beta=2.0, mask=masks.Window(3, causal=True))
    whole, part = (reach(law, tokens, Sphere(3), [2.0])[0] for tokens in (x, x[:5]))
    np.testing.assert_allclose(whole[:5], part, atol=1e-9)
    alone = Attention(beta=2.0, mask=masks.Block(4)).drift(x, space=Sphere(3))
    np.testing.assert_allclose(alone[4:], Attention(beta=2.0).drift(x[4:], space=Sphere(3)), atol=1e-14)


def test_a_random_mask_shows_its_share_and_does_not_depend_on_the_number_of_tokens():
    mask = masks.Random(0.3, seed=5)
    shown = mask.factors(0, 400, 0, 400)
    assert (np.diag(shown) == 1).all()
    share = shown[~np.eye(400, dtype=bool)].mean()
    assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / (400 * 399))
    np.testing.assert_array_equal(mask.factors(20, 30, 10, 50), shown[20:30, 10:50])
    assert (masks.Random(0.3, seed=6).factors(0, 400, 0, 400) != shown).mean() > 0.3
    assert abs(np.corrcoef(shown.ravel(), shown.T.ravel())[0, 1]) < 0.35  # the diagonal apart, rows are independent
    assert (masks.Random(0.0).factors(0, 9, 0, 9) == np.eye(9)).all()
    assert (masks.Random(1.0).factors(0, 9, 0, 9) == 1).all()


def test_a_given_mask_may_be_sparse():
    from scipy.sparse import csr_array

    dense = (np.random.default_rng(3).random((30, 30)) < 0.2) * 0.5 + 0.5 * np.eye(30)
    x = np.random.default_rng(4).standard_normal((30, 3))
    drifts = [Attention(mask=masks.Given(m)).drift(x, space=Euclidean(3)) for m in (dense, csr_array(dense))]
    np.testing.assert_array_equal(drifts[0], drifts[1])


def test_a_soft_mask_is_a_prior():
    pi = np.random.default_rng(3).uniform(0.1, 1.0, (9, 9))
    x = np.random.default_rng(4).standard_normal((9, 3))
    masked = Attention(beta=2.0, mask=masks.Given(pi)).drift(x, space=Euclidean(3))
    prior = Attention(beta=2.0, prior=priors.Matrix(pi)).drift(x, space=Euclidean(3))
    np.testing.assert_allclose(masked, prior, atol=1e-14)


def test_rotary_products_depend_on_distances_of_positions_alone():
    generator = np.random.default_rng(1)
    q, k = generator.standard_normal((2, 8))
    turned_q, turned_k = rotated(np.tile(q, (20, 1)), 50.0), rotated(np.tile(k, (20, 1)), 50.0)
    products = turned_q @ turned_k.T
    for offset in (-7, 0, 3):
        diagonal = np.diag(products, offset)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(turned_q, axis=1), np.linalg.norm(q), rtol=1e-14)
    assert np.ptp(products[0]) > 0.1


def test_the_slopes_of_alibi_are_those_of_the_paper():
    logs = priors.Alibi().logs(0, 4, 0, 4, head=0, heads=8)
    np.testing.assert_allclose(logs[0], [0.0, -0.5, -1.0, -1.5])
    np.testing.assert_allclose(priors.Alibi().logs(0, 1, 0, 2, head=7, heads=8)[0, 1], -1 / 256)


def test_a_metric_is_l2_attention_of_its_root():
    generator = np.random.default_rng(0)
    root, x = generator.standard_normal((3, 3)), generator.standard_normal((12, 3))
    options = {"space": Euclidean(3)}
    by_factor = Attention(beta=0.7, score=scores.Metric(root)).drift(x, **options)
    by_matrix = Attention(beta=0.7, score=scores.Metric.of_matrix(root.T @ root)).drift(x, **options)
    by_map = Attention(beta=0.7, score="gaussian", query=root, key=root).drift(x, **options)
    np.testing.assert_allclose(by_factor, by_map, atol=1e-13)
    np.testing.assert_allclose(by_matrix, by_map, atol=1e-12)


def test_scaled_dot_products_are_those_of_a_transformer():
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    x, matrices = generator.standard_normal((10, 8)), generator.standard_normal((3, 8, 8))
    law = Attention(heads=2, score="scaled-dot", query=matrices[0], key=matrices[1], value=matrices[2])
    q, k, v = (torch.tensor(x @ m.T).reshape(1, 10, 2, 4).transpose(1, 2) for m in matrices)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(10, 8).numpy()
    for backend in ("numba", "torch", "reference"):
        np.testing.assert_allclose(law.drift(x, space=Euclidean(8), backend=backend), expected, atol=1e-13)
    identity = Attention(score="scaled-dot").drift(x, space=Euclidean(8))
    np.testing.assert_allclose(identity, Attention(beta=1 / np.sqrt(8)).drift(x, space=Euclidean(8)), atol=1e-13)
