"""What a mistake, a failure and a bug give: one of a small family of exceptions, and one line with its exit status."""

import ast
import errno
import inspect
import os
import subprocess
import sys
from pathlib import Path

import attndyn
import numpy as np
import pytest
from attndyn import errors
from attndyn.cli import main
from attndyn.cli.options import Interrupted
from attndyn.integrators.density import density_flow
from attndyn.integrators.gaussian_closure import gaussian_flow
from attndyn.particles.circle_density import CircleDensity
from attndyn.particles.gaussian import GaussianMeasure

FAMILY = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
NORMAL, DENSITY = GaussianMeasure([0.0], [[1.0]]), CircleDensity(np.array([1.0, 0.4 + 0j]))
SMALL = ("--set", "tokens.count=8", "--set", "depth.time=1.0", "--backend", "reference")


@pytest.fixture
def run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attndyn.run(attndyn.load("equiangular").override({"depth.time": 0.5}), out="run.h5", backend="reference").close()
    return tmp_path / "run.h5"


def test_all_of_the_family_are_public_and_documented():
    assert all(issubclass(kind, attndyn.AttndynError) and kind.__doc__ for kind in FAMILY.values())
    assert {*FAMILY} <= {*attndyn.__all__}
    documented = (Path(__file__).parents[1] / "docs" / "keeping.md").read_text("utf-8")
    assert all(f"`{name}`" in documented for name in FAMILY)


@pytest.mark.parametrize(
    ("kind", "standard", "provoke"),
    [
        ("InvalidInput", ValueError, lambda: attndyn.Sphere(0)),
        ("ScenarioError", ValueError, lambda: attndyn.load("equiangular").override({"tokens.cuont": 3})),
        ("ScenarioError", ValueError, lambda: attndyn.load("no-such-scenario")),
        ("InvalidInput", ValueError, lambda: attndyn.open("nothing.h5")),
        ("TrajectoryError", Exception, lambda: attndyn.open(__file__)),
        ("NoSuchName", KeyError, lambda: attndyn.open("run.h5").observables["nothing"]),
        ("NoSuchFrame", IndexError, lambda: attndyn.open("run.h5").positions[10**6]),
        ("ComputationFailed", Exception, lambda: gaussian_flow(attndyn.Attention(), NORMAL, 9.0)),
        ("ComputationFailed", Exception, lambda: density_flow(attndyn.Attention(), DENSITY, 99.0, most_degrees=32)),
    ],
)
def test_what_is_raised_is_of_the_family_and_of_pythons_kind(run_file, kind, standard, provoke):
    with pytest.raises(FAMILY[kind]) as caught:
        provoke()
    assert isinstance(caught.value, standard)
    assert type(caught.value) is FAMILY[kind]
    assert not str(caught.value).startswith(("'", '"'))  # a KeyError would show its repr


def test_a_missing_extra_names_what_to_install(monkeypatch, capsys, tmp_path):
    for name in [name for name in sys.modules if name.startswith("attndyn.particles.backends.tensor")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["run", "equiangular", "--backend", "torch", "--out", str(tmp_path / "run.h5")]) == 2
    assert 'pip install "attndyn[torch]"' in capsys.readouterr().err


def test_no_module_raises_another_exception_where_no_guard_turns_it_into_one_of_the_family():
    house = Path(attndyn.__file__).parent
    # what a guard, pydantic or the module itself turns into one of the family; attributes are Python's own protocol
    turned = [
        "opening",
        "checkpoints",
        "reading",
        "kept",
        "kept_arrays",
        "cut_off",
        "sweep_layout",
        "sweeps",
        "limits",
        "values",
        "keys",
        "grid",
        "overrides",
        "profiles",
        "tableaux",
        "encoders",
    ]
    allowed = {"AttributeError", "Interrupted", "KeyboardInterrupt", "Exit", "_Over", "error"}
    stray = []
    for room in ("particles", "integrators", "data", "scenarios", "cli"):
        for path in (house / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Raise) or node.exc is None:
                    continue
                called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                standard = isinstance(getattr(__builtins__, name, None) or vars(__import__("builtins")).get(name), type)
                if standard and name not in allowed and path.stem not in turned:
                    stray.append(f"{path.relative_to(house)}:{node.lineno} raises {name}")
    assert not stray, "\n".join(stray)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (errors.InvalidInput("a must be b; got c"), 2, "attndyn: a must be b; got c"),
        (errors.ScenarioError("tokens.count: missing"), 2, "attndyn: tokens.count: missing"),
        (errors.NoSuchName("no observable 'x'"), 2, "attndyn: no observable 'x'"),
        (errors.NoSuchFrame("there are 3 frames"), 2, "attndyn: there are 3 frames"),
        (errors.MissingExtra("pip install it"), 2, "attndyn: pip install it"),
        (errors.ComputationFailed("it runs\nto infinity"), 1, "attndyn: it runs to infinity"),
        (errors.TrajectoryError("damaged"), 1, "attndyn: damaged"),
        (errors.AttndynError("other"), 1, "attndyn: other"),
        (PermissionError(errno.EACCES, "Permission denied", "x.h5"), 1, "Permission denied: 'x.h5'"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "attndyn: there is not enough memory: Unable to allocate 9 TiB"),
        (MemoryError(), 1, "attndyn: there is not enough memory"),
        (KeyboardInterrupt(), 1, "attndyn: interrupted"),
        (Interrupted("goes on so"), 130, "attndyn: goes on so"),
        (Interrupted("told to end", 143), 143, "attndyn: told to end"),
        (
            ZeroDivisionError("a\nbug"),
            1,
            "attndyn: unexpected ZeroDivisionError: a bug; this is a mistake of attndyn's",
        ),
    ],
)
def test_every_kind_is_one_line_with_its_exit_status(monkeypatch, capfd, error, status, said):
    from attndyn.scenarios import results

    def fail(*_):
        raise error

    monkeypatch.setattr(results, "described", fail)
    assert main(["info", "x.h5"]) == status
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_of_a_bug_the_traceback_is_shown_when_asked_for(monkeypatch):
    from attndyn.scenarios import results

    monkeypatch.setattr(results, "described", lambda *_: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        main(["--traceback", "info", "x.h5"])


@pytest.mark.parametrize("words", [["info"], ["run", "equiangular", "--nothing"], ["no-command"], ["run", "x.toml"]])
def test_words_that_are_wrong_have_status_2_and_one_line(words, capfd):
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err.startswith("attndyn: ")


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe as `head` does")
def test_a_reader_that_has_had_enough_is_no_failure_to_be_told():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "attndyn.cli", "show", "equiangular"]
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (process.returncode, process.stderr) == (1, "")


def test_where_nothing_may_be_written_is_found_before_the_run(tmp_path, monkeypatch, capfd):
    from attndyn.scenarios import run

    monkeypatch.setattr(run, "integrate", lambda *_, **__: pytest.fail("the run was started"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(["run", "equiangular", "--out", str(tmp_path / "run.h5")]) == 2
    assert "no permission to write to the folder" in capfd.readouterr().err
    assert main(["run", "equiangular", "--out", str(tmp_path / "no" / "run.h5")]) == 2
    assert "there is no folder" in capfd.readouterr().err


def test_a_run_goes_on_as_it_was_begun_or_says_that_it_cannot_do_otherwise(tmp_path, monkeypatch, capfd):
    from attndyn.scenarios import watch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch.Watch, "end", lambda self: "interrupted")
    assert main(["run", "sphere-clusters", *SMALL, "--out", "run.h5"]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    begun = ["run", "sphere-clusters", *SMALL[:-1]]
    for words, said in (
        ([*begun, "torch"], "--backend torch: run.h5 was begun with reference"),
        ([*begun, "reference", "--processes", "2"], "--processes 2: run.h5 was begun with 1"),
        ([*begun, "reference", "--device", "cuda"], "--device cuda: run.h5 was begun with cpu"),
    ):
        assert main([*words, "--out", "run.h5", "--resume"]) == 2
        assert said in capfd.readouterr().err
    assert main([*begun, "reference", "--out", "run.h5", "--resume", "--quiet"]) == 0


def test_info_tells_of_a_newer_file_that_a_killed_run_left(run_file, capsys):
    (run_file.parent / "run.h5.partial").write_bytes(run_file.read_bytes())
    assert main(["info", "run.h5"]) == 0
    assert "newer        run.h5.partial, of a run that goes on with this one, or was killed" in capsys.readouterr().out
