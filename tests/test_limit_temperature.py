"""Limit studies of temperature: bounds of the drift, closed forms of both limits, what the scenarios promise."""

from functools import cache

import numpy as np
import pytest
from attndyn import Attention, Ensemble, Euclidean, Sphere
from attndyn.errors import ScenarioError
from attndyn.particles.backends import Engine
from attndyn.particles.temperature import ends
from attndyn.scenarios.limits import temperature
from attndyn.scenarios.limits.study import limit, of_kind
from attndyn.scenarios.schema import load

BASE = "temperature-hardmax"


@cache
def studied(name):
    return limit(name)


def changed(name=BASE, **changes):
    return load(name).override({key.replace("__", "."): value for key, value in changes.items()})


def random_problem(seed):
    """A law with what the bounds are to hold for, and an ensemble."""
    rng = np.random.default_rng(seed)
    tokens, dimension, heads = int(rng.integers(2, 9)), 4, int(rng.choice([1, 2]))
    matrices = {name: rng.standard_normal((4, dimension)) for name in ("query", "key", "value")}
    biases = {name: rng.standard_normal(4) for name in ("query_bias", "value_bias")} if seed % 3 == 0 else {}
    output = rng.standard_normal((dimension, 4)) if seed % 2 else None
    form = {
        "mask": ["none", "causal", "without-self"][seed % 3],
        "score": ["dot", "scaled-dot", "cosine", "gaussian"][seed % 4],
    }
    space = [Euclidean(dimension), Sphere(dimension)][seed // 2 % 2]
    weights = rng.dirichlet(np.ones(tokens))
    x = space.retract(rng.standard_normal((2, tokens, dimension)))
    options = {"heads": heads, "output": output, **matrices, **biases, **form}
    return (lambda beta: Attention(beta=beta, **options)), Ensemble(x, space, weights)


@pytest.mark.parametrize("seed", range(24))
def test_the_drift_is_as_near_its_limits_as_the_bounds_say(seed):
    law, ensemble = random_problem(seed)
    here = ends(law(1.0), ensemble)

    def drift(beta):
        return law(beta).drift(ensemble.positions, space=ensemble.space, weights=ensemble.weights, backend="reference")

    for beta in (0.01, 0.3, 1.0, 4.0, 20.0):
        for end, bound in ((np.inf, here.from_hardmax(beta)), (0.0, here.from_averaging(beta))):
            apart = np.linalg.norm(drift(beta) - drift(end), axis=-1)
            assert (apart <= bound * (1.0 + 1e-12) + 1e-13).all()


def test_of_two_tokens_the_bound_of_hardmax_is_reached_in_the_limit():
    x, a, beta = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0.3, 0.7]), 30.0
    here = ends(Attention(), Ensemble(x, Euclidean(2), a))
    odds = 0.7 / 0.3 * np.exp(-beta * 0.5)
    assert here.gap[0, 0, 0] == 0.5
    apart = np.sqrt(0.5) * odds / (1.0 + odds)
    assert here.from_hardmax(beta)[0, 0] == pytest.approx(apart, rel=2.0 * odds)


def test_a_tie_shares_with_weights():
    """Oracle 9.1: X = ((1, 1), (1, -1), (.5, 0)), a = (.2, .3, .5): the third row has two best tokens."""
    x = np.array([[1.0, 1.0], [1.0, -1.0], [0.5, 0.0]])
    here = ends(Attention(), Ensemble(x, Euclidean(2), np.array([0.2, 0.3, 0.5])))
    # h = (1, -0.2), the third token at gap 0.25, with as much weight as the two; the farthest is the first
    assert here.gap[0, 0, 2] == pytest.approx(0.25)
    assert here.reach[0, 0, 2] == pytest.approx(1.2)
    assert here.chosen[0, 0].tolist() == [0, 1, 0]


def test_the_linear_term_is_the_derivative_at_beta_zero():
    rng = np.random.default_rng(5)
    x, value = rng.standard_normal((6, 3)), rng.standard_normal((3, 3))
    ensemble = Ensemble(x, Euclidean(3), rng.dirichlet(np.ones(6)))

    def drift(beta):
        return Attention(beta=beta, value=value).drift(x, space=ensemble.space, weights=ensemble.weights)

    derivative = np.linalg.norm((drift(1e-4) - drift(-1e-4)) / 2e-4, axis=-1)
    np.testing.assert_allclose(ends(Attention(value=value), ensemble).linear[0, 0], derivative, rtol=1e-6)


def test_the_end_under_hardmax_is_that_of_the_leaders():
    """x' = y with y(t) = y e^t: x(T) = x + (e^T - 1) y (oracle 9.4)."""
    x = np.array([[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5], [0.4, 0.1], [-0.2, 0.5]])
    result = temperature.run(changed(), "limit", Engine())
    np.testing.assert_allclose(result["final"][0], x + (np.e - 1.0) * x[[0, 1, 2, 0, 1]], rtol=1e-11)
    assert result["changes"] == 0
    np.testing.assert_allclose(result["least"][0], 0.63, rtol=1e-12)


def test_the_end_under_averaging_has_moved_by_the_mean():
    scenario = changed(limit__towards="averaging")
    result = temperature.run(scenario, "limit", Engine())
    start = result["start"][0]
    np.testing.assert_allclose(result["final"][0], start + (np.e - 1.0) * start.mean(axis=0), rtol=1e-11)


def test_towards_hardmax_errors_fall_with_the_smallest_gap():
    study = studied("temperature-hardmax")
    error, drift, rid = study.series
    assert (error.law, drift.law) == ("exponential", "exponential")
    assert error.expected == pytest.approx(-0.63, abs=1e-12)
    assert drift.expected == pytest.approx(-0.63, abs=1e-12)
    assert drift.rate().value == pytest.approx(-0.63, abs=0.005)
    assert (drift.error <= drift.bound).all()
    assert drift.bound[-1] / drift.error[-1] == pytest.approx(8.35, abs=0.05)
    # the gap is smallest at the start, from where it widens: exp(-0.63 beta) / beta
    slopes = np.diff(np.log(error.error * error.parameter)) / np.diff(error.parameter)
    assert slopes[-1] == pytest.approx(-0.63, abs=0.01)
    assert rid.name == "beta error"
    assert rid.rate().value == pytest.approx(-0.63, abs=0.03)


def test_towards_hardmax_a_change_of_leaders_leaves_an_error_like_one_over_beta():
    study = studied("temperature-switch")
    error, drift = study.series
    assert (error.law, error.expected) == ("power", -1.0)
    assert error.rate().value == pytest.approx(-1.0, abs=0.01)
    assert np.polyfit(np.log(error.parameter[3:]), np.log(error.error[3:]), 1)[0] == pytest.approx(-1.0, abs=0.03)
    assert drift.rate().value == pytest.approx(-0.06, abs=0.001)
    told = np.isfinite(drift.bound)  # where it is more than rounding
    assert drift.parameter[told].max() == 512.0
    assert (drift.error <= drift.bound)[told].all()
    assert any("best token on the way: 1." in remark for remark in study.remarks)


def test_towards_averaging_errors_are_linear_in_beta():
    error, drift = studied("temperature-averaging").series
    for series in (error, drift):
        assert (series.law, series.expected) == ("power", 1.0)
        assert series.rate().value == pytest.approx(1.0, abs=0.02)
    assert (drift.error <= drift.bound).all()


def test_where_scores_and_values_are_uncorrelated_averaging_is_nearer():
    """x_1 in {-1, 0, 1} gives the scores, x_2 = x_1^2 - 2/3 the values: uncorrelated, but x_1^2 is not."""
    points = [[-1.0, 1.0 / 3.0], [0.0, -2.0 / 3.0], [1.0, 1.0 / 3.0]]
    law = {"attention.query": [[1.0, 0.0], [0.0, 0.0]], "attention.value": [[0.0, 0.0], [0.0, 1.0]]}
    study_of = {"limit.towards": "averaging", "limit.betas": [0.2, 0.1, 0.05, 0.025]}
    tokens = {"tokens.count": 3, "tokens.initial": {"law": "mixture", "centres": points, "spread": 0.0}}
    study = limit(changed().override(law | study_of | tokens))
    for series in study.series:
        assert series.expected is None
        assert series.rate().value == pytest.approx(2.0, abs=0.01)
    assert any("first order in beta vanishes" in remark for remark in study.remarks)


def test_in_a_network_the_rate_is_the_smallest_gap_of_all_layers():
    scenario = changed("temperature-switch", depth__layers=3, depth__step=0.5).override(
        {"limit.betas": [100.0, 150.0, 200.0, 250.0]}
    )
    error = limit(scenario).series[0]
    result = temperature.run(scenario, "limit", Engine())
    assert result["least"].shape == (4,)
    assert result["least"][-1] == np.inf
    assert error.law == "exponential"
    assert error.expected == -result["least"].min()
    assert error.rate().value == pytest.approx(error.expected, rel=0.02)


def test_on_the_sphere_without_matrices_nothing_moves_in_the_limit():
    """Oracle 9.2: every token is its own best."""
    scenario = changed("temperature-averaging").override(
        {"limit.towards": "hardmax", "limit.betas": [16.0, 32.0, 64.0]}
    )
    result = temperature.run(scenario, "limit", Engine())
    np.testing.assert_allclose(result["final"], result["start"], atol=1e-14)
    assert "In the limit no token moves." in limit(scenario).remarks


def test_where_ties_last_no_exponential_is_promised():
    """Repelled by its best token, a token is driven to where two are equal, and stays there."""
    study = limit(
        changed("temperature-switch", attention__value=-1.0, depth__time=1.0).override(
            {"limit.betas": [8.0, 16.0, 32.0]}
        )
    )
    assert (study.series[0].law, study.series[0].expected) == ("power", None)
    assert any("less than 1 / beta of all beta" in remark for remark in study.remarks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention.normalisation": "sparsemax"}, 'attention.normalisation: must be "softmax"'),
        ({"attention.score": "student"}, "attention.score: must be beta times something"),
        ({"attention.prior": "alibi"}, "attention.prior: has no place here"),
        ({"limit.betas": [1.0, 2.0, 1.0]}, "limit.betas: must be different"),
        ({"limit.betas": [1.0, 0.0]}, "limit.betas"),
        ({"limit.towards": "zero"}, "limit.towards"),
    ],
)
def test_a_scenario_that_the_study_is_not_for_is_refused(changes, message):
    with pytest.raises(ScenarioError, match=message):
        of_kind(changed(), None, changes)
