"""Token weights that change with depth: schedules of them, and the focus of attention."""

import attndyn
import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, Sphere, integrate
from attndyn.errors import InvalidInput, ScenarioError
from attndyn.particles import Block, FeedForward, Focus, Schedule, WeightSchedule
from attndyn.particles.observables import measure
from attndyn.scenarios.schema import Scenario

SPACES = {"sphere": Sphere(3, 1.5), "euclidean": Euclidean(3)}
TIGHT = {"method": "dop853", "rtol": 1e-12, "atol": 1e-12}
TOKENS = 10
FIRST = np.full(TOKENS, 1.0 / TOKENS)
LAST = np.arange(1.0, TOKENS + 1.0) / np.arange(1.0, TOKENS + 1.0).sum()


def tokens(space="sphere", **more):
    return Ensemble.uniform(SPACES[space], TOKENS, replicas=2, seed=3, **more)


def focus(**changes):
    given = {"velocity": [0.0, 0.6, 0.0], "strength": 3.0, "reach": 0.8, "width": 0.5, "damping": 0.4}
    return Focus(**{"position": [1.5, 0.0, 0.0]} | given | changes)


# ------------------------------------------------------------------------------------------------ a schedule


@pytest.mark.parametrize("interpolated", [False, True])
def test_weights_between_two_depths(interpolated):
    schedule = WeightSchedule([FIRST, LAST], [0.0, 2.0], interpolated)
    halfway = 0.75 * FIRST + 0.25 * LAST if interpolated else FIRST
    for t, expected in ((0.0, FIRST), (0.5, halfway), (2.0, LAST), (9.0, LAST)):
        np.testing.assert_allclose(schedule.at(t), expected, rtol=0, atol=1e-16)


def test_weights_that_jump_are_two_runs_one_after_the_other():
    """To the last bit with steps that end there, for the compiled step is taken in both."""
    start, law, way = tokens(), Attention(beta=3.0), {"method": "rk4", "step": 0.125}
    whole = integrate(law, start, t_end=2.0, weighting=WeightSchedule([FIRST, LAST], [0.0, 1.0]), **way)
    first = integrate(law, start, t_end=1.0, **way).final
    then = integrate(law, Ensemble(first, start.space, LAST), t_end=1.0, **way).final
    np.testing.assert_array_equal(whole.final, then)
    assert np.abs(integrate(law, start, t_end=2.0, **way).final - then).max() > 0.01


def test_interpolated_weights_against_the_drift_with_weights_of_that_depth():
    """The derivative of the solution is the drift with the weights of its depth."""
    start, law = tokens(), Attention(beta=3.0)
    schedule, h = WeightSchedule([FIRST, LAST], [0.0, 2.0], True), 1e-3
    run = integrate(law, start, t_end=1.5, weighting=schedule, save_at=[1.0 - h, 1.0, 1.0 + h], **TIGHT)
    slope = (run.positions[2] - run.positions[0]) / (2 * h)
    drift = law.drift(run.positions[1], space=start.space, weights=0.5 * (FIRST + LAST))
    np.testing.assert_allclose(slope, drift, rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.weights, [schedule.at(t) for t in run.times], rtol=0, atol=1e-16)


@pytest.mark.parametrize(("method", "order"), [("lie-trotter", 1), ("strang", 2)])
def test_splittings_keep_their_order_under_interpolated_weights(method, order):
    block = Block(Attention(beta=1.0), FeedForward(np.eye(3), -0.5 * np.eye(3), activation="gelu"))
    start, schedule = tokens("euclidean"), WeightSchedule([FIRST, LAST], [0.0, 1.0], True)
    exact = integrate(block, start, t_end=1.0, weighting=schedule, **TIGHT).final
    ways = [{"method": method, "step": step} for step in (0.02, 0.01)]
    errors = [np.abs(integrate(block, start, t_end=1.0, weighting=schedule, **way).final - exact).max() for way in ways]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_a_network_takes_the_weights_of_each_layer():
    start, law = tokens(), Attention(beta=3.0)
    run = integrate(law, start, layers=4, step=0.5, weighting=WeightSchedule([FIRST, LAST], [0.0, 2.0], True))
    x = start
    for layer in range(4):
        weights = FIRST + layer / 4 * (LAST - FIRST)
        x = Ensemble(integrate(law, Ensemble(x.positions, x.space, weights), layers=1, step=0.5).final, x.space)
    np.testing.assert_allclose(run.final, x.positions, rtol=0, atol=1e-14)


def test_weights_and_laws_may_both_follow_a_schedule():
    laws = Schedule([Attention(beta=1.0), Attention(beta=5.0)], [0.0, 1.0], interpolated=True)
    weights = WeightSchedule([FIRST, LAST], [0.0, 1.0], True)
    run = integrate(laws, tokens(), t_end=2.0, weighting=weights, save_at=[1.0, 2.0], **TIGHT)
    then = integrate(Attention(beta=5.0), Ensemble(run.positions[0], SPACES["sphere"], LAST), t_end=1.0, **TIGHT)
    np.testing.assert_allclose(run.final, then.final, rtol=0, atol=1e-11)


# ------------------------------------------------------------------------------------------------ a focus


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_methods_keep_their_order_with_a_focus(space, method, order):
    start, law = tokens(space), Attention(beta=1.0)
    exact = integrate(law, start, t_end=2.0, weighting=focus(), **TIGHT)
    errors = []
    for step in (0.02, 0.01):
        run = integrate(law, start, t_end=2.0, weighting=focus(), method=method, step=step)
        apart = run.final - exact.final, run.focus[-1] - exact.focus[-1]
        errors.append(max(np.abs(part).max() for part in apart))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("engine", [{"backend": "reference"}, {"backend": "torch"}])
@pytest.mark.parametrize("space", SPACES)
def test_backends_agree_with_a_focus(space, engine):
    if engine["backend"] == "torch":
        pytest.importorskip("torch")
    law = Attention(beta=2.0, normalisation="sigmoid")
    runs = [integrate(law, tokens(space), t_end=1.0, weighting=focus(), **way) for way in ({}, engine)]
    np.testing.assert_allclose(runs[0].final, runs[1].final, rtol=0, atol=1e-12)
    np.testing.assert_allclose(runs[0].focus, runs[1].focus, rtol=0, atol=1e-12)


def test_a_focus_drawn_by_one_token_that_rests_is_a_damped_oscillator():
    """u' = -k y - c u with k = strength / reach^2, where the reach is far beyond the way that the focus goes."""
    token = Ensemble(np.zeros((1, 1, 2)), Euclidean(2))
    reach, k, c = 1e5, 4.0, 0.6
    pull = Focus([0.3, 0.0], [0.0, 0.5], strength=k * reach**2, reach=reach, damping=c)
    times = np.linspace(0.0, 5.0, 6)
    run = integrate(Attention(), token, t_end=5.0, weighting=pull, save_at=times, **TIGHT)
    turn = np.sqrt(k - c**2 / 4)
    cosine, sine = np.exp(-c * times / 2) * (np.cos(turn * times), np.sin(turn * times) / turn)
    np.testing.assert_allclose(run.focus[:, 0, 0, 0], 0.3 * (cosine + c / 2 * sine), rtol=0, atol=1e-9)
    np.testing.assert_allclose(run.focus[:, 0, 0, 1], 0.5 * sine, rtol=0, atol=1e-9)


def test_a_free_focus_goes_along_a_great_circle():
    free = focus(strength=0.0, damping=0.0)
    times = np.linspace(0.0, 3.0, 4)
    run = integrate(Attention(), tokens(), t_end=3.0, weighting=free, save_at=times, **TIGHT)
    along = SPACES["sphere"].exponential(np.array([1.5, 0.0, 0.0]), times[:, None] * np.array([0.0, 0.6, 0.0]))
    np.testing.assert_allclose(run.focus[:, 0, 0], along, rtol=0, atol=1e-10)


@pytest.mark.parametrize("space", SPACES)
def test_energy_of_the_focus_falls_by_its_damping_where_tokens_rest(space):
    """d/dt (|u|^2 / 2 - strength rho(y)) = -damping |u|^2, integrated by Simpson's rule."""
    start, pull = tokens(space), focus()
    times = np.linspace(0.0, 4.0, 401)
    run = integrate(Attention(value=0.0), start, t_end=4.0, weighting=pull, save_at=times, **TIGHT)
    y, u = run.focus[:, 0, 0], run.focus[:, 0, 1]
    squares = np.sum((start.positions[0] - y[:, None]) ** 2, axis=-1)
    energy = 0.5 * np.sum(u**2, axis=-1) - pull.strength * np.exp(-squares / (2 * pull.reach**2)).mean(axis=-1)
    power = pull.damping * np.sum(u**2, axis=-1)
    lost = (power[:-2:2] + 4 * power[1:-1:2] + power[2::2]).sum() * times[1] / 3
    assert lost > 0.1
    assert energy[0] - energy[-1] == pytest.approx(lost, abs=1e-8)


def test_weights_are_those_of_the_definition_and_never_leave_the_simplex():
    """Also where the focus is so far away that every power underflows."""
    start, way = tokens("euclidean"), {"t_end": 1.0, "save_at": [0.0, 0.5, 1.0]}
    run = integrate(Attention(), start, weighting=focus(), **way)
    y = run.focus[:, :, :1]
    powers = np.exp(-np.sum((run.positions - y) ** 2, axis=-1) / (2 * 0.5**2))
    np.testing.assert_allclose(run.weights, powers / powers.sum(axis=-1, keepdims=True), rtol=1e-12)
    far = integrate(Attention(), start, weighting=focus(position=[1e6, 0.0, 0.0], strength=0.0), **way)
    assert (far.weights >= 0).all()
    np.testing.assert_allclose(far.weights.sum(axis=-1), 1.0, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(far.weights[0].argmax(axis=-1), start.positions[..., 0].argmax(axis=-1))


def test_a_wide_focus_is_attention_without_one():
    start = tokens()
    wide = integrate(Attention(beta=2.0), start, t_end=1.0, weighting=focus(width=1e9), **TIGHT)
    np.testing.assert_allclose(wide.final, integrate(Attention(beta=2.0), start, t_end=1.0, **TIGHT).final, atol=1e-11)


def test_a_network_with_a_focus_tends_to_the_flow():
    start, law = tokens(), Attention(beta=1.0)
    exact = integrate(law, start, t_end=2.0, weighting=focus(), **TIGHT)
    errors = []
    for layers in (200, 400):
        run = integrate(law, start, layers=layers, step=2.0 / layers, weighting=focus())
        errors.append(np.abs(run.focus[-1] - exact.focus[-1]).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("interpolated", [False, True])
def test_a_focus_goes_on_where_the_law_changes(interpolated):
    """A schedule of the same law three times is that law; the focus keeps its place and velocity at every switch."""
    start, law = tokens(), Attention(beta=2.0)
    schedule = Schedule([law, law, law], [0.0, 0.7, 1.4], interpolated)
    runs = [integrate(one, start, t_end=2.0, weighting=focus(), **TIGHT) for one in (law, schedule)]
    np.testing.assert_allclose(runs[1].final, runs[0].final, rtol=0, atol=1e-10)
    np.testing.assert_allclose(runs[1].focus, runs[0].focus, rtol=0, atol=1e-10)


def test_entropy_of_the_focus():
    one = np.zeros(TOKENS)
    one[4] = 1.0
    for weights, expected in ((FIRST, np.log(TOKENS)), (one, 0.0), (LAST, -np.sum(LAST * np.log(LAST)))):
        ensemble = tokens(weights=weights)
        np.testing.assert_allclose(measure(["focus_entropy"], ensemble)["focus_entropy"], expected, atol=1e-15)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightSchedule([FIRST], [1.0]), "depths must be finite and increase from 0"),
        (lambda: WeightSchedule([FIRST, LAST], [0.0, 0.0]), "depths must be finite and increase from 0"),
        (lambda: WeightSchedule([FIRST, 2 * LAST], [0.0, 1.0]), "weights must sum to 1"),
        (lambda: WeightSchedule(FIRST, [0.0]), "needs weights"),
        (lambda: focus(width=0.0), "width must be above 0; got 0"),
        (lambda: focus(damping=-1.0), "damping must be at least 0; got -1"),
        (lambda: focus(strength=np.inf), "strength must be a finite number"),
    ],
)
def test_weightings_out_of_range(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize(
    ("weighting", "way", "message"),
    [
        (WeightSchedule([[0.5, 0.5]], [0.0]), {"t_end": 1.0}, "a weight for each of 10 tokens; got 2"),
        (focus(position=[1.0, 0.0, 0.0]), {"t_end": 1.0}, r"on the sphere \|y\| = 1.5; got"),
        (focus(velocity=[1.0, 0.0, 0.0]), {"t_end": 1.0}, "velocity must be tangent"),
        (focus(position=[1.5, 0.0]), {"t_end": 1.0}, "position must have the shape"),
        (focus(), {"t_end": 1.0, "merge": 0.1}, "merge does not go with"),
        (focus(), {"t_end": 1.0, "method": "geodesic-euler", "step": 0.1}, "a focus needs layers or one of"),
        (focus(), {"layers": 2, "residual": False}, "needs the residual connection"),
        (focus(), {"layers": 2, "noise": 0.1}, "a focus does not go with noise"),
        (focus(), {"t_end": 1.0, "sums": "harmonics"}, "needs exact sums in one process"),
    ],
)
def test_what_does_not_go_with_a_weighting(weighting, way, message):
    with pytest.raises(InvalidInput, match=message):
        integrate(Attention(), tokens(), weighting=weighting, **way)


def test_a_focus_in_a_network_has_attention_alone():
    feed = FeedForward(np.eye(3), np.eye(3))
    with pytest.raises(InvalidInput, match="layers of attention alone"):
        integrate(Block(Attention(), feed), tokens(), layers=2, weighting=focus())


# ------------------------------------------------------------------------------------------------ scenarios

BASE = """
[tokens]
count = 4
replicas = 2
[space]
kind = "sphere"
[depth]
time = 1.0
[save]
every = 0.5
observables = ["focus_entropy"]
"""
ROWS = [[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]


def test_a_scenario_keeps_weights_and_focus_with_every_frame(tmp_path):
    scenario = Scenario.parse(BASE).override({"tokens.weights": {"depths": [0.0, 1.0], "rows": ROWS}})
    run = attndyn.run(scenario, out=tmp_path / "weights.h5")
    expected = [ROWS[0], np.mean(ROWS, axis=0), ROWS[1]]
    np.testing.assert_allclose(run.observables["token_weights"][:, 1], expected, rtol=0, atol=1e-16)
    assert run.observables["focus_entropy"][0] == pytest.approx(np.log(4), abs=1e-14)
    given = {"position": [0.0, 0.0, 1.0], "velocity": [0.5, 0.0, 0.0], "width": 0.5}
    run = attndyn.run(Scenario.parse(BASE).override({"focus": given}), out=tmp_path / "focus.h5")
    weighting = Focus(**given)
    direct = integrate(Attention(), Ensemble(run.positions[0], run.space), t_end=1.0, weighting=weighting)
    np.testing.assert_allclose(run.observables["focus"][-1], direct.focus[-1][:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.observables["focus_velocity"][0], [[0.5, 0.0, 0.0]] * 2, rtol=0, atol=1e-15)
    np.testing.assert_allclose(run.observables["token_weights"][-1], direct.weights[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens.weights": {"depths": [0.0], "rows": [[0.5, 0.5]]}}, "tokens.weights.* for each of 4 tokens; got 2"),
        ({"tokens.weights": {"depths": [0.0, 1.0], "rows": ROWS[:1]}}, "tokens.weights.*as many depths"),
        ({"focus": {"position": [1.0, 1.0, 0.0]}}, r"focus.*on the sphere"),
        ({"focus": {"position": [1.0, 0.0, 0.0], "width": 0.0}}, r"focus\.width"),
        ({"focus": {"position": [1.0, 0.0, 0.0]}, "depth.method": "geodesic-euler", "depth.step": 0.1}, "depth.method"),
        (
            {"focus": {"position": [1.0, 0.0, 0.0]}, "depth.merge": 0.1, "tokens.replicas": 1},
            "depth.merge.*token weights",
        ),
        (
            {"focus": {"position": [1.0, 0.0, 0.0]}, "tokens.weights": {"depths": [0.0], "rows": ROWS[:1]}},
            "focus: decides on the token weights",
        ),
    ],
)
def test_mistakes_in_a_scenario_are_named(changes, message, tmp_path):
    with pytest.raises((ScenarioError, InvalidInput), match=message):
        attndyn.run(Scenario.parse(BASE).override(changes), out=tmp_path / "x.h5")
