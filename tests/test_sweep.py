"""Sweeps: what is in the file, that it is what single runs give, mistakes, points that fail."""

import h5py
import numpy as np
import pytest
import xarray
from attndyn import Sweep, open_sweep, sweep
from attndyn import run as run_scenario
from attndyn.data import sweep_writing
from attndyn.data.sweep_layout import Description
from attndyn.data.sweeps import is_sweep
from attndyn.errors import InvalidInput, TrajectoryError
from attndyn.scenarios import points, workers
from attndyn.scenarios.schema import Scenario

SCENARIO = """
title = "A small system"
[tokens]
count = 5
replicas = 3
seed = 2
[depth]
time = 1.0
method = "rk4"
step = 0.1
[save]
every = 0.25
observables = ["order", "mean_cosine"]
"""
REFERENCE = {"backend": "reference", "workers": 1}
# without friction of numbers: tokens in R^d under unnormalised attention reach infinity in finite time
BLOWUP = {"space.kind": "euclidean", "attention.normalisation": "none"}


@pytest.fixture(scope="module")
def scenario():
    return Scenario.parse(SCENARIO, name="small")


@pytest.fixture
def labelled(finished, tmp_path):
    """The same file as xarray opens it; a copy, since HDF5 opens one file in one way."""
    (tmp_path / "labelled.h5").write_bytes(finished.path.read_bytes())
    with xarray.open_dataset(tmp_path / "labelled.h5", engine="h5netcdf") as data:
        yield data


@pytest.fixture(scope="module")
def finished(scenario, tmp_path_factory):
    """A sweep over four temperatures and two masks, with all replicas."""
    path = tmp_path_factory.mktemp("sweep") / "finished.h5"
    grids = {"attention.beta": np.linspace(0.5, 2.0, 4), "attention.mask": ["none", "causal"]}
    with sweep(scenario, grids, out=path, every_replica=True, **REFERENCE) as result:
        yield result


def same(one, other):
    """Whether two sweeps hold the same bits, the seconds that they took excepted."""
    counted = ("drift_evaluations", "accepted", "rejected")
    return (
        np.array_equal(one.times, other.times, equal_nan=True)
        and (one.status == other.status).all()
        and all(np.array_equal(one.statistics[name], other.statistics[name], equal_nan=True) for name in counted)
        and all(
            np.array_equal(getattr(one, part)[name], getattr(other, part)[name], equal_nan=True)
            for part in ("observables", "deviations", "values")
            for name in getattr(one, part)
        )
    )


def test_every_point_is_the_run_of_its_scenario(finished, scenario):
    for place in np.ndindex(finished.shape):
        changes = {key: values[k] for (key, values), k in zip(finished.axes.items(), place, strict=True)}
        with run_scenario(scenario.override(changes), backend="reference") as trajectory:
            np.testing.assert_array_equal(finished.times[place], trajectory.times)
            for name, values in trajectory.observables.items():
                np.testing.assert_array_equal(finished.values[name][place], values)
                np.testing.assert_array_equal(finished.observables[name][place], values.mean(axis=1))
                np.testing.assert_array_equal(finished.deviations[name][place], values.std(axis=1))
            assert finished.status[place] == trajectory.status == "finished"
            evaluations = trajectory.statistics["drift_evaluations"]
            assert finished.statistics["drift_evaluations"][place] == evaluations > 0
    assert finished.done.all() and finished.finished


def test_the_file_is_self_describing(finished, scenario):
    assert (finished.shape, len(finished), finished.frames) == ((4, 2), 8, 5)
    np.testing.assert_array_equal(finished.axes["attention.beta"], [0.5, 1.0, 1.5, 2.0])
    assert finished.axes["attention.mask"].tolist() == ["none", "causal"]
    assert finished.scenario_text == scenario.text
    assert finished.provenance["values"]["tokens"]["count"] == 5
    assert "4 attention.beta x 2 attention.mask, 8 points" in repr(finished)


def test_xarray_opens_the_file_with_named_axes(finished, labelled):
    assert labelled.order_mean.dims == ("attention.beta", "attention.mask", "frame")
    assert labelled.order_values.dims == ("attention.beta", "attention.mask", "frame", "replica")
    assert "time" in labelled.order_mean.coords
    chosen = labelled.order_mean.sel({"attention.beta": 1.5, "attention.mask": "causal"})
    np.testing.assert_array_equal(chosen, finished.observables["order"][2, 1])


def test_to_xarray_has_the_same_names_and_one_time_axis_where_it_is_shared(finished, labelled):
    data = finished.to_xarray()
    assert {*data.data_vars} == {*labelled.data_vars}
    assert all(data[name].dims == labelled[name].dims for name in data.data_vars)
    assert data.time.dims == ("frame",)
    np.testing.assert_array_equal(data.time, [0.0, 0.25, 0.5, 0.75, 1.0])


def test_points_with_other_depths_are_padded_with_nan(scenario, tmp_path):
    with sweep(scenario, {"depth.time": [0.5, 1.0]}, out=tmp_path / "a.h5", **REFERENCE) as result:
        np.testing.assert_array_equal(result.times[0], [0.0, 0.25, 0.5, np.nan, np.nan])
        assert np.isnan(result.observables["order"][0, 3:]).all()
        assert np.isfinite(result.observables["order"][1]).all()
    grids = {"save.every": [0.25, 0.5]}
    with sweep(scenario, grids, out=tmp_path / "b.h5", **REFERENCE) as result:
        assert result.to_xarray().time.dims == ("save.every", "frame")


def test_an_early_stop_keeps_its_last_frame(scenario, tmp_path):
    stop = {"save.stop": {"clusters": 1}, "save.cluster_distance": 1.5, "depth.time": 40.0, "save.times": [0.0]}
    changed = scenario.override(stop)
    with sweep(changed, {"attention.beta": [1.0]}, out=tmp_path / "a.h5", **REFERENCE) as result:
        assert result.status[0].startswith("stopped: ")
        assert result.times.shape == (1, 2)
        assert 0 < result.times[0, 1] < 40
        assert np.isfinite(result.observables["order"]).all()


def test_replicas_may_differ_from_point_to_point(scenario, tmp_path):
    grids = {"tokens.replicas": [1, 4]}
    with sweep(scenario, grids, out=tmp_path / "a.h5", every_replica=True, **REFERENCE) as result:
        order = result.values["order"]
        assert order.shape == (2, 5, 4)
        assert np.isnan(order[0, :, 1:]).all() and np.isfinite(order[1]).all()
        np.testing.assert_array_equal(order[0, :, 0], order[1, :, 0])
        assert (result.deviations["order"][0] == 0).all()


def test_tokens_drawn_once_are_those_of_every_run(scenario, tmp_path):
    """The tokens are kept between points that share them, and drawn anew for those that do not."""
    grids = {"tokens.seed": [0, 1], "attention.beta": [1.0, 2.0]}
    with sweep(scenario, grids, out=tmp_path / "a.h5", **REFERENCE) as result:
        start = result.observables["order"][..., 0]
    assert (start[:, 0] == start[:, 1]).all() and start[0, 0] != start[1, 0]


def test_processes_give_the_bits_of_this_process(finished, scenario, tmp_path):
    grids = {key: values.tolist() for key, values in finished.axes.items()}
    seen = []
    options = {"out": tmp_path / "a.h5", "every_replica": True, "backend": "reference", "workers": 2}
    with sweep(scenario, grids, progress=lambda *done: seen.append(done), **options) as result:
        assert same(result, finished)
    assert seen == [(k, 8) for k in range(9)]


def test_a_sweep_without_a_file_is_temporary(scenario):
    result = sweep(scenario, {"attention.beta": [1.0]}, replicas=2, **REFERENCE)
    path = result.path
    assert path.exists() and "replicas = 2" in result.scenario_text
    result.close()
    del result
    assert not path.exists()


# what goes wrong


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # that it overflows is what is wanted
def test_a_point_that_fails_is_recorded_and_the_others_go_on(scenario, tmp_path):
    blowing = scenario.override({**BLOWUP, "depth.time": 40.0})
    with sweep(blowing, {"attention.beta": [-1.0, 1.0, -0.5]}, out=tmp_path / "a.h5", **REFERENCE) as result:
        assert result.status[0] == result.status[2] == "finished"
        assert result.status[1].startswith("failed: ")
        known = np.isfinite(result.times[1])
        assert 0 < known.sum() < result.frames
        assert np.isfinite(result.observables["order"][1][known][0])
        assert np.isnan(result.observables["order"][1][~known]).all()
        assert result.finished


@pytest.mark.parametrize("failing", [{0}, {1}, {0, 1, 2}], ids=["the first", "the second", "all"])
def test_a_point_that_raises_is_recorded(scenario, tmp_path, monkeypatch, failing):
    betas = [1.0, 2.0, 3.0]
    follow = points.follow

    def sometimes(plan, *arguments, **options):
        if betas.index(plan.scenario.attention.beta) in failing:
            raise RuntimeError("no\nluck")
        return follow(plan, *arguments, **options)

    monkeypatch.setattr(points, "follow", sometimes)
    with sweep(scenario, {"attention.beta": betas}, out=tmp_path / "a.h5", **REFERENCE) as result:
        assert result.done.all()
        for k in range(3):
            assert result.status[k] == ("failed: RuntimeError: no luck" if k in failing else "finished")
            assert np.isnan(result.observables["order"][k]).all() == (k in failing)


@pytest.mark.parametrize(
    ("grids", "says"),
    [
        ({"attention.betta": [1.0]}, "attention.betta: unknown key; did you mean attention.beta?"),
        ({"attention.mask": ["none", "casual"]}, '(at the point attention.mask = "casual")'),
        ({"depth.step": [0.1, 2.0]}, "(at the point depth.step = 2.0)"),
        ({"tokens.count": [4, 0]}, "tokens.count: must be at least 1; got 0 (at the point tokens.count = 0)"),
        ({"attention.heads": [1, 2]}, "attention.value: "),  # what only the arrays show
        ({}, "at least one grid"),
        ({"attention.beta": 3.0}, "attention.beta: must be a list of values"),
    ],
)
def test_mistakes_are_found_before_anything_runs(scenario, tmp_path, monkeypatch, grids, says):
    monkeypatch.setattr(points, "follow", lambda *_: pytest.fail("it ran"))
    changed = scenario.override({"attention.query": [[1.0, 0.0, 0.0]] * 3, "attention.key": [[1.0, 0.0, 0.0]] * 3})
    with pytest.raises(InvalidInput) as error:
        sweep(changed, grids, out=tmp_path / "a.h5", **REFERENCE)
    assert says in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"backend": "cuda"}, "backend must be one of"),
        ({"out": "no-folder/a.h5"}, "there is no folder"),
    ],
)
def test_wrong_options_are_told(scenario, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=says):
        sweep(scenario, {"attention.beta": [1.0]}, **{"out": "a.h5", **options})


def test_a_file_that_is_no_sweep_is_told(tmp_path, scenario):
    (tmp_path / "text.h5").write_text("nothing")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    run_scenario(scenario, out=tmp_path / "run.h5", backend="reference").close()
    for name in ("text.h5", "other.h5", "run.h5"):
        assert not is_sweep(tmp_path / name)
        with pytest.raises(TrajectoryError, match=name):
            open_sweep(tmp_path / name)
        with pytest.raises(InvalidInput, match="is no sweep"):
            sweep(scenario, {"attention.beta": [1.0]}, out=tmp_path / name, **REFERENCE)
    with pytest.raises(InvalidInput, match="there is no file"):
        open_sweep(tmp_path / "nothing.h5")


def _huge(file):
    """A shape that claims a terabyte of which nothing is stored."""
    del file["time"]
    file.create_dataset("time", (4, 2, 10**11), "f8", chunks=(1, 1, 10**6))


HOSTILE = {
    "no times": lambda file: file.__delitem__("time"),
    "a shape with nothing in it": _huge,
    "another grid": lambda file: (file.__delitem__("done"), file.create_dataset("done", data=np.ones((3, 2), "u1"))),
    "objects": lambda file: (
        file.__delitem__("order_mean"),
        file.create_dataset("order_mean", (4, 2, 5), h5py.string_dtype()),
    ),
    "an external link": lambda file: (
        file.__delitem__("order_mean"),
        file.__setitem__("order_mean", h5py.ExternalLink("/etc/passwd", "/")),
    ),
    "a changed scenario": lambda file: file["parameters/scenario"].__setitem__(0, 0),
    "a changed description": lambda file: file["parameters/description"].__setitem__(0, 0),
    "other frames": lambda file: (
        file.__delitem__("order_mean"),
        file.create_dataset("order_mean", data=np.zeros((4, 2, 9))),
    ),
}


@pytest.mark.parametrize("harm", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_damaged_file_is_refused(finished, tmp_path, harm):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(finished.path.read_bytes())
    with h5py.File(copy, "r+") as file:
        harm(file)
    with pytest.raises(TrajectoryError, match=r"copy\.h5: "):
        Sweep(copy)


def test_every_byte_count_of_a_cut_file_is_refused_or_read(finished, tmp_path):
    whole = finished.path.read_bytes()
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut.h5").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(TrajectoryError):
            Sweep(tmp_path / "cut.h5")


def test_observables_with_several_numbers_have_an_axis_of_their_own(tmp_path):
    description = Description("made", {"attention.beta": [1.0, 2.0]}, ["spectrum"], True, {}, "1")
    sweep_writing.create_sweep(
        tmp_path / "a.h5", description, scenario="", provenance={}, shapes={"spectrum": (3,)}, frames=4, replicas=2
    )
    values = np.arange(18.0).reshape(3, 2, 3)
    with sweep_writing.SweepWriter(tmp_path / "a.h5") as writer:
        parts = {"mean": values.mean(1), "deviation": values.std(1), "values": values}
        named = {part: {"spectrum": array} for part, array in parts.items()}
        writer.put((1,), status="finished", times=[0.0, 1.0, 2.0], parts=named, statistics={"accepted": 3})
        with pytest.raises(InvalidInput, match="room for"):
            writer.put((0,), status="", times=np.zeros(9), parts={}, statistics={})
    with Sweep(tmp_path / "a.h5") as result:
        np.testing.assert_array_equal(result.values["spectrum"][1, :3], values)
        assert np.isnan(result.values["spectrum"][1, 3]).all() and np.isnan(result.times[0]).all()
        assert result.done.tolist() == [False, True] and result.status.tolist() == ["", "finished"]
        assert result.statistics["accepted"][1] == 3
        assert result.to_xarray().spectrum_mean.dims == ("attention.beta", "frame", "spectrum_entry")
    with xarray.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as data:
        assert data.spectrum_values.dims == ("attention.beta", "frame", "replica", "spectrum_entry")


def test_a_long_status_is_cut_between_letters(tmp_path):
    description = Description("made", {"attention.beta": [1.0]}, [], False, {}, "1")
    options = {"scenario": "", "provenance": {}, "shapes": {}, "frames": 1, "replicas": 1}
    sweep_writing.create_sweep(tmp_path / "a.h5", description, **options)
    with sweep_writing.SweepWriter(tmp_path / "a.h5") as writer:
        writer.put((0,), status="x" + 200 * "ä", times=[], parts={}, statistics={})
    with Sweep(tmp_path / "a.h5") as result:
        assert result.status[0] == "x" + 119 * "ä"


def test_a_worker_process_that_dies_ends_the_sweep_with_a_sentence(scenario, tmp_path):
    study = points.Study(SCENARIO, "small", tmp_path, "reference", "cpu", 1)
    with pytest.raises(TrajectoryError, match="a worker process died"):
        list(workers.in_processes(points.compute, _Deadly(study), [(0, {}), (1, {})], 2))


def test_processes_compute_every_point_however_short(tmp_path):
    """The points are over sooner than the next are handed out."""
    study = points.Study("[depth]\nlayers = 1\n[tokens]\ncount = 2\n", "short", tmp_path, "reference", "cpu", 1)
    outcomes = dict(
        workers.in_processes(points.compute, study, [(k, {"attention.beta": float(k)}) for k in range(300)], 2)
    )
    assert sorted(outcomes) == list(range(300))
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}


class _Deadly:
    """A study that kills the process that unpickles it."""

    def __init__(self, study):
        self.study = study

    def __reduce__(self):
        import os

        return os._exit, (1,)
