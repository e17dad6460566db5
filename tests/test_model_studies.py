"""Studies of an imported model: what they compare, tokens that run off, and clusters by the names of their tokens."""

import re

import attndyn
import numpy as np
import pytest
from attndyn.data.analysis.members import groups, told
from attndyn.data.analysis.rendering import as_csv, as_text
from attndyn.scenarios.mistakes import ScenarioError

FINE = [12, 24, 48, 96]
ONE_LAYER = {"depth.weights": "shared", "depth.layer": 1}


@pytest.fixture(scope="module")
def looped(imported, tmp_path_factory):
    """The file of a run in which a layer is used again and again, until tokens are together."""
    path = tmp_path_factory.mktemp("run") / "looped.h5"
    attndyn.run(attndyn.load(imported("bert") / "shared.toml"), path, backend="torch").close()
    return path


def study(scenario, **changes):
    given = {"limit.kind": "depth", "limit.layers": FINE, "limit.tolerance": 1e-8}
    changes = given | {key.replace("__", "."): value for key, value in changes.items()}
    return attndyn.limit(scenario.override(changes), workers=1)


def test_one_layer_made_thinner_tends_to_its_flow_at_rate_one(imported):
    with study(attndyn.load(imported("bert") / "depth-limit.toml").override(ONE_LAYER)) as found:
        assert found.series[0].expected == -1.0
        assert found.series[0].rate().value == pytest.approx(-1.0, abs=0.15)


def test_the_ends_of_a_study_are_the_model_and_its_flow(imported):
    folder = imported("bert")
    with study(attndyn.load(folder / "depth-limit.toml"), limit__layers=[3, 6]) as found:
        model, flow = (np.asarray(found.run(name)["final"])[0, 0] for name in ("L = 3", "flow"))
    with attndyn.run(folder / "scenario.toml") as trajectory:
        np.testing.assert_allclose(model, trajectory.positions[-1, 0], rtol=0, atol=1e-12)
    tight = {"depth.rtol": 1e-8, "depth.atol": 1e-8}
    with attndyn.run(attndyn.load(folder / "flow.toml").override(tight)) as trajectory:
        np.testing.assert_allclose(flow, trajectory.positions[-1, 0], rtol=0, atol=1e-5)


def test_a_looped_network_is_refined_with_its_layers_in_turn(imported):
    cycled = attndyn.load(imported("bert") / "cycled.toml").override({"depth.layers": 6})
    with study(cycled, limit__layers=[6, 12]) as found:
        network = np.asarray(found.run("L = 6")["final"])[0, 0]
    with attndyn.run(cycled) as trajectory:
        np.testing.assert_allclose(network, trajectory.positions[-1, 0], rtol=0, atol=1e-12)


def test_layers_are_divided_evenly_by_default_up_to_64(imported):
    scenario = attndyn.load(imported("bert") / "scenario.toml")
    with pytest.raises(ScenarioError, match=r"limit.layers: must divide each of the 3 layers evenly; got 8"):
        study(scenario, limit__layers=[3, 8])
    with pytest.raises(ScenarioError, match=r"limit.samples: is for weights drawn at every layer; got 2 without"):
        study(scenario, limit__samples=2)
    from attndyn.scenarios.limits.depth import tasks

    named = tasks(scenario.override({"limit": {"kind": "depth"}}))
    assert named == ["flow", *(f"L = {3 * 2**k}" for k in range(7))]
    assert attndyn.load(imported("bert") / "depth-limit.toml").limit.layers == [3 * 2**k for k in range(7)]


def test_tokens_that_run_off_are_no_fixed_point(imported):
    few = {"limit.most": 60, "limit.starts": 1}
    with attndyn.limit(attndyn.load(imported("gpt2") / "fixed-point.toml").override(few), workers=1) as found:
        words = " ".join(found.remarks)
    assert "Tokens run off under picard: their root mean square length grew from" in words
    assert "picard: not converged" in words and "anderson: not converged" in words


def test_members_names_the_tokens_of_every_cluster(looped):
    found = attndyn.analyze(looped, ["members"], depths=[0.0, 30.0], keep=False)
    table = found.tables["members"]
    with attndyn.open(looped) as trajectory:
        strings, counts = trajectory.token_strings, trajectory.observables["clusters"][[0, -1], 0]
    late = table.columns["depth"] == 30.0
    assert late.any() and (table.columns["size"] > 1).all()
    assert (np.diff(table.columns["size"][late]) <= 0).all()
    named = [len(re.sub(r" x(\d+)", "", row).split("  ")) for row in table.columns["tokens"]]
    assert (np.array(named) <= table.columns["size"]).all()
    alone = [int(each) for each in re.findall(r"(\d+) at depth", table.remarks[1])]
    clusters = [int((table.columns["depth"] == depth).sum()) + n for depth, n in zip((0.0, 30.0), alone, strict=True)]
    assert clusters == counts.tolist()
    for name, first in zip(table.columns["tokens"], table.columns["cluster"], strict=True):
        assert strings[first] in name


def test_names_of_a_cluster_begin_with_the_most_frequent():
    assert told(["a", "b", "b", "c", "b", "c"]) == "b x3  c x2  a"
    found = groups(np.array([0, 1, 1, -1, 2, 1, 2]))
    assert [group.tolist() for group in found] == [[1, 2, 5], [4, 6], [0]]
    assert groups(np.full(3, -1)) == []


def test_long_texts_are_cut_on_a_terminal_alone():
    from attndyn.data.analysis.table import Table

    table = Table("members", {"tokens": np.array(["word  " * 100])})
    assert len(as_text(table).splitlines()[1]) <= 96
    assert as_csv(table).count("word") == 100


def test_the_report_says_which_tokens_are_together(looped, tmp_path):
    pytest.importorskip("plotly", reason="reports need plotly: pip install 'attndyn[report]'")
    attndyn.report(looped, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    section = re.search(r'<section id="together">.*?</section>', page, re.DOTALL)[0]
    assert "Which tokens are together at depth 30" in section
    sizes = [int(size) for size in re.findall(r"<dt>(\d+) tokens</dt>", section)]
    alone = [int(size) for size in re.findall(r"<dt>(\d+) alone</dt>", section)]
    assert sum(sizes) + sum(alone) == 17 and max(sizes) > 1
    assert "cat" in section
