"""Laws that change with depth: piecewise constant, interpolated, and as an Ornstein-Uhlenbeck process."""

import numpy as np
import pytest
from attndyn import Attention, Block, Ensemble, Euclidean, FeedForward, InvalidInput, Schedule, Sphere, integrate
from attndyn.particles.weights import draw, ornstein_uhlenbeck
from scipy.integrate import solve_ivp

SPHERE = Sphere(3)
TOKENS = Ensemble.uniform(SPHERE, tokens=12, seed=5)
DEPTHS = (0.0, 0.6, 1.0)


def law(number, **more):
    matrices = {
        name: draw("gaussian", 3, 3, 7, (number, place)) for place, name in enumerate(("query", "key", "value"))
    }
    return Attention(beta=1.5 + 0.5 * number, **matrices, **more)


LAWS = [law(number) for number in range(3)]


def end(what, tokens=TOKENS, **options):
    options = {"t_end": 1.6, "method": "dop853", "rtol": 1e-11, "atol": 1e-13} | options
    solution = integrate(what, tokens, **options)
    assert solution.status == "finished"
    return solution.positions[-1]


@pytest.mark.parametrize(
    "options", [{}, {"method": "tsit5"}, {"method": "rk4", "step": 0.1}, {"method": "heun", "step": 0.2}]
)
def test_piecewise_is_one_law_after_the_other(options):
    together = end(Schedule(LAWS, DEPTHS), **options)
    x = TOKENS
    for one, begin, stop in zip(LAWS, DEPTHS, (*DEPTHS[1:], 1.6), strict=True):
        x = x.at(end(one, x, t_end=stop - begin, **options))
    np.testing.assert_allclose(together, x.positions, rtol=0, atol=1e-10)
    assert np.abs(together - end(LAWS[0], **options)).max() > 0.1


def matrices_at(t):
    """The matrices of LAWS by hand, with np.interp of every entry."""
    return [
        np.array(
            [[np.interp(t, DEPTHS, [getattr(one, name)[i, j] for one in LAWS]) for j in range(3)] for i in range(3)]
        )
        for name in ("query", "key", "value")
    ]


def reference(t_end):
    """The interpolated flow by another solver and a right side written here."""

    def drift(t, flat):
        x = flat.reshape(-1, 3)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        q, k, v = matrices_at(t)
        scores = np.interp(t, DEPTHS, [1.5, 2.0, 2.5]) * (x @ q.T) @ (x @ k.T).T
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        f = weights / weights.sum(axis=1, keepdims=True) @ x @ v.T
        return (f - np.sum(f * x, axis=1, keepdims=True) * x).ravel()

    x = TOKENS.positions[0].ravel()
    for begin, stop in ((0.0, 0.6), (0.6, 1.0), (1.0, t_end)):
        x = solve_ivp(drift, (begin, stop), x, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    x = x.reshape(-1, 3)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def interpolated():
    return reference(1.6)


def test_interpolated_against_a_right_side_by_hand(interpolated):
    schedule = Schedule(LAWS, DEPTHS, interpolated=True)
    np.testing.assert_allclose(end(schedule)[0], interpolated, rtol=0, atol=1e-9)
    np.testing.assert_allclose(end(schedule, backend="reference", method="tsit5")[0], interpolated, rtol=0, atol=1e-8)


def test_interpolated_keeps_the_order_of_rk4(interpolated):
    schedule = Schedule(LAWS, DEPTHS, interpolated=True)
    errors = [np.linalg.norm(end(schedule, method="rk4", step=step)[0] - interpolated) for step in (0.1, 0.05, 0.025)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (np.abs(orders - 4.0) < 0.4).all(), (errors, orders)


def test_frames_between_steps_are_of_the_law_in_force(interpolated):
    schedule = Schedule(LAWS, DEPTHS, interpolated=True)
    times = [0.0, 0.31, 0.6, 0.77, 1.0, 1.3, 1.6]
    frames = integrate(schedule, TOKENS, t_end=1.6, rtol=1e-10, save_at=times).positions
    exact = integrate(schedule, TOKENS, t_end=1.6, rtol=1e-10, save_at=times, exact=True).positions
    np.testing.assert_allclose(frames, exact, rtol=0, atol=1e-8)


def test_the_law_at_a_depth():
    piecewise, smooth = Schedule(LAWS, DEPTHS), Schedule(LAWS, DEPTHS, interpolated=True)
    assert [piecewise.at(t) for t in (0.0, 0.59, 0.6, 0.99, 1.0, 50.0)] == [LAWS[k] for k in (0, 0, 1, 1, 2, 2)]
    assert [smooth.at(t) for t in (0.0, 0.6, 1.0, 50.0)] == [LAWS[k] for k in (0, 1, 2, 2)]
    for name, expected in zip(("query", "key", "value"), matrices_at(0.7), strict=True):
        np.testing.assert_allclose(getattr(smooth.at(0.7), name), expected, rtol=0, atol=1e-15)
    assert smooth.at(0.3).beta == pytest.approx(1.75)


def test_a_network_has_the_law_at_its_depth():
    steps, x = 0.25, TOKENS.positions[0]
    for schedule in (Schedule(LAWS, DEPTHS), Schedule(LAWS, DEPTHS, interpolated=True)):
        laws = [schedule.at(steps * layer) for layer in range(6)]
        expected = end(laws, layers=6, step=steps, t_end=None)
        np.testing.assert_array_equal(end(schedule, layers=6, step=steps, t_end=None), expected)
        assert np.abs(expected - x).max() > 0.1


def test_blocks_change_with_depth_too():
    """Attention and feed-forward map interpolated; Strang splitting converges to the flow with its order, 2."""
    rng = np.random.default_rng(2)
    blocks = [
        Block(one, FeedForward(rng.normal(size=(5, 3)), rng.normal(size=(3, 5)), rng.normal(size=5), activation="silu"))
        for one in LAWS[:2]
    ]
    schedule = Schedule(blocks, (0.0, 1.0), interpolated=True)
    middle = schedule.at(0.5).feed_forward
    np.testing.assert_allclose(middle.inner, 0.5 * (blocks[0].feed_forward.inner + blocks[1].feed_forward.inner))
    flow = end(schedule, t_end=1.0)
    errors = [np.abs(end(schedule, t_end=1.0, method="strang", step=step) - flow).max() for step in (0.05, 0.025)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.3)


def test_torch_and_noise_take_schedules():
    pytest.importorskip("torch")
    for interpolated in (False, True):
        schedule = Schedule(LAWS, DEPTHS, interpolated)
        np.testing.assert_allclose(end(schedule, backend="torch"), end(schedule), rtol=0, atol=1e-8)
        noisy = {"method": "euler-maruyama", "step": 0.05, "noise": 0.01}
        quiet = {"method": "geodesic-euler", "step": 0.05}
        assert 1e-3 < np.abs(end(schedule, **noisy) - end(schedule, **quiet)).max() < 1.0


def test_a_piecewise_schedule_takes_expansions_and_merging():
    laws = [Attention(beta=2.0, value=draw("gaussian", 3, 3, 3, (k,))) for k in range(3)]
    tokens = Ensemble(np.concatenate([TOKENS.positions, TOKENS.positions[:, :1]], axis=1), SPHERE)
    schedule = Schedule(laws, DEPTHS)
    exact = end(schedule, tokens, method="tsit5", rtol=1e-9)
    by_expansion = end(schedule, tokens, method="tsit5", rtol=1e-9, sums="harmonics")
    np.testing.assert_allclose(by_expansion, exact, rtol=0, atol=1e-8)
    merged = integrate(schedule, tokens, t_end=1.6, rtol=1e-9, merge=1e-9)
    assert merged.merged_into.tolist() == [*range(12), 0]
    np.testing.assert_allclose(merged.positions[-1], exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LAWS, (0.0, 1.0)), "depths must be one for each of the 3 laws"),
        ((LAWS, (0.5, 0.6, 1.0)), "increase from 0"),
        ((LAWS, (0.0, 1.0, 1.0)), "increase from 0"),
        (([], ()), "depths must be one for each"),
        (([LAWS[0], Attention()], (0.0, 1.0), True), "query must have one form"),
        (([LAWS[0], law(1, value_bias=np.ones(3))], (0.0, 1.0), True), "value_bias must have one form"),
        (([Attention(beta=np.inf), Attention()], (0.0, 1.0), True), "beta must be finite"),
        (([Block(LAWS[0], norm="mix", tau=1.0)], (0.0,)), "norm mix"),
    ],
)
def test_what_is_no_schedule(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        Schedule(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rk4", "step": 0.25}, "multiples of the step"),
        ({"sums": "auto"}, "exact sums"),
        ({"scaling": "1/sqrt(L)"}, "needs layers"),
        ({"scaling": "1/L^2"}, "scaling must be one of"),
        ({"scaling": "1/sqrt(L)", "t_end": None, "layers": 3, "residual": False}, "residual"),
    ],
)
def test_what_does_not_go_with_a_schedule(options, message):
    with pytest.raises(InvalidInput, match=message):
        integrate(Schedule(LAWS, DEPTHS, interpolated=True), TOKENS, **{"t_end": 1.6} | options)


# --- Ornstein-Uhlenbeck


@pytest.mark.parametrize("family", ["gaussian", "symmetric", "diagonal"])
def test_ornstein_uhlenbeck_has_the_family_s_law_and_its_correlation(family):
    depths, correlation, samples, d = (0.0, 0.3, 0.5, 1.7), 0.8, 4000, 3
    paths = np.array(
        [
            ornstein_uhlenbeck([draw(family, d, d, seed, (k, 0)) for k in range(4)], depths, correlation)
            for seed in range(samples)
        ]
    )  # (samples, depths, d, d)
    variance = {"gaussian": np.full((d, d), 1 / d), "symmetric": (1 + np.eye(d)) / d, "diagonal": np.eye(d)}[family]
    for i in range(4):
        for j in range(i, 4):
            products = paths[:, i] * paths[:, j]
            r = np.exp(-(depths[j] - depths[i]) / correlation)
            sigma = variance * np.sqrt((1 + r * r) / samples)
            assert (np.abs(products.mean(axis=0) - r * variance) <= 5 * sigma + 1e-15).all()


def test_ornstein_uhlenbeck_between_shared_and_independent():
    drawn = [draw("gaussian", 3, 3, 1, (k, 0)) for k in range(5)]
    shared = ornstein_uhlenbeck(drawn, range(5), np.inf)
    assert all(np.array_equal(matrix, drawn[0]) for matrix in shared)
    np.testing.assert_allclose(ornstein_uhlenbeck(drawn, range(5), 1e-3), drawn, rtol=0, atol=1e-15)


# --- independent weights and the scaling of layers: closed forms for beta = 0 in R^d, where all tokens move by V mean


def mean_squared(scaling, layers, runs, depth=1.0, d=4):
    """|m_L|^2 / |m_0|^2 and |m_L - m_0|^2 / |m_0|^2, (runs,), one law per layer, V entries N(0, 1/d)."""
    tokens = Ensemble.gaussian(Euclidean(d), tokens=3, seed=1)
    start = tokens.positions[0].mean(axis=0)
    rng, found = np.random.default_rng(11), []
    for _ in range(runs):
        laws = [Attention(beta=0.0, value=rng.standard_normal((d, d)) / np.sqrt(d)) for _ in range(layers)]
        x = end(laws, tokens, layers=layers, step=depth / layers, t_end=None, scaling=scaling, backend="reference")
        found.append(x[0].mean(axis=0))
    found = np.array(found)
    squares = np.sum(found**2, axis=1), np.sum((found - start) ** 2, axis=1)
    return [square / np.sum(start**2) for square in squares]


def within(values, expected, sigmas=5.0):
    return abs(values.mean() - expected) <= sigmas * values.std(ddof=1) / np.sqrt(len(values))


def test_the_root_scaling_has_a_limit_and_the_other_is_trivial():
    """E |m_L|^2 = |m_0|^2 (1 + T / L)^L, and E |m_L - m_0|^2 = |m_0|^2 ((1 + T^2 / L^2)^L - 1), about T^2 / L."""
    layers, runs = 8, 700
    root, _ = mean_squared("1/sqrt(L)", layers, runs)
    assert within(root, (1 + 1 / layers) ** layers)
    assert not within(root, (1 + 1 / layers**2) ** layers)
    _, moved = mean_squared("1/L", layers, runs)
    assert within(moved, (1 + 1 / layers**2) ** layers - 1)
    assert moved.mean() < 2.0 / layers


def test_one_layer_s_gram_matrix_in_the_mean():
    """E <x_i, x_k> after a layer = <x_i, x_k> + s2 T / L <g_i, g_k>, g_i the attention's means, whatever beta."""
    d, step, scale, runs = 4, 0.2, 1.5, 4000
    tokens = Ensemble.gaussian(Euclidean(d), tokens=3, seed=1)
    x = tokens.positions[0]
    weights = np.exp(0.8 * x @ x.T)
    g = weights / weights.sum(axis=1, keepdims=True) @ x
    rng, grams = np.random.default_rng(4), []
    for _ in range(runs):
        one = Attention(beta=0.8, value=scale * rng.standard_normal((d, d)) / np.sqrt(d))
        out = end([one], tokens, layers=1, step=step, t_end=None, scaling="1/sqrt(L)", backend="reference")[0]
        grams.append(out @ out.T)
    grams = np.array(grams)
    error = np.abs(grams.mean(axis=0) - (x @ x.T + scale**2 * step * g @ g.T))
    assert (error <= 5 * grams.std(axis=0) / np.sqrt(runs)).all()
    assert (grams.std(axis=0) / np.sqrt(runs) < 0.05 * scale**2 * step * np.abs(g @ g.T).max()).all()
