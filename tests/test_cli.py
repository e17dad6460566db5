"""The command line as a user has it: processes, their output, their exit status."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from attndyn import open as attndyn_open
from attndyn.cli import COMMANDS, main

SMALL = ("--set", "tokens.count=8", "--set", "depth.time=2.0", "--backend", "reference")


def attndyn(*arguments, folder=None):
    """Run `attndyn` in a process of its own."""
    command = [sys.executable, "-m", "attndyn.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def clusters(tmp_path, monkeypatch, capsys):
    """The path of a small trajectory."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", "sphere-clusters", *SMALL, "--out", "clusters.h5", "--quiet"]) == 0
    capsys.readouterr()
    return tmp_path / "clusters.h5"


def test_help_names_every_command_and_each_has_an_example(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {command} " in text for command in COMMANDS)
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"Example: attndyn {command}" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: attndyn")


def test_list_and_show(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 10
    assert any(line.startswith("sphere-clusters") and "arXiv:2312.10794" in line for line in lines)
    assert main(["show", "sphere-clusters"]) == 0
    assert "[attention]\nbeta = 4.0" in capsys.readouterr().out


def test_check_says_what_a_run_would_do(capsys):
    assert main(["check", "sphere-clusters", "--set", "attention.beta=9"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("ok: 64 tokens on the sphere in R^3, softmax attention, beta = 9, depth 100")
    assert "501 frames, about 8" in line


def test_schema_is_json(capsys):
    assert main(["schema"]) == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) >= {"tokens", "attention", "depth", "save"}


def test_run_writes_the_name_of_the_scenario_and_says_how_it_ended(tmp_path):
    process = attndyn("run", "sphere-clusters", *SMALL, folder=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("finished at depth 2: 11 frames in sphere-clusters.h5")
    assert (tmp_path / "sphere-clusters.h5").exists()


def test_run_quietly_prints_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "sphere-clusters", *SMALL, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_run_as_json_prints_one_object(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "sphere-clusters", *SMALL, "--json", "--seed", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "finished"
    assert result["out"] == "sphere-clusters.h5"
    assert (result["frames"], result["depth"]) == (11, 2.0)
    assert result["statistics"]["drift_evaluations"] > 0
    assert len(result["observables"]["energy"]) == 1


def test_seed_changes_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ends = []
    for number, seed in enumerate(("1", "1", "2")):
        main(["run", "sphere-clusters", *SMALL, "--json", "--seed", seed, "--out", f"{number}.h5"])
        ends.append(json.loads(capsys.readouterr().out)["observables"])
    assert ends[0] == ends[1] != ends[2]


def test_info_says_what_a_file_holds(clusters, capsys):
    assert main(["info", "clusters.h5"]) == 0
    assert "clusters.h5: finished" in capsys.readouterr().out
    assert main(["info", "clusters.h5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["shape"] == {"replicas": 1, "tokens": 8, "dimension": 3}


def test_plot_draws_beside_the_file_and_replaces_a_picture_only_when_asked(clusters, capsys):
    assert main(["plot", "clusters.h5", "--depths", "0,1.5"]) == 0
    picture = clusters.with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "clusters.h5"]) == 2
    assert "--out: clusters.png exists already" in capsys.readouterr().err
    assert main(["plot", "clusters.h5", "--overwrite", "--kind", "observables"]) == 0


def test_an_unknown_kind_of_plot_is_told_and_leaves_no_picture(clusters, capsys):
    assert main(["plot", "clusters.h5", "--kind", "pie"]) == 2
    assert "kind" in capsys.readouterr().err
    assert not clusters.with_suffix(".png").exists()


def test_a_file_that_is_no_trajectory_is_a_failure_told_in_one_line(tmp_path, capsys):
    (tmp_path / "x.h5").write_text("nothing")
    assert main(["info", str(tmp_path / "x.h5")]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "not an HDF5 file" in printed


def test_a_failing_run_has_status_1_one_line_and_keeps_its_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blowup.toml").write_text(
        '[tokens]\ncount = 4\n[space]\nkind = "euclidean"\n[attention]\nnormalisation = "none"\n', "utf-8"
    )
    assert main(["run", "blowup.toml", "--backend", "reference"]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("attndyn: failed: ")
    assert printed.err.count("\n") == 1
    assert (tmp_path / "blowup.h5").exists()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal as a terminal does for Ctrl-C")
def test_an_interrupted_run_has_status_130_one_line_and_keeps_its_frames(tmp_path):
    command = [sys.executable, "-m", "attndyn.cli", "run", "sphere-clusters", "--backend", "reference"]
    slow = ["--set", "tokens.count=400", "--set", "save.every=0.001", "--out", "cut.h5"]
    with subprocess.Popen(
        [*command, *slow], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (tmp_path / "cut.h5.partial").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (130, "", 1)
    assert err.startswith("attndyn: interrupted at depth ") and "attndyn resume cut.h5 goes on with it" in err
    with attndyn_open(tmp_path / "cut.h5") as trajectory:
        assert trajectory.status == "interrupted"
        assert len(trajectory) > 1


def test_a_terminal_sees_a_progress_bar(tmp_path):
    pty = pytest.importorskip("pty")
    screen, terminal = pty.openpty()
    command = [sys.executable, "-m", "attndyn.cli", "run", "sphere-clusters", "--backend", "reference"]
    slow = ["--set", "tokens.count=300", "--set", "depth.time=10.0", "--set", "save.every=0.05"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [*command, *slow], cwd=tmp_path, stderr=terminal, stdout=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(terminal)
        seen = b""
        while True:
            try:
                part = os.read(screen, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
    os.close(screen)
    assert process.returncode == 0
    assert b"drifts/s" in seen
    assert b"of 10" in seen
