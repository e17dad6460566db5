"""Local and one-sided constants, bounds and their hypotheses, adversaries, inversion, and rows of largest entropy."""

import numpy as np
import pytest
from attndyn import AttndynError, InvalidInput
from attndyn.particles import Attention, Block, Ensemble, Euclidean, Sphere
from attndyn.particles.gates import Gate
from attndyn.particles.masks import Window
from attndyn.particles.maximum_entropy import attention_rows, entropy, maximum_entropy
from attndyn.particles.regularity import (
    attention_map,
    bound,
    bounds,
    contraction_factor,
    invert_layer,
    jacobian_matrix,
    local_constant,
    one_sided_constant,
    worst_ensemble,
)

WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(50))


@pytest.mark.parametrize("norm", ["euclidean", "measure"])
@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)], ids=["sphere", "euclidean"])
def test_lanczos_finds_what_lapack_finds(space, norm):
    """50 tokens in R^3 are above the size that is written out."""
    law, here = Attention(2.0, mask="causal"), Ensemble.uniform(space, 50, replicas=2, seed=1, weights=WEIGHTS)
    matrices = jacobian_matrix(law, here).reshape(2, 150, 150)
    if norm == "measure":
        root = np.sqrt(np.repeat(WEIGHTS, 3))
        matrices = root[:, None] * matrices / root
    found = local_constant(law, here, norm=norm)
    np.testing.assert_allclose(found.value, np.linalg.svd(matrices, compute_uv=False)[:, 0], rtol=1e-7)
    scale = WEIGHTS[:, None] if norm == "measure" else 1.0
    for part in (found.direction, found.image):
        np.testing.assert_allclose((scale * part**2).sum(axis=(1, 2)), 1.0, rtol=1e-12)
    one_sided = one_sided_constant(law, here, norm=norm)
    even = (matrices + matrices.swapaxes(1, 2)) / 2
    if isinstance(space, Sphere):
        normal = np.zeros((2, 150, 50))
        for i in range(50):
            normal[:, 3 * i : 3 * i + 3, i] = here.positions[:, i]
        tangent = np.linalg.svd(normal)[0][:, :, 50:]
        even = tangent.swapaxes(1, 2) @ even @ tangent
    np.testing.assert_allclose(one_sided.value, np.linalg.eigvalsh(even)[:, -1], rtol=1e-6, atol=1e-9)


def test_the_local_constant_is_how_much_neighbours_part():
    law, space = Attention(2.0), Sphere(3)
    here = Ensemble.uniform(space, 8, seed=3)
    found = local_constant(law, here)
    h = 1e-6
    there = space.exponential(here.positions, h * found.direction)
    parted = law.drift(there, space=space) - law.drift(here.positions, space=space)
    assert np.linalg.norm(parted) / h == pytest.approx(found.value[0], rel=1e-5)
    np.testing.assert_allclose(parted / np.linalg.norm(parted), found.image, rtol=0, atol=1e-5)


def test_one_cluster_contracts_on_a_sphere():
    """All tokens at one point with V = I: they approach one another at rate 1, and their mean direction stays."""
    here = Ensemble(np.tile([[1.0, 0.0, 0.0]], (6, 1)), Sphere(3))
    assert one_sided_constant(Attention(2.0), here).value[0] == pytest.approx(0.0, abs=1e-14)
    values = np.linalg.eigvalsh(jacobian_matrix(Attention(2.0), here).reshape(18, 18))
    np.testing.assert_allclose(np.sort(values), [-1.0] * 10 + [0.0] * 8, rtol=0, atol=1e-14)
    # each pulled to one of its own: below zero although the normal directions count as none
    alone = Ensemble(np.array([[1.0, 0.0, 0.0]]), Sphere(3))
    assert one_sided_constant(Attention(value=np.diag([2.0, 1.0, 0.5])), alone).value[0] == pytest.approx(-1.0)


@pytest.mark.parametrize("search", ["gradient", "random"])
def test_an_adversary_climbs_above_random_ensembles(search):
    if search == "gradient":
        pytest.importorskip("torch")
    law, space = Attention(4.0), Sphere(3)
    random = local_constant(law, Ensemble.uniform(space, 6, replicas=200, seed=0)).value.max()
    worst = worst_ensemble(law, space, tokens=6, restarts=6, steps=60, search=search)
    assert random < worst.value < bound("softmax", law, space, tokens=6).value
    assert local_constant(law, worst.ensemble).value[0] == pytest.approx(worst.value, rel=1e-12)
    again = worst_ensemble(law, space, tokens=6, restarts=6, steps=60, search=search)
    assert again.value == worst.value


def test_an_adversary_stays_in_its_ball_and_knows_weights():
    weights = np.array([0.6, 0.3, 0.1])
    worst = worst_ensemble(
        Attention(2.0), Euclidean(2), tokens=3, radius=0.7, weights=weights, norm="measure", restarts=4, steps=30,
        search="random",
    )  # fmt: skip
    assert np.linalg.norm(worst.ensemble.positions, axis=-1).max() <= 0.7 * (1 + 1e-12)
    assert worst.value < bound("softmax-measure", Attention(2.0), Euclidean(2), radius=0.7).value


def test_bounds_say_what_they_are():
    found = bounds(Attention(1.0), Euclidean(2), tokens=20, radius=1.0)
    assert [each.name for each in found] == ["softmax", "softmax-measure", "castin", "castin-mean-field", "W1"]
    assert all(each.hypotheses and each.source and each.of == "attention" for each in found)
    assert found[0].value == pytest.approx(2 * np.e + 1)
    drift = bounds(Attention(1.0), Sphere(2), tokens=20)
    assert [each.value for each in drift] == pytest.approx([each.value + 1 for each in found])
    assert {each.of for each in drift} == {"drift"}


@pytest.mark.parametrize("mask", ["causal", "without-self", Window(2)])
def test_bounds_hold_under_masks_priors_biases_and_heads(mask):
    generator = np.random.default_rng(2)
    m = generator.standard_normal
    for _ in range(5):
        law = Attention(
            0.7, heads=2, query=m((4, 2)), key=m((4, 2)), value=m((4, 2)), output=m((2, 4)), mask=mask, prior="alibi",
            query_bias=m(4), value_bias=m(4),
        )  # fmt: skip
        x = generator.standard_normal((40, 7, 2))
        x /= np.maximum(1.0, np.linalg.norm(x, axis=-1, keepdims=True))
        weights = generator.dirichlet(np.ones(7))
        for a in (None, weights):
            for norm in ("euclidean", "measure"):
                here = Ensemble(x, Euclidean(2), a)
                measured = local_constant(law, here, norm=norm, of="attention", backend="reference").value.max()
                held = bounds(law, Euclidean(2), tokens=7, radius=1.0, weights=a)
                assert all(measured < each.value for each in held if each.norm == norm)
        on_circle = Ensemble(Sphere(2).retract(x), Sphere(2))
        measured = local_constant(law, on_circle, backend="reference").value.max()
        assert all(measured < each.value for each in bounds(law, Sphere(2), tokens=7) if each.norm == "euclidean")


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_the_l2_bound_holds_for_heads_weights_and_causal_masks(mask):
    generator = np.random.default_rng(4)
    for _ in range(5):
        query, w, output = (generator.standard_normal(shape) for shape in ((4, 3), (4, 2), (3, 4)))
        value = np.concatenate([w[:2] @ query[:2], w[2:] @ query[2:]])
        law = Attention(2.0, heads=2, query=query, key=query, value=value, output=output, score="gaussian", mask=mask)
        weights = generator.dirichlet(np.ones(5))
        x = generator.standard_normal((60, 5, 3)) * generator.uniform(0.1, 4, (60, 1, 1))
        measured = local_constant(law, Ensemble(x, Euclidean(3), weights)).value.max()
        assert measured < bound("l2", law, Euclidean(3), weights=weights).value


def test_the_bound_of_unnormalised_attention_holds():
    generator = np.random.default_rng(5)
    for _ in range(5):
        query, value = generator.standard_normal((2, 3, 3))
        law = Attention(0.5, query=query, value=value, normalisation="none", mask="causal", shift=1.0)
        weights = generator.dirichlet(np.ones(6))
        x = Sphere(3).retract(generator.standard_normal((60, 6, 3)))
        measured = local_constant(law, Ensemble(x, Sphere(3), weights), norm="measure").value.max()
        assert measured < bound("unnormalised", law, Sphere(3)).value


@pytest.mark.parametrize(
    "name, law, options, message",
    [
        ("nonsense", Attention(), {}, "bound must be one of"),
        ("softmax", Attention(normalisation="sparsemax"), {"tokens": 3, "radius": 1.0}, "softmax of dot products"),
        ("softmax", Attention(), {"radius": 1.0}, "number of tokens"),
        ("castin-mean-field", Attention(mask="causal"), {"radius": 1.0}, "without mask"),
        ("l2", Attention(score="gaussian", mask="without-self"), {"tokens": 3}, "see themselves"),
        ("l2", Attention(score="gaussian", query=2.0), {"tokens": 3}, "query = key"),
        ("l2", Attention(-1.0, score="gaussian"), {"tokens": 3}, "beta > 0"),
        ("softmax", Attention(gate=Gate(np.eye(2))), {"tokens": 3}, "without gate"),
        ("softmax", Attention(), {"tokens": 3, "radius": -1.0}, "radius must be a positive number"),
        ("softmax", Attention(), {"tokens": 0}, "tokens must be an integer"),
        ("softmax", Attention(), {"weights": [0.5, 0.6]}, "sum to 1"),
        ("softmax", Block(Attention(), norm="pre"), {"tokens": 3}, "feed-forward map or normalisation"),
    ],
)
def test_a_hypothesis_that_does_not_hold_is_named(name, law, options, message):
    with pytest.raises(InvalidInput, match=message):
        bound(name, law, Euclidean(2), **options)


def test_contraction_of_a_map_and_of_the_same_measure():
    mu, nu = (Ensemble.uniform(Euclidean(2), 5, seed=seed, replicas=2) for seed in (0, 1))
    factor = contraction_factor(lambda each: each.at(0.5 * each.positions), mu, nu, order=2)
    np.testing.assert_allclose(factor, 0.5, rtol=1e-12)
    assert np.isnan(contraction_factor(Attention(), mu, mu)).all()
    assert isinstance(attention_map(Attention(), mu).space, Euclidean)
    with pytest.raises(InvalidInput, match="law_or_flow"):
        contraction_factor(3.0, mu, nu)


@pytest.mark.parametrize(
    "law, certified",
    [
        (Attention(0.5, value=0.4), True),
        (Attention(0.1, normalisation="none", value=0.2), True),
        (Attention(3.0, score="gaussian", value=0.5), True),
        (Attention(1.0, normalisation="sparsemax"), False),
        (Attention(2.0, mask="causal"), False),
        (Block(Attention(2.0), norm="pre"), False),
    ],
    ids=["softmax", "none", "l2", "sparsemax", "causal", "block"],
)
@pytest.mark.parametrize("step", [0.1, -0.1])
def test_layers_are_inverted_to_rounding(law, certified, step):
    here = Ensemble(0.7 * np.random.default_rng(0).standard_normal((2, 6, 3)), Euclidean(3))
    y = here
    for _ in range(3):
        y = y.at(y.positions + step * law.drift(y.positions, space=y.space, backend="reference"))
    found = invert_layer(law, y, step, layers=3, certified=certified)
    np.testing.assert_allclose(found.ensemble.positions, here.positions, rtol=0, atol=1e-13)
    assert found.certified == certified and 0.0 < found.factor < 1.0 and found.error < 1e-12


def test_what_cannot_be_inverted_is_refused():
    here = Ensemble.uniform(Sphere(3), 4)
    with pytest.raises(InvalidInput, match="on a sphere"):
        invert_layer(Attention(), here, 0.1)
    plane = Ensemble(3.0 * here.positions, Euclidean(3))
    with pytest.raises(InvalidInput, match="no ball holds all iterates"):
        invert_layer(Attention(), plane, 1.5)
    with pytest.raises(AttndynError, match="not inverted"):
        invert_layer(Attention(2.0), plane, 1.5, certified=False)


def test_the_multiplier_at_the_ends_of_a_row():
    assert maximum_entropy([1.0, 2.0, 3.0], 3.0).multiplier == np.inf
    assert maximum_entropy([1.0, 2.0, 3.0], 1.0).multiplier == -np.inf
    for alpha in (1.5, 2.0):
        row = maximum_entropy([1.0, 2.0, 3.0], 3.0, alpha=alpha)
        assert row.multiplier == pytest.approx(1 / (alpha - 1)) and row.probabilities[2] == pytest.approx(1.0)
    alike = maximum_entropy([2.0, 2.0], 2.0)
    assert alike.multiplier == 0.0 and alike.entropy == pytest.approx(np.log(2))


@pytest.mark.parametrize("alpha", [1.0, 1.25, 1.5, 2.0])
def test_the_multiplier_is_the_slope_of_the_entropy(alpha):
    """d H / d e = -beta at the solution: what a mean score costs."""
    s, nu = np.random.default_rng(0).standard_normal((2, 7))
    nu = np.exp(nu)
    h, mean = 1e-4, 0.5 * s.mean() + 0.5 * s.max()
    rows = maximum_entropy(np.tile(s, (3, 1)), mean + h * np.array([-1.0, 0.0, 1.0]), measure=nu, alpha=alpha)
    assert (rows.entropy[2] - rows.entropy[0]) / (2 * h) == pytest.approx(-rows.multiplier[1], rel=1e-6)
    np.testing.assert_allclose(rows.mean_score - mean, h * np.array([-1.0, 0.0, 1.0]), rtol=0, atol=1e-13)


def test_rows_of_masked_weighted_laws_are_solutions_too():
    law = Attention(1.7, heads=2, query=np.eye(4), key=np.eye(4), value=np.eye(4), mask="without-self", prior="alibi")
    here = Ensemble.uniform(Sphere(4), 9, replicas=2, seed=0, weights=np.random.default_rng(1).dirichlet(np.ones(9)))
    rows = attention_rows(law, here, replica=1, head=1)
    np.testing.assert_allclose(rows.multiplier, 1.7, rtol=1e-9)
    statistics = Attention(1.7).statistics(here.positions, space=here.space)
    plain = attention_rows(Attention(1.7), Ensemble(here.positions, here.space), replica=1)
    np.testing.assert_allclose(plain.entropy, statistics[1][1, 0], rtol=0, atol=1e-13)
    assert attention_rows(Attention(1.7, mask="causal"), here).multiplier[0] == 0.0  # which sees itself alone


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: maximum_entropy([1.0, 2.0], 2.1), "mean_score must be between"),
        (lambda: maximum_entropy([1.0, 2.0], 1.5, alpha=2.5), "alpha must be at least 1"),
        (lambda: maximum_entropy([1.0, np.nan], 1.5), "finite numbers"),
        (lambda: maximum_entropy([1.0, 2.0], 1.5, measure=[0.0, 0.0]), "nonnegative"),
        (lambda: entropy([0.5, 0.5], measure=[1.0, 0.0]), "zero where the measure is"),
        (
            lambda: attention_rows(Attention(normalisation="relu"), Ensemble.uniform(Sphere(2), 3)),
            "maximise an entropy",
        ),
        (lambda: attention_rows(Attention(0.0), Ensemble.uniform(Sphere(2), 3)), "beta must not be 0"),
    ],
)
def test_rows_out_of_range_are_refused(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
