"""Blocks against the formulas of their module written out in NumPy, on every backend; splitting; derivatives."""

import numpy as np
import pytest
from attndyn import InvalidInput
from attndyn.integrators import SPLITTING_METHODS, integrate
from attndyn.particles import (
    Attention,
    Block,
    Ensemble,
    Euclidean,
    FeedForward,
    LayerNorm,
    RMSNorm,
    Sphere,
    SphereNorm,
)
from attndyn.particles.block import NORMS
from attndyn.particles.feed_forward import ACTIVATIONS
from attndyn.particles.observables import measure
from scipy.special import erf

D, HIDDEN = 3, 5
DEPTH = 0.7  # at which velocities are compared: before the switch of mix below
WEIGHTS = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
ATTENTION = Attention(
    beta=1.3,
    value=np.random.default_rng(2).standard_normal((D, D)),
    output_bias=np.array([0.1, -0.2, 0.3]),
)
GAIN, BIAS = np.array([0.5, 1.5, -0.7]), np.array([0.2, 0.0, -0.1])
NORMALISERS = {
    "sphere": SphereNorm(1.4),
    "layer": LayerNorm(GAIN, BIAS, epsilon=1e-3),
    "rms": RMSNorm(GAIN, epsilon=1e-3),
}
backends = pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
norms = pytest.mark.parametrize("norm", NORMS)
feeds = pytest.mark.parametrize("feed", [False, True], ids=["attention", "with feed-forward"])


def feed_forward(activation="gelu", biases=True):
    generator = np.random.default_rng(4)
    inner, outer = generator.standard_normal((HIDDEN, D)), generator.standard_normal((D, HIDDEN)) / 2.0
    inner_bias, outer_bias = generator.standard_normal(HIDDEN), generator.standard_normal(D)
    return FeedForward(inner, outer, *((inner_bias, outer_bias) if biases else ()), activation=activation)


def block_of(norm, feed=True, tau=2.0, **options):
    options |= {"tau": tau} if norm == "mix" else {"alpha": 1.7} if norm == "ngpt" else {}
    return Block(ATTENTION, feed_forward() if feed else None, norm, **options)


def space_of(norm):
    return Sphere(D, 1.6) if NORMS[norm].place == "sphere" else Euclidean(D)


def tokens(norm, replicas=2, unit=False):
    x = np.random.default_rng(7).standard_normal((replicas, len(WEIGHTS), D))
    if norm == "mix" or unit:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)
    return space_of(norm).retract(x)


# the formulas again, without the package


def plain_attention(x):
    scores = 1.3 * x @ np.swapaxes(x, -1, -2)
    rows = WEIGHTS * np.exp(scores - scores.max(axis=-1, keepdims=True))
    return rows / rows.sum(axis=-1, keepdims=True) @ x @ ATTENTION.value.T + ATTENTION.output_bias


def plain_feed_forward(x):
    f = feed_forward()
    hidden = x @ f.inner.T + f.inner_bias
    return (0.5 * hidden * (1.0 + erf(hidden / np.sqrt(2.0)))) @ f.outer.T + f.outer_bias


def plain_normaliser(norm, normaliser):
    if normaliser is None:
        radius = getattr(space_of(norm), "radius", 1.0)
        return lambda x: radius * x / np.linalg.norm(x, axis=-1, keepdims=True)
    if normaliser == "sphere":
        return lambda x: 1.4 * x / np.linalg.norm(x, axis=-1, keepdims=True)
    if normaliser == "layer":
        return lambda x: GAIN * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) + BIAS
    return lambda x: GAIN * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3)


def effects(norm, feed, t, normaliser=None):
    """What each part of a block does to tokens x, a list of functions."""
    n = plain_normaliser(norm, normaliser)
    factor = {"ngpt": 1.7, "sqrt": 1.0 / np.sqrt(1.0 + t)}.get(norm, 1.0)

    def effect(part):
        def function(x):
            y = part(n(x) if norm in ("pre", "peri") else x)
            return factor * (n(y) if norm in ("peri", "ngpt") else y)

        return function

    return [effect(part) for part in ([plain_attention, plain_feed_forward] if feed else [plain_attention])]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


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
@pytest.mark.parametrize("norm", ["pre", "peri"])
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


# splitting


@pytest.mark.parametrize("method", SPLITTING_METHODS)
@norms
def test_the_order_of_splitting(norm, method):
    start = Ensemble(tokens(norm), space_of(norm), WEIGHTS)
    block = block_of(norm, tau=0.25)
    flow = integrate(block, start, t_end=0.5, method="dop853", rtol=1e-12, atol=1e-13).final
    steps, errors = (32, 64, 128), []
    for n in steps:
        solution = integrate(block, start, t_end=0.5, method=method, step=0.5 / n)
        errors.append(np.linalg.norm(solution.final - flow))
        assert solution.statistics.drift_evaluations == n * (1 if method == "lie-trotter" else 2)
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(SPLITTING_METHODS[method].order, abs=0.15)


@pytest.mark.parametrize("method", [*SPLITTING_METHODS, "rk4"])
@norms
def test_runs_by_the_backends_agree(norm, method):
    start = Ensemble(tokens(norm), space_of(norm), WEIGHTS)
    ends = [
        integrate(block_of(norm, tau=0.25), start, t_end=0.5, method=method, step=0.125, backend=backend).final
        for backend in ("reference", "numba", "torch")
    ]
    np.testing.assert_allclose(ends[1:], ends[:1] * 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "pre", "peri"])
def test_lie_trotter_steps_are_the_layers_of_a_transformer_in_r_d(norm):
    start = Ensemble(tokens(norm), Euclidean(D), WEIGHTS)
    layers = integrate(block_of(norm), start, layers=6, step=0.1).final
    steps = integrate(block_of(norm), start, t_end=0.6, method="lie-trotter", step=0.1).final
    np.testing.assert_allclose(steps, layers, rtol=1e-13)


@pytest.mark.parametrize("method", SPLITTING_METHODS)
def test_a_splitting_between_its_steps_is_as_good_as_at_their_end(method):
    start = Ensemble(tokens("post"), space_of("post"), WEIGHTS)
    times, errors = np.array([0.111, 0.222, 0.333]), []
    exact = integrate(block_of("post"), start, t_end=0.5, method="dop853", rtol=1e-12, atol=1e-13, save_at=times)
    for n in (64, 128):
        found = integrate(block_of("post"), start, t_end=0.5, method=method, step=0.5 / n, save_at=times)
        plain = integrate(block_of("post"), start, t_end=0.5, method=method, step=0.5 / n)
        np.testing.assert_array_equal(found.final, plain.final)
        errors.append(np.linalg.norm(found.positions - exact.positions))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(SPLITTING_METHODS[method].order, abs=0.25)


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
    assert torch.autograd.gradcheck(drift, x, check_forward_ad=True)


# what is measured, merged, and what fails


def test_the_attention_that_is_measured_is_that_of_the_normalised_tokens():
    ensemble = Ensemble(3.0 * tokens("pre"), Euclidean(D), WEIGHTS)
    names = ["attention_entropy", "energy", "log_energy", "radius", "mean_cosine"]
    found = measure(names, ensemble, block_of("pre"))
    seen = Ensemble(tokens("pre", unit=True), Sphere(D), WEIGHTS)
    for name in names[:3]:
        np.testing.assert_allclose(found[name], measure([name], seen, ATTENTION)[name], rtol=1e-12)
    for name in names[3:]:
        np.testing.assert_array_equal(found[name], measure([name], ensemble)[name])
    zero = Block(Attention(beta=0.0), norm="pre")
    np.testing.assert_allclose(
        measure(["energy"], ensemble, zero)["energy"], measure(["energy"], seen, zero.attention)["energy"]
    )


def test_tokens_of_a_block_that_meet_become_one():
    angle = np.array([0.0, 0.3, 0.5, 3.0])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    block = Block(Attention(beta=4.0), FeedForward(np.eye(2), 0.1 * np.eye(2)), "post")
    how = {"t_end": 30.0, "rtol": 1e-9, "atol": 1e-11}
    merged = integrate(block, Ensemble(x, Sphere(2)), merge=1e-6, **how)
    plain = integrate(block, Ensemble(x, Sphere(2)), **how)
    assert len(set(merged.merged_into)) == 2
    np.testing.assert_allclose(merged.final, plain.final, rtol=0, atol=1e-5)


def test_a_part_that_gives_nothing_to_normalise_fails_the_run_and_says_so():
    block = Block(Attention(value=0.0), norm="peri")
    solution = integrate(block, Ensemble(tokens("peri"), Euclidean(D)), layers=3)
    assert solution.status.startswith("failed: the state is not finite")


def test_a_token_at_the_origin_has_no_direction_and_fails_the_run():
    x = tokens("pre")
    x[0, 2] = 0.0
    ensemble = Ensemble(x, Euclidean(D))
    with np.errstate(invalid="ignore"):
        assert np.isnan(measure(["attention_entropy"], ensemble, block_of("pre"))["attention_entropy"][0])
        assert integrate(block_of("pre"), ensemble, layers=2).status.startswith("failed: the state is not finite")


def test_mix_takes_no_step_across_its_switch():
    start = Ensemble(tokens("mix"), Euclidean(D), WEIGHTS)
    depths = []
    integrate(block_of("mix", tau=0.3), start, t_end=1.0, on_progress=lambda t, statistics: depths.append(t))
    assert 0.3 in depths
    frames = integrate(block_of("mix", tau=0.3), start, t_end=1.0, save_at=[0.15, 0.3, 1.0]).positions
    lengths = np.linalg.norm(frames, axis=-1)
    np.testing.assert_allclose(lengths[:2], 1.0, rtol=1e-14)
    assert np.abs(lengths[2] - 1.0).min() > 1e-3


WRONG = [
    ({"norm": "batch"}, "norm must be one of none, post, pre, peri, mix, ngpt, sqrt; got 'batch'"),
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


@pytest.mark.parametrize(
    ("block", "space", "how", "message"),
    [
        (Block(ATTENTION, norm="post"), Euclidean(D), {}, '"post" is for tokens on a sphere; got space "euclidean"'),
        (Block(ATTENTION, norm="pre"), Sphere(D), {}, '"pre" is for tokens in R\\^d.*; got space "sphere"'),
        (Block(ATTENTION, norm="mix", tau=0.5), Sphere(D), {}, '"mix" is for tokens in R\\^d'),
        (Block(ATTENTION, norm="mix", tau=0.5), Euclidean(D), {}, "tokens must have length 1; got one of 2"),
        (Block(ATTENTION, norm="pre", normaliser=RMSNorm(np.ones(4))), Euclidean(D), {}, "gain must have 3 numbers"),
        (
            Block(ATTENTION, FeedForward(np.ones((2, 4)), np.ones((4, 2)))),
            Euclidean(D),
            {},
            "inner must have the shape",
        ),
        (Block(ATTENTION), Euclidean(D), {"method": "strang", "step": 0.1}, "'strang' splits attention from a feed"),
        (ATTENTION, Euclidean(D), {"method": "lie-trotter", "step": 0.1}, "'lie-trotter' splits attention from"),
        (block_of("pre"), Euclidean(D), {"method": "strang"}, "method 'strang' needs a step"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(block, space, how, message):
    with pytest.raises(InvalidInput, match=message):
        integrate(block, Ensemble(2.0 * tokens("pre", unit=True), space), t_end=1.0, **how)


def test_a_fixed_step_must_end_at_the_switch():
    start = Ensemble(tokens("mix"), Euclidean(D), WEIGHTS)
    with pytest.raises(InvalidInput, match=r"the depth of a switch must be multiples of the step 0.2 here; got 0.3"):
        integrate(block_of("mix", tau=0.3), start, t_end=1.0, method="rk4", step=0.2)
