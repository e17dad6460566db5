"""Fixed points as a study: the certified one, the trivial one, consensus, cycles, and several of them."""

import attndyn
import numpy as np
import pytest
from attndyn.errors import ScenarioError

EQUILIBRIUM = attndyn.load("deep-equilibrium")


def study_of(changes):
    return attndyn.limit(EQUILIBRIUM.override(changes))


def test_a_contraction_has_one_fixed_point_that_every_start_reaches():
    study = study_of({})
    picard, anderson, newton = study.series
    assert picard.law == "exponential"
    assert np.exp(picard.rate().value) == pytest.approx(0.32, abs=0.01)
    assert (picard.error[1:] <= picard.bound[1:]).all()
    assert len(anderson.error) < len(picard.error) / 2
    assert newton.error[-1] < 1e-11
    ends = [study.run(name)["final"] for name in ("picard", "anderson", "newton-krylov")]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=0, atol=1e-10)
    remarks = " ".join(study.remarks)
    assert "there is one fixed point and every start leads to it" in remarks
    assert "All of 8 starts lead to the same fixed point" in remarks


def test_without_input_the_fixed_point_is_the_trivial_one():
    study = study_of({"limit.injection": "none"})
    assert np.abs(study.run("picard")["final"]).max() < 1e-8
    assert "trivial" in " ".join(study.remarks)


def test_where_the_bound_says_nothing_there_may_be_several():
    study = study_of({"attention.value": 0.8, "attention.beta": 30.0, "limit.starts": 16, "limit.methods": ["picard"]})
    remarks = " ".join(study.remarks)
    assert "is not below 1" in remarks
    labels = study.run("starts")["labels"]
    assert len(np.unique(labels[labels >= 0])) > 1
    assert "different fixed points" in remarks


def test_consensus_and_cycles_are_told():
    study = study_of(
        {"attention.value": 1.0, "limit.injection": "none", "limit.methods": ["picard"], "limit.starts": 1}
    )
    assert "picard: consensus after" in study.remarks[0]
    circle = {"space": {"kind": "sphere"}, "tokens.initial": {"law": "uniform"}, "attention.value": -1.0}
    study = study_of(circle | {"limit.injection": "none", "limit.methods": ["picard"], "limit.starts": 1})
    assert "cycle of length 2" in study.remarks[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens.replicas": 2}, "tokens.replicas: must be 1"),
        ({"depth.layers": None, "depth.time": 2.0}, "depth.layers: missing"),
        ({"limit.methods": ["newton"]}, "limit.methods"),
        ({"limit.injection": "noise"}, "limit.injection"),
        ({"limit.tolerance": 0.0}, "limit.tolerance"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ScenarioError, match=message):
        study_of(changes)


@pytest.mark.slow
def test_the_real_transformer_s_layer_leads_to_consensus():
    study = attndyn.limit("minilm-fixed-point")
    assert "picard: consensus" in study.remarks[0]
    assert "All of 2 starts lead to the same fixed point" in study.remarks[-1]
    assert len(study.series[1].error) < len(study.series[0].error)
