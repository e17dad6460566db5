"""`attndyn sweep`, and `info` and `plot` of what it writes."""

import json
import os
import subprocess
import sys

import pytest
from attndyn import open_sweep
from attndyn.cli import main

SMALL = ("--set", "tokens.count=5", "--set", "depth.time=1.0", "--backend", "reference", "--workers", "1")
GRID = ("--grid", "attention.beta=1:4:4")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def phase(here, capsys):
    """The path of a small sweep."""
    assert main(["sweep", "sphere-clusters", *GRID, *SMALL, "--out", "phase.h5", "--replicas", "3"]) == 0
    assert capsys.readouterr().out.startswith("finished: 4 points in phase.h5")
    return here / "phase.h5"


def test_help_has_an_example(capsys):
    assert main(["sweep", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "Example: attndyn sweep circle-metastable --grid attention.beta=" in printed
    assert main(["--help"]) == 0
    assert "  sweep " in capsys.readouterr().out


def test_the_file_is_named_after_the_scenario(here, capsys):
    assert main(["sweep", "sphere-clusters", *GRID, *SMALL, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    with open_sweep("sphere-clusters-sweep.h5") as result:
        assert result.axes["attention.beta"].tolist() == [1, 2, 3, 4]


def test_several_grids_are_a_product(here, capsys):
    grids = (*GRID, "--grid", "attention.mask=none,causal", "--seed", "3")
    assert main(["sweep", "sphere-clusters", *grids, *SMALL, "--json", "--set", 'save.observables=["order"]']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["axes"] == {"attention.beta": [1, 2, 3, 4], "attention.mask": ["none", "causal"]}
    assert (result["points"], result["done"], result["failed"], result["depth"]) == (8, 8, 0, 1.0)
    assert result["observables"] == ["order"]


def test_info_says_what_a_sweep_holds(phase, capsys):
    assert main(["info", "phase.h5"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("phase.h5: a sweep of sphere-clusters, 4 of 4 points done\n")
    assert "attention.beta     4 values, 1 .. 4" in printed
    assert main(["info", "phase.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["drift_evaluations"] > 0


def test_plot_draws_a_sweep(phase, capsys):
    assert main(["plot", "phase.h5", "--observable", "clusters"]) == 0
    assert capsys.readouterr().out == "phase.png\n"
    assert (phase.parent / "phase.png").read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "phase.h5"]) == 2
    assert "--out: phase.png exists already" in capsys.readouterr().err
    assert main(["plot", "phase.h5", "--kind", "phase", "--out", "b.svg"]) == 0
    assert main(["plot", "phase.h5", "--observable", "cluster", "--out", "c.svg"]) == 2
    assert "observable must be one of" in capsys.readouterr().err
    assert main(["plot", "phase.h5", "--at", "attention.beta=2", "--out", "c.svg"]) == 2
    assert not (phase.parent / "c.svg").exists()


def test_options_for_sweeps_are_refused_for_trajectories(here, capsys):
    assert main(["run", "sphere-clusters", *SMALL[:-2], "--out", "run.h5", "--quiet"]) == 0
    assert main(["plot", "run.h5", "--observable", "clusters"]) == 2
    assert "belong to sweep files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--grid", "attention.betta=1:4:4"), "attention.betta: unknown key; did you mean attention.beta?"),
        (("--grid", "attention.beta=1:4:0"), "attention.beta: the count of a grid must be from 1"),
        (("--grid", "attention.beta"), "--grid: must have the form section.key="),
        (("--grid", "tokens.count=3,0"), "tokens.count: must be at least 1; got 0 (at the point tokens.count = 0)"),
        ((*GRID, "--workers", "0"), "--workers"),
        ((*GRID, "--replicas", "0"), "--replicas"),
        ((*GRID, "--out", "."), "--out: . is a folder"),
        ((), "--grid"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(here, capsys, options, says):
    assert main(["sweep", "sphere-clusters", *SMALL, *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith("attndyn: ") and says in printed.err
    assert list(here.iterdir()) == []


def test_points_that_fail_are_counted_with_status_1_and_the_second_time_there_is_nothing_to_do(here, capsys):
    (here / "blowup.toml").write_text(
        '[tokens]\ncount = 4\n[space]\nkind = "euclidean"\n[attention]\nnormalisation = "none"\n'
        '[save]\nobservables = ["radius"]\n',
        "utf-8",
    )
    command = ["sweep", "blowup.toml", "--grid", "attention.beta=-1,1", *SMALL[-4:]]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith("attndyn: 1 of 2 points failed; the first: ")
    assert main(command) == 0
    assert "is finished already" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_sees_a_progress_bar(here):
    pty = pytest.importorskip("pty")
    screen, terminal = pty.openpty()
    command = [sys.executable, "-m", "attndyn.cli", "sweep", "sphere-clusters", "--grid", "attention.beta=1:9:20"]
    slow = [*SMALL, "--set", "tokens.count=40", "--set", "depth.rtol=1e-10"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [*command, *slow], cwd=here, stderr=terminal, stdout=subprocess.DEVNULL, env=environment
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
    assert b"of 20 points" in seen
    assert b"points/s" in seen
