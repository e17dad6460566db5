"""Wasserstein distances and similarities between the depths of files, and the comparison of two files."""

import csv
import json

import attndyn
import numpy as np
import pytest
from attndyn import cli
from attndyn.data.analysis import wasserstein as module
from attndyn.data.analysis.registry import ANALYSES
from attndyn.data.analysis.similarity import similarities
from attndyn.data.analysis.subject import Subject
from attndyn.data.analysis.wasserstein import transport
from attndyn.data.reading import open_trajectory
from attndyn.errors import InvalidInput
from attndyn.particles import Ensemble, Euclidean, Sphere
from ensembles import circle
from hand_made import hand_made

PLANE, CIRCLE = Euclidean(2), Sphere(2)


def ring(angles):
    return circle(np.asarray(angles, float)).positions[0]


# Wasserstein


def test_two_diracs_and_a_translation():
    dirac = [Ensemble(np.array([place], float), PLANE) for place in ([1.0, 2.0], [4.0, 6.0])]
    apart = transport(*dirac)
    assert apart[:2] == pytest.approx((5.0, 5.0), rel=1e-14)
    assert apart[2:] == ("exact", "euclidean")
    cloud = np.random.default_rng(0).standard_normal((30, 2))
    moved = transport(Ensemble(cloud, PLANE), Ensemble(cloud + np.array([0.3, -0.4]), PLANE))
    assert moved[:2] == pytest.approx((0.5, 0.5), rel=1e-12)


def test_uniform_on_the_circle_turned_by_half_a_step():
    angles = 2 * np.pi * np.arange(10) / 10
    turned = transport(circle(angles), circle(angles + np.pi / 10))
    assert turned[:2] == pytest.approx((np.pi / 10, np.pi / 10), rel=1e-12)
    assert turned[2:] == ("exact", "geodesic")
    # from a point to the uniform law: |angle| is uniform on [0, pi]
    many = 2 * np.pi * (np.arange(4000) + 0.5) / 4000
    spread = transport(circle(np.zeros(1)), circle(many))
    assert spread[:2] == pytest.approx((np.pi / 2, np.pi / np.sqrt(3)), rel=1e-6)


def test_many_tokens_are_sliced(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_EXACT", 20)
    few, many = (Ensemble(np.random.default_rng(0).standard_normal((n, 3)), Euclidean(3)) for n in (20, 21))
    assert transport(few, few.at(few.positions + 1.0)).method == "exact"
    moved = transport(many, many.at(many.positions + np.array([1.0, 0.0, 0.0])))
    assert (moved.method, moved.metric) == ("sliced", "euclidean")
    assert moved.w1 == pytest.approx(0.5, rel=0.1)  # the mean of |u_1| over the sphere
    assert moved.w2 == pytest.approx(np.sqrt(1 / 3), rel=0.1)
    assert transport(circle(np.arange(30.0)), circle(np.arange(30.0))).method == "exact"


def test_tokens_that_are_not_finite_have_no_distance():
    cloud = Ensemble(np.eye(3), Euclidean(3))
    broken = cloud.at(np.full((1, 3, 3), np.nan))
    assert np.isnan(transport(cloud, broken)[:2]).all()


def test_rows_between_depths(tmp_path):
    frames = [ring(np.array([0.0, 1.0]) + turn) for turn in (0.0, 0.1, 0.3)]
    with open_trajectory(hand_made(tmp_path / "a.h5", frames, CIRCLE)) as trajectory:
        table = ANALYSES["wasserstein"].function(Subject(trajectory, depths=[0, 1, 2]))
    assert table.columns["depth"].tolist() == [0.0, 1.0, 0.0]
    assert table.columns["to_depth"].tolist() == [1.0, 2.0, 2.0]
    for order in ("w1", "w2"):
        np.testing.assert_allclose(table.columns[order], [0.1, 0.2, 0.3], rtol=1e-12)
    assert table.remarks == ("Wasserstein distances: exact, along great circles",)


# similarity


def test_similarities_of_known_cosines(tmp_path):
    frames = [np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]), np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])]
    weights = np.array([0.5, 0.25, 0.25])
    with open_trajectory(hand_made(tmp_path / "a.h5", frames, PLANE, weights=weights)) as trajectory:
        found = similarities(trajectory, frames=np.array([0, 1]), bins=4)
        table = ANALYSES["similarity"].function(Subject(trajectory, depths=[1]))
    # cosines 0 (of weight 1/8), -1 (1/8), 0 (1/16); a bin has its lower end
    np.testing.assert_allclose(found.shares, [[0.4, 0, 0.6, 0], [0, 0, 0, 1]])
    assert (found.edges.tolist(), found.tokens) == ([-1, -0.5, 0, 0.5, 1], 3)
    assert table.columns["share"][-1] == 1.0 and table.columns["cosine_to"][-1] == 1.0
    assert table.remarks == ()


def test_similarities_of_many_tokens_are_sampled_and_say_so(tmp_path):
    cloud = np.random.default_rng(0).standard_normal((2500, 2))
    with open_trajectory(hand_made(tmp_path / "a.h5", [cloud], PLANE)) as trajectory:
        table = ANALYSES["similarity"].function(Subject(trajectory))
    assert table.columns["share"].sum() == pytest.approx(1.0)
    assert table.remarks == ("pairs of 2000 tokens, a random choice of 2500 that is always the same",)
    # the cosine of two random directions: an arcsine law
    edges = np.append(table.columns["cosine_from"], 1.0)
    np.testing.assert_allclose(np.cumsum(table.columns["share"]), 1 - np.arccos(edges[1:]) / np.pi, atol=0.01)


# compare


def test_a_run_is_nowhere_from_itself():
    with attndyn.run(attndyn.load("two-clusters").override({"depth.time": 2.0})) as run:
        table = attndyn.compare(run, run, depths=[0.0, 1.0, 2.0])
    assert {*table.columns} == {"depth", "mean", "largest", "w1", "log_energy"}
    for name in ("mean", "largest", "w1", "log_energy"):
        np.testing.assert_allclose(table.columns[name], 0.0, atol=1e-12)


def test_a_rotated_copy_is_as_far_as_it_was_turned(tmp_path):
    frames = [ring([0.0, 1.0, 2.0]), ring([0.5, 1.0, 1.5])]
    turned = [ring([0.2, 1.2, 2.2]), ring([0.7, 1.0, 1.5])]
    for name, rows in (("a", frames), ("b", turned)):
        hand_made(tmp_path / f"{name}.h5", rows, CIRCLE, weights=np.array([0.5, 0.25, 0.25]))
    table = attndyn.compare(tmp_path / "a.h5", tmp_path / "b.h5")
    np.testing.assert_allclose(table.columns["mean"], [0.2, 0.1], rtol=1e-13)
    np.testing.assert_allclose(table.columns["largest"], [0.2, 0.2], rtol=1e-13)
    np.testing.assert_allclose(table.columns["w1"], [0.2, 0.1], rtol=1e-13)
    assert "log_energy" not in table.columns  # the scenario is empty: there is no law


def test_energies_are_those_of_each_law():
    scenario = attndyn.load("two-clusters").override({"depth.time": 1.0, "save.observables": ["log_energy"]})
    with attndyn.run(scenario) as cold, attndyn.run(scenario.override({"attention.beta": 1.0})) as warm:
        table = attndyn.compare(cold, warm, depths=[0.0, 1.0])
        expected = [run.observables["log_energy"][[0, -1], 0] for run in (cold, warm)]
    np.testing.assert_allclose(table.columns["log_energy"], expected[1] - expected[0], rtol=1e-10)


def test_only_depths_of_both_are_compared(tmp_path):
    frames = [ring([0.1 * k, 2.0]) for k in range(5)]
    hand_made(tmp_path / "a.h5", frames, CIRCLE, times=[0, 1, 2, 3, 4])
    hand_made(tmp_path / "b.h5", frames[::2], CIRCLE, times=[0, 2 * (1 + 1e-13), 4])
    hand_made(tmp_path / "c.h5", frames[:1], CIRCLE, times=[0.5])
    table = attndyn.compare(tmp_path / "a.h5", tmp_path / "b.h5")
    assert table.columns["depth"].tolist() == [0, 2, 4]
    assert table.columns["largest"].max() == 0.0
    assert "3 depths are in both files, of 5 and 3" in table.remarks
    nearest = attndyn.compare(tmp_path / "a.h5", tmp_path / "b.h5", depths=[3.1])
    assert nearest.columns["depth"].tolist() == [4]
    with pytest.raises(InvalidInput, match=r"depths must lie in \[0, 4\]"):
        attndyn.compare(tmp_path / "a.h5", tmp_path / "b.h5", depths=[5.0])
    with pytest.raises(InvalidInput, match=r"no depth in common: 5 frames from 0 to 4 and 1 frames from 0.5 to 0.5"):
        attndyn.compare(tmp_path / "a.h5", tmp_path / "c.h5")


def test_other_numbers_of_tokens_have_only_a_distance_of_measures(tmp_path):
    hand_made(tmp_path / "a.h5", [ring([0.0, 1.0])], CIRCLE)
    hand_made(tmp_path / "b.h5", [ring([0.0, 0.0, 1.0, 1.2])], CIRCLE)
    table = attndyn.compare(tmp_path / "a.h5", tmp_path / "b.h5")
    assert np.isnan(table.columns["mean"]).all() and np.isnan(table.columns["largest"]).all()
    assert table.columns["w1"][0] == pytest.approx(0.05)
    assert any("2 and 4 tokens: no token is the same" in remark for remark in table.remarks)
    hand_made(tmp_path / "c.h5", [[[0.0, 1.0]]], PLANE)
    with pytest.raises(InvalidInput, match="must be of the same space; got Sphere"):
        attndyn.compare(tmp_path / "a.h5", tmp_path / "c.h5")


def test_the_command(tmp_path, capsys):
    for name, turn in (("a", 0.0), ("b", 0.25)):
        hand_made(tmp_path / f"{name}.h5", [ring([turn, 1.0 + turn])] * 2, CIRCLE)
    files = [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]
    out = tmp_path / "rows.csv"
    assert cli.main(["compare", *files, "--csv", str(out)]) == 0
    text = capsys.readouterr().out
    assert "largest" in text and "0.25" in text
    with out.open(newline="") as written:
        rows = [*csv.DictReader(written)]
    assert [float(row["mean"]) for row in rows] == pytest.approx([0.25, 0.25])
    assert cli.main(["compare", *files, "--depths", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"]["w1"] == pytest.approx([0.25])
    assert cli.main(["compare", *files, "--csv", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["compare", *files, "--depths", "7"]) == 2
    assert "depths must lie in [0, 1]" in capsys.readouterr().err
