"""Trajectory files that are damaged, unfinished or mean harm: refused with a sentence that names them."""

import hashlib
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from attndyn.data import TrajectoryWriter, layout, open_trajectory
from attndyn.errors import InvalidInput, TrajectoryError
from attndyn.particles import Ensemble, Sphere

SCENARIO = 'title = "Tokens on a sphere"'


def write(path, **options):
    """A file of three random frames of 2 x 5 tokens; the frames (3, 2, 5, 3)."""
    ensemble = Ensemble.uniform(Sphere(3), tokens=5, replicas=2, seed=1)
    frames = np.random.default_rng(0).standard_normal((3, 2, 5, 3))
    options = {"scenario": SCENARIO, "observables": {"energy": (), "spread": (3,)}} | options
    with TrajectoryWriter(path, ensemble=ensemble, **options) as writer:
        for k, positions in enumerate(frames):
            writer.append(k, k / 10, positions, {"energy": np.zeros(2), "spread": np.zeros((2, 3))})
    return frames


def replace(file, name, *arguments, **options):
    del file[name]
    file.create_dataset(name, *arguments, **options)


def external_link(file):
    del file["parameters/scenario"]
    file["parameters/scenario"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file):
    file.move(layout.POSITION, "elsewhere")
    file[layout.POSITION] = h5py.SoftLink("/elsewhere")


def external_storage(file):
    replace(file, layout.SCENARIO, (8,), "u1", external=[("/etc/passwd", 0, 8)])


def virtual(file):
    source = h5py.VirtualSource("other.h5", "value", (3, 10, 3))
    target = h5py.VirtualLayout((3, 10, 3), "f8")
    target[:] = source
    del file[layout.POSITION]
    file.create_virtual_dataset(layout.POSITION, target)


def huge_shape(file):
    """10^9 frames of which nothing is stored: would read as 240 GB of NaN."""
    for name in (
        layout.POSITION,
        layout.STEP,
        layout.TIME,
        *(f"observables/{o}/value" for o in ("energy", "spread")),
    ):
        file[name].resize(10**9, axis=0)
    file[layout.FRAMES_COMMITTED][0] = 10**9


def scenario_of_other_bytes(file):
    file[layout.SCENARIO][0] += 1


def large_attribute(file):
    file[layout.SCENARIO].attrs["sha256"] = np.zeros(8000, "u1")


def set_text(name, text):
    def change(file):
        replace(file, name, data=np.frombuffer(text, np.uint8))
        file[name].attrs["sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())

    return change


HOSTILE = {
    "external link": external_link,
    "soft link": soft_link,
    "raw data in another file": external_storage,
    "virtual dataset": virtual,
    "a shape of 10^9 frames": huge_shape,
    "changed scenario": scenario_of_other_bytes,
    "no sha256": lambda file: file[layout.SCENARIO].attrs.__delitem__("sha256"),
    "large attribute": large_attribute,
    "rank 2": lambda file: replace(file, layout.POSITION, data=np.zeros((3, 30))),
    "integer positions": lambda file: replace(file, layout.POSITION, data=np.zeros((3, 10, 3), int)),
    "strings for positions": lambda file: replace(file, layout.POSITION, data=np.full((3, 10, 3), b"x")),
    "objects for positions": lambda file: replace(file, layout.POSITION, (3, 10, 3), h5py.string_dtype()),
    "complex observable": lambda file: replace(file, "observables/energy/value", data=np.zeros((3, 2), complex)),
    "static observable": lambda file: file.create_dataset("observables/radius", data=1.0),
    "observable of one replica": lambda file: replace(file, "observables/energy/value", data=np.zeros((3, 1))),
    "group for a dataset": lambda file: (file.__delitem__(layout.TIME), file.create_group(layout.TIME)),
    "unknown filter": lambda file: replace(
        file, layout.POSITION, data=np.zeros((3, 10, 3)), chunks=(3, 10, 3), scaleoffset=3
    ),
    "huge chunk": lambda file: replace(
        file, layout.POSITION, (3, 10, 3), "f8", maxshape=(None, 10, 3), chunks=(2**21, 10, 3)
    ),
    "other dimension": lambda file: file[layout.BOX].attrs.modify("dimension", np.int32(2)),
    "unequal replicas": lambda file: file[layout.REPLICA_INDEX].__setitem__(4, 1),
    "negative replica": lambda file: file[layout.REPLICA_INDEX].__setitem__(slice(None), -1),
    "decreasing times": lambda file: file[layout.TIME].__setitem__(1, -1.0),
    "times that are not finite": lambda file: file[layout.TIME].__setitem__(1, np.nan),
    "negative number of frames": lambda file: file[layout.FRAMES_COMMITTED].__setitem__(0, -1),
    "H5MD 2": lambda file: file["h5md"].attrs.modify("version", np.array([2, 0], np.int32)),
    "no h5md": lambda file: file.__delitem__("h5md"),
    "no observables": lambda file: file.__delitem__("observables"),
    "no weights": lambda file: file.__delitem__(layout.WEIGHTS),
    "weights of other tokens": lambda file: replace(file, layout.WEIGHTS, data=np.full(4, 0.25)),
    "unknown space": set_text(layout.SPACE, b'{"kind": "torus", "dimension": 3}'),
    "impossible space": set_text(layout.SPACE, b'{"kind": "sphere", "dimension": 3, "radius": -1}'),
    "space is no object": set_text(layout.SPACE, b"[1]"),
    "deep JSON": set_text(layout.SPACE, b"[" * 100_000),
    "no UTF-8": set_text(layout.SCENARIO, b"\xff\xfe"),
    "too few token strings": set_text(layout.TOKEN_STRINGS, b'["a"]'),
    "outcome is no JSON": set_text(layout.OUTCOME, b"finished"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_with_its_name(tmp_path, change):
    write(tmp_path / "run.h5", token_strings=list("abcde"))
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        change(file)
    with pytest.raises(TrajectoryError, match=r"run\.h5: "):
        open_trajectory(tmp_path / "run.h5")


def test_rows_beyond_the_committed_frames_are_not_shown(tmp_path):
    frames = write(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        file[layout.FRAMES_COMMITTED][0] = 2
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert len(trajectory) == len(trajectory.positions) == len(trajectory.observables["energy"]) == 2
        np.testing.assert_array_equal(trajectory.positions[-1], frames[1])


def test_unknown_objects_do_not_matter(tmp_path):
    frames = write(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        file["series/loss/value"] = np.zeros(1000)
        file["loop"] = file["/"]
        file["parameters/checkpoint"] = h5py.ExternalLink("nowhere.h5", "/")
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        np.testing.assert_array_equal(trajectory.positions[:], frames)


def test_what_is_no_trajectory_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="there is no file"):
        open_trajectory(tmp_path / "missing.h5")
    with pytest.raises(InvalidInput, match="is a folder"):
        open_trajectory(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidInput):
            open_trajectory(tmp_path / "pipe")
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n\x03", b"title = 'no'", b"PK" + bytes(500)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(TrajectoryError, match="other"):
            open_trajectory(tmp_path / "other")
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(TrajectoryError, match=r"empty\.h5: h5md cannot be read: .*missing"):
        open_trajectory(tmp_path / "empty.h5")


def test_a_file_that_another_program_left_open_is_explained(tmp_path):
    script = f"""if True:
        import h5py, os
        file = h5py.File({str(tmp_path / "a.h5.partial")!r}, "w", libver="v110")
        file["x"] = 1
        file.flush()
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(TrajectoryError, match=r"is being written, or its run was killed.* --overwrite"):
        open_trajectory(tmp_path / "a.h5.partial")


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path):
    """All chunks and all metadata are under checksums: nothing is ever silently different."""
    frames = write(tmp_path / "run.h5", frames_per_chunk=3)
    content = (tmp_path / "run.h5").read_bytes()
    damaged = tmp_path / "damaged.h5"
    rng = np.random.default_rng(7)
    noticed = 0
    for byte in rng.integers(len(content), size=100):
        flipped = bytearray(content)
        flipped[byte] ^= 1 << rng.integers(8)
        damaged.write_bytes(flipped)
        try:
            with open_trajectory(damaged) as trajectory:
                np.testing.assert_array_equal(trajectory.positions[:], frames)
                np.testing.assert_array_equal(trajectory.times, [0.0, 0.1, 0.2])
                np.testing.assert_array_equal(trajectory.steps, [0, 1, 2])
                np.testing.assert_array_equal(trajectory.observables["energy"], np.zeros((3, 2)))
                np.testing.assert_array_equal(trajectory.weights, np.full(5, 0.2))
                assert trajectory.scenario_text == SCENARIO
                assert (trajectory.status, trajectory.space) == ("finished", Sphere(3))
        except TrajectoryError:
            noticed += 1
    assert noticed > 10  # the rest of such a small file is room that is not used
