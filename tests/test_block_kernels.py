"""The feed-forward map and the normalisers in compiled code against their formulas, on any threads."""

import mpmath
import numpy as np
import pytest
from attndyn.particles import FeedForward, LayerNorm, RMSNorm
from attndyn.particles.backends.compiled.activations import NUMBERS, activate
from attndyn.particles.backends.compiled.feed_forward import CompiledFeedForward
from attndyn.particles.backends.compiled.normalisers import CompiledNormaliser
from attndyn.particles.feed_forward import ACTIVATIONS

types = pytest.mark.parametrize("dtype", ["float64", "float32"])
EXACT = {
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "gelu-tanh": lambda x: x / (1 + mpmath.exp(-2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
}


def activated(name, numbers, dtype):
    """act of some numbers, which are filled up to whole vectors."""
    x = np.zeros(-(-len(numbers) // 64) * 64, dtype)
    x[: len(numbers)] = numbers
    activate(NUMBERS[name], x, 0, len(x))
    return x[: len(numbers)]


def test_every_activation_is_compiled():
    assert NUMBERS.keys() == ACTIVATIONS.keys() == EXACT.keys()


@types
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_exact_to_a_few_roundings(name, dtype):
    x = np.concatenate([np.linspace(-9.0, 9.0, 301), [-40.0, 40.0, 1e-3, -1e-3, 1e-20, 0.0]]).astype(dtype)
    expected = np.array([float(EXACT[name](mpmath.mpf(float(number)))) for number in x])
    found, rounding = activated(name, x, dtype).astype(np.float64), np.finfo(dtype).eps
    assert (np.abs(found - expected) <= 2.0 * rounding * np.maximum(np.abs(x), 1e-3)).all()
    tail = np.abs(expected) > 1e-15  # where it is small, it is small to as many digits as its exponent leaves
    assert (np.abs(found - expected)[tail] <= 60.0 * rounding * np.abs(expected)[tail]).all()


@types
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_out(name, dtype):
    found = activated(name, [np.nan, np.inf, -np.inf, 1e30, -1e30, -1e4], dtype)
    assert np.isnan(found[0])
    assert found[1] == np.inf
    assert found[3] == np.array(1e30, dtype)
    assert (np.abs(found[[2, 4, 5]]) < 1e-30).all()


def map_of(dimension, hidden, activation="gelu", gate=False):
    """A feed-forward map."""
    generator = np.random.default_rng(dimension)
    inner, outer = generator.standard_normal((hidden, dimension)), generator.standard_normal((dimension, hidden))
    biases = generator.standard_normal(hidden), generator.standard_normal(dimension)
    more = {"gate": generator.standard_normal((hidden, dimension)), "gate_bias": biases[0][::-1]} if gate else {}
    return FeedForward(inner / dimension**0.5, outer / hidden**0.5, *biases, activation=activation, **more)


@types
@pytest.mark.parametrize("gate", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize(("dimension", "hidden", "tokens"), [(3, 5, 7), (16, 40, 64), (33, 129, 70)])
def test_the_compiled_map_is_the_formula(dimension, hidden, tokens, gate, dtype):
    x = np.random.default_rng(1).standard_normal((2, tokens, dimension)).astype(dtype)
    for activation in ACTIVATIONS:
        feed = map_of(dimension, hidden, activation, gate)
        found = CompiledFeedForward(feed, dtype)(x)
        assert found.dtype == dtype
        expected = feed(x.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=0, atol=10.0 * np.finfo(dtype).eps * np.abs(expected).max())


@types
def test_a_replica_has_the_bits_that_it_has_alone_on_any_threads(dtype):
    feed, x = map_of(24, 100, gate=True), np.random.default_rng(1).standard_normal((3, 111, 24)).astype(dtype)
    together = CompiledFeedForward(feed, dtype, threads=1)(x)
    many = CompiledFeedForward(feed, dtype, threads=3)
    many._cost = 1e9  # so that it shares out such little work
    np.testing.assert_array_equal(many(x), together)
    np.testing.assert_array_equal(CompiledFeedForward(feed, dtype)(x[1:2])[0], together[1])


@types
@pytest.mark.parametrize("dimension", [1, 3, 16, 45])
def test_the_compiled_normalisers_are_the_formulas(dimension, dtype):
    generator = np.random.default_rng(3)
    x = (5.0 + generator.standard_normal((2, 9, dimension))).astype(dtype)
    gain, bias = generator.standard_normal((2, dimension))
    for normaliser in (LayerNorm(gain, bias, 1e-3), LayerNorm(2.0), RMSNorm(gain, 1e-3), RMSNorm()):
        found, expected = CompiledNormaliser(normaliser, dimension, dtype)(x), normaliser(x.astype(np.float64))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=50.0 * np.finfo(dtype).eps)
