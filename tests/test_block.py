"""Blocks against the formulas of their module written out in NumPy, on every backend; maps; derivatives."""

import numpy as np
import pytest
from attndyn import InvalidInput
from attndyn.integrators import integrate
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, LayerNorm, RMSNorm, Sphere, SphereNorm
from attndyn.particles.block import NORMS
from attndyn.particles.feed_forward import ACTIVATIONS
from plain_block import (
    ATTENTION,
    BIAS,
    DEPTH,
    GAIN,
    NORMALISERS,
    WEIGHTS,
    D,
    backends,
    block_of,
    effects,
    feed_forward,
    feeds,
    norms,
    space_of,
    tokens,
    unit,
)

# velocities


@backends
@feeds
@norms
def test_the_velocity_is_the_formula(norm, feed, backend):
    x = tokens(norm)
    expected = sum(effect(x) for effect in effects(norm, feed, DEPTH))
    if norm in ("post", "sqrt", "ngpt", "mix"):
        expected = expected - (expected * unit(x)).sum(-1, keepdims=True) * unit(x)
    found = block_of(norm, feed).drift(x, space=space_of(norm), weights=WEIGHTS, depth=DEPTH, backend=backend)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    single = block_of(norm, feed).drift(x[0], space=space_of(norm), weights=WEIGHTS, depth=DEPTH, backend=backend)
    np.testing.assert_allclose(single, expected[0], rtol=0, atol=1e-13)


@backends
@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("norm", ["pre", "peri", "add-norm"])
def test_the_velocity_with_any_normaliser(norm, normaliser, backend):
    x = tokens(norm)
    block = block_of(norm, normaliser=NORMALISERS[normaliser])
    found = block.drift(x, space=Euclidean(D), weights=WEIGHTS, backend=backend)
    expected = sum(effect(x) for effect in effects(norm, True, 0.0, normaliser))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


SPEED = {  # s and r' / <th, A> of the schemes, of r = |x| and a = |A|
    "post": lambda r, a, t: (1.0 + 0.0 * a, 0.0),
    "pre": lambda r, a, t: (r, 1.0),
    "peri": lambda r, a, t: (r * a, 1.0 / a),
    "ngpt": lambda r, a, t: (a / 1.7, 0.0),
    "sqrt": lambda r, a, t: (np.sqrt(1.0 + t) + 0.0 * a, 0.0),
}


@pytest.mark.parametrize("norm", SPEED)
def test_directions_move_by_the_attention_over_the_speed_factor(norm):
    """Oracle 8.4: th' = P A / s and the equation of the radius, for any tokens; A is that of the directions."""
    x, space = tokens(norm), Sphere(D) if NORMS[norm].place == "sphere" else Euclidean(D)
    x = unit(x) if norm in ("post", "ngpt", "sqrt") else x
    law = Attention(beta=2.0)
    velocity = Block(law, norm=norm, alpha=1.7 if norm == "ngpt" else None).drift(x, space=space, depth=DEPTH)
    r, th = np.linalg.norm(x, axis=-1, keepdims=True), unit(x)
    a = law.drift(th, space=Euclidean(D), backend="reference")
    s, grows = SPEED[norm](r, np.linalg.norm(a, axis=-1, keepdims=True), DEPTH)
    outward = (th * a).sum(-1, keepdims=True)
    radial = (th * velocity).sum(-1, keepdims=True)
    np.testing.assert_allclose((velocity - radial * th) / r, (a - outward * th) / s, rtol=0, atol=1e-14)
    np.testing.assert_allclose(radial, grows * outward, rtol=0, atol=1e-14)


def test_after_its_switch_mix_is_pre():
    x = tokens("pre")
    found = block_of("mix").drift(x, space=Euclidean(D), weights=WEIGHTS, depth=2.0)
    np.testing.assert_array_equal(found, block_of("pre").drift(x, space=Euclidean(D), weights=WEIGHTS))


@pytest.mark.slow
@backends
@norms
def test_float32_stays_float32_and_is_near(norm, backend):
    x = tokens(norm)
    options = {"space": space_of(norm), "weights": WEIGHTS, "depth": DEPTH, "backend": backend}
    single = block_of(norm).drift(x.astype(np.float32), **options)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, block_of(norm).drift(x, **options), rtol=0, atol=2e-5)


def test_a_block_of_attention_alone_is_the_attention():
    x, space = tokens("post"), space_of("post")
    for norm in ("none", "post"):
        block, how = block_of(norm, feed=False), {"t_end": 1.0, "method": "tsit5"}
        alone = integrate(ATTENTION, Ensemble(x, space, WEIGHTS), **how)
        np.testing.assert_array_equal(integrate(block, Ensemble(x, space, WEIGHTS), **how).final, alone.final)


@norms
def test_many_small_replicas_move_as_each_would_alone(norm):
    x = tokens(norm, replicas=70)
    together = integrate(block_of(norm), Ensemble(x, space_of(norm), WEIGHTS), t_end=0.4, method="rk4", step=0.1)
    alone = integrate(block_of(norm), Ensemble(x[41:42], space_of(norm), WEIGHTS), t_end=0.4, method="rk4", step=0.1)
    np.testing.assert_allclose(together.final[41], alone.final[0], rtol=0, atol=1e-14)


def test_expansions_serve_blocks_too():
    x = np.stack([np.cos(np.arange(300.0)), np.sin(np.arange(300.0))], axis=-1)
    feed = FeedForward(np.eye(2), 0.5 * np.eye(2), activation="relu")
    for norm, space in (("ngpt", Sphere(2)), ("pre", Euclidean(2))):
        block = Block(Attention(beta=3.0), feed, norm)
        exact, fast = (block.drift(x, space=space, sums=sums) for sums in ("exact", "fourier"))
        np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-9)


# layers


@backends
@pytest.mark.parametrize("residual", [True, False])
@feeds
@norms
def test_layers_are_the_transformer_s(norm, feed, residual, backend):
    """Part by part; mix changes to pre at depth 0.9, that is after three layers."""
    if norm == "add-norm" and not residual:
        pytest.skip("add-norm contains its residual connection")
    x, h = tokens(norm), 0.3
    start = Ensemble(x, space_of(norm), WEIGHTS)
    how = {"layers": 5, "step": h, "residual": residual, "save_at": h * np.arange(6), "backend": backend}
    frames = integrate(block_of(norm, feed, tau=0.9), start, **how).positions
    for layer in range(5):
        now = norm if norm != "mix" else "post" if layer < 3 else "pre"
        radius = 1.0 if norm == "mix" else 1.6
        for effect in effects(now, feed, layer * h):
            x = residual * x + h * effect(x)
            x = radius * unit(x) if now in ("post", "ngpt", "sqrt") else x
        np.testing.assert_allclose(frames[layer + 1], x, rtol=0, atol=2e-12 * np.abs(x).max())


def test_layers_may_have_blocks_of_their_own():
    x, blocks = tokens("pre"), [block_of("pre"), block_of("peri", feed=False), Block(ATTENTION)]
    found = integrate(blocks, Ensemble(x, Euclidean(D), WEIGHTS), layers=3, step=0.5).final
    for norm, feed in (("pre", True), ("peri", False), ("none", False)):
        for effect in effects(norm, feed, 0.0):
            x = x + 0.5 * effect(x)
    np.testing.assert_allclose(found, x, rtol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
def test_layers_with_a_feed_forward_map_reach_the_flow_with_order_one(norm):
    start = Ensemble(tokens(norm), space_of(norm), WEIGHTS)
    block = block_of(norm, tau=0.25)
    flow = integrate(block, start, t_end=0.5, method="dop853", rtol=1e-12, atol=1e-13).final
    errors = [np.linalg.norm(integrate(block, start, layers=n, step=0.5 / n).final - flow) for n in (512, 1024)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.02)


# the maps


def test_activations_and_norms_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="the torch backend is an extra")
    f = torch.nn.functional
    theirs = {
        "relu": f.relu,
        "gelu": f.gelu,
        "gelu-tanh": lambda x: f.gelu(x, approximate="tanh"),
        "silu": f.silu,
    }
    assert set(theirs) == set(ACTIVATIONS)
    x = np.linspace(-30.0, 30.0, 1203).reshape(-1, 1, 1).repeat(D, axis=2) * np.array([1.0, 0.1, 1e-3])
    tensor = torch.tensor(x)
    for name, activation in theirs.items():
        np.testing.assert_allclose(ACTIVATIONS[name](x), activation(tensor), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(ACTIVATIONS[name](tensor), activation(tensor), rtol=1e-13, atol=1e-14)
        own, feed = feed_forward(name), None
        inner, outer, inner_bias, outer_bias = (
            torch.tensor(value) for value in (own.inner, own.outer, own.inner_bias, own.outer_bias)
        )
        feed = f.linear(activation(f.linear(tensor, inner, inner_bias)), outer, outer_bias)
        for given in (x, tensor):
            np.testing.assert_allclose(own(given), feed, rtol=1e-12, atol=1e-12)
    gain, bias = torch.tensor(GAIN), torch.tensor(BIAS)
    for given in (x, tensor):
        np.testing.assert_allclose(
            LayerNorm(GAIN, BIAS)(given), f.layer_norm(tensor, (D,), gain, bias, 1e-5), rtol=1e-10, atol=1e-13
        )
        np.testing.assert_allclose(RMSNorm(GAIN)(given), f.rms_norm(tensor, (D,), gain, 1e-5), rtol=1e-12)
    assert np.abs(ACTIVATIONS["gelu"](x) - ACTIVATIONS["gelu-tanh"](x)).max() == pytest.approx(4.7e-4, rel=0.05)


def test_silu_does_not_overflow():
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(ACTIVATIONS["silu"](np.array([-1e300, 1e300])), [0.0, 1e300])


@norms
@feeds
def test_derivatives_of_a_block_are_those_of_finite_differences(norm, feed):
    torch = pytest.importorskip("torch", reason="the torch backend is an extra")
    block, space = block_of(norm, feed), space_of(norm)

    def drift(x):
        return block.drift(x, space=space, weights=WEIGHTS, depth=DEPTH, backend="torch")

    x = torch.tensor(tokens(norm, replicas=1), requires_grad=True)
    assert torch.autograd.gradcheck(drift, x, check_forward_ad=True, fast_mode=True)


# what is refused


WRONG = [
    ({"norm": "batch"}, "norm must be one of none, post, pre, peri, mix, ngpt, sqrt, add-norm; got 'batch'"),
    ({"norm": "mix"}, "tau must be given with norm"),
    ({"norm": "pre", "tau": 1.0}, 'tau must be left out unless norm is "mix"'),
    ({"norm": "mix", "tau": -1.0}, "tau must be a positive number; got -1.0"),
    ({"norm": "post", "alpha": 1.0}, 'alpha must be left out unless norm is "ngpt"'),
    ({"norm": "post", "normaliser": RMSNorm()}, "normaliser must be left out unless norm"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_block_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        Block(ATTENTION, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerNorm(gain=np.array([[1.0]])), "gain must have 1 axes"),
        (lambda: LayerNorm(epsilon=0.0), "epsilon must be a positive number; got 0.0"),
        (lambda: RMSNorm(gain=np.array([np.nan, 1.0])), "gain must be finite"),
        (lambda: SphereNorm(-1.0), "radius must be a positive number"),
        (lambda: FeedForward(np.ones((4, 3)), np.ones((4, 3))), r"outer must have the shape .*\(3, 4\); got \(4, 3\)"),
        (lambda: FeedForward(np.ones((4, 3)), np.ones((3, 4)), np.ones(3)), "inner_bias must have 4 numbers; got 3"),
        (lambda: FeedForward(np.ones((4, 3)), np.ones((3, 4)), activation="tanh"), "activation must be one of relu"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()
