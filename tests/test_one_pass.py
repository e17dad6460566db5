"""Laws that need one pass over the pairs, by their profile: hard cases of every score and normalisation."""

import numpy as np
import pytest
from attndyn.particles import Attention, Euclidean, Sphere, masks, scores
from attndyn.particles.backends.compiled import one_pass, profiles
from attndyn.particles.backends.compiled.logarithm import log2_beyond_one
from attndyn.particles.backends.compiled.vectors import lanes, load, store, wide
from numba import njit

mpmath = pytest.importorskip("mpmath")

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
SCORES = {
    "dot": "dot",
    "cosine": "cosine",
    "gaussian": "gaussian",
    "laplace": "laplace",
    "student": "student",  # 1 / (1 + u)
    "student 4": scores.Student(4.0),  # a rational power with a root
    "student 2.5": scores.Student(2.5),
}
NORMALISATIONS = ["softmax", "none", "sigmoid", "relu", "linear"]
BOTH = [(score, normalisation) for score in SCORES for normalisation in NORMALISATIONS][2:]  # the rest is plain
DISTANT = ["gaussian", "laplace", "student", "student 4", "student 2.5"]
# few tokens, and so many that queries which are keys share their weights; small heads and larger ones
shapes = pytest.mark.parametrize(("tokens", "dimension"), [(37, 3), (530, 3), (131, 16)])
laws = pytest.mark.parametrize(("score", "normalisation"), BOTH)


def weights_of(tokens):
    weights = np.random.default_rng(2).random(tokens) + 0.1
    weights[4] = 0.0
    return weights / weights.sum()


def met(tokens, dimension, dtype="float64"):
    """Tokens on the sphere, many of which have met or are as near as 1e-9 to 1e-3."""
    generator = np.random.default_rng(3)
    x = generator.standard_normal((tokens // 4, dimension))
    near = 10.0 ** generator.uniform(-9, -3, (tokens - 2 * len(x), 1))
    places = generator.integers(0, len(x), len(near))
    x = np.concatenate([x, x, x[places] + near * generator.standard_normal((len(near), dimension))])
    return Sphere(dimension).retract(x[generator.permutation(tokens)])[None].astype(dtype)


def assert_agree(law, x, space, dtype="float64"):
    weights = weights_of(x.shape[1])
    ours = law.drift(x.astype(dtype), space=space, weights=weights)
    exact = law.drift(x.astype(dtype).astype(np.float64), space=space, weights=weights, backend="reference")
    assert ours.dtype == dtype
    assert np.abs(ours - exact).max() <= TOLERANCE[dtype] * max(np.abs(exact).max(), 1e-2), law.mask


@njit
def _logarithms(u, out, width):
    wide()
    for i in range(0, u.size, 2 * width):
        first, second = log2_beyond_one((load(u, i), load(u, i + width)))
        store(out, i, first)
        store(out, i + width, second)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logarithms_are_right_to_some_roundings(dtype):
    generator, (least, most) = np.random.default_rng(0), (np.finfo(dtype).tiny, np.finfo(dtype).max)
    edges = np.array([0.0, least, 1e-20, np.sqrt(2) - 1, 1.0, 2 * np.sqrt(2) - 1, 3.0, most / 2]).astype(dtype)
    u = np.concatenate(
        [edges, np.nextafter(edges, 0 * edges), np.nextafter(edges, most / 2 + 0 * edges)]
        + [10.0 ** generator.uniform(low, high, 2000) for low, high in ((-30, -3), (-3, 3), (3, 30))]
    ).astype(dtype)
    u = np.concatenate([u, np.zeros(-len(u) % (2 * lanes(np.dtype(dtype).type)), dtype)])
    found = np.empty_like(u)
    _logarithms(u, found, lanes(np.dtype(dtype).type))
    with mpmath.workdps(60):
        for number, log in zip(u.tolist(), found.tolist(), strict=True):
            exact = mpmath.log1p(number) / mpmath.log(2)
            assert abs(log - exact) <= 3 * np.finfo(dtype).eps * exact + least


def test_which_laws_have_a_profile():
    assert all(
        profiles.profile_of(Attention(score=SCORES[score], normalisation=normalisation)) is not None
        for score, normalisation in BOTH
    )
    without = [
        {"normalisation": "sparsemax"},
        {"normalisation": "sinkhorn"},
        {"beta": np.inf},
        {"mask": masks.Window(3), "score": "cosine"},
        {"prior": "alibi"},
        {"score": "gaussian", "beta": -1.0},
    ]
    assert all(profiles.profile_of(Attention(**parts)) is None for parts in without)


@shapes
@laws
def test_tokens_that_have_met_agree_with_the_reference(score, normalisation, tokens, dimension):
    for mask in ("none", "causal", "without-self"):
        law = Attention(beta=2.0, score=SCORES[score], normalisation=normalisation, mask=mask)
        assert_agree(law, met(tokens, dimension), Sphere(dimension))


@shapes
@pytest.mark.parametrize("beta", [300.0, 1e6])
@pytest.mark.parametrize("score", ["cosine", *DISTANT])
def test_a_large_beta_agrees_with_the_reference(score, beta, tokens, dimension):
    if score == "cosine" and beta > 1e3:
        pytest.skip("a product of beta = 1e6 is rounded by more than the tolerance, by the reference as well")
    law = Attention(beta=beta, score=SCORES[score])
    assert_agree(law, met(tokens, dimension), Sphere(dimension))


@shapes
@laws
def test_other_queries_and_keys_agree_with_the_reference(score, normalisation, tokens, dimension):
    generator = np.random.default_rng(4)
    matrices = {name: generator.standard_normal((dimension, dimension)) / 2 for name in ("query", "key", "value")}
    law = Attention(beta=1.5, score=SCORES[score], normalisation=normalisation, **matrices)
    assert_agree(law, generator.standard_normal((2, tokens, dimension)), Euclidean(dimension))


@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("score", DISTANT)
@shapes
def test_rows_whose_keys_are_all_far_away_agree_with_the_reference(score, normalisation, tokens, dimension):
    x, bias = met(tokens, dimension), np.full(dimension, 30.0)
    identity = np.eye(dimension)
    law = Attention(beta=2.0, score=SCORES[score], key=identity, query=identity, key_bias=bias, shift=0.0)
    shift = float(law.statistics(x, space=Euclidean(dimension), backend="reference")[0].max())
    more = {"normalisation": normalisation, "shift": shift if normalisation == "none" else 0.0}
    law = Attention(**{**vars(law), **more})
    assert_agree(law, x, Euclidean(dimension))


@pytest.mark.parametrize("dimension", [3, 6])
@laws
def test_heads_and_replicas_agree_with_the_reference(score, normalisation, dimension):
    generator = np.random.default_rng(5)
    value, output = generator.standard_normal((6, dimension)), generator.standard_normal((dimension, 6))
    parts = {name: generator.standard_normal((6, dimension)) / 2 for name in ("query", "key")}
    law = Attention(
        beta=0.8, score=SCORES[score], normalisation=normalisation, heads=2, value=value, output=output, **parts
    )
    assert_agree(law, generator.standard_normal((3, 21, dimension)), Euclidean(dimension))


@pytest.mark.slow  # kernels of float32 take as long to compile as those of float64
@shapes
@laws
def test_float32_agrees_with_the_reference_in_float64(score, normalisation, tokens, dimension):
    for mask in ("none", "causal"):
        law = Attention(beta=2.0, score=SCORES[score], normalisation=normalisation, mask=mask)
        assert_agree(law, met(tokens, dimension, "float32"), Sphere(dimension), "float32")


@pytest.mark.parametrize(("tokens", "dimension"), [(700, 3), (700, 16)])
@laws
def test_any_number_of_threads_gives_the_same_bits(score, normalisation, tokens, dimension):
    x = met(tokens, dimension)
    for mask in ("none", "causal"):
        law = Attention(beta=3.0, score=SCORES[score], normalisation=normalisation, mask=mask)
        drifts = [law.drift(x, space=Sphere(dimension), threads=threads) for threads in (1, 2, 5)]
        np.testing.assert_array_equal(drifts[0], drifts[1], mask)
        np.testing.assert_array_equal(drifts[0], drifts[2], mask)


@pytest.mark.parametrize("score", ["cosine", *DISTANT])
def test_shared_weights_are_those_of_either_token(score, monkeypatch):
    law, x = Attention(beta=3.0, score=SCORES[score]), met(600, 3)
    shared = law.drift(x, space=Sphere(3))
    monkeypatch.setattr(one_pass.symmetric, "FEWEST_TOKENS", 10**6)
    alone = law.drift(x, space=Sphere(3))
    assert (shared != alone).any()  # another order of the sums
    np.testing.assert_allclose(shared, alone, atol=1e-14)


def test_a_mean_of_what_nobody_sees_is_zero():
    for dimension in (3, 16):
        x = Sphere(dimension).uniform(np.random.default_rng(0), (1, 1))
        for score in ("cosine", "gaussian"):
            law = Attention(score=score, mask="without-self")
            np.testing.assert_array_equal(law.drift(x, space=Sphere(dimension)), np.zeros_like(x))
