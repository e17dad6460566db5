"""What a run does that cannot go on, and the arguments that `integrate` refuses."""

import re

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput, Sphere, integrate
from attndyn.integrators import METHODS
from scipy.special import exp1

FIXED = [name for name, method in METHODS.items() if not method.adaptive]
ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
TOKENS = Ensemble.uniform(Sphere(3), 12, replicas=2, seed=5)
GROWING = Attention(beta=1.0, normalisation="none")


def test_an_adaptive_run_that_blows_up_fails_at_the_depth_of_the_blow_up():
    # one token, x' = exp(|x|^2) x: infinite at depth E_1(|x|^2) / 2
    token = Ensemble(np.array([[[0.6, 0.8]]]), Euclidean(2))
    for method in ADAPTIVE:
        run = integrate(GROWING, token, t_end=1.0, method=method, save_at=[0.0, 0.05, 0.5])
        assert run.status.startswith("failed: ")
        assert "at depth 0.109692 (replica 0, token 0, |x| = " in run.status
        assert "exp(beta |x|^2), here beta = 1: shift rescales its time, a sphere bounds" in run.status
        assert run.t == pytest.approx(exp1(1.0) / 2, abs=1e-8)
        np.testing.assert_allclose(run.times, [0.0, 0.05, run.t])
        assert np.isfinite(run.positions).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy says so too
@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize(("replica", "token"), [(0, 2), (1, 0), (2, 1)])
@pytest.mark.parametrize("method", FIXED)
def test_a_fixed_step_that_is_not_finite_fails_and_names_the_token(method, replica, token, backend):
    positions = np.full((3, 3, 2), 0.1)
    positions[replica, token] = [30.0, 0.0]  # exp(900) is too much for float64
    run = integrate(GROWING, Ensemble(positions, Euclidean(2)), t_end=1.0, method=method, step=0.25, backend=backend)
    assert run.status.startswith(
        f"failed: the state is not finite at depth 0.25 (replica {replica}, token {token}, |x| = 30 before the step)"
    )
    np.testing.assert_array_equal(run.times, [0.0])
    np.testing.assert_array_equal(run.final, positions)


def test_an_adaptive_run_whose_drift_is_not_finite_from_the_start_fails_there():
    positions = np.array([[[0.1, 0.0], [30.0, 0.0]], [[0.1, 0.0], [0.2, 0.0]]])
    run = integrate(GROWING, Ensemble(positions, Euclidean(2)), t_end=1.0)
    assert run.status.startswith("failed: the drift is not finite at depth 0 (replica 0, token 1")
    assert run.statistics.accepted == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy says so too
@pytest.mark.parametrize("way", [{"t_end": 5.0, "method": "euler", "step": 1.0}, {"layers": 5}])
def test_a_softmax_run_that_overflows_says_that_tokens_run_away(way):
    run = integrate(Attention(value=1e100), Ensemble(TOKENS.positions, Euclidean(3)), **way, backend="reference")
    assert re.match(r"failed: a token grew beyond all bounds at depth [2-4](, layer [2-4])? \(replica", run.status)
    assert "tokens in R^d may run away" in run.status
    assert np.isfinite(run.final).all()
    np.testing.assert_array_equal(run.times, [0.0, run.t])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"t_end \(or layers\) is needed"),
        ({"t_end": 0.0}, "t_end must be a positive number; got 0"),
        ({"t_end": -1.0}, "t_end must be a positive number; got -1"),
        ({"t_end": np.nan}, "t_end must be a positive number; got nan"),
        ({"t_end": np.inf}, "t_end must be a positive number; got inf"),
        ({"t_end": 1.0, "method": "rk5"}, "method must be one of euler, heun, rk4, .*geodesic-euler.*; got 'rk5'"),
        ({"t_end": 1.0, "method": "rk4"}, "method 'rk4' needs a step; adaptive methods are bs32, tsit5"),
        ({"t_end": 1.0, "method": "geodesic-euler"}, "method 'geodesic-euler' needs a step"),
        ({"t_end": 1.0, "step": 0.0}, "step must be a positive number; got 0"),
        ({"t_end": 1.0, "step": np.inf}, "step must be a positive number; got inf"),
        ({"t_end": 1.0, "rtol": -1e-3}, "rtol must be a positive number; got -0.001"),
        ({"t_end": 1.0, "atol": np.nan}, "atol must be a positive number; got nan"),
        ({"t_end": 1.0, "threads": 0}, "threads must be an integer of at least 1; got 0"),
        ({"t_end": 1.0, "max_steps": 0}, "max_steps must be an integer of at least 1; got 0"),
        ({"t_end": 1.0, "max_steps": 1.5}, r"max_steps must be an integer of at least 1; got 1\.5"),
        ({"t_end": 1.0, "backend": "cuda"}, "backend must be one of numba, torch, reference; got 'cuda'"),
        ({"layers": 0}, "layers must be an integer of at least 1; got 0"),
        ({"layers": 2.0}, r"layers must be an integer of at least 1; got 2\.0"),
        ({"layers": 4, "step": 0.5, "t_end": 1.0}, r"t_end is layers \* step = 2 for a network; got 1"),
        ({"layers": 4, "save_at": [0.5]}, r"save times must be multiples of the step 1 here; got 0\.5"),
        ({"t_end": 1.0, "save_at": []}, "save times must be a list of finite numbers"),
        ({"t_end": 1.0, "save_at": [[0.0, 1.0]]}, "save times must be a list of finite numbers"),
        ({"t_end": 1.0, "save_at": [0.0, np.nan]}, "save times must be a list of finite numbers"),
        ({"t_end": 1.0, "save_at": [-0.1, 1.0]}, r"save times must lie in \[0, 1\]; got -0\.1"),
        ({"t_end": 1.0, "save_at": [0.0, 1.5]}, r"save times must lie in \[0, 1\]; got 1\.5"),
        ({"t_end": 1.0, "save_at": [0.0, 0.5, 0.5]}, r"save times must increase; got 0\.5"),
        ({"t_end": 1.0, "save_at": [0.7, 0.2]}, r"save times must increase; got 0\.2"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_computed(arguments, message):
    saved = []
    with pytest.raises(InvalidInput, match=message):
        integrate(Attention(), TOKENS, **arguments, on_save=lambda *frame: saved.append(frame))
    assert saved == []


def test_a_law_for_every_layer_must_be_as_many_as_the_layers_and_fit():
    with pytest.raises(InvalidInput, match="one law per layer: 3; got 2"):
        integrate([Attention(), Attention()], TOKENS, layers=3)
    with pytest.raises(InvalidInput, match="a sequence of laws needs layers"):
        integrate([Attention()], TOKENS, t_end=1.0)
    for law in (Attention(value=np.eye(2)), [Attention(value=np.eye(2))]):
        with pytest.raises(InvalidInput, match="value must have the shape"):
            integrate(law, TOKENS, layers=1)
