"""Events end a run where they come true."""

from itertools import pairwise

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput, Sphere, integrate
from attndyn.integrators import METHODS, events
from attndyn.particles.observables import clusters

AVERAGE = Attention(beta=0.0)  # every token is drawn to the mean of all
METHOD_ACCURACY = {"tsit5": 1e-8, "dp54": 1e-8, "dop853": 1e-8, "bs32": 1e-6, "rk4": 1e-6, "heun": 2e-3, "euler": 5e-2}


def two_tokens(*angles):
    """Replicas of two tokens on the circle, at these angles to each other."""
    turned = np.array([[0.3, 0.3 + angle] for angle in angles])
    return Ensemble(np.stack([np.cos(turned), np.sin(turned)], axis=-1), Sphere(2))


def meeting_depth(start, angle):
    """Oracle 2.1, beta = 0: tan(phi(t) / 2) = tan(phi(0) / 2) e^(-t)."""
    return np.log(np.tan(start / 2) / np.tan(angle / 2))


def angle_between(positions):
    """The angle between the two tokens of each replica, (replicas,)."""
    return 2 * np.arcsin(np.linalg.norm(positions[:, 0] - positions[:, 1], axis=-1) / 2)


def way_of(method, step=0.05):
    return {"method": method} | ({"rtol": 1e-9, "atol": 1e-9} if METHODS[method].adaptive else {"step": step})


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
@pytest.mark.parametrize("method", METHOD_ACCURACY)
def test_oracle_2_1_two_tokens_become_one_cluster_at_the_depth_of_the_closed_form(method, backend):
    tokens = two_tokens(2.5)
    stop = [events.clusters_left(tokens, 1, distance=0.25)]
    run = integrate(AVERAGE, tokens, t_end=10.0, stop=stop, backend=backend, **way_of(method))
    assert run.status == "stopped: clusters <= 1"
    assert run.t == pytest.approx(meeting_depth(2.5, 0.25), abs=METHOD_ACCURACY[method])
    # the state is that of the event, not of the end of the step
    assert angle_between(run.final)[0] == pytest.approx(0.25, abs=1e-8)
    assert angle_between(run.final)[0] <= 0.25
    np.testing.assert_array_equal(run.times, [0.0, run.t])
    np.testing.assert_array_equal(run.positions[-1], run.final)


def test_all_replicas_must_have_come_to_so_few_clusters():
    tokens = two_tokens(1.0, 2.9, 2.0)
    run = integrate(AVERAGE, tokens, t_end=10.0, rtol=1e-10, stop=[events.clusters_left(tokens, 1, distance=0.25)])
    assert run.t == pytest.approx(meeting_depth(2.9, 0.25), abs=1e-8)


def test_the_distance_is_that_of_the_space_unless_it_is_given():
    circle = two_tokens(2.5)
    wide = Ensemble(3.0 * circle.positions, Sphere(2, radius=3.0))
    for tokens in (circle, wide):
        run = integrate(AVERAGE, tokens, t_end=10.0, rtol=1e-10, stop=[events.clusters_left(tokens)])
        assert run.t == pytest.approx(meeting_depth(2.5, 0.1), abs=1e-8)
    # in R^d, where a pair at +-u with V = -I obeys u' = -u tanh(u^2)
    flat = Ensemble(np.array([[[1.0], [-1.0]]]), Euclidean(1))
    run = integrate(Attention(beta=1.0, value=-1.0), flat, t_end=1000.0, stop=[events.clusters_left(flat)])
    assert np.abs(np.diff(run.final[0, :, 0])) == pytest.approx(0.1, abs=1e-9)


def test_several_clusters_can_be_what_is_waited_for():
    tokens = Ensemble.uniform(Sphere(3), 40, seed=2)
    law, counts, depths = Attention(beta=2.0), (9, 4, 1), []
    for count in counts:
        run = integrate(law, tokens, t_end=200.0, rtol=1e-6, stop=[events.clusters_left(tokens, count)])
        assert run.status == f"stopped: clusters <= {count}"
        assert clusters(tokens.at(run.final)).item() <= count
        depths.append(run.t)
    assert depths == sorted(depths)


def test_frames_before_the_event_are_saved_and_none_after():
    tokens = two_tokens(2.5)
    end = meeting_depth(2.5, 0.25)
    run = integrate(AVERAGE, tokens, t_end=10.0, rtol=1e-10, save_at=np.arange(0.0, 10.1, 0.5),
                    stop=[events.clusters_left(tokens, 1, distance=0.25)])  # fmt: skip
    np.testing.assert_allclose(run.times, [*np.arange(0.0, end, 0.5), end], atol=1e-8)
    assert all(angle_between(frame)[0] > 0.25 for frame in run.positions[:-1])
    # oracle 2.1 at every frame
    angles = [angle_between(frame)[0] for frame in run.positions]
    np.testing.assert_allclose(np.tan(np.divide(angles, 2)), np.tan(1.25) * np.exp(-run.times), rtol=1e-7)


def test_layers_end_after_the_first_layer_where_it_is_true():
    tokens = two_tokens(2.5)
    way = {"layers": 100, "step": 0.25}
    run = integrate(AVERAGE, tokens, **way, stop=[events.clusters_left(tokens, 1, distance=0.25)])
    every = integrate(AVERAGE, tokens, **way, save_at=np.arange(101) * 0.25)
    angles = np.array([angle_between(frame)[0] for frame in every.positions])
    first = int(np.argmax(angles <= 0.25))
    assert run.t == first * 0.25
    assert run.statistics.accepted == first
    np.testing.assert_array_equal(run.final, every.positions[first])


def test_what_is_true_at_the_start_ends_the_run_there():
    tokens = two_tokens(0.2)
    for way in ({"t_end": 1.0}, {"layers": 3}):
        run = integrate(AVERAGE, tokens, **way, stop=[events.clusters_left(tokens, 1, distance=0.25)])
        assert run.status == "stopped: clusters <= 1"
        assert run.statistics.accepted == 0
        np.testing.assert_array_equal(run.times, [0.0])
        np.testing.assert_array_equal(run.final, tokens.positions)


@pytest.mark.parametrize("method", ["rk4", "geodesic-euler"])
def test_slower_than_ends_after_the_first_step_at_whose_end_it_is_true(method):
    tokens = two_tokens(2.5)
    run = integrate(AVERAGE, tokens, t_end=20.0, method=method, step=0.1, save_at=np.arange(201) * 0.1,
                    stop=[events.slower_than(0.02)])  # fmt: skip
    assert run.status == "stopped: drift < 0.02"
    speeds = [np.linalg.norm(AVERAGE.drift(x, space=tokens.space), axis=-1).max() for x in run.positions]
    assert speeds[-1] < 0.02
    # the speed goes up before it goes down: no other frame is as slow
    assert min(speeds[:-1]) >= 0.02
    # at beta = 0 each of two tokens moves at the speed sin(phi) / 2
    assert speeds[-1] == pytest.approx(np.sin(angle_between(run.final)[0]) / 2, rel=1e-12)
    assert run.times[-1] == run.t


def test_slower_than_looks_at_the_fastest_token_of_all_replicas():
    run = integrate(AVERAGE, two_tokens(1e-3, 2.0), t_end=20.0, rtol=1e-8, stop=[events.slower_than(0.02)])
    assert angle_between(run.final)[1] < 2 * np.arcsin(0.02)
    assert run.t > 1.0


def test_a_layer_has_no_drift_that_could_be_small():
    run = integrate(AVERAGE, two_tokens(0.5), layers=60, stop=[events.slower_than(1e-3)])
    assert run.status == "finished"


def test_tokens_at_rest_stop_at_once():
    square = Ensemble.draw("grid", Sphere(2), tokens=4)
    run = integrate(Attention(beta=1.0), square, t_end=5.0, stop=[events.slower_than(1e-12)])
    assert run.status == "stopped: drift < 1e-12"
    assert run.t == 0.0


def test_wall_clock_ends_the_run_after_the_step_in_which_the_time_is_up(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    stop = [events.wall_clock(5.0)]

    def a_second_passes(t, statistics):
        now[0] += 1.0

    run = integrate(
        AVERAGE, two_tokens(2.5), t_end=10.0, method="rk4", step=0.1, stop=stop, on_progress=a_second_passes
    )
    assert run.status == "stopped: 5 seconds passed"
    assert run.statistics.accepted == 5
    assert run.t == run.times[-1] == 5 * 0.1


def test_of_several_events_the_first_to_come_true_ends_the_run():
    tokens = two_tokens(2.5)
    early, late = (events.clusters_left(tokens, 1, distance=angle) for angle in (0.5, 0.25))
    slow = events.slower_than(1e-6)
    for stop in ([slow, late, early], [early, slow, late]):
        run = integrate(AVERAGE, tokens, t_end=30.0, rtol=1e-9, stop=stop)
        assert run.t == pytest.approx(meeting_depth(2.5, 0.5), abs=1e-8)
    run = integrate(AVERAGE, tokens, t_end=30.0, stop=[slow])
    assert run.status == "stopped: drift < 1e-06"


def test_an_event_of_ones_own_is_a_name_and_a_condition():
    seen = []

    def reached(t, positions, speed):
        seen.append((t, positions.shape, None if speed is None else speed.shape))
        return t >= 0.3

    shape = (1, 2, 2)
    run = integrate(AVERAGE, two_tokens(2.5), t_end=1.0, method="heun", step=0.1, stop=[events.Event("mine", reached)])
    assert run.status == "stopped: mine"
    assert [t for t, *_ in seen] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert {tuple(rest) for _, *rest in seen} == {(shape, shape)}
    assert all(a < b for (a, *_), (b, *_) in pairwise(seen))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: events.clusters_left(two_tokens(1.0), 0), "clusters must be at least 1; got 0"),
        (lambda: events.slower_than(0.0), r"drift must be a positive number; got 0\.0"),
        (lambda: events.slower_than(np.nan), "drift must be a positive number; got nan"),
        (lambda: events.wall_clock(-1.0), r"seconds must be a positive number; got -1\.0"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()
