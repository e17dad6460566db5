"""The same scenario and seed give the same file: on 1 thread and 2, in another process, and after an upgrade.

golden/files.zip holds files of every class of run, which golden/make.py has written. On the versions of NumPy and Numba
and the processor that they were made on all of their numbers are compared to the bit, elsewhere to TOLERANCE; the names
of the tests say which.
"""

import json
import subprocess
import sys
import zipfile

import attndyn
import h5py
import numpy as np
import pytest
from attndyn.data import layout
from golden import make

TOLERANCE = 1e-9  # of the largest number of a dataset
CLOCKED = (layout.PROVENANCE, layout.CHECKPOINT)  # with times of day, or written when a clock says so

with zipfile.ZipFile(make.ARCHIVE) as files:
    MADE_ON = json.loads(files.read(make.MACHINE))
SAME_MACHINE = make.machine() == MADE_ON
COMPARED = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=f"{name}, to the bit" if SAME_MACHINE else f"{name}, to {TOLERANCE:g}")
        for name in make.SCENARIOS
    ],
)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The folder of the files that were kept."""
    folder = tmp_path_factory.mktemp("golden")
    with zipfile.ZipFile(make.ARCHIVE) as files:
        files.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    """The folder of the files of the same scenarios, written now on one thread."""
    folder = tmp_path_factory.mktemp("today")
    make.write(folder, threads=1)
    return folder


def datasets(path):
    """All datasets but those of the wall clock: name -> array; the outcome without its seconds."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.__setitem__(name, item) if isinstance(item, h5py.Dataset) else None)
        found = {name: item[...] for name, item in found.items() if name not in CLOCKED}
    outcome = json.loads(found.pop(layout.OUTCOME).tobytes())
    outcome["statistics"] = {name: value for name, value in outcome["statistics"].items() if "seconds" not in name}
    return found, outcome


def same(first, second, tolerance=0.0):
    """Assert that two files hold the same, numbers to a tolerance."""
    (first, ending), (second, other) = datasets(first), datasets(second)
    assert list(first) == list(second)
    for name, values in first.items():
        assert (values.shape, values.dtype) == (second[name].shape, second[name].dtype), name
        if tolerance == 0.0 or values.dtype.kind != "f":
            assert values.tobytes() == second[name].tobytes(), name
        else:
            bound = tolerance * float(np.nanmax(np.abs(values), initial=1.0))
            np.testing.assert_allclose(values, second[name], rtol=0.0, atol=bound, err_msg=name)
    if tolerance == 0.0:
        assert ending == other
    else:  # what a failure says of its depth may differ in the last digit
        assert ending["status"][:20] == other["status"][:20]


@COMPARED
def test_a_file_is_that_of_the_version_it_was_kept_from(golden, today, name):
    same(golden / f"{name}.h5", today / f"{name}.h5", 0.0 if SAME_MACHINE else TOLERANCE)


def test_another_process_on_two_threads_writes_the_same_files(today, tmp_path):
    subprocess.run([sys.executable, make.__file__, str(tmp_path), "2"], check=True)
    for name in make.SCENARIOS:
        same(today / f"{name}.h5", tmp_path / f"{name}.h5")


def test_a_system_that_two_threads_share_gives_the_same_file(tmp_path):
    scenario = make.scenario_of("adaptive").override({"tokens.count": 700, "depth.time": 0.5})
    for threads in (1, 2):
        attndyn.run(scenario, out=tmp_path / f"{threads}.h5", threads=threads).close()
    same(tmp_path / "1.h5", tmp_path / "2.h5")


@pytest.mark.parametrize("name", ["interrupted", "killed"])
def test_an_unfinished_file_of_that_version_is_gone_on_with(golden, tmp_path, name):
    for path in golden.glob(f"{name}.h5*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with attndyn.resume(tmp_path / f"{name}.h5") as run:
        assert run.status == "finished" and len(run.provenance["resumed"]) == 1
    same(golden / "adaptive.h5", tmp_path / f"{name}.h5", 0.0 if SAME_MACHINE else TOLERANCE)


@pytest.mark.parametrize("name", make.SCENARIOS)
def test_a_file_of_that_version_is_opened_with_its_law(golden, name):
    with attndyn.open(golden / f"{name}.h5") as run:
        assert run.status == "finished" if name != "failed" else run.status.startswith("failed: ")
        assert run.scenario == make.scenario_of(name)
        assert len(run) == len(run.times) > 1 and np.isfinite(run.positions[:]).all()
        assert run.plan.ensemble.positions.shape == run.positions.shape[1:]
        assert run.provenance["versions"]["attndyn"]


def test_a_sweep_of_that_version_is_opened_and_computed_again(golden, tmp_path):
    again = attndyn.sweep(make.scenario_of("adaptive"), make.GRID, out=tmp_path / "sweep.h5", workers=1)
    with attndyn.open_sweep(golden / "sweep.h5") as kept, again:
        assert kept.shape == again.shape == (2, 2)
        assert (kept.status == "finished").all()
        for name in ("energy", "clusters"):
            np.testing.assert_allclose(
                kept.observables[name], again.observables[name], rtol=0.0 if SAME_MACHINE else TOLERANCE
            )


def test_what_is_kept_is_small():
    assert make.ARCHIVE.stat().st_size < 200_000
