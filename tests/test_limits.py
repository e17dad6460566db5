"""The file of a limit study: what is in it, that an interrupted study goes on, mistakes, and the command line."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import attndyn
import h5py
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data.limits import Bench, is_limit, open_limit
from attndyn.errors import InvalidInput, TrajectoryError
from attndyn.scenarios.limits import depth, study
from attndyn.scenarios.schema import Scenario

TEXT = """
title = "A small study"
[tokens]
count = 6
dimension = 3
[depth]
time = 1.0
[limit]
kind = "depth"
layers = [4, 8, 16, 32]
"""


@pytest.fixture
def scenario():
    return Scenario.parse(TEXT, name="small")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def test_a_file_holds_the_runs_the_errors_and_where_they_come_from(scenario, tmp_path):
    with attndyn.limit(scenario, out=tmp_path / "s.h5") as opened:
        assert (opened.kind, opened.name) == ("depth", "small")
        assert set(opened.runs) == {"flow", "L = 4", "L = 8", "L = 16", "L = 32"}
        flow, network = opened.run("flow")["final"], opened.run("L = 8")["final"]
        (series,) = opened.series
        assert series.error[1] == pytest.approx(np.linalg.norm(network - flow), rel=1e-14)
        assert Scenario.parse(opened.scenario_text).model_dump() == scenario.model_dump()
        assert opened.provenance["seed"] == 0
        summary = opened.summary()
    assert not (tmp_path / "s.h5.runs").exists()
    assert list(summary)[:2] == ["kind", "scenario"]
    assert summary["parameter"] == [4.0, 8.0, 16.0, 32.0]
    low, high = summary["rate_interval"]
    assert low < summary["rate"] < high
    assert summary["expected"] == -1.0


def test_processes_give_what_one_gives(scenario, tmp_path):
    one, two = (attndyn.limit(scenario, out=tmp_path / f"{workers}.h5", workers=workers) for workers in (1, 2))
    for name in one.runs:
        np.testing.assert_array_equal(one.run(name)["final"], two.run(name)["final"])


def test_a_study_goes_on_where_it_was_left(scenario, tmp_path, monkeypatch):
    whole = attndyn.limit(scenario, out=tmp_path / "whole.h5").summary()
    computed = []

    def interrupted(work, task):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(task)
        return work.compute(task)

    monkeypatch.setattr(study, "compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attndyn.limit(scenario, out=tmp_path / "s.h5")
    assert len(list((tmp_path / "s.h5.runs").glob("*.npz"))) == 3
    before = list(computed)
    computed.clear()
    computed_again = []
    monkeypatch.setattr(study, "compute", lambda work, task: computed_again.append(task) or work.compute(task))
    assert attndyn.limit(scenario, out=tmp_path / "s.h5").summary() == whole
    assert not set(before) & set(computed_again)
    assert len(before) + len(computed_again) == 5


def test_a_killed_study_goes_on_to_the_same_result(file, tmp_path):
    """kill -9 of the command while it computes; the same command gives the file of an undisturbed one."""
    command = [sys.executable, "-m", "attndyn.cli", "limit", str(file), "--workers", "1", "--no-picture", "--quiet"]
    changes = ["--set", "limit.layers=[4,8,16,32,6000,6001]"]
    out = tmp_path / "s.h5"
    process = subprocess.Popen([*command, *changes, "--out", str(out)], cwd=tmp_path)
    folder = tmp_path / "s.h5.runs"
    began = time.monotonic()
    while not folder.is_dir() or len(list(folder.glob("*.npz"))) < 3:
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert subprocess.run([*command, *changes, "--out", str(out)], cwd=tmp_path, timeout=120).returncode == 0
    start = attndyn.load(file).override({"limit.layers": [4, 8, 16, 32, 6000, 6001]})
    with attndyn.limit(start) as undisturbed, open_limit(out) as resumed:
        assert resumed.summary() == undisturbed.summary()


def test_what_lies_beside_of_another_study_is_not_gone_on_with(scenario, tmp_path):
    Bench(tmp_path / "s.h5", {"kind": "depth"}).begin(False)
    with pytest.raises(InvalidInput, match=r"s\.h5\.runs is not of this study"):
        attndyn.limit(scenario, out=tmp_path / "s.h5")
    (tmp_path / "t.h5.runs").mkdir()  # killed just after it was made
    assert attndyn.limit(scenario, out=tmp_path / "t.h5").summary()["kind"] == "depth"
    (tmp_path / "u.h5.runs").mkdir()
    (tmp_path / "u.h5.runs" / "precious.txt").write_text("of somebody")
    for overwrite in (False, True):
        with pytest.raises(InvalidInput, match="is not of this study"):
            attndyn.limit(scenario, out=tmp_path / "u.h5", overwrite=overwrite)
    assert (tmp_path / "u.h5.runs" / "precious.txt").is_file()
    attndyn.limit(scenario, out=tmp_path / "s.h5", overwrite=True)
    with pytest.raises(InvalidInput, match="is not this study"):
        attndyn.limit(scenario.override({"attention.beta": 2.0}), out=tmp_path / "s.h5")
    assert attndyn.limit(scenario, out=tmp_path / "s.h5").summary()["kind"] == "depth"


def test_a_study_of_another_file_of_tokens_is_another_study(scenario, tmp_path):
    tokens = np.random.default_rng(0).standard_normal((6, 3))
    np.save(tmp_path / "tokens.npy", tokens / np.linalg.norm(tokens, axis=1, keepdims=True))
    initial = {"law": "file", "file": str(tmp_path / "tokens.npy")}
    scenario = scenario.override({"tokens.initial": initial, "tokens.count": None, "tokens.dimension": None})
    attndyn.limit(scenario, out=tmp_path / "s.h5")
    np.save(tmp_path / "tokens.npy", np.eye(3))
    with pytest.raises(InvalidInput, match="is not this study"):
        attndyn.limit(scenario, out=tmp_path / "s.h5")


def test_a_run_that_fails_is_told_and_the_others_stand(scenario, tmp_path, monkeypatch):
    def failing(scenario, name, engine):
        if name == "L = 16":
            raise RuntimeError("failed: it grew")
        return depth.run(scenario, name, engine)

    kind = study.kind_of("depth")
    monkeypatch.setattr(
        study, "kind_of", lambda name: type(kind)("depth", kind.wrong, kind.tasks, failing, kind.conclude)
    )
    with pytest.raises(TrajectoryError, match=r"the run 'L = 16' failed: RuntimeError: failed: it grew"):
        attndyn.limit(scenario, out=tmp_path / "s.h5")
    assert len(list((tmp_path / "s.h5.runs").glob("*.npz"))) == 3


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.pop("series"),
        lambda file: file["series/error"].pop("error"),
        lambda file: file.pop("parameters/findings"),
        lambda file: file["parameters/findings"].write_direct(
            np.frombuffer(b"x" * file["parameters/findings"].size, "u1")
        ),
        lambda file: (
            file["series/error/error"].resize((2,)) if file["series/error/error"].chunks else file.pop("series")
        ),
    ],
)
def test_damaged_files_are_refused(scenario, tmp_path, harm):
    attndyn.limit(scenario, out=tmp_path / "s.h5").close()
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        harm(file)
    assert is_limit(tmp_path / "s.h5")
    with pytest.raises(TrajectoryError, match=r"s\.h5: "):
        open_limit(tmp_path / "s.h5")


@pytest.mark.parametrize("conventions", [2**62, np.uint64(2**63), np.array([], "S4"), 1.5])
def test_a_file_that_says_nonsense_of_itself_is_no_limit_study(tmp_path, conventions):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.attrs["Conventions"] = conventions
    assert not is_limit(tmp_path / "s.h5")
    with pytest.raises(TrajectoryError):
        open_limit(tmp_path / "s.h5")


@pytest.mark.parametrize(
    "change", [{"expected": "x"}, {"fitted": [True]}, {"law": "cubic"}, {"fitted": "yes"}, {"name": "other"}]
)
def test_findings_that_do_not_fit_are_refused(scenario, tmp_path, change):
    attndyn.limit(scenario, out=tmp_path / "s.h5").close()
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        findings = json.loads(bytes(file["parameters/findings"][:]))
        findings["series"][0] |= change
        text = json.dumps(findings).encode()
        del file["parameters/findings"]
        file["parameters/findings"] = np.frombuffer(text, "u1")
        file["parameters/findings"].attrs["sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())
    with pytest.raises(TrajectoryError, match=r"s\.h5: "):
        open_limit(tmp_path / "s.h5")


def test_other_files_are_no_limit_studies(tmp_path):
    attndyn.run(Scenario.parse(TEXT), out=tmp_path / "run.h5").close()
    assert not is_limit(tmp_path / "run.h5")
    assert not is_limit(tmp_path / "nothing.h5")
    with pytest.raises(TrajectoryError, match="is not the file of a limit study"):
        open_limit(tmp_path / "run.h5")


def test_the_command_prints_a_table_or_json_and_draws(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["limit", str(file), "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "rate between" in shown
    assert "theory -1" in shown
    assert (tmp_path / "small-limit.png").stat().st_size > 10_000
    assert main(["limit", str(file), "--json", "--workers", "1"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["parameter"] == [4.0, 8.0, 16.0, 32.0]
    assert main(["info", "small-limit.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert main(["info", "small-limit.h5"]) == 0
    assert "rate between" in capsys.readouterr().out
    assert main(["plot", "small-limit.h5", "--out", "again.png"]) == 0
    assert (tmp_path / "again.png").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["breadth", "sphere-clusters"], "kind must be one of depth"),
        (["sphere-clusters"], "limit: missing; a study needs the section"),
        (["depth", "sphere-clusters", "more"], "has a kind and a scenario"),
        (["depth", "sphere-clusters", "--set", "limit.layers=3"], "limit.layers: must be a list"),
        (
            ["depth", "sphere-clusters", "--set", "limit.layer=[3,4]"],
            "limit.layer: unknown key; did you mean limit.layers",
        ),
        (
            ["depth", "sphere-clusters", "--set", "limit.counts=[3,4]"],
            "limit.counts: unknown key; allowed are kind, layers",
        ),
        (["depth", "sphere-clusters", "--out", "nowhere/s.h5"], "--out"),
        (["depth", "sphere-clusters", "--out", "s.png"], "--out: names the HDF5 file"),
    ],
)
def test_mistakes_of_the_command_line(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["limit", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
