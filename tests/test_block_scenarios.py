"""The section [block] of scenario files: what it builds, what it refuses, and runs through the whole house."""

import json

import attndyn
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.errors import ScenarioError
from attndyn.particles import Attention, Block, LayerNorm, RMSNorm
from attndyn.scenarios.build import build
from attndyn.scenarios.schema import Scenario

BASE = """
title = "a test"
[tokens]
count = 6
dimension = 4
initial = { law = "uniform", region = "sphere" }
[space]
kind = "euclidean"
[attention]
beta = 2.0
[depth]
time = 1.0
[save]
every = 0.25
observables = ["mean_cosine", "attention_entropy"]
"""
SPHERE = {"space.kind": "sphere"}
FEED = {"block.feed_forward": {"hidden": 5}}
NETWORK = {"depth.layers": 3, "save.every": 1.0}


def scenario(folder=".", **changes):
    return Scenario.parse(BASE, folder=folder).override(changes)


def only_law(changes, folder="."):
    (law,) = build(scenario(folder, **changes)).laws
    return law


def test_without_a_section_the_law_is_the_attention():
    assert isinstance(only_law({}), Attention)
    assert isinstance(only_law({"block": {}}), Attention)


def test_the_section_builds_a_block():
    gain, bias = [1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.4]
    layer = only_law({"block": {"norm": "pre", "normaliser": "layer", "gain": gain, "bias": bias, "epsilon": 1e-3}})
    assert isinstance(layer, Block)
    assert isinstance(layer.normaliser, LayerNorm)
    assert (layer.norm, layer.normaliser.epsilon) == ("pre", 1e-3)
    np.testing.assert_array_equal(layer.normaliser.gain, gain)
    np.testing.assert_array_equal(layer.normaliser.bias, bias)
    assert isinstance(only_law({"block": {"norm": "peri", "normaliser": "rms"}}).normaliser, RMSNorm)
    assert only_law(SPHERE | {"block": {"norm": "ngpt", "alpha": 0.5}}).alpha == 0.5
    assert only_law({"block": {"norm": "mix", "tau": 0.5}}).tau == 0.5


def test_feed_forward_matrices_are_drawn_read_or_given(tmp_path):
    drawn = only_law(FEED).feed_forward
    assert (drawn.inner.shape, drawn.outer.shape, drawn.activation) == ((5, 4), (4, 5), "gelu")
    again, other = (only_law(FEED | {"tokens.seed": seed}).feed_forward for seed in (0, 1))
    np.testing.assert_array_equal(again.inner, drawn.inner)
    assert np.abs(other.inner - drawn.inner).max() > 0.1
    assert not np.array_equal(drawn.inner, drawn.outer.T)
    assert only_law({"block.feed_forward": {}}).feed_forward.inner.shape == (16, 4)
    np.savez(tmp_path / "maps.npz", w=np.arange(28.0).reshape(7, 4), b=np.arange(7.0))
    table = {
        "activation": "relu",
        "inner": {"file": "maps.npz", "array": "w"},
        "inner_bias": {"file": "maps.npz", "array": "b"},
        "outer": {"law": "gaussian", "scale": 0.0},
    }
    read = only_law({"block.feed_forward": table}, tmp_path).feed_forward
    np.testing.assert_array_equal(read.inner, np.arange(28.0).reshape(7, 4))
    np.testing.assert_array_equal(read.inner_bias, np.arange(7.0))
    np.testing.assert_array_equal(read.outer, np.zeros((4, 7)))
    square = only_law({"block.feed_forward": {"hidden": 4, "inner": "identity", "outer": 0.5}}).feed_forward
    np.testing.assert_array_equal(square.inner, np.eye(4))
    np.testing.assert_array_equal(square.outer, 0.5 * np.eye(4))


def test_layers_have_feed_forward_maps_of_their_own():
    laws = build(scenario(**FEED, **NETWORK, **{"depth.weights": "independent"})).laws
    assert len(laws) == 3
    assert np.abs(laws[0].feed_forward.inner - laws[1].feed_forward.inner).max() > 0.1


MISTAKES = {
    "unknown norm": ({"block.norm": "batch"}, "block.norm: must be one of none, post, pre"),
    "misspelt norm": ({"block.norm": "perry"}, 'did you mean "peri"'),
    "misspelt key": ({"block.nrm": "pre"}, "block.nrm: unknown key; did you mean block.norm"),
    "post in R^d": ({"block.norm": "post"}, 'block.norm: "post" needs space.kind = "sphere"; got "euclidean"'),
    "ngpt in R^d": ({"block.norm": "ngpt"}, 'block.norm: "ngpt" needs space.kind = "sphere"'),
    "pre on a sphere": (SPHERE | {"block.norm": "pre"}, 'block.norm: "pre" needs space.kind = "euclidean"'),
    "mix without tau": ({"block.norm": "mix"}, 'block.tau: missing; norm = "mix" needs'),
    "tau without mix": ({"block": {"norm": "pre", "tau": 1.0}}, 'block.tau: belongs to norm = "mix"; got norm = "pre"'),
    "alpha without ngpt": ({"block": {"norm": "pre", "alpha": 1.0}}, 'block.alpha: belongs to norm = "ngpt"'),
    "negative tau": ({"block": {"norm": "mix", "tau": -1.0}}, "block.tau: must be greater than 0"),
    "mix off the unit sphere": (
        {"block": {"norm": "mix", "tau": 0.5}, "tokens.initial.region": "ball"},
        'tokens.initial: norm "mix" begins on the unit sphere: tokens must have length 1; got one of 0.',
    ),
    "tau between steps": (
        {"block": {"norm": "mix", "tau": 0.35}, "depth.method": "rk4", "depth.step": 0.25},
        "block.tau: must be a multiple of the step 0.25; got 0.35",
    ),
    "normaliser of the sphere": (
        SPHERE | {"block": {"norm": "post", "normaliser": "rms"}},
        'block.normaliser: belongs to one of the norms pre, peri, add-norm; got norm = "post"',
    ),
    "gain without its normaliser": ({"block": {"norm": "pre", "gain": [1.0] * 4}}, "block.gain: belongs to normaliser"),
    "bias of rms": (
        {"block": {"norm": "pre", "normaliser": "rms", "bias": [1.0] * 4}},
        'block.bias: belongs to normaliser = "layer"; got normaliser = "rms"',
    ),
    "gain of the wrong length": (
        {"block": {"norm": "pre", "normaliser": "layer", "gain": [1.0, 2.0]}},
        "block.gain: must have 4 numbers, one for each component; got 2",
    ),
    "splitting without feed-forward": (
        {"depth.method": "strang", "depth.step": 0.25},
        'depth.method: "strang" splits attention from a feed-forward map; give block.feed_forward',
    ),
    "splitting without a step": (FEED | {"depth.method": "strang"}, "depth.step: missing; the fixed-step method"),
    "unknown activation": (
        {"block.feed_forward": {"activation": "tanh"}},
        "block.feed_forward.activation: must be one",
    ),
    "a missing file": ({"block.feed_forward": {"inner": {"file": "none.npy"}}}, "block.feed_forward.inner: none.npy"),
    "an inner matrix that does not fit": (
        {"block.feed_forward": {"inner": [[1.0, 2.0]]}},
        r"block.feed_forward.inner: must have the shape (1, 4); got (1, 2)",
    ),
    "a hidden size that does not fit": (
        {"block.feed_forward": {"hidden": 3, "inner": [[1.0, 2.0, 3.0, 4.0]]}},
        r"block.feed_forward.inner: must have the shape (3, 4); got (1, 4)",
    ),
    "a bias that does not fit": (
        {"block.feed_forward": {"hidden": 3, "inner_bias": [1.0]}},
        "block.feed_forward.inner_bias: must have 3 numbers; got 1",
    ),
    "independent layers with nothing drawn": (
        NETWORK | {"depth.weights": "independent", "block.norm": "pre"},
        'depth.weights: "independent" needs a matrix to draw',
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_key(mistake):
    changes, message = MISTAKES[mistake]
    with pytest.raises(ScenarioError) as caught:
        build(scenario(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


RUNS = {
    "pre": {"block.norm": "pre"},
    "peri with layer normalisation": FEED | {"block.norm": "peri", "block.normaliser": "layer"},
    "mix": FEED | {"block.norm": "mix", "block.tau": 0.5},
    "mix, fixed steps": {"block.norm": "mix", "block.tau": 0.5, "depth.method": "rk4", "depth.step": 0.125},
    "sqrt": SPHERE | {"block.norm": "sqrt"},
    "ngpt": SPHERE | FEED | {"block.norm": "ngpt", "block.alpha": 2.0},
    "splitting": SPHERE | FEED | {"depth.method": "lie-trotter", "depth.step": 0.05},
    "splitting, and a drift to stop at": FEED
    | {
        "block.norm": "pre",
        "depth.method": "strang",
        "depth.step": 0.25,
        "save.stop": {"drift": 1e-9},
    },
    "network": NETWORK | FEED | {"block.norm": "pre", "depth.weights": "independent"},
    "network of mix": NETWORK | FEED | {"block.norm": "mix", "block.tau": 1.5, "depth.step": 1.0},
    "pure attention and feed-forward": NETWORK | FEED | {"depth.residual": False, "block.norm": "pre"},
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_runs_through_the_house(changes, tmp_path):
    with attndyn.run(scenario(**changes), tmp_path / "run.h5") as trajectory:
        assert trajectory.status == "finished"
        assert np.isfinite(trajectory.positions[-1]).all()
        assert all(np.isfinite(values).all() for values in trajectory.observables.values())
        assert trajectory.scenario.block == scenario(**changes).block


def test_one_system_on_two_processes_is_that_of_one():
    pytest.importorskip("torch", reason="the torch backend is an extra")
    block = scenario(**RUNS["peri with layer normalisation"])
    with attndyn.run(block, backend="torch") as one, attndyn.run(block, processes=2) as two:
        np.testing.assert_allclose(two.positions[-1], one.positions[-1], rtol=0, atol=1e-9)


def test_the_command_line_knows_blocks(tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text(scenario(**FEED, **{"block.norm": "pre"}).text, encoding="utf-8")
    assert main(["check", str(file)]) == 0
    assert "pre-normalised softmax attention and a gelu feed-forward map" in capsys.readouterr().out
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["$defs"]["BlockSection"]["properties"]["norm"]["enum"]) >= {"pre", "peri", "post"}
