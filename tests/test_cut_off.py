"""Files whose end is missing: opened up to their last good frame, or refused in words; never a wrong number."""

import subprocess
import sys

import numpy as np
import pytest
from attndyn.data import TrajectoryWriter, open_trajectory
from attndyn.errors import TrajectoryError
from attndyn.particles import Ensemble, Sphere

FRAMES = 300


def write(path, frames_per_chunk, **options):
    """A file of random frames of 2 x 20 tokens; what is in it."""
    ensemble = Ensemble.uniform(Sphere(3), tokens=20, replicas=2, seed=1)
    rng = np.random.default_rng(0)
    positions, energy = rng.standard_normal((FRAMES, 2, 20, 3)), rng.standard_normal((FRAMES, 2))
    writer = TrajectoryWriter(
        path, ensemble=ensemble, scenario="", observables=["energy"], frames_per_chunk=frames_per_chunk, **options
    )
    with writer:
        for k in range(FRAMES):
            writer.append(k + 1, 0.5 + k, positions[k], {"energy": energy[k]})
    return positions, energy


def check(path, positions, energy):
    """How many frames the file still has, all of them right; None where it is refused."""
    try:
        with open_trajectory(path) as trajectory:
            frames = len(trajectory)
            np.testing.assert_array_equal(trajectory.positions[:], positions[:frames])
            np.testing.assert_array_equal(trajectory.times, 0.5 + np.arange(frames))
            np.testing.assert_array_equal(trajectory.steps, 1 + np.arange(frames))
            np.testing.assert_array_equal(trajectory.observables["energy"], energy[:frames])
            np.testing.assert_array_equal(trajectory.weights, np.full(20, 0.05))
            assert trajectory.status == f"cut off: {frames} of {FRAMES} frames"
            return frames
    except TrajectoryError as error:
        assert str(path) in str(error)
        return None


@pytest.mark.parametrize("frames_per_chunk", [1, 7, None])
def test_a_prefix_of_the_file_has_a_prefix_of_the_frames(tmp_path, frames_per_chunk):
    whole = write(tmp_path / "run.h5", frames_per_chunk)
    content = (tmp_path / "run.h5").read_bytes()
    found = []
    for length in np.linspace(8, len(content) - 1, 60).astype(int):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        found.append(check(tmp_path / "cut.h5", *whole))
    opened = [frames for frames in found if frames is not None]
    assert found[:1] == [None]
    assert found[-1] == FRAMES  # but the last, unused, bytes
    assert opened == sorted(opened)
    assert found[len(found) - len(opened) :] == opened  # refused are the shortest only
    if frames_per_chunk is not None:
        assert len(set(opened)) > 20
        assert len(opened) > 40


def test_a_lost_part_that_is_zeros_is_not_taken_for_values(tmp_path):
    """What lies beyond the end is an error to read: a chunk of zeros would have the right checksum."""
    positions, energy = write(tmp_path / "run.h5", 1)
    content = (tmp_path / "run.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) * 2 // 3])
    frames = check(tmp_path / "cut.h5", positions, energy)
    with open_trajectory(tmp_path / "cut.h5") as trajectory:
        stored = trajectory._file["particles/trajectory/position/value"]
        with pytest.raises(OSError):
            stored[frames + 60]


def test_a_cut_off_file_that_is_left_open_does_not_crash_the_interpreter(tmp_path):
    write(tmp_path / "run.h5", 1)
    content = (tmp_path / "run.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    code = f"import attndyn; kept = attndyn.open({str(tmp_path / 'cut.h5')!r}); print(kept.status)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("cut off: ")


def test_a_length_that_no_copy_had_is_refused(tmp_path):
    write(tmp_path / "run.h5", 1)
    content = bytearray((tmp_path / "run.h5").read_bytes())
    content[28:36] = (1 << 50).to_bytes(8, "little")
    (tmp_path / "run.h5").write_bytes(content)
    with pytest.raises(TrajectoryError, match=r"run\.h5"):
        open_trajectory(tmp_path / "run.h5")
