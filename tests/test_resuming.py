"""What was computed is kept: killed, interrupted, out of time or out of room, a run goes on to the same file."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import attndyn
import h5py
import numpy as np
import pytest
from attndyn import InvalidInput, TrajectoryError
from attndyn.cli import main
from attndyn.data import layout, trajectory
from attndyn.data.target import RESERVE
from attndyn.scenarios import resume, watch
from attndyn.scenarios.schema import Scenario

POSIX = pytest.mark.skipif(os.name != "posix", reason="sends signals")
NOT_COMPARED = (layout.PROVENANCE, layout.CHECKPOINT, layout.OUTCOME)  # clock times; where it was gone on with

PLAIN = """
[tokens]
count = 24
seed = 3
[attention]
beta = 3.0
[depth]
time = 4.0
[save]
every = 0.05
observables = ["energy", "clusters", "attention_entropy"]
"""
SCENARIOS = {
    "adaptive": {},
    "implicit": {"depth.method": "kencarp4"},
    "fixed step": {"depth.method": "rk4", "depth.step": 0.1},
    "noise": {"depth.method": "heun-stratonovich", "depth.step": 0.05, "depth.noise": 0.1},
    "network": {"depth.layers": 80, "depth.step": 0.05},
    "independent weights": {
        "depth.layers": 80, "depth.step": 0.05, "depth.weights": "independent", "attention.query": {"law": "gaussian"},
    },
    "random multipliers": {
        "depth.layers": 80, "depth.step": 0.05, "attention.multipliers": {"law": "lognormal", "variation": 0.5},
        "save.observables": ["order"],
    },
    "splitting": {
        "space.kind": "euclidean", "depth.method": "strang", "depth.step": 0.05,
        "block.feed_forward": {"activation": "gelu", "hidden": 4}, "block.norm": "pre",
    },
    "merging": {"tokens.dimension": 2, "attention.beta": 6.0, "depth.time": 40.0, "depth.merge": 1e-3,
                "save.every": 0.5},
    "focus": {"focus.position": [1.0, 0.0, 0.0], "focus.width": 0.6, "depth.time": 2.0},
    "replicas": {"tokens.replicas": 5},
    "stopped by an event": {"attention.beta": 6.0, "depth.time": 60.0, "save.every": 0.5, "save.stop.clusters": 2},
}  # fmt: skip


def scenario_of(name):
    return Scenario.parse(PLAIN, name="small").override(SCENARIOS[name])


def datasets(path):
    """The bytes of all datasets that two runs have in common."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.__setitem__(name, (item.shape, item.dtype.str, item[...].tobytes()))
                if isinstance(item, h5py.Dataset) and name not in NOT_COMPARED
                else None
            )
        )
    return found


def counted(run):
    """The statistics of a run that are no times."""
    return {key: value for key, value in run.statistics.items() if "seconds" not in key}


def interrupted_after(monkeypatch, steps):
    """From now on a run is interrupted after so many steps."""
    taken = []

    def end(self):
        taken.append(None)
        return "interrupted" if len(taken) == steps else None

    monkeypatch.setattr(watch.Watch, "end", end)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_finished_file_is_that_of_the_undisturbed_run(tmp_path, monkeypatch, name):
    scenario = scenario_of(name)
    attndyn.run(scenario, out=tmp_path / "whole.h5").close()
    whole = datasets(tmp_path / "whole.h5")
    for interruptions in (1, 2, 5):
        path = tmp_path / f"{interruptions}.h5"
        interrupted_after(monkeypatch, 3)
        attndyn.run(scenario, out=path).close()
        for _ in range(interruptions - 1):
            interrupted_after(monkeypatch, 2)
            with attndyn.resume(path) as piece:
                assert piece.status == "interrupted"
        monkeypatch.undo()
        with attndyn.resume(path) as end, attndyn.open(tmp_path / "whole.h5") as undisturbed:
            assert end.status == undisturbed.status
            assert len(end.provenance["resumed"]) == interruptions
            assert counted(end) == counted(undisturbed)
        assert datasets(path) == whole, f"{interruptions} interruptions"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.h5", "2.h5", "5.h5", "whole.h5"]


@pytest.mark.parametrize(
    "name", ["adaptive", *(pytest.param(name, marks=pytest.mark.slow) for name in ("implicit", "network", "replicas"))]
)
def test_a_run_of_two_processes_goes_on_to_the_same_file(tmp_path, monkeypatch, name):
    pytest.importorskip("torch")
    scenario = scenario_of(name).override({"depth.time": 1.0} if "depth.layers" not in SCENARIOS[name] else {})
    attndyn.run(scenario, out=tmp_path / "whole.h5", processes=2).close()
    path = tmp_path / "two.h5"
    interrupted_after(monkeypatch, 3)
    attndyn.run(scenario, out=path, processes=2).close()
    monkeypatch.undo()
    with attndyn.resume(path) as trajectory, attndyn.open(tmp_path / "whole.h5") as whole:
        assert trajectory.status == whole.status == "finished" and trajectory.provenance["processes"] == 2
        assert counted(trajectory) == counted(whole)
    assert datasets(path) == datasets(tmp_path / "whole.h5")


@pytest.mark.parametrize(
    ("begun", "environment", "message"),
    [
        (1, {"RANK": "0", "WORLD_SIZE": "2"}, r"begun by 1 process\(es\), and goes on with as many; torchrun has 2"),
        (10_000, {}, "begun by 10000 processes; here .* can be started"),
    ],
)
def test_a_run_goes_on_with_as_many_processes_as_it_was_begun_with(tmp_path, monkeypatch, begun, environment, message):
    interrupted_after(monkeypatch, 2)
    attndyn.run(scenario_of("adaptive"), out=tmp_path / "run.h5").close()
    said = resume._said
    monkeypatch.setattr(
        resume, "_said", lambda of, name, *rest: begun if name == "processes" else said(of, name, *rest)
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=message):
        attndyn.resume(tmp_path / "run.h5")


def test_a_time_limit_ends_all_processes(tmp_path):
    pytest.importorskip("torch")
    scenario = scenario_of("adaptive").override({"depth.time": 1e6, "save.every": 1e5})
    with attndyn.run(scenario, out=tmp_path / "out.h5", processes=2, walltime=1.0) as trajectory:
        assert trajectory.status == "interrupted: time limit of 1 s" and trajectory.checkpoint is not None


def test_it_needs_neither_the_scenario_nor_the_files_it_named(tmp_path, monkeypatch):
    folder = tmp_path / "inputs"
    folder.mkdir()
    start = np.random.default_rng(0).standard_normal((9, 3))
    np.savez(folder / "arrays.npz", query=np.diag([2.0, 1.0, 0.5]), tokens=start)
    (folder / "mine.toml").write_text(
        '[tokens]\ninitial = { law = "file", file = "arrays.npz", array = "tokens" }\n'
        '[attention]\nquery = { file = "arrays.npz", array = "query" }\n[depth]\ntime = 2.0\n[save]\nevery = 0.1\n'
    )
    attndyn.run(folder / "mine.toml", out=tmp_path / "whole.h5").close()
    interrupted_after(monkeypatch, 3)
    attndyn.run(folder / "mine.toml", out=tmp_path / "pieces.h5").close()
    monkeypatch.undo()
    shutil.rmtree(folder)
    attndyn.resume(tmp_path / "pieces.h5").close()
    assert datasets(tmp_path / "pieces.h5") == datasets(tmp_path / "whole.h5")


def test_what_has_reached_its_end_or_was_never_begun_is_not_resumed(tmp_path, capsys):
    attndyn.run(scenario_of("adaptive"), out=tmp_path / "run.h5").close()
    with pytest.raises(InvalidInput, match=r"has reached its end \(finished\)"):
        attndyn.resume(tmp_path / "run.h5")
    assert main(["resume", str(tmp_path / "nothing.h5")]) == 2
    assert "there is no run to go on with" in capsys.readouterr().err


# killed


def started(scenario, path, *options):
    """A process that runs, and prints how many frames are on the disk."""
    command = [sys.executable, str(Path(__file__).with_name("killed_run.py")), str(scenario), str(path), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(process, delay):
    """Kill a process so long after its first word; the last number of frames that it said were on the disk."""
    said = [process.stdout.readline()]
    time.sleep(delay)
    process.kill()
    said += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    return max((int(line) for line in said if line.strip().isdigit()), default=0)


LONG = PLAIN.replace("count = 24", "count = 200").replace("time = 4.0", "time = 4.0\nmethod = 'rk4'\nstep = 0.002")
LONG = LONG.replace("every = 0.05", "every = 0.004")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The file of a long run that nobody killed, and its positions."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "long.toml").write_text(LONG)
    with attndyn.run(folder / "long.toml", out=folder / "whole.h5") as whole:
        return folder / "whole.h5", whole.positions[:]


def kill_and_resume(tmp_path, kills, seed, undisturbed):
    """Kill a run, and what goes on with it, at random moments; at the end it is that of the undisturbed run."""
    moments, (whole, right) = random.Random(seed), undisturbed
    (tmp_path / "long.toml").write_text(LONG)
    path, begun = tmp_path / "killed.h5", False
    for _ in range(kills):
        process = started("resume", path) if begun else started(tmp_path / "long.toml", path)
        on_disk = killed(process, moments.uniform(0.0, 0.4))
        if path.exists():
            break  # it came to its end
        begun = True
        with attndyn.open(tmp_path / "killed.h5.partial") as found:
            assert found.status == "running"
            assert on_disk <= len(found) <= len(right)
            np.testing.assert_array_equal(found.positions[:], right[: len(found)])
    if not path.exists():
        attndyn.resume(path).close()
    assert datasets(path) == datasets(whole)


@POSIX
def test_a_killed_run_keeps_every_frame_it_flushed_and_goes_on(tmp_path, undisturbed):
    kill_and_resume(tmp_path, 3, 0, undisturbed)


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_run_killed_fifty_times_keeps_every_frame_it_flushed(tmp_path, seed, undisturbed):
    kill_and_resume(tmp_path, 5, seed, undisturbed)


# told to end


@POSIX
@pytest.mark.parametrize(("number", "status", "said"), [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, ": SIGTERM")])
def test_a_signal_ends_the_run_after_its_step_and_says_how_to_go_on(tmp_path, number, status, said):
    (tmp_path / "long.toml").write_text(LONG)
    command = [sys.executable, "-m", "attndyn.cli", "run", "long.toml", "--backend", "reference"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "long.h5.partial").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate()
    assert (process.returncode, err.count("\n")) == (status, 1)
    assert err.startswith(f"attndyn: interrupted{said} at depth ")
    assert err.endswith("attndyn resume long.h5 goes on with it\n")
    with attndyn.open(tmp_path / "long.h5") as run:
        assert run.status == f"interrupted{said}"


def test_the_second_signal_ends_at_once():
    from attndyn.interrupts import noted

    with pytest.raises(KeyboardInterrupt), noted() as called:
        signal.raise_signal(signal.SIGINT)
        assert called.is_set() and called.by == "SIGINT"
        signal.raise_signal(signal.SIGINT)


def test_a_run_ends_before_its_time_limit(tmp_path, monkeypatch, capsys):
    clock = iter(np.arange(0.0, 1e6, 0.5))
    monkeypatch.setattr(
        watch, "time", SimpleNamespace(monotonic=lambda: float(next(clock)))
    )  # every step takes half a second
    with attndyn.run(scenario_of("fixed step"), out=tmp_path / "run.h5", walltime=10.0) as run:
        assert run.status == "interrupted: time limit of 10 s"
        assert 10.0 - 2 * 0.5 - 2 * 0.5 - 1.0 <= 0.5 * run.statistics["accepted"] < 10.0 - 2 * 0.5
    monkeypatch.undo()
    for wrong in ("x", "-1", "1:2:3:4", "0"):
        assert main(["run", "equiangular", "--out", str(tmp_path / "b.h5"), "--walltime", wrong]) == 2
        assert "walltime" in capsys.readouterr().err


# no room, no lock


def test_a_full_disk_ends_the_run_with_one_line_and_it_goes_on_when_there_is_room(tmp_path, monkeypatch):
    scenario, path = scenario_of("adaptive"), tmp_path / "run.h5"
    attndyn.run(scenario, out=tmp_path / "whole.h5").close()
    usage = namedtuple("usage", "free")
    asked = []

    def free(folder):
        asked.append(folder)
        return usage(10**9 if len(asked) < 4 else RESERVE)

    monkeypatch.setattr(shutil, "disk_usage", free)
    with pytest.raises(TrajectoryError, match=r"the disk is full: .* MB are needed, .* are free"):
        attndyn.run(scenario, out=path)
    monkeypatch.undo()
    attndyn.resume(path).close()
    assert datasets(path) == datasets(tmp_path / "whole.h5")


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a file system of its own, of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_ends_the_run_and_it_goes_on_when_there_is_room(small_disk, tmp_path):
    scenario = scenario_of("adaptive").override({"tokens.count": 400, "save.every": 0.01})
    attndyn.run(scenario, out=tmp_path / "whole.h5").close()
    with pytest.raises(TrajectoryError, match="the disk is full"):
        attndyn.run(scenario, out=small_disk / "run.h5")
    (left,) = small_disk.glob("run.h5*")
    with attndyn.open(left) as kept, attndyn.open(tmp_path / "whole.h5") as whole:
        assert len(kept) >= 64
        np.testing.assert_array_equal(kept.positions[:], whole.positions[: len(kept)])
    shutil.move(left, tmp_path / left.name)
    attndyn.resume(tmp_path / "run.h5").close()
    assert datasets(tmp_path / "run.h5") == datasets(tmp_path / "whole.h5")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_write_that_fails_is_told_in_one_line_and_the_frames_before_it_stand(tmp_path, monkeypatch, number):
    scenario, path = scenario_of("adaptive"), tmp_path / "run.h5"
    attndyn.run(scenario, out=tmp_path / "whole.h5").close()
    write, times = h5py.Dataset.__setitem__, []

    def failing(self, *arguments):
        times.append(None)
        if len(times) > 4:
            raise OSError(number, os.strerror(number))
        write(self, *arguments)

    monkeypatch.setattr(h5py.Dataset, "__setitem__", failing)
    with pytest.raises(TrajectoryError, match=os.strerror(number)):
        attndyn.run(scenario, out=path)
    monkeypatch.undo()
    attndyn.resume(path).close()
    assert datasets(path) == datasets(tmp_path / "whole.h5")


def test_two_runs_never_write_one_file(tmp_path, capsys):
    path = tmp_path / "run.h5"
    scenario = scenario_of("adaptive")
    writer = trajectory.TrajectoryWriter(path, ensemble=attndyn.Ensemble.uniform(attndyn.Sphere(3), 4), scenario="x")
    for overwrite in ("--overwrite", "--quiet"):
        assert main(["run", "equiangular", "--out", str(path), overwrite]) != 0
        assert "run.h5" in capsys.readouterr().err
    with pytest.raises(TrajectoryError, match=r"run\.h5 is being written by another run"):
        attndyn.run(scenario, out=path, overwrite=True)
    writer.finish()
    attndyn.run(scenario, out=path, overwrite=True).close()
    assert [file.name for file in tmp_path.iterdir()] == ["run.h5"]


@POSIX
def test_another_process_reads_the_file_while_it_is_written(tmp_path):
    (tmp_path / "long.toml").write_text(LONG)
    process = started(tmp_path / "long.toml", tmp_path / "live.h5")
    try:
        process.stdout.readline()
        seen = []
        while process.poll() is None and len(seen) < 5:
            with attndyn.open(tmp_path / "live.h5.partial") as run:
                assert np.isfinite(run.positions[:]).all()
                seen.append(len(run))
        assert main(["info", str(tmp_path / "live.h5.partial")]) == 0
        assert main(["plot", str(tmp_path / "live.h5.partial"), "--out", str(tmp_path / "live.png")]) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert seen == sorted(seen) and seen[-1] > 0
