"""`sums = "auto"`: which sums it chooses, and how it notices that an expansion no longer resolves the drift."""

import numpy as np
import pytest
from attndyn.integrators import integrate
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.backends.expansions.auto import AutoField
from attndyn.particles.ensemble import checked_weights

KINDS = {2: "fourier", 3: "harmonics"}
dimensions = pytest.mark.parametrize("dimension", KINDS, ids=KINDS.values())


def prepared(law, space, x, **engine):
    return prepare(law, space, checked_weights(None, x.shape[:2]), x.shape, x.dtype, Engine(**engine))


def drift_of(field, x):
    out = np.empty_like(x)
    field.velocity(0.0, x, out)
    return out


def two_clusters(tokens, dimension, gap=2.5):
    """Half of the tokens at one point, half at another, an angle `gap` away."""
    x = np.zeros((1, tokens, dimension))
    x[..., 0] = 1.0
    x[0, tokens // 2 :, :2] = np.cos(gap), np.sin(gap)
    return x


@dimensions
def test_small_systems_are_summed_exactly_in_whole_compiled_steps(dimension):
    x = Sphere(dimension).uniform(np.random.default_rng(0), (1, 60))
    field = prepared(Attention(beta=4.0), Sphere(dimension), x, sums="auto")
    exact = prepared(Attention(beta=4.0), Sphere(dimension), x)
    np.testing.assert_array_equal(drift_of(field, x), drift_of(exact, x))
    assert field.record() == {"sums": "exact", "reason": "the system is small"}
    assert field.step_plan is not None and not field.at_floor


@dimensions
def test_large_systems_are_expanded(dimension):
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (1, 20_000))
    law = Attention(beta=4.0)
    field = prepared(law, space, x, sums="auto")
    explicit = prepared(law, space, x, sums=KINDS[dimension])
    np.testing.assert_array_equal(drift_of(field, x), drift_of(explicit, x))
    record = field.record()
    assert record["sums"] == KINDS[dimension] and record["sum_checks"] == 1
    assert 0.0 < record["largest_sum_error"] < 1e-10
    assert field.step_plan is None and not field.at_floor


def test_in_between_both_are_timed_and_either_is_right():
    space = Sphere(3)
    x = space.uniform(np.random.default_rng(0), (1, 1300))
    law = Attention(beta=4.0)
    field = prepared(law, space, x, sums="auto")
    expected = drift_of(prepared(law, space, x), x)
    np.testing.assert_allclose(drift_of(field, x), expected, rtol=0, atol=1e-10)
    record = field.record()
    chosen = "exact" if record["exact_seconds"] < record["expansion_seconds"] else "harmonics"
    assert record["sums"] == chosen


@pytest.mark.parametrize(
    ("law", "space", "reason"),
    [
        (Attention(heads=2, beta=2.0), Sphere(2), "2 heads"),
        (Attention(mask="causal"), Sphere(3), "mask"),
        (Attention(), Sphere(4), "dimension 4"),
        (Attention(), Euclidean(2), "euclidean"),
        (Attention(query=np.diag([1.0, 2.0])), Sphere(2), "rotation"),
        (Attention(beta=2000.0), Sphere(3), "go up to degree"),
        (Attention(beta=60.0, normalisation="none"), Sphere(3), "exceeds the tolerance"),
    ],
)
def test_what_has_no_good_expansion_is_summed_exactly(law, space, reason):
    x = space.retract(np.random.default_rng(0).standard_normal((1, 3000, space.dimension)))
    field = prepared(law, space, x, sums="auto")
    assert isinstance(field, AutoField)
    np.testing.assert_array_equal(drift_of(field, x), drift_of(prepared(law, space, x), x))
    assert field.record()["sums"] == "exact" and reason in field.record()["reason"]
    for got, want in zip(field.statistics(x), prepared(law, space, x).statistics(x), strict=True):
        np.testing.assert_array_equal(got, want)


@dimensions
@pytest.mark.parametrize("beta", [16.0, 81.0])
def test_the_floor_is_seen_where_clusters_move_slower_than_rounding(dimension, beta):
    space, x = Sphere(dimension), two_clusters(20_000, dimension)
    law = Attention(beta=beta)
    field = prepared(law, space, x, sums="auto")
    spread = space.retract(x + 1e-3 * np.random.default_rng(0).standard_normal(x.shape))
    drift_of(field, spread)
    assert not field.at_floor and field.record()["sums"] == KINDS[dimension]
    got = drift_of(field, x)
    assert field.at_floor
    record = field.record()
    assert record["sums"] == f"{KINDS[dimension]}, then exact" and record["floor_at_evaluation"] == 2
    np.testing.assert_array_equal(got, drift_of(prepared(law, space, x), x))
    np.testing.assert_array_equal(drift_of(field, spread), drift_of(prepared(law, space, spread), spread))


@dimensions
@pytest.mark.parametrize("beta", [4.0, 9.0])
def test_slow_drifts_above_the_floor_are_right_to_their_own_size(dimension, beta):
    space, x = Sphere(dimension), two_clusters(10_000, dimension)
    field = prepared(Attention(beta=beta), space, x, sums="auto")
    speed = np.linalg.norm(drift_of(field, x), axis=-1)
    far = np.exp(beta * (np.cos(2.5) - 1.0))
    np.testing.assert_allclose(speed, np.sin(2.5) * far / (1.0 + far), rtol=2e-6)
    assert not field.at_floor


def test_an_expansion_that_errs_is_left():
    space = Sphere(2)
    x = space.uniform(np.random.default_rng(0), (1, 10_000))
    law = Attention(beta=4.0)
    field = prepared(law, space, x, sums="auto")
    field._expansion._series.partition[1] *= 1.001  # what must never happen
    np.testing.assert_array_equal(drift_of(field, x), drift_of(prepared(law, space, x), x))
    record = field.record()
    assert record["sums"] == "fourier, then exact" and "above the tolerance" in record["reason"] and not field.at_floor


@dimensions
def test_a_token_off_the_sphere_is_left_to_exact_sums(dimension):
    space = Sphere(dimension)
    x = 1.1 * space.uniform(np.random.default_rng(0), (1, 10_000))
    field, exact = (prepared(Attention(beta=2.0), space, x, sums=sums) for sums in ("auto", "exact"))
    got, want = np.empty_like(x), np.empty_like(x)
    field.attention(0.0, x, got)
    exact.attention(0.0, x, want)
    np.testing.assert_array_equal(got, want)


def test_a_trajectory_with_expansions_is_the_exact_one():
    space = Sphere(2)
    start = Ensemble(space.uniform(np.random.default_rng(2), (1, 2000)), space)
    options = {"t_end": 3.0, "rtol": 1e-8, "atol": 1e-10}
    runs = [integrate(Attention(beta=5.0), start, sums=sums, **options) for sums in ("exact", "auto", "fourier")]
    for run in runs[1:]:
        np.testing.assert_allclose(run.positions[-1], runs[0].positions[-1], rtol=0, atol=1e-8)
