"""Scenarios: what a file says is what runs; overriding; save times; running and opening from Python."""

import gc
import json
import shutil

import attndyn
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.errors import InvalidInput
from attndyn.particles import weights
from attndyn.scenarios import toml
from attndyn.scenarios.build import build

SMALL = {"tokens.count": 5, "depth.time": 1.0, "save.every": 0.25, "save.observables": ["mean_cosine"]}


def small(**changes):
    """A scenario that runs at once, with changes on top: section__key=value."""
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    return attndyn.Scenario.parse("", outside=True).override(SMALL).override(keys)


def test_an_empty_file_is_a_scenario_of_defaults():
    scenario = attndyn.Scenario.parse("")
    assert (scenario.count, scenario.dimension, scenario.space.kind) == (64, 3, "sphere")
    plan = build(scenario)
    assert plan.ensemble.positions.shape == (1, 64, 3)
    np.testing.assert_array_equal(plan.save_times, np.arange(101) * 10 / 100)


def test_the_text_of_a_scenario_reads_back_as_the_same_scenario():
    for name in attndyn.names():
        scenario = attndyn.load(name)
        changed = scenario.override({"tokens.seed": 7})
        again = attndyn.Scenario.parse(changed.text, name=name, folder=scenario.folder)
        assert again == changed != scenario
        assert again.tokens.seed == 7
        assert again.attention == scenario.attention


def test_the_text_of_an_unchanged_scenario_is_the_file_itself():
    scenario = attndyn.load("minilm-alice")
    assert scenario.text == (scenario.folder / "minilm-alice.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "value",
    [
        True,
        -3,
        1e-300,
        0.1,
        "",
        'a "quoted" text\\',
        "tab\t, newline\n, delete\x7f, \u00e9",
        [1, [2.5, []]],
        {"a b": {}},
    ],
)
def test_toml_that_is_written_reads_back(value):
    tables = {"plain": value, "section": {"key": value, "dotted.key": value}}
    assert toml.parse(toml.write(tables)) == tables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9", 9),
        ("1e-3", 1e-3),
        ("true", True),
        ("causal", "causal"),
        ('"4"', "4"),
        ("[1, 2]", [1, 2]),
        ('{ law = "grid" }', {"law": "grid"}),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_a_value_on_the_command_line_is_toml_or_else_a_text(text, value):
    assert toml.parse_value(text) == value


def test_override_leaves_the_scenario_itself_alone():
    scenario = small()
    changed = scenario.override({"attention.beta": np.float64(9.0), "tokens.count": np.int64(7)})
    assert (changed.attention.beta, changed.tokens.count) == (9.0, 7)
    assert (scenario.attention.beta, scenario.tokens.count) == (1.0, 5)


def test_override_takes_arrays_as_matrices():
    plan = build(small(attention__value=np.diag([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal(plan.laws[0].value, np.diag([1.0, 2.0, 3.0]))


def test_override_replaces_the_alternative():
    scenario = small().override({"save.times": [0.0, 0.5]})
    assert scenario.save.every is None
    network = scenario.override({"depth.layers": 3, "save.times": [0.0, 2.0]})
    assert (network.depth.time, network.depth.end) == (None, 3.0)
    assert network.override({"depth.time": 2.0}).depth.layers is None


def test_override_with_none_restores_the_default():
    assert small().override({"tokens.count": None}).count == 64


def test_override_reaches_into_tables_that_are_not_there_yet():
    scenario = small(attention__query__law="gaussian", save__stop__clusters=2)
    assert scenario.attention.query.law == "gaussian"
    assert scenario.save.stop.clusters == 2


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"save.every": 0.25}, [0, 0.25, 0.5, 0.75, 1]),
        ({"save.every": 0.4}, [0, 0.4, 0.8, 1]),
        ({"save.every": None, "depth.time": 0.3, "save.times": [0.1, 0.3]}, [0.1, 0.3]),
        ({"save.times": {"law": "log", "first": 0.01, "count": 3}}, [0, 0.01, 0.1, 1]),
        ({"save.every": None, "depth.layers": 3, "depth.step": 0.5}, [0, 0.5, 1, 1.5]),
        ({"save.every": 1.0, "depth.layers": 3, "depth.step": 0.5}, [0, 1, 1.5]),
        ({"save.every": None, "depth.method": "geodesic-euler", "depth.step": 0.3}, [0, 0.3, 0.6, 0.9, 1]),
        (
            {"save.every": None, "depth.method": "rk4", "depth.step": 0.4, "save.exact": True},
            [0, 0.4, 0.8, 1],
        ),
        ({"depth.layers": 8, "save.times": {"law": "log", "first": 1.0, "count": 4}}, [0, 1, 2, 4, 8]),
    ],
)
def test_save_times(changes, times):
    plan = build(small().override(changes))
    np.testing.assert_allclose(plan.save_times, times, rtol=1e-15)
    assert plan.save_times[-1] == plan.scenario.depth.end


def test_many_save_times_are_rounded_once_each():
    plan = build(small(depth__time=15.0, save__every=0.1))
    np.testing.assert_array_equal(plan.save_times, [k / 10 for k in range(151)])


def test_independent_layers_have_their_own_matrices_and_shared_ones_the_same():
    changes = {"depth__layers": 3, "save__every": 1.0, "attention__value": {"law": "gaussian", "scale": 2.0}}
    laws = build(small(**changes, depth__weights="independent")).laws
    assert len(laws) == 3
    for layer, law in enumerate(laws):
        np.testing.assert_array_equal(law.value, 2.0 * weights.draw("gaussian", 3, 3, 0, (layer, 2)))
    assert len(build(small(**changes)).laws) == 1


def test_matrices_follow_the_seed_of_the_tokens_or_their_own():
    def value(**changes):
        return build(small(attention__value={"law": "orthogonal"} | changes, tokens__seed=3)).laws[0].value

    np.testing.assert_array_equal(value(), weights.draw("orthogonal", 3, 3, 3, (0, 2)))
    np.testing.assert_array_equal(value(seed=5), weights.draw("orthogonal", 3, 3, 5, (0, 2)))


def test_files_are_found_beside_the_scenario(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    positions = np.arange(24.0).reshape(4, 6) + 1.0
    np.savez(folder / "tokens.npz", positions=positions, names=np.array(["a", "b", "c", "d"]))
    np.savetxt(folder / "weights.csv", [[0.1, 0.2, 0.3, 0.4]], delimiter=",")
    (folder / "mine.toml").write_text(
        """
        [tokens]
        initial = { law = "file", file = "tokens.npz", array = "positions" }
        strings = { file = "tokens.npz", array = "names" }
        weights = [0.1, 0.2, 0.3, 0.4]
        dtype = "float32"
        [space]
        kind = "euclidean"
        """,
        encoding="utf-8",
    )
    scenario = attndyn.load(folder / "mine.toml")
    plan = build(scenario)
    assert plan.ensemble.positions.dtype == np.float32
    np.testing.assert_array_equal(plan.ensemble.positions[0], positions)
    assert plan.strings == ["a", "b", "c", "d"]
    assert scenario.name == "mine"
    from_file = build(scenario.override({"tokens.weights": {"file": "weights.csv"}}))
    np.testing.assert_array_equal(from_file.ensemble.weights, plan.ensemble.weights)


def test_strings_of_a_text_file(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\nfour\nfive\nsix\n", encoding="utf-8")
    changed = small(tokens__strings={"file": str(tmp_path / "words.txt")})
    assert build(changed).strings == ["one", "two", "three", "four", "five"]


def test_a_mistake_in_python_is_an_invalid_input_that_names_the_key():
    with pytest.raises(attndyn.InvalidInput, match=r"attention\.bta: unknown key; did you mean attention\.beta\?"):
        small().override({"attention.bta": 1.0})
    with pytest.raises(attndyn.InvalidInput, match="neither a bundled scenario nor a file"):
        attndyn.load("no-such-scenario")
    with pytest.raises(attndyn.InvalidInput, match="backend must be one of numba, torch, reference"):
        attndyn.run(small(), backend="abacus")


def test_the_json_schema_describes_every_key():
    schema = attndyn.Scenario.model_json_schema()
    json.dumps(schema)
    tables = [schema, *(table for name, table in schema["$defs"].items() if not name.startswith("Initial"))]
    undescribed = [
        f"{table['title']}.{key}"
        for table in tables
        for key, value in table["properties"].items()
        if not value.keys() & {"description", "$ref"} and key not in ("law", "first", "count")
    ]
    assert undescribed == []


def test_a_run_writes_what_the_scenario_says(tmp_path):
    scenario = small(tokens__replicas=2)
    reached = []
    with attndyn.run(
        scenario, tmp_path / "run.h5", backend="reference", progress=lambda t, statistics: reached.append(t)
    ) as trajectory:
        assert trajectory.status == "finished"
        assert trajectory.positions.shape == (5, 2, 5, 3)
        np.testing.assert_allclose(trajectory.times, [0, 0.25, 0.5, 0.75, 1], rtol=1e-15)
        np.testing.assert_array_equal(trajectory.positions[0], build(scenario).ensemble.positions)
        assert trajectory.observables["mean_cosine"].shape == (5, 2)
        assert trajectory.statistics["drift_evaluations"] > 0
        assert trajectory.scenario == scenario
        assert trajectory.provenance["values"]["depth"]["rtol"] == 1e-8
    assert reached == sorted(reached)
    assert reached[-1] == 1.0


def test_a_bundled_scenario_that_was_run_can_be_run_again_from_its_file(tmp_path):
    changes = {"depth.layers": 1, "save.every": 1.0, "save.stop": None}
    attndyn.run(attndyn.load("minilm-alice").override(changes), tmp_path / "a.h5", backend="reference").close()
    with (
        attndyn.open(tmp_path / "a.h5") as first,
        attndyn.run(first.scenario, tmp_path / "b.h5", backend="reference") as second,
    ):
        assert second.scenario == first.scenario
        np.testing.assert_array_equal(first.positions[:], second.positions[:])
        assert first.token_strings[:3] == ["[CLS]", "alice", "was"]


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    def end(seed):
        with attndyn.run(small(tokens__seed=seed), backend="reference") as trajectory:
            return trajectory.positions[-1]

    np.testing.assert_array_equal(end(0), end(0))
    assert np.abs(end(0) - end(1)).max() > 0.1


def test_a_run_without_a_file_is_kept_as_long_as_it_is_used():
    trajectory = attndyn.run(small(), backend="reference")
    path = trajectory.path
    assert path.exists()
    assert trajectory.positions[-1].shape == (1, 5, 3)
    del trajectory
    gc.collect()
    assert not path.parent.exists()


def test_a_failing_run_says_so_and_keeps_its_frames(tmp_path):
    # oracle 3.3: unnormalised attention in R^d with value = query = key = identity blows up in finite time
    scenario = small(space__kind="euclidean", attention__normalisation="none", depth__time=5.0)
    with attndyn.run(scenario, tmp_path / "run.h5", backend="reference") as trajectory:
        assert trajectory.status.startswith("failed: ")
        assert 1 <= len(trajectory) < 21
        assert np.isfinite(trajectory.positions[:]).all()


def test_a_run_stops_at_its_event():
    with attndyn.run(small(depth__time=50.0, save__stop__clusters=1), backend="reference") as trajectory:
        assert trajectory.status.startswith("stopped: ")
        assert trajectory.times[-1] < 50.0


def test_independent_layers_are_the_network_written_out():
    scenario = small(
        attention__value={"law": "gaussian"}, depth__weights="independent", depth__layers=3, save__every=1.0
    )
    plan = build(scenario)
    x = plan.ensemble.positions
    for law in plan.laws:
        x = x + np.stack([_attention(law, tokens) for tokens in x])
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    with attndyn.run(scenario, backend="reference") as trajectory:
        np.testing.assert_allclose(trajectory.positions[-1], x, rtol=1e-13)


def _attention(law, tokens):
    scores = np.exp(law.beta * tokens @ tokens.T)
    return scores / scores.sum(axis=1, keepdims=True) @ tokens @ law.value.T


def test_the_law_of_a_trajectory_is_known_when_the_files_of_its_scenario_are_gone(tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    matrix, tokens = np.diag([2.0, 1.0, 0.5]), np.random.default_rng(0).standard_normal((5, 3))
    np.savez(folder / "arrays.npz", query=matrix, tokens=tokens, strings=np.array(list("abcde")))
    (folder / "mine.toml").write_text(
        '[tokens]\ninitial = { law = "file", file = "arrays.npz", array = "tokens" }\n'
        'strings = { file = "arrays.npz", array = "strings" }\n'
        '[attention]\nquery = { file = "arrays.npz", array = "query" }\n[depth]\ntime = 0.5\n'
    )
    with attndyn.run(folder / "mine.toml", out=tmp_path / "mine.h5") as first:
        positions = first.positions[:]
    shutil.rmtree(folder)
    with attndyn.open(tmp_path / "mine.h5") as trajectory:
        np.testing.assert_array_equal(trajectory.law_at(0.25).query, matrix)
        assert trajectory.plan.strings == list("abcde")
        again = attndyn.run(trajectory.scenario)
        np.testing.assert_array_equal(again.positions[:], positions)
        changed = trajectory.scenario.override({"attention.key": {"file": "arrays.npz", "array": "tokens"}})
        with pytest.raises(InvalidInput, match=r"does not keep the array tokens in arrays\.npz"):
            build(changed)


def test_a_scenario_reads_nothing_outside_its_folder_unless_told_so(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "query.npy", np.eye(3))
    path = tmp_path / "mine" / "mine.toml"
    for file in ("../query.npy", str(tmp_path / "query.npy")):
        path.write_text(f'[attention]\nquery = {{ file = "{file}" }}\n[depth]\ntime = 0.1\n')
        with pytest.raises(InvalidInput, match=r"attention\.query: .*query\.npy lies outside the folder"):
            build(attndyn.load(path))
        assert build(attndyn.load(path, outside=True)).laws[0].query.shape == (3, 3)
        assert main(["check", str(path)]) == 2
        assert "--outside" in capsys.readouterr().err
        assert main(["check", str(path), "--outside"]) == 0
    (tmp_path / "mine" / "query.npy").symlink_to(tmp_path / "query.npy")
    path.write_text('[attention]\nquery = { file = "query.npy" }\n')
    with pytest.raises(InvalidInput, match="lies outside the folder"):
        build(attndyn.load(path))
