"""What a stranger may have written into a file or a scenario: any type, any size, any length, characters that steer."""

import hashlib
import json
import os
import subprocess
import sys

import attndyn
import h5py
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data import layout
from attndyn.data.excerpt import cluster_distance_of, title_of
from attndyn.data.verifying import verified
from attndyn.errors import InvalidInput, TrajectoryError
from attndyn.scenarios import room
from attndyn.scenarios.account import account_of_run
from attndyn.scenarios.build import build

SMALL = {"tokens.count": 4, "depth.time": 1.0, "save.every": 0.25}


@pytest.fixture
def interrupted(tmp_path):
    """The file of a run that was interrupted, at half its depth."""
    path = tmp_path / "run.h5"

    def end(t, _):
        if t > 0.5:
            raise KeyboardInterrupt

    attndyn.run(attndyn.Scenario.parse("").override(SMALL), path, backend="reference", progress=end).close()
    return path


def put(path, name, value):
    """A text of the file replaced by this JSON, with its sha256 if it has one."""
    text = json.dumps(value).encode()
    with h5py.File(path, "r+") as file:
        hashed = "sha256" in file[name].attrs
        del file[name]
        file.create_dataset(name, data=np.frombuffer(text, np.uint8))
        if hashed:
            file[name].attrs["sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())


def test_a_damaged_file_that_seems_to_be_written_is_given_up_soon(tmp_path):
    """HDF5 itself would wait for its writer for ever."""
    script = f"""if True:
        import h5py, os
        file = h5py.File({str(tmp_path / "a.h5")!r}, "w", libver="v110")
        file.create_group("h5md").attrs["version"] = [1, 1]
        file.swmr_mode = True
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", script], check=True)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    header = content.find(b"OHDR")
    while header >= 0:
        content[header + 8] ^= 1  # a time, of which only the checksum knows
        header = content.find(b"OHDR", header + 1)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(TrajectoryError, match=r"a\.h5: "):
        attndyn.open(tmp_path / "a.h5")


@pytest.mark.parametrize("value", ["many", [2], {"name": [1]}, None, True])
def test_provenance_of_any_type_does_no_harm(interrupted, tmp_path, value):
    with attndyn.open(interrupted) as trajectory:
        provenance = dict(trajectory.provenance)
    names = ["scenario", "processes", "threads", "resumed", "versions"]
    names += [] if isinstance(value, str) else ["device"]
    put(interrupted, layout.PROVENANCE, provenance | dict.fromkeys(names, value))
    with attndyn.open(interrupted) as trajectory:
        assert account_of_run(trajectory, 0).again
    with attndyn.resume(interrupted) as trajectory:
        assert trajectory.status == "finished"
        assert trajectory.provenance["resumed"][-1]["frames"] > 0


def test_a_checkpoint_of_any_number_of_slots_is_not_walked_through(interrupted):
    with h5py.File(interrupted, "r+") as file:
        del file[layout.CHECKPOINT]
        file.create_dataset(layout.CHECKPOINT, (10**12, 1000), "u1", chunks=(1, 1000))
    assert any(layout.CHECKPOINT in damage and "two slots" in damage for damage in verified(interrupted))


def test_what_a_file_says_does_not_steer_the_terminal(interrupted, capsys):
    put(interrupted, layout.OUTCOME, {"status": "finished \x1b[2J", "statistics": {"\x07": "\x9b"}})
    assert main(["info", str(interrupted)]) == 0
    put(interrupted, layout.SPACE, {"kind": "sphere", "dimension": 3, "\x1b]0;" + "x" * 50_000: 1})
    assert main(["info", str(interrupted)]) == 1
    told = capsys.readouterr()
    assert "finished ?[2J" in told.out and not {"\x1b", "\x07", "\x9b"} & {*told.out, *told.err}
    assert len(told.err) < 2000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (".".join("a" * 3000) + " = 1", "a key of more than 100 parts"),
        (".".join("a" * 50) + " = 1", "nested more than 20 deep"),
        ("x = " + "[" * 50 + "]" * 50, "nested more than 20 deep"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("x = " + "9" * 5000, "not valid TOML: .*digits"),
        ("k" * 5000 + " = 1", r"^k{57}\.\.\.: unknown key"),
        ('"\\u001b[2J" = 1', r"^\?\[2J: unknown key"),
    ],
    ids=["very deep keys", "deep keys", "deep lists", "very deep lists", "long number", "long key", "steering key"],
)
def test_a_text_of_any_form_is_told_in_a_sentence(text, sentence):
    with pytest.raises(InvalidInput, match=sentence) as told:
        attndyn.Scenario.parse(text)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("name", ["a\0b.npy", "a" * 5000 + ".npy", "../" * 3000 + "x.npy"])
def test_a_file_of_any_name_is_told_under_its_key(tmp_path, name, outside):
    scenario = attndyn.Scenario.parse("", folder=tmp_path, outside=outside).override(
        {"attention.query": {"file": name}}
    )
    with pytest.raises(InvalidInput, match=r"^attention\.query: ") as told:
        build(scenario)
    assert "\0" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tokens.count": 10**9, "tokens.replicas": 10**7}, "tokens.initial: needs .* GB of memory"),
        ({"tokens.replicas": 10**7}, "tokens.initial: needs .* GB of memory"),
        ({"attention.heads": 10**6, "attention.head_dimension": 10**6, "attention.query": {"law": "gaussian"}},
         "attention: needs"),
        ({"depth.layers": 10**7, "depth.weights": "independent", "attention.query": {"law": "gaussian"}},
         "attention: needs"),
        ({"block.feed_forward": {"hidden": 10**7}, "tokens.dimension": 10**3}, "attention: needs"),
    ],
    ids=["tokens", "replicas", "matrices", "layers", "hidden"],
)  # fmt: skip
def test_memory_is_asked_for_before_it_is_taken(monkeypatch, changes, sentence):
    monkeypatch.setattr(room, "memory", lambda: 1e9)
    with pytest.raises(InvalidInput, match=sentence):
        build(attndyn.Scenario.parse("").override(changes))


def test_a_process_with_a_limit_may_take_what_is_left_of_it():
    if not hasattr(os, "sysconf"):
        assert room.memory() == float("inf")
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    free = room.memory()
    script = (
        "import resource; from attndyn.scenarios import room; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40));"
        "resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33)); print(room.memory())"
    )
    limited = float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)
    assert before == resource.getrlimit(resource.RLIMIT_AS)
    assert 0 < limited <= min(free, 2**33)


@pytest.mark.parametrize("text", ["[" * 100_000, "title = 1", "save = 1", "x = " + "9" * 5000,
                                  "title = 3\n[save]\ncluster_distance = 1" + "0" * 400])  # fmt: skip
def test_a_title_and_a_distance_are_looked_for_in_any_text(text):
    class Holder:
        scenario_text = text

    assert (title_of(Holder), cluster_distance_of(Holder)) == ("", None)


def test_a_sweep_whose_axes_are_no_table_is_refused(tmp_path):
    scenario = attndyn.Scenario.parse("").override(SMALL)
    attndyn.sweep(
        scenario, {"attention.beta": [1.0, 2.0]}, out=tmp_path / "s.h5", workers=1, backend="reference"
    ).close()
    with attndyn.open_sweep(tmp_path / "s.h5") as sweep:
        description = json.loads(sweep.description.to_json())
    for wrong in ({"axes": True}, {"axes": {"a": 1}}, {"observables": 3}, {"axes": {"b" * 9000: [1.0]}}):
        put(tmp_path / "s.h5", "parameters/description", description | wrong)
        with pytest.raises(TrajectoryError, match=r"s\.h5: ") as told:
            attndyn.open_sweep(tmp_path / "s.h5")
        assert len(str(told.value)) < 2000
