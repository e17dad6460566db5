"""The implicit method: its coefficients, its steps where clusters have formed, its linear systems and its failures."""

import numpy as np
import pytest
from attndyn import Attention, Block, Ensemble, Euclidean, InvalidInput, Sphere, integrate, load, run
from attndyn.integrators import events, implicit, methods
from attndyn.integrators.krylov import gmres
from attndyn.particles.backends import Engine, prepare
from test_merging import collapse_depth
from test_tableaux import largest_defect, trees_up_to

BACKENDS = ["numba", "torch", "reference"]
FULL = implicit.A + np.diag([0.0, *[implicit.GAMMA] * 5])


def two_clusters(beta):
    """Ten tokens at each of two points at an angle of 2.5: a law, the tokens, and the depth at which they meet."""
    angles = np.repeat([0.0, 2.5], 10)
    tokens = Ensemble(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None], Sphere(2))
    return Attention(beta=beta), tokens, collapse_depth(beta, 2.5, 1e-2)


def amplification(z, weights):
    """R(z) = 1 + z weights^T (1 - z A)^-1 1, what a step makes of x' = z x / h."""
    return 1.0 + z * weights @ np.linalg.solve(np.eye(6) - z * FULL, np.ones(6))


def test_the_coefficients_satisfy_the_order_conditions():
    assert largest_defect(FULL, implicit.B, trees_up_to(4)) < 1e-14
    assert largest_defect(FULL, implicit.EMBEDDED, trees_up_to(3)) < 1e-14
    assert largest_defect(FULL, implicit.EMBEDDED, trees_up_to(4)) > 1e-4
    np.testing.assert_allclose(FULL @ implicit.NODES, implicit.NODES**2 / 2, atol=1e-15)  # stages of order 2
    np.testing.assert_array_equal(FULL[-1], implicit.B)  # stiffly accurate


def test_the_method_is_l_stable():
    left = [abs(amplification(1j * y, implicit.B)) for y in np.geomspace(1e-3, 1e6, 400)]
    assert max(left) <= 1.0 + 1e-12  # on the axis, hence left of it, where R has no pole
    assert abs(amplification(-1e8, implicit.B)) < 1e-6
    assert abs(amplification(-1e8, implicit.EMBEDDED)) < 0.2


def test_the_interpolant_is_of_order_4_and_bounded_where_the_step_damps():
    fractions = np.linspace(0.0, 1.0, 21)
    for theta in fractions:
        weights = implicit.DENSE @ theta ** np.arange(1, 5)
        assert largest_defect(FULL, weights, trees_up_to(4), theta) < 1e-12
        assert abs(amplification(-1e6, weights)) < 4.0
    np.testing.assert_allclose(implicit.DENSE.sum(axis=1), implicit.B, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("space", [Sphere(3), Euclidean(3)], ids=["sphere", "R^d"])
def test_it_agrees_with_dop853_in_every_replica_and_every_frame(space, backend):
    tokens = Ensemble(Ensemble.uniform(Sphere(3), 12, replicas=2, seed=3).positions, space)
    law, way = Attention(beta=2.0), {"t_end": 2.0, "save_at": [0.3, 1.1, 2.0]}
    exact = integrate(law, tokens, method="dop853", rtol=1e-12, atol=1e-12, **way)
    run = integrate(law, tokens, method="kencarp4", rtol=1e-8, atol=1e-8, **way, backend=backend)
    assert run.status == "finished"
    size = np.linalg.norm(exact.positions, axis=-1).max()
    np.testing.assert_allclose(run.positions, exact.positions, atol=2e-7 * size)


def test_where_depth_is_in_the_law_it_is_that_of_every_stage():
    tokens = Ensemble.uniform(Sphere(3), 9, seed=5)
    block = Block(Attention(beta=2.0), norm="sqrt")
    ends = [
        integrate(block, tokens, t_end=5.0, method=method, rtol=tol, atol=tol).final
        for method, tol in (("kencarp4", 1e-8), ("dop853", 1e-12))
    ]
    np.testing.assert_allclose(*ends, atol=2e-7)


@pytest.mark.parametrize("beta", [8.0, 10.0])
def test_two_clusters_meet_when_the_closed_form_says_without_merging(beta):
    """Depth 228 313.6 for beta = 8, where tsit5 takes 65 000 steps and 390 000 drifts, and 7.006e6 for beta = 10."""
    law, tokens, depth = two_clusters(beta)
    stop = [events.clusters_left(tokens, 1, 1e-2)]
    run = integrate(law, tokens, t_end=2 * depth, method="kencarp4", rtol=1e-8, atol=1e-8, stop=stop)
    assert run.status == "stopped: clusters <= 1"
    assert run.t == pytest.approx(depth, rel=2e-6)
    assert run.statistics.accepted < 250
    assert run.statistics.drift_evaluations < 8000


LATE = {
    # name: law, tokens, depth, the least ratios of steps and of drifts of tsit5 to those of kencarp4
    "unnormalised": (Attention(beta=9.0, normalisation="none"), Ensemble.uniform(Sphere(2), 64, seed=1), 10.0, 100, 20),
    "softmax": (Attention(beta=64.0), Ensemble.uniform(Sphere(2), 100, seed=1), 1e4, 25, 6),
}


@pytest.mark.parametrize("late", LATE)
def test_after_clusters_have_formed_it_takes_far_fewer_steps_and_drifts(late):
    law, tokens, end, steps, drifts = LATE[late]
    explicit, run = (
        integrate(law, tokens, t_end=end, method=method, rtol=1e-6, atol=1e-6) for method in ("tsit5", "kencarp4")
    )
    assert run.status == explicit.status == "finished"
    np.testing.assert_allclose(run.final, explicit.final, atol=1e-5)
    assert explicit.statistics.accepted > steps * run.statistics.accepted
    assert explicit.statistics.drift_evaluations > drifts * run.statistics.drift_evaluations


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_backends_keep_clusters_in_their_places(backend):
    law, tokens = Attention(beta=9.0, normalisation="none"), Ensemble.uniform(Sphere(2), 20, replicas=2, seed=2)
    way = {"t_end": 1.0, "rtol": 1e-6, "atol": 1e-6, "save_at": [0.01, 0.2, 0.5, 1.0]}
    run = integrate(law, tokens, method="kencarp4", backend=backend, **way)
    exact = integrate(law, tokens, method="dop853", **way | {"rtol": 1e-9, "atol": 1e-9})
    np.testing.assert_allclose(run.positions, exact.positions, atol=1e-5)
    assert run.statistics.accepted < exact.statistics.accepted / 4


@pytest.mark.slow
def test_float32_tokens_are_held_to_what_float32_resolves():
    tokens = Ensemble.draw("uniform", Sphere(2), tokens=40, seed=2, dtype=np.float32)
    double = Ensemble(tokens.positions.astype(np.float64), Sphere(2))
    way = {"t_end": 100.0, "method": "kencarp4", "rtol": 1e-4, "atol": 1e-4}
    run, exact = (integrate(Attention(beta=4.0), one, **way) for one in (tokens, double))
    assert run.status == "finished"
    assert run.final.dtype == np.float32
    np.testing.assert_allclose(run.final, exact.final, atol=2e-2)


def test_any_number_of_threads_gives_the_same_bits():
    tokens = Ensemble.uniform(Sphere(3), 600, seed=1)
    way = {"t_end": 20.0, "method": "kencarp4", "rtol": 1e-5, "atol": 1e-5, "save_at": [7.0, 20.0]}
    one, *others = (integrate(Attention(beta=8.0), tokens, **way, threads=threads) for threads in (1, 2, 3))
    for other in others:
        np.testing.assert_array_equal(one.positions, other.positions)
        assert one.statistics.drift_evaluations == other.statistics.drift_evaluations


def test_every_drift_is_counted(monkeypatch):
    counted, velocity = [], implicit.Implicit._velocity
    law, tokens = Attention(beta=4.0), Ensemble.uniform(Sphere(3), 10, seed=1)
    monkeypatch.setattr(
        implicit.Implicit, "_velocity", lambda self, *given: (counted.append(1), velocity(self, *given))
    )
    run = integrate(law, tokens, t_end=5.0, method="kencarp4", rtol=1e-5, atol=1e-5)
    assert run.statistics.drift_evaluations == len(counted) > 5 * run.statistics.accepted


def stepper_for(law, tokens):
    x, engine = tokens.positions, Engine()
    field = prepare(law, tokens.space, np.full((1, x.shape[1]), 1 / x.shape[1]), x.shape, x.dtype, engine)
    return methods.stepper_of("kencarp4", field, engine, tokens, 1e-8, 1e-8), x


def test_a_step_whose_stages_are_not_found_is_tried_again_shorter(monkeypatch):
    """Tokens that repel: with h = 1e3 the stages have no end near by, with h = 0.01 they have."""
    stepper, x = stepper_for(Attention(beta=9.0, value=-1.0), Ensemble.uniform(Sphere(3), 20, seed=2))
    stepper.start(0.0, x)
    assert stepper.attempt(0.0, 1e3, x) == implicit.UNSOLVED
    assert stepper.attempt(0.0, 1e-2, x) < implicit.UNSOLVED

    lengths, attempt = [], implicit.Implicit.attempt
    failing = iter([True, False, True, True])

    def reluctant(self, t, h, x):
        lengths.append(h)
        return implicit.UNSOLVED if next(failing, False) else attempt(self, t, h, x)

    monkeypatch.setattr(implicit.Implicit, "attempt", reluctant)
    tokens = Ensemble.uniform(Sphere(3), 20, seed=2)
    run = integrate(Attention(beta=2.0), tokens, t_end=1.0, method="kencarp4", rtol=1e-6, atol=1e-6)
    assert run.status == "finished"
    assert run.statistics.rejected >= 3
    np.testing.assert_allclose([lengths[1] / lengths[0], lengths[3] / lengths[2], lengths[4] / lengths[3]], 0.2)


def test_tokens_that_run_to_infinity_end_the_run_as_failed():
    law = Attention(beta=1.0, normalisation="none", value=3.0)
    tokens = Ensemble(np.array([[[2.0, 0.0], [1.9, 0.1]]]), Euclidean(2))
    run = integrate(law, tokens, t_end=10.0, method="kencarp4", rtol=1e-6, atol=1e-6, max_steps=5000)
    assert run.status.startswith("failed: ")
    assert run.t < 1.0
    assert np.isfinite(run.final).all()


def test_the_stepper_leaves_the_state_it_was_given_alone():
    stepper, x = stepper_for(Attention(beta=2.0), Ensemble.uniform(Sphere(3), 20, seed=2))
    before = x.copy()
    stepper.start(0.0, x)
    assert stepper.attempt(0.0, 1e-2, x) <= 1.0
    stepper.interpolate(0.0, 1e-2, x, 0.5, np.empty_like(x))
    np.testing.assert_array_equal(x, before)


def test_gmres_needs_a_space_of_as_many_dimensions_as_there_are_distinct_eigenvalues():
    generator = np.random.default_rng(1)
    turn = np.linalg.qr(generator.standard_normal((60, 60)))[0]
    matrix = turn @ np.diag(np.repeat([1.0, 5.0, 100.0], 20)) @ turn.T
    b, applied = generator.standard_normal((2, 10, 3)), []

    def apply(v):
        applied.append(1)
        return (matrix @ v.ravel()).reshape(v.shape)

    y = gmres(apply, b, lambda u, v: float((u * v).sum()), 1e-8)
    assert len(applied) == 3
    assert np.linalg.norm(apply(y) - b) < 2e-8


def test_gmres_without_enough_dimensions_gives_the_best_of_its_space():
    b, diagonal = np.ones((1, 4, 2)), np.arange(1.0, 9.0).reshape(1, 4, 2)
    y = gmres(lambda v: diagonal * v, b, lambda u, v: float((u * v).sum()), 1e-12, largest=2)
    space = np.stack([diagonal.ravel(), diagonal.ravel() ** 2], axis=1)  # the matrix times 1 and times itself
    best = np.linalg.lstsq(space, b.ravel(), rcond=None)[0]
    np.testing.assert_allclose((diagonal * y).ravel(), space @ best, atol=1e-12)


def test_a_scenario_names_it():
    scenario = load("circle-metastable").override(
        {"tokens.count": 16, "depth.time": 1e4, "depth.method": "kencarp4", "save.times": [0.0, 5.0, 1e4]}
    )
    with run(scenario) as trajectory:
        assert trajectory.status == "finished"
        positions = trajectory.positions[-1]
    with run(scenario.override({"depth.method": "tsit5"})) as trajectory:
        np.testing.assert_allclose(positions, trajectory.positions[-1], atol=1e-6)


def test_noise_is_refused():
    with pytest.raises(InvalidInput, match="noise needs"):
        integrate(Attention(), Ensemble.uniform(Sphere(3), 4), t_end=1.0, method="kencarp4", noise=0.1)
