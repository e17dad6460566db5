"""What figures of a trajectory say: energy, tree, ridge, attention and Lipschitz constants; all kinds at once."""

import re
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data import figures
from attndyn.data.figures.look import Look
from attndyn.data.figures.tree import arranged, grown, tree_of
from attndyn.errors import InvalidInput
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere
from attndyn.particles.observables import measure

PLANE = Euclidean(2)


def still(positions, space=PLANE, times=None, **changes):
    """A stand-in for a trajectory of these positions (frames, tokens, dimension)."""
    positions = np.asarray(positions, np.float64)[:, None]
    tokens = positions.shape[2]
    parts = {
        "times": np.arange(float(len(positions))) if times is None else np.asarray(times),
        "positions": positions,
        "observables": {},
        "tokens": tokens,
        "weights": np.full(tokens, 1 / tokens),
        "token_strings": None,
        "scenario_text": "",
        "status": "finished",
        "space": space,
    }
    return SimpleNamespace(**{**parts, **changes})


def merging():
    """Five tokens on a line in the plane: 0 and 2 meet in frame 2, 3 and 4 in frame 3, these two pairs in frame 5."""
    x = np.array(
        [[0, 9, 1, 4, 5], [0, 9, 1, 4, 5], [0, 9, 0, 4, 5], [0, 9, 0, 4, 4], [0, 9, 0, 4, 4], [0, 9, 0, 0, 0.0]]
    )
    return still(np.stack([x, np.zeros_like(x)], axis=-1))


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def facts(figure):
    return figure._supxlabel.get_text().replace("\n", " ")


# the tree


def test_the_branches_are_those_of_a_tree_made_by_hand():
    look = Look(merging())
    branches, moves = grown(tree_of(look, look.scale))
    assert moves == 0
    spans = sorted((branch.start, branch.end, branch.size) for branch in branches)
    assert spans == [(0, 2, 1), (0, 2, 1), (0, 3, 1), (0, 3, 1), (0, 5, 1), (2, 5, 2), (3, 5, 2), (5, 5, 4)]


def test_no_branch_of_a_tree_crosses_another():
    look = Look(merging())
    branches, _ = grown(tree_of(look, look.scale))
    leaves = arranged(branches)
    order = [leaf.name for leaf in leaves]
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert abs(order.index(0) - order.index(2)) == 1 and abs(order.index(3) - order.index(4)) == 1
    assert {order.index(1)} <= {0, 4}  # the one that meets nobody is outside
    for branch in branches:
        if branch.parts:
            assert branch.height == np.mean([min(p.height for p in branch.parts), max(p.height for p in branch.parts)])


def test_a_cluster_that_comes_apart_is_a_branch_that_grows_from_it():
    x = np.array([[0, 0, 0.0], [0, 0, 5.0], [0, 0, 5.0]])
    look = Look(still(np.stack([x, 0 * x], axis=-1)))
    branches, _ = grown(tree_of(look, look.scale))
    split = [branch for branch in branches if branch.grown_from is not None]
    assert [(branch.start, branch.size, branch.grown_from.size) for branch in split] == [(1.0, 1, 3)]
    assert sorted(branch.size for branch in branches if branch.lasts) == [1, 2]


def test_token_strings_stand_at_the_leaves():
    run = merging()
    run.token_strings = ["the", "$x_$", "white", "rabbit", "ran"]
    assert {*run.token_strings} <= {*texts(figures.draw(run, kind="tree"))}


# the energy


def test_the_energy_is_measured_with_the_law_where_the_file_does_not_hold_it():
    angles = np.array([[0.0, 1.0, 3.0], [0.0, 0.5, 2.5], [0.0, 0.1, 2.0]])
    run = still(np.stack([np.cos(angles), np.sin(angles)], axis=-1), Sphere(2), [0.0, 1.0, 2.0])
    laws = [Attention(beta=beta) for beta in (1.0, 2.0, 4.0)]
    figure = figures.draw(run, kind="energy", law_at=lambda t: laws[int(t)])
    expected = [
        measure(["energy"], Ensemble(run.positions[k], run.space), laws[k])["energy"][0] for k in range(3)
    ]  # the law changes with depth
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), expected, rtol=1e-12)
    assert "computed from the tokens" in facts(figure)


def test_the_energy_of_the_file_goes_first_and_its_plateaus_are_shaded():
    times = np.concatenate([[0.0], np.geomspace(0.1, 1e3, 40)])
    x = np.where(times[:, None] < 10, [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0])
    energy = np.where(times < 10, 2.0, 5.0)[:, None]
    run = still(np.stack([x, 0 * x], axis=-1), times=times, observables={"energy": energy})
    figure = figures.draw(run, kind="energy")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), energy[:, 0])
    assert figure.axes[0].get_xscale() == "symlog"
    assert {"2", "1"} <= {text.get_text() for text in figure.axes[0].texts}


# attention


def test_an_attention_map_holds_the_attention_matrix():
    run = still([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]], token_strings=["a", "b", "c"])
    figure = figures.draw(run, kind="attention", law_at=lambda t: Attention(beta=2.0))
    mesh = figure.axes[0].findobj(matplotlib.collections.QuadMesh)[0]
    x = run.positions[0, 0]
    weights = np.exp(2.0 * x @ x.T)
    np.testing.assert_allclose(mesh.get_array().reshape(3, 3), weights / weights.sum(axis=1, keepdims=True), rtol=1e-12)
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top  # the first row is on top
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


def test_tokens_without_strings_are_in_the_order_of_their_clusters():
    run = still([np.array([[0, 0], [9, 0], [0, 0], [9, 0.0]])])
    figure = figures.draw(run, kind="attention", law_at=lambda t: Attention(beta=1.0))
    shown = figure.axes[0].findobj(matplotlib.collections.QuadMesh)[0].get_array().reshape(4, 4)
    np.testing.assert_allclose(shown[2:, 2:], 0.5)
    np.testing.assert_allclose(shown[:2], 0.25)
    assert "order of their clusters" in facts(figure)


@pytest.mark.parametrize("heads", [[1], [-1], [0.5], []])
def test_a_head_that_is_not_there_is_refused_with_those_that_are(heads):
    with pytest.raises(InvalidInput, match=r"heads must be among 0 \.\.\. 0"):
        figures.draw(merging(), kind="attention", heads=heads, law_at=lambda t: Attention(beta=1.0))


# Lipschitz constants


def test_the_local_constant_of_tokens_in_one_place_is_the_known_one():
    """At a single place x the drift of softmax is y -> mean of y: the derivative has norm 1 along equal tangents."""
    run = still(np.zeros((2, 4, 2)))
    figure = figures.draw(run, kind="lipschitz", law_at=lambda t: Attention(beta=3.0))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 1.0, rtol=1e-3)
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), 1.0, rtol=1e-3)
    assert "4 tokens" in facts(figure)


# the law


@pytest.mark.parametrize("kind", ["energy", "attention", "lipschitz"])
def test_a_kind_that_needs_the_law_is_refused_where_it_is_not_known(kind):
    with pytest.raises(InvalidInput, match="law"):
        figures.draw(merging(), kind=kind)


# all kinds, styles, the command line


def test_all_kinds_are_drawn_into_a_folder_or_left_out_with_a_reason(tmp_path):
    run = still(np.cumsum(np.ones((4, 3, 1)), axis=0), Euclidean(1))
    heads = Attention(
        beta=1.0, heads=2, value=np.ones((2, 1)), output=np.ones((1, 2)), query=np.eye(2, 1), key=np.eye(2, 1)
    )
    written, left_out = figures.draw_all(run, tmp_path / "new", name="run", suffix=".svg", law_at=lambda t: heads)
    assert {path.name.removesuffix(".svg").removeprefix("run-") for path in written} | {*left_out} == {*figures.KINDS}
    assert all(path.read_text(encoding="utf-8").startswith("<?xml") for path in written)
    assert left_out["sphere"] == "it is for tokens on the sphere in R^3"
    assert "one head" in left_out["energy"] and "no observables" in left_out["observables"]


def test_a_style_is_laid_over_that_of_the_package(tmp_path):
    (tmp_path / "large.mplstyle").write_text("axes.labelsize: 17\n", encoding="utf-8")
    for style in ({"axes.labelsize": 17}, tmp_path / "large.mplstyle"):
        assert figures.draw(merging(), kind="plane", style=style).axes[0].xaxis.label.get_fontsize() == 17
    for style in ({"no.such": 1}, tmp_path / "missing.mplstyle", {"axes.labelsize": "huge"}):
        with pytest.raises(InvalidInput, match="style"):
            figures.draw(merging(), kind="plane", style=style)


def test_the_help_names_every_kind_with_its_description(capsys):
    assert main(["plot", "--help"]) == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for kind in (*figures.KINDS.values(), *figures.SWEEP_KINDS.values(), *figures.STUDY_KINDS.values()):
        assert f"{kind.name} {kind.description}" in text


def test_all_kinds_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ("--set", "tokens.count=8", "--set", "depth.time=2.0", "--backend", "reference", "--quiet")
    assert main(["run", "sphere-clusters", *small, "--out", "run.h5"]) == 0
    assert main(["plot", "run.h5", "--kind", "all", "--out", "pictures"]) == 0
    said = capsys.readouterr().out
    assert "no circle: it is for tokens on the circle" in said
    drawn = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {f"run-{kind}.png" for kind in ("sphere", "energy", "tree", "ridge", "attention", "lipschitz")} <= drawn
    assert all(name in said for name in drawn)
    assert main(["plot", "run.h5", "--kind", "all", "--out", "pictures"]) == 2
    assert "exists already" in capsys.readouterr().err
