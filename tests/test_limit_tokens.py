"""Many tokens: the rate n^(-1/2) against the closure, the density and the largest number, and what is refused."""

import attndyn
import numpy as np
import pytest
from attndyn import Ensemble, Euclidean, integrate
from attndyn.errors import ScenarioError
from attndyn.particles import GaussianMeasure
from attndyn.particles.empirical import moment_errors
from attndyn.scenarios.schema import Scenario

FEW = {"limit.counts": [16, 32, 64, 128, 256, 512], "limit.work": 2**15}


@pytest.mark.parametrize("name", ["many-gaussian-tokens", "many-circle-tokens"])
def test_moments_and_w1_fall_like_the_root_of_the_number(name):
    study = attndyn.limit(attndyn.load(name).override(FEW))
    assert len(study.series) == (4 if name == "many-gaussian-tokens" else 3)
    for series in study.series[:3]:
        rate = series.rate()
        assert series.expected == -0.5
        assert rate.value == pytest.approx(-0.5, abs=0.05)
        assert rate.interval[0] <= rate.value <= rate.interval[1]


def test_the_errors_are_those_of_the_tokens_against_the_closure():
    """At a short depth one size is computed anew: the same seed, the exact limit of beta = 0, which only shifts."""
    start = attndyn.load("many-gaussian-tokens").override(
        {"attention.beta": 0.0, "attention.value": 1.0, "limit.counts": [16, 64], "limit.work": 64}
    )
    study = attndyn.limit(start)
    seed = int(np.random.SeedSequence((0, 64)).generate_state(1)[0])
    initial = {"mean": [1.0, -0.5], "covariance": [[0.5, 0.1], [0.1, 0.3]]}
    tokens = Ensemble.gaussian(Euclidean(2), 64, seed=seed, **initial)
    law = attndyn.Attention(beta=0.0)
    end = integrate(law, tokens, t_end=0.5, method="rk4", step=0.5).final
    limit = GaussianMeasure(np.exp(0.5) * np.array([1.0, -0.5]), np.array(initial["covariance"]))
    expected = moment_errors(Ensemble(end, tokens.space), limit)
    # one step of RK4 for e^(1/2), off by 3e-4
    np.testing.assert_allclose(study.run("n = 64")["mean"], expected["mean"], rtol=1e-9)
    np.testing.assert_allclose(study.run("n = 64")["covariance"], expected["covariance"], rtol=1e-9)


def test_without_a_known_limit_the_largest_number_stands_for_it():
    text = """
[tokens]
dimension = 3
initial = { law = "gaussian", mean = [1.0, 0.0, 0.0], deviation = 0.5 }
[depth]
layers = 4
step = 0.25
[limit]
kind = "tokens"
counts = [16, 32, 64, 128, 4096]
work = 16384
"""
    study = attndyn.limit(Scenario.parse(text))
    assert "It has 4096 tokens." in study.remarks
    for series in study.series:
        assert series.rate().value == pytest.approx(-0.5, abs=0.06)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("many-gaussian-tokens", {"tokens.initial": {"law": "uniform"}, "limit.limit": "closure"}, "closure.*gaussian"),
        ("many-gaussian-tokens", {"limit.limit": "density"}, "density.*on the circle"),
        ("many-gaussian-tokens", {"depth.layers": 3, "limit.limit": "closure"}, "of a flow under attention alone"),
        ("many-gaussian-tokens", {"limit.counts": [16]}, "limit.counts"),
        ("many-gaussian-tokens", {"limit.counts": [16, 16]}, "limit.counts.*once"),
        ("many-gaussian-tokens", {"attention.value": {"law": "gaussian"}}, "attention.value: must not be drawn with"),
        (
            "many-gaussian-tokens",
            {"limit.limit": "closure", "depth.noise": 0.1, "depth.method": "euler-maruyama"},
            "depth.noise",
        ),
        ("minilm-alice", {"limit": {"kind": "tokens"}}, "tokens.initial: must be a law"),
    ],
)
def test_mistakes_are_named(name, changes, message):
    with pytest.raises(ScenarioError, match=message):
        attndyn.limit(attndyn.load(name).override(changes))


def test_w1_itself_falls_as_in_the_plane():
    """(log n / n)^(1/2): its slope over these numbers is -0.37, not -1/2."""
    study = attndyn.limit(attndyn.load("many-gaussian-tokens").override(FEW | {"limit.exact": 256}))
    series = study.series[3]
    assert series.name == "W1 of two samples"
    assert series.parameter.tolist() == [16, 32, 64, 128, 256]
    assert -0.42 < series.expected < -0.33
    assert series.rate().value == pytest.approx(series.expected, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["many-gaussian-tokens", "many-circle-tokens"])
def test_bundled_studies_at_full_size(name):
    for series in attndyn.limit(name).series:
        assert series.rate().value == pytest.approx(series.expected, abs=0.05)
        assert len(series.parameter) == (7 if series.name == "W1 of two samples" else 14)
