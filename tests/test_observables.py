"""The observables against closed forms, against brute force, and under the symmetries they must have."""

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere, observables
from ensembles import circle, random_ensemble
from hypothesis import given, settings
from hypothesis import strategies as st

IN_ANY_SPACE = [name for name, observable in observables.REGISTRY.items() if observable.place is None]
OF_THE_MEASURE = (
    "energy",
    "log_energy",
    "clusters",
    "order",
    "effective_rank",
    "rank",
    "radius",
    "diameter",
    "speed",
    "largest_speed",
)


def value(name, ensemble, law=None, **options):
    return observables.measure([name], ensemble, law, backend="reference", **options)[name]


def pair_sums(x, a, law):
    """sum_ij a_i a_j exp(beta <Q x_i, K x_j>) of one replica, as it is written."""
    query, key = (m * x if np.isscalar(m) else x @ m.T for m in (law.query, law.key))
    query = query if law.query_bias is None else query + law.query_bias
    return a @ np.exp(law.beta * query @ key.T) @ a


# energy


@pytest.mark.parametrize("cosine", [-1 / 3, 0.0, 0.4, 1.0])
def test_energy_of_equiangular_tokens(cosine):
    tokens = Ensemble.draw("equiangular", Sphere(4), tokens=4, cosine=cosine)
    beta = 2.0
    exact = (np.exp(beta) + 3 * np.exp(beta * cosine)) / 4 / (2 * beta)
    np.testing.assert_allclose(value("energy", tokens, Attention(beta=beta)), exact, rtol=1e-14)
    np.testing.assert_allclose(value("log_energy", tokens, Attention(beta=beta)), np.log(2 * beta * exact), rtol=1e-14)


@pytest.mark.parametrize(
    ("dimension", "configuration", "energy"),
    [
        (3, "tetrahedron", 0.558081716002),
        (2, "pentagon", 0.574809316094),
        (3, "octahedron", 0.480182974257),
        (3, "icosahedron", 0.454130659495),
    ],
)
def test_energies_of_the_minimisers_of_oracle_3_4(dimension, configuration, energy):
    golden = (1 + np.sqrt(5)) / 2
    points = {
        "tetrahedron": [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
        "pentagon": [(np.cos(2 * np.pi * k / 5), np.sin(2 * np.pi * k / 5)) for k in range(5)],
        "octahedron": [*np.eye(3), *-np.eye(3)],
        "icosahedron": [np.roll((0, s, t * golden), k) for k in range(3) for s in (1, -1) for t in (1, -1)],
    }[configuration]
    space = Sphere(dimension)
    tokens = Ensemble(space.retract(np.array(points, float)), space)
    assert value("energy", tokens, Attention(beta=2.0))[0] == pytest.approx(energy, abs=1e-12)


def test_energy_with_matrices_bias_and_weights_is_the_double_sum():
    generator = np.random.default_rng(1)
    tokens = random_ensemble(2, Euclidean(3), zeros=2)
    query, key = generator.standard_normal((2, 5, 3))
    for law in (
        Attention(beta=0.7, query=query, key=key),
        Attention(beta=-0.7, query=query, key=key, query_bias=generator.standard_normal(5)),
        Attention(beta=0.3, query=2.0, key=-1.5),
    ):
        sums = np.array([pair_sums(x, a, law) for x, a in zip(tokens.positions, tokens.weights, strict=True)])
        np.testing.assert_allclose(value("energy", tokens, law), sums / (2 * law.beta), rtol=1e-12)
        np.testing.assert_allclose(value("log_energy", tokens, law), np.log(sums), rtol=1e-12, atol=1e-13)


def test_energy_at_beta_zero_is_the_limit_of_small_beta():
    generator = np.random.default_rng(3)
    tokens = random_ensemble(4, Euclidean(3))
    query, key = generator.standard_normal((2, 2, 3))
    bias = generator.standard_normal(2)
    at_zero = value("energy", tokens, Attention(beta=0.0, query=query, key=key, query_bias=bias))
    small = 1e-5
    near_zero = value("energy", tokens, Attention(beta=small, query=query, key=key, query_bias=bias))
    np.testing.assert_allclose(near_zero - 1 / (2 * small), at_zero, atol=2e-4)
    mean = np.einsum("rn,rnd->rd", tokens.weights, tokens.positions)
    plain = value("energy", tokens, Attention(beta=0.0, query=query, key=key))
    np.testing.assert_allclose(plain, 0.5 * np.einsum("ra,ab,rb->r", mean, query.T @ key, mean), rtol=1e-13)
    np.testing.assert_allclose(value("log_energy", tokens, Attention(beta=0.0)), 0.0, atol=1e-15)


@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)])
@pytest.mark.parametrize("normalisation", ["none", "softmax"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_energy_grows_or_falls_at_the_rate_of_oracle_3_1(space, normalisation, sign):
    tokens = random_ensemble(9, space, tokens=6)
    key = np.random.default_rng(10).standard_normal((3, 3))
    symmetric = key + key.T
    law = Attention(beta=0.5, query=symmetric, value=sign * symmetric, normalisation=normalisation)
    inputs = {"space": space, "weights": tokens.weights, "backend": "reference"}
    velocity = law.drift(tokens.positions, **inputs)
    step = 1e-6
    ahead, behind = (space.retract(tokens.positions + side * step * velocity) for side in (1, -1))
    rate = (value("energy", tokens.at(ahead), law) - value("energy", tokens.at(behind), law)) / (2 * step)
    metric = np.ones(velocity.shape[:2])
    if normalisation == "softmax":
        metric = np.exp(law.statistics(tokens.positions, **inputs)[0][:, 0])
    speed = np.sum(velocity**2, axis=2)
    np.testing.assert_allclose(rate, sign * np.sum(tokens.weights * metric * speed, axis=1), rtol=1e-6)


def test_log_energy_is_finite_where_the_energy_overflows():
    tokens = circle(np.array([0.0, np.pi]))
    assert value("energy", tokens, Attention(beta=1e4))[0] == np.inf
    assert value("log_energy", tokens, Attention(beta=1e4))[0] == pytest.approx(1e4 - np.log(2), rel=1e-15)


def test_energy_of_a_law_with_heads_or_a_mask_is_refused():
    tokens = circle(np.arange(3.0))
    for name in ("energy", "log_energy"):
        with pytest.raises(InvalidInput, match=f"{name}.*one head"):
            value(name, tokens, Attention(heads=2))
        with pytest.raises(InvalidInput, match=f"{name}.*without a mask.*causal"):
            value(name, tokens, Attention(mask="causal"))


# inner products, order, entropy, rank, sizes


def test_two_tokens_at_an_angle():
    angle = 0.8
    tokens = circle(np.array([0.3, 0.3 + angle]))
    assert value("mean_inner_product", tokens)[0] == pytest.approx(np.cos(angle), rel=1e-15)
    assert value("order", tokens)[0] == pytest.approx(np.cos(angle / 2), rel=1e-15)
    assert value("diameter", tokens)[0] == pytest.approx(angle, rel=1e-15)
    gram = np.sqrt(np.array([1 + np.cos(angle), 1 - np.cos(angle)]))
    share = gram / gram.sum()
    assert value("effective_rank", tokens)[0] == pytest.approx(np.exp(-share @ np.log(share)), rel=1e-13)
    p = 1 / (1 + np.exp(3.0 * (np.cos(angle) - 1)))
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    assert value("attention_entropy", tokens, Attention(beta=3.0))[0] == pytest.approx(entropy, rel=1e-13)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_a_regular_polygon_is_balanced(count):
    tokens = Ensemble.draw("grid", Sphere(2, 2.5), tokens=count, phase=0.1)
    assert value("order", tokens)[0] == pytest.approx(0.0, abs=1e-15)
    assert value("mean_cosine", tokens)[0] == pytest.approx(-1 / (count - 1), rel=1e-13)
    assert value("mean_inner_product", tokens)[0] == pytest.approx(-(2.5**2) / (count - 1), rel=1e-13)
    assert value("effective_rank", tokens)[0] == pytest.approx(2.0, rel=1e-13)
    assert value("radius", tokens)[0] == pytest.approx(2.5, rel=1e-15)
    assert value("diameter", tokens)[0] == pytest.approx(2.5 * 2 * np.pi * (count // 2) / count, rel=1e-14)
    assert value("attention_entropy", tokens, Attention(beta=0.0))[0] == pytest.approx(np.log(count), rel=1e-14)


@pytest.mark.parametrize("cosine", [-0.25, 0.0, 0.3])
def test_equiangular_tokens_have_that_cosine_on_any_radius(cosine):
    tokens = Ensemble.draw("equiangular", Sphere(6, 3.0), tokens=5, cosine=cosine)
    assert value("mean_cosine", tokens)[0] == pytest.approx(cosine, abs=1e-14)
    assert value("mean_inner_product", tokens)[0] == pytest.approx(9 * cosine, abs=1e-13)
    assert value("order", tokens)[0] == pytest.approx(np.sqrt((1 + 4 * cosine) / 5), abs=1e-8)
    assert value("diameter", tokens)[0] == pytest.approx(3 * np.arccos(cosine), rel=1e-14)


def test_orthonormal_tokens_have_full_effective_rank_and_collapsed_ones_rank_one():
    assert value("effective_rank", Ensemble(np.eye(5), Sphere(5)))[0] == pytest.approx(5.0, rel=1e-14)
    collapsed = Ensemble(np.ones((7, 4)), Euclidean(4))
    assert value("effective_rank", collapsed)[0] == pytest.approx(1.0, abs=1e-12)
    assert value("effective_rank", Ensemble(np.zeros((3, 2)), Euclidean(2)))[0] == 0.0


def test_the_diameter_is_accurate_for_opposite_and_for_coinciding_tokens():
    for angle in (1e-12, np.pi - 1e-6, np.pi):
        assert value("diameter", circle(np.array([0.0, angle])))[0] == pytest.approx(angle, rel=1e-14)


def test_inner_products_and_sizes_are_the_double_sums_over_pairs():
    for space in (Sphere(3, 2.0), Euclidean(3)):
        tokens = random_ensemble(5, space, zeros=3)
        for replica, (x, a) in enumerate(zip(tokens.positions, tokens.weights, strict=True)):
            pair = np.outer(a, a) * (1 - np.eye(len(a)))
            gram, length = x @ x.T, np.linalg.norm(x, axis=1)
            mean = (pair * gram).sum() / pair.sum()
            cosine = (pair * gram / np.outer(length, length)).sum() / pair.sum()
            assert value("mean_inner_product", tokens)[replica] == pytest.approx(mean, rel=1e-12)
            assert value("mean_cosine", tokens)[replica] == pytest.approx(cosine, rel=1e-12)
            kept = x[a > 0]
            apart = space.distance(kept[:, None], kept[None])
            assert value("diameter", tokens)[replica] == pytest.approx(apart.max(), rel=1e-12)
            assert value("radius", tokens)[replica] == pytest.approx(length[a > 0].max(), rel=1e-14)


def test_a_dominant_weight_does_not_cancel_the_mean_over_pairs():
    tokens = circle(np.array([0.0, 1.0, 1.0]), np.array([1 - 2e-13, 1e-13, 1e-13]))
    assert value("mean_inner_product", tokens)[0] == pytest.approx(np.cos(1.0), rel=1e-11)


def test_the_entropy_is_averaged_over_heads_and_by_weight():
    generator = np.random.default_rng(6)
    tokens = random_ensemble(7, Sphere(4))
    law = Attention(beta=3.0, heads=2, query=generator.standard_normal((4, 4)), mask="causal")
    entropy = law.statistics(tokens.positions, space=tokens.space, weights=tokens.weights, backend="reference")[1]
    expected = np.einsum("rhn,rn->r", entropy, tokens.weights) / 2
    np.testing.assert_allclose(value("attention_entropy", tokens, law), expected, rtol=1e-13)


@pytest.mark.parametrize("space", [Sphere(3, 2.0), Euclidean(3)])
def test_one_token_alone(space):
    token = Ensemble(space.retract(np.array([[1.0, 2.0, 2.0]])), space)
    length = np.linalg.norm(token.positions[0, 0])
    found = observables.measure(IN_ANY_SPACE, token, Attention(beta=0.5), backend="reference")
    expected = {
        "energy": np.exp(0.5 * length**2),
        "log_energy": 0.5 * length**2,
        "clusters": 1,
        "mean_inner_product": length**2,
        "mean_cosine": 1.0,
        "aligned_pairs": 1.0,
        "order": 1.0 if isinstance(space, Sphere) else length,
        "attention_entropy": 0.0,
        "attention_sparsity": 0.0,
        "row_sum": 1.0,
        "column_spread": 0.0,
        "key_query_distance": 0.0,
        "key_query_discrepancy": 0.0,
        "focus_entropy": 0.0,
        "effective_rank": 1.0,
        "radius": length,
        "diameter": 0.0,
        "rank": 1,
        "speed": 0.0 if isinstance(space, Sphere) else length,
        "largest_speed": 0.0 if isinstance(space, Sphere) else length,
    }
    assert set(found) == set(expected)
    for name, number in expected.items():
        assert found[name].shape == (1,)
        assert found[name][0] == pytest.approx(number, rel=1e-13, abs=1e-13), name


def test_tokens_that_are_not_finite_give_nan_and_leave_other_replicas_alone():
    good = random_ensemble(8, Euclidean(3), replicas=2)
    positions = good.positions.copy()
    positions[0, 3, 1] = np.nan
    for name in ("mean_inner_product", "mean_cosine", "order", "effective_rank", "rank", "radius", "diameter"):
        found = value(name, good.at(positions))
        assert np.isnan(found[0]), name
        assert found[1] == value(name, good)[1], name


# measure


def test_the_attention_statistics_are_computed_once(monkeypatch):
    calls = []
    original = Attention.statistics
    monkeypatch.setattr(
        Attention, "statistics", lambda self, *a, **k: calls.append(k["backend"]) or original(self, *a, **k)
    )
    tokens = circle(np.arange(5.0))
    found = observables.measure(
        ["energy", "order", "attention_entropy", "log_energy"], tokens, Attention(), backend="reference"
    )
    assert list(found) == ["energy", "order", "attention_entropy", "log_energy"]
    assert calls == ["reference"]


def test_measure_passes_the_cluster_distance_on():
    tokens = circle(np.array([0.0, 0.5, 1.0]))
    assert value("clusters", tokens, cluster_distance=0.6)[0] == 1
    assert value("clusters", tokens)[0] == 3


def test_an_unknown_observable_is_refused_with_the_nearest_name():
    with pytest.raises(InvalidInput, match=r"'clustres' \(did you mean clusters\?\)") as caught:
        observables.measure(["order", "clustres"], circle(np.arange(3.0)))
    assert all(name in str(caught.value) for name in observables.REGISTRY)


def test_an_observable_of_the_attention_needs_a_law():
    with pytest.raises(InvalidInput, match=r"attention_entropy.*needs a law"):
        observables.measure(["attention_entropy"], circle(np.arange(3.0)))


def test_names_are_checked_against_the_law_before_anything_is_computed():
    observables.check_names(["clusters", "attention_entropy"], Attention(heads=2))
    with pytest.raises(InvalidInput, match=r"energy.*one head"):
        observables.check_names(["clusters", "energy"], Attention(heads=2))


# symmetries


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sphere=st.booleans())
def test_no_observable_depends_on_the_order_of_the_tokens(seed, sphere):
    tokens = random_ensemble(seed, Sphere(3, 1.5) if sphere else Euclidean(3), zeros=1)
    law = Attention(beta=1.3)
    turn = np.random.default_rng(seed).permutation(tokens.tokens)
    turned = Ensemble(tokens.positions[:, turn], tokens.space, tokens.weights[:, turn])
    _same_for_all(IN_ANY_SPACE, tokens, turned, law)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sphere=st.booleans())
def test_no_observable_of_a_rotation_invariant_law_changes_under_rotations(seed, sphere):
    tokens = random_ensemble(seed, Sphere(3, 1.5) if sphere else Euclidean(3))
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    turned = Ensemble(tokens.positions @ rotation.T, tokens.space, tokens.weights)
    # but for the one that projects onto directions of its own
    invariant = [name for name in IN_ANY_SPACE if name != "key_query_distance"]
    _same_for_all(invariant, tokens, turned, Attention(beta=1.3, query=-0.7))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.01, 0.99), sphere=st.booleans())
def test_observables_of_the_measure_do_not_see_a_token_split_in_two(seed, share, sphere):
    tokens = random_ensemble(seed, Sphere(3, 1.5) if sphere else Euclidean(3))
    positions = np.concatenate([tokens.positions, tokens.positions[:, :1]], axis=1)
    weights = np.concatenate([tokens.weights, share * tokens.weights[:, :1]], axis=1)
    weights[:, 0] *= 1 - share
    split = Ensemble(positions, tokens.space, weights)
    law = Attention(beta=1.3)
    # the entropy of an attention row grows with a split, by the share's own entropy
    _same_for_all(list(OF_THE_MEASURE), tokens, split, law)
    assert (value("attention_entropy", split, law) > value("attention_entropy", tokens, law)).all()


def _same_for_all(names, tokens, others, law):
    first = observables.measure(names, tokens, law, backend="reference")
    second = observables.measure(names, others, law, backend="reference")
    for name in names:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-11, atol=1e-12, err_msg=name)
