"""The order of every method is measured: at the end of a run and between steps, on the sphere and in R^d."""

from functools import cache

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, Sphere, integrate
from attndyn.integrators import METHODS, methods
from attndyn.particles.backends import Engine, prepare
from scipy.integrate import solve_ivp

ROUND_OFF = 1e-13  # a relative error below this says nothing of the order
WITHIN = 0.2  # what the measured order may differ from the claimed one
ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]

# numbers of steps to depth 3 on the sphere and to depth 1 in R^d; the error is above round-off and asymptotic
STEPS = {
    "euler": (128, 181, 256, 362),
    "geodesic-euler": (128, 181, 256, 362),
    "euler-maruyama": (128, 181, 256, 362),
    "layers": (128, 181, 256, 362),
    "heun": (64, 91, 128, 181),
    "heun-stratonovich": (64, 91, 128, 181),
    "rk4": (32, 45, 64, 91),
    "bs32": (64, 91, 128, 181),
    "tsit5": (32, 40, 50, 64),
    "dp54": (32, 40, 50, 64),
    "dop853": (7, 8, 10, 12),
    "kencarp4": (24, 32, 48, 64),
}


def directions(tokens, dimension):
    """The tokens of oracle 0.3, of length 1."""
    i, k = np.arange(tokens)[:, None], np.arange(dimension)
    x = np.cos(1 + 1.7 * i + 0.9 * k * (i + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


PROBLEMS = {
    "sphere": (Attention(beta=3.0), Ensemble(directions(8, 3), Sphere(3)), 3.0),
    "R^d": (
        Attention(beta=1.0),
        Ensemble(directions(12, 3) * np.linspace(0.8, 1.2, 12)[:, None], Euclidean(3)),
        1.0,
    ),
}
problems = pytest.mark.parametrize("problem", PROBLEMS)
backends = pytest.mark.parametrize("backend", ["numba", pytest.param("torch", marks=pytest.mark.slow), "reference"])


def by_scipy(law, ensemble, t):
    """The positions (replicas, tokens, dimension) at depth t, by another program at a tight tolerance."""
    shape, space = ensemble.positions.shape, ensemble.space

    def drift(t, y):
        x = space.retract(y.reshape(shape))
        return law.drift(x, space=space, weights=ensemble.weights, backend="reference").ravel()

    y = solve_ivp(drift, (0, t), ensemble.positions.ravel(), method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    return space.retract(y.reshape(shape))


@cache
def exact(problem, fraction=1.0):
    law, ensemble, end = PROBLEMS[problem]
    return by_scipy(law, ensemble, fraction * end)


def relative_error(x, reference):
    return np.linalg.norm(x - reference) / np.linalg.norm(reference)


def measured_order(steps, errors):
    """The slope of log error over log step, from the levels above round-off, of which there must be three."""
    steps, errors = np.asarray(steps), np.asarray(errors)
    usable = errors > ROUND_OFF
    assert usable.sum() >= 3, f"only round-off is seen: {errors}"
    return -np.polyfit(np.log(steps[usable]), np.log(errors[usable]), 1)[0]


def stepper_of(name, law, ensemble, backend, tolerance=1e-12):  # to which an implicit method solves its stages
    x, engine = ensemble.positions, Engine(backend)
    field = prepare(law, ensemble.space, ensemble.weights, x.shape, x.dtype, engine)
    return methods.stepper_of(name, field, engine, ensemble, tolerance, tolerance)


def equal_steps(stepper, positions, h, count):
    """The state after `count` steps of size h: what the loop does, by hand."""
    x = stepper.arithmetic.load(positions)
    stepper.start(0.0, x)
    for step in range(count):
        stepper.attempt(step * h, h, x)
        stepper.accept((step + 1) * h)
        x, stepper.moved = stepper.moved, x
    return x


def test_every_method_has_its_numbers_of_steps():
    assert set(STEPS) == {*METHODS, "layers"}


ORACLE_ENDS = {
    "softmax": (
        {},
        [
            [0.4314980604959, -0.2029366236109, -0.8789915531939],
            [-0.5982365515036, -0.2286697286004, 0.7679994685330],
            [-0.1313527792009, 0.4463594952615, -0.8851608036886],
            [0.6024176884921, -0.6569703084242, 0.4533022638823],
        ],
    ),
    "unnormalised": (
        {"normalisation": "none"},
        [
            [0.2636679904376, 0.0119141257732, -0.9645399133399],
            [-0.4348608354521, -0.3852538695329, 0.8139259854556],
            [0.1388361969896, 0.1563555244212, -0.9778944014507],
            [0.4826973452889, -0.7101047403374, 0.5125958745459],
        ],
    ),
    "causal": (
        {"mask": "causal"},
        [
            [0.4767779352288, -0.2852797970620, -0.8314434664288],
            [-0.6650601762047, -0.1642041024788, 0.7285135377985],
            [-0.1467442348603, 0.4534868620419, -0.8790994229839],
            [0.6142660346274, -0.6587199442670, 0.4344712576546],
        ],
    ),
}


@pytest.mark.parametrize("name", ORACLE_ENDS)
def test_adaptive_methods_and_the_reference_end_where_oracle_0_4_says(name):
    options, end = ORACLE_ENDS[name]
    law, ensemble = Attention(beta=2.0, **options), Ensemble(directions(4, 3), Sphere(3))
    np.testing.assert_allclose(by_scipy(law, ensemble, 1.0)[0], end, atol=2e-12)
    for method in ADAPTIVE:
        final = integrate(law, ensemble, t_end=1.0, method=method, rtol=1e-11, atol=1e-11).final
        np.testing.assert_allclose(final[0], end, atol=1e-9)


@backends
@problems
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_a_method_is_the_one_it_claims(method, problem, backend):
    law, ensemble, end = PROBLEMS[problem]
    stepper = stepper_of(method, law, ensemble, backend)
    assert stepper.order == METHODS[method].order
    ends = [equal_steps(stepper, ensemble.positions, end / count, count) for count in STEPS[method]]
    errors = [relative_error(stepper.arithmetic.host(x), exact(problem)) for x in ends]
    assert measured_order(STEPS[method], errors) == pytest.approx(METHODS[method].order, abs=WITHIN)


@backends
@problems
def test_the_network_tends_to_the_flow_with_order_1(problem, backend):
    law, ensemble, end = PROBLEMS[problem]
    runs = [integrate(law, ensemble, layers=n, step=end / n, backend=backend) for n in STEPS["layers"]]
    errors = [relative_error(run.final, exact(problem)) for run in runs]
    assert measured_order(STEPS["layers"], errors) == pytest.approx(1.0, abs=WITHIN)


@problems
@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.adaptive])
def test_the_loop_with_fixed_steps_is_the_stepper_repeated(method, problem):
    law, ensemble, end = PROBLEMS[problem]
    run = integrate(law, ensemble, t_end=end, method=method, step=end / 32)
    by_hand = equal_steps(stepper_of(method, law, ensemble, "numba"), ensemble.positions, end / 32, 32)
    np.testing.assert_array_equal(run.final, by_hand)


@backends
@problems
@pytest.mark.parametrize("method", METHODS)
def test_between_steps_a_method_keeps_its_order(method, problem, backend):
    """At the same depth, always at the same fraction of a step."""
    law, ensemble, end = PROBLEMS[problem]
    stepper = stepper_of(method, law, ensemble, backend)
    errors, between, theta = [], stepper.arithmetic.load(ensemble.positions), 0.35
    for count in STEPS[method]:
        h = 0.9 * end / (count + theta)
        x = equal_steps(stepper, ensemble.positions, h, count)
        stepper.attempt(count * h, h, x)
        stepper.interpolate(count * h, h, x, theta, between)
        errors.append(relative_error(stepper.arithmetic.host(between), exact(problem, 0.9)))
    steps = np.array(STEPS[method]) + theta
    assert measured_order(steps, errors) == pytest.approx(METHODS[method].order, abs=WITHIN)


@backends
@problems
@pytest.mark.parametrize("method", ADAPTIVE)
def test_under_step_control_the_error_goes_down_like_the_tolerance(method, problem, backend):
    law, ensemble, end = PROBLEMS[problem]
    tolerances = np.array([1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10])
    runs = [
        integrate(law, ensemble, t_end=end, method=method, rtol=tolerance, atol=tolerance, backend=backend)
        for tolerance in tolerances
    ]
    errors = np.array([relative_error(run.final, exact(problem)) for run in runs])
    assert (errors < 5 * tolerances).all()
    assert measured_order(1 / tolerances, errors) == pytest.approx(1.0, abs=0.3)


@problems
@pytest.mark.parametrize("method", ADAPTIVE)
def test_saved_between_steps_frames_are_as_exact_as_the_end(method, problem):
    law, ensemble, end = PROBLEMS[problem]
    fractions = [0.1, 0.37, 0.5, 0.83]
    run = integrate(law, ensemble, t_end=end, method=method, rtol=1e-8, atol=1e-8, save_at=[f * end for f in fractions])
    for fraction, frame in zip(fractions, run.positions, strict=True):
        assert relative_error(frame, exact(problem, fraction)) < 5e-7


@pytest.mark.slow
@problems
@pytest.mark.parametrize("method", [*METHODS, "layers"])
def test_float32_tokens_stay_float32_and_near_those_of_float64(method, problem):
    law, ensemble, end = PROBLEMS[problem]
    single = Ensemble(ensemble.positions.astype(np.float32), ensemble.space)
    way = {"layers": 32, "step": end / 32} if method == "layers" else {"t_end": end, "method": method}
    if method in METHODS:
        way |= {"rtol": 1e-5, "atol": 1e-5} if METHODS[method].adaptive else {"step": end / 32}
        way |= {"save_at": [0.0, 0.31 * end, end]}
    for backend in ("numba", "torch", "reference"):
        run, double = (integrate(law, tokens, **way, backend=backend) for tokens in (single, ensemble))
        assert run.status == "finished"
        assert run.positions.dtype == run.final.dtype == np.float32
        assert double.positions.dtype == np.float64
        np.testing.assert_allclose(run.positions, double.positions, atol=1e-4 if "rtol" in way else 2e-5)
        if problem == "sphere":
            np.testing.assert_allclose(np.linalg.norm(run.positions, axis=-1), 1.0, atol=2e-7)


@pytest.mark.parametrize("method", [*METHODS, "layers"])
def test_a_sphere_of_any_radius_gives_the_same_flow_at_another_scale(method):
    """x -> r x with beta -> beta / r^2 maps one flow to the other."""
    law, ensemble, end = PROBLEMS["sphere"]
    r = 1.7
    way = {"layers": 16, "step": end / 16} if method == "layers" else {"t_end": end, "method": method}
    if method in METHODS and not METHODS[method].adaptive:
        way |= {"step": end / 16}
    larger = Ensemble(r * ensemble.positions, Sphere(3, radius=r))
    at_r = integrate(Attention(beta=law.beta / r**2), larger, **way, atol=1e-300)
    at_1 = integrate(law, ensemble, **way, atol=1e-300)
    np.testing.assert_allclose(at_r.final / r, at_1.final, atol=1e-11)
