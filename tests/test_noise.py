"""Runs with noise: oracle 11 (heat flow, critical noise, stationary laws), strong orders, and what goes with what."""

from functools import cache

import attndyn
import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput, Sphere, integrate
from attndyn.integrators import METHODS, methods
from attndyn.integrators.brownian import Noise
from attndyn.particles.backends import Engine, prepare
from attndyn.scenarios.build import build
from attndyn.scenarios.schema import Scenario
from attndyn.scenarios.summary import summary
from scipy import special, stats

STOCHASTIC = [name for name, method in METHODS.items() if method.stochastic]
WAYS = [*STOCHASTIC, "layers"]
STILL = Attention(value=0.0)  # tokens that do not see each other: Brownian motion alone
LAW = Attention(beta=2.0)
TOKENS = Ensemble.uniform(Sphere(3), 6, replicas=4, seed=2)
ON_CIRCLE = 0.4463899658965  # oracle 11.2, softmax at beta = 1: the growth rate of order, and so the critical noise


def way(name, h, steps):
    """The arguments of integrate for so many steps of size h."""
    if name == "layers":
        return {"layers": steps, "step": h}
    return {"t_end": steps * h, "method": name, "step": h}


def within(samples, expected, sigmas=5.0):
    """Assert that the mean over the first axis is as expected, within so many standard errors."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) <= sigmas * error).all(), (samples.mean(axis=0), expected, error)


def at_the_pole(dimension, replicas=1000, tokens=20, radius=1.0):
    positions = np.zeros((replicas, tokens, dimension))
    positions[..., 0] = radius
    return Ensemble(positions, Sphere(dimension, radius))


# ------------------------------------------------------------------------------------------- Brownian motion alone


def geodesic_factor(kappa_h, dimension):
    return special.hyp1f1((dimension - 1) / 2, 0.5, -kappa_h)


def layer_factor(kappa_h, dimension):
    return stats.chi2(dimension - 1).expect(lambda square: (1.0 + 2.0 * kappa_h * square) ** -0.5, lb=0, epsabs=1e-12)


def test_the_factors_are_those_of_the_oracle():
    expected = {2: (0.9851119396031, 0.9859048110811), 3: (0.9702982076886, 0.9723626011759)}
    expected[8] = 0.8973366925829, 0.9118528954151
    for dimension, factors in expected.items():
        found = geodesic_factor(0.015, dimension), layer_factor(0.015, dimension)
        np.testing.assert_allclose(found, factors, atol=2e-11)


@pytest.mark.parametrize("dimension", [2, 3, 8])
@pytest.mark.parametrize("name", WAYS)
def test_the_mean_of_brownian_motion_has_the_exact_factor_of_the_steps(name, dimension):
    run = integrate(STILL, at_the_pole(dimension), noise=0.3, seed=7, **way(name, 0.05, 20))
    factor = (layer_factor if name == "layers" else geodesic_factor)(0.015, dimension)
    ends = run.final.reshape(-1, dimension)
    within(ends, np.eye(dimension)[0] * factor**20)
    np.testing.assert_allclose(np.linalg.norm(ends, axis=-1), 1.0, atol=1e-14)


def test_on_a_sphere_of_radius_r_the_heat_flow_is_slower_by_its_square():
    run = integrate(STILL, at_the_pole(3, radius=2.0), noise=0.3 * 4, seed=1, **way("euler-maruyama", 0.05, 20))
    within(run.final.reshape(-1, 3), 2.0 * np.eye(3)[0] * geodesic_factor(0.015, 3) ** 20)


@pytest.mark.parametrize("name", WAYS)
def test_with_small_steps_the_moments_are_those_of_the_heat_flow(name):
    kappa, depth, dimension = 0.3, 0.5, 3
    run = integrate(STILL, at_the_pole(dimension), noise=kappa, seed=3, **way(name, depth / 200, 200))
    ends = run.final.reshape(-1, dimension)
    pole = np.eye(dimension)[0]
    within(ends, np.exp(-(dimension - 1) * kappa * depth) * pole)
    second = (ends[:, :, None] * ends[:, None, :]).reshape(len(ends), -1)
    deviation = np.exp(-2 * dimension * kappa * depth) * (np.outer(pole, pole) - np.eye(dimension) / dimension)
    within(second, (np.eye(dimension) / dimension + deviation).ravel())


@pytest.mark.parametrize("name", WAYS)
def test_without_a_sphere_the_variance_grows_by_2_kappa_t_exactly(name):
    origin = Ensemble(np.zeros((500, 20, 2)), Euclidean(2))
    run = integrate(STILL, origin, noise=0.7, seed=1, save_at=[1.0, 2.0], **way(name, 0.5, 4))
    for t, x in zip(run.times, run.positions.reshape(2, -1, 2), strict=True):
        within(x, 0.0)
        within(x**2, 2 * 0.7 * t)
        within(x[:, 0] * x[:, 1], 0.0)


@pytest.mark.parametrize("name", WAYS)
def test_a_token_drawn_to_the_origin_has_the_variance_of_the_discrete_recursion(name):
    """One token with V = -1 is an Ornstein-Uhlenbeck process."""
    h, steps, kappa = 0.25, 12, 0.5
    start = Ensemble(np.full((10_000, 1, 2), 2.0), Euclidean(2))
    run = integrate(Attention(beta=0.0, value=-1.0), start, noise=kappa, seed=4, **way(name, h, steps))
    decay, kick = (1 - h + h**2 / 2, 1 - h / 2) if name == "heun-stratonovich" else (1 - h, 1.0)
    variance = 2 * kappa * h * kick**2 * (1 - decay ** (2 * steps)) / (1 - decay**2)
    x = run.final.ravel()
    within(x, 2.0 * decay**steps)
    within((x - 2.0 * decay**steps) ** 2, variance)


# ------------------------------------------------------------------------------------------- orders


def along_one_path(name, space, counts, fine, replicas):
    """Ends (replicas, tokens, dimension) at depth 1 of runs of so many steps, and of `fine` steps, on the same path."""
    i, k = np.arange(4)[:, None], np.arange(space.dimension)
    x = np.cos(1 + 1.7 * i + 0.9 * k * (i + 1))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    start = Ensemble(np.broadcast_to(x, (replicas, *x.shape)).copy(), space)
    law = LAW if isinstance(space, Sphere) else Attention(beta=1.0)
    noise = {"noise": 0.1, "seed": 1, "noise_step": 1.0 / counts[0]}
    runs = [integrate(law, start, **noise, **way(name, 1.0 / count, count)) for count in (*counts, fine)]
    assert all(run.status == "finished" for run in runs)
    return [run.final for run in runs]


@pytest.mark.parametrize("space", [Sphere(2), Sphere(3), Euclidean(3)], ids=["circle", "sphere", "R^d"])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_strong_order_is_one_half_on_the_sphere_and_one_without(name, space):
    counts = (4, 8, 16, 32, 64)
    *ends, reference = along_one_path(name, space, counts, 1024, replicas=200)
    errors = [np.sqrt(((x - reference) ** 2).sum(axis=-1).mean()) for x in ends]
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(0.5 if isinstance(space, Sphere) else 1.0, abs=0.1)


def test_the_weak_order_is_one_and_heuns_error_is_smaller():
    """Of E |mean token|^2, with the same noise for both, so that their difference has little of it."""
    counts, errors = (4, 8, 16), {}
    for name in STOCHASTIC:
        *ends, reference = along_one_path(name, Sphere(3), counts, 64, replicas=10_000)
        square = [np.square(x.mean(axis=1)).sum(axis=-1) for x in (*ends, reference)]
        errors[name] = [(s - square[-1]).mean() for s in square[:-1]]
    euler, heun = (np.abs(errors[name]) for name in ("euler-maruyama", "heun-stratonovich"))
    order = -np.polyfit(np.log(counts), np.log(euler), 1)[0]
    assert order == pytest.approx(1.0, abs=0.25)
    assert (heun < euler / 2).all()


# ------------------------------------------------------------------------------------------- tokens that attract


def order_squared(positions):
    """n |mean token|^2, (..., replicas); 1 on average for independent uniform tokens of a sphere."""
    return positions.shape[-2] * np.square(positions.mean(axis=-2)).sum(axis=-1)


@pytest.mark.parametrize("kappa", [0.3, 0.4, 0.6])
def test_about_the_critical_noise_order_grows_at_the_rate_of_the_linear_theory(kappa):
    """Oracle 11.2: the mean token of uniform tokens is driven by their noise and grows with the rate lambda_1 - kappa.

    d/dt E|m|^2 = 2 (lambda_1 - kappa) E|m|^2 + 2 kappa / n, from 1/n; still far from saturated.
    """
    start, depth = Ensemble.uniform(Sphere(2), 200, replicas=600, seed=5), 3.0
    run = integrate(Attention(beta=1.0), start, noise=kappa, seed=5, **way("heun-stratonovich", 0.1, 30))
    rate = ON_CIRCLE - kappa
    growth = np.exp(2 * rate * depth)
    within(order_squared(start.positions), 1.0, 4.0)
    within(order_squared(run.final), growth + kappa * (growth - 1.0) / rate, 4.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalisation", "beta", "kappa", "dimension", "cosine"),
    [
        ("none", 1.0, 0.5, 2, 0.545335780720),
        ("softmax", 1.0, 0.3, 2, 0.450936079024),
        ("softmax", 2.0, 0.2, 3, 0.280738247185),
        ("none", 1.0, 0.5, 3, 0.388574284005),
    ],
)
def test_two_tokens_have_the_stationary_law_of_their_angle(normalisation, beta, kappa, dimension, cosine):
    """Oracle 11.5."""
    law = Attention(beta=beta, normalisation=normalisation)
    start = Ensemble.uniform(Sphere(dimension), 2, replicas=20_000, seed=1)
    run = integrate(law, start, noise=kappa, seed=1, **way("heun-stratonovich", 0.025, 400))
    within((run.final[:, 0] * run.final[:, 1]).sum(axis=-1), cosine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalisation", "beta", "kappa", "dimension", "order"),
    [
        ("softmax", 1.0, 0.3, 2, 0.714577934512),
        ("softmax", 1.0, 0.2, 2, 0.853008436875),
        ("softmax", 4.0, 0.1, 2, 0.913136127880),
        ("none", 1.0, 0.3, 2, 0.892537676148),
        ("softmax", 0.0, 0.2, 3, 0.725881987191),
        ("softmax", 0.0, 0.05, 8, 0.799138562479),
    ],
)
def test_many_tokens_have_the_order_of_the_stationary_state(normalisation, beta, kappa, dimension, order):
    """Oracle 11.4, whose limit of many tokens is approached like 1/n: seen at n and n/2, and taken away."""
    law = Attention(beta=beta, normalisation=normalisation)
    found, depths = {}, np.arange(10.0, 25.5, 0.5)
    for tokens, replicas in ((100, 64), (200, 32)):
        near = np.random.default_rng(1).standard_normal((replicas, tokens, dimension)) * 0.5
        near[..., 0] += 1.0
        start = Ensemble(near / np.linalg.norm(near, axis=-1, keepdims=True), Sphere(dimension))
        run = integrate(law, start, noise=kappa, seed=1, save_at=depths, **way("heun-stratonovich", 0.05, 500))
        found[tokens] = np.linalg.norm(run.positions.mean(axis=2), axis=-1).mean(axis=0)
    limit = 2 * found[200].mean() - found[100].mean()
    error = np.hypot(2 * found[200].std() / np.sqrt(32), found[100].std() / 8)
    assert abs(limit - order) < 4 * error + 1e-3  # of steps of 0.05
    assert error < 0.01


# ------------------------------------------------------------------------------------------- the same numbers


@cache
def noisy(name, tokens=TOKENS, **options):
    return integrate(LAW, tokens, **way(name, 0.1, 10), **{"noise": 0.2, "seed": 3, "save_at": [0.5, 1.0]} | options)


@pytest.mark.parametrize("name", WAYS)
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads_and_another_seed_others(name):
    options = {"noise": 0.2, "save_at": [0.5, 1.0]} | way(name, 0.1, 10)
    for threads in (1, 2):
        again = integrate(LAW, TOKENS, seed=3, threads=threads, **options)
        np.testing.assert_array_equal(again.positions, noisy(name).positions)
    other = integrate(LAW, TOKENS, seed=4, **options)
    assert np.abs(other.final - noisy(name).final).max() > 0.1


@pytest.mark.parametrize("name", WAYS)
def test_a_replica_moves_as_it_would_among_others(name):
    two = Ensemble(TOKENS.positions[:2], TOKENS.space)
    run = integrate(LAW, two, noise=0.2, seed=3, **way(name, 0.1, 10))
    np.testing.assert_array_equal(run.final, noisy(name).final[:2])


@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)], ids=["sphere", "R^d"])
@pytest.mark.parametrize("name", WAYS)
def test_all_backends_have_the_same_noise(name, space):
    tokens = Ensemble(TOKENS.positions, space)
    runs = [integrate(LAW, tokens, noise=0.2, seed=3, backend=backend, noise_step=0.2, **way(name, 0.1, 10))
            for backend in ("numba", "torch", "reference")]  # fmt: skip
    for run in runs[1:]:
        np.testing.assert_allclose(run.final, runs[0].final, atol=1e-12)


@pytest.mark.parametrize("name", WAYS)
def test_float32_tokens_have_the_same_path_rounded(name):
    single = Ensemble(TOKENS.positions.astype(np.float32), TOKENS.space)
    for backend in ("numba", "torch"):
        run = integrate(LAW, single, noise=0.2, seed=3, backend=backend, **way(name, 0.1, 10))
        assert run.final.dtype == np.float32
        np.testing.assert_allclose(run.final, noisy(name).final, atol=1e-5)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stepper_that_starts_on_the_way_goes_on_as_the_one_before(name):
    x, h = TOKENS.positions, 0.1
    engine = Engine()

    def stepper():
        field = prepare(LAW, TOKENS.space, TOKENS.weights, x.shape, x.dtype, engine)
        return methods.stepper_of(name, field, engine, TOKENS, 1.0, 1.0, Noise(0.2, 3), h)

    later = stepper()
    here = noisy(name).positions[0].copy()
    later.start(0.5, here)
    for step in range(5, 10):
        later.attempt(step * h, h, here)
        later.accept((step + 1) * h)
        here, later.moved = later.moved, here
    np.testing.assert_array_equal(here, noisy(name).final)


@pytest.mark.parametrize(("name", "without"), [("euler-maruyama", "geodesic-euler"), ("heun-stratonovich", "heun")])
def test_without_noise_a_stochastic_method_is_the_deterministic_one(name, without):
    still = integrate(LAW, TOKENS, noise=0.0, seed=9, noise_step=77.0, **way(name, 0.1, 10))
    np.testing.assert_array_equal(still.final, integrate(LAW, TOKENS, **way(without, 0.1, 10)).final)
    little = integrate(LAW, TOKENS, noise=1e-30, seed=9, **way(name, 0.1, 10))
    np.testing.assert_allclose(little.final, still.final, atol=1e-13)


@pytest.mark.parametrize("name", WAYS)
def test_frames_are_whole_steps_and_steps_are_counted(name):
    run = noisy(name)
    np.testing.assert_array_equal(run.times, [0.5, 1.0])
    drifts = {"euler-maruyama": 11, "heun-stratonovich": 21, "layers": 10}
    assert (run.statistics.accepted, run.statistics.drift_evaluations) == (10, drifts[name])
    with pytest.raises(InvalidInput, match=r"save times must be multiples of the step 0\.1 here; got 0\.55"):
        integrate(LAW, TOKENS, noise=0.2, save_at=[0.55], **way(name, 0.1, 10))


def test_expanded_sums_take_noise_too():
    tokens = Ensemble.uniform(Sphere(2), 200, seed=1)
    runs = [integrate(LAW, tokens, noise=0.2, sums=sums, **way("heun-stratonovich", 0.1, 10))
            for sums in ("exact", "fourier")]  # fmt: skip
    np.testing.assert_allclose(runs[0].final, runs[1].final, atol=1e-8)


# ------------------------------------------------------------------------------------------- what goes with what


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t_end": 1.0}, "noise needs layers or one of the methods euler-maruyama, heun-stratonovich; got 'tsit5'"),
        ({"t_end": 1.0, "method": "rk4", "step": 0.1}, "noise needs layers or one of the methods .*; got 'rk4'"),
        ({"t_end": 1.0, "method": "euler-maruyama"}, "method 'euler-maruyama' needs a step"),
        (way("euler-maruyama", 0.1, 10) | {"t_end": 1.05}, r"t_end must be a multiple of the step 0\.1 with noise"),
        (way("euler-maruyama", 0.1, 10) | {"noise_step": 0.3}, r"noise_step must be the step 0\.1 times 1, 2, 4"),
        (way("heun-stratonovich", 0.1, 10) | {"merge": 1e-9}, "merge does not go with noise"),
        ({"layers": 3, "residual": False}, "noise in a network needs the residual connection"),
        ({"layers": 3, "noise_step": 0.5}, "noise_step must be the step 1 times 1, 2, 4"),
        ({"t_end": 1.0, "method": "brown"}, "method must be one of .*; got 'brown'"),
        ({"t_end": 1.0, "noise": -1.0}, "noise must be a temperature, a number of at least 0; got -1"),
        ({"t_end": 1.0, "seed": -1}, "seed must be a whole number"),
    ],
)
def test_what_does_not_go_with_noise_is_refused(arguments, message):
    alone = Ensemble(TOKENS.positions[:1], TOKENS.space)
    with pytest.raises(InvalidInput, match=message):
        integrate(LAW, alone, **{"noise": 0.2} | arguments)


SCENARIO = """
tokens = { count = 5, dimension = 3, replicas = 2, seed = 3 }
depth = { time = 1.0, method = "heun-stratonovich", step = 0.1, noise = 0.2, noise_step = 0.4 }
save = { every = 0.5, observables = ["order"] }
"""


def test_a_scenario_with_noise_is_integrate_with_its_seed():
    scenario = Scenario.parse(SCENARIO)
    trajectory = attndyn.run(scenario)
    start = Ensemble.uniform(Sphere(3), 5, replicas=2, seed=3)
    run = integrate(Attention(), start, noise=0.2, seed=3, noise_step=0.4, **way("heun-stratonovich", 0.1, 10))
    np.testing.assert_array_equal(trajectory.positions[-1], run.final)
    np.testing.assert_array_equal(trajectory.times, [0.0, 0.5, 1.0])
    other = attndyn.run(scenario.override({"tokens.seed": 4}))
    assert np.abs(other.positions[-1] - run.final).max() > 0.1
    assert "depth 1 by heun-stratonovich with noise 0.2" in summary(build(scenario))


def test_a_network_of_a_scenario_has_noise():
    scenario = Scenario.parse("tokens = { count = 5 }\ndepth = { layers = 4, step = 0.5, noise = 0.2 }")
    start = Ensemble.uniform(Sphere(3), 5)
    run = integrate(Attention(), start, noise=0.2, layers=4, step=0.5)
    np.testing.assert_array_equal(attndyn.run(scenario).positions[-1], run.final)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth.noise": -0.1}, r"depth\.noise: must be at least 0; got -0\.1"),
        ({"depth.method": "tsit5"}, r"depth\.noise: needs depth\.layers or one of the methods .*; got 0\.2 with tsit5"),
        ({"depth.step": 0.3}, r"depth\.step: must divide the depth 1 with noise; got 0\.3"),
        ({"depth.noise_step": 0.3}, r"depth\.noise_step: must be the step 0\.1 times 1, 2, 4, .*; got 0\.3"),
        ({"depth.noise_step": 0.0}, r"depth\.noise_step: must be greater than 0; got 0"),
        ({"tokens.replicas": 1, "depth.merge": 1e-9}, r"depth\.merge: does not go with noise"),
        ({"save.every": 0.25}, r"save\.every: must be a multiple of the step 0\.1; got 0\.25"),
        ({"depth.step": None}, r"depth\.step: missing"),
    ],
)
def test_a_scenario_says_what_does_not_go_with_noise(changes, message):
    with pytest.raises(InvalidInput, match=message):
        Scenario.parse(SCENARIO).override(changes)


def test_a_network_without_residual_connection_takes_no_noise():
    with pytest.raises(InvalidInput, match=r"depth\.noise: needs the residual connection in a network"):
        Scenario.parse("depth = { layers = 4, residual = false, noise = 0.1 }")


def test_a_sweep_goes_from_no_noise_to_noise():
    scenario, temperatures = Scenario.parse(SCENARIO), [0.0, 0.2]
    with attndyn.sweep(scenario, {"depth.noise": temperatures}, workers=1) as sweep:
        last = sweep.observables["order"][:, -1]
    runs = [attndyn.run(scenario.override({"depth.noise": kappa})) for kappa in temperatures]
    np.testing.assert_allclose(last, [run.observables["order"][-1].mean() for run in runs], rtol=1e-12)


@pytest.mark.slow
def test_many_processes_have_the_same_noise():
    run, ring = (attndyn.run(Scenario.parse(SCENARIO), backend="torch", processes=count) for count in (1, 2))
    assert ring.status == "finished"
    np.testing.assert_allclose(ring.positions[-1], run.positions[-1], atol=1e-12)
