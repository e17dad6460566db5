"""Sweeps that are killed, interrupted and gone on with; and on a cluster, where workers are lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import ClassVar

import h5py
import numpy as np
import pytest
from attndyn import open_sweep, sweep
from attndyn.cli import main
from attndyn.data.sweep_writing import SweepWriter
from attndyn.data.sweeps import is_sweep
from attndyn.errors import InvalidInput, MissingExtra, TrajectoryError
from attndyn.scenarios import points, workers
from attndyn.scenarios.schema import load

from .test_sweep import REFERENCE, same

SCENARIO = """
[tokens]
count = 6
replicas = 2
[depth]
time = 2.0
method = "rk4"
step = 0.1
[save]
every = 0.2
observables = ["order", "mean_cosine"]
"""
GRID = "attention.beta=0:5:40"
BETAS = np.linspace(0.0, 5.0, 40)
posix = pytest.mark.skipif(os.name != "posix" or not shutil.which("ps"), reason="sends signals and lists processes")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.toml").write_text(SCENARIO, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The bytes of the sweep as it is when nothing happens to it."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "small.toml").write_text(SCENARIO, encoding="utf-8")
    sweep(place / "small.toml", {"attention.beta": BETAS}, out=place / "whole.h5", **REFERENCE).close()
    return (place / "whole.h5").read_bytes()


@pytest.fixture
def whole(folder, undisturbed):
    """The sweep as it is when nothing happens to it, as whole.h5."""
    (folder / "whole.h5").write_bytes(undisturbed)
    with open_sweep("whole.h5") as result:
        yield result


def start(*options, grid=GRID):
    """A sweep in a process of its own, and of its own group, as a terminal starts it."""
    command = [sys.executable, "-m", "attndyn.cli", "sweep", "small.toml", "--grid", grid, "--out", "a.h5"]
    return subprocess.Popen(
        [*command, "--backend", "reference", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_done(process, count):
    """Wait until so many points are done in the file, looking at it while it is written."""
    while process.poll() is None:
        if is_sweep("a.h5"):
            with open_sweep("a.h5") as result:
                if result.done.sum() >= count:
                    return
        time.sleep(0.01)
    pytest.fail(f"it ended before: {process.communicate()}")


def members(group):
    """The processes of a group that are still there."""
    listed = subprocess.run(["ps", "-eo", "pgid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pgid, pid, state in rows if int(pgid) == group and not state.startswith("Z")]


def left_after_a_while(group):
    """The processes of a group that do not end by themselves."""
    deadline = time.monotonic() + 20
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return members(group)


@posix
@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_a_killed_sweep_leaves_a_file_that_opens_and_goes_on(folder, whole, workers):
    killed = []
    for count in (1, 12):
        with start("--workers", workers) as process:
            wait_until_done(process, count)
            process.kill()
        assert left_after_a_while(process.pid) == []  # workers end with the one that started them
        with open_sweep("a.h5") as result:
            done = result.done
            assert count <= done.sum() < len(BETAS)
            for name, values in whole.observables.items():
                np.testing.assert_array_equal(result.observables[name][done], values[done])
                assert np.isnan(result.observables[name][~done]).all()
            assert (result.status == np.where(done, "finished", "")).all()
            killed.append(done)
    assert all((after >= before).all() for before, after in pairwise(killed))
    with sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", **REFERENCE) as result:
        assert same(result, whole)


@posix
@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_ctrl_c_has_status_130_one_line_and_keeps_what_is_complete(folder, whole, workers):
    with start("--workers", workers) as process:
        wait_until_done(process, 3)
        os.killpg(process.pid, signal.SIGINT)  # to all of the group, as a terminal does
        out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (130, "", 1)
    assert left_after_a_while(process.pid) == []
    with open_sweep("a.h5") as result:
        count = result.done.sum()
        assert 3 <= count < len(BETAS)
    assert f"interrupted after {count} of 40 points; the same command goes on" in err
    assert (
        main(["sweep", "small.toml", "--grid", GRID, "--out", "a.h5", "--backend", "reference", "--workers", "1"]) == 0
    )
    with open_sweep("a.h5") as result:
        assert same(result, whole)


def test_only_points_that_are_not_done_are_computed(folder, whole, monkeypatch):
    computed = []
    follow = points.follow

    def stopping(plan, *arguments, **options):
        if len(computed) == 10:
            raise KeyboardInterrupt
        computed.append(plan.scenario.attention.beta)
        return follow(plan, *arguments, **options)

    monkeypatch.setattr(points, "follow", stopping)
    with pytest.raises(KeyboardInterrupt):
        sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", **REFERENCE)
    assert computed == BETAS[:10].tolist()

    def noting(plan, *arguments, **options):
        computed.append(plan.scenario.attention.beta)
        return follow(plan, *arguments, **options)

    monkeypatch.setattr(points, "follow", noting)
    seen = []
    options = {"out": "a.h5", "progress": lambda *done: seen.append(done), **REFERENCE}
    with sweep("small.toml", {"attention.beta": BETAS}, **options) as result:
        assert same(result, whole)
    assert computed == BETAS.tolist()
    assert seen == [(k, 40) for k in range(10, 41)]


def test_a_point_that_was_torn_is_not_shown_and_computed_again(folder, whole):
    with sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", **REFERENCE):
        pass
    with h5py.File("a.h5", "r+") as file:
        file["done"][7] = 0
        file["order_mean"][7] = 1e9
        file["time"][7, 3:] = 5.0
    with open_sweep("a.h5") as result:
        assert np.isnan(result.observables["order"][7]).all() and np.isnan(result.times[7]).all()
        assert result.status[7] == "" and not result.finished
    with sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", **REFERENCE) as result:
        assert same(result, whole)


def test_a_file_made_just_before_the_kill_is_gone_on_with(folder, whole):
    (folder / "a.h5").write_bytes(whole.path.read_bytes())
    with h5py.File("a.h5", "r+") as file:
        file["done"][...] = 0
    with sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", **REFERENCE) as result:
        assert same(result, whole)


def test_a_finished_sweep_is_left_alone_unless_asked(folder, whole, monkeypatch, capsys):
    command = ["sweep", "small.toml", "--grid", GRID, "--out", "whole.h5", "--backend", "reference", "--workers", "1"]
    before = whole.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(points, "follow", lambda *_: pytest.fail("it ran"))
        assert main(command) == 0
    assert "whole.h5 is finished already: 40 points; nothing to do" in capsys.readouterr().out
    assert whole.path.read_bytes() == before
    assert main([*command, "--overwrite"]) == 0
    assert capsys.readouterr().out.startswith("finished: 40 points in whole.h5")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--grid", "attention.beta=0:5:41"], "different in the grid of attention.beta;"),
        (["--grid", GRID, "--grid", "tokens.seed=1,2"], "different in the grid of tokens.seed;"),
        (["--grid", GRID, "--seed", "3"], "different in the scenario;"),
        (["--grid", GRID, "--replicas", "5"], "different in the scenario;"),
        (["--grid", GRID, "--every-replica"], "different in every_replica (False there);"),
        (
            ["--grid", GRID, "--backend", "numba"],
            "different in engine ({'backend': 'reference',",
        ),
        (["--grid", GRID, "--set", 'save.observables=["order"]'], "different in the scenario, observables (["),
    ],
)
def test_a_file_of_another_sweep_is_told_with_what_differs(folder, whole, capsys, options, says):
    before = whole.path.read_bytes()
    assert main(["sweep", "small.toml", "--backend", "reference", "--out", "whole.h5", *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("attndyn: whole.h5 holds another sweep, ") and printed.count("\n") == 1
    assert says in printed
    assert whole.path.read_bytes() == before


@posix
def test_two_sweeps_do_not_write_one_file(folder):
    with start("--workers", "1", grid="attention.beta=0:5:400") as process:
        wait_until_done(process, 1)
        grids = {"attention.beta": np.linspace(0.0, 5.0, 400)}
        with pytest.raises(TrajectoryError, match=r"a\.h5: another process is at work on this sweep"):
            sweep("small.toml", grids, out="a.h5", **REFERENCE)
        process.kill()
    SweepWriter("a.h5").close()  # the lock is gone with the process


# on a cluster


def test_without_dask_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'attndyn\[cluster\]'"):
        sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", scheduler="tcp://127.0.0.1:1", **REFERENCE)


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_told(folder, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "ANSWER_WITHIN", "2s")
    with pytest.raises(InvalidInput, match="no Dask scheduler answers at"):
        sweep("small.toml", {"attention.beta": BETAS}, out="a.h5", scheduler="tcp://127.0.0.1:1", **REFERENCE)


@posix
@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_bits(folder, whole):
    distributed = pytest.importorskip("distributed")
    killed = []

    def lose(done, count):
        if done == 4:
            victim = cluster.workers[0].pid
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        assert len({worker.pid for worker in cluster.workers.values()}) == 2
        address = cluster.scheduler_address
        with sweep(
            "small.toml", {"attention.beta": BETAS}, out="a.h5", backend="reference", scheduler=address, progress=lose
        ) as result:
            assert same(result, whole)
    assert len(killed) == 1


def test_a_point_that_kills_every_worker_is_given_up(folder, monkeypatch):
    distributed = pytest.importorskip("distributed")
    from attndyn.scenarios import workers

    class Future:
        def __init__(self, number):
            self.number = number

        def result(self):
            if self.number == 1:
                raise distributed.scheduler.KilledWorker("task", SimpleNamespace(address="x"), 3)
            return points.Outcome("finished", np.zeros(1))

    class Client:
        submitted: ClassVar[list] = []
        loop = None

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, study, changes, **_):
            self.submitted.append(changes["number"])
            return Future(changes["number"])

    class Completed(list):
        add = list.append

        def __init__(self, futures, loop):
            super().__init__(futures)

    monkeypatch.setattr(distributed, "Client", Client)
    monkeypatch.setattr(distributed, "as_completed", Completed)
    outcomes = dict(
        workers.on_cluster(points.compute, None, [(k, {"number": k}) for k in range(3)], "tcp://somewhere:1")
    )
    assert [outcomes[k].status for k in (0, 2)] == ["finished", "finished"]
    assert outcomes[1].status.startswith("failed: KilledWorker")
    assert Client.submitted.count(1) == 1 + workers.LOST


def test_a_study_sent_to_workers_is_small(folder):
    import pickle

    scenario = load("minilm-alice")
    study = points.Study(scenario.text, scenario.name, scenario.folder, "numba", "cpu", 1)
    assert len(pickle.dumps((study, {"attention.beta": 1.0}))) < 10_000


def test_an_interrupt_while_nothing_is_done_says_so(folder, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(points, "follow", interrupt)
    command = ["sweep", "small.toml", "--grid", GRID, "--out", "a.h5", "--backend", "reference", "--workers", "1"]
    assert main(command) == 130
    assert "interrupted after 0 of 40 points" in capsys.readouterr().err
    assert not (folder / "a.h5").exists()
