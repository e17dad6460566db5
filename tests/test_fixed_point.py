"""The infinitely deep network: oracles 7.5, 8.3, 9.4 and 1.3, the bound beside the measured factors, the iterations."""

from itertools import pairwise

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.integrators import fixed_point, integrate, several_starts, spectral_radius
from attndyn.particles import Attention, Block, Ensemble, Euclidean, FeedForward, Sphere
from attndyn.particles.multipliers import Multipliers
from scipy.optimize import brentq, linprog

both = pytest.mark.parametrize("backend", ["numba", "reference"])
PICARD, ANDERSON, NEWTON = "picard", "anderson", "newton-krylov"


def softmax_weights(x, matrix, weights=None):
    """P_ij = a_j exp(<A x_i, x_j>) / Z_i, for tokens (tokens, dimension)."""
    scores = x @ np.asarray(matrix).T @ x.T
    p = np.exp(scores - scores.max(axis=1, keepdims=True)) * (1.0 if weights is None else weights)
    return p / p.sum(axis=1, keepdims=True)


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


# 7.5 Input injection: a certified, non-trivial fixed point


@pytest.fixture
def certified(oracle_tokens):
    u = 0.5 * oracle_tokens(6, 3, unit=False)
    return Attention(beta=0.3, value=0.3), Ensemble(u, Euclidean(3)), u


@both
@pytest.mark.parametrize("method", [PICARD, ANDERSON, NEWTON])
def test_oracle_7_5_certified_fixed_point(certified, method, backend):
    law, start, u = certified
    found = fixed_point(law, start, injection=u, method=method, backend=backend)
    assert (found.status, found.kind) == ("converged", "unique by the bound")
    np.testing.assert_allclose(found.positions[0, 0], [0.251754353377, -0.179913488534, -0.493881351921], atol=1e-11)
    np.testing.assert_allclose(found.positions[0, 5], [-0.527288305762, -0.368385620047, 0.047778886502], atol=1e-11)
    x = found.positions[0]
    np.testing.assert_allclose(0.3 * softmax_weights(x, 0.3 * np.eye(3)) @ x + u, x, atol=3e-12)
    assert found.bound.value == pytest.approx(0.7115876903, abs=1e-10)
    assert found.bound.radius == pytest.approx(1.1168101709, abs=1e-10)
    assert found.bound.norm == "euclidean"
    assert np.nanmax(found.factors) < found.bound.value
    assert len(found.residuals) == len(found.spreads) == len(found.factors) + 1 == found.iterations
    assert found.residuals[-1] <= 1e-12 * np.linalg.norm(u) * 1.5
    assert (found.rank, found.clusters, found.period) == (3, 6, None)


def test_oracle_7_5_contraction_along_the_way(certified):
    law, start, u = certified
    iterates = []
    found = fixed_point(law, start, injection=u, on_iterate=lambda k, ensemble: iterates.append(ensemble.positions[0]))
    assert len(iterates) == found.iterations == found.evaluations
    moves = np.linalg.norm(np.diff(iterates, axis=0), axis=(1, 2))
    np.testing.assert_allclose(found.residuals[:-1], moves, rtol=1e-12)
    measured = np.isfinite(found.factors)
    assert measured[:17].all()
    assert not measured[-1]  # a move of 1e-12 is told to four digits only
    np.testing.assert_allclose(found.factors[:17], moves[1:18] / moves[:17], rtol=1e-10)
    assert found.factor == pytest.approx(0.306, abs=1e-3)
    # the limit of the factors is an eigenvalue's, which they have not yet reached
    assert found.factor < spectral_radius(law, found.ensemble, injection=u) == pytest.approx(0.3196396, abs=1e-6)


def test_single_precision_tokens_are_computed_in_double(certified):
    law, start, u = certified
    found = fixed_point(law, start.at(start.positions.astype(np.float32)), injection=u)
    assert found.positions.dtype == np.float64
    np.testing.assert_allclose(found.positions, fixed_point(law, start, injection=u).positions, rtol=0, atol=1e-11)


def test_the_certified_error_holds(certified):
    law, start, u = certified
    exact = fixed_point(law, start, injection=u, method=NEWTON, tolerance=1e-15).positions
    rough = fixed_point(law, start, injection=u, tolerance=1e-4)
    true = np.linalg.norm(rough.positions - exact)
    assert 1e-7 < true <= rough.error < 1e-3
    assert rough.error == pytest.approx(rough.residuals[-1] / (1.0 - rough.bound.value), rel=1e-12)


def test_a_certified_fixed_point_is_reached_from_every_start(certified):
    law, start, u = certified
    found = several_starts(law, start, injection=u, starts=6, radius=20.0)
    assert found.distinct == 1
    assert found.distances.max() < 1e-10
    sizes = [np.linalg.norm(point.residuals[0]) for point in found.points]
    assert max(sizes) > 5.0 * min(sizes)  # far and near


# 7.5 Without input the fixed point that is unique is the trivial one


@both
def test_oracle_7_5_trivial_fixed_point(oracle_tokens, backend):
    law, start, sizes = Attention(beta=0.1, value=0.5), Ensemble(oracle_tokens(6, 3), Euclidean(3)), []
    found = fixed_point(
        law,
        start,
        backend=backend,
        on_iterate=lambda k, ensemble: sizes.append(np.linalg.norm(ensemble.positions[0], axis=1).mean()),
    )
    assert (found.status, found.kind, found.rank) == ("converged", "trivial", 0)
    assert (found.bound.name, found.bound.norm) == ("W1", "W1")
    assert found.bound.value == pytest.approx(0.1 * 0.5 + 0.5 * 1.2 * np.exp(0.2), rel=1e-14)  # tau = 0.7828
    ratios = np.array(sizes[1:]) / sizes[:-1]  # of W1 to the measure at the origin
    assert (ratios <= found.bound.value).all()
    assert ratios[-1] == pytest.approx(0.5, abs=1e-6)
    assert found.factor == pytest.approx(0.5, abs=1e-6)


def test_without_input_a_small_value_matrix_is_enough(oracle_tokens):
    """tau is above 1, but h |V| < 1 makes the largest |x_i| shrink by it."""
    sizes = []
    found = fixed_point(
        Attention(beta=1.0, value=0.9),
        Ensemble(oracle_tokens(6, 3), Euclidean(3)),
        on_iterate=lambda k, ensemble: sizes.append(np.linalg.norm(ensemble.positions[0], axis=1).max()),
    )
    assert found.kind == "trivial"
    assert found.bound.value > 1.0
    assert found.error == np.inf
    assert (np.array(sizes[1:]) <= 0.9 * np.array(sizes[:-1]) * (1 + 1e-14)).all()


def test_the_bias_of_values_is_an_input(oracle_tokens):
    law = Attention(beta=0.05, value=0.2, value_bias=[0.3, 0.0, -0.2])
    found = fixed_point(law, Ensemble(oracle_tokens(6, 3), Euclidean(3)))
    assert found.kind == "unique by the bound"
    np.testing.assert_allclose(found.positions[0], np.tile([0.375, 0.0, -0.25], (6, 1)), atol=1e-11)


# V = I, no input: every consensus is fixed; 8.3 collapse to rank one


@both
def test_oracle_7_5_consensus_in_the_hull(oracle_tokens, backend):
    start, states = oracle_tokens(6, 3, unit=False), []
    found = fixed_point(
        Attention(beta=2.0),
        Ensemble(start, Euclidean(3)),
        backend=backend,
        on_iterate=lambda k, ensemble: states.append(ensemble.positions[0]),
    )
    assert (found.kind, found.rank, found.clusters) == ("consensus", 1, 1)
    assert found.bound.value >= 1.0
    end = found.positions[0, 0]
    mix = linprog(np.zeros(6), A_eq=np.vstack([start.T, np.ones(6)]), b_eq=[*end, 1.0], bounds=(0, None))
    assert mix.success
    for x, following in pairwise(states):
        p = softmax_weights(x, 2.0 * np.eye(3))
        dobrushin = 0.5 * np.abs(p[:, None] - p).sum(axis=-1).max()
        apart, then = (np.linalg.norm(y[:, None] - y, axis=-1).max() for y in (x, following))
        reach = 2.0 * (np.linalg.norm(x, axis=1) ** 2).max()
        assert then <= dobrushin * apart + 1e-14
        assert dobrushin <= 1.0 - np.exp(-2.0 * reach) + 1e-14
    assert spectral_radius(Attention(beta=2.0), found.ensemble) == pytest.approx(1.0, abs=1e-8)


@both
def test_oracle_8_3_collapse_of_a_pair_is_cubic(backend):
    found = fixed_point(Attention(), Ensemble([[1.0, 0.0], [-1.0, 0.0]], Euclidean(2)), backend=backend)
    u = [1.0, 0.7615941559558, 0.3980731395857, 0.06255682325423, 2.448058784292e-4]
    np.testing.assert_allclose(found.spreads[:5] / np.sqrt(2.0), u, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.spreads[5] / np.sqrt(2.0), 1.467119624796e-11, rtol=1e-5)
    assert found.kind == "trivial"  # their mean


@both
def test_oracle_8_3_collapse_of_six_tokens(oracle_tokens, backend):
    found = fixed_point(Attention(), Ensemble(oracle_tokens(6, 3, unit=False), Euclidean(3)), backend=backend)
    expected = [3.082144056115, 2.017899444933, 0.7916076742849, 0.05911207002406]
    np.testing.assert_allclose(found.spreads[:4], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.spreads[4], 3.322660338687e-5, rtol=1e-9)
    assert found.kind == "consensus"
    assert found.iterations <= 7


def test_oracle_1_3_equiangular_tokens_agree_without_residual():
    found = fixed_point(Attention(), Ensemble.draw("equiangular", Sphere(5), tokens=4))
    expected = [0.0, 0.7158074406474, 0.9979207970402, 0.9999999994368]
    # |x - mean|^2 = n - |sum x|^2 / n = (n - 1) (1 - rho) for n unit tokens
    np.testing.assert_allclose(1.0 - found.spreads[:4] ** 2 / 3.0, expected, rtol=0, atol=1e-12)
    assert (found.kind, found.rank, found.bound) == ("consensus", 1, None)
    assert "origin" in found.unbounded


# Cycles


@both
@pytest.mark.parametrize("space", [Euclidean(3), Sphere(3)], ids=lambda space: space.name)
def test_a_negative_value_matrix_leads_to_a_cycle_of_two(oracle_tokens, space, backend):
    law = Attention(beta=2.0, value=-1.0)
    found = fixed_point(law, Ensemble(oracle_tokens(6, 3), space), backend=backend)
    assert (found.status, found.kind, found.period) == ("cycle of length 2", "cycle of length 2", 2)
    assert found.rank == 1
    once = integrate(law, found.ensemble, layers=1, residual=False).positions[-1]
    np.testing.assert_allclose(once, -found.positions, rtol=0, atol=1e-10)
    assert found.residuals[-1] == pytest.approx(2.0 * np.linalg.norm(found.positions), rel=1e-10)


@pytest.mark.parametrize("length", [3, 17])
def test_tokens_that_agree_and_turn_are_in_a_cycle_of_any_length(oracle_tokens, length):
    law = Attention(beta=1.0, value=rotation(2.0 * np.pi / length))
    start = Ensemble(oracle_tokens(5, 2), Sphere(2))
    found = fixed_point(law, start)
    assert (found.period, found.clusters) == (length, 1)
    assert not found.converged


def test_tokens_that_agree_and_turn_by_an_irrational_angle_never_rest(oracle_tokens):
    law = Attention(beta=1.0, value=rotation(1.0))
    found = fixed_point(law, Ensemble(oracle_tokens(5, 2), Sphere(2)), most=200)
    assert found.status == "not converged: most = 200 evaluations were made"
    assert found.kind == "consensus, still moving"
    assert found.evaluations == 200


def test_a_slow_fixed_point_is_no_cycle():
    """One token, x <- u - 0.999 x: the way there looks like a cycle of two."""
    start, u = Ensemble([[2.0, 0.0]], Euclidean(2)), [[1.0, 0.0]]
    found = fixed_point(Attention(value=-0.99), start, injection=u, tolerance=1e-10)
    assert found.converged
    assert found.factor == pytest.approx(0.99, abs=1e-5)
    # after as many layers as this tokens are back where they were two before, to the tolerance
    assert found.iterations > 2048
    assert 2e-10 < found.residuals[2047] < 2e-8
    np.testing.assert_allclose(found.positions[0], [[1.0 / 1.99, 0.0]], atol=1e-9)


# Several fixed points


def test_without_a_bound_there_may_be_several_fixed_points(oracle_tokens):
    tokens = oracle_tokens(12, 4)
    law, u = Attention(beta=2.0), 0.3 * oracle_tokens(12, 4, unit=False)
    found = several_starts(law, Ensemble(tokens, Sphere(4)), injection=u, starts=8, seed=1)
    assert all(point.kind == "fixed, not known to be unique" for point in found.points)
    assert 1 < found.distinct < 8
    same = found.labels[:, None] == found.labels
    assert found.distances[same].max() < 1e-8
    assert found.distances[~same].min() > 0.1
    for point in found.points:
        assert spectral_radius(law, point.ensemble, injection=u) < 1.0
    again = several_starts(law, Ensemble(tokens, Sphere(4)), injection=u, starts=3, seed=1)
    np.testing.assert_array_equal(again.distances, found.distances[:3, :3])


def test_where_every_consensus_is_fixed_each_start_has_its_own(oracle_tokens):
    found = several_starts(Attention(beta=2.0), Ensemble(oracle_tokens(6, 3), Euclidean(3)), starts=4)
    assert found.distinct == 4
    assert {point.kind for point in found.points} == {"consensus"}


def test_one_trivial_fixed_point_is_one_and_cycles_are_none(oracle_tokens):
    start = Ensemble(oracle_tokens(6, 3), Euclidean(3))
    assert several_starts(Attention(beta=0.1, value=0.5), start, starts=4).distinct == 1
    cycles = several_starts(Attention(beta=0.1, value=-1.0), start, starts=3)
    assert cycles.distinct == 0
    np.testing.assert_array_equal(cycles.labels, [-1, -1, -1])


def test_spectral_radius_of_one_token():
    """x <- n(V x) with V = diag(2, 1): the derivative is 1/2 at one eigenvector, 2 at the other."""
    law = Attention(value=np.diag([2.0, 1.0]))
    near, far = (Ensemble([x], Sphere(2)) for x in ([1.0, 0.0], [0.0, 1.0]))
    assert spectral_radius(law, near) == pytest.approx(0.5, abs=1e-9)
    assert spectral_radius(law, far) == pytest.approx(2.0, abs=1e-9)
    start = Ensemble([[np.sin(0.05), np.cos(0.05)]], Sphere(2))
    np.testing.assert_allclose(fixed_point(law, start).positions[0], [[1.0, 0.0]], atol=1e-10)
    newton = fixed_point(law, start, method=NEWTON)
    np.testing.assert_allclose(newton.positions[0], [[0.0, 1.0]], atol=1e-9)  # which the network leaves


def test_spectral_radius_of_many_components(oracle_tokens):
    """Above 300 components by Arnoldi's method: at a consensus of V = I/2 it is 1/2."""
    law, e = Attention(beta=1.0, value=0.5), np.tile([0.1, 0.0, 0.0], (120, 1))
    assert spectral_radius(law, Ensemble(e, Euclidean(3))) == pytest.approx(0.5, abs=1e-7)


# 9.4 Hardmax: leaders


def leaders_of(x):
    favourite = (x @ x.T).argmax(axis=1)
    while (favourite[favourite] != favourite).any():
        favourite = favourite[favourite]
    return favourite


@both
def test_oracle_9_4_hardmax_reaches_its_leaders_in_finitely_many_layers(oracle_tokens, backend):
    x = oracle_tokens(30, 3, unit=False)
    found = fixed_point(Attention(beta=np.inf), Ensemble(x, Euclidean(3)), backend=backend)
    assert found.status == "converged"
    assert found.iterations <= 6
    assert found.residuals[-1] < 1e-14
    np.testing.assert_allclose(found.positions[0], x[leaders_of(x)], rtol=0, atol=1e-14)
    assert 1 < len(set(leaders_of(x))) < 30
    assert found.kind == "fixed, not known to be unique"
    assert found.bound is None


@both
def test_oracle_9_4_frank_wolfe_steps_as_a_block_with_feed_forward(oracle_tokens, backend):
    """x + h f, and then - c x / h for F: with c = h / (1 + h) that is x + c (f - x), the factor 1 - c a layer."""
    x, h = oracle_tokens(30, 3, unit=False), 0.5
    c = h / (1.0 + h)
    eye = np.eye(3)
    feed = FeedForward(np.vstack([eye, -eye]), -c / h * np.hstack([eye, -eye]), activation="relu")
    block = Block(Attention(beta=np.inf), feed)
    found = fixed_point(block, Ensemble(x, Euclidean(3)), step=h, residual=True, backend=backend)
    assert found.status == "converged"
    assert found.factor == pytest.approx(1.0 - c, abs=1e-4)
    leaders = np.flatnonzero((x @ x.T).argmax(axis=1) == np.arange(30))
    np.testing.assert_allclose(found.positions[0, leaders], x[leaders], atol=1e-13)
    ends = np.linalg.norm(found.positions[0][:, None] - x[leaders], axis=-1).min(axis=1)
    assert ends.max() < 1e-10
    assert found.bound is None
    assert "feed-forward" in found.unbounded


# The three iterations


SLOW = {
    "R^d, |V| = 0.9": (Euclidean(4), 0.9, 0.2, {}),
    "R^d, |V| = 0.97": (Euclidean(4), 0.97, 0.2, {}),
    "sphere": (Sphere(4), 1.0, 0.3, {"residual": True, "step": 0.1}),
}


@both
@pytest.mark.parametrize("case", SLOW)
def test_acceleration_reaches_the_same_point_with_fewer_evaluations(oracle_tokens, case, backend):
    space, value, size, options = SLOW[case]
    law, u = Attention(beta=0.5 if value < 1 else 2.0, value=value), size * oracle_tokens(12, 4, unit=False)
    start = Ensemble(oracle_tokens(12, 4) if isinstance(space, Sphere) else u, space)
    options = options | {"injection": u, "backend": backend}
    slow, *fast = (fixed_point(law, start, method=method, **options) for method in (PICARD, ANDERSON, NEWTON))
    assert slow.converged
    assert slow.evaluations == slow.iterations
    for found in fast:
        assert found.converged
        np.testing.assert_allclose(found.positions, slow.positions, rtol=0, atol=1e-8)
        assert found.evaluations < slow.evaluations / 4
    assert fast[0].evaluations == fast[0].iterations
    assert fast[1].evaluations > fast[1].iterations


def test_anderson_solves_a_linear_problem_in_as_many_moves_as_it_has_directions():
    """One token, x <- V x + u, V with eigenvalues 0.9, -0.8 and 0.5: GMRES needs 3 steps, and so does it."""
    law, u = Attention(value=np.diag([0.9, -0.8, 0.5])), np.array([[1.0, 1.0, 1.0]])
    found = fixed_point(law, Ensemble([[0.0, 0.0, 0.0]], Euclidean(3)), injection=u, method=ANDERSON)
    np.testing.assert_allclose(found.positions[0], [[10.0, 1 / 1.8, 2.0]], rtol=1e-11)
    assert found.evaluations <= 6
    assert found.kind == "fixed, not known to be unique"  # the bound does not see that one token's attention is linear


def test_anderson_of_fewer_directions_than_moves():
    """A pair +-x e, u = +-0.2 e: x <- x tanh(beta x^2) + 0.2 in one direction, so all moves are parallel."""
    u = np.array([[0.2, 0.0, 0.0], [-0.2, 0.0, 0.0]])
    start = Ensemble(3.0 * u, Euclidean(3))
    found = fixed_point(Attention(beta=1.0), start, injection=u, method=ANDERSON)
    x = brentq(lambda x: x * np.tanh(x**2) + 0.2 - x, 0.0, 0.5, xtol=1e-15)
    np.testing.assert_allclose(found.positions[0], u / 0.2 * x, rtol=0, atol=1e-11)
    assert found.converged


def test_anderson_keeps_no_more_moves_than_there_are_components(oracle_tokens):
    law, u = Attention(beta=3.0, value=0.9 * rotation(1.0)), oracle_tokens(2, 2)
    start = Ensemble(u, Euclidean(2))
    found = fixed_point(law, start, injection=u, method=ANDERSON, memory=10)
    assert found.converged
    assert found.iterations > 6
    np.testing.assert_allclose(found.positions, fixed_point(law, start, injection=u).positions, rtol=0, atol=1e-10)


def a_hard_layer():
    """Sharp attention in the plane, ten tokens: Anderson acceleration alone goes about its fixed points for ever."""
    generator = np.random.default_rng(3)
    for number in range(28):
        n, d = int(generator.integers(2, 20)), int(generator.integers(2, 6))
        if number % 2:
            value = generator.standard_normal((d, d))
            value *= generator.uniform(0.5, 0.99) / np.linalg.norm(value, 2)
            u = generator.standard_normal((n, d)) * generator.uniform(0.1, 1)
            law, start = Attention(beta=generator.uniform(0.1, 20), value=value), generator.standard_normal((n, d))
        else:
            generator.standard_normal((n, d))
            generator.uniform(0.1, 10), generator.choice([1.0, -1.0]), generator.uniform(0.05, 2)
            generator.standard_normal((n, d))
    return law, Ensemble(start, Euclidean(d)), u


def test_anderson_goes_back_where_it_does_not_advance():
    law, start, u = a_hard_layer()
    found = fixed_point(law, start, injection=u, method=ANDERSON, most=600)
    assert found.converged
    assert fixed_point(law, start, injection=u, most=600).converged


def test_anderson_finds_what_picard_circles_around():
    """One token, x <- u - 1.5 x runs away, and its fixed point is 0.4 u."""
    law, start = Attention(value=-1.5), Ensemble([[1.0, 2.0]], Euclidean(2))
    picard = fixed_point(law, start, injection=[[1.0, 0.0]])
    assert picard.status.startswith("failed: a token grew beyond all bounds at depth ")
    assert picard.kind == "not converged"
    assert np.isfinite(picard.positions).all()
    for method in (ANDERSON, NEWTON):
        found = fixed_point(law, start, injection=[[1.0, 0.0]], method=method)
        np.testing.assert_allclose(found.positions[0], [[0.4, 0.0]], atol=1e-10)
        assert found.kind == "fixed, not known to be unique"
    assert "no ball is mapped to itself: h |V| must be below 1; got 1.5" in picard.unbounded


def test_newton_krylov_that_finds_nothing_says_so():
    """In the plane x <- x + u has no fixed point."""
    found = fixed_point(
        Attention(value=1.0), Ensemble([[1.0, 2.0]], Euclidean(2)), injection=[[1.0, 0.0]], method=NEWTON, most=500
    )
    assert not found.converged
    assert found.status.startswith(("failed: newton-krylov broke down: ", "not converged: most = 500"))


def test_an_interrupt_keeps_what_is_there(certified):
    law, start, u = certified

    def interrupt(k, ensemble):
        if k == 3:
            raise KeyboardInterrupt

    found = fixed_point(law, start, injection=u, on_iterate=interrupt)
    assert (found.status, found.iterations) == ("interrupted", 3)


def test_a_start_that_is_fixed_is_told_at_once():
    start = Ensemble(np.tile([0.6, 0.8], (4, 1)), Sphere(2))
    found = fixed_point(Attention(beta=3.0), start, method=NEWTON)
    assert (found.kind, found.iterations, found.evaluations) == ("consensus", 1, 1)
    assert np.isnan(found.factor)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "steffensen"}, "method must be one of picard, anderson, newton-krylov; got 'steffensen'"),
        ({"tolerance": 0.0}, "tolerance must be a number from 1e-15 to 1; got 0.0"),
        ({"most": 0}, "most must be an integer of at least 1; got 0"),
        ({"memory": 2.5}, "memory must be an integer of at least 1; got 2.5"),
        ({"step": -1.0}, "step must be a positive number; got -1.0"),
        (
            {"injection": np.ones((3, 2))},
            r"injection must have the shape \(tokens, dimension\) = \(4, 2\); got \(3, 2\)",
        ),
        ({"injection": np.full((4, 2), np.nan)}, "injection must be finite"),
        ({"backend": "abacus"}, "backend must be one of"),
        ({"law": [Attention()]}, "law must be one law, an Attention or a Block, that all layers share; got list"),
        ({"law": Block(Attention(), norm="mix", tau=1.0)}, 'the layers of "mix" are not all the same map'),
        ({"law": Attention(multipliers=Multipliers("gamma", 0.5))}, "multipliers are drawn anew at every layer"),
        ({"ensemble": Ensemble(np.ones((2, 4, 2)), Euclidean(2))}, "one replica; got 2: see several_starts"),
    ],
)
def test_mistakes_are_told_in_one_line(options, message):
    arguments = {"law": Attention(), "ensemble": Ensemble(np.ones((4, 2)), Euclidean(2))} | options
    with pytest.raises(InvalidInput, match=message) as error:
        fixed_point(arguments.pop("law"), arguments.pop("ensemble"), **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": 0}, "starts must be an integer of at least 1; got 0"),
        ({"apart": 0.0}, "apart must be a positive number; got 0.0"),
        ({"radius": -1.0}, "radius must be a positive number; got -1.0"),
        ({"ensemble": Ensemble(np.eye(2), Sphere(2)), "radius": 2.0}, "radius must be left out on a sphere"),
    ],
)
def test_mistakes_of_several_starts(options, message):
    ensemble = Ensemble(np.ones((4, 2)), Euclidean(2))
    with pytest.raises(InvalidInput, match=message):
        several_starts(Attention(), **({"ensemble": ensemble} | options))
