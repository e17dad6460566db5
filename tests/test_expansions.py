"""O(n) sums by expansions: against the reference backend, closed forms, and their own promises.

How close. Asked for an absolute error of 1e-15, drifts agree with the reference to that and 1e-12 of the longest |f_i|
before projection, which is rounding, the backends' own included.
"""

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Attention, Euclidean, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.backends.expansions.field import CHECK_EVERY, CHECKED_ROWS, RESOLVED, ExpansionField
from attndyn.particles.ensemble import checked_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive, spherical_in

KINDS = {2: "fourier", 3: "harmonics"}
TIGHT = 1e-15
dimensions = pytest.mark.parametrize("dimension", KINDS, ids=KINDS.values())


def rotation(generator, dimension):
    """A random rotation, det +1."""
    q, r = np.linalg.qr(generator.standard_normal((dimension, dimension)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return q


def tokens_on(space, replicas, tokens, seed=0):
    """Uniform tokens, the poles and the equator among them, and two that coincide."""
    x = space.uniform(np.random.default_rng(seed), (replicas, tokens))
    special = np.concatenate([np.eye(space.dimension), -np.eye(space.dimension)])[: tokens // 2]
    x[:, : len(special)] = space.radius * special
    if tokens > 1:
        x[:, -1] = x[:, 0]
    return x


def some_weights(replicas, tokens, kind, seed=1):
    if kind == "equal":
        return None
    weights = np.random.default_rng(seed).random((replicas, tokens)) + 1e-3
    weights[:, 1::3] = 0.0
    return weights / weights.sum(axis=1, keepdims=True)


def law_of(generator, dimension, matrices, **options):
    """Identities, a rotated score, or everything that an expansion allows."""
    if matrices == "identity":
        return Attention(value=-0.7, **options)
    turns = {"query": rotation(generator, dimension), "key": 1.2 * rotation(generator, dimension)}
    if matrices == "rotated":
        return Attention(**turns, **options)
    return Attention(
        **turns,
        value=generator.standard_normal((dimension + 2, dimension)),
        output=generator.standard_normal((dimension, dimension + 2)),
        value_bias=generator.standard_normal(dimension + 2),
        output_bias=generator.standard_normal(dimension),
        **options,
    )


def prepared(law, space, x, weights=None, **engine):
    return prepare(law, space, checked_weights(weights, x.shape[:2]), x.shape, x.dtype, Engine(**engine))


def attention_of(field, x):
    out = np.empty_like(x)
    field.attention(0.0, x, out)
    return out


def drift_of(field, x):
    out = np.empty_like(x)
    field.velocity(0.0, x, out)
    return out


def assert_agree(law, space, x, weights=None, tolerance=1e-12):
    """Drift, attention and statistics, against the reference."""
    ours = prepared(law, space, x, weights, sums=KINDS[space.dimension], sum_tolerance=TIGHT)
    reference = prepared(law, space, x, weights, backend="reference")
    expected = attention_of(reference, x)
    scale = np.linalg.norm(expected, axis=-1).max()
    assert np.linalg.norm(attention_of(ours, x) - expected, axis=-1).max() <= tolerance * scale + TIGHT
    # off the sphere, as the stages of a step are
    moved = x * np.linspace(0.7, 1.4, x.shape[1])[:, None]
    assert (
        np.linalg.norm(drift_of(ours, moved) - drift_of(reference, moved), axis=-1).max() <= tolerance * scale + TIGHT
    )
    kappa = ours.law.kappa
    for got, want in zip(ours.statistics(x), reference.statistics(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * (1 + kappa))


@dimensions
@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("matrices", ["identity", "rotated", "all"])
@pytest.mark.parametrize("beta", [0.0, 1e-9, 0.4, -3.0, 9.0, 60.0])
def test_it_agrees_with_the_reference(dimension, normalisation, matrices, beta):
    generator = np.random.default_rng(5)
    space = Sphere(dimension, 1.3 if matrices == "all" else 1.0)
    shift = 1.2 * abs(beta) * space.radius**2 if normalisation == "none" else 0.0
    law = law_of(generator, dimension, matrices, beta=beta, normalisation=normalisation, shift=shift)
    weights = some_weights(2, 150, "equal" if matrices == "identity" else "zeros")
    assert_agree(law, space, tokens_on(space, 2, 150), weights)


@settings(max_examples=60, deadline=None)
@given(
    dimension=st.sampled_from([2, 3]),
    beta=st.floats(-40.0, 40.0),
    matrices=st.sampled_from(["identity", "rotated", "all"]),
    normalisation=st.sampled_from(["softmax", "none"]),
    weights=st.sampled_from(["equal", "zeros"]),
    tokens=st.sampled_from([1, 2, 7, 8, 127, 128, 129, 300]),
    replicas=st.integers(1, 3),
    radius=st.floats(0.5, 1.5),
    seed=st.integers(0, 1000),
)
def test_it_agrees_whatever_the_law(
    dimension, beta, matrices, normalisation, weights, tokens, replicas, radius, seed
):  # fmt: skip
    space = Sphere(dimension, radius)
    shift = 1.3 * abs(beta) * radius**2 if normalisation == "none" else 0.0
    generator = np.random.default_rng(seed)
    law = law_of(generator, dimension, matrices, beta=beta, normalisation=normalisation, shift=shift)
    x = tokens_on(space, replicas, tokens, seed)
    assert_agree(law, space, x, some_weights(replicas, tokens, weights, seed) if tokens > 1 else None)


@dimensions
def test_scores_turned_by_a_reflection_are_scores_of_an_angle_too(dimension):
    mirror = np.diag([-1.0] + [1.0] * (dimension - 1))
    space = Sphere(dimension)
    assert_agree(Attention(beta=4.0, query=mirror), space, tokens_on(space, 1, 60))
    assert_agree(Attention(beta=4.0, query=-np.eye(dimension)), space, tokens_on(space, 1, 60))


@dimensions
@pytest.mark.parametrize("start", ["spread", "clusters"])
@pytest.mark.parametrize("beta", [1.0, 9.0, -9.0, 40.0])
def test_the_error_is_below_the_tolerance_and_a_looser_one_takes_fewer_terms(dimension, start, beta):
    space = Sphere(dimension, 1.2)
    generator = np.random.default_rng(3)
    x = space.uniform(generator, (1, 400))
    if start == "clusters":
        x = space.retract(x[:, generator.integers(0, 3, 400)] + 1e-3 * generator.standard_normal(x.shape))
    law = Attention(beta=beta, value=2.0)
    exact = drift_of(prepared(law, space, x, backend="reference"), x)
    terms = []
    for tolerance in (1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14):
        field = prepared(law, space, x, sums=KINDS[dimension], sum_tolerance=tolerance)
        error = np.linalg.norm(drift_of(field, x) - exact, axis=-1).max()
        assert error <= max(tolerance, RESOLVED * field.law.size)
        terms.append(field.record()["terms"])
    assert terms == sorted(terms) and len(set(terms)) == len(terms)


def test_the_series_of_the_circle_is_that_of_modified_bessel_functions():
    from attndyn.particles.backends.expansions import fourier

    for kappa in (1e-3, 0.7, 9.0, 900.0):
        series = fourier.series(kappa)
        k = np.arange(min(len(series.partition), 20))
        np.testing.assert_allclose(series.partition[k], np.where(k > 0, 2, 1) * ive(k, kappa), rtol=1e-13, atol=1e-39)


def test_the_series_of_the_sphere_is_that_of_spherical_bessel_functions():
    from attndyn.particles.backends.expansions import harmonics

    for kappa in (0.1, 0.7, 9.0, 300.0):
        series = harmonics.series(kappa)
        k = np.arange(min(len(series.partition), 12))
        expected = (2 * k + 1) * spherical_in(k, kappa) * np.exp(-kappa)
        np.testing.assert_allclose(series.partition[k], expected, rtol=1e-12, atol=1e-39)


@pytest.mark.parametrize("beta", [1.0, 4.0, 9.0])
@pytest.mark.parametrize("k", [1, 3])
def test_an_n_gon_grows_at_the_rates_of_the_mean_field(beta, k):
    tokens, size = 2000, 1e-6
    angle = 2 * np.pi * np.arange(tokens) / tokens
    moved = angle + size * np.sin(k * angle)
    x = np.stack([np.cos(moved), np.sin(moved)], axis=-1)[None]
    across = np.stack([-np.sin(moved), np.cos(moved)], axis=-1)
    field = prepared(Attention(beta=beta), Sphere(2), x, sums="fourier", sum_tolerance=TIGHT)
    speed = np.sum(drift_of(field, x)[0] * across, axis=-1)
    rate = 2 * np.mean(speed * np.sin(k * angle)) / size
    assert rate == pytest.approx(k**2 * ive(k, beta) / (beta * ive(0, beta)), rel=1e-7)


def test_octahedron_and_quadrature_of_the_sphere_stand_still():
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])[None]
    nodes, node_weights = np.polynomial.legendre.leggauss(24)
    phi = 2 * np.pi * (np.arange(48) + 0.3) / 48
    z, angle = (grid.ravel() for grid in np.meshgrid(nodes, phi, indexing="ij"))
    ring = np.sqrt(1 - z**2)
    quadrature = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=-1)[None]
    weights = np.repeat(node_weights, 48) / (2 * 48)
    for x, w in ((octahedron, None), (quadrature, weights / weights.sum())):
        field = prepared(Attention(beta=4.0), Sphere(3), x, w, sums="harmonics", sum_tolerance=TIGHT)
        assert np.abs(drift_of(field, x)).max() < 1e-14


@dimensions
def test_a_token_that_nobody_is_near_is_summed_exactly(dimension):
    generator = np.random.default_rng(0)
    space = Sphere(dimension)
    x = np.zeros((1, 300, dimension))
    x[..., -1] = 1.0
    x = space.retract(x + 0.02 * generator.standard_normal(x.shape))
    x[0, 7] = -x[0, 3]
    weights = np.ones(300)
    weights[7] = 0.0
    weights /= weights.sum()
    for beta in (20.0, 150.0, 400.0):  # z_7 is about exp(-2 beta)
        law = Attention(beta=beta)
        field = prepared(law, space, x, weights, sums=KINDS[dimension])
        expected = drift_of(prepared(law, space, x, weights, backend="reference"), x)
        np.testing.assert_allclose(drift_of(field, x), expected, rtol=0, atol=1e-12)
        assert field.record()["exact_rows"] == 1
        for got, want in zip(
            field.statistics(x), prepared(law, space, x, weights, backend="reference").statistics(x), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-11 * beta)


@dimensions
def test_the_same_bits_on_any_threads(dimension):
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (2, 20_011))
    law = Attention(beta=9.0)
    alone = law.drift(x, space=space, sums=KINDS[dimension], threads=1)
    for threads in (2, 5):
        np.testing.assert_array_equal(law.drift(x, space=space, sums=KINDS[dimension], threads=threads), alone)


@dimensions
def test_a_replica_moves_as_alone(dimension):
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (3, 5000))
    x[1] = space.retract(x[1, 0] + 1e-8 * x[1])  # this one alone needs more terms
    law = Attention(beta=9.0)
    together = law.drift(x, space=space, sums=KINDS[dimension])
    for replica in range(3):
        np.testing.assert_array_equal(law.drift(x[replica], space=space, sums=KINDS[dimension]), together[replica])


@pytest.mark.slow
@dimensions
def test_float32_tokens_get_a_drift_rounded_once(dimension):
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (2, 500)).astype(np.float32)
    law = Attention(beta=5.0)
    got = law.drift(x, space=space, sums=KINDS[dimension], sum_tolerance=1e-12)
    assert got.dtype == np.float32
    wide = law.drift(x.astype(np.float64), space=space, sums=KINDS[dimension], sum_tolerance=1e-12)
    np.testing.assert_array_equal(got, wide.astype(np.float32))


@dimensions
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_token_that_is_not_finite_shows_in_all(dimension, value):
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (1, 600))
    x[0, 17, 1] = value
    field = prepared(Attention(beta=2.0), space, x, sums=KINDS[dimension])
    assert np.isnan(drift_of(field, x)).all()
    assert np.isnan(field.statistics(x)[0]).all()


@dimensions
def test_checks_look_at_every_token_in_turn_and_find_the_true_error(dimension):
    space = Sphere(dimension)
    x = space.uniform(np.random.default_rng(0), (1, 5 * CHECKED_ROWS))
    law = Attention(beta=4.0)
    field = prepared(law, space, x, sums=KINDS[dimension], sum_tolerance=1e-3)
    out = drift_of(field, x)
    error = np.linalg.norm(out - drift_of(prepared(law, space, x, backend="reference"), x), axis=-1)
    for _ in range(4 * CHECK_EVERY):
        field.velocity(0.0, x, out)
    record = field.record()
    assert record["sum_checks"] == 5
    assert record["largest_sum_error"] == pytest.approx(error.max(), rel=1e-6)
    assert error.max() > 1e-10  # or there was nothing to find


REFUSED = {
    "heads": (Attention(heads=2), Sphere(2)),
    "mask": (Attention(mask="causal"), Sphere(3)),
    "bias": (Attention(key_bias=np.ones(3)), Sphere(3)),
    "rotation": (Attention(query=np.diag([1.0, 1.0, 1.1])), Sphere(3)),
    "space": (Attention(), Euclidean(2)),
    "dimension": (Attention(), Sphere(4)),
    "scores up to": (Attention(beta=1e8), Sphere(3)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_other_laws_are_refused_with_the_way_out(reason):
    law, space = REFUSED[reason]
    x = np.full((1, 4, space.dimension), space.dimension**-0.5)
    kind = "harmonics" if space.dimension > 2 else "fourier"
    with pytest.raises(InvalidInput, match=f'(?s){reason}.*sums = "exact"'):
        prepared(law, space, x, sums=kind)


def test_the_wrong_expansion_is_refused_with_the_right_one():
    with pytest.raises(InvalidInput, match='there is "harmonics"'):
        prepared(Attention(), Sphere(3), np.ones((1, 2, 3)), sums="fourier")


def test_attention_off_the_sphere_is_refused():
    x = np.ones((1, 5, 3))
    field = prepared(Attention(), Sphere(3), x, sums="harmonics")
    with pytest.raises(InvalidInput, match=r"off it by 0\.732"):
        attention_of(field, x)


def test_no_array_of_tokens_times_harmonics_is_made():
    import tracemalloc

    space, tokens = Sphere(3), 100_000
    x = space.uniform(np.random.default_rng(0), (1, tokens))
    field = prepared(Attention(beta=25.0), space, x, sums="harmonics", sum_tolerance=1e-14)
    assert isinstance(field, ExpansionField) and field.degree > 30
    out = np.empty_like(x)
    field.velocity(0.0, x, out)
    tracemalloc.start()
    field.velocity(0.0, x, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * tokens  # less than one number per token; Numba's arrays are counted as well as NumPy's
