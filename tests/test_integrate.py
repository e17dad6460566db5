"""The loop: with a scripted stepper and controller, then with the real ones."""

from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput, Sphere, integrate
from attndyn.integrators import METHODS
from attndyn.integrators.arithmetic import Arrays
from attndyn.integrators.brownian import Noise
from attndyn.integrators.course import Course
from attndyn.integrators.events import Event
from attndyn.integrators.way import Way
from attndyn.particles.backends import Engine, prepare

# the module, which the function of the same name hides
loop = import_module("attndyn.integrators.integrate")

FIXED = [name for name, method in METHODS.items() if not method.adaptive]
ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
ORIGIN = Ensemble(np.zeros((1, 1, 1)), Euclidean(1))
TOKENS = Ensemble.uniform(Sphere(3), 12, replicas=2, seed=5)


class Clockwork:
    """A stepper of x' = 1 from x = 0, so that positions are depths; it notes what it is asked for."""

    order = error_order = 1

    def __init__(self, adaptive=True, continuous=True):
        self.arithmetic, self.field = Arrays(), None
        self.adaptive, self.continuous = adaptive, continuous
        self.moved, self.evaluations = np.zeros((1, 1, 1)), 0
        self.attempts, self.accepted = [], []

    def start(self, t, x):
        self.evaluations += 1

    def speed(self):
        return np.ones((1, 1, 1))

    def attempt(self, t, h, x):
        self.attempts.append((t, h))
        self.moved[...] = x + h
        return 0.5

    def interpolate(self, t, h, x, theta, out):
        out[...] = x + theta * h

    def accept(self, t):
        self.accepted.append(t)


class Verdicts:
    """A step control that reads from a script: (accepted, factor to the next step); then it accepts and keeps h."""

    def __init__(self, *script):
        self.script = list(script)

    def judge(self, error):
        return self.script.pop(0) if self.script else (True, 1.0)


@pytest.fixture
def scripted(monkeypatch):
    """Run the loop on a stepper and verdicts of the test's own."""

    def run(stepper, *script, t_end=1.0, step=0.25, save_at=(0.0,), exact=False, max_steps=10**6, **options):
        times = np.asarray(save_at, float)
        way = Way(Attention(), None, "tsit5", step, 1.0, 1.0, None, True, "1/L", Noise(0.0, 0, None))
        course = Course(stepper, Engine(), False, way, t_end, times, exact, step, 1.0, 1.0, max_steps)
        monkeypatch.setattr(loop, "choose", lambda *positional, **named: course)
        monkeypatch.setattr(loop, "StepControl", lambda order: Verdicts(*script))
        return integrate(Attention(), ORIGIN, **options)

    return run


def at_time(name, depth, located=True):
    return Event(name, lambda t, positions, speed: bool(t >= depth), located)


# ---------------------------------------------------------------------------------------------- scripted


def test_a_rejected_step_is_repeated_shorter_from_the_same_state(scripted):
    stepper = Clockwork()
    run = scripted(stepper, (True, 2.0), (False, 0.5), (False, 0.5), (True, 1.0))
    assert stepper.attempts == [(0.0, 0.25), (0.25, 0.5), (0.25, 0.25), (0.25, 0.125)] + [
        (0.375 + 0.125 * k, 0.125) for k in range(5)
    ]
    assert (run.statistics.accepted, run.statistics.rejected) == (7, 2)
    assert run.status == "finished"
    assert run.t == run.final.item() == 1.0


def test_exact_saving_cuts_steps_and_does_not_shorten_those_after(scripted):
    stepper = Clockwork()
    run = scripted(stepper, step=0.4, save_at=[0.1, 0.9, 1.0], exact=True)
    np.testing.assert_allclose([h for _, h in stepper.attempts], [0.1, 0.4, 0.4, 0.1], atol=1e-15)
    assert stepper.accepted[0] == 0.1
    assert stepper.accepted[2:] == [0.9, 1.0]
    np.testing.assert_array_equal(run.times, [0.1, 0.9, 1.0])
    np.testing.assert_allclose(run.positions.ravel(), run.times, atol=1e-15)


def test_interpolated_saving_leaves_the_steps_alone(scripted):
    stepper, times = Clockwork(), np.linspace(0.0, 1.0, 11)
    run = scripted(stepper, step=0.4, save_at=times)
    assert [h for _, h in stepper.attempts] == pytest.approx([0.4, 0.4, 0.2])
    np.testing.assert_array_equal(run.times, times)
    np.testing.assert_allclose(run.positions.ravel(), times, atol=1e-15)


def test_only_what_was_asked_for_is_saved_by_a_run_that_finishes(scripted):
    run = scripted(Clockwork(), save_at=[0.3, 0.6])
    np.testing.assert_array_equal(run.times, [0.3, 0.6])
    assert run.t == 1.0


def test_an_event_that_is_true_at_the_start_ends_the_run_with_no_step(scripted):
    stepper = Clockwork()
    run = scripted(stepper, save_at=[0.5], stop=[at_time("now", 0.0)])
    assert stepper.attempts == []
    assert run.status == "stopped: now"
    np.testing.assert_array_equal(run.times, [0.0])
    assert run.statistics.accepted == 0


def test_an_event_inside_the_first_step_is_found_there(scripted):
    run = scripted(Clockwork(), step=1.0, save_at=[0.0, 0.2, 1.0], stop=[at_time("there", 0.3)])
    assert run.status == "stopped: there"
    np.testing.assert_allclose(run.times, [0.0, 0.2, 0.3], atol=2e-9)
    np.testing.assert_allclose(run.positions.ravel(), run.times, atol=1e-15)
    assert run.t == run.times[-1] >= 0.3
    assert run.statistics.accepted == 1


def test_an_event_at_a_save_time_gives_one_frame_of_the_state_there(scripted):
    # 0.5 is met exactly by bisection of a step of length 1
    run = scripted(Clockwork(), step=1.0, save_at=[0.25, 0.5, 0.75], stop=[at_time("half", 0.5)])
    np.testing.assert_array_equal(run.times, [0.25, 0.5])
    np.testing.assert_array_equal(run.positions.ravel(), run.times)


def test_an_event_that_is_not_located_or_has_no_inside_ends_the_run_at_the_end_of_the_step(scripted):
    outside = scripted(Clockwork(), stop=[at_time("late", 0.3, located=False)])
    layered = scripted(Clockwork(adaptive=False, continuous=False), stop=[at_time("late", 0.3)])
    for run in (outside, layered):
        assert run.status == "stopped: late"
        assert run.t == run.times[-1] == run.final.item() == 0.5
        assert run.statistics.accepted == 2


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_of_several_events_in_one_step_the_one_that_came_first_counts(scripted, order):
    depths = {"first": 0.3, "second": 0.6}
    run = scripted(Clockwork(), step=1.0, stop=[at_time(name, depths[name]) for name in order])
    assert run.status == "stopped: first"
    assert run.t == pytest.approx(0.3, abs=2e-9)


def test_the_depth_of_fixed_steps_comes_from_their_number_and_does_not_drift(scripted):
    stepper = Clockwork(adaptive=False)
    run = scripted(stepper, t_end=10_000.0, step=0.1, save_at=[5_000.0])
    assert len(stepper.attempts) == 100_000
    assert {h for _, h in stepper.attempts} == {0.1}
    assert stepper.accepted[:-1] == [number * 0.1 for number in range(1, 100_000)]
    assert stepper.accepted[-1] == run.t == 10_000.0
    np.testing.assert_array_equal(run.times, [5_000.0])


def test_the_last_fixed_step_is_shorter_where_the_depth_is_no_multiple(scripted):
    stepper = Clockwork(adaptive=False)
    scripted(stepper, step=0.3)
    assert [h for _, h in stepper.attempts[:3]] == [0.3] * 3
    assert stepper.attempts[3][1] == pytest.approx(0.1)
    assert stepper.accepted[-1] == 1.0


def test_max_steps_ends_the_run_and_says_where(scripted):
    run = scripted(Clockwork(), max_steps=3)
    assert run.status.startswith("failed: max_steps = 3 steps were taken")
    assert "at depth 0.75 (replica 0, token " in run.status
    assert run.times[-1] == 0.75
    assert scripted(Clockwork(), max_steps=4).status == "finished"


@pytest.mark.parametrize("stop_at", [0.25, 0.5])
def test_an_interrupt_keeps_what_was_saved_and_the_state(scripted, stop_at):
    def interrupt(t, statistics):
        if t >= stop_at:
            raise KeyboardInterrupt

    run = scripted(Clockwork(), save_at=[0.0, 0.1, 0.9], on_progress=interrupt)
    assert run.status == "interrupted"
    assert run.t == stop_at
    np.testing.assert_allclose(run.times, [0.0, 0.1, stop_at])
    np.testing.assert_allclose(run.positions.ravel(), run.times)


def test_an_interrupt_while_saving_does_not_go_back_in_depth(scripted):
    saved = []

    def save(step, t, ensemble):
        saved.append(t)
        if t == 0.3:
            raise KeyboardInterrupt

    run = scripted(Clockwork(), save_at=[0.0, 0.3, 0.9], on_save=save)
    assert run.status == "interrupted"
    assert saved == [0.0, 0.3]


# ---------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize("method", ADAPTIVE)
def test_save_times_are_hit_exactly_or_interpolated_to_the_same_values(method):
    times = [0.0, 0.1, 0.55, 1.3, 2.0]
    way = {"t_end": 2.0, "method": method, "rtol": 1e-8, "atol": 1e-8, "save_at": times}
    between = integrate(Attention(beta=2.0), TOKENS, **way)
    ends = []
    landed = integrate(Attention(beta=2.0), TOKENS, **way, exact=True, on_progress=lambda t, statistics: ends.append(t))
    assert set(times[1:]) <= set(ends)
    for run in (between, landed):
        np.testing.assert_array_equal(run.times, times)
        np.testing.assert_array_equal(run.positions[0], TOKENS.positions)
        np.testing.assert_allclose(np.linalg.norm(run.positions, axis=-1), 1.0, atol=1e-14)
    np.testing.assert_allclose(between.positions, landed.positions, atol=1e-7)
    # an end of a step is saved as it is
    np.testing.assert_array_equal(between.positions[-1], between.final)


@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_save_at_multiples_what_a_shorter_run_ends_with(method):
    way = {"method": method, "step": 0.1}
    run = integrate(Attention(), TOKENS, t_end=1.0, save_at=np.arange(11) * 0.1, **way)
    for number in (1, 3, 7):
        shorter = integrate(Attention(), TOKENS, t_end=number * 0.1, **way)
        np.testing.assert_array_equal(run.positions[number], shorter.final)


def test_exact_fixed_steps_refuse_save_times_between_them():
    way = {"t_end": 1.05, "method": "rk4", "step": 0.1}
    run = integrate(Attention(), TOKENS, **way, save_at=[0.3, 1.05], exact=True)
    np.testing.assert_array_equal(run.times, [3 * 0.1, 1.05])
    with pytest.raises(InvalidInput, match=r"multiples of the step 0\.1 here; got 0\.25"):
        integrate(Attention(), TOKENS, **way, save_at=[0.25], exact=True)


@pytest.mark.parametrize(
    "way", [{"t_end": 3.0}, {"t_end": 3.0, "method": "rk4", "step": 0.07}, {"layers": 6, "step": 0.5}]
)
def test_on_save_gets_every_frame_once_in_order_to_keep(way):
    kept = integrate(Attention(beta=3.0), TOKENS, **way, save_at=[0.0, 0.5, 1.0, 2.5, 3.0])
    calls = []
    handed = integrate(
        Attention(beta=3.0), TOKENS, **way, save_at=[0.0, 0.5, 1.0, 2.5, 3.0],
        on_save=lambda *frame: calls.append(frame),
    )  # fmt: skip
    numbers, times, ensembles = zip(*calls, strict=True)
    assert list(times) == [0.0, 0.5, 1.0, 2.5, 3.0]
    assert numbers[0] == 0
    assert numbers[-1] == handed.statistics.accepted
    assert list(numbers) == sorted(numbers)
    # not yet overwritten by the steps that followed
    np.testing.assert_array_equal(np.stack([frame.positions for frame in ensembles]), kept.positions)
    assert handed.positions.shape == (0, *TOKENS.positions.shape)
    assert len(handed.times) == 0
    np.testing.assert_array_equal(handed.final, kept.final)


def test_by_default_both_ends_are_saved_and_the_ensemble_is_left_alone():
    before = TOKENS.positions.copy()
    run = integrate(Attention(), TOKENS, t_end=0.7)
    np.testing.assert_array_equal(run.times, [0.0, 0.7])
    np.testing.assert_array_equal(TOKENS.positions, before)
    assert not np.shares_memory(run.final, TOKENS.positions)


# ---------------------------------------------------------------------------------------------- layers


def by_layers(laws, ensemble, h, residual):
    """The network written out: x <- retract(residual x + h f(x))."""
    x = ensemble.positions.copy()
    states = [x]
    for law in laws:
        field = prepare(law, ensemble.space, ensemble.weights, x.shape, x.dtype, Engine("reference"))
        f = np.empty_like(x)
        field.attention(0.0, x, f)
        x = ensemble.space.retract(residual * x + h * f)
        states.append(x)
    return np.stack(states)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)])
def test_layers_apply_their_own_law_in_order(space, residual):
    generator = np.random.default_rng(2)
    laws = [Attention(beta=1.0, value=generator.standard_normal((3, 3))) for _ in range(5)]
    tokens = Ensemble(TOKENS.positions, space)
    run = integrate(laws, tokens, layers=5, step=0.4, residual=residual, save_at=np.arange(6) * 0.4)
    np.testing.assert_allclose(run.positions, by_layers(laws, tokens, 0.4, residual), atol=1e-13)
    np.testing.assert_array_equal(run.times, np.arange(6) * 0.4)
    assert run.statistics.accepted == run.statistics.drift_evaluations == 5


def test_a_layer_has_the_step_1_unless_it_is_given():
    run = integrate(Attention(), TOKENS, layers=3)
    np.testing.assert_array_equal(run.times, [0.0, 3.0])
    np.testing.assert_allclose(run.final, by_layers([Attention()] * 3, TOKENS, 1.0, True)[-1], atol=1e-14)


# ---------------------------------------------------------------------------------------------- statistics


class Counting:
    """A field that counts; it has no plan for compiled steps, so every evaluation passes here."""

    def __init__(self, field):
        self.field, self.calls = field, 0

    def velocity(self, t, positions, out):
        self.calls += 1
        self.field.velocity(t, positions, out)

    def attention(self, t, positions, out):
        self.calls += 1
        self.field.attention(t, positions, out)


@pytest.fixture
def counted(monkeypatch):
    fields = []

    def counting(*arguments):
        fields.append(Counting(prepare(*arguments)))
        return fields[-1]

    monkeypatch.setattr("attndyn.integrators.way.prepare", counting)
    return fields


@pytest.mark.parametrize("save_at", [[0.0, 1.0], [0.11, 0.55, 0.93]])
@pytest.mark.parametrize("method", [*METHODS, "layers"])
def test_the_statistics_count_what_was_computed(counted, method, save_at):
    way = {"layers": 10, "step": 0.1} if method == "layers" else {"t_end": 1.0, "method": method, "step": 0.1}
    if method == "layers":
        save_at = [0.1, 0.5, 1.0]
    seen = []
    run = integrate(Attention(beta=2.0), TOKENS, **way, save_at=save_at, rtol=1e-10,
                    on_progress=lambda t, s: seen.append((t, s.accepted, s.drift_evaluations)))  # fmt: skip
    assert run.statistics.drift_evaluations == counted[0].calls
    assert [accepted for _, accepted, _ in seen] == list(range(1, run.statistics.accepted + 1))
    assert all(a < b for a, b in pairwise(seen))
    if method != "layers" and not METHODS[method].adaptive:
        assert run.statistics.accepted == 10
    assert run.statistics.rejected == 0 or METHODS[method].adaptive
    assert run.statistics.wall_seconds > 0.0
    assert set(run.statistics.as_dict()) == {"drift_evaluations", "accepted", "rejected", "wall_seconds"}


def test_a_first_step_that_is_too_long_is_rejected_and_counted(counted):
    run = integrate(Attention(beta=9.0), TOKENS, t_end=1.0, step=1.0, rtol=1e-10, atol=1e-12)
    assert run.statistics.rejected > 0
    # tsit5: one slope at the start, then six for every trial
    assert counted[0].calls == 1 + 6 * (run.statistics.accepted + run.statistics.rejected)
    assert run.statistics.drift_evaluations == counted[0].calls


def test_a_run_that_an_event_ends_counts_as_well(counted):
    run = integrate(Attention(), TOKENS, t_end=1.0, method="dop853", stop=[at_time("half", 0.5)])
    assert run.statistics.drift_evaluations == counted[0].calls
    integrate(Attention(), TOKENS, t_end=1.0, stop=[at_time("at once", 0.0)])
    assert counted[1].calls == 1
