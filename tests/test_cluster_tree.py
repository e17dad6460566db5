"""Clusters over depth against hand-made files: who joined whom, who came apart, and what keeps its name."""

import attndyn
import numpy as np
import pytest
from attndyn.data.analysis.registry import ANALYSES
from attndyn.data.analysis.subject import Subject
from attndyn.data.analysis.tree import cluster_tree, succession
from attndyn.data.reading import open_trajectory
from attndyn.errors import InvalidInput
from attndyn.particles import Euclidean, Sphere, observables
from hand_made import hand_made

LINE = Euclidean(1)


def on_line(path, rows, **options):
    """A file of tokens at these places of the line, (frames, tokens) or (frames, replicas, tokens)."""
    return open_trajectory(hand_made(path, np.asarray(rows, float)[..., None], LINE, **options))


def told(tree):
    return [(change.depth, *change[2:]) for change in tree.changes]


def test_three_clusters_that_merge_at_known_depths(tmp_path):
    rows = [
        [0.0, 0.05, 1.0, 1.05, 1.1, 3.0],
        [0.0, 0.05, 0.9, 0.95, 1.0, 3.0],
        [0.4, 0.45, 0.5, 0.52, 0.55, 3.0],  # {0, 1} joins {2, 3, 4}, which are more
        [0.4, 0.45, 0.5, 0.52, 0.55, 2.0],
        [0.4, 0.45, 0.5, 0.52, 0.55, 0.6],  # 5 joins
    ]
    times = [0.0, 1.0, 2.5, 3.0, 10.0]
    with on_line(tmp_path / "a.h5", rows, times=times, strings=["a", "b", "c", "d", "e", "f"]) as trajectory:
        tree = cluster_tree(trajectory)
        assert tree.labels.tolist() == [[0, 0, 2, 2, 2, 5]] * 2 + [[2, 2, 2, 2, 2, 5]] * 2 + [[2] * 6]
        assert told(tree) == [(2.5, "merge", 0, 2, 2, 3), (10.0, "merge", 5, 2, 1, 5)]
        assert tree.changes == tree.merges and tree.splits == ()
        assert tree.counts().tolist() == [3, 3, 2, 2, 1]
        assert tree.counts(2).tolist() == [2, 2, 1, 1, 1]
        assert tree.sizes(2) == {2: 5, 5: 1}
        table = ANALYSES["tree"].function(Subject(trajectory))
        assert {name: values.tolist() for name, values in table.columns.items()} == {
            "depth": [2.5, 10.0],
            "event": ["merge", "merge"],
            "joined": [0, 5],
            "into": [2, 2],
            "size_joined": [2, 1],
            "size_into": [3, 5],
            "clusters": [2, 1],
            "joined_token": ["a", "f"],
            "into_token": ["c", "c"],
        }
        assert told(cluster_tree(trajectory, frames=np.array([0, 4]))) == [
            (10.0, "merge", 0, 2, 2, 3),
            (10.0, "merge", 5, 2, 1, 3),
        ]
        assert len(ANALYSES["tree"].function(Subject(trajectory, cluster_distance=5.0))) == 0


def test_a_split_a_move_and_a_return(tmp_path):
    rows = [
        [0.0, 0.0, 0.0, 1.0, 1.0],
        [0.0, 0.0, 0.5, 1.0, 1.0],  # 2 leaves
        [0.0, 0.0, 1.0, 1.0, 1.0],  # and joins {3, 4}
        [0.0, 0.0, 0.0, 1.0, 1.0],  # it moves back, between clusters that were there
        [0.0, 0.0, 0.5, 1.0, 1.0],  # and leaves again: by its name
    ]
    with on_line(tmp_path / "a.h5", rows) as trajectory:
        tree = cluster_tree(trajectory)
    assert tree.labels.tolist() == [
        [0, 0, 0, 3, 3],
        [0, 0, 2, 3, 3],
        [0, 0, 3, 3, 3],
        [0, 0, 0, 3, 3],
        [0, 0, 2, 3, 3],
    ]
    assert told(tree) == [
        (1.0, "split", 0, 2, 1, 0),
        (2.0, "merge", 2, 3, 1, 2),
        (3.0, "move", 3, 0, 1, 2),
        (4.0, "split", 0, 2, 1, 0),
    ]
    assert [change.kind for change in tree.splits] == ["split", "move", "split"]


def test_single_links_that_break_leave_the_larger_part_its_name(tmp_path):
    chain = 0.09 * np.arange(7.0)
    broken = chain + np.where(np.arange(7) > 2, 1.0, 0.0)  # {0, 1, 2} and {3, 4, 5, 6}
    with on_line(tmp_path / "a.h5", [chain, broken]) as trajectory:
        tree = cluster_tree(trajectory)
    assert tree.labels[1].tolist() == [1, 1, 1, 0, 0, 0, 0]  # 0 is the name of what most of it became
    assert told(tree) == [(1.0, "split", 0, 1, 3, 0)]


def test_a_cluster_that_splits_and_whose_parts_join_others_at_once():
    before = np.array([0, 0, 0, 0, 4, 4, 6], np.int32)
    after, changes = succession(before, np.array([0, 0, 0, 1, 1, 1, 0]))
    assert after.tolist() == [0, 0, 0, 4, 4, 4, 0]
    assert changes == [("move", 0, 4, 1, 2), ("merge", 6, 0, 1, 4)]


def test_of_equal_clusters_the_one_with_the_first_token_keeps_its_name():
    assert succession(np.array([0, 1, 0, 1], np.int32), np.zeros(4, int))[0].tolist() == [0] * 4
    assert succession(np.array([1, 1, 1, 1], np.int32), np.array([0, 1, 0, 1]))[0].tolist() == [1, 3, 1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_names_are_unambiguous_and_changes_tell_all(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 6, 12)
    names = groups.astype(np.int32) * 0
    for _ in range(50):
        groups = np.where(generator.random(12) < 0.3, generator.integers(0, 6, 12), groups)
        numbered = np.unique(groups, return_inverse=True)[1]
        after, changes = succession(names, numbered)
        pairs = {*zip(after.tolist(), numbered.tolist(), strict=True)}
        assert len(pairs) == len(np.unique(after)) == len(np.unique(numbered))  # one name, one group
        moved = {(int(a), int(b)) for a, b in zip(names, after, strict=True) if a != b}
        assert {(change[1], change[2]) for change in changes} == moved
        for kind, source, target, size, into in changes:
            assert size == np.sum((names == source) & (after == target))
            assert into == (0 if kind == "split" else np.sum(names == target))
            assert (kind == "split") == (target not in names)
        # a name that is gone went into one other
        gone = [change[1] for change in changes if change[0] == "merge"]
        assert sorted(gone) == sorted({*names.tolist()} - {*after.tolist()})
        names = after


def test_tokens_of_weight_zero_are_in_no_cluster(tmp_path):
    weights = [0.5, 0.0, 0.5]
    with on_line(tmp_path / "a.h5", [[0.0, 0.05, 0.12]] * 2, weights=np.array(weights)) as trajectory:
        assert cluster_tree(trajectory).labels.tolist() == [[0, -1, 2]] * 2
        assert cluster_tree(trajectory).counts().tolist() == [2, 2]


def test_weights_that_change_with_depth(tmp_path):
    weights = np.array([[[0.5, 0.25, 0.25]], [[0.5, 0.0, 0.5]], [[0.5, 0.25, 0.25]]])
    rows = [[0.0, 0.09, 0.18]] * 3
    with on_line(tmp_path / "a.h5", rows, observables={"token_weights": weights}) as trajectory:
        tree = cluster_tree(trajectory)
    assert tree.labels.tolist() == [[0, 0, 0], [0, -1, 2], [0, 0, 0]]
    assert told(tree) == [(1.0, "split", 0, 2, 1, 0), (2.0, "merge", 2, 0, 1, 1)]


def test_every_replica_has_its_own_tree_and_one_token_none(tmp_path):
    rows = [[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.01]]]
    with on_line(tmp_path / "a.h5", rows) as trajectory:
        assert cluster_tree(trajectory, 0).changes == ()
        assert told(cluster_tree(trajectory, 1)) == [(1.0, "merge", 1, 0, 1, 1)]
        with pytest.raises(InvalidInput, match=r"replica must be one of 0 ... 1; got 2"):
            cluster_tree(trajectory, 2)
    with on_line(tmp_path / "b.h5", [[0.0], [5.0]]) as trajectory:
        tree = cluster_tree(trajectory)
        assert (tree.labels.tolist(), tree.changes) == ([[0], [0]], ())
        assert len(ANALYSES["tree"].function(Subject(trajectory))) == 0


def test_labels_are_those_of_the_observable_on_any_number_of_threads(tmp_path):
    space = Sphere(3)
    generator = np.random.default_rng(0)
    start = space.uniform(generator, (60,))
    path = space.retract(start + np.linspace(0.0, 3.0, 30)[:, None, None] * np.array([0.0, 0.0, 1.0]))
    with open_trajectory(hand_made(tmp_path / "a.h5", path, space)) as trajectory:
        tree = cluster_tree(trajectory, threads=1)
        assert np.array_equal(tree.labels, cluster_tree(trajectory, threads=3).labels)
        assert tree.counts()[0] > 10 > tree.counts()[-1]
        for frame, labels in enumerate(tree.labels):
            expected = observables.cluster_labels(_ensemble(trajectory, frame))[0]
            assert len({*zip(labels.tolist(), expected.tolist(), strict=True)}) == expected.max() + 1
        few = cluster_tree(trajectory, frames=np.array([0, 29]))
        assert len({*zip(few.labels[-1].tolist(), tree.labels[-1].tolist(), strict=True)}) == tree.counts()[-1]


def _ensemble(trajectory, frame):
    from attndyn.data.analysis.ensembles import ensemble_at

    return ensemble_at(trajectory, frame)


def test_it_agrees_with_the_merges_of_a_run():
    scenario = attndyn.load("circle-staircase").override({"depth.time": 30.0, "save.times.count": 40})
    with attndyn.run(scenario) as trajectory:
        tree = cluster_tree(trajectory)
        assert len(trajectory.merges[0]) > 0
        for frame, labels in zip(tree.frames, tree.labels, strict=True):
            assert np.array_equal(labels[trajectory.merged_into(frame)], labels)
        assert tree.counts()[-1] == trajectory.observables["clusters"][-1, 0] == 4
