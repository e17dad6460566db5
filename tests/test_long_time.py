"""Long times: drifts of 1e-115, meetings at depth 1e115, and clusters followed through all their merges."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, InvalidInput, Sphere, integrate
from attndyn.integrators.clock import Clock
from attndyn.integrators.long_time import long_time
from attndyn.particles.merge_error import drift_change
from attndyn.particles.merging import merged, plateaus
from attndyn.particles.observables import energy
from scipy.integrate import solve_ivp


def on_circle(angles, dimension=2):
    """Points of the unit circle in the first two of `dimension` components, (1, tokens, dimension)."""
    x = np.zeros((1, len(angles), dimension))
    x[0, :, 0], x[0, :, 1] = np.cos(angles), np.sin(angles)
    return x


def meeting_depth(beta, angle, gap, weights=(0.5, 0.5), normalisation="softmax", shift=0.0):
    """When two tokens at this angle have come within the gap: the integral of d gap / speed, to 30 digits."""
    with mpmath.workdps(30):
        a, b = (mpmath.mpf(weight) for weight in weights)

        def slowness(g):
            w = mpmath.exp(-beta * (1 - mpmath.cos(g)))
            if normalisation == "softmax":
                pull = b * w / (a + b * w) + a * w / (b + a * w)
            else:
                pull = (a + b) * w * mpmath.exp(beta - mpmath.mpf(shift))
            return 1 / (pull * mpmath.sin(g))

        # most of the depth is spent near the start
        marks = [gap, 0.1, 0.5, 1.0, *(angle - 2.0 ** -np.arange(0.6, 12.0)), angle]
        return float(mpmath.quad(slowness, [mpmath.mpf(mark) for mark in marks]))


@pytest.mark.parametrize(
    ("beta", "known"), [(8, 2.283e5), (16, 2.342e11), (20, 2.602e14), (24, 2.984e17), (40, 6.175e29), (150, 1.952e115)]
)
def test_two_clusters_meet_when_the_quadrature_says(beta, known):
    """Two clusters of 10 tokens, 2.5 apart: at beta = 150 the drift is 1e-115, and the spacing of depths 1e99."""
    depth = meeting_depth(beta, 2.5, 1e-2)
    assert depth == pytest.approx(known, rel=3e-4)
    tokens = Ensemble(on_circle(np.repeat([0.0, 2.5], 10)), Sphere(2))
    run = long_time(Attention(beta=beta), tokens, 1e300, save_at=[0.0], stop_at_clusters=1, cluster_distance=1e-2)
    assert run.solution.status == "stopped: clusters <= 1"
    assert run.solution.t == pytest.approx(depth, rel=1e-9)


@pytest.mark.parametrize("method", ["tsit5", "kencarp4"])
def test_other_methods_meet_there_too(method):
    tokens = Ensemble(on_circle([0.0, 2.5]), Sphere(2))
    way = {"method": method, "rtol": 1e-8, "save_at": [0.0], "stop_at_clusters": 1, "cluster_distance": 1e-2}
    run = long_time(Attention(beta=40.0), tokens, 1e300, **way)
    assert run.solution.t == pytest.approx(meeting_depth(40, 2.5, 1e-2), rel=3e-6)


@pytest.mark.parametrize("dimension", [2, 3, 5])
@pytest.mark.parametrize(("normalisation", "shift"), [("softmax", 0.0), ("none", 24.0)])
def test_two_tokens_of_unlike_weights_meet_when_the_quadrature_says(dimension, normalisation, shift):
    weights = np.array([0.3, 0.7])
    tokens = Ensemble(on_circle([0.4, 2.9], dimension), Sphere(dimension), weights)
    law = Attention(beta=24.0, normalisation=normalisation, shift=shift)
    run = long_time(law, tokens, 1e100, save_at=[0.0], stop_at_clusters=1, cluster_distance=1e-2)
    assert run.solution.t == pytest.approx(meeting_depth(24, 2.5, 1e-2, weights, normalisation, shift), rel=1e-9)


def test_the_depth_of_a_meeting_grows_exponentially_with_beta():
    """The integral is exp(beta c) / (2 beta sin^2) (1 + O(1 / beta)) at its end, c = 1 - cos of the angle."""
    tokens, betas = Ensemble(on_circle([0.0, 2.0]), Sphere(2)), np.array([30.0, 60.0, 120.0])
    depths = [
        long_time(Attention(beta=beta), tokens, 1e300, save_at=[0.0], stop_at_clusters=1).solution.t for beta in betas
    ]
    leading = betas * (1.0 - np.cos(2.0)) - np.log(2.0 * betas * np.sin(2.0) ** 2)
    assert (np.abs(np.log(depths) - leading) < 2.0 / betas).all()


def differences(law, x, space, weights=None):
    return law.drift(x, space=space, weights=weights, sums="differences")


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("dimension", [2, 3, 6])
def test_sums_of_differences_are_the_drift(dimension, normalisation):
    generator = np.random.default_rng(dimension)
    space = Sphere(dimension, 1.3)
    x = space.uniform(generator, (2, 9))
    weights = generator.dirichlet(np.ones(9))
    weights[4] = 0.0
    weights /= weights.sum()
    matrices = generator.standard_normal((2, dimension, dimension)) / dimension**0.5
    biases = {"query_bias": generator.standard_normal(dimension), "key_bias": generator.standard_normal(dimension)}
    shift = 1.0 if normalisation == "none" else 0.0
    for law in (
        Attention(beta=3.0, normalisation=normalisation, shift=shift, query=0.5, score="scaled-dot", value=-0.7),
        Attention(beta=-2.0, normalisation=normalisation, query=matrices[0], key=matrices[1], value=0.7, **biases),
    ):
        expected = law.drift(x, space=space, weights=weights, backend="reference")
        size = np.linalg.norm(expected, axis=-1).max()
        np.testing.assert_allclose(differences(law, x, space, weights), expected, atol=1e-13 * size)


def test_sums_of_differences_have_the_digits_that_other_sums_have_not():
    """Three clusters of three tokens, exact copies, against 60 digits: speeds of 1e-40."""
    angles, beta = np.repeat([0.1, 1.9, 4.2], 3), 70.0
    x = on_circle(angles)
    with mpmath.workdps(60):
        exact = []
        theta = [mpmath.atan2(mpmath.mpf(b), mpmath.mpf(a)) for a, b in x[0]]
        for here in theta:
            w = [mpmath.exp(beta * (mpmath.cos(there - here) - 1)) for there in theta]
            # copies are equal but for the rounding of their coordinates, which is none here
            pull = sum(each * mpmath.sin(there - here) for each, there in zip(w, theta, strict=True))
            exact.append(float(pull / sum(w)))
    tangent = np.stack([-x[0, :, 1], x[0, :, 0]], axis=-1)
    law = Attention(beta=beta)
    speeds = (differences(law, x, Sphere(2))[0] * tangent).sum(axis=1)
    assert np.abs(exact).max() < 1e-30
    np.testing.assert_allclose(speeds, exact, rtol=1e-12)
    assert np.abs(law.drift(x, space=Sphere(2))).max() > 1e-18  # which is rounding


@pytest.mark.parametrize(
    ("law", "space", "said"),
    [
        (Attention(), Euclidean(2), "on a sphere"),
        (Attention(value=np.eye(2)), Sphere(2), "a number for its value"),
        (Attention(output_bias=[0.0, 1.0]), Sphere(2), "nor biases"),
        (Attention(mask="causal"), Sphere(2), "mask none"),
        (Attention(normalisation="sigmoid"), Sphere(2), "softmax or none"),
        (Attention(beta=np.inf), Sphere(2), "beta"),
    ],
)
def test_other_laws_are_refused_with_the_reason(law, space, said):
    tokens = Ensemble.uniform(space, 4, seed=0)
    for call in (
        lambda: long_time(law, tokens, 10.0),
        lambda: integrate(law, tokens, t_end=10.0, sums="differences"),
    ):
        with pytest.raises(InvalidInput, match=said):
            call()


def test_single_precision_is_refused():
    single = Ensemble.uniform(Sphere(2), 4, seed=0).positions.astype(np.float32)
    tokens = Ensemble(single, Sphere(2))
    with pytest.raises(InvalidInput, match="float64"):
        long_time(Attention(), tokens, 10.0)


@pytest.fixture(scope="module")
def staircase():
    """50 tokens at beta = 16 to depth 1e12."""
    return long_time(Attention(beta=16.0), Ensemble.uniform(Sphere(2), 50, seed=2), 1e12)


def test_fifty_tokens_reach_depth_1e12_by_plateaus(staircase):
    assert staircase.solution.status == "finished"
    assert staircase.solution.statistics.drift_evaluations < 10_000
    lasting = staircase.plateaus(ratio=1.5)
    assert [plateau.clusters for plateau in lasting] == [50, 4, 3, 2]
    assert [plateau.end for plateau in lasting[1:]] == pytest.approx([650.2, 4.318e5, 6.873e11], rel=1e-3)
    everything = staircase.plateaus()
    assert everything[0].start == 0.0
    assert everything[-1][1:] == (1e12, 1)
    assert all(before.end == after.start for before, after in pairwise(everything))


def test_the_energy_is_a_staircase(staircase):
    found, times = staircase.energy(), staircase.solution.times
    assert (np.diff(found) > -1e-12 * found[1:]).all()
    steps = staircase.merge_times[-3:]
    for low, high in pairwise(steps):
        flat = found[(times > 2.0 * low) & (times < 0.5 * high)]
        assert np.ptp(flat) < 1e-5 * flat[0]
        assert found[times > 2.0 * high][:1].size == 0 or found[times > 2.0 * high][0] > 1.3 * flat[-1]
    frame = staircase.ensemble.at(staircase.solution.positions[40])
    assert found[40] == pytest.approx(energy(frame, staircase.law)[0], rel=1e-14)


def test_every_token_can_be_followed(staircase):
    """A group only grows, is named by its first token, and lies at one place in every frame from its merge on."""
    before = np.arange(50)
    for t, groups in zip(staircase.merge_times, staircase.merged_into, strict=True):
        assert (groups[before] == groups).all()
        assert (groups <= np.arange(50)).all()
        assert len(np.unique(groups)) < len(np.unique(before))
        frames = staircase.solution.positions[staircase.solution.times > t, 0]
        np.testing.assert_array_equal(frames, frames[:, groups])
        before = groups
    assert (np.diff(staircase.merge_times) > 0).all()
    np.testing.assert_array_equal(staircase.solution.merged_into, before)


def test_merges_come_when_an_independent_solution_without_merging_says():
    """Angles of 12 weighted tokens by SciPy's Radau, with nothing merged, to the depth at which two clusters meet."""
    generator = np.random.default_rng(3)
    angles, weights, beta, gap = generator.uniform(0, 2 * np.pi, 12), generator.dirichlet(np.full(12, 5.0)), 6.0, 0.3

    def drift(t, theta):
        apart = theta[None] - theta[:, None]
        w = weights * np.exp(-2.0 * beta * np.sin(0.5 * apart) ** 2)
        return (w * np.sin(apart)).sum(axis=1) / w.sum(axis=1)

    def widest(t, theta):
        """How far the two furthest of all tokens are, less the gap."""
        return np.abs(2.0 * np.sin(0.5 * (theta[:, None] - theta))).max() - 2.0 * np.sin(0.5 * gap)

    widest.terminal = True
    exact = solve_ivp(drift, (0.0, 1e7), angles, method="Radau", rtol=1e-9, atol=1e-11, events=widest)
    law, tokens = Attention(beta=beta), Ensemble(on_circle(angles), Sphere(2), weights)
    run = long_time(law, tokens, 1e7, stop_at_clusters=1, cluster_distance=gap, save_at=[0.0, 5.0, 20.0])
    assert run.solution.t == pytest.approx(exact.t_events[0][0], rel=1e-6)
    assert run.solution.t > 100.0
    assert len(np.unique(run.solution.merged_into)) == 2
    np.testing.assert_allclose(run.solution.final[0], on_circle(exact.y[:, -1])[0], atol=1e-5)


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("space", [Sphere(2), Sphere(3, 1.5), Euclidean(3)], ids=["circle", "sphere", "R^d"])
def test_the_drift_of_others_changes_by_no_more_than_the_bound(space, normalisation):
    """Two groups of three become one token each: the change and its bound are of second order in their size."""
    generator = np.random.default_rng(5)
    centres, weights = space.uniform(generator, (1, 6)), generator.dirichlet(np.full(10, 3.0))
    spread = generator.uniform(-1, 1, (1, 2, 3, space.dimension)) / space.dimension**0.5
    bias = 0.3 * np.ones(space.dimension)
    law = Attention(beta=2.5, normalisation=normalisation, key_bias=bias, value_bias=0.1 * bias)
    bounds = []
    for size in (1e-2, 1e-3):
        near = centres[:, :2, None] + size * spread
        x = space.retract(np.concatenate([near.reshape(1, 6, -1), centres[:, 2:]], axis=1))
        ensemble = Ensemble(x, space, weights)
        joined, labels = merged(ensemble, 4.0 * size)
        assert joined.tokens == 6
        moved = np.linalg.norm(x[0] - joined.positions[0, labels], axis=1)
        before = law.drift(x, space=space, weights=weights)[0, 6:]
        after = law.drift(joined.positions, space=space, weights=joined.weights)[0, 2:]
        change = np.linalg.norm(after - before, axis=1).max()
        bounds.append(drift_change(law, ensemble, moved, labels))
        assert 0.0 < change <= bounds[-1]
        # unnormalised, the bound is for a token that looks right at a group
        assert bounds[-1] < (300.0 if normalisation == "softmax" else 3e5) * change
    assert bounds[0] / bounds[1] == pytest.approx(100.0, rel=0.2)


def test_a_run_says_what_merging_did_to_it():
    """With tokens merged at 1e-3: nobody is further from the run without merging than the record says."""
    tokens = Ensemble.uniform(Sphere(2), 24, seed=1)
    way = {"t_end": 60.0, "method": "dop853", "rtol": 1e-12, "atol": 1e-13, "save_at": np.linspace(0.0, 60.0, 61)}
    law = Attention(beta=9.0)
    plain = integrate(law, tokens, **way)
    rough = integrate(law, tokens, **way, merge=1e-3)
    moved, change = rough.record["merge_moved"], rough.record["merge_drift_change"]
    assert len(np.unique(rough.merged_into)) < 6
    assert 1e-4 < moved < 5e-3
    assert 0.0 < change < 1e-3
    apart = np.linalg.norm(rough.positions - plain.positions, axis=-1)
    assert 1e-5 < apart.max() <= moved
    # once a group has contracted its own error is gone, and what is left is of second order
    assert apart[-1].max() <= 20.0 * change
    assert integrate(law, tokens, **way).record == {}


def test_the_depth_of_a_meeting_does_not_depend_on_the_distance_of_merging():
    """The error is of second order: over a factor of 1e5 the last of 50 tokens meet at one depth, to ten digits."""
    tokens = Ensemble.uniform(Sphere(2), 50, seed=2)
    way = {"rtol": 1e-12, "save_at": [0.0], "stop_at_clusters": 1}
    depths = [long_time(Attention(beta=16.0), tokens, 1e13, merge=merge, **way).solution.t for merge in (1e-10, 1e-5)]
    assert depths[1] == pytest.approx(depths[0], rel=1e-10)
    assert depths[0] == pytest.approx(6.873e11, rel=1e-3)


def test_merging_goes_on_to_long_times_on_the_sphere_with_the_ordinary_sums():
    """Once few tokens are left a run that merges sums differences by itself: others stall at steps of 1e5."""
    tokens = Ensemble.uniform(Sphere(3), 50, seed=0)
    law, way = Attention(beta=16.0), {"t_end": 1e12, "method": "dop853", "rtol": 1e-9, "merge": 1e-9}
    merges = []
    run = integrate(law, tokens, **way, on_merge=lambda t, groups: merges.append((t, len(np.unique(groups)))))
    assert run.status == "finished"
    assert run.statistics.drift_evaluations < 20_000
    assert [clusters for _, clusters in merges[-4:]] == [4, 3, 2, 1]
    finer = long_time(law, tokens, 1e12, rtol=1e-11, save_at=[0.0])
    # a merge is seen at the end of a step, whose length is then some inverse rates of contraction
    np.testing.assert_allclose([t for t, _ in merges[-4:]], finer.merge_times[-4:], rtol=1e-7, atol=5.0)


def test_a_clock_counts_steps_below_the_spacing_of_depths():
    clock = Clock().after(1e20)
    for _ in range(1000):
        clock = clock.after(0.25)
    assert (clock.base, clock.local, clock.t) == (1e20, 250.0, 1e20)
    assert clock.until(2e20) == pytest.approx(1e20, rel=1e-15)
    assert Clock(1e20, 250.0).after(1e6).local == 1e6 + 250.0
    early = Clock().after(0.1).after(0.2)
    assert (early.base, early.t, early.until(1.0)) == (0.0, 0.1 + 0.2, 1.0 - (0.1 + 0.2))


def test_plateaus_of_merges():
    groups = np.array([[0, 0, 2, 3], [0, 0, 2, 2], [0, 0, 0, 0]])
    times = np.array([10.0, 11.0, 1e6])
    assert plateaus(times, groups, 1e7) == [(0.0, 10.0, 4), (10.0, 11.0, 3), (11.0, 1e6, 2), (1e6, 1e7, 1)]
    assert plateaus(times, groups, 1e7, ratio=2.0) == [(0.0, 10.0, 4), (11.0, 1e6, 2), (1e6, 1e7, 1)]
    assert plateaus(np.empty(0), np.empty((0, 4), int), 5.0) == [(0.0, 5.0, 4)]
