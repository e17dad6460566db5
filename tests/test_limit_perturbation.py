"""Limit studies of perturbations: closed forms, the bound over many draws, the adversary, and the scenarios."""

from functools import cache

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Sphere
from attndyn.errors import ScenarioError
from attndyn.integrators import integrate
from attndyn.particles.backends import Engine
from attndyn.particles.wasserstein import wasserstein
from attndyn.scenarios.build import build
from attndyn.scenarios.limits import perturbation
from attndyn.scenarios.limits.changes import changed as perturbed
from attndyn.scenarios.limits.changes import steepest, swaps, worst
from attndyn.scenarios.limits.spreading import spreading
from attndyn.scenarios.limits.study import limit, of_kind
from attndyn.scenarios.schema import load

BASE = "sphere-perturbation"
IN_R2 = {
    "space.kind": "euclidean",
    "tokens.dimension": 2,
    "tokens.count": 8,
    "tokens.initial": {"law": "uniform", "region": "cube", "radius": 1.0},
    "attention.beta": 0.0,
    "depth.time": 1.0,
}
LAYERS = {"depth.layers": 8, "depth.step": 0.1}


@cache
def studied(name):
    return limit(name)


def scenario(changes=(), **keys):
    """The base scenario with other values, and a section [limit] of these keys alone."""
    changes = dict(changes)
    if "depth.layers" in changes:
        changes["depth.time"] = None
    return load(BASE).override(changes).override({"limit": {"kind": "perturbation", **keys}})


def test_under_averaging_a_swap_grows_with_the_mean_whatever_its_size():
    """x_i(t) = x_i + (e^t - 1) m, so a token that is displaced by u moves the mean by e^t u / n, which is W1."""
    study = limit(scenario(IN_R2, change="swap", token=3, by=[0, 5]))
    assert [series.name for series in study.series] == ["3 by 0", "3 by 5", "others, 3 by 0", "others, 3 by 5"]
    for series in study.series[:2]:
        np.testing.assert_allclose(series.error, np.exp(series.parameter), rtol=1e-7)
        assert series.law == ""
    assert any("The fastest growth is like exp(1 t)" in remark for remark in study.remarks)


def test_a_change_spreads_to_all_others_alike_under_averaging():
    """A token displaced by u moves every other one by (e^t - 1) u / n, and itself by u more: 7 others, together as far
    as it from e^t = 7/3 on."""
    study = limit(scenario(IN_R2, change="swap", token=3, by=[0], depths=[0.1, 0.5, 1.0]))
    _, others = study.series
    np.testing.assert_allclose(others.error, np.expm1(others.parameter) / 8, rtol=1e-7, atol=1e-12)
    sentence = next(remark for remark in study.remarks if remark.startswith("3 by 0: "))
    assert "from depth 1 the other tokens together are off by more than it" in sentence
    assert "at depth 1 it is off by 1.21 of the change, the others by 0.21 in the mean, most " in sentence


def test_a_change_in_the_first_token_reaches_those_after_it_alone_under_the_causal_mask():
    masked = IN_R2 | {"attention.mask": "causal", "attention.beta": 1.0}
    study = limit(scenario(masked, change="swap", token=7, by=[0]))
    np.testing.assert_allclose(study.series[1].error, 0.0, atol=1e-6)
    assert any("the other tokens together stay less off than it" in remark for remark in study.remarks)
    first = limit(scenario(masked, change="swap", token=0, by=[7])).series[1]
    assert (np.asarray(first.error)[1:] > 0).all()


def test_who_is_off_most_is_said_in_token_strings():
    strings = ["[CLS]", "\u0120white", "\u0120rabbit", "ran"]
    x = np.arange(8.0).reshape(1, 4, 2)
    y, z = x.copy(), np.concatenate([x, x])
    y[0, 2] += 1.0
    y = np.concatenate([y, y])
    y[1, 1, 0] += 0.5
    runs = [{"positions": each, "depths": np.array([0.0, 1.0])} for each in (z, y)]
    series, sentence = spreading("rabbit by hare", *runs, strings)
    np.testing.assert_allclose(series.error, [0.0, 0.5 / np.sqrt(2) / 3])
    assert "most \u0120white (1) 0.35, [CLS] (0) 0, ran (3) 0" in sentence
    assert spreading("nothing", runs[0], runs[0], strings) is None


def test_ratios_are_those_of_two_runs():
    law, depths = Attention(beta=0.2), np.array([0.0, 0.5, 2.0])
    study = limit(scenario(change="swap", token=1, by=[7], depths=[0.5, 2.0]))
    x = build(load(BASE)).ensemble.positions
    y = x.copy()
    y[0, 1] = x[0, 7]
    first, second = (
        integrate(law, Ensemble(each, Sphere(3)), t_end=4.0, method="dop853", save_at=depths, rtol=1e-11).positions
        for each in (x, y)
    )
    expected = [
        wasserstein(Ensemble(a, Sphere(3)), Ensemble(b, Sphere(3)))[0] for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(study.series[0].error, np.array(expected) / expected[0], rtol=1e-6)
    np.testing.assert_array_equal(study.series[0].parameter, depths)


@pytest.mark.parametrize("size", [1e-4, 0.1, 2.0])
@pytest.mark.parametrize(
    "changes",
    [
        {"attention.beta": 0.3},
        {"attention.beta": 1.0, "attention.value": -1.0},
        {"attention.query": {"law": "gaussian"}, "attention.value": {"law": "gaussian", "seed": 9}},
        LAYERS,
        LAYERS | {"depth.weights": "independent", "attention.value": {"law": "gaussian", "scale": 0.5}},
        {"attention.score": "gaussian"},
    ],
    ids=["flow", "repulsive", "random matrices", "layers", "independent layers", "gaussian scores"],
)
def test_no_draw_exceeds_the_bound(changes, size):
    study = limit(scenario({"tokens.count": 6, "depth.time": 1.0} | changes, change="noise", samples=25, size=size))
    largest, mean = study.series
    assert (largest.error <= largest.bound * (1.0 + 1e-9)).all()
    assert (mean.error <= largest.error).all()
    assert mean.spread is not None
    assert largest.bound[0] == 1.0


def test_no_draw_exceeds_the_bound_of_l2_attention_in_the_plane():
    flat = IN_R2 | {"attention.beta": 2.0, "attention.score": "gaussian", "tokens.count": 4}
    for more in ({}, LAYERS, LAYERS | {"depth.residual": False, "depth.step": 1.0}):
        largest, _ = limit(scenario(flat | more, change="noise", samples=25, size=0.1)).series
        assert (largest.error <= largest.bound * (1.0 + 1e-9)).all()


def test_the_bound_is_the_exponential_of_the_constant():
    """Oracle 7.4: tau + |V| with tau = |V| (r + (1 + 2 r) e^(2 r)); of a layer (1 + h tau) / (1 - h |V|)."""
    v = 1.5
    tau = v * (0.2 + 1.4 * np.exp(0.4))
    flow = limit(scenario({"attention.value": v, "depth.time": 1.0}, change="noise")).series[0]
    np.testing.assert_allclose(flow.bound, np.exp((tau + v) * flow.parameter), rtol=1e-12)
    network = limit(scenario({"attention.value": v} | LAYERS, change="noise")).series[0]
    factor = (1.0 + 0.1 * tau) / (1.0 - 0.1 * v)
    np.testing.assert_allclose(network.bound, factor ** np.arange(9), rtol=1e-12)
    np.testing.assert_allclose(network.parameter, 0.1 * np.arange(9))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (IN_R2 | {"attention.beta": 1.0}, "No bound: it needs a radius"),
        ({"attention.mask": "causal"}, "No bound: it needs a law without mask and prior"),
        ({"attention.normalisation": "sparsemax"}, "No bound: it needs softmax"),
        ({"depth.layers": 3, "depth.step": 1.0}, "No bound: a layer may take a token to 0"),
        ({"attention.beta": 400.0}, "No bound within float64"),
    ],
)
def test_where_no_bound_holds_a_remark_says_why(changes, reason):
    study = limit(scenario({"tokens.count": 6, "depth.time": 0.5} | changes, change="noise"))
    assert study.series[0].bound is None
    assert any(remark.startswith(reason) for remark in study.remarks)


def test_the_steepest_direction_is_that_of_a_fine_search():
    rng = np.random.default_rng(2)
    weights, differential = rng.dirichlet(np.ones(5)), rng.standard_normal((5, 2, 5, 2))
    growth, directions = steepest(differential, weights)
    angles = np.linspace(0.0, np.pi, 5000)
    u = np.stack([np.cos(angles), np.sin(angles)])
    moved = np.einsum("ikjc,ks->ijcs", differential, u)
    found = np.einsum("j,ijs->is", weights, np.linalg.norm(moved, axis=2)) / weights[:, None]
    np.testing.assert_allclose(growth, found.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.einsum("ik,ki->i", directions, u[:, found.argmax(axis=1)])), 1.0, atol=1e-5)


def test_no_other_small_displacement_grows_more_than_the_adversary_s():
    size, keys = 1e-4, {"depths": [1.0, 2.0]}
    small = {"tokens.count": 10, "depth.time": 2.0}
    adversary = limit(scenario(small, change="adversarial", size=size, **keys)).series[0].error.max()
    noise = limit(scenario(small, change="noise", size=size, samples=20, **keys)).series[0].error.max()
    assert adversary > 1.05 * noise
    plan, rng = build(scenario(small, change="noise")), np.random.default_rng(0)
    x, depths = plan.ensemble.positions, [0.0, 1.0, 2.0]
    moved = np.repeat(x, 60, axis=0)  # one token of each replica, in a direction of its own
    moved[np.arange(60), rng.integers(0, 10, 60)] += size * rng.standard_normal((60, 3))
    ensembles = [plan.ensemble, Ensemble(Sphere(3).retract(moved), Sphere(3))]
    first, second = (
        integrate(plan.law, each, t_end=2.0, method="dop853", save_at=depths, rtol=1e-12).positions
        for each in ensembles
    )
    w = [wasserstein(Ensemble(a, Sphere(3)), Ensemble(b, Sphere(3))) for a, b in zip(first, second, strict=True)]
    others = max((w[1] / w[0]).max(), (w[2] / w[0]).max())
    assert others <= adversary * (1.0 + 1e-3)
    assert others > 0.5 * adversary


def test_the_adversary_moves_one_token_along_the_sphere_by_its_size():
    chosen = scenario({"tokens.count": 10, "depth.time": 2.0}, change="adversarial", size=0.01)
    plan = build(chosen)
    token, direction = worst(chosen, Engine())
    assert np.linalg.norm(direction) == pytest.approx(1.0, abs=1e-8)
    assert direction @ plan.ensemble.positions[0, token] == pytest.approx(0.0, abs=1e-8)
    moved = perturbed(chosen, plan, 0, Engine()).positions[0] - plan.ensemble.positions[0]
    lengths = np.linalg.norm(moved, axis=1)
    assert lengths[token] == pytest.approx(0.01, rel=1e-4)
    assert np.delete(lengths, token).max() < 1e-15


def test_subsamples_keep_tokens_with_their_weights():
    pytest.importorskip("ot")
    weights = (np.arange(1.0, 9.0) / 36.0).tolist()
    chosen = scenario({"tokens.count": 8, "tokens.weights": weights}, change="subsample", keep=5, samples=6)
    plan, kept = build(chosen), set()
    for number in range(6):
        part = perturbed(chosen, plan, number, Engine())
        at = [int(np.flatnonzero((plan.ensemble.positions[0] == token).all(axis=1))[0]) for token in part.positions[0]]
        assert at == sorted(at)
        assert len(set(at)) == 5
        np.testing.assert_allclose(part.weights, np.array(weights)[at] / np.array(weights)[at].sum())
        kept.add(tuple(at))
    assert len(kept) > 1
    largest, _ = limit(chosen).series
    assert (largest.error <= largest.bound).all()


def test_samples_are_those_of_their_seed():
    def first(**keys):
        chosen = scenario({"tokens.count": 6}, change="noise", **keys)
        return perturbed(chosen, build(chosen), 0, Engine()).positions

    np.testing.assert_array_equal(first(), first(samples=3))
    assert (first() != first(seed=8)).any()


def test_a_row_of_a_file_may_take_a_token_s_place(tmp_path):
    rows = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    np.save(tmp_path / "rows.npy", rows)
    chosen = scenario(change="swap", token=0, by=[1], rows={"file": str(tmp_path / "rows.npy")})
    plan = build(chosen)
    assert [swap.name for swap in swaps(chosen.limit, plan)] == ["0 by 1"]
    np.savez(tmp_path / "texts.npz", two=np.array(["hare", "book"]), three=np.array(["a", "b", "c"]))
    rows = {"file": str(tmp_path / "rows.npy")}
    texts = {name: {"file": str(tmp_path / "texts.npz"), "array": name} for name in ("two", "three")}
    named = scenario(change="swap", token=0, by=["book"], rows=rows, row_strings=texts["two"])
    assert [swap.name for swap in swaps(named.limit, build(named))] == ["0 by book"]
    wrong = scenario(change="swap", token=0, by=["b"], rows=rows, row_strings=texts["three"])
    with pytest.raises(ScenarioError, match=r"limit.row_strings: must hold a text for each of 2 rows; got 3"):
        of_kind(wrong, None)
    np.testing.assert_array_equal(perturbed(chosen, plan, 0, Engine()).positions[0, 0], [0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "keys", "message"),
    [
        ({}, {"change": "swap", "token": 0}, "limit.by: missing"),
        ({}, {"change": "swap", "token": 24, "by": [1]}, "limit.token: must be from 0 to 23; got 24"),
        ({}, {"change": "swap", "token": 2, "by": [2]}, "limit.by: 2 is what is there already"),
        ({}, {"change": "swap", "token": "alice", "by": [2]}, "limit.token: must be a number, for there are no texts"),
        ({}, {"change": "swap", "token": 2, "by": [1], "rows": {"file": "none.npy"}}, "limit.rows: .*none.npy"),
        (
            {},
            {"change": "swap", "token": 2, "by": [1], "row_strings": {"file": "none.npy"}},
            "limit.row_strings: belongs",
        ),
        ({}, {"change": "noise", "token": 2}, 'limit.token: belongs to change = "swap"; got "noise"'),
        ({}, {"change": "adversarial", "samples": 2}, "limit.samples: is for random changes"),
        ({}, {"change": "subsample", "keep": 24}, "limit.keep: must be less than the 24 tokens"),
        ({}, {"depths": [1.0, 9.0]}, "limit.depths: must be at most the run's depth 4; got 9"),
        ({"tokens.count": 200}, {"change": "adversarial"}, 'limit.change: "adversarial" is for at most 512 components'),
        ({"tokens.replicas": 2}, {}, "tokens.replicas: must be 1; got 2"),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes, keys, message):
    with pytest.raises(ScenarioError, match=message):
        of_kind(scenario(changes, **keys), None)


def test_tokens_are_named_by_their_texts():
    chosen = load("minilm-perturbation").override({"limit.by": ["book", "?", 3, "zebra"]})
    with pytest.raises(ScenarioError, match=r"limit\.by: must be a token's text; 'zebra' is none"):
        of_kind(chosen, None)
    chosen = load("minilm-perturbation").override({"limit.by": ["book", "?", 3, 57]})
    assert perturbation.tasks(chosen) == ["original", "swap 1", "swap 2", "swap 3", "swap 4"]
    plan = build(chosen)
    names = [swap.name for swap in swaps(chosen.limit, plan)]
    assert names == ["rabbit by book", "rabbit by ?", "rabbit by beginning", "rabbit by book (57)"]
    swapped = perturbed(chosen, plan, 0, Engine()).positions[0]
    np.testing.assert_array_equal(swapped[124], swapped[33])
    assert (plan.strings[124], plan.strings[33]) == ("rabbit", "book")


def test_the_sphere_s_worst_token_moves_the_cluster_that_forms():
    series = studied(BASE).series[0]
    assert np.log(series.error[1]) / series.parameter[1] == pytest.approx(0.906, abs=0.01)
    assert "The fastest growth is like exp(0.906 t), from depth 0 to 0.2." in studied(BASE).remarks
    assert series.error[-1] == pytest.approx(4.53, abs=0.02)
    np.testing.assert_allclose(series.bound, np.exp(3.2886 * series.parameter), rtol=1e-3)
    assert (series.bound / series.error)[1:].min() == pytest.approx(1.61, abs=0.01)


@pytest.mark.slow
def test_one_word_of_a_text_moves_it_far_and_then_less():
    study = studied("minilm-perturbation")
    book, the = [series for series in study.series if " of " not in series.name][:2]
    assert (book.name, the.name) == ("rabbit by book", "rabbit by the")
    top = int(book.error.argmax())
    assert book.parameter[top] == 3.5
    assert book.error[top] == pytest.approx(24.5, abs=0.1)
    assert the.error.max() == pytest.approx(19.7, abs=0.1)
    assert book.error[-1] < 0.7 * book.error[top]
    assert np.interp(0.8, book.parameter, book.error) > 3.0
    assert book.bound is None
    assert any(remark.startswith("No bound within float64") for remark in study.remarks)
