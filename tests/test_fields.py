"""What every backend owes, whatever the numbers are: the same bits, no n x n array, nothing hidden, nothing touched."""

import resource
from dataclasses import replace

import numpy as np
import pytest
from attndyn.errors import InvalidInput
from attndyn.particles import Attention, Euclidean, Sphere
from attndyn.particles.backends import Engine, prepare
from attndyn.particles.backends.compiled import plan, tiles
from attndyn.particles.backends.compiled.vectors import aligned_zeros
from attndyn.particles.ensemble import checked_weights

KERNELS = [(700, 3), (500, 20)]  # tokens and dimension: small heads and larger ones, work for several threads
backends = pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
fast = pytest.mark.parametrize("backend", ["numba", "torch"])
masks = pytest.mark.parametrize("mask", ["none", "causal", "without-self"])
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def tokens_of(generator, shape, space, dtype="float64"):
    """(replicas, tokens, dimension) tokens of about unit length."""
    return space.retract(generator.standard_normal(shape) / np.sqrt(shape[2])).astype(dtype)


def full_law(generator, dimension, **options):
    """Three heads with matrices, an output matrix and all biases."""
    width = 3 if dimension == 3 else 6

    def gaussian(*shape):
        return generator.standard_normal(shape) / np.sqrt(dimension)

    matrices = {name: gaussian(3 * width, dimension) for name in ("query", "key", "value")}
    biases = {f"{name}_bias": gaussian(3 * width) for name in matrices}
    output = {"output": gaussian(dimension, 3 * width), "output_bias": gaussian(dimension)}
    return Attention(heads=3, **matrices, **biases, **output, **options)


def field(law, space, x, backend):
    return prepare(law, space, checked_weights(None, x.shape[:2]), x.shape, x.dtype, Engine(backend))


@dtypes
@masks
@pytest.mark.parametrize(("tokens", "dimension"), KERNELS)
def test_the_bits_do_not_depend_on_the_number_of_threads(tokens, dimension, mask, dtype):
    generator = np.random.default_rng(5)
    law = full_law(generator, dimension, mask=mask)
    space = Sphere(dimension)
    x = tokens_of(generator, (2, tokens, dimension), space, dtype)
    alone = [law.drift(x, space=space, threads=1), *law.statistics(x, space=space, threads=1)]
    for threads in (2, 3, 7):
        shared = [law.drift(x, space=space, threads=threads), *law.statistics(x, space=space, threads=threads)]
        for one, other in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(one, other)


@fast
@dtypes
@pytest.mark.parametrize(("tokens", "dimension"), [(37, 3), (75, 20)])
def test_the_bits_of_a_replica_do_not_depend_on_the_others(tokens, dimension, dtype, backend):
    generator = np.random.default_rng(5)
    space = Sphere(dimension)
    x = tokens_of(generator, (4, tokens, dimension), space, dtype)
    law = Attention(beta=3.0, mask="causal")
    together = law.drift(x, space=space, backend=backend)
    for replica in range(4):
        np.testing.assert_array_equal(law.drift(x[replica], space=space, backend=backend), together[replica])


@backends
@pytest.mark.parametrize("dimension", [3, 20])
def test_a_drift_leaves_its_arguments_untouched_and_may_be_asked_for_twice(dimension, backend):
    generator = np.random.default_rng(1)
    space = Sphere(dimension, radius=2.0)
    x = 1.1 * tokens_of(generator, (2, 30, dimension), space)  # off the sphere
    before, first, second = x.copy(), np.empty_like(x), np.empty_like(x)
    law = full_law(generator, dimension)
    prepared = field(law, space, x, backend)
    prepared.velocity(0.0, x, first)
    np.testing.assert_array_equal(x, before)
    prepared.attention(0.0, -x, second)
    prepared.statistics(-x)
    prepared.velocity(0.0, x, second)
    np.testing.assert_array_equal(first, second)


@backends
@pytest.mark.parametrize("dimension", [3, 20])
def test_off_the_sphere_the_drift_is_that_of_the_retracted_tokens(dimension, backend):
    generator = np.random.default_rng(2)
    space = Sphere(dimension, radius=2.0)
    x = generator.uniform(0.5, 2.0, (1, 20, 1)) * generator.standard_normal((1, 20, dimension))
    law = Attention(beta=0.7, mask="causal")
    drift = law.drift(x, space=space, backend=backend)
    np.testing.assert_allclose(drift, law.drift(space.retract(x), space=space, backend=backend), rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.sum(drift * x, axis=-1), 0.0, atol=1e-13)


@backends
@masks
@pytest.mark.parametrize("normalisation", ["softmax", "none"])
@pytest.mark.parametrize("dimension", [3, 20])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_number_does_not_hide(bad, dimension, normalisation, mask, backend):
    """Token 5 and, under a NaN, whoever sees it move by NaN; the other replica does not notice."""
    generator = np.random.default_rng(4)
    space = Euclidean(dimension)
    x = tokens_of(generator, (2, 30, dimension), space)
    law = Attention(normalisation=normalisation, mask=mask)
    clean = law.drift(x, space=space, backend=backend)
    x[1, 5, 1] = bad
    with np.errstate(all="ignore"):
        drift = law.drift(x, space=space, backend=backend)
    np.testing.assert_array_equal(drift[0], clean[0])
    broken = ~np.isfinite(drift[1]).all(axis=-1)
    assert broken[5]
    if np.isnan(bad):
        assert broken[6:].all() and (mask == "causal" or broken[:5].all())


@fast
@pytest.mark.parametrize(("dtype", "beta"), [(np.float32, 1.0), (np.float64, 8.0)])
def test_unnormalised_attention_is_finite_wherever_its_value_is(dtype, beta, backend):
    """A token that does not see itself: exp(beta |x|^2) overflows, its attention exp(beta <x, y>) y does not."""
    x = np.array([[[10.0, 0.0, 0.0], [6.0, 7.9, 0.0]]], dtype)
    law = Attention(beta=beta, normalisation="none", mask="without-self")
    drift = law.drift(x, space=Euclidean(3), backend=backend)
    exact = 0.5 * np.exp(60.0 * beta) * x[0, ::-1].astype(np.float64)
    np.testing.assert_allclose(drift[0], exact, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_shift_counts_the_time_of_unnormalised_attention_in_other_units():
    x = np.random.default_rng(6).standard_normal((1, 20, 3))
    law = Attention(beta=2.0, normalisation="none")
    shifted = replace(law, shift=3.0)
    for backend in ("numba", "torch", "reference"):
        np.testing.assert_allclose(
            shifted.drift(x, space=Sphere(3), backend=backend),
            np.exp(-3.0) * law.drift(x, space=Sphere(3), backend=backend),
            rtol=1e-13,
        )


@fast
def test_positions_may_be_one_replica_or_a_view_or_whole_numbers(backend):
    x = np.random.default_rng(8).standard_normal((2, 40, 3))
    law, space = Attention(beta=2.0), Euclidean(3)

    def drift(positions):
        return law.drift(positions, space=space, backend=backend)

    np.testing.assert_array_equal(drift(x[1]), drift(x)[1])
    view = np.asfortranarray(x)[:, ::2]
    np.testing.assert_array_equal(drift(view), drift(view.copy("C")))
    whole = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(drift(whole), drift(whole.astype(float)))


@fast
@pytest.mark.parametrize("dimension", [3, 20])
def test_a_drift_holds_no_array_of_tokens_by_tokens(dimension, backend):
    tokens = 20_000 if dimension == 3 else 12_000  # 3.2 and 1.2 GB for the matrix of their pairs
    x = np.random.default_rng(9).standard_normal((1, tokens, dimension))
    Attention(mask="causal").drift(x[:, :100], space=Sphere(dimension), backend=backend)  # what is imported or compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Attention(mask="causal").drift(x, space=Sphere(dimension), backend=backend)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_an_unknown_backend_is_refused():
    with pytest.raises(InvalidInput, match="backend must be one of numba, torch, reference; got 'fortran'"):
        Attention().drift(np.eye(3), space=Sphere(3), backend="fortran")


@dtypes
@masks
def test_room_that_is_not_cleared_is_written_before_it_is_read(monkeypatch, mask, dtype):
    generator = np.random.default_rng(11)
    space, shape = Sphere(32), (2, 128, 32)  # whole panels of tokens, and of components for either type
    law = Attention(heads=2, value=generator.standard_normal((64, 32)), output=generator.standard_normal((32, 64)),
                    query=generator.standard_normal((64, 32)) / 8, key=generator.standard_normal((64, 32)) / 8,
                    mask=mask)  # fmt: skip
    x = tokens_of(generator, shape, space, dtype)
    cleared = [law.drift(x, space=space), *law.statistics(x, space=space)]

    def littered(shape, kind):
        return np.full_like(aligned_zeros(shape, kind), np.nan, subok=False)

    monkeypatch.setattr(tiles, "aligned_empty", littered)
    for one, other in zip(cleared, [law.drift(x, space=space), *law.statistics(x, space=space)], strict=True):
        np.testing.assert_array_equal(one, other)


def test_matrices_are_packed_once_and_are_the_law_s_own(monkeypatch):
    generator = np.random.default_rng(12)
    space, given = Euclidean(20), {name: generator.standard_normal((20, 20)) / 5 for name in ("query", "key", "value")}
    law = Attention(**given)
    x = tokens_of(generator, (1, 50, 20), space)
    before, exact = law.drift(x, space=space), law.drift(x, space=space, backend="reference")
    assert law.drift(x.astype(np.float32), space=space).dtype == np.float32  # packed by itself
    for matrix in given.values():
        matrix[:] = 0.0
    packed = []
    monkeypatch.setattr(tiles, "_rows", lambda *arguments: packed.append(arguments))
    monkeypatch.setattr(tiles, "_panels", lambda *arguments: packed.append(arguments))
    np.testing.assert_array_equal(law.drift(x, space=space), before)
    np.testing.assert_array_equal(law.drift(x, space=space, backend="reference"), exact)
    assert packed == []


def test_what_is_kept_of_laws_has_a_limit(monkeypatch):
    generator = np.random.default_rng(13)
    law, space = Attention(query=generator.standard_normal((20, 20)), key=np.eye(20)), Euclidean(20)
    x = tokens_of(generator, (1, 50, 20), space)
    monkeypatch.setattr(plan, "MOST_KEPT", 0)
    first = law.drift(x, space=space)
    assert plan._KEPT[law] == {}
    np.testing.assert_array_equal(law.drift(x, space=space), first)
