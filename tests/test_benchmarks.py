"""The benchmarks measure what they say: peers compute our drift, spreads and bars are right, nothing fails unsaid."""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))  # they are not installed

from benchmarks import __main__ as command
from benchmarks import drift, peers, tables, trajectories
from benchmarks.timing import LeftOut, Measured, Row, side_by_side

SMALL = trajectories.Problem(tokens=16, t_end=1.0, frames=4)


def test_a_measured_number_is_the_median_and_knows_the_middle_half():
    number = Measured([5.0, 1.0, 2.0, 4.0, 3.0])
    assert number == 3.0
    assert number.spread == (2.0, 4.0)
    assert (number * 10).spread == (20.0, 40.0)
    assert (number / 10).samples == (0.5, 0.1, 0.2, 0.4, 0.3)


def test_a_quotient_is_taken_repeat_by_repeat():
    # a busy machine slows both alike: the quotient does not move
    busy, quiet = Measured([2.0, 20.0, 4.0]), Measured([1.0, 10.0, 2.0])
    assert (busy / quiet).samples == (2.0, 2.0, 2.0)
    assert busy / Measured([1.0]) == 4.0


def test_calls_take_turns_and_are_warmed_up():
    calls = []
    times = side_by_side([lambda: calls.append("a"), lambda: calls.append("b")], rounds=2, repeats=3)
    assert "".join(calls) == ("a" * 6 + "b" * 6) * 2
    assert [len(time.samples) for time in times] == [6, 6]


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (2.0, False, "meets the bar"),
        (2.1, False, "falls short"),
        (2.0, True, "meets the bar"),
        (1.9, True, "falls short"),
    ],
)
def test_a_bar_is_met_from_the_right_side(value, at_least, verdict):
    assert Row("x", value, "s", 2.0, at_least=at_least).verdict == verdict
    assert Row("x", value, "s").verdict == ""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "KeOps" in name else name for name in peers.PEERS]
)
@pytest.mark.parametrize("dtype", peers.TYPES)
def test_a_peer_computes_our_drift(name, dtype, monkeypatch):
    monkeypatch.setattr(peers, "PEERS", {name: peers.PEERS[name]})
    entries = list(peers.one_drift(40, 3, dtype, 1, 1))
    if isinstance(entries[0], LeftOut):
        assert "is not installed" in entries[0].why
        pytest.skip(entries[0].why)
    assert [row.column for row in entries] == ["attndyn", name]  # it passed the comparison with our drift
    assert all(row.value > 0 for row in entries)


def test_a_peer_that_computes_something_else_or_fails_is_left_out(monkeypatch):
    def doubled(x, beta):
        dense = peers.numpy_dense(x, beta)
        return lambda: 2 * dense()

    def broken(x, beta):
        raise RuntimeError("no compiler")

    def missing(x, beta):
        import no_such_package  # noqa: F401

    monkeypatch.setattr(peers, "PEERS", {"a": (doubled, "e"), "b": (broken, "e"), "c": (missing, "benchmark-c")})
    entries = list(peers.one_drift(20, 3, np.float64, 1, 1))
    assert [entry.column for entry in entries if isinstance(entry, Row)] == ["attndyn"]
    reasons = {entry.what[0]: entry.why for entry in entries if isinstance(entry, LeftOut)}
    assert "differs from ours" in reasons["a"]
    assert "no compiler" in reasons["b"]
    assert reasons["c"] == "no_such_package is not installed: pip install '.[benchmark-c]'"


@pytest.mark.parametrize("name", trajectories.PEERS)
def test_a_peer_solves_our_problem(name):
    pytest.importorskip({"diffrax Tsit5": "diffrax", "torchdiffeq dopri5": "torchdiffeq"}.get(name, "scipy"))
    tight = SMALL.tightened(100)
    reference = trajectories.ours(tight.tightened(100))()
    answer = trajectories.PEERS[name][0](tight)()
    assert answer.positions.shape == (4, 16, 3)
    assert answer.error(reference) < 1e-8
    assert int(answer.work.split()[0]) > 5


def test_ours_is_compared_at_no_larger_error(monkeypatch):
    monkeypatch.setattr(trajectories, "PEERS", {"scipy": trajectories.PEERS["scipy DOP853 over NumPy"]})
    reference = trajectories.ours(SMALL.tightened(1e4))()
    error = trajectories.ours(SMALL)().error(reference)
    name, solve = trajectories.as_exact(SMALL, error / 30, reference)
    assert name != "attndyn dop853"
    assert solve().error(reference) <= error / 30
    assert trajectories.as_exact(SMALL, 2 * error, reference)[0] == "attndyn dop853"

    rows = list(trajectories.rows(SMALL, rounds=3))
    assert [row.unit for row in rows] == ["s", "s", "times ours"]
    assert rows[2].at_least
    assert rows[2].bar == 3.5
    assert "error" in rows[2].detail


def test_the_drift_rows_are_ratios():
    row = next(drift.causal_against_unmasked(64))
    assert 0 < row.value < 50
    assert row.repeats == 25


def test_without_torch_the_drift_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    entry = next(iter(drift.rows()))
    assert isinstance(entry, LeftOut)
    assert "pip install '.[benchmark]'" in entry.why


@pytest.fixture
def groups(monkeypatch):
    """One group that works, one that fails on its way, one that is not there."""
    works, fails = types.ModuleType("benchmarks.works"), types.ModuleType("benchmarks.fails")
    wide = [Row("n = 1", 1.5, "ns per pair", column=column) for column in ("ours", "theirs")]
    rows = [*wide, Row("a drift", Measured([1.0, 2.0, 3.0]), "s", 1.0, "so"), LeftOut("a peer", "it is not installed")]
    works.rows = lambda: iter(rows)

    def failing():
        yield Row("before", 1.0, "s")
        raise ValueError("in the middle")

    fails.rows = failing
    monkeypatch.setitem(sys.modules, "benchmarks.works", works)
    monkeypatch.setitem(sys.modules, "benchmarks.fails", fails)
    monkeypatch.setattr(command, "GROUPS", {"works": "works", "fails": "fails", "absent": "absent"})


def test_the_command_writes_tables_and_every_repeat(groups, tmp_path, capsys):
    command.main(["--json", str(tmp_path / "rows.json"), "--markdown", str(tmp_path / "tables.md")])
    text = (tmp_path / "tables.md").read_text()
    assert "| n = 1 | 1.5 | 1.5 |" in text
    assert "| a drift | 2 (1.5 to 2.5) s | at most 1 | falls short | so |" in text
    assert "- Left out: a peer (it is not installed)." in text
    assert f"numpy {np.__version__}" in text
    assert text in capsys.readouterr().out

    data = json.loads((tmp_path / "rows.json").read_text())
    assert data["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert data["groups"]["works"][2]["samples"] == [1.0, 2.0, 3.0]
    assert data["groups"]["works"][2]["verdict"] == "falls short"
    assert data["groups"]["fails"][0]["what"] == "before"
    assert "in the middle" in data["groups"]["fails"][1]["left out"]
    assert "absent" in data["groups"]["absent"][0]["left out"]


def test_the_command_runs_what_is_named(groups, capsys):
    command.main(["works"])
    assert "a drift: 2 (1.5 to 2.5) s; falls short; so" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["nonsense"])
    assert "unknown group: nonsense; there are works, fails, absent" in capsys.readouterr().err


def test_every_group_can_be_imported():
    assert all(hasattr(importlib.import_module(f"benchmarks.{module}"), "rows") for module in command.GROUPS.values())


def test_versions_that_are_not_there_are_said(monkeypatch):
    monkeypatch.setattr(tables, "PACKAGES", ("numpy", "no-such-package"))
    found = tables.machine()
    assert (found["numpy"], found["no-such-package"]) == (np.__version__, "not installed")
