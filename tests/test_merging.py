"""Tokens that meet become one: who is joined, what moves, and what a trajectory file says of it."""

import mpmath
import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput, Sphere, integrate, load, run
from attndyn.integrators.events import clusters_left
from attndyn.particles.merging import groups, merged
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

LAW = Attention(beta=6.0)


def in_order_of_appearance(labels):
    first = np.unique(labels, return_index=True)[1]
    return np.argsort(np.argsort(first))[labels]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    tokens=st.integers(1, 80),
    dimension=st.integers(1, 4),
    distance=st.sampled_from([1e-9, 1e-3, 0.05, 0.3, 5.0]),
    copies=st.booleans(),
)
def test_groups_are_the_components_of_the_graph_of_near_tokens(seed, tokens, dimension, distance, copies):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((tokens, dimension))
    if copies:
        x = x[generator.integers(0, tokens, tokens)] + 0.3 * distance * generator.standard_normal((tokens, dimension))
    near = cdist(x, x) <= distance
    np.testing.assert_array_equal(groups(x, distance), in_order_of_appearance(connected_components(near)[1]))


def test_a_joined_token_has_the_weights_of_its_tokens_and_lies_at_their_mean():
    x = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1e-4], [0.0, 1.0]]])
    x[0] /= np.linalg.norm(x[0], axis=1, keepdims=True)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    joined, labels = merged(Ensemble(x, Sphere(2), weights), 1e-3)
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])
    np.testing.assert_allclose(joined.weights, [0.4, 0.6], rtol=1e-15)
    mean = (0.1 * x[0, 0] + 0.3 * x[0, 2]) / 0.4
    np.testing.assert_allclose(joined.positions[0, 0], mean / np.linalg.norm(mean), rtol=1e-15)


def test_tokens_of_no_weight_are_joined_at_their_plain_mean_and_stay_finite():
    x = np.array([[[0.0, 0.0], [1e-4, 0.0], [1.0, 0.0]]])
    joined, labels = merged(Ensemble(x, Euclidean(2), np.array([0.0, 0.0, 1.0])), 1e-3)
    np.testing.assert_array_equal(labels, [0, 0, 1])
    np.testing.assert_allclose(joined.positions[0], [[5e-5, 0.0], [1.0, 0.0]], rtol=1e-14)
    np.testing.assert_array_equal(joined.weights, [0.0, 1.0])


def test_tokens_that_met_nobody_keep_every_bit():
    ensemble = Ensemble.uniform(Sphere(3), 40, seed=2)
    positions = ensemble.positions.copy()
    positions[0, 7] = positions[0, 31]
    joined, labels = merged(Ensemble(positions, Sphere(3)), 1e-9)
    assert joined.tokens == 39
    others = [token for token in range(40) if token not in (7, 31)]
    np.testing.assert_array_equal(joined.positions[0, labels[others]], positions[0, others])


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("space", [Sphere(3), Euclidean(2)], ids=["sphere", "R^d"])
def test_a_run_that_merges_is_the_run_that_does_not(space, normalisation):
    """Duplicated tokens become one at depth 0 (oracle 0.5) and later ones within 1e-9: the flow hardly notices."""
    tokens = Ensemble.uniform(space, 12, seed=4)
    twice = Ensemble(np.concatenate([tokens.positions, tokens.positions[:, :5]], axis=1), space)
    law = Attention(beta=2.0, normalisation=normalisation, value=-1.0 if space.name == "euclidean" else 1.0)
    way = {"t_end": 6.0, "method": "dop853", "rtol": 1e-11, "atol": 1e-13, "save_at": [0.0, 0.3, 2.0, 6.0]}
    merges = []
    run = integrate(law, twice, **way, merge=1e-9, on_merge=lambda t, into: merges.append((t, into.copy())))
    plain = integrate(law, twice, **way)
    np.testing.assert_allclose(run.positions, plain.positions, atol=3e-8)
    t, merged_into = merges[0]
    assert t == 0.0
    np.testing.assert_array_equal(merged_into, [*range(12), *range(5)])
    np.testing.assert_array_equal(run.merged_into, merges[-1][1])
    np.testing.assert_array_equal(plain.merged_into, np.arange(17))


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_clusters_that_have_formed_no_longer_hold_the_step_back(backend):
    """Once clusters are single tokens, depth 1e5 takes a few thousand drifts at most; without, a hundred times that."""
    tokens = Ensemble.uniform(Sphere(2), 30, seed=0)
    solution = integrate(
        Attention(beta=16.0), tokens, t_end=1e5, method="dop853", rtol=1e-9, merge=1e-9, backend=backend
    )
    assert solution.status == "finished"
    assert solution.statistics.drift_evaluations < 3000
    assert 1 < len(np.unique(solution.merged_into)) < 6
    # tokens of one group lie at one place, tokens of two do not
    apart = cdist(solution.final[0], solution.final[0]) > 1e-6
    np.testing.assert_array_equal(apart, solution.merged_into[:, None] != solution.merged_into[None])


def collapse_depth(beta, angle, gap):
    """When two tokens at this angle have come within the gap: oracle 1.2 with n = 2 and rho the cosine, 60 digits."""
    with mpmath.workdps(60 + int(2 * beta)):
        beta, start, end = mpmath.mpf(beta), mpmath.cos(mpmath.mpf(angle)), mpmath.cos(mpmath.mpf(gap))
        w0, w, ei = 1 + start, 1 + end, mpmath.ei
        logarithm = mpmath.log((1 + end) * (1 - start) / ((1 - end) * (1 + start)))
        parts = ei(beta * (1 - start)) - ei(beta * (1 - end))
        parts += mpmath.exp(2 * beta) * (ei(-beta * w) - ei(-beta * w0))
        return float(parts / 4 + logarithm / 4)


@pytest.mark.parametrize(("beta", "known"), [(8, 2.283e5), (10, 7.006e6)])
def test_two_clusters_meet_when_the_closed_form_says(beta, known):
    """Two clusters of 10 tokens, 2.5 apart: depths that no method reaches without merging, since it sees each token."""
    depth = collapse_depth(beta, 2.5, 1e-2)
    assert depth == pytest.approx(known, rel=3e-4)
    angles = np.repeat([0.0, 2.5], 10)
    tokens = Ensemble(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None], Sphere(2))
    stop = [clusters_left(tokens, 1, 1e-2)]
    way = {"method": "dop853", "rtol": 1e-11, "atol": 1e-13, "max_steps": 20_000}
    solution = integrate(Attention(beta=beta), tokens, t_end=2 * depth, merge=1e-9, stop=stop, **way)
    assert solution.status == "stopped: clusters <= 1"
    assert solution.t == pytest.approx(depth, rel=2e-8)


def test_sums_that_resolve_nothing_any_more_give_way_to_merged_tokens():
    """Two far clusters at a low temperature: the expansion's error is absolute, their drift exponentially small."""
    generator = np.random.default_rng(0)
    angles = np.concatenate([generator.normal(0.0, 0.2, 2000), generator.normal(2.8, 0.2, 2000)])
    tokens = Ensemble(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None], Sphere(2))
    way = {"t_end": 1e4, "method": "dop853", "rtol": 1e-8}
    solution = integrate(Attention(beta=20.0), tokens, **way, sums="auto")
    assert solution.status == "finished"
    assert solution.record["sums"] == "fourier, then exact"
    assert 0 < solution.record["largest_sum_error"] < 1e-10
    assert len(np.unique(solution.merged_into)) == 2
    plain = integrate(Attention(beta=20.0), tokens, **way, merge=1e-9)
    np.testing.assert_allclose(solution.final, plain.final, atol=1e-7)


def test_events_and_frames_see_all_tokens():
    tokens = Ensemble.uniform(Sphere(2), 20, seed=3)
    solution = integrate(
        Attention(beta=1.0),
        tokens,
        t_end=100.0,
        merge=1e-6,
        save_at=[0.0, 5.0, 30.0],
        stop=[clusters_left(tokens, 1, 1e-8)],
    )
    assert solution.status == "stopped: clusters <= 1"
    assert solution.positions.shape == (len(solution.times), 1, 20, 2)
    assert set(solution.merged_into) == {0}


@pytest.mark.parametrize(
    ("law", "ensemble", "options", "message"),
    [
        (Attention(mask="causal"), Ensemble.uniform(Sphere(2), 4), {}, "merge needs a law without a mask"),
        (LAW, Ensemble.uniform(Sphere(2), 4, replicas=2), {}, "merge needs a single replica"),
        (LAW, Ensemble.uniform(Sphere(2), 4), {"merge": -1.0}, "merge must be a positive number; got -1.0"),
        (
            LAW,
            Ensemble.uniform(Sphere(2), 4),
            {"layers": 3, "t_end": None},
            "merge belongs to integration in continuous",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(law, ensemble, options, message):
    with pytest.raises(InvalidInput, match=message):
        integrate(law, ensemble, **{"t_end": 1.0, "merge": 1e-9, **options})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens.replicas": 2}, "depth.merge: needs a single replica"),
        ({"attention.mask": "causal"}, "depth.merge: needs mask"),
        ({"depth.layers": 4}, "depth.merge: belongs to integration in continuous depth"),
    ],
)
def test_a_scenario_that_cannot_merge_is_refused_under_its_key(changes, message):
    with pytest.raises(InvalidInput, match=message):
        load("sphere-clusters").override({"depth.merge": 1e-9, **changes})


def test_the_trajectory_says_who_became_one_and_when(tmp_path):
    scenario = load("circle-metastable").override(
        {"tokens.count": 16, "depth.time": 60.0, "depth.merge": 1e-7, "save.every": 10.0}
    )
    with run(scenario, tmp_path / "merging.h5") as trajectory:
        times, merged_into = trajectory.merges
        assert len(times) == len(merged_into) > 0
        assert (np.diff(times) > 0).all() and merged_into.shape == (len(times), 16)
        assert len(np.unique(merged_into[-1])) < 12
        np.testing.assert_array_equal(trajectory.merged_into(0), np.arange(16))
        np.testing.assert_array_equal(trajectory.merged_into(-1), merged_into[-1])
        last = trajectory.positions[-1][0]
        np.testing.assert_array_equal(last, last[merged_into[-1]])


def test_a_trajectory_without_merging_has_no_merges(tmp_path):
    scenario = load("sphere-clusters").override({"tokens.count": 4, "depth.time": 0.5})
    with run(scenario, tmp_path / "plain.h5") as trajectory:
        times, merged_into = trajectory.merges
        assert times.shape == (0,) and merged_into.shape == (0, 4)
        np.testing.assert_array_equal(trajectory.merged_into(-1), np.arange(4))
