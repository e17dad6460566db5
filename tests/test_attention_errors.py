"""A law, an ensemble or a drift that cannot be is refused in a sentence: what was given and what is allowed."""

import re

import numpy as np
import pytest
from attndyn.errors import AttndynError, InvalidInput
from attndyn.particles import Attention, Ensemble, Euclidean, Sphere

NAN_MATRIX = np.array([[1.0, np.nan], [0.0, 1.0]])


@pytest.mark.parametrize("options, message", [
    ({"beta": np.nan}, "beta must be a finite number; got nan"),
    ({"beta": -np.inf}, "beta must be a finite number; got -inf"),
    ({"beta": "4"}, "beta must be a finite number; got '4'"),
    ({"beta": None}, "beta must be a finite number; got None"),
    ({"beta": True}, "beta must be a finite number; got True"),
    ({"beta": 1j}, "beta must be a finite number; got 1j"),
    ({"shift": -np.inf, "normalisation": "none"}, "shift must be a finite number; got -inf"),
    ({"shift": 1.0}, "shift rescales the time of unnormalised attention; got it with softmax"),
    ({"heads": 0}, "heads must be an integer of at least 1; got 0"),
    ({"heads": -2}, "heads must be an integer of at least 1; got -2"),
    ({"heads": 2.0}, "heads must be an integer of at least 1; got 2.0"),
    ({"heads": None}, "heads must be an integer of at least 1; got None"),
    ({"normalisation": "sum"}, "normalisation must be one of softmax, none, linear, .*; got 'sum'"),
    ({"normalisation": None}, "normalisation must be one of softmax, none, linear, .*; got None"),
    ({"mask": "triangular"}, "mask must be one of none, causal, without-self, window, .*; got 'triangular'"),
    ({"query": [1.0, 2.0]}, r"query must have 2 axes, none of them empty; got the shape \(2,\)"),
    ({"key": np.ones((1, 2, 2))}, r"key must have 2 axes, none of them empty; got the shape \(1, 2, 2\)"),
    ({"value": np.ones((0, 3))}, r"value must have 2 axes, none of them empty; got the shape \(0, 3\)"),
    ({"query": "identity"}, "query must be a finite number; got 'identity'"),
    ({"key": np.nan}, "key must be a finite number; got nan"),
    ({"value": 1j}, "value must be a finite number; got 1j"),
    ({"output": 2.0}, r"output must have 2 axes, none of them empty; got the shape \(\)"),
    ({"output": [1.0]}, r"output must have 2 axes, none of them empty; got the shape \(1,\)"),
    ({"query": NAN_MATRIX}, "query must be finite; it holds NaN or infinite values"),
    ({"key": NAN_MATRIX}, "key must be finite; it holds NaN or infinite values"),
    ({"value": np.inf * np.ones((2, 2))}, "value must be finite; it holds NaN or infinite values"),
    ({"output": NAN_MATRIX}, "output must be finite; it holds NaN or infinite values"),
    ({"query_bias": np.eye(2)}, r"query_bias must have 1 axes, none of them empty; got the shape \(2, 2\)"),
    ({"key_bias": 1.0}, r"key_bias must have 1 axes, none of them empty; got the shape \(\)"),
    ({"value_bias": []}, r"value_bias must have 1 axes, none of them empty; got the shape \(0,\)"),
    ({"output_bias": [np.nan, 0.0]}, "output_bias must be finite; it holds NaN or infinite values"),
])  # fmt: skip
def test_a_law_with_a_mistake_is_refused_when_it_is_made(options, message):
    with pytest.raises(InvalidInput, match=message):
        Attention(**options)


@pytest.mark.parametrize("options, message", [
    ({"query": np.ones((2, 3))}, r"query must have the shape \(a multiple of heads = 1, dimension = 4\); got \(2, 3\)"),
    ({"key": np.ones((4, 5))}, r"key must have the shape \(a multiple of heads = 1, dimension = 4\); got \(4, 5\)"),
    ({"value": np.ones((4, 3))}, r"value must have the shape \(a multiple of heads = 1, dimension = 4\); got \(4, 3\)"),
    ({"heads": 3}, r"value must have the shape \(a multiple of heads = 3, dimension = 4\); got \(4, 4\)"),
    (
        {"heads": 2, "query": np.ones((3, 4)), "key": np.ones((3, 4))},
        r"query must have the shape \(a multiple of heads = 2, dimension = 4\); got \(3, 4\)",
    ),
    (
        {"heads": 2, "query": np.ones((6, 4)), "key": np.ones((8, 4))},
        "query and key must have the same number of rows; got 6 and 8",
    ),
    ({"query": np.ones((2, 4))}, "query and key must have the same number of rows; got 2 and 4"),
    ({"value": np.ones((6, 4))}, "value must have 4 rows when there is no output matrix; it has 6"),
    ({"output": np.ones((4, 5))}, r"output must have the shape \(4, 4\); got \(4, 5\)"),
    (
        {"heads": 2, "value": np.ones((6, 4)), "output": np.ones((6, 4))},
        r"output must have the shape \(4, 6\); got \(6, 4\)",
    ),
    ({"query_bias": np.ones(3)}, "query_bias must have 4 numbers; got 3"),
    ({"query": np.ones((2, 4)), "key": np.ones((2, 4)), "key_bias": np.ones(4)}, "key_bias must have 2 numbers; got 4"),
    ({"heads": 2, "value_bias": np.ones(2)}, "value_bias must have 4 numbers; got 2"),
    ({"output_bias": np.ones(5)}, "output_bias must have 4 numbers; got 5"),
])  # fmt: skip
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_matrices_that_do_not_fit_the_tokens_are_refused_when_the_law_is_used(options, message, backend):
    law = Attention(**options)
    with pytest.raises(InvalidInput, match=message):
        law.drift(np.ones((2, 4)), space=Euclidean(4), backend=backend)
    with pytest.raises(InvalidInput, match=message):
        law.statistics(np.ones((2, 4)), space=Euclidean(4), backend=backend)


@pytest.mark.parametrize("options", [
    {"heads": 4},
    {"heads": 2, "query": np.ones((6, 4)), "key": np.ones((6, 4)), "value": np.eye(10, 4), "output": np.eye(4, 10)},
    {"query": 2, "key": np.float32(0.5), "value": np.eye(4).tolist(), "beta": np.float64(2.0), "heads": np.int64(1)},
    {"query": np.ones((6, 4)), "key": np.ones((6, 4)), "query_bias": [1.0] * 6},
    {"value_bias": [1.0, 2.0, 3.0, 4.0], "output_bias": range(4)},
])  # fmt: skip
def test_what_is_allowed_is_taken(options):
    x = np.random.default_rng(0).standard_normal((5, 4))
    law = Attention(**options)
    drift = law.drift(x, space=Euclidean(4), backend="reference")
    np.testing.assert_allclose(law.drift(x, space=Euclidean(4)), drift, rtol=1e-12, atol=1e-12)
    assert np.isfinite(drift).all()


@pytest.mark.parametrize(
    "positions", [np.ones((5, 2)), np.ones(3), np.ones((1, 1, 5, 3)), 1.0], ids=lambda x: str(np.shape(x))
)
def test_positions_must_fit_the_space(positions):
    with pytest.raises(InvalidInput, match=r"positions must have the shape \(replicas, tokens, 3\)"):
        Attention().drift(positions, space=Sphere(3))
    with pytest.raises(InvalidInput, match=r"positions must have the shape \(replicas, tokens, 3\)"):
        Attention().statistics(positions, space=Sphere(3))
    with pytest.raises(InvalidInput, match=r"positions must have the shape \(replicas, tokens, 3\) with at least"):
        Ensemble(positions, Sphere(3))


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3)])
def test_an_ensemble_has_a_token(shape):
    with pytest.raises(InvalidInput, match=rf"one replica and one token; got \({shape[0]}, {shape[1]}, 3\)"):
        Ensemble(np.ones(shape), Sphere(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_ensemble_is_finite(bad):
    positions = np.ones((2, 4, 3))
    positions[1, 2, 0] = bad
    with pytest.raises(InvalidInput, match="positions must be finite; some are NaN or infinite"):
        Ensemble(positions, Euclidean(3))


@pytest.mark.parametrize("weights, message", [
    ([0.5, 0.5], r"weights must have the shape \(4,\) or \(2, 4\); got \(2,\)"),
    (np.full((3, 4), 0.25), r"weights must have the shape \(4,\) or \(2, 4\); got \(3, 4\)"),
    (np.full((4, 2), 0.25), r"weights must have the shape \(4,\) or \(2, 4\); got \(4, 2\)"),
    ([0.5, 0.5, 0.5, -0.5], "weights must be finite and nonnegative"),
    ([0.5, 0.5, np.nan, 0.0], "weights must be finite and nonnegative"),
    ([0.5, 0.5, np.inf, 0.0], "weights must be finite and nonnegative"),
    ([0.25, 0.25, 0.25, 0.2], "weights must sum to 1; they sum to 0.95"),
    ([[0.25] * 4, [0.5] * 4], "weights must sum to 1; they sum to 2"),
    ([0.0] * 4, "weights must sum to 1; they sum to 0"),
])  # fmt: skip
def test_weights_are_probabilities(weights, message):
    positions = np.ones((2, 4, 3))
    with pytest.raises(InvalidInput, match=message):
        Ensemble(positions, Euclidean(3), np.asarray(weights))
    for method in (Attention().drift, Attention().statistics):
        with pytest.raises(InvalidInput, match=message):
            method(positions, space=Euclidean(3), weights=weights)


def test_weights_default_to_equal_ones():
    ensemble = Ensemble(np.ones((2, 4, 3)), Euclidean(3))
    np.testing.assert_array_equal(ensemble.weights, np.full(4, 0.25))
    assert (ensemble.replicas, ensemble.tokens, ensemble.dimension) == (2, 4, 3)
    moved = ensemble.at(np.zeros((2, 4, 3)))
    assert moved.weights is ensemble.weights and moved.space == ensemble.space and not moved.positions.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "jax"}, "backend must be one of numba, torch, reference; got 'jax'"),
        ({"threads": 0}, "threads must be an integer of at least 1; got 0"),
        ({"device": "tpu"}, "device must be cpu, cuda or cuda:NUMBER; got 'tpu'"),
        ({"device": "cpu:1"}, "device must be cpu, cuda or cuda:NUMBER; got 'cpu:1'"),
        ({"device": "cuda"}, "device 'cuda' needs backend = \"torch\"; got 'numba'"),
        ({"sums": "fmm"}, "sums must be one of exact, differences, fourier, harmonics, auto; got 'fmm'"),
        ({"sums": "auto", "backend": "reference"}, 'sums = "auto" exist with backend = "numba"; got \'reference\''),
        ({"sum_tolerance": 0.0}, "sum_tolerance must be a number from 1e-15 to 1e-2; got 0.0"),
    ],
)
def test_an_engine_that_does_not_exist_is_refused(options, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        Attention().drift(np.zeros((1, 2, 3)), space=Sphere(3), **options)


def test_a_mistake_is_a_value_error_and_one_of_the_packages_own():
    assert issubclass(InvalidInput, AttndynError) and issubclass(InvalidInput, ValueError)
