"""Rates of limit studies: lines through logarithms, their intervals, the asymptotic range."""

import numpy as np
import pytest
from attndyn.data.rates import Series, line, root_mean_squares, upper_half
from attndyn.errors import InvalidInput

# of Student's t at 97.5 %, from tables: degrees of freedom -> quantile
STUDENT = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 8: 2.306004135}


def test_the_line_through_points_of_a_line_is_that_line():
    x = np.array([0.0, 1.0, 2.5, 4.0])
    found = line(x, 3.0 - 2.0 * x)
    assert found.value == pytest.approx(-2.0, abs=1e-14)
    assert found.intercept == pytest.approx(3.0, abs=1e-14)
    assert found.points == 4
    np.testing.assert_allclose(found.interval, -2.0, atol=1e-7)


@pytest.mark.parametrize("points", [3, 4, 5, 10])
def test_the_interval_is_that_of_student_with_two_degrees_less_than_points(points):
    x = np.arange(points, dtype=np.float64)
    noise = np.random.default_rng(points).standard_normal(points)
    found = line(x, 1.0 + 0.5 * x + noise)
    y, centred = 1.0 + 0.5 * x + noise, x - x.mean()
    slope = centred @ y / (centred @ centred)
    residual = y - y.mean() - slope * centred
    half = STUDENT[points - 2] * np.sqrt(residual @ residual / (points - 2) / (centred @ centred))
    assert found.value == pytest.approx(slope, rel=1e-12)
    np.testing.assert_allclose(found.interval, (slope - half, slope + half), rtol=1e-8)


def test_the_interval_holds_the_slope_as_often_as_it_says():
    x, generator = np.linspace(0.0, 1.0, 6), np.random.default_rng(0)
    found = [line(x, 2.0 * x + generator.standard_normal(6)).interval for _ in range(2000)]
    held = np.mean([low <= 2.0 <= high for low, high in found])
    assert held == pytest.approx(0.95, abs=0.02)


def test_two_points_have_a_slope_and_no_interval():
    found = line(np.array([1.0, 3.0]), np.array([2.0, 8.0]))
    assert (found.value, found.intercept, found.points) == (3.0, -1.0, 2)
    assert np.isnan(found.interval).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], [5, 6, 7, 8]),
        ([8, 1, 6, 3, 5], [8, 6, 5]),
        ([1, 2, 3, 4], [2, 3, 4]),
        ([1, 2], [1, 2]),
        ([0.5], [0.5]),
    ],
)
def test_the_upper_half_has_at_least_three_values(values, expected):
    values = np.array(values)
    assert values[upper_half(values)].tolist() == expected


def test_a_power_and_an_exponential_have_their_rates():
    n = np.array([1.0, 2.0, 4.0, 8.0])
    assert Series("e", "n", n, 5.0 * n**-1.5, "power").rate().value == pytest.approx(-1.5, abs=1e-12)
    assert Series("e", "n", n, 5.0 * np.exp(-0.3 * n), "exponential").rate().value == pytest.approx(-0.3, abs=1e-12)


def test_the_rate_is_taken_from_what_is_fitted_positive_and_finite():
    n = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    error = np.array([9.0, 7.0, 2.0**-2, 4.0**-2, 8.0**-2, 0.0, np.nan])
    rate = Series("e", "n", n, error, "power", n >= 2.0).rate()
    assert rate.points == 3
    assert rate.value == pytest.approx(-2.0, abs=1e-12)
    assert np.isnan(Series("e", "n", n, error, "power", n == 2.0).rate().value)
    assert np.isnan(Series("e", "n", n, error).rate().value)


def test_a_series_says_what_is_wrong():
    with pytest.raises(InvalidInput, match="law must be one of power, exponential; got 'linear'"):
        Series("e", "n", [1.0, 2.0], [1.0, 2.0], "linear")
    with pytest.raises(InvalidInput, match=r"bound must have the shape \(2,\); got \(3,\)"):
        Series("e", "n", [1.0, 2.0], [1.0, 2.0], bound=[1.0, 2.0, 3.0])


def test_a_fit_of_random_errors_finds_the_slope_and_how_sure_it_is():
    """Of 200 intervals of 95 %, each from ten sizes with ever fewer replicas, nearly all hold the true slope."""
    generator, sizes = np.random.default_rng(0), 2 ** np.arange(4, 14)
    held = 0
    for _ in range(200):
        errors = [
            np.linalg.norm(generator.standard_normal((max(1, 256 // (k + 1) ** 2), 3)), axis=1) * n**-0.5
            for k, n in enumerate(sizes)
        ]
        roots, spread = root_mean_squares(errors)
        fit = line(np.log(sizes), np.log(roots), spread / roots)
        held += fit.interval[0] <= -0.5 <= fit.interval[1]
        assert abs(fit.value + 0.5) < 0.1
    assert held > 180
