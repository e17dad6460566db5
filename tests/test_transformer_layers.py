"""Layers of real transformers, written out in NumPy: Add & Norm, pre-normalisation, gates, numbers of every layer."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from attndyn import InvalidInput, run
from attndyn.integrators import integrate
from attndyn.integrators.layer_map import LayerMap
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, LayerNorm, RMSNorm
from attndyn.particles.priors import rotated
from attndyn.particles.schedule import Schedule
from attndyn.scenarios.mistakes import ScenarioError
from attndyn.scenarios.schema import Scenario
from scipy.special import erf

TOKENS, D, HIDDEN, HEADS, LAYERS = 6, 8, 12, 2, 3
EPSILON = 1e-5
FORMS = [("add-norm", "layer"), ("pre", "layer"), ("pre", "rms")]
forms = pytest.mark.parametrize(("norm", "normaliser"), FORMS)
backends = pytest.mark.parametrize("backend", ["numba", "torch", "reference"])


def numbers():
    """The numbers of a model with LAYERS layers, each array with the layers along its first axis."""
    generator = np.random.default_rng(5)
    found = {name: generator.standard_normal((LAYERS, D, D)) / 3.0 for name in ("query", "key", "value", "output")}
    found |= {f"{name}_bias": generator.standard_normal((LAYERS, D)) / 5.0 for name in tuple(found)}
    found |= {name: generator.standard_normal((LAYERS, HIDDEN, D)) / 3.0 for name in ("inner", "gate")}
    found["outer"] = generator.standard_normal((LAYERS, D, HIDDEN)) / 3.0
    found |= {name: generator.standard_normal((LAYERS, HIDDEN)) / 5.0 for name in ("inner_bias", "gate_bias")}
    found["outer_bias"] = generator.standard_normal((LAYERS, D)) / 5.0
    found |= {name: 1.0 + generator.standard_normal((LAYERS, D)) / 5.0 for name in ("gain", "norm_gain")}
    found |= {name: generator.standard_normal((LAYERS, D)) / 5.0 for name in ("bias", "norm_bias")}
    found |= {"positions": generator.standard_normal((TOKENS, D)), "readout_gain": generator.standard_normal(D)}
    return found


NUMBERS = numbers()


def plain_normaliser(normaliser, x, gain, bias):
    """Layer normalisation, or root mean square."""
    if normaliser == "rms":
        return gain * x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
    return gain * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON) + bias


def plain_parts(layer):
    """Attention with heads and biases, and the gated feed-forward map, of a layer."""
    n = {name: values[layer] for name, values in NUMBERS.items() if name not in ("positions", "readout_gain")}

    def attention(x):
        query, key, value = (
            (x @ n[name].T + n[f"{name}_bias"]).reshape(TOKENS, HEADS, -1) for name in ("query", "key", "value")
        )
        scores = np.einsum("ihc,jhc->hij", query, key) / np.sqrt(D / HEADS)
        rows = np.exp(scores - scores.max(-1, keepdims=True))
        rows /= rows.sum(-1, keepdims=True)
        return np.einsum("hij,jhc->ihc", rows, value).reshape(TOKENS, D) @ n["output"].T + n["output_bias"]

    def feed_forward(x):
        gate = x @ n["gate"].T + n["gate_bias"]
        gate = 0.5 * gate * (1.0 + erf(gate / np.sqrt(2.0)))
        return (gate * (x @ n["inner"].T + n["inner_bias"])) @ n["outer"].T + n["outer_bias"]

    return attention, feed_forward


def plain_layer(x, layer, norm, normaliser):
    """One layer of the model."""
    for part, gain, bias in zip(plain_parts(layer), ("gain", "norm_gain"), ("bias", "norm_bias"), strict=True):
        own = NUMBERS[gain][layer], NUMBERS[bias][layer]
        if norm == "pre":
            x = x + part(plain_normaliser(normaliser, x, *own))
        else:
            x = plain_normaliser(normaliser, x + part(x), *own)
    return x


def text(norm="add-norm", normaliser="layer", depth="", more=""):
    """The scenario of the model."""

    def stacks(*names):
        return "\n".join(f'{name} = {{ file = "model.npz", array = "{name}" }}' for name in names)

    biases, own_biases = (("bias",), ("norm_bias",)) if normaliser == "layer" else ((), ())
    maps = ("inner", "outer", "gate", "inner_bias", "outer_bias", "gate_bias", "norm_gain")
    attention = stacks(*(f"{name}{end}" for name in ("query", "key", "value", "output") for end in ("", "_bias")))
    return f"""
[tokens]
initial = {{ law = "file", file = "model.npz", array = "positions" }}
[space]
kind = "euclidean"
[attention]
heads = {HEADS}
score = "scaled-dot"
{attention}
[block]
norm = "{norm}"
normaliser = "{normaliser}"
{stacks("gain", *biases)}
[block.feed_forward]
{stacks(*maps, *own_biases)}
[depth]
{depth or f'weights = "independent"{chr(10)}layers = {LAYERS}'}
[save]
observables = ["mean_cosine"]
{more}
"""


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "model.npz", **NUMBERS)
    return tmp_path


def ran(folder, text, **engine):
    """The trajectory of a scenario."""
    return run(Scenario.parse(text, folder=folder), out=folder / "run.h5", overwrite=True, **engine)


@backends
@forms
def test_every_layer_of_a_model_is_the_formula(folder, norm, normaliser, backend):
    x = NUMBERS["positions"]
    with ran(folder, text(norm, normaliser), backend=backend) as trajectory:
        assert len(trajectory.times) == LAYERS + 1
        for layer in range(LAYERS):
            x = plain_layer(x, layer, norm, normaliser)
            np.testing.assert_allclose(trajectory.positions[layer + 1][0], x, rtol=0, atol=1e-13)


def test_after_its_last_layer_a_model_begins_again(folder):
    x, layers = NUMBERS["positions"], 2 * LAYERS + 1
    with ran(folder, text(depth=f'weights = "independent"\nlayers = {layers}')) as trajectory:
        for layer in range(layers):
            x = plain_layer(x, layer % LAYERS, "add-norm", "layer")
        np.testing.assert_allclose(trajectory.positions[-1][0], x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_one_layer_of_a_model_is_shared_by_all_depths(folder, layer):
    x = NUMBERS["positions"]
    with ran(folder, text(depth=f"layer = {layer}\nlayers = 4")) as trajectory:
        for _ in range(4):
            x = plain_layer(x, layer, "add-norm", "layer")
        np.testing.assert_allclose(trajectory.positions[-1][0], x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["add-norm", "pre"])
def test_thinner_layers_of_a_model_tend_to_the_flow_of_its_schedule(folder, norm):
    """The error of L thin layers to a depth falls like 1/L, for layers that take turns and for such as are blended."""
    for kind in ("piecewise", "interpolated"):
        schedule = f'weights = "schedule"\nschedule = {{ kind = "{kind}", every = 1.0 }}'
        with ran(folder, text(norm, depth=f"{schedule}\ntime = 2.0\nrtol = 1e-11\natol = 1e-12")) as trajectory:
            limit = trajectory.positions[-1][0]
        errors = []
        for layers in (64, 128):
            with ran(folder, text(norm, depth=f"{schedule}\nlayers = {layers}\nstep = {2.0 / layers}")) as trajectory:
                errors.append(np.abs(trajectory.positions[-1][0] - limit).max())
        assert 0.9 < np.log2(errors[0] / errors[1]) < 1.1


def test_the_flow_of_add_norm_is_the_formula():
    attention, feed_forward = plain_parts(1)
    x = NUMBERS["positions"]
    expected = sum(
        plain_normaliser("layer", x + part(x), NUMBERS[gain][1], NUMBERS[bias][1]) - x
        for part, gain, bias in ((attention, "gain", "bias"), (feed_forward, "norm_gain", "norm_bias"))
    )
    for backend in ("numba", "torch", "reference"):
        found = block_of_layer(1).drift(x, space=Euclidean(D), backend=backend)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def block_of_layer(layer, norm="add-norm"):
    """The block of a layer."""
    n = {name: values[layer] for name, values in NUMBERS.items() if name not in ("positions", "readout_gain")}
    names = [f"{name}{end}" for name in ("query", "key", "value", "output") for end in ("", "_bias")]
    attention = Attention(heads=HEADS, score="scaled-dot", **{name: n[name] for name in names})
    names = ["inner", "outer", "gate", "inner_bias", "outer_bias", "gate_bias"]
    feed_forward = FeedForward(**{name: n[name] for name in names})
    first, second = LayerNorm(n["gain"], n["bias"]), LayerNorm(n["norm_gain"], n["norm_bias"])
    return Block(attention, feed_forward, norm, first, feed_forward_normaliser=second)


def test_a_step_in_depth_of_a_block_with_its_own_normalisers_may_be_differentiated():
    import torch

    x = torch.tensor(NUMBERS["positions"], requires_grad=True)
    direction = np.random.default_rng(1).standard_normal((TOKENS, D))
    for norm in ("add-norm", "pre"):
        block = block_of_layer(0, norm)

        def along(h, block=block):
            return block.drift(NUMBERS["positions"] + h * direction, space=Euclidean(D))

        speed = block.drift(x, space=Euclidean(D), backend="torch")
        (gradient,) = torch.autograd.grad((speed * torch.tensor(direction)).sum(), x)
        expected = ((along(1e-5) - along(-1e-5)) / 2e-5 * direction).sum()
        assert float((gradient * torch.tensor(direction)).sum()) == pytest.approx(expected, rel=1e-7)


def test_an_interpolated_schedule_blends_gains_and_gates():
    halfway = Schedule([block_of_layer(0), block_of_layer(1)], [0.0, 2.0], interpolated=True).at(0.5)
    for found, name in (
        (halfway.normaliser.gain, "gain"),
        (halfway.feed_forward_normaliser.bias, "norm_bias"),
        (halfway.feed_forward.gate, "gate"),
        (halfway.attention.output, "output"),
    ):
        np.testing.assert_allclose(found, 0.75 * NUMBERS[name][0] + 0.25 * NUMBERS[name][1], rtol=1e-15)


def test_the_map_of_a_layer_is_the_layer():
    block, ensemble = block_of_layer(2), Ensemble(NUMBERS["positions"][None], Euclidean(D))
    found = LayerMap(block, ensemble, residual=True)(ensemble.positions)
    np.testing.assert_allclose(found[0], plain_layer(NUMBERS["positions"], 2, "add-norm", "layer"), rtol=0, atol=1e-13)


def test_the_readout_is_that_of_the_file(folder):
    more = '[readout]\nnormaliser = "rms"\ngain = { file = "model.npz", array = "readout_gain" }\nepsilon = 1e-3'
    with ran(folder, text("pre", more=more)) as trajectory:
        x = trajectory.positions[-1]
        expected = NUMBERS["readout_gain"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3)
        np.testing.assert_allclose(trajectory.readout(), expected, rtol=1e-14)
        assert not np.array_equal(trajectory.readout(0), trajectory.readout())
    with ran(folder, text("pre")) as trajectory:
        np.testing.assert_array_equal(trajectory.readout(), trajectory.positions[-1])


def test_a_trajectory_keeps_its_stacks(folder):
    with ran(folder, text()) as trajectory:
        (folder / "model.npz").unlink()
        block = trajectory.law_at(1.0)
        np.testing.assert_array_equal(block.attention.query, NUMBERS["query"][1])
        np.testing.assert_array_equal(block.feed_forward_normaliser.gain, NUMBERS["norm_gain"][1])


def test_weights_in_single_precision_are_kept_in_single_precision(folder):
    single = {name: values.astype(np.float32) for name, values in NUMBERS.items()}
    np.savez(folder / "model.npz", **single | {"outer": NUMBERS["outer"]})
    with ran(folder, text()) as trajectory:
        arrays = {name: values for (_, name), values in trajectory.arrays.items()}
        np.testing.assert_array_equal(arrays["query"], single["query"].astype(np.float64))
        np.testing.assert_array_equal(arrays["outer"], NUMBERS["outer"])
        kept = trajectory.path.stat().st_size
    np.savez(folder / "model.npz", **NUMBERS)
    with ran(folder, text()) as trajectory:
        assert trajectory.path.stat().st_size - kept > 4 * sum(
            NUMBERS[name].size for name in ("query", "inner", "gate")
        )


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_rotary_positions_by_their_angles_are_those_of_their_base(backend):
    x, angles = NUMBERS["positions"], 10.0 ** (-np.arange(0, 4, 2) / 4)
    by_base, by_angles, others = (
        Attention(heads=HEADS, query=NUMBERS["query"][0], key=NUMBERS["key"][0], rotary=rotary)
        for rotary in (10.0, angles, 2.0 * angles)
    )
    expected = by_base.drift(x, space=Euclidean(D), backend=backend)
    np.testing.assert_allclose(by_angles.drift(x, space=Euclidean(D), backend=backend), expected, rtol=0, atol=1e-14)
    assert np.abs(others.drift(x, space=Euclidean(D), backend=backend) - expected).max() > 1e-3
    turned = rotated(np.ones((3, 4)), angles)
    c, s = np.cos(2 * angles), np.sin(2 * angles)
    np.testing.assert_allclose(turned[2], np.stack([c - s, s + c], axis=-1).ravel(), rtol=1e-14)


# what does not fit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeedForward(np.ones((4, 2)), np.ones((2, 4)), gate=np.ones((3, 2))), "gate must have the shape"),
        (lambda: FeedForward(np.ones((4, 2)), np.ones((2, 4)), gate_bias=np.ones(4)), "gate_bias belongs to a gate"),
        (lambda: Block(Attention(), norm="pre", feed_forward_normaliser=RMSNorm()), "belongs to a feed-forward map"),
        (lambda: Block(Attention(), norm="none", normaliser=RMSNorm()), "one of pre, peri, add-norm"),
        (lambda: Attention(rotary=[0.1, np.nan]), "rotary must be finite"),
        (lambda: Attention(rotary=np.ones(3)).projections(8), "an angle for every two of a head's 8 components; got 3"),
    ],
)
def test_parts_that_do_not_fit_are_named(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_add_norm_has_its_residual_connection(folder):
    ensemble = Ensemble(NUMBERS["positions"][None], Euclidean(D))
    with pytest.raises(InvalidInput, match="residual must be true"):
        integrate(block_of_layer(0), ensemble, layers=2, residual=False)
    with pytest.raises(InvalidInput, match="residual must be true"):
        LayerMap(block_of_layer(0), ensemble)
    with pytest.raises(ScenarioError, match=r"depth\.residual: must be true"):
        Scenario.parse(text(depth="layers = 2\nresidual = false"), folder=folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth.layer": 1}, r'depth\.layer: belongs to weights = "shared"'),
        ({"depth.weights": "shared", "depth.layer": 3}, r"holds the layers 0 to 2; got depth\.layer = 3"),
        ({"attention.key": {"file": "model.npz", "array": "inner"}}, r"attention\.\w+: "),
        ({"attention.key": {"file": "model.npz", "array": "short"}}, r"one for each of 3 layers, as others do; got 2"),
        ({"attention.key_bias": {"file": "model.npz", "array": "query"}}, r"key_bias: must be a list of numbers"),
        ({"block.feed_forward.norm_gain": {"file": "model.npz", "array": "gate_bias"}}, "must have 8 numbers"),
        ({"readout": {"normaliser": "rms", "gain": [1.0]}}, r"readout\.gain: must have 8 numbers"),
        ({"readout": {"normaliser": "rms", "bias": [1.0]}}, r'readout\.bias: belongs to normaliser = "layer"'),
    ],
)
def test_stacks_that_do_not_fit_are_named(folder, change, message):
    np.savez(folder / "model.npz", **NUMBERS | {"short": NUMBERS["key"][:2]})
    with pytest.raises(ScenarioError, match=message):
        ran(folder, Scenario.parse(text(), folder=folder).override(change).text)


def test_a_layer_is_picked_from_stacks_alone(folder):
    scenario = Scenario.parse("[depth]\nlayer = 1")
    with pytest.raises(ScenarioError, match=r"depth\.layer: picks from arrays that hold one for each layer"):
        run(scenario, out=folder / "run.h5")
    np.savez(folder / "model.npz", one=NUMBERS["query"][0])
    one = 'query = { file = "model.npz", array = "one" }'
    scenario = Scenario.parse(
        f'[tokens]\ndimension = 8\n[attention]\n{one}\n[depth]\nweights = "independent"\nlayers = 2'
    )
    with pytest.raises(ScenarioError, match=r'depth\.weights: "independent" needs a matrix to draw'):
        run(Scenario.parse(scenario.text, folder=folder), out=folder / "run.h5")


# a long text

LONG_TEXT = """
import sys
from pathlib import Path
import numpy as np
from attndyn.integrators import integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, LayerNorm
from scipy.special import erf, softmax

HEADS, D, TOKENS = 12, 96, 10_000
random = np.random.default_rng(0)
query, key, value, output, inner, outer = (
    random.standard_normal(shape) / shape[1] ** 0.5 for shape in [(D, D)] * 4 + [(4 * D, D), (D, 4 * D)]
)
attention = Attention(heads=HEADS, score="scaled-dot", mask="causal", query=query, key=key, value=value, output=output)
block = Block(attention, FeedForward(inner, outer), "add-norm", LayerNorm())

def layer(x):
    return integrate(block, Ensemble(x, Euclidean(D)), layers=1, save_at=[1.0], backend=sys.argv[1]).final

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024.0 for line in lines if line.startswith(name))

x = random.standard_normal((1, TOKENS, D))
layer(x[:, :64])
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
found = layer(x)[0]
assert resident("VmHWM") - before < 300.0, resident("VmHWM") - before  # one head's weights alone would be 800 MB

norm = lambda y: (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
for i in (0, 1, 4321, 9999):
    seen = x[0, : i + 1]
    q, k, v = ((y @ w.T).reshape(-1, HEADS, D // HEADS) for y, w in ((seen[-1:], query), (seen, key), (seen, value)))
    weights = softmax(np.einsum("hc,jhc->hj", q[0], k) / (D // HEADS) ** 0.5, axis=1)
    y = norm(x[0, i] + output @ np.einsum("hj,jhc->hc", weights, v).ravel())
    hidden = inner @ y
    y = norm(y + outer @ (0.5 * hidden * (1.0 + erf(hidden / 2.0**0.5))))
    np.testing.assert_allclose(found[i], y, rtol=0, atol=1e-12)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of the memory is read from /proc")
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_ten_thousand_tokens_go_through_twelve_heads_in_little_memory(backend):
    subprocess.run([sys.executable, "-c", LONG_TEXT, backend], check=True)
