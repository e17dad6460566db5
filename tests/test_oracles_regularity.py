"""Oracles 6.1, 6.2 and 7: entropies, Jacobians, Lipschitz constants, contraction of measures, inversion.

Each was derived on its own; bounds are tested as inequalities, on random and on adversarial tokens.
"""

import numpy as np
import pytest
from attndyn import InvalidInput
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere
from attndyn.particles.maximum_entropy import attention_rows, entropy, maximum_entropy
from attndyn.particles.regularity import (
    attention_map,
    bound,
    bounds,
    contraction_factor,
    invert_layer,
    jacobian,
    jacobian_matrix,
    local_constant,
    worst_ensemble,
)
from attndyn.particles.wasserstein import wasserstein
from scipy.special import lambertw

LINE = Euclidean(1)


def constant_at(law, x, space=LINE, **options):
    return local_constant(law, Ensemble(np.asarray(x, np.float64), space), **options).value[0]


def cases(seed, count, tokens, dimension, reach):
    """Laws with random A and V, |A| R^2 = reach for R = 1, and as many ensembles of each."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        a, v = generator.standard_normal((2, dimension, dimension))
        law = Attention(reach, query=a / np.linalg.norm(a, 2), value=v / np.linalg.norm(v, 2))
        x = generator.standard_normal((40, tokens, dimension))
        x *= generator.random((40, tokens, 1)) ** (1 / dimension) / np.linalg.norm(x, axis=-1, keepdims=True)
        x[::4] = x[::4, :1] * np.where(np.arange(tokens) == 0, 1.0, 0.5)[:, None]  # the worst case of Castin and others
        x[1::4] = np.sign(x[1::4]) / np.sqrt(dimension)  # corners
        yield law, x


# 6.1, 6.2: the row of largest entropy


def test_oracle_6_1_the_gibbs_identity():
    """<p, s> - KL(p | a) = log Z - KL(p | p*): every p falls short of the softmax row by how far it is from it."""
    generator = np.random.default_rng(0)
    s, a, p = generator.standard_normal(7), generator.random(7), generator.dirichlet(np.ones(7), 1000)
    a /= a.sum()
    z = a @ np.exp(s)
    row = a * np.exp(s) / z
    gibbs = p @ s + entropy(p, measure=a)
    np.testing.assert_allclose(gibbs, np.log(z) + entropy(p, measure=row), rtol=0, atol=5e-15)
    assert (gibbs < np.log(z)).all()


@pytest.mark.parametrize("alpha", [1.0, 1.25, 1.5, 2.0])
def test_oracle_6_2_no_other_row_with_that_mean_score_has_more_entropy(alpha):
    generator = np.random.default_rng(1)
    s, nu = generator.standard_normal(6), generator.random(6) + 0.2
    mean = 0.4 * s.max() + 0.6 * s.mean()
    row = maximum_entropy(s, mean, measure=nu, alpha=alpha)
    assert row.mean_score == pytest.approx(mean, abs=1e-14)
    ways = generator.standard_normal((4000, 6))
    constraints = np.stack([np.ones(6), s])
    ways -= ways @ np.linalg.pinv(constraints) @ constraints  # neither the sum nor the mean score changes
    room = np.min(np.where(ways < 0, -row.probabilities / np.where(ways < 0, ways, -1.0), np.inf), axis=1)
    others = row.probabilities + (0.9 * generator.random(4000) * room)[:, None] * ways
    others = np.maximum(others[room > 1e-9], 0.0)
    assert len(others) > 50
    assert (entropy(others, measure=nu, alpha=alpha) < row.entropy).all()


@pytest.mark.parametrize("normalisation", ["softmax", "entmax", "sparsemax"])
def test_the_temperature_of_a_row_is_in_its_mean_score_alone(normalisation, oracle_tokens):
    law = Attention(2.5, normalisation=normalisation)
    rows = attention_rows(law, Ensemble(oracle_tokens(9, 3), Sphere(3)))
    several = (rows.probabilities > 0).sum(axis=1) > 1
    assert several.sum() > 4
    np.testing.assert_allclose(rows.multiplier[several], 2.5, rtol=0, atol=1e-7)
    assert (rows.multiplier[~several] <= 2.5).all()  # the least with which the token is alone


# 7.0, 7.1: Jacobians


def test_oracle_7_0_the_blocks_of_the_jacobian_of_l2_attention(oracle_tokens):
    n, d, beta = 6, 3, 0.9
    x = oracle_tokens(n, d, unit=False)
    value = np.random.default_rng(0).standard_normal((d, d))
    p = np.exp(-beta * np.square(x[:, None] - x[None]).sum(axis=-1))
    p /= p.sum(axis=1, keepdims=True)
    exact = np.zeros((n, d, n, d))
    for i in range(n):
        apart = x - p[i] @ x
        for j in range(n):
            exact[i, :, j] = p[i, j] * value @ (np.eye(d) + 2 * beta * np.outer(apart[j], x[i] - x[j]))
        exact[i, :, i] += 2 * beta * value @ (apart.T * p[i] @ apart)
    law = Attention(2 * beta, score="gaussian", value=value)  # whose score is -beta |x - y|^2 / 2
    for backend in ("numba", "reference"):
        found = jacobian_matrix(law, Ensemble(x, Euclidean(d)), backend=backend)[0]
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "r, first, norm", [(1.0, 0.75, 1.3031520695907), (10.0, 25.5, 25.5049090355414), (100.0, 2500.5, 2500.5000499900)]
)
def test_oracle_7_1_dot_products_have_no_lipschitz_constant(r, first, norm):
    here = Ensemble(np.array([[0.0], [r]]), LINE)
    assert jacobian_matrix(Attention(), here)[0, 0, 0, 0, 0] == pytest.approx(first, rel=1e-14)
    assert local_constant(Attention(), here).value[0] == pytest.approx(norm, rel=1e-12)
    with pytest.raises(InvalidInput, match="on all of R\\^d there is no such constant"):
        bounds(Attention(), LINE, tokens=2)


@pytest.mark.parametrize("x, exact", [([0, 10, -10], 67.0), ([0, 100, -100, 100, -100], 8000.2)])
def test_oracle_7_1_the_variance_is_in_the_jacobian(x, exact):
    here = Ensemble(np.array(x, np.float64)[:, None], LINE)
    assert jacobian_matrix(Attention(), here)[0, 0, 0, 0, 0] == pytest.approx(exact, rel=1e-13)


# 7.2: L2 attention


def test_oracle_7_2_the_key_lemma_is_sharp():
    """sum_j P_ij c_ij <= M for P proportional to a_j exp(-c_ij) with c_ii = 0, with equality at c_ij = M + 1."""
    generator = np.random.default_rng(0)
    for n in (2, 5, 20):
        a = generator.dirichlet(np.ones(n))
        m = lambertw((1 - a[0]) / (a[0] * np.e)).real
        c = np.concatenate([np.zeros((3000, 1)), generator.exponential(m + 1, (3000, n - 1))], axis=1)
        c[0, 1:] = m + 1.0
        p = a * np.exp(-c)
        mean = (p * c).sum(axis=1) / p.sum(axis=1)
        assert mean.max() == mean[0] == pytest.approx(m, rel=1e-13)


@pytest.mark.parametrize(
    "n, m, own, kim",
    [
        (2, 0.278464542761, 2.758759, 2.989447),
        (5, 0.717824512495, 6.881926, 8.656486),
        (20, 1.523456930333, 21.145263, 31.724562),
    ],
)
def test_oracle_7_2_the_bounds_of_l2_attention_and_what_they_bound(n, m, own, kim):
    law = Attention(2.0, score="gaussian")
    found = {each.name: each for each in bounds(law, Euclidean(2), tokens=n)}
    assert found["l2"].value == pytest.approx(own, abs=5e-7)
    assert found["kim"].value == pytest.approx(kim, abs=5e-7)
    assert found["l2-max"].value == pytest.approx(1 + 4 * m, abs=1e-11)
    generator = np.random.default_rng(n)
    x = generator.standard_normal((300, n, 2)) * generator.uniform(0.1, 4.0, (300, 1, 1))
    here = Ensemble(x, Euclidean(2))
    assert local_constant(law, here).value.max() < found["l2"].value < found["kim"].value
    line = Ensemble(x[:, :, :1], LINE)  # where the norm of max |x_i| is the largest sum of a row
    rows = np.abs(jacobian_matrix(law, line)[:, :, 0, :, 0]).sum(axis=-1)
    assert 1.0 < rows.max() < found["l2-max"].value
    directions = generator.choice([-1.0, 1.0], (200, 300, n, 2)) / np.sqrt(2)
    assert np.linalg.norm(jacobian(law, here).times(directions), axis=-1).max() < found["l2-max"].value


def test_oracle_7_2_the_worst_three_tokens_under_l2_attention():
    pytest.importorskip("torch")
    law = Attention(2.0, score="gaussian")
    worst = worst_ensemble(law, Euclidean(2), tokens=3, radius=4.0, restarts=16, steps=100)
    assert worst.value == pytest.approx(1.9446599065, abs=1e-4)
    assert worst.value < bound("l2", law, Euclidean(2), tokens=3).value


def test_oracle_7_2_values_that_are_no_function_of_the_queries_have_no_bound():
    query = np.diag([1.0, 0.0])
    law = Attention(2.0, score="gaussian", query=query, key=query)
    with pytest.raises(InvalidInput, match="V = W Q"):
        bound("l2", law, Euclidean(2), tokens=3)
    far = [constant_at(law, [[0.0, 0.0], [1.0, r]], Euclidean(2)) for r in (10.0, 1000.0)]
    assert far[1] > 50 * far[0] > 50
    assert bound("l2", Attention(2.0, score="gaussian", query=query, key=query, value=query), Euclidean(2), tokens=3)


def test_a_bound_with_one_power_of_the_queries_would_be_wrong():
    """The values of Kim and others hold W^Q as well, so their constant is of degree two in it: at t = 4, one power gives
    11.96 where coinciding tokens have 16."""
    t = 4.0
    law = Attention(2.0, score="gaussian", query=t * np.eye(1), key=t * np.eye(1), value=t**2 * np.eye(1))
    measured = constant_at(law, [[1.0], [1.0]])
    assert measured == pytest.approx(t**2)
    one_power = np.sqrt(2) * (1 + 4 * lambertw(1 / np.e).real) * t
    assert one_power < measured < bound("kim", law, LINE, tokens=2).value == pytest.approx(one_power * t)


# 7.3: dot products on a ball


@pytest.mark.parametrize("n, exact", [(11, 3.7335706894), (101, 16.5587387777), (401, 39.9740372468)])
def test_oracle_7_3_growth_like_the_root_of_the_number_of_tokens(n, exact):
    x = np.where(np.arange(n) == 0, 1.0, 0.5)[:, None]
    law = Attention(4.0 * np.log(n - 1))
    value = constant_at(law, x)
    assert value == pytest.approx(exact, abs=1e-9)
    assert all(value < each.value for each in bounds(law, LINE, tokens=n, radius=1.0) if each.norm != "W1")


@pytest.mark.parametrize("reach", [0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("n", [2, 5, 10])
def test_oracle_7_3_bounds_on_the_ball(n, reach):
    """8 laws with 40 ensembles each: every bound above every measured constant, in both norms."""
    for law, x in cases(n, 8, n, 2, reach):
        weights = np.random.default_rng(n).dirichlet(np.ones(n))
        for each, norm in ((None, "euclidean"), (weights, "measure"), (weights, "euclidean")):
            measured = local_constant(law, Ensemble(x, Euclidean(2), each), norm=norm).value.max()
            held = [b for b in bounds(law, Euclidean(2), tokens=n, radius=1.0, weights=each) if b.norm == norm]
            assert held and all(measured < b.value for b in held)


@pytest.mark.parametrize("reach", [0.3, 1.0, 3.0])
def test_oracle_7_3_bounds_on_the_sphere(reach):
    for law, x in cases(1, 8, 6, 3, reach):
        here = Ensemble(Sphere(3).retract(x + 1e-9), Sphere(3))
        measured = local_constant(law, here).value.max()
        assert all(measured < b.value for b in bounds(law, Sphere(3), tokens=6) if b.norm != "W1")


def test_oracle_7_3_what_an_adversary_finds_is_below_the_bounds():
    pytest.importorskip("torch")
    for law, _ in cases(5, 2, 12, 2, 3.0):
        worst = worst_ensemble(law, Euclidean(2), tokens=12, radius=1.0, restarts=6, steps=40)
        assert worst.value == worst.values.max() > 1.0
        assert all(worst.value < b.value for b in bounds(law, Euclidean(2), tokens=12, radius=1.0) if b.norm != "W1")


@pytest.mark.slow
@pytest.mark.parametrize("reach", [0.1, 1.0, 5.0, 20.0])
def test_bounds_against_many_ensembles(reach):
    """Some 20 000 ensembles, and an adversary for each of 20 laws."""
    pytest.importorskip("torch")
    for n, d in ((2, 1), (3, 2), (8, 2), (16, 3)):
        for law, x in cases(n, 125, n, d, reach):
            measured = local_constant(law, Ensemble(x, Euclidean(d))).value.max()
            assert all(measured < b.value for b in bounds(law, Euclidean(d), tokens=n, radius=1.0) if b.norm != "W1")
        for law, _ in cases(n + 100, 5, n, d, reach):
            worst = worst_ensemble(law, Euclidean(d), tokens=n, radius=1.0, restarts=8, steps=60).value
            assert all(worst < b.value for b in bounds(law, Euclidean(d), tokens=n, radius=1.0) if b.norm != "W1")


# 7.4, 7.5: measures


@pytest.mark.parametrize("r, tau", [(0.02, 1.1024), (0.1, 1.5657), (0.3, 3.2154), (1.0, 23.1672), (2.0, 274.99)])
def test_oracle_7_4_the_attention_map_in_w1(r, tau):
    pytest.importorskip("ot", reason="POT is an extra")
    generator = np.random.default_rng(0)
    for law, x in cases(4, 3, 6, 2, r):
        limit = bound("W1", law, Euclidean(2), radius=1.0).value
        assert limit == pytest.approx(tau, rel=5e-5)
        a = generator.dirichlet(np.ones(6), 40)
        near = x * (1 - 1e-3 * generator.random(x.shape))
        other = np.clip(a * (1 + 1e-2 * generator.standard_normal(a.shape)), 0, None)
        other /= other.sum(axis=1, keepdims=True)
        mu = Ensemble(x, Euclidean(2), a)
        for y, b in ((near, a), (x, other), (np.roll(x, 1, axis=0), a)):
            nu = Ensemble(y, Euclidean(2), b)
            factors = contraction_factor(law, mu, nu)
            assert np.nanmax(factors) < limit


@pytest.mark.parametrize(
    "law", [Attention(1.5, score="gaussian"), Attention(0.7, normalisation="none")], ids=["l2", "none"]
)
def test_w1_bounds_of_l2_and_of_unnormalised_attention(law):
    generator = np.random.default_rng(3)
    x = generator.uniform(-1, 1, (60, 5, 2)) / np.sqrt(2)
    y = np.concatenate([x[:30] + 1e-3 * generator.standard_normal((30, 5, 2)), generator.uniform(-1, 1, (30, 5, 2))])
    y /= np.maximum(1, np.linalg.norm(y, axis=-1, keepdims=True))
    x /= np.maximum(1, np.linalg.norm(x, axis=-1, keepdims=True))
    factors = contraction_factor(law, Ensemble(x, Euclidean(2)), Ensemble(y, Euclidean(2)))
    assert factors.max() < bound("W1", law, Euclidean(2), radius=1.0).value
    if law.score.distant:  # on all of R^d, for so many tokens
        assert factors.max() < bound("l2-W1", law, Euclidean(2), tokens=5).value


def test_oracle_7_4_how_far_flows_part_on_the_sphere():
    law, space = Attention(0.3), Sphere(3)
    rate = bound("W1", law, space).value
    x = Ensemble.uniform(space, 8, replicas=20, seed=1)
    y = Ensemble(space.retract(x.positions + 0.01 * np.random.default_rng(0).standard_normal(x.positions.shape)), space)

    def flow(here):
        return here.at(integrate(law, here, t_end=0.5).final)

    assert contraction_factor(flow, x, y).max() < np.exp(0.5 * rate)


def test_oracle_7_5_a_contraction_has_a_trivial_fixed_point():
    """V = 0.5 I, A = 0.1 I: W1(mu_k, delta_0) falls by tau at least and by one half in the end."""
    law, space = Attention(0.1, value=0.5), Euclidean(2)
    tau = bound("W1", law, space, radius=1.0).value
    assert tau == pytest.approx(0.7828, abs=1e-4)
    mu = Ensemble.uniform(space, 12, seed=0)
    origin = Ensemble(np.zeros((12, 2)), space)
    distances = [wasserstein(mu, origin)[0]]
    for _ in range(30):
        mu = attention_map(law, mu)
        distances.append(wasserstein(mu, origin)[0])
    ratios = np.array(distances[1:]) / distances[:-1]
    assert (ratios < tau).all() and ratios[-1] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("r, threshold", [(0.01, 0.951832), (0.1, 0.638699), (0.5, 0.168448), (1.0, 0.043165)])
def test_oracle_7_5_the_values_below_which_the_map_contracts(r, threshold):
    assert bound("W1", Attention(r), Euclidean(2), radius=1.0).value == pytest.approx(1 / threshold, rel=2e-5)


def test_oracle_7_5_consensus_in_the_hull(oracle_tokens):
    """diam(X_{k+1}) <= delta(P_k) diam(X_k) with Dobrushin's coefficient delta(P) <= 1 - exp(-2 r)."""
    law, x = Attention(2.0), Ensemble(oracle_tokens(6, 3), Euclidean(3))
    for _ in range(6):
        p = attention_rows(law, x).probabilities
        delta = 0.5 * np.abs(p[:, None] - p[None]).sum(axis=-1).max()
        r = 2.0 * np.square(x.positions).sum(axis=-1).max()
        assert delta <= 1 - np.exp(-2 * r)
        before = np.linalg.norm(x.positions[0][:, None] - x.positions[0], axis=-1).max()
        x = attention_map(law, x)
        assert np.linalg.norm(x.positions[0][:, None] - x.positions[0], axis=-1).max() <= delta * before + 1e-15


def test_oracle_7_5_a_certified_fixed_point_with_input(oracle_tokens):
    space, u = Euclidean(3), 0.5 * oracle_tokens(6, 3, unit=False)
    law = Attention(0.3, value=0.3)
    radius = np.linalg.norm(u, axis=1).max() / (1 - 0.3)
    assert radius == pytest.approx(1.1168101709, abs=1e-10)
    q = bound("softmax", law, space, tokens=6, radius=radius).value
    assert q == pytest.approx(0.7115876903, abs=1e-10)
    x, steps = Ensemble(u, space), []
    for _ in range(60):
        following = attention_map(law, x).positions + u
        steps.append(np.linalg.norm(following - x.positions))
        x = x.at(following)
    np.testing.assert_allclose(
        x.positions[0, 0], [0.251754353377, -0.179913488534, -0.493881351921], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        x.positions[0, 5], [-0.527288305762, -0.368385620047, 0.047778886502], rtol=0, atol=1e-12
    )
    assert max(np.array(steps[1:15]) / steps[:14]) < q


# 7.6: inversion


def test_oracle_7_6_a_layer_is_inverted(oracle_tokens):
    law, space, h = Attention(), Euclidean(3), 0.05
    x = 0.8 * oracle_tokens(6, 3)
    y = x + h * law.drift(x, space=space)
    found = invert_layer(law, Ensemble(y, space), h)
    np.testing.assert_allclose(found.ensemble.positions[0], x, rtol=0, atol=1e-13)
    assert found.certified and found.factor == pytest.approx(0.2184, abs=5e-5) and found.error < 1e-13
    errors, z = [], y
    for _ in range(5):
        errors.append(np.linalg.norm(z - x))
        z = y - h * law.drift(z, space=space)
    np.testing.assert_allclose(errors, [3.21e-2, 1.60e-3, 8.30e-5, 4.48e-6, 2.51e-7], rtol=5e-3)


def test_oracle_7_6_no_inverse_is_promised_where_the_bound_says_nothing(oracle_tokens):
    y = Ensemble(oracle_tokens(6, 3, unit=False), Euclidean(3))
    with pytest.raises(InvalidInput, match="step \\* Lip must be below 1"):
        invert_layer(Attention(), y, 0.3)
