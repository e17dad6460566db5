"""Trajectory files while their run goes: what stands where, and what is left when it ends badly."""

import signal
import subprocess
import sys
import tracemalloc
from collections import namedtuple

import numpy as np
import pytest
from attndyn.data import TrajectoryWriter, open_trajectory
from attndyn.errors import InvalidInput, TrajectoryError
from attndyn.particles import Ensemble, Sphere

ENSEMBLE = Ensemble.uniform(Sphere(3), tokens=4)
STATISTICS = {"accepted": 10, "wall_seconds": 0.25}


def writer_of(path, **options):
    """A writer of frames (1, 4, 3)."""
    return TrajectoryWriter(path, **{"ensemble": ENSEMBLE, "scenario": "old"} | options)


def write(path, **options):
    """A whole file of one frame."""
    with writer_of(path, **options) as writer:
        writer.append(0, 0.0, ENSEMBLE.positions)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    def peak(frames):
        tracemalloc.start()
        with writer_of(tmp_path / f"{frames}.h5", observables=["energy"]) as writer:
            for k in range(frames):
                writer.append(k, k, ENSEMBLE.positions, {"energy": np.zeros(1)})
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    few, many = peak(2_000), peak(20_000)
    assert few > 64 * ENSEMBLE.positions.nbytes  # the measurement does see the buffers
    assert many < few + 50_000  # the 18 000 frames more are 2.2 MB


def test_frames_reach_the_disk_in_whole_chunks_and_can_be_read_meanwhile(tmp_path):
    writer = writer_of(tmp_path / "a.h5", frames_per_chunk=4)
    seen = []
    for k in range(10):
        writer.append(k, k, ENSEMBLE.positions)
        with open_trajectory(writer.partial) as trajectory:
            assert trajectory.status == "running"
            seen.append(len(trajectory))
    assert seen == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8]
    assert len(writer) == 10
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(InvalidInput, match=r"a\.h5\.partial"):
        open_trajectory(tmp_path / "a.h5")
    writer.finish()
    with open_trajectory(tmp_path / "a.h5") as trajectory:
        assert len(trajectory) == 10


def test_what_a_killed_run_wrote_can_be_read(tmp_path):
    script = f"""if True:
        import os, signal
        from attndyn.data import TrajectoryWriter
        from attndyn.particles import Ensemble, Sphere
        start = Ensemble.uniform(Sphere(3), tokens=16)
        path = {str(tmp_path / "a.h5")!r}
        writer = TrajectoryWriter(path, ensemble=start, scenario="x", observables=["t"])
        for k in range(1500):
            writer.append(k, k / 10, start.positions + k, {{"t": [k]}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    with open_trajectory(tmp_path / "a.h5.partial") as trajectory:
        assert trajectory.status == "running"
        assert len(trajectory) == 23 * 64
        np.testing.assert_array_equal(trajectory.observables["t"][:, 0], np.arange(1472))
        start = Ensemble.uniform(Sphere(3), tokens=16).positions
        np.testing.assert_array_equal(trajectory.positions[1471], start + 1471)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("token 3 is not finite"), "failed: token 3 is not finite"),
        (AssertionError(), "failed: AssertionError"),
        (KeyboardInterrupt(), "interrupted"),
        (RuntimeError("x" * 5000), "failed: " + "x" * 992),
    ],
    ids=["failed", "without words", "interrupted", "too many words"],
)
def test_a_run_that_ends_by_an_exception_keeps_its_frames(tmp_path, error, status):
    with (
        pytest.raises(type(error)),
        writer_of(tmp_path / "a.h5") as writer,
    ):
        writer.append(0, 0.0, ENSEMBLE.positions)
        raise error
    with open_trajectory(tmp_path / "a.h5") as trajectory:
        assert len(trajectory) == 1
        assert trajectory.status == status


def test_a_full_disk_stops_the_run_with_one_sentence_and_keeps_what_fits(tmp_path, monkeypatch):
    writer = writer_of(tmp_path / "a.h5", frames_per_chunk=2)
    for k in range(3):
        writer.append(k, k, ENSEMBLE.positions)
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage(free=1000))
        with pytest.raises(TrajectoryError, match=r"the disk is full: 2\.1 MB are needed, 0\.0 MB are free"):
            writer.append(3, 3, ENSEMBLE.positions)
    writer.append(4, 4, ENSEMBLE.positions)  # there is room again: no frame was lost
    writer.append(5, 5, ENSEMBLE.positions)
    writer.append(6, 6, ENSEMBLE.positions)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(free=1000))
    with pytest.raises(TrajectoryError, match="the disk is full"):
        writer.finish("finished", STATISTICS)
    with open_trajectory(tmp_path / "a.h5") as trajectory:
        np.testing.assert_array_equal(trajectory.steps, [0, 1, 2, 3, 4, 5])
        assert trajectory.status.startswith("failed: ")
        assert trajectory.statistics == STATISTICS
    with pytest.raises(InvalidInput):
        writer_of(tmp_path / "a.h5")
    with pytest.raises(TrajectoryError, match="the disk is full"):
        writer_of(tmp_path / "b.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_an_existing_file_is_replaced_only_when_told_and_only_at_the_end(tmp_path):
    path = tmp_path / "run.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match=r"run\.h5 exists already; .* --overwrite"):
        write(path)
    writer = writer_of(path, scenario="new", overwrite=True)
    assert path.read_bytes() == before
    with pytest.raises(InvalidInput, match="exists already"):
        write(path)
    writer.finish()
    with open_trajectory(path) as trajectory:
        assert trajectory.scenario_text == "new"


def test_an_unfinished_run_is_replaced_only_when_told(tmp_path):
    (tmp_path / "run.h5.partial").write_bytes(b"unfinished")
    with pytest.raises(InvalidInput, match=r"run\.h5\.partial holds an unfinished run.* --overwrite"):
        write(tmp_path / "run.h5")
    assert (tmp_path / "run.h5.partial").read_bytes() == b"unfinished"
    write(tmp_path / "run.h5", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_a_file_that_came_to_exist_during_the_run_is_not_replaced(tmp_path):
    writer = writer_of(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"other")
    with pytest.raises(TrajectoryError, match="came to exist"):
        writer.finish()
    assert (tmp_path / "a.h5").read_bytes() == b"other"
    open_trajectory(writer.partial).close()


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="is a folder"):
        write(tmp_path)
    with pytest.raises(InvalidInput, match="there is no folder"):
        write(tmp_path / "missing" / "run.h5")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InvalidInput, match="no permission"):
        write(tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": np.float16}, "float64 or float32"),
        ({"frames_per_chunk": 0}, "frames_per_chunk"),
        ({"observables": {"a/b": ()}}, "'a/b'"),
        ({"observables": {"positions": ()}}, "'positions'"),
        ({"observables": {"matrix": (2, 2)}}, "matrix"),
        ({"token_strings": ["a", "b"]}, "token_strings must be 4 strings; got 2"),
        ({"provenance": {"law": object()}}, "provenance"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_a_file_is_made(tmp_path, options, words):
    with pytest.raises(InvalidInput, match=words):
        write(tmp_path / "run.h5", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ((2, 2.0, np.zeros((1, 3, 3)), {"energy": [0.0]}), "shape"),
        ((2, 2.0, np.zeros((1, 4, 3)), {}), "energy"),
        ((2, 2.0, np.zeros((1, 4, 3)), {"energy": [0.0], "order": [0.0]}), "order"),
        ((2, 2.0, np.zeros((1, 4, 3)), {"energy": 0.0}), r"energy must have the shape \(1,\)"),
        ((2, 0.5, np.zeros((1, 4, 3)), {"energy": [0.0]}), "0.5 after 1"),
        ((2, np.nan, np.zeros((1, 4, 3)), {"energy": [0.0]}), "finite"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_the_file_stays_whole(tmp_path, frame, words):
    with writer_of(tmp_path / "a.h5", observables=["energy"]) as writer:
        writer.append(1, 1.0, ENSEMBLE.positions, {"energy": [1.0]})
        with pytest.raises(InvalidInput, match=words):
            writer.append(*frame)
    with pytest.raises(TrajectoryError, match="finished"):
        writer.append(2, 2.0, ENSEMBLE.positions, {"energy": [1.0]})
    with open_trajectory(tmp_path / "a.h5") as trajectory:
        np.testing.assert_array_equal(trajectory.steps, [1])
