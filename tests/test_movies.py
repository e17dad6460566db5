"""Movies: pictures hold the tokens where they are at their depths, and files what they should or nothing at all."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import attndyn
import matplotlib
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data.figures.page import styled
from attndyn.data.movies import scene as scenes
from attndyn.data.movies.clock import LINEAR_DECADES, Clock, clock_of
from attndyn.data.movies.colours import ALONE, CLUSTERS, colours_of
from attndyn.data.movies.motion import motion, principal_axes
from attndyn.data.movies.portrait import MARGIN, Camera, Cloud, _reach
from attndyn.data.movies.scene import ROUND, Scene, movie_kinds, subject_of
from attndyn.data.movies.words import Words
from attndyn.data.trajectory import TrajectoryWriter
from attndyn.errors import AttndynError, InvalidInput
from attndyn.particles import Ensemble, Euclidean, Sphere
from PIL import Image

CIRCLE, SPHERE, PLANE = Sphere(2), Sphere(3), Euclidean(2)
SMALL = {"seconds": 0.4, "fps": 10, "size": 160}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def on_circle(angles):
    """Positions (frames, 1, tokens, 2) at angles (frames, tokens)."""
    angles = np.asarray(angles, float)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None]


def trajectory(space, positions, times=None, **changes):
    """A stand-in with the reading interface of Trajectory."""
    positions = np.asarray(positions, float)
    frames, replicas, tokens, _ = positions.shape
    parts = {
        "times": np.arange(float(frames)) if times is None else np.asarray(times, float),
        "positions": positions,
        "observables": {"order": np.linspace(0, 1, frames)[:, None] * np.ones(replicas)},
        "weights": np.full(tokens, 1 / tokens),
        "token_strings": None,
        "scenario_text": 'title = "Tokens move"',
        "status": "finished",
        "space": space,
    }
    return SimpleNamespace(**{**parts, **changes})


def gathering(space, frames=6, tokens=8, replicas=1, seed=0):
    start = np.random.default_rng(seed).standard_normal((replicas, tokens, space.dimension))
    share = np.linspace(0, 0.9, frames)[:, None, None, None]
    return trajectory(space, space.retract((1 - share) * start + share * start[:, :1]))


@pytest.fixture
def run(tmp_path):
    """The file of a small run on the sphere."""
    tokens = Ensemble.uniform(SPHERE, 5, replicas=2, seed=1)
    with TrajectoryWriter(
        tmp_path / "run.h5", ensemble=tokens, scenario='title = "From a file"', observables=["order"]
    ) as writer:
        for step in range(4):
            moved = SPHERE.retract(tokens.positions + 0.3 * step)
            writer.append(step, 0.5 * step, moved, {"order": np.full(2, 0.2 * step)})
    return tmp_path / "run.h5"


def filmed(run, kind=None, pictures=5, size=240, turn=None, colour="start", part=None, logarithmic=None):
    """A scene and its pictures (pictures, height, width, 3)."""
    clock = clock_of(run.times, part, logarithmic)
    with styled():
        scene = Scene(run, subject_of(run, kind, 0, turn, colour), clock, pictures, size)
        return scene, np.array([scene.picture(number) for number in range(pictures)])


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


# the clock


def test_a_linear_clock_goes_evenly():
    np.testing.assert_allclose(Clock(1.0, 5.0).depths([0, 0.25, 1]), [1, 2, 5])
    np.testing.assert_allclose(Clock(1.0, 5.0).shares([1, 2, 5, 9]), [0, 0.25, 1, 2])


def test_a_logarithmic_clock_spends_equal_times_on_equal_ratios():
    clock = Clock(0.01, 100.0, 0.01)
    np.testing.assert_allclose(clock.depths([0, 0.25, 0.5, 1]), [0.01, 0.1, 1, 100], rtol=1e-14)
    np.testing.assert_allclose(clock.shares([0.01, 0.1, 100]), [0, 0.25, 1], atol=1e-15)
    # a frame before the part: the tangent of the logarithm
    assert clock.shares(0.0) == pytest.approx(-1 / np.log(10) / 4)


def test_a_logarithmic_clock_from_zero_begins_with_a_line_as_long_as_on_the_axes_of_figures():
    clock = Clock(0.0, 1000.0, 0.01)
    decades = 5 + LINEAR_DECADES
    np.testing.assert_allclose(clock.depths(LINEAR_DECADES / decades), 0.01, rtol=1e-13)
    np.testing.assert_allclose(clock.depths(0.5 * LINEAR_DECADES / decades), 0.005, rtol=1e-13)
    np.testing.assert_allclose(clock.depths((LINEAR_DECADES + 2) / decades), 1.0, rtol=1e-13)
    assert clock.depths([0.0, 1.0]).tolist() == [0.0, 1000.0]
    depths = clock.depths(np.linspace(0, 1, 101))
    np.testing.assert_allclose(clock.shares(depths), np.linspace(0, 1, 101), atol=1e-13)
    # the cursor moves steadily
    figure = scenes.Figure()
    axes = figure.subplots()
    clock.scale().along_x(axes)
    places = axes.transData.transform(np.column_stack([depths, np.zeros(101)]))[:, 0]
    np.testing.assert_allclose(np.diff(places), np.diff(places).mean(), rtol=1e-9)


def test_the_clock_is_logarithmic_where_frames_were_saved_so_or_as_told():
    even, log = np.linspace(0, 10, 21), np.concatenate([[0], np.geomspace(0.1, 100, 20)])
    assert clock_of(even, None, None) == Clock(0, 10)
    assert clock_of(even, None, True) == Clock(0, 10, 0.5)
    assert clock_of(log, None, None) == Clock(0, 100, pytest.approx(0.1))
    assert clock_of(log, None, False) == Clock(0, 100)
    assert clock_of(log, (0.5, 70.0), None) == Clock(0.5, 70, 0.5)
    assert clock_of(np.array([3.0]), None, None) == Clock(3, 3)


@pytest.mark.parametrize(
    ("part", "logarithmic", "message"),
    [
        ((2.0, 11.0), None, r"depths must lie in \[0, 10\].*got 2 to 11"),
        ((5.0, 2.0), None, "first and the last depth"),
        ((5.0,), None, "first and the last depth"),
        ((np.nan, 2.0), None, "first and the last depth"),
    ],
)
def test_a_part_that_there_is_not_is_refused(part, logarithmic, message):
    with pytest.raises(InvalidInput, match=message):
        clock_of(np.linspace(0, 10, 21), part, logarithmic)


def test_log_depth_needs_a_positive_depth():
    with pytest.raises(InvalidInput, match="log depth needs"):
        clock_of(np.array([0.0, 1.0]), None, True)


# where tokens are


def places(run, pictures, clock=None, **options):
    clock = clock or clock_of(run.times, None, None)
    return motion(run, 0, np.arange(run.positions.shape[2]), clock, pictures, **options)


def test_saved_frames_are_shown_as_they_are_and_between_them_tokens_go_along_great_circles():
    run = trajectory(CIRCLE, on_circle([[0.0, 1.0], [0.5, 1.0], [0.7, -0.5]]))
    found = places(run, 5)
    np.testing.assert_array_equal(found[::2], run.positions[:, 0])
    np.testing.assert_allclose(np.arctan2(found[..., 1], found[..., 0])[[1, 3]], [[0.25, 1.0], [0.6, 0.25]])
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0)


def test_in_flat_space_tokens_go_straight_in_the_time_of_the_clock():
    times = np.array([1.0, 10.0, 100.0])
    run = trajectory(PLANE, np.array([[0, 0], [1, 2], [3, 2.0]])[:, None, None], times)
    np.testing.assert_allclose(places(run, 5, Clock(1, 100, 1))[:, 0, 0], [0, 0.5, 1, 2, 3])
    np.testing.assert_allclose(places(run, 2, Clock(5.5, 55))[:, 0, 0], [0.5, 2.0])


def test_antipodes_and_not_finite_tokens_do_not_spoil_the_way():
    positions = on_circle([[0.0, 0.0], [np.pi, 1.0]])
    positions[1, 0, 1] = np.nan
    found = places(trajectory(CIRCLE, positions), 5)[:, :, 0]
    assert np.abs(found[[0, 1, 3, 4], 0]).tolist() == pytest.approx([1, 1, 1, 1])
    assert found[1, 1] == 1.0 and np.isnan(found[4, 1])


def test_one_frame_and_frames_at_the_same_depth_are_filmed():
    assert places(trajectory(CIRCLE, on_circle([[0.3]])), 4).shape == (4, 1, 2)
    twice = trajectory(CIRCLE, on_circle([[0.0], [1.0], [2.0]]), [0.0, 1.0, 1.0])
    np.testing.assert_allclose(places(twice, 3)[-1], twice.positions[-1, 0])


def test_few_frames_of_a_large_trajectory_are_read():
    class Counting:
        shape, read = (10_000, 1, 3_000_000, 3), 0

        def __getitem__(self, index):
            self.read += len(index[0])
            return np.ones((len(index[0]), 1, 3)) * np.ones((1, 600, 1))

    run = trajectory(SPHERE, np.ones((2, 1, 1, 3)), times=np.arange(10_000.0))
    run.positions = Counting()
    clock = clock_of(run.times, None, None)
    assert motion(run, 0, np.arange(600), clock, 250).shape == (250, 600, 3)
    assert run.positions.read * 3_000_000 * 3 * 8 <= 1 << 31


def test_the_axes_are_the_principal_components_of_the_whole_run_and_project_every_picture():
    generator = np.random.default_rng(2)
    positions = generator.standard_normal((5, 1, 40, 6)) * np.array([1, 9, 1, 4, 1, 0.1])
    run = trajectory(Euclidean(6), positions)
    centre, directions, shares = principal_axes(run, 0, np.arange(40), clock_of(run.times, None, None))
    rows = positions.reshape(-1, 6)
    expected = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(centre, rows.mean(0))
    np.testing.assert_allclose(np.abs(directions @ expected[2][:3].T), np.eye(3), atol=1e-8)
    np.testing.assert_allclose(shares, expected[1][:3] ** 2 / np.sum(expected[1] ** 2))
    one = trajectory(Euclidean(6), positions[:1, :, :1])
    assert principal_axes(one, 0, np.arange(1), clock_of(one.times, None, None))[1].shape == (3, 6)


# what is drawn


def near(pictures, colour, tolerance=30):
    """The mean row and column of the pixels of about this colour."""
    rows, columns = np.nonzero(np.abs(pictures.astype(int) - np.asarray(colour)).max(axis=-1) < tolerance)
    return rows.mean(), columns.mean()


def pixel(angle, size):
    """Where the circle is at an angle: row and column."""
    left, bottom, width, height = ROUND
    x = left + width * (0.5 + 0.5 * np.cos(angle) / MARGIN)
    y = bottom + height * (0.5 + 0.5 * np.sin(angle) / MARGIN)
    return size * (1 - y), size * x


START = 255 * np.array(matplotlib.colormaps["viridis"](0.86))[:3]


def test_a_token_is_where_it_is_in_the_first_and_the_last_picture():
    run = trajectory(CIRCLE, on_circle([[0.4], [1.0], [2.5]]), observables={})
    scene, pictures = filmed(run, pictures=7)
    assert (scene.width, scene.height) == (240, 240) and pictures.shape == (7, 240, 240, 3)
    for number, angle in ((0, 0.4), (3, 1.0), (6, 2.5)):
        assert near(pictures[number], START, 12) == pytest.approx(pixel(angle, 240), abs=1.5)


def test_the_past_lies_on_the_ray_inwards():
    run = trajectory(CIRCLE, on_circle([[0.0], [0.0]]), observables={})
    _, pictures = filmed(run, pictures=9)
    row, column = (round(value) for value in pixel(0.0, 240))
    whole = np.abs(pictures[-1, row - 1 : row + 2, column - 30 : column - 8].astype(int) - 249).max()
    assert whole > 30 and np.ptp(pictures[0, row, column - 30 : column - 8]) < 10


def test_behind_the_sphere_tokens_are_paler_and_the_camera_turns():
    run = trajectory(SPHERE, np.array([[[1.0, 0, 0]]] * 2)[:, :, None], observables={})
    _, pictures = filmed(run, "sphere", pictures=3, turn=360.0)
    assert near(pictures[0], START, 12) == near(pictures[2], START, 12)
    behind = 255 - 0.3 * (255 - START)
    assert np.isfinite(near(pictures[1], behind, 6)).all()
    assert not (np.abs(pictures[1] - START).max(axis=-1) < 12).any()
    np.testing.assert_array_equal(pictures[0, :200], pictures[2, :200])  # a full turn


def test_a_camera_turns_around_its_axis_to_where_it_ends():
    camera = Camera(np.eye(3), np.eye(3)[2], np.pi / 2)
    np.testing.assert_array_equal(camera.view(1.0), np.eye(3))
    view = camera.view(0.0)
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(view @ np.eye(3)[2], np.eye(3)[2])
    assert abs(view[0] @ np.eye(3)[0]) < 1e-15 and np.linalg.det(view) == pytest.approx(1)


def test_the_picture_widens_with_tokens_that_run_off_and_stays_where_they_do_not():
    still = Camera(np.eye(3), np.eye(3)[1], 0.0)
    growing = np.exp(np.arange(6.0))[:, None, None] * np.array([[0.5, 1, 0]])
    np.testing.assert_allclose(_reach(growing, still), np.exp(np.arange(6)))
    np.testing.assert_allclose(_reach(growing[::-1], still), np.exp(5) * np.ones(6))
    np.testing.assert_allclose(_reach(np.zeros((3, 2, 3)), still), 1.0)


def test_what_goes_on_at_the_right_is_the_first_two_observables_with_a_cursor():
    run = gathering(SPHERE)
    run.observables |= {"energy": np.arange(6.0)[:, None], "clusters": np.arange(6)[:, None] * 1.0}
    scene, pictures = filmed(run, pictures=3, size=240)
    assert scene.width == 384
    panels = pictures[:, :, 250:]
    changed = np.abs(panels[0].astype(int) - panels[2]).max(axis=(0, 2)) > 40
    columns = np.flatnonzero(changed)
    assert columns.min() < 30 and columns.max() > 110  # the cursor went from the left to the right
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_tokens_have_the_colours_of_the_clusters_that_tell_most():
    angles = np.linspace(0, 3.0, 12) * np.ones((5, 1))
    angles[2] = angles[3] = np.repeat([0.0, 2.0, 2.5], [6, 5, 1])
    angles[4] = 1.0
    run = trajectory(CIRCLE, on_circle(angles))
    clock, tokens = clock_of(run.times, None, None), np.arange(12)
    colours, meaning = colours_of(run, 0, tokens, clock, "cluster", run.positions[0, 0])
    np.testing.assert_array_equal(colours, [*[CLUSTERS[0]] * 6, *[CLUSTERS[1]] * 5, ALONE])
    assert meaning == "coloured by the clusters at depth 2"
    assert colours_of(run, 0, tokens, clock, "depth", run.positions[0, 0])[0] is None
    alone = trajectory(CIRCLE, on_circle(np.linspace(0, 6, 12) * np.ones((3, 1))))
    assert colours_of(alone, 0, tokens, clock, "cluster", alone.positions[0, 0])[1] == "coloured by place at the start"


def test_a_cloud_leaves_out_what_is_not_finite_and_draws_the_nearest_last():
    axes = scenes.Figure().subplots()
    cloud = Cloud(axes, 3, 0.3)
    ends = np.array([[0.0, 0, 0.5], [1, 1, 0.1], [np.nan, 0, 0]])
    cloud.move(np.stack([ends, ends]), np.ones((2, 1, 4)), np.zeros(3))
    np.testing.assert_array_equal(cloud.in_front()[1].get_offsets(), [[1, 1], [0, 0]])


def test_words_go_with_their_tokens_each_once_and_none_over_another():
    axes = scenes.Figure().subplots()
    places = np.array([[-1.0, 0], [1, 0], [0.9, 0.01], [0, 1], [0, -1], [0.5, 0.5]])
    words = Words(axes, ["left", "right", "near", "left", ",", "$x_$"], places)
    assert sorted(word.get_text() for word in words.artists()) == ["$x_$", "left", "right"]
    moved = places.copy()
    moved[1] = moved[0] + 0.01
    moved[5] = np.nan
    words.move(moved, 1.0)
    shown = [word for word in words.artists() if word.get_visible()]
    assert len(shown) == 1 and shown[0].xy in [tuple(moved[0]), tuple(moved[1])]


def test_strings_without_a_glyph_and_odd_titles_are_filmed(tmp_path):
    run = gathering(Euclidean(4))
    run.path, run.token_strings = tmp_path / "run.h5", ["兎", "<b>", "$x_$", "a"] * 2
    run.scenario_text = r"title = '$\frac$ {} _^ 兎 " + "long " * 60 + "'"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attndyn.movie(run, tmp_path / "m.gif", **SMALL)
    with Image.open(tmp_path / "m.gif") as image:
        assert image.n_frames == SMALL["seconds"] * SMALL["fps"]


# files


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_pillow_writes_all_pictures_their_size_and_duration_twice_the_same(run, tmp_path, suffix):
    told = []
    out = attndyn.movie(
        run, tmp_path / f"m{suffix}", seconds=1.0, fps=7, size=160, progress=lambda *now: told.append(now)
    )
    with Image.open(out) as image:
        assert (image.n_frames, image.size, image.info.get("loop")) == (7, (256, 160), 0)
        duration = 0
        for number in range(7):
            image.seek(number)
            image.load()
            duration += image.info["duration"]
    assert duration == 1000
    assert told == [(number, 7) for number in range(8)]
    first = out.read_bytes()
    assert attndyn.movie(str(run), out, seconds=1.0, fps=7, size=160, overwrite=True).read_bytes() == first
    assert entries(tmp_path) == [f"m{suffix}", "run.h5"]


def test_the_pictures_of_a_gif_are_those_of_the_scene(tmp_path, monkeypatch):
    run = trajectory(CIRCLE, on_circle([[0.4], [1.0], [2.5]]), observables={}, path=tmp_path / "run.h5")
    attndyn.movie(run, tmp_path / "m.gif", seconds=0.5, fps=10, size=240, colour="start")
    with Image.open(tmp_path / "m.gif") as image:
        for number, angle in ((0, 0.4), (4, 2.5)):
            image.seek(number)
            assert near(np.asarray(image.convert("RGB")), START, 25) == pytest.approx(pixel(angle, 240), abs=2)


@needs_ffmpeg
def test_ffmpeg_writes_all_pictures_their_size_and_duration_twice_the_same(run, tmp_path):
    out = attndyn.movie(run, tmp_path / "m.mp4", seconds=1.0, fps=12, size=160)
    probe = ["ffprobe", "-v", "error", "-of", "json", "-count_frames", "-show_streams", str(out)]
    stream = json.loads(subprocess.run(probe, capture_output=True, check=True).stdout)["streams"][0]
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (256, 160, "12")
    assert float(stream["duration"]) == pytest.approx(1.0)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it plays while it loads
    attndyn.movie(run, out, seconds=1.0, fps=12, size=160, overwrite=True)
    assert out.read_bytes() == data and entries(tmp_path) == ["m.mp4", "run.h5"]


def test_without_ffmpeg_a_gif_is_made_and_an_mp4_refused(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert attndyn.movie(run, **SMALL) == tmp_path / "run.gif"
    assert main(["movie", str(run), "--out", str(tmp_path / "m.mp4")]) == 2
    assert "needs ffmpeg, which is not on the PATH; a .gif or .webp is written without it" in capsys.readouterr().err
    assert entries(tmp_path) == ["run.gif", "run.h5"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("cat > /dev/null; echo 'the disk is odd' >&2; exit 3", "ffmpeg failed with status 3: the disk is odd"),
        ("echo \"Unknown encoder 'libx264'\" >&2; exit 1", "the ffmpeg on the PATH has no encoder libx264; a .gif"),
        ("cat > /dev/null; exit 0", "ffmpeg failed with status 0: it wrote no movie"),
        ('for last; do :; done; echo half > "${last#file:}"; kill -9 $$', "ffmpeg failed with status -9"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_an_ffmpeg_that_fails_gives_one_line_and_leaves_nothing(run, tmp_path, monkeypatch, capsys, script, message):
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "ffmpeg"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert main(["movie", str(run), "--out", str(tmp_path / "m.mp4"), "--size", "160", "--seconds", "1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"attndyn: {message}") and said.count("\n") == 1
    assert entries(tmp_path) == ["bin", "run.h5"]


@pytest.mark.parametrize("suffix", [".gif", ".webp", pytest.param(".mp4", marks=needs_ffmpeg)])
def test_an_interrupted_movie_leaves_what_was_there(run, tmp_path, suffix):
    out = tmp_path / f"m{suffix}"
    out.write_text("before")

    def interrupt(done, of):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attndyn.movie(run, out, overwrite=True, progress=interrupt, **SMALL)
    assert out.read_text() == "before" and entries(tmp_path) == [out.name, "run.h5"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_movie_with_one_line(run, tmp_path):
    command = [
        sys.executable,
        "-m",
        "attndyn.cli",
        "movie",
        str(run),
        "--out",
        str(tmp_path / "m.webp"),
        "--seconds",
        "900",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not any(name.endswith(".partial") for name in entries(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            output, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output, said) == (1, "", "attndyn: interrupted\n")
    assert entries(tmp_path) == ["run.h5"]


def test_a_full_disk_is_told_and_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(AttndynError, match=r"m\.gif cannot be written: No space left on device"):
        attndyn.movie(run, tmp_path / "m.gif", **SMALL)
    assert entries(tmp_path) == ["run.h5"]


# the command


def test_the_command_writes_prints_the_path_and_replaces_only_when_asked(run, tmp_path, capsys):
    words = ["movie", str(run), "--out", str(tmp_path / "m.gif"), "--seconds", "0.4", "--fps", "10", "--size", "160"]
    assert main([*words, "--replica", "1", "--turn", "90", "--colour", "depth", "--depths", "0.2,1.4"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'm.gif'}\n"
    assert main(words) == 2
    assert "m.gif exists already" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--quiet", "--kind", "components", "--linear"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "m.avi"}, r"saved as one of \.mp4, \.gif, \.webp; got .*m\.avi"),
        ({"out": "nowhere/m.gif"}, "there is no folder"),
        ({"fps": 0}, r"fps must be a whole number in \[1, 120\]; got 0"),
        ({"fps": 2.5}, "fps must be a whole number"),
        ({"fps": 60}, r"fps must be at most 50 in a \.gif; got 60"),
        ({"seconds": 0}, "seconds must be a positive number; got 0"),
        ({"seconds": float("nan")}, "seconds must be a positive number"),
        ({"seconds": 1e9}, "seconds times fps must be at most"),
        ({"size": 161}, r"size must be an even number in \[160, 4320\]; got 161"),
        ({"size": 4000, "seconds": 60.0}, r"GB in a \.gif"),
        ({"replica": 2}, r"replica must be an integer in \[0, 1\]; got 2"),
        ({"turn": float("inf")}, "turn must be a number of degrees"),
        ({"kind": "circle"}, "kind must be one of sphere, components .*got 'circle'"),
        ({"colour": "pink"}, "colour must be one of cluster, depth, start; got 'pink'"),
        ({"depths": (0.0, 9.0)}, r"depths must lie in \[0, 1.5\]"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(run, tmp_path, changes, message):
    options = {"out": "m.gif", **SMALL, **changes}
    out = tmp_path / options.pop("out")
    with pytest.raises(InvalidInput, match=message):
        attndyn.movie(run, out, **options)
    assert entries(tmp_path) == ["run.h5"]


def test_a_file_without_frames_and_one_that_is_no_trajectory_are_refused(tmp_path, capsys):
    tokens = Ensemble.uniform(SPHERE, 3, seed=1)
    with TrajectoryWriter(tmp_path / "run.h5", ensemble=tokens, scenario="", observables=[]):
        pass
    with pytest.raises(InvalidInput, match="no frames to film"):
        attndyn.movie(tmp_path / "run.h5", tmp_path / "m.gif")
    (tmp_path / "text.h5").write_text("no")
    assert main(["movie", str(tmp_path / "text.h5")]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("space", "kinds"),
    [
        (CIRCLE, ("circle", "plane")),
        (SPHERE, ("sphere", "components")),
        (Euclidean(1), ("line",)),
        (PLANE, ("plane", "components")),
        (Sphere(7), ("components",)),
    ],
)
def test_every_kind_that_suits_a_space_is_filmed_in_every_colour_without_a_warning(space, kinds):
    assert movie_kinds(space) == kinds
    run = gathering(space, replicas=2)
    run.positions[4:, 0, 3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, colour in zip(kinds * 3, ("cluster", "depth", "start"), strict=False):
            _, pictures = filmed(run, kind, pictures=3, size=160, colour=colour)
            assert np.ptp(pictures[0, :120, :160].astype(int)) > 100


def test_turn_belongs_to_cameras_that_turn():
    with pytest.raises(InvalidInput, match="turn belongs to the kinds sphere, components; got 90 with circle"):
        subject_of(gathering(CIRCLE), None, 0, 90.0, "cluster")


def test_of_many_tokens_a_sample_is_drawn_and_it_is_said():
    run = gathering(PLANE, tokens=1000)
    subject = subject_of(run, None, 0, None, "start")
    assert len(subject.tokens) == 600
    axes = scenes.Figure().subplots()
    clock = clock_of(run.times, None, None)
    facts = scenes._portrait(axes, run, subject, clock, clock.scale(), clock.depths([0.0, 1.0]))[1]
    assert facts == ["600 of them drawn", "coloured by place at the start"]
