"""The Brownian path: its words are numpy's, its law is Brownian motion's, and it is one path whatever the step."""

import numpy as np
import pytest
from attndyn import InvalidInput
from attndyn.integrators.brownian import BrownianPath, Noise, halvings
from attndyn.integrators.philox import gaussians, words
from scipy import stats

SHAPE = (3, 5, 2)


def increments(path, count, first=0):
    """(count, replicas, tokens, dimension)"""
    return np.stack([path.increment(first + k) for k in range(count)])


@pytest.mark.parametrize(
    ("key", "replica", "node", "interval"),
    [(0, 0, 0, 0), (2**64 - 1, 7, 5, 2**40), (123456789, 10**6, 2**63, 2**64 - 1)],
)
def test_the_words_are_those_of_numpy(key, replica, node, interval):
    numpys = np.random.Philox(
        key=np.array([key, replica], np.uint64), counter=np.array([0, node, interval, 0], np.uint64)
    )
    given = [np.uint64(number) for number in (node, interval, key, replica)]
    ours = [word for block in range(5) for word in words(np.uint64(block), *given)]
    assert ours == numpys.random_raw(20).tolist()


def test_the_numbers_are_those_of_box_and_muller_from_these_words():
    out = np.empty((3, 11))
    gaussians(np.uint64(9), np.uint64(4), np.uint64(6), 0.5, out)
    for replica, numbers in enumerate(out):
        stream = np.random.Philox(key=np.array([9, replica], np.uint64), counter=np.array([0, 4, 6, 0], np.uint64))
        radii, angles = ((stream.random_raw(12) >> np.uint64(11)).reshape(-1, 2) * 2.0**-53).T
        waves = np.exp(2j * np.pi * angles) * np.sqrt(-2.0 * np.log(radii + 2.0**-53))
        expected = 0.5 * np.stack([waves.real, waves.imag], axis=1).ravel()
        np.testing.assert_allclose(numbers, expected[:11], atol=1e-14)


def test_the_numbers_are_gaussian_and_do_not_depend_on_how_many_are_drawn():
    large, small = np.empty((4, 50_000)), np.empty((2, 1001))
    for out in (large, small):
        gaussians(np.uint64(11), np.uint64(3), np.uint64(5), 2.0, out)
    np.testing.assert_array_equal(large[:2, :1001], small)
    for numbers in large:
        assert stats.kstest(numbers / 2.0, "norm").pvalue > 1e-4
        assert abs(stats.kurtosis(numbers)) < 5 * np.sqrt(24 / numbers.size)
    correlations = np.corrcoef(np.concatenate([large[:, 0::2], large[:, 1::2]]))[np.triu_indices(8, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(25_000)


@pytest.mark.parametrize("level", [1, 3, 6])
def test_the_halves_of_an_interval_add_up_to_it(level):
    whole, fine = BrownianPath(4, SHAPE, 0.5, 0.5), BrownianPath(4, SHAPE, 0.5, 0.5 / 2**level)
    for number in range(3):
        parts = increments(fine, 2**level, number * 2**level)
        np.testing.assert_allclose(parts.sum(axis=0), whole.increment(number), atol=1e-15)
    assert np.abs(np.diff(parts, axis=0)).min() > 0.0


def test_increments_of_refined_steps_are_independent_with_the_variance_of_their_length():
    h, paths = 1.0 / 8, 200_000
    path = BrownianPath(1, (2, paths // 10, 5), 8 * h, h)
    samples = increments(path, 16).reshape(16, -1)  # over two intervals of the path's own
    covariance = np.cov(samples)
    sigma = h / np.sqrt(paths)
    np.testing.assert_allclose(np.diag(covariance), h, atol=5 * np.sqrt(2.0) * sigma)
    assert np.abs(covariance[np.triu_indices(16, 1)]).max() < 5 * sigma
    assert np.abs(samples.mean(axis=1)).max() < 5 * np.sqrt(h / paths)


def test_the_path_can_be_asked_for_in_any_order():
    in_order = increments(BrownianPath(2, SHAPE, 1.0, 0.125), 24)
    jumping = BrownianPath(2, SHAPE, 1.0, 0.125)
    for number in np.random.default_rng(0).permutation(24):
        np.testing.assert_array_equal(jumping.increment(number), in_order[number])


def test_a_token_has_its_path_whatever_the_number_of_replicas_and_tokens():
    few, many = BrownianPath(3, (2, 4, 3), 1.0, 0.25), BrownianPath(3, (7, 9, 3), 1.0, 0.25)
    np.testing.assert_array_equal(increments(few, 9), increments(many, 9)[:, :2, :4])


def test_seeds_replicas_tokens_and_steps_have_paths_of_their_own():
    paths = [BrownianPath(seed, (2, 2, 1), 1.0, 1.0) for seed in (0, 1, 2**70)]
    numbers = np.stack([increments(path, 50) for path in paths])
    assert len(np.unique(numbers)) == numbers.size


def test_the_noise_is_not_what_the_tokens_were_drawn_from():
    noise = BrownianPath(5, (1, 20_000, 1), 1.0, 1.0).increment(0).ravel()
    tokens = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0, 0))).standard_normal(20_000)
    assert abs(np.corrcoef(noise, tokens)[0, 1]) < 5 / np.sqrt(20_000)


def test_a_step_costs_one_draw_on_average(monkeypatch):
    drawn = []
    draw = BrownianPath._draw
    monkeypatch.setattr(BrownianPath, "_draw", lambda path, *place: drawn.append(place) or draw(path, *place))
    increments(BrownianPath(0, SHAPE, 1.0, 1.0 / 64), 128)
    assert len(drawn) == len(set(drawn)) == 128


def test_steps_are_the_interval_of_the_path_halved():
    assert [halvings(0.1, 0.1 / 2**k) for k in (0, 1, 5, 40)] == [0, 1, 5, 40]
    for noise_step, step in [(0.1, 0.2), (0.3, 0.1), (0.1, 0.1 / 2**41), (0.1, 0.0501)]:
        with pytest.raises(InvalidInput, match=r"noise_step must be the step .* times 1, 2, 4, .*; got"):
            halvings(noise_step, step)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "noise must be a temperature, a number of at least 0; got -0.1"),
        ({"temperature": np.inf}, "noise must be a temperature"),
        ({"temperature": np.nan}, "noise must be a temperature"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"step": 0.0}, "noise_step must be a positive number; got 0"),
    ],
)
def test_a_wrong_noise_is_refused(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        Noise(**wrong)
