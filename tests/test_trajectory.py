"""Trajectory files: what attndyn writes is read back by attndyn, plain h5py, xarray and MDAnalysis."""

import hashlib
import json
import sys
import warnings
from collections import namedtuple

import h5py
import numpy as np
import pytest
from attndyn.data import TrajectoryWriter, layout, open_trajectory, provenance_of_run
from attndyn.errors import MissingExtra, TrajectoryError
from attndyn.particles import Ensemble, Euclidean, Sphere

SCENARIO = 'title = "Tokens on a sphere, β = 4"\n'
STATISTICS = {"drift_evaluations": 61, "accepted": np.int64(10), "wall_seconds": 0.25}
Run = namedtuple("Run", "path ensemble steps times positions observables")


def write(path, *, frames=7, tokens=5, replicas=2, space=None, observables=None, status="finished", **options):
    """A file of random frames, and what should be found in it."""
    space = space or Sphere(3)
    ensemble = Ensemble.uniform(space, tokens=tokens, replicas=replicas, seed=1)
    shapes = {"energy": (), "spread": (3,)} if observables is None else observables
    rng = np.random.default_rng(0)
    run = Run(
        path,
        ensemble,
        np.arange(frames) * 10,
        np.linspace(0.0, 1.0, frames),
        rng.standard_normal((frames, replicas, tokens, space.dimension)),
        {name: rng.standard_normal((frames, replicas, *shape)) for name, shape in shapes.items()},
    )
    options.setdefault("provenance", provenance_of_run(seed=1))
    writer = TrajectoryWriter(path, ensemble=ensemble, scenario=SCENARIO, observables=shapes, **options)
    for k in range(frames):
        values = {name: series[k] for name, series in run.observables.items()}
        writer.append(run.steps[k], run.times[k], run.positions[k], values)
    writer.finish(status, STATISTICS)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("trajectory") / "run.h5", token_strings=["a", "ß", "##c", "", "e"])


# ---------------------------------------------------------------- what this package reads


@pytest.mark.parametrize(
    ("frames", "replicas", "tokens", "space", "frames_per_chunk"),
    [
        (7, 2, 5, Sphere(3), None),
        (0, 1, 1, Euclidean(1), None),
        (1, 1, 1, Euclidean(1), 4),
        (10, 300, 2, Sphere(2, radius=2.5), 4),  # many replicas, a last block of 2
        (8, 3, 4, Euclidean(16), 4),  # whole blocks only
        (150, 1, 3, Sphere(2), None),  # 64 + 64 + 22
    ],
)
def test_what_was_written_is_read_back(tmp_path, frames, replicas, tokens, space, frames_per_chunk):
    run = write(
        tmp_path / "run.h5",
        frames=frames,
        replicas=replicas,
        tokens=tokens,
        space=space,
        frames_per_chunk=frames_per_chunk,
        status="stopped: one cluster",
    )
    with open_trajectory(run.path) as trajectory:
        assert len(trajectory) == frames
        assert trajectory.positions.shape == (frames, replicas, tokens, space.dimension)
        np.testing.assert_array_equal(trajectory.positions[:], run.positions)
        np.testing.assert_array_equal(trajectory.times, run.times)
        np.testing.assert_array_equal(trajectory.steps, run.steps)
        assert list(trajectory.observables) == ["energy", "spread"]
        for name, values in run.observables.items():
            np.testing.assert_array_equal(trajectory.observables[name], values)
        np.testing.assert_array_equal(trajectory.weights, run.ensemble.weights)
        assert trajectory.space == space
        assert trajectory.token_strings is None
        assert trajectory.scenario_text == SCENARIO
        assert trajectory.status == "stopped: one cluster"
        assert trajectory.statistics == STATISTICS
        assert trajectory.provenance["seed"] == 1
        assert trajectory.provenance["versions"]["h5py"] == h5py.__version__
    assert list(tmp_path.iterdir()) == [run.path]


def test_token_strings_and_weights_of_each_replica_are_kept(tmp_path):
    ensemble = Ensemble(np.zeros((2, 3, 2)), Euclidean(2), np.array([[0.5, 0.5, 0], [0.1, 0.2, 0.7]]))
    strings = ["Alice", "", "\N{WHITE SMILING FACE}"]
    with TrajectoryWriter(tmp_path / "a.h5", ensemble=ensemble, scenario="", token_strings=strings) as writer:
        writer.append(0, 0.0, ensemble.positions)
    with open_trajectory(tmp_path / "a.h5") as trajectory:
        assert trajectory.token_strings == strings
        np.testing.assert_array_equal(trajectory.weights, ensemble.weights)
        assert trajectory.scenario_text == ""


def test_float32_positions_are_stored_as_float32(tmp_path):
    run = write(tmp_path / "run.h5", dtype=np.float32)
    with open_trajectory(run.path) as trajectory:
        assert trajectory.positions.dtype == trajectory.positions[0].dtype == np.float32
        np.testing.assert_array_equal(trajectory.positions[:], run.positions.astype(np.float32))
        assert trajectory.observables["energy"].dtype == np.float64
    single = Ensemble.uniform(Sphere(3), tokens=4, dtype=np.float32)
    with TrajectoryWriter(tmp_path / "single.h5", ensemble=single, scenario="") as writer:
        writer.append(0, 0.0, single.positions)
    with open_trajectory(tmp_path / "single.h5") as trajectory:
        assert trajectory.positions.dtype == np.float32


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(3),
        slice(None),
        slice(2, -2),
        slice(1, None, 3),
        slice(None, None, -1),
        slice(5, 0, -2),
        slice(4, 2),
        slice(0, 5, -1),
        [0, 3, 3, -1, 1],
        [],
        np.arange(7) % 2 == 0,
        ...,
        (2, 1),
        (slice(None), 1),
        (slice(1, 5), -1, 2),
        ([4, 0], 1, slice(2, 4), 0),
        (slice(None), slice(None), 3),
        (..., 0),
        (2, ..., 1),
    ],
    ids=repr,
)
def test_positions_are_indexed_like_an_array(run, index):
    with open_trajectory(run.path) as trajectory:
        np.testing.assert_array_equal(trajectory.positions[index], run.positions[index], strict=True)


@pytest.mark.parametrize("index", [7, -8, [0, 7], [True, False], 1.0, "energy", (0, 2), np.zeros((2, 2), int)])
def test_frames_and_replicas_that_are_not_there_are_an_index_error(run, index):
    with open_trajectory(run.path) as trajectory, pytest.raises(IndexError):
        trajectory.positions[index]


def test_positions_convert_to_an_array_and_iterate_by_frame(run):
    with open_trajectory(run.path) as trajectory:
        np.testing.assert_array_equal(np.asarray(trajectory.positions), run.positions)
        np.testing.assert_array_equal(list(trajectory.positions), run.positions)


def test_only_the_frames_asked_for_are_read(tmp_path):
    run = write(tmp_path / "run.h5", frames=4, frames_per_chunk=1)
    with h5py.File(run.path) as file:
        place = file[layout.POSITION].id.get_chunk_info(3).byte_offset
    with run.path.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"damage")
    with open_trajectory(run.path) as trajectory:
        np.testing.assert_array_equal(trajectory.positions[:3], run.positions[:3])
        with pytest.raises(TrajectoryError, match=r"run\.h5: /particles/trajectory/position/value"):
            trajectory.positions[3]


def test_a_closed_trajectory_says_so_and_an_unknown_observable_names_the_others(run):
    trajectory = open_trajectory(run.path)
    with pytest.raises(KeyError, match="energy, spread"):
        trajectory.observables["order"]
    trajectory.close()
    with pytest.raises(TrajectoryError, match="closed"):
        trajectory.positions[0]
    assert "7 frames, 2 x 5 tokens, sphere of dimension 3, finished" in repr(trajectory)


# ---------------------------------------------------------------- what other programs read


def test_the_layout_is_h5md_as_documented(run):
    """Every object of docs/trajectory-files.md, with plain h5py."""
    particles, dimension, replicas = 10, 3, 2
    with h5py.File(run.path) as file:
        assert file.attrs["Conventions"] == b"H5MD-1.1 attndyn-1"
        np.testing.assert_array_equal(file["h5md"].attrs["version"], [1, 1])
        for name in ("author/name", "creator/name", "creator/version"):
            group, attribute = name.split("/")
            assert file["h5md"][group].attrs.get_id(attribute).dtype.kind == "S"
        assert list(file["particles"]) == ["trajectory"]
        box = file["particles/trajectory/box"]
        assert box.attrs["dimension"] == dimension
        np.testing.assert_array_equal(box.attrs["boundary"], [b"none"] * dimension)

        position = file["particles/trajectory/position"]
        value = position["value"]
        np.testing.assert_array_equal(value, run.positions.reshape(7, particles, dimension))
        assert value.maxshape == (None, particles, dimension)
        assert value.chunks == (64, particles, dimension)
        assert np.isnan(value.fillvalue)
        np.testing.assert_array_equal(position["step"], run.steps)
        np.testing.assert_array_equal(position["time"], run.times)
        scales = {"particle": particles, "component": dimension}
        for axis, (name, scale) in enumerate(
            {
                "time": position["time"],
                **{name: file["particles/trajectory"][name] for name in scales},
            }.items()
        ):
            assert value.dims[axis][0] == scale, name
        for name, length in scales.items():
            np.testing.assert_array_equal(file["particles/trajectory"][name], np.arange(length))
        np.testing.assert_array_equal(file["particles/trajectory/replica_index"], [0] * 5 + [1] * 5)
        np.testing.assert_array_equal(file["particles/trajectory/token_index"], [*range(5)] * 2)

        for name, values in run.observables.items():
            group = file["observables"][name]
            np.testing.assert_array_equal(group["value"], values)
            assert group["step"] == position["step"]
            assert group["time"] == position["time"]
            assert group["value"].dims[1][0] == file["replica"]
            assert np.prod(group["value"].chunks) * 8 + 4 <= 4096
        np.testing.assert_array_equal(file["replica"], np.arange(replicas))

        assert file["parameters/frames_committed"][...] == [7]
        assert file["parameters/finished"][...] == [1]
        scenario = file["parameters/scenario"]
        assert scenario[...].tobytes().decode() == SCENARIO
        assert scenario.attrs["sha256"].decode() == hashlib.sha256(SCENARIO.encode()).hexdigest()
        assert json.loads(file["parameters/space"][...].tobytes())["kind"] == "sphere"
        assert json.loads(file["parameters/token_strings"][...].tobytes())[1] == "ß"
        assert json.loads(file["parameters/provenance"][...].tobytes())["seed"] == 1
        assert json.loads(file["parameters/outcome"][...].tobytes())["status"] == "finished"
        objects = []
        file.visititems(lambda _, found: objects.append(found))
        chunked = [found for found in objects if isinstance(found, h5py.Dataset) and found.chunks]
        chunked.remove(file["parameters/checkpoint"])  # which has a sha256 in every slot
        assert len(chunked) >= 10
        assert all(found.fletcher32 and found.compression is None for found in chunked)


@pytest.mark.parametrize(
    ("frame_bytes", "frames"), [(8, 64), (1536, 64), (32_768, 32), (400_000, 3), (1_280_000, 1), (10**9, 1)]
)
def test_a_chunk_is_a_mebibyte_or_64_frames_or_one_frame(frame_bytes, frames):
    assert layout.frames_per_chunk(frame_bytes) == frames


@pytest.mark.parametrize("row", [(1,), (2,), (3,), (256,), (5000,), (1, 3), (32, 7), (4, 1000)])
def test_chunks_of_observables_fit_a_page(row):
    chunk = layout.observable_chunk(row)
    assert np.prod(chunk) * 8 + 4 <= 4096
    assert all(0 < length <= of for length, of in zip(chunk[1:], row, strict=True))
    assert 512 % chunk[0] == 0


def test_to_xarray_names_all_axes(run):
    xarray = pytest.importorskip("xarray")
    with open_trajectory(run.path) as trajectory:
        data = trajectory.to_xarray()
        part = trajectory.to_xarray(slice(1, 3))
    assert data.positions.dims == ("time", "replica", "token", "component")
    assert data.energy.dims == ("time", "replica")
    assert data.spread.dims == ("time", "replica", "spread_entry")
    np.testing.assert_array_equal(data.positions, run.positions)
    np.testing.assert_array_equal(data.sel(time=1.0).energy, run.observables["energy"][-1])
    np.testing.assert_array_equal(data.step, run.steps)
    assert data.token_string.dims == ("token",)
    assert list(data.token_string.values) == ["a", "ß", "##c", "", "e"]
    assert data.attrs["status"] == "finished"
    xarray.testing.assert_identical(part, data.isel(time=slice(1, 3)))


def test_to_xarray_without_xarray_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with open_trajectory(run.path) as trajectory, pytest.raises(MissingExtra, match=r"attndyn\[xarray\]"):
        trajectory.to_xarray()


def test_xarray_opens_the_file_with_named_axes(run):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(run.path, engine="h5netcdf", group="particles/trajectory/position") as data:
        assert data.value.dims == ("time", "particle", "component")
        assert set(data.coords) == {"time", "step"}
        np.testing.assert_array_equal(data.value, run.positions.reshape(7, 10, 3))
        np.testing.assert_array_equal(data.time, run.times)
    with xarray.open_datatree(run.path, engine="h5netcdf", phony_dims="access") as tree:
        assert tree["observables/energy/value"].dims == ("time", "replica")
        assert tree["observables/spread/value"].dims == ("time", "replica", "entry")
        assert tree["particles/trajectory/replica_index"].dims == ("particle",)
        assert {"time", "step", "particle", "component"} <= set(tree["particles/trajectory/position"].coords)
        np.testing.assert_array_equal(tree["observables/energy/value"], run.observables["energy"])


def test_mdanalysis_reads_positions_times_and_observables(run):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of packages that MDAnalysis imports
        mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe.empty(10, trajectory=True)
    universe.load_new(str(run.path), format="H5MD", convert_units=False)
    assert len(universe.trajectory) == 7
    for frame, positions, time, step, energy in zip(
        universe.trajectory, run.positions, run.times, run.steps, run.observables["energy"], strict=True
    ):
        np.testing.assert_array_equal(frame.positions, positions.reshape(10, 3).astype(np.float32))
        assert frame.time == pytest.approx(time)
        assert frame.data["step"] == step
        np.testing.assert_array_equal(frame.data["energy"], energy)
    universe.trajectory.close()
