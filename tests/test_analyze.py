"""Analysis after the run: the values of the run and of `measure`, kept in the file, given as table, CSV and JSON."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import attndyn
import h5py
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data import TrajectoryWriter, layout
from attndyn.data.analysis import registry
from attndyn.data.analysis.observing import observe
from attndyn.data.analysis.rendering import as_csv, as_object, as_text
from attndyn.data.analysis.table import Table
from attndyn.errors import InvalidInput, MissingExtra
from attndyn.particles import Ensemble, Euclidean, Sphere
from attndyn.particles.observables import measure
from attndyn.scenarios import analysis
from attndyn.scenarios.analysis import analyze

SMALL = {"tokens.count": 12, "tokens.replicas": 3, "depth.time": 2.0}
SAVED = ["energy", "clusters", "attention_entropy", "order", "mean_inner_product"]
FREE = ["clusters", "mean_inner_product", "order", "effective_rank", "radius", "diameter"]


def run(path, name="sphere-clusters", changes=None):
    scenario = attndyn.load(name).override(SMALL if changes is None else changes)
    attndyn.run(scenario, path).close()
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return run(tmp_path_factory.mktemp("original") / "run.h5", changes=SMALL | {"save.observables": SAVED})


@pytest.fixture
def file(original, tmp_path):
    return shutil.copy(original, tmp_path / "run.h5")


@pytest.fixture
def no_computing(monkeypatch):
    def computed(*_, **__):
        raise AssertionError("it was computed again")

    return lambda: monkeypatch.setattr(analysis, "observe", computed)


# ---------------------------------------------------------------- what is computed


def test_values_are_those_that_the_run_saved(original):
    with attndyn.open(original) as trajectory:
        found = observe(trajectory, SAVED, range(len(trajectory)), law_at=trajectory.law_at)
        for name in SAVED:
            np.testing.assert_array_equal(found[name], trajectory.observables[name], strict=name != "clusters")
        one = observe(trajectory, SAVED, range(2, 9, 3), replica=1, law_at=trajectory.law_at, threads=1)
        for name in SAVED:
            np.testing.assert_array_equal(one[name], trajectory.observables[name][2:9:3, 1:2])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("forgetful-weights", {"tokens.count": 8, "depth.time": 1.0}),
        ("token-focus", {"tokens.count": 8, "depth.time": 1.0}),
        ("residual-network", {"tokens.count": 8, "depth.layers": 6}),
        ("peri-norm", {"tokens.count": 8, "depth.time": 1.0}),
        ("random-weights", {"tokens.count": 6, "tokens.replicas": 2, "depth.layers": 4}),
    ],
)
def test_values_are_those_of_measure_frame_by_frame(tmp_path, name, changes):
    """Weights or laws that change with depth, a focus, a block with a feed-forward map, independent layers."""
    path = run(tmp_path / "run.h5", name, changes)
    names = ["attention_entropy", "order", "clusters", "effective_rank", "speed", "row_sum", "focus_entropy"]
    with attndyn.open(path) as trajectory:
        found = observe(trajectory, names, range(0, len(trajectory), 2), law_at=trajectory.law_at)
        for place, frame in enumerate(range(0, len(trajectory), 2)):
            weights = trajectory.weights
            if "token_weights" in trajectory.observables:
                weights = trajectory.observables["token_weights"][frame]
            ensemble = Ensemble(trajectory.positions[frame], trajectory.space, weights)
            depth = trajectory.times[frame]
            expected = measure(names, ensemble, trajectory.law_at(depth), depth=depth, backend="reference")
            for observable in names:
                np.testing.assert_allclose(
                    found[observable][place], expected[observable], rtol=1e-9, atol=1e-12, err_msg=observable
                )


def test_changing_token_weights_matter(tmp_path):
    path = run(tmp_path / "run.h5", "token-focus", {"tokens.count": 8, "depth.time": 1.0})
    with attndyn.open(path) as trajectory:
        found = analyze(trajectory, "order", keep=False).observables["order"]
        fixed = [measure(["order"], Ensemble(x, trajectory.space))["order"] for x in trajectory.positions]
        assert np.abs(found - fixed).max() > 1e-3


def test_many_small_blocks_on_threads_give_the_same(original, monkeypatch):
    from attndyn.data.analysis import observing

    with attndyn.open(original) as trajectory:
        whole = observe(trajectory, SAVED, range(len(trajectory)), law_at=trajectory.law_at, threads=1)
        monkeypatch.setattr(observing, "BLOCK_BYTES", 3000)
        done = []
        parts = observe(
            trajectory, SAVED, range(len(trajectory)), law_at=trajectory.law_at, threads=3,
            progress=lambda *count: done.append(count),
        )  # fmt: skip
        for name in SAVED:
            np.testing.assert_array_equal(parts[name], whole[name])
        assert done[-1] == (len(trajectory), len(trajectory))
        assert len(done) > 3


def test_frames_that_are_not_finite_are_analysed(tmp_path):
    ensemble = Ensemble.uniform(Euclidean(2), tokens=4)
    with TrajectoryWriter(tmp_path / "a.h5", ensemble=ensemble, scenario="") as writer:
        writer.append(0, 0.0, ensemble.positions)
        writer.append(1, 1.0, ensemble.positions * np.nan)
    found = analyze(tmp_path / "a.h5", ["order", "effective_rank"])
    assert np.isfinite(found.observables["order"][0]).all()
    assert np.isnan(found.observables["effective_rank"][1]).all()


def test_without_names_the_observables_that_are_defined_are_given(original, tmp_path):
    found = analyze(original, keep=False)
    assert list(found.observables)[: len(SAVED)] == SAVED
    assert set(found.observables) == {*SAVED, *analysis.DEFAULTS}
    assert found.remarks == ()
    masked = run(tmp_path / "run.h5", "causal-sphere", {"tokens.count": 6, "depth.time": 1.0})
    found = analyze(masked)
    assert "energy" not in found.observables
    assert "left out: energy is defined for an attention law without a mask; this one is causal" in found.remarks
    plane = Ensemble.uniform(Euclidean(2), tokens=4)
    with TrajectoryWriter(tmp_path / "a.h5", ensemble=plane, scenario="[nonsense") as writer:
        writer.append(0, 0.0, plane.positions)
    found = analyze(tmp_path / "a.h5")
    assert {"radius", "mean_cosine", "clusters"} <= set(found.observables)
    assert any(r.startswith("left out: energy needs the law, and the file's scenario is not") for r in found.remarks)


def test_a_scenario_of_more_tokens_than_the_file_has_is_not_drawn(tmp_path):
    """It may come from a stranger, and ask for all memory."""
    ensemble = Ensemble.uniform(Euclidean(3), tokens=4)
    text = "[tokens]\ncount = 900000000\n"
    with TrajectoryWriter(tmp_path / "a.h5", ensemble=ensemble, scenario=text) as writer:
        writer.append(0, 0.0, ensemble.positions)
    with pytest.raises(InvalidInput, match=r"needs the law.* = \(1, 900000000, 3\), where the file has \(1, 4, 3\)"):
        analyze(tmp_path / "a.h5", "energy")


# ---------------------------------------------------------------- what is kept


def test_results_are_kept_and_not_computed_again(file, no_computing):
    first = analyze(file, [*FREE, "plateaus"])
    assert first.remarks == ("plateaus is of replica 0 of 3",)
    no_computing()
    for _ in range(2):
        again = analyze(file, [*FREE, "plateaus"])
        for name in FREE:
            np.testing.assert_array_equal(again.observables[name], first.observables[name], strict=True)
        assert as_object(again.tables["plateaus"]) == as_object(first.tables["plateaus"])
    part = analyze(file, FREE, replica=2, frames=slice(1, None, 5))
    np.testing.assert_array_equal(part.observables["diameter"], first.observables["diameter"][1::5, 2:])
    np.testing.assert_array_equal(part.times, first.times[1::5])
    assert part.replicas == [2]


@pytest.mark.parametrize("changed", [{"cluster_distance": 0.5}, {"version": "0.0.0"}])
def test_other_parameters_or_another_version_are_computed_anew(file, no_computing, changed, monkeypatch):
    before = analyze(file, "clusters", cluster_distance=0.3)
    if "version" in changed:
        monkeypatch.setattr("attndyn.data.analysis.kept.version", lambda _: "9.9.9")
    else:
        assert (analyze(file, "clusters", **changed).observables["clusters"] != before.observables["clusters"]).any()
    no_computing()
    if "version" in changed:
        with pytest.raises(AssertionError, match="computed again"):
            analyze(file, "clusters", cluster_distance=0.3)
    else:
        for distance, fewer in ((0.5, True), (0.3, False)):
            found = analyze(file, "clusters", cluster_distance=distance).observables["clusters"]
            assert (found != before.observables["clusters"]).any() == fewer


def test_what_the_run_saved_is_not_computed_again(file, no_computing):
    no_computing()
    content = file.read_bytes()
    with attndyn.open(file) as trajectory:
        found = analyze(trajectory, SAVED)
        for name in SAVED:
            np.testing.assert_array_equal(found.observables[name], trajectory.observables[name])
    assert file.read_bytes() == content
    with pytest.raises(AssertionError, match="computed again"):
        analyze(file, "clusters", cluster_distance=0.7)


def objects(path):
    """Every dataset of a file but those of analyses: name -> its bytes and attributes."""
    found = {}
    with h5py.File(path) as file:

        def note(name, item):
            if isinstance(item, h5py.Dataset) and not name.startswith(layout.ANALYSIS):
                attributes = {key: repr(item.attrs.get_id(key).dtype) for key in item.attrs}
                found[name] = hashlib.sha256(item[...].tobytes()).hexdigest(), item.shape, item.chunks, attributes

        file.visititems(note)
    return found


def test_the_datasets_of_the_trajectory_are_untouched_and_other_programs_still_open_it(file):
    before, mode = objects(file), file.stat().st_mode
    analyze(file, ["diameter", "tree"])
    assert objects(file) == before
    assert file.stat().st_mode == mode
    assert [path.name for path in file.parent.iterdir()] == ["run.h5"]
    with h5py.File(file) as opened:
        index = json.loads(opened[layout.ANALYSIS_INDEX][...].tobytes())
        assert [record["name"] for record in index] == ["diameter", "tree"]
        stored = opened[f"analysis/{index[0]['place']}/values"]
        assert stored.fletcher32 and stored.shape == (11, 3)
    xarray = pytest.importorskip("xarray")
    with xarray.open_datatree(file, engine="h5netcdf", phony_dims="access") as tree:
        assert tree["observables/energy/value"].dims == ("time", "replica")


def test_a_file_that_was_kept_in_and_cut_off_still_opens(file):
    analyze(file, ["diameter", "radius", "tree"])
    content = file.read_bytes()
    with attndyn.open(file) as trajectory:
        positions = trajectory.positions[:]
    (file.parent / "cut.h5").write_bytes(content[:-3000])
    with attndyn.open(file.parent / "cut.h5") as cut:
        assert cut.status == "cut off: 11 of 11 frames"
        np.testing.assert_array_equal(cut.positions[:], positions)
        found = analyze(cut, "order")
        assert "the file is cut off: 11 of 11 frames" in found.remarks
        found = analyze(cut, "largest_speed")
        assert f"not kept in {cut.path}: the file is cut off" in found.remarks


KILLED = """if True:
    import os, sys, attndyn
    from attndyn.data.analysis import keeping
    attndyn.analyze(sys.argv[1], "radius", keep=False)
    for number, moment in enumerate(("_copy", "_write", "_write_json", "put_in_place")):
        child = os.fork()
        if child == 0:
            setattr(keeping, moment, lambda *_, **__: os.kill(os.getpid(), 9))
            attndyn.analyze(sys.argv[1], "order radius".split(), threads=1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
def test_killed_in_the_middle_of_keeping_the_file_is_as_it_was(file):
    content = file.read_bytes()
    process = subprocess.run([sys.executable, "-c", KILLED, str(file)], capture_output=True, text=True, check=False)
    assert (process.stdout.split(), process.stderr) == ([str(-signal.SIGKILL)] * 4, "")
    assert file.read_bytes() == content
    assert analyze(file, "radius").remarks == ()


def test_what_cannot_be_kept_is_given_and_said(file, monkeypatch, tmp_path):
    def remark(**options):
        (found,) = analyze(file, "radius", **options).remarks
        return found

    content = file.read_bytes()
    monkeypatch.setattr("attndyn.data.target.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    monkeypatch.setattr("attndyn.data.analysis.keeping._CLONE", 0)  # a file system that shares no blocks
    assert "the disk is full" in remark()
    monkeypatch.undo()
    os.link(file, tmp_path / "other.h5")
    assert remark().endswith("has further names (hard links), which would keep the old one")
    (tmp_path / "other.h5").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "no permission to write to the folder" in remark()
    monkeypatch.undo()
    assert file.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]
    assert analyze(file, "radius", keep=False).remarks == ()
    assert file.read_bytes() == content


def test_a_run_that_has_not_finished_is_analysed_but_not_written_to(tmp_path):
    ensemble = Ensemble.uniform(Euclidean(2), tokens=4)
    writer = TrajectoryWriter(tmp_path / "a.h5", ensemble=ensemble, scenario="", frames_per_chunk=1)
    writer.append(0, 0.0, ensemble.positions)
    content = writer.partial.read_bytes()
    found = analyze(writer.partial, "radius")
    assert found.observables["radius"].shape == (1, 1)
    assert found.remarks == (f"not kept in {writer.partial}: its run has not finished",)
    assert writer.partial.read_bytes() == content
    writer.finish()


def lying(record, values=None):
    """A change of the file that puts this record, of two places, into the index."""

    def change(file):
        group = file[layout.ANALYSIS]
        for name in list(group):
            del group[name]
        text = record if isinstance(record, bytes) else json.dumps([record]).encode()
        data = group.create_dataset("index", data=np.frombuffer(text, np.uint8))
        data.attrs["sha256"] = np.bytes_(hashlib.sha256(text).hexdigest())
        group.create_dataset("0/values", data=np.zeros((11, 3)) if values is None else values)

    return change


GOOD = {"name": "radius", "frames": [0, 11, 1], "replica": None, "parameters": {}, "version": "0.1.0", "place": 0}
LIES = {
    "no JSON": lying(b"nonsense"),
    "no list": lying(b"{}"),
    "deep JSON": lying(b"[" * 100_000),
    "no record": lying([1]),
    "no frames": lying({**GOOD, "frames": None}),
    "frames that are not there": lying({**GOOD, "frames": [0, 1000, 1]}),
    "step 0": lying({**GOOD, "frames": [0, 11, 0]}),
    "a replica that is not there": lying({**GOOD, "replica": 7}),
    "a place that is not there": lying({**GOOD, "place": 3}),
    "values of another shape": lying(GOOD, np.zeros((11, 2))),
    "values of another type": lying(GOOD, np.full((11, 3), b"x")),
    "unequal columns": lying({**GOOD, "columns": [["a", "number"], ["b", "number"]], "remarks": []}),
    "a link": lambda file: (file.__delitem__("analysis"), file.__setitem__("analysis", h5py.ExternalLink("x", "/"))),
    "a dataset": lambda file: (file.__delitem__("analysis"), file.__setitem__("analysis", np.zeros(3))),
    "no sha256": lambda file: (lying(GOOD)(file), file["analysis/index"].attrs.__delitem__("sha256")),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
def test_a_broken_or_lying_group_is_left_out_with_a_remark(file, change):
    with h5py.File(file, "r+") as opened:
        change(opened)
    found = analyze(file, "radius", keep=False)
    np.testing.assert_allclose(found.observables["radius"], 1.0)
    assert any("not used" in remark for remark in found.remarks)
    assert main(["info", str(file)]) == 0


def test_info_names_what_is_kept(file, capsys):
    analyze(file, ["radius", "tree"])
    analyze(file, "clusters", cluster_distance=0.5, frames=slice(3))
    assert main(["info", str(file)]) == 0
    text = capsys.readouterr().out
    kept = "radius, tree (replica 0, cluster_distance 0.1), clusters (frames 0:3:1, cluster_distance 0.5)"
    assert f"kept analyses      {kept}" in text
    assert main(["info", str(file), "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["analyses"]
    assert [entry["name"] for entry in kept] == ["radius", "tree", "clusters"]


# ---------------------------------------------------------------- in which forms it is given


def test_to_xarray_and_to_dataframe_have_what_was_analysed(file):
    pytest.importorskip("xarray")
    pytest.importorskip("pandas")
    with attndyn.open(file) as trajectory:
        assert "diameter" not in trajectory.to_xarray()
        found = analyze(trajectory, ["diameter", "energy"])
        assert {"diameter", "energy"} <= set(trajectory.to_xarray())
    with attndyn.open(file) as trajectory:
        data = trajectory.to_xarray(slice(2, 5))
        assert data.diameter.dims == ("time", "replica")
        np.testing.assert_array_equal(data.diameter, found.observables["diameter"][2:5])
        frame = trajectory.to_dataframe()
        assert list(frame.columns) == ["step", "depth", "replica", "diameter", *SAVED]
        assert len(frame) == 33
        chosen = frame[(frame.replica == 1) & (frame.depth == trajectory.times[4])]
        assert chosen.diameter.item() == found.observables["diameter"][4, 1]
        assert chosen.energy.item() == trajectory.observables["energy"][4, 1]
    assert list(found.to_dataframe().columns) == ["step", "depth", "replica", "diameter", "energy"]
    assert found.to_xarray().energy.sel(replica=2).shape == (11,)
    assert len(analyze(file, "tree").tables["tree"].to_dataframe()) >= 0


def test_missing_packages_name_the_extra(original, monkeypatch):
    found = analyze(original, "energy")
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtra, match=r"attndyn\[tables\]"):
        found.to_dataframe()
    with pytest.raises(MissingExtra, match=r"attndyn\[xarray\]"):
        found.to_xarray()


def test_csv_gives_the_same_numbers_back(file, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["analyze", str(file), "energy", "clusters", "--csv", str(out)]) == 0
    with out.open(newline="") as written:
        rows = list(csv.DictReader(written))
    found = analyze(file, ["energy", "clusters"])
    assert [*rows[0]] == ["step", "depth", *(f"{name}_{r}" for name in ("energy", "clusters") for r in range(3))]
    for replica in range(3):
        assert [float(row[f"energy_{replica}"]) for row in rows] == found.observables["energy"][:, replica].tolist()
    assert [float(row["depth"]) for row in rows] == found.times.tolist()
    assert main(["analyze", str(file), "energy", "--csv", str(out)]) == 2
    assert "--csv: " in capsys.readouterr().err
    assert main(["analyze", str(file), "energy", "tree", "--csv", str(out), "--replica", "1", "--overwrite"]) == 0
    assert (tmp_path / "out-energy.csv").exists() is False
    assert (tmp_path / "out-observables.csv").read_text().splitlines()[0] == "step,depth,energy"
    assert (tmp_path / "out-tree.csv").exists()


def test_json_is_one_object(file, capsys):
    assert main(["analyze", str(file), "energy", "similarity", "--json", "--frames", "::5"]) == 2
    assert "similarity looks at the whole run" in capsys.readouterr().err
    assert main(["analyze", str(file), "energy", "similarity", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with attndyn.open(file) as trajectory:
        assert found["observables"]["energy"] == trajectory.observables["energy"].tolist()
        assert found["depth"] == trajectory.times.tolist()
    assert found["tables"]["similarity"]["columns"]
    assert found["replicas"] == [0, 1, 2]


def test_the_table_has_a_row_a_frame_with_mean_and_range(file, capsys):
    assert main(["analyze", str(file), "energy", "radius"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["depth", "energy", "radius"]
    assert len(lines) == 1 + 11 + 1
    assert lines[-1] == "(mean and range of 3 replicas)"
    assert " to " in lines[1]
    assert main(["analyze", str(file), "energy", "--replica", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    with attndyn.open(file) as trajectory:
        assert float(lines[3].split()[1]) == pytest.approx(trajectory.observables["energy"][2, 2], rel=1e-4)


def test_all_replicas_of_a_table_stand_below_each_other(file):
    every = analyze(file, "tree", replica="all").tables["tree"]
    parts = [analyze(file, "tree", replica=replica).tables["tree"] for replica in range(3)]
    assert len(every) == sum(map(len, parts))
    for replica, part in enumerate(parts):
        chosen = every.columns["replica"] == replica
        for name, values in part.columns.items():
            np.testing.assert_array_equal(every.columns[name][chosen], values)


TABLE = Table(
    "mixed",
    {
        "depth": np.array([0.0, 0.5, 10.25]),
        "value": np.array([np.nan, -np.inf, 1e-12]),
        "count": np.array([1, 20, 300]),
        "word": np.array(["a", "long, word", 'with "quotes"']),
        "last": np.array([True, False, True]),
    },
    ("a remark",),
)


def test_a_table_of_everything_is_rendered():
    lines = as_text(TABLE).splitlines()
    assert lines == [
        "depth  value  count  word           last",
        " 0.00    nan      1  a               yes",
        " 0.50   -inf     20  long, word       no",
        "10.25  1e-12    300  with \"quotes\"   yes",
        "(a remark)",
    ]  # fmt: skip
    rows = list(csv.reader(io.StringIO(as_csv(TABLE))))
    assert rows[0] == list(TABLE.columns)
    assert rows[2] == ["0.5", "-inf", "20", "long, word", "False"]
    assert float(rows[3][1]) == 1e-12
    found = json.loads(json.dumps(as_object(TABLE), allow_nan=False))
    assert found["columns"]["value"] == [None, None, 1e-12]
    assert found["columns"]["last"] == [True, False, True]
    assert found["remarks"] == ["a remark"]


def test_long_tables_are_thinned_evenly_and_empty_ones_say_so():
    table = Table("long", {"depth": np.arange(500.0)})
    lines = as_text(table).splitlines()
    assert (lines[1].strip(), lines[20].strip(), lines[21]) == ("0", "499", "(20 of 500 rows)")
    assert as_text(Table("none", {"depth": np.empty(0), "word": np.array([], str)})).endswith("(no rows)")


def test_a_table_is_kept_as_it_is(file, monkeypatch):
    made = []

    def function(subject):
        made.append(subject.replica)
        return TABLE

    monkeypatch.setitem(registry.ANALYSES, "mixed", registry.Analysis("mixed", function, "for a test"))
    analyze(file, "mixed", replica=1, depths=[0.5])
    again = analyze(file, "mixed", replica=1, depths=[0.5]).tables["mixed"]
    assert made == [1]
    for name, values in TABLE.columns.items():
        assert again.columns[name].dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(again.columns[name], values)
    assert again.remarks == TABLE.remarks
    analyze(file, "mixed", replica=1, depths=[0.75])
    assert made == [1, 1]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enrgy"], "did you mean energy?"),
        (["plateau"], "did you mean plateaus?"),
        (["hull_area"], "hull_area is defined for tokens in the plane"),
        (["energy", "--replica", "3"], "replica must be \"all\" or a number from 0 to 2; got 3"),
        (["energy", "--replica", "x"], "--replica: must be a number or \"all\"; got 'x'"),
        (["energy", "--frames", "5"], "--frames: must have the form first:last:step"),
        (["energy", "--frames", "::-1"], "frames must go forwards"),
        (["energy", "--frames", "::0"], "a step that is not 0"),
        (["energy", "--depths", "1,x"], "--depths: must be numbers"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(original, arguments, message, capsys):
    assert main(["analyze", str(original), *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert len(output.err.splitlines()) == 1


def test_files_that_are_no_trajectories_are_told(tmp_path, capsys):
    assert main(["analyze", str(tmp_path / "none.h5")]) == 2
    (tmp_path / "a.h5").write_text("no")
    assert main(["analyze", str(tmp_path / "a.h5")]) == 1
    assert "is not an HDF5 file" in capsys.readouterr().err


def test_interrupted_it_keeps_the_observables_that_were_done(file, monkeypatch, capsys):
    def function(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(registry.ANALYSES, "slow", registry.Analysis("slow", function, "for a test"))
    assert main(["analyze", str(file), "radius", "slow"]) == 1
    assert capsys.readouterr().err == "attndyn: interrupted\n"
    with attndyn.open(file) as trajectory:
        assert "radius" in trajectory.analyzed


def test_frames_that_are_none_are_a_mistake(file, capsys):
    for frames in ("5:5", "400:500"):
        assert main(["analyze", str(file), "radius", "--frames", frames]) == 2
        assert "frames must be some of 0 to" in capsys.readouterr().err


def test_a_file_without_a_scenario_has_no_law_and_other_files_say_what_they_are(tmp_path, capsys):
    tokens = Ensemble.uniform(Sphere(3), 64)
    with TrajectoryWriter(tmp_path / "bare.h5", ensemble=tokens, scenario="") as writer:
        writer.append(0, 0.0, tokens.positions)
    assert main(["analyze", str(tmp_path / "bare.h5"), "energy"]) == 2
    assert "has no scenario" in capsys.readouterr().err
    assert main(["analyze", str(tmp_path / "bare.h5")]) == 0
    assert "energy needs the law" in capsys.readouterr().out
    attndyn.sweep("equiangular", {"attention.beta": [1.0, 2.0]}, out=tmp_path / "sweep.h5", workers=1).close()
    assert main(["analyze", str(tmp_path / "sweep.h5")]) == 1
    assert "is a sweep, and no trajectory" in capsys.readouterr().err
