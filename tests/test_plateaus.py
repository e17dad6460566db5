"""Plateaus of hand-made levels, and of the staircase of the energy on the circle."""

import attndyn
import numpy as np
import pytest
from attndyn.data.analysis.plateaus import plateaus
from attndyn.data.analysis.registry import ANALYSES
from attndyn.data.analysis.subject import Subject
from attndyn.data.reading import open_trajectory
from attndyn.particles import Euclidean
from hand_made import hand_made

TIMES = np.concatenate([[0.0], np.geomspace(0.01, 1e6, 81)])  # ten to a decade


def spans(found):
    return [(each.clusters, round(np.log10(each.start), 1), round(np.log10(each.end), 1)) for each in found]


def test_a_staircase_of_two_steps():
    clusters = np.select([TIMES < 1, TIMES < 99, TIMES < 9.9e3], [0, 3, 2], 1)
    levels = np.select([TIMES < 1, TIMES < 99, TIMES < 9.9e3], [TIMES, 2.0, 3.0], 4.0)
    found = plateaus(TIMES, clusters, levels)
    assert spans(found) == [(3, 0.0, 1.9), (2, 2.0, 3.9), (1, 4.0, 6.0)]
    assert [each.level for each in found] == [2.0, 3.0, 4.0]
    assert [each.ended_by for each in found] == ["clusters", "clusters", "end"]
    assert all(TIMES[each.first] == each.start and TIMES[each.last] == each.end for each in found)


def test_clusters_alone_make_no_plateau_where_the_level_still_climbs():
    clusters = np.full(len(TIMES), 3)
    climbing = np.clip(np.log10(np.maximum(TIMES, 0.01)), -2, 3)  # six decades up, three flat
    (found,) = plateaus(TIMES, clusters, climbing, ratio=10.0, share=0.5)
    assert (found.ended_by, found.clusters) == ("end", 3)
    assert np.log10(found.start) == pytest.approx(3.0 - 0.05 * 5, abs=0.11)  # within the tolerance of the flat part


def test_a_step_of_the_level_ends_a_plateau_within_the_same_number_of_clusters():
    clusters = np.full(len(TIMES), 2)
    levels = np.where(TIMES < 99, 1.0, 2.0)
    found = plateaus(TIMES, clusters, levels)
    assert [each.ended_by for each in found] == ["level", "end"]
    assert spans(found[1:]) == [(2, 2.0, 6.0)]


def test_small_noise_does_not_break_a_plateau():
    generator = np.random.default_rng(0)
    levels = np.where(TIMES < 99, 0.0, 1.0) + 0.01 * generator.uniform(-1, 1, len(TIMES))
    clusters = np.where(TIMES < 99, 2, 1)
    assert [each.clusters for each in plateaus(TIMES, clusters, levels)] == [2, 1]


def test_what_does_not_last_is_none():
    times = np.linspace(0.0, 100.0, 1001)
    clusters = np.where(times < 50, 5, np.where(times < 55, 4, 3))
    levels = -clusters.astype(float)
    assert [each.clusters for each in plateaus(times, clusters, levels)] == [5, 3]
    assert [each.clusters for each in plateaus(times, clusters, levels, share=0.04)] == [5, 4, 3]
    assert plateaus(times[:2], clusters[:2], levels[:2]) == []  # two frames tell nothing
    assert plateaus(times, np.zeros(1001, int), levels) == []  # nothing but single tokens
    assert plateaus(times, clusters, np.full(1001, np.nan)) == []


def test_the_beginning_is_a_plateau_only_if_it_lasts_longer_than_what_follows():
    times = np.linspace(0.0, 10.0, 101)
    quick = np.where(times < 1.5, 4, np.where(times < 8, 100 + np.arange(101), 1))
    slow = np.where(times < 5, 4, np.where(times < 8, 100 + np.arange(101), 1))
    assert [each.clusters for each in plateaus(times, quick, -quick.astype(float))] == [1]
    assert [each.clusters for each in plateaus(times, slow, -slow.astype(float))] == [4, 1]


def test_the_staircase_on_the_circle():
    with attndyn.run("circle-staircase") as trajectory:
        table = ANALYSES["plateaus"].function(Subject(trajectory, trajectory.law_at))
        stored = np.log(trajectory.observables["energy"][:, 0])
        merges = trajectory.merges[0]
    columns = table.columns
    assert columns["clusters"].tolist() == [4, 3, 2]
    # they last until clusters meet: at 650, 4.3e5 and 6.9e11, where the run ends soon after
    assert (columns["end"] > [400, 3e5, 5e11]).all() and (columns["end"] < [650, 4.3e5, 6.9e11]).all()
    assert (columns["start"][1:] < 1.3 * merges[-3:-1]).all()
    assert (np.diff(columns["log_energy"]) > 0.05).all()
    assert ((columns["log_energy"] > stored[0]) & (columns["log_energy"] < stored[-1])).all()
    assert any("log_energy within 5%" in remark for remark in table.remarks)


def test_without_a_law_levels_are_mean_cosines(tmp_path):
    corners = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    together = np.array([[1.0, 0.0]] * 4)
    frames = [corners] * 10 + [together] * 10
    with open_trajectory(hand_made(tmp_path / "a.h5", frames, Euclidean(2))) as trajectory:
        table = ANALYSES["plateaus"].function(Subject(trajectory))
    assert table.columns["clusters"].tolist() == [2, 1]
    assert table.columns["start"].tolist() == [0.0, 10.0]
    assert table.columns["end"].tolist() == [9.0, 19.0]
    np.testing.assert_allclose(table.columns["mean_cosine"], [1 / 3, 1.0])


def test_a_level_that_grows_like_an_exponential_has_no_plateau():
    assert plateaus(TIMES, np.full(len(TIMES), 1), np.exp(TIMES / TIMES[-1] * 30.0)) == []
