"""The step control and the first step."""

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, Sphere, integrate
from attndyn.integrators import METHODS
from attndyn.integrators.control import StepControl, first_step

ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]


def test_an_accepted_step_gives_the_next_by_the_pi_rule():
    control = StepControl(error_order=4)
    assert control.judge(0.5) == (True, pytest.approx(0.9 * 0.5 ** (-0.7 / 5)))
    # the error before counts as well
    assert control.judge(0.2) == (True, pytest.approx(0.9 * 0.2 ** (-0.7 / 5) * 0.5 ** (0.4 / 5)))


def test_a_rejected_step_is_shortened_by_the_error_alone_and_the_next_does_not_grow():
    control = StepControl(error_order=4)
    control.judge(0.5)
    assert control.judge(3.0) == (False, pytest.approx(0.9 * 3.0 ** (-1 / 5)))
    assert control.judge(1e-6) == (True, 1.0)
    # then it may, and what came before is the last accepted error
    assert control.judge(0.1) == (True, pytest.approx(0.9 * 0.1 ** (-0.7 / 5) * 1e-4 ** (0.4 / 5)))


@pytest.mark.parametrize("error", [1e30, np.inf, np.nan])
def test_a_hopeless_step_is_a_fifth_as_long_next_time(error):
    assert StepControl(error_order=7).judge(error) == (False, 0.2)


def test_no_step_is_more_than_ten_times_as_long_as_the_one_before():
    assert StepControl(error_order=1).judge(0.0) == (True, 10.0)


def test_an_error_of_exactly_one_is_good_enough():
    assert StepControl(error_order=4).judge(1.0) == (True, 0.9)


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("rtol", [1e-4, 1e-9])
@pytest.mark.parametrize("radius", [0.01, 1.0, 100.0])
def test_the_first_step_is_good_at_once_and_not_much_too_short(method, rtol, radius):
    tokens = Ensemble.uniform(Sphere(3, radius), 20, seed=1)
    lengths = []

    def note(t, statistics):
        lengths.append((t, statistics.rejected))
        if len(lengths) == 6:
            raise KeyboardInterrupt

    law = Attention(beta=2.0 / radius**2)
    integrate(law, tokens, t_end=1e6, method=method, rtol=rtol, atol=1e-3 * rtol * radius, on_progress=note)
    assert lengths[0][1] == 0
    steps = np.diff([0.0, *(t for t, _ in lengths)])
    assert steps[0] > 0.01 * steps.max()


def test_the_first_step_of_tokens_that_are_at_rest_or_at_the_origin_is_a_number():
    x = np.zeros((1, 3, 2))
    assert first_step(x, np.zeros_like(x), 4, 1e-8, 1e-10) == 1e-3
    assert 0.0 < first_step(x, np.ones_like(x), 4, 1e-8, 1e-10) < 1.0
    assert first_step(x, np.full_like(x, np.inf), 4, 1e-8, 1e-10) == 1e-3


def test_tokens_at_rest_take_few_steps():
    # a regular polygon does not move: oracle 2.4
    polygon = Ensemble.draw("grid", Sphere(2), tokens=6)
    run = integrate(Attention(beta=1.0), polygon, t_end=1.0)
    np.testing.assert_allclose(run.final, polygon.positions, atol=1e-14)
    assert run.statistics.accepted < 10


def test_the_steps_follow_a_motion_that_becomes_slow():
    # one token in R^d with V = -1: x' = -x, ever slower in absolute terms, so atol lets the steps grow
    token = Ensemble(np.ones((1, 1, 1)), Euclidean(1))
    depths = []
    integrate(
        Attention(value=-1.0),
        token,
        t_end=40.0,
        method="bs32",
        rtol=1e-9,
        atol=1e-9,
        on_progress=lambda t, statistics: depths.append(t),
    )
    steps = np.diff(depths)
    assert steps[-2] > 50 * steps[0]
