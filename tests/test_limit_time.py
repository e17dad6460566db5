"""Infinite time: plateaus whose length grows exponentially with beta, and the staircases of the energy."""

import attndyn
import numpy as np
import pytest
from attndyn.errors import ScenarioError


def test_two_clusters_meet_where_the_quadrature_of_their_gap_says():
    """Depths of a gap of 0.01, by quadrature in 30 digits; from there to 1e-9 it is a depth of some ten."""
    start = attndyn.load("two-clusters")
    study = attndyn.limit(start.override({"limit.betas": [8.0, 16.0, 40.0, 150.0]}))
    plateau, *staircases = study.series
    np.testing.assert_allclose(plateau.error, [2.283e5, 2.342e11, 6.175e29, 1.952e115], rtol=3e-4)
    assert plateau.expected == pytest.approx(1.0 - np.cos(2.5), abs=1e-5)
    rate = plateau.rate()
    assert rate.value == pytest.approx(plateau.expected, abs=0.05)
    assert [series.name for series in staircases] == [f"energy at beta = {beta}" for beta in (8, 16, 40)]
    for series in staircases:
        assert (np.diff(series.error) >= -1e-12 * series.error[:-1]).all()
        assert series.error[-1] == pytest.approx(2.0 * series.error[0], rel=1e-4)  # one cluster of two
    assert "2 until 2.34e+11, 1 to the end" in study.remarks[1]


def test_every_meeting_is_kept_and_tokens_can_be_followed():
    study = attndyn.limit(attndyn.load("circle-staircase").override({"limit.betas": [8.0, 16.0]}))
    run = study.run("beta = 16")
    clusters = [len(np.unique(groups)) for groups in run["merged_into"]]
    assert clusters[-3:] == [3, 2, 1]
    assert (np.diff(run["merge_times"]) >= 0).all()
    assert run["merge_times"][-1] == pytest.approx(6.873e11, rel=1e-3)
    assert run["merge_drift_change"] < 1e-13
    (wide,) = np.flatnonzero(run["plateau_clusters"] == 2)
    assert run["longest"] == pytest.approx(run["plateau_end"][wide] - run["plateau_start"][wide], rel=1e-12)


def test_a_plateau_that_does_not_end_has_no_part_in_the_rate():
    study = attndyn.limit(attndyn.load("two-clusters").override({"limit.betas": [8.0, 16.0, 24.0], "limit.end": 1e13}))
    (plateau, *_) = study.series
    assert plateau.fitted.tolist() == [True, True, False]
    assert "2 to the end at 1e+13" in study.remarks[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"kind": "euclidean"}, "depth.sums": None}, "space.kind"),
        ({"tokens.replicas": 2, "depth.merge": None}, "tokens.replicas"),
        ({"limit.betas": [8.0]}, "limit.betas"),
        ({"limit.betas": [8.0, 8.0]}, "limit.betas.*once"),
        ({"tokens.dtype": "float32"}, "tokens.dtype"),
        ({"block.norm": "post"}, "block: must be left out"),
        ({"depth.merge": None, "depth.sums": None, "focus": {"position": [1.0, 0.0]}}, "focus: has no place"),
        ({"attention.heads": 2, "depth.sums": None}, None),
    ],
)
def test_mistakes_are_named(changes, message):
    start = attndyn.load("two-clusters")
    if message is None:
        with pytest.raises(attndyn.AttndynError, match="one head"):
            attndyn.limit(start.override(changes))
        return
    with pytest.raises(ScenarioError, match=message):
        attndyn.limit(start.override(changes))
