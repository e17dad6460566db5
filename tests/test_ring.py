"""One system on many processes: the numbers of one process, and an end that is the same for all of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from attndyn import InvalidInput, load, open, run
from attndyn.cli import main
from attndyn.particles.backends import Engine
from ring_member import CASES

pytest.importorskip("torch")

MEMBER = Path(__file__).with_name("ring_member.py")
SMALL = {"tokens.count": 31, "depth.time": 3.0, "save.every": 0.5}


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def errors(request, tmp_path_factory):
    """The errors that `ring_member` finds on so many processes."""
    meeting = f"file://{tmp_path_factory.mktemp('ring')}/meeting"
    commands = [[sys.executable, str(MEMBER), str(rank), str(request.param), meeting] for rank in range(request.param)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * request.param
    return json.loads(outputs[0])


@pytest.mark.parametrize("law", CASES)
def test_the_drift_of_a_ring_is_that_of_the_reference(errors, law):
    assert errors[law] < 1e-12


@pytest.mark.slow  # each process starts torch; two are tried by default
def test_a_run_on_three_processes_is_the_run_on_one(tmp_path):
    scenario = load("sphere-clusters").override(SMALL)
    progress = []
    with (
        run(scenario, tmp_path / "one.h5", backend="torch") as one,
        run(
            scenario,
            tmp_path / "three.h5",
            backend="torch",
            processes=3,
            progress=lambda t, statistics: progress.append(t),
        ) as three,
    ):
        assert three.status == one.status == "finished"
        np.testing.assert_allclose(three.positions[...], one.positions[...], atol=1e-12)
        for name, values in one.observables.items():
            np.testing.assert_allclose(three.observables[name], values, rtol=1e-11, err_msg=name)
        assert three.statistics["drift_evaluations"] == one.statistics["drift_evaluations"]
        assert three.provenance["processes"] == 3
        assert progress[-1] == 3.0


@pytest.mark.slow
def test_a_network_with_a_causal_mask_ends_on_two_processes_as_on_one(tmp_path):
    changes = {"tokens.count": 21, "depth.layers": 6, "depth.step": 0.5, "attention.mask": "causal"}
    scenario = load("multi-head-random").override(changes | {"save.every": 0.5})
    with (
        run(scenario, tmp_path / "one.h5", backend="torch") as one,
        run(scenario, tmp_path / "two.h5", backend="torch", processes=2) as two,
    ):
        np.testing.assert_allclose(two.positions[...], one.positions[...], atol=1e-12)


@pytest.fixture
def long_run(tmp_path):
    """A run on two processes that goes on for long, once its first frames are written: the process and the file."""
    started = []

    def start():
        changes = ["tokens.count=800", "depth.time=1e5", "depth.rtol=1e-10", "save.every=0.01", "save.stop={}"]
        sets = [word for change in changes for word in ("--set", change)]
        out = tmp_path / "long.h5"
        command = ["run", "sphere-clusters", "--out", str(out), "--backend", "torch", "--processes", "2", *sets]
        process = subprocess.Popen(
            [sys.executable, "-m", "attndyn.cli", *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        partial = out.with_name("long.h5.partial")
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            if partial.exists() and partial.stat().st_size > 200_000:
                return process, out
            time.sleep(0.05)
        raise AssertionError(f"it did not start: {process.communicate()}")

    yield start
    for process in started:
        process.kill()


def peers_of(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"peer" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_ctrl_c_ends_all_processes_and_keeps_what_was_written(long_run):
    process, out = long_run()
    peers = peers_of(process)
    assert len(peers) == 1
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.count("\n") == 1 and "interrupted at depth" in errors and f"attndyn resume {out}" in errors
    with open(out) as trajectory:
        assert trajectory.status == "interrupted" and len(trajectory) > 1
        assert np.isfinite(trajectory.positions[-1]).all()
    assert not Path(f"/proc/{peers[0]}").exists()


@pytest.mark.slow
def test_a_lost_process_ends_the_run_with_one_line_and_the_frames_stand(long_run):
    process, out = long_run()
    (peer,) = peers_of(process)
    os.kill(peer, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.startswith("attndyn:")]
    assert len(lines) == 1 and "a process of the run was lost" in lines[0] and "Traceback" not in errors
    with open(out) as trajectory:
        assert trajectory.status.startswith("failed: a process of the run was lost") and len(trajectory) > 1


@pytest.mark.slow
def test_torchrun_starts_a_ring_whose_first_process_writes(tmp_path):
    out = tmp_path / "launched.h5"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "attndyn.cli", "run"]
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, *command, "sphere-clusters", "--backend", "torch", "--out", str(out), *sets],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished at depth") == 1
    with open(out) as launched, run(load("sphere-clusters").override(SMALL), backend="torch") as one:
        assert launched.provenance["processes"] == 2
        np.testing.assert_allclose(launched.positions[...], one.positions[...], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--processes", "2", "--backend", "reference"), "processes need backend = \"torch\"; got 'reference'"),
        (("--processes", "0"), "--processes"),
        (("--processes", "9", "--set", "tokens.count=4"), "processes must be at most the number of tokens, 4; got 9"),
        (("--processes", "2", "--set", "depth.merge=1e-9"), "merge needs a run in one process"),
    ],
)
def test_a_mistake_is_told_before_processes_are_started(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "sphere-clusters", "--out", "out.h5", *arguments]) == 2
    assert message in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_ring_needs_its_process_group():
    from attndyn import Attention, Sphere

    with pytest.raises(InvalidInput, match="processes = 2 needs as many processes"):
        Attention().drift(np.ones((1, 4, 3)), space=Sphere(3), **vars(Engine("torch", processes=2)))
