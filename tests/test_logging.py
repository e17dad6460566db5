"""What is logged: nothing that one has not asked for, and everything that tells where a run and its file stand."""

import json
import logging
import subprocess
import sys

import attndyn
import pytest
from attndyn.cli import main
from attndyn.logs import shown

SMALL = ("--set", "tokens.count=8", "--set", "depth.time=1.0", "--backend", "reference")
AWAY = '[tokens]\ncount = 4\n[space]\nkind = "euclidean"\n[attention]\nnormalisation = "none"\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away.toml").write_text(AWAY, "utf-8")
    return tmp_path


def test_a_program_that_does_not_listen_hears_nothing(here):
    code = "import attndyn; print(attndyn.run('away.toml', out='away.h5', backend='reference').status[:6])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ("failed\n", "")


def test_one_that_listens_hears_of_files_depths_and_failures(here, caplog):
    with caplog.at_level(logging.DEBUG, "attndyn"):
        attndyn.run("away.toml", out="away.h5", backend="reference").close()
    said = caplog.text
    assert "4 tokens to depth 10 by tsit5, ReferenceField on reference" in said
    assert "away.h5.partial: begun" in said
    assert "away.h5.partial: checkpoint 1, with " in said
    assert "frames are on the disk, to depth " in said
    assert "away.h5: closed with " in said
    assert "away.h5: opened for reading" in said
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("the run failed: ") and "at depth " in warning.getMessage()
    assert all(record.name.startswith("attndyn.") for record in caplog.records)


def test_merges_and_resuming_are_logged(here, caplog, monkeypatch):
    from attndyn.scenarios import watch

    monkeypatch.setattr(watch.Watch, "end", lambda self: "interrupted")
    scenario = attndyn.load("sphere-clusters").override(
        {"tokens.count": 8, "depth.time": 1.0, "depth.merge": 0.5, "save.observables": ["order"]}
    )
    with caplog.at_level(logging.DEBUG, "attndyn"):
        attndyn.run(scenario, out="run.h5", backend="reference").close()
        monkeypatch.undo()
        with attndyn.open(here / "run.h5") as interrupted:
            reached = interrupted.times[-1]
        attndyn.resume(here / "run.h5").close()
    assert "tokens have become" in caplog.text
    assert 0.0 < reached < 1.0 and f"run.h5: going on from depth {reached:.6g} with 1 frames" in caplog.text


def test_the_command_line_logs_to_stderr_where_it_is_asked_to_and_leaves_json_alone(here, capfd):
    assert main(["--log-level", "debug", "run", "sphere-clusters", *SMALL, "--out", "run.h5", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["status"] == "finished"
    assert "DEBUG attndyn.data.trajectory: run.h5.partial: begun" in err
    assert main(["run", "sphere-clusters", *SMALL, "--out", "again.h5", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["status"] == "finished" and err == ""
    assert main(["--log-level", "loud", "list"]) == 2


def test_the_command_line_prints_warnings_but_tells_a_failure_once(here, capfd):
    assert main(["run", "away.toml", "--backend", "reference"]) == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert main(["--log-level", "debug", "run", "away.toml", "--backend", "reference", "--overwrite"]) == 1
    assert "WARNING attndyn.integrators.integrate: the run failed: " in capfd.readouterr().err


def test_each_record_is_shown_once_and_the_logger_is_left_as_it_was(capsys):
    logger = logging.getLogger("attndyn")
    before = (logger.level, [*logger.handlers])
    with shown(logging.WARNING, "outer %(message)s"), shown(logging.INFO, "inner %(message)s"):
        logging.getLogger("attndyn.data").info("one")
        logging.getLogger("attndyn.data").warning("two")
        logging.getLogger("attndyn.data").debug("three")
    logging.getLogger("attndyn.data").warning("four")
    assert capsys.readouterr().err == "inner one\nouter two\n"
    assert (logger.level, logger.handlers) == before
