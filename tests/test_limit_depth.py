"""Infinite depth: the rates of networks, their table (oracle 8.1), and what is left of independent weights (8.2)."""

import attndyn
import numpy as np
import pytest
from attndyn.errors import ScenarioError
from attndyn.scenarios.schema import Scenario

BASE = """
[tokens]
count = 8
dimension = 3
[space]
kind = "sphere"
[attention]
beta = 1.0
[depth]
time = 2.0
[limit]
kind = "depth"
layers = [8, 16, 32, 64]
"""
INDEPENDENT = {
    "attention.value": {"law": "gaussian"},
    "depth.layers": 8,
    "depth.step": 0.25,
    "depth.weights": "independent",
}
# oracle 8.1, beta = 1
TABLE = {
    "layer": [1.987295e-01, 1.079255e-01, 5.635420e-02, 2.880915e-02],
    "heun": [5.677406e-03, 1.491090e-03, 3.817551e-04, 9.655970e-05],
    "rk4": [7.374574e-06, 4.897612e-07, 3.157044e-08, 2.004071e-09],
}


def scenario(tmp_path, **changes):
    """The test bed of oracle 8.1: detX(8, 3), oracle 0.3."""
    i, k = np.indices((8, 3))
    tokens = np.cos(1 + 1.7 * i + 0.9 * k * (i + 1))
    np.save(tmp_path / "tokens.npy", tokens / np.linalg.norm(tokens, axis=1, keepdims=True))
    given = {"tokens.initial": {"law": "file", "file": str(tmp_path / "tokens.npy")}, "tokens.count": None}
    given["tokens.dimension"] = None
    return Scenario.parse(BASE).override(given | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.mark.parametrize("network", TABLE)
def test_errors_of_the_three_networks(tmp_path, network):
    """Oracle 8.1, all digits; its Heun and RK4 retract and project stages in another way, with other constants."""
    study = attndyn.limit(scenario(tmp_path, limit__network=network))
    (series,) = study.series
    np.testing.assert_allclose(series.error, TABLE[network], rtol=2e-6 if network == "layer" else 0.5)
    assert series.expected == {"layer": -1.0, "heun": -2.0, "rk4": -4.0}[network]


@pytest.mark.parametrize(("network", "layers"), [("layer", 256), ("heun", 32), ("rk4", 16)])
def test_rates_are_those_of_the_theory(tmp_path, network, layers):
    counts = [layers, 2 * layers, 4 * layers, 8 * layers]
    (series,) = attndyn.limit(scenario(tmp_path, limit__network=network, limit__layers=counts)).series
    rate = series.rate()
    assert rate.value == pytest.approx(series.expected, abs=0.03)
    assert rate.interval[0] <= rate.value <= rate.interval[1]


@pytest.mark.parametrize("norm", ["pre", "peri", "post"])
def test_blocks_with_a_feed_forward_map_have_rate_one(tmp_path, norm):
    feed = {"activation": "gelu", "inner": {"law": "gaussian"}, "outer": {"law": "gaussian"}}
    changes = {
        "block": {"norm": norm, "feed_forward": feed},
        "space": {"kind": "sphere" if norm == "post" else "euclidean"},
    }
    counts = [128, 256, 512, 1024]
    study = attndyn.limit(scenario(tmp_path, **changes, limit__layers=counts))
    assert study.series[0].rate().value == pytest.approx(-1.0, abs=0.03)


def test_errors_at_rounding_are_left_out_of_the_rate(tmp_path):
    counts = [8, 16, 32, 64, 2048, 4096]
    (series,) = attndyn.limit(scenario(tmp_path, limit__network="rk4", limit__layers=counts)).series
    assert series.error[-1] < 1e-11
    assert not series.fitted[-2:].any()
    assert series.rate().value == pytest.approx(-4.0, abs=0.05)


def test_independent_weights_average_out_under_one_over_l(tmp_path):
    """E |X_L - X_0|^2 ~ C / L (oracle 8.2): rate -1/2, and no ODE is left."""
    changes = {key.replace(".", "__"): value for key, value in INDEPENDENT.items()}
    counts = [16, 32, 64, 128]
    study = attndyn.limit(scenario(tmp_path, **changes, limit__layers=counts, limit__samples=40))
    (series,) = study.series
    assert series.rate().value == pytest.approx(-0.5, abs=0.05)
    assert "no ODE is left" in study.remarks[0]


def test_mean_square_of_one_token_is_that_of_its_closed_form(tmp_path):
    """beta = 0 in R^d, one token: E |m_L - m_0|^2 = |m_0|^2 ((1 + T^2 / L^2)^L - 1) (oracle 8.2)."""
    changes = {key.replace(".", "__"): value for key, value in INDEPENDENT.items()}
    more = {
        "space": {"kind": "euclidean"},
        "attention__beta": 0.0,
        "tokens__initial": {"law": "gaussian"},
    }
    more |= {"tokens__count": 1, "tokens__dimension": 3, "limit__layers": [8, 16], "limit__samples": 400}
    study = attndyn.limit(scenario(tmp_path, **(changes | more)))
    (series,), layers = study.series, np.array([8.0, 16.0])
    exact = np.linalg.norm(study.run("L = 8")["start"]) * np.sqrt((1.0 + 4.0 / layers**2) ** layers - 1.0)
    assert (np.abs(series.error - exact) < 4.0 * series.spread).all()
    assert (series.spread < 0.08 * exact).all()


def test_the_scaling_one_over_root_l_leaves_a_diffusion(tmp_path):
    """Networks on the same Brownian path are C / sqrt(L) apart, and tokens move at any L."""
    changes = {key.replace(".", "__"): value for key, value in INDEPENDENT.items()} | {"depth__scaling": "1/sqrt(L)"}
    study = attndyn.limit(scenario(tmp_path, **changes, limit__layers=[2, 4, 8, 16], limit__samples=40))
    error, displacement = study.series
    assert error.rate().value == pytest.approx(-0.5, abs=0.1)
    assert displacement.rate().value == pytest.approx(0.0, abs=0.05)
    assert displacement.error.min() > 0.5


def test_weights_of_coarse_networks_are_increments_of_the_same_path(tmp_path):
    """Under beta = 0 with one token the network is the product of I + sqrt(T / L) V_l: known from its matrices."""
    from attndyn.particles.weights import draw

    changes = {key.replace(".", "__"): value for key, value in INDEPENDENT.items()} | {"depth__scaling": "1/sqrt(L)"}
    more = {
        "space": {"kind": "euclidean"},
        "attention__beta": 0.0,
        "tokens__initial": {"law": "gaussian"},
    }
    more |= {"tokens__count": 1, "tokens__dimension": 3, "limit__layers": [2, 4]}
    study = attndyn.limit(scenario(tmp_path, **(changes | more)))
    x = study.run("L = 2")["start"][0, 0]
    fine = np.stack([draw("gaussian", 3, 3, 0, (layer, 2)) for layer in range(32)])
    for layers in (2, 4):
        y = x
        for value in fine.reshape(layers, -1, 3, 3).sum(axis=1) / np.sqrt(32 // layers):
            y = y + np.sqrt(2.0 / layers) * value @ y
        np.testing.assert_allclose(study.run(f"L = {layers}")["final"][0, 0, 0], y, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit.layers": [8]}, "limit.layers"),
        ({"limit.network": "euler"}, "limit.network"),
        ({"limit.samples": 3}, "limit.samples: is for weights drawn at every layer; got 3 without"),
        ({"depth.layers": 8, "depth.residual": False}, "depth.residual: must be true"),
        (INDEPENDENT | {"limit.network": "rk4"}, "limit.network.*independent"),
        (INDEPENDENT | {"attention.query": {"law": "gaussian"}}, "attention.value: must be the one matrix"),
        (INDEPENDENT | {"depth.scaling": "1/sqrt(L)", "limit.layers": [3, 8]}, "limit.layers: must divide 64"),
        ({"limit": {"kind": "breadth"}}, "limit: must be a table whose kind is one of depth"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ScenarioError, match=message):
        attndyn.limit(Scenario.parse(BASE).override(changes))


@pytest.mark.parametrize("name", ["depth-network", "depth-peri-norm"])
def test_bundled_studies_find_rate_one(name):
    start = attndyn.load(name)
    study = attndyn.limit(start.override({"limit.layers": [128, 256, 512]}))
    assert study.series[0].rate().value == pytest.approx(-1.0, abs=0.05)


@pytest.mark.slow
def test_the_bundled_diffusion_and_the_real_transformer():
    diffusion = attndyn.limit("depth-diffusion")
    assert diffusion.series[0].rate().value == pytest.approx(-0.5, abs=0.05)
    assert diffusion.series[1].rate().value == pytest.approx(0.0, abs=0.05)
    transformer = attndyn.limit("minilm-depth")
    assert transformer.series[0].rate().value == pytest.approx(-1.0, abs=0.05)
