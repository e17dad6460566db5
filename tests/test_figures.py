"""Figures: they show what the trajectory holds, read little of it, refuse what cannot be, and never crash."""

import warnings
from itertools import pairwise
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from attndyn.data import excerpt, figures
from attndyn.data.figures.depths import DepthScale, saved_logarithmically
from attndyn.data.figures.panels import pair_products
from attndyn.data.reading import open_trajectory
from attndyn.data.trajectory import TrajectoryWriter
from attndyn.errors import InvalidInput
from attndyn.particles import Ensemble, Euclidean, Sphere

CIRCLE, SPHERE, PLANE = Sphere(2), Sphere(3, 2.0), Euclidean(2)


def trajectory(space, frames=6, replicas=1, tokens=8, seed=0, **changes):
    """A stand-in with the reading interface of Trajectory: tokens that gather while depth goes on."""
    generator = np.random.default_rng(seed)
    start = generator.standard_normal((replicas, tokens, space.dimension))
    centre = start[:, :1]
    share = np.linspace(0, 0.95, frames)[:, None, None, None]
    parts = {
        "times": np.arange(float(frames)),
        "positions": space.retract((1 - share) * start + share * centre),
        "observables": {"energy": 1.5 + np.arange(float(frames))[:, None] * np.ones(replicas)},
        "tokens": tokens,
        "weights": np.full(tokens, 1 / tokens),
        "token_strings": None,
        "scenario_text": 'title = "Tokens gather"',
        "status": "finished",
        "space": space,
    }
    return SimpleNamespace(**{**parts, **changes})


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def lines_of(figure):
    """The pieces of all line collections of the leftmost axes."""
    collections = figure.axes[0].findobj(matplotlib.collections.LineCollection)
    return [piece for collection in collections for piece in collection.get_segments()]


def stairs_of(figure):
    """The filled histograms, first frame first, as the heights over their baseline and the edges."""
    patches = [p for p in figure.findobj(matplotlib.patches.StepPatch) if p.get_fill()]
    return [(p.get_data().values - p.get_data().baseline, p.get_data().edges) for p in patches]


# what is drawn


@pytest.mark.parametrize(
    ("space", "kind", "label"),
    [
        (CIRCLE, "circle", "angle"),
        (SPHERE, "sphere", "depth $t$"),
        (PLANE, "plane", "$x_2$"),
        (Euclidean(1), "line", "$x$"),
        (Euclidean(3), "components", "principal component 1"),
        (Sphere(7), "components", "principal component 1"),
    ],
)
def test_the_kind_follows_from_the_space(space, kind, label):
    assert figures.kinds_for(trajectory(space))[0] == kind
    figure = figures.draw(trajectory(space))
    assert any(text.startswith(label) for text in texts(figure))
    assert {"Tokens gather", "energy"} <= set(texts(figure))
    assert any("8 tokens" in text and "depth 0 to 5 · finished" in text for text in texts(figure))


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_figure_is_saved_by_suffix_and_twice_the_same(tmp_path, suffix, magic):
    out = tmp_path / f"picture.{suffix}"
    figures.draw(trajectory(SPHERE), out=out)
    first = out.read_bytes()
    assert first.startswith(magic)
    figures.draw(trajectory(SPHERE), out=str(out))
    assert out.read_bytes() == first


def test_a_trajectory_file_is_drawn(tmp_path):
    tokens = Ensemble.uniform(SPHERE, 9, replicas=2, seed=1)
    with TrajectoryWriter(
        tmp_path / "run.h5",
        ensemble=tokens,
        scenario='title = "From a file"',
        observables=["order"],
        token_strings=list("abcdefghi"),
    ) as writer:
        for step in range(5):
            writer.append(step, 0.5 * step, tokens.positions, {"order": np.full(2, 0.1 * step)})
    with open_trajectory(tmp_path / "run.h5") as run:
        for kind in figures.kinds_for(run):
            figure = figures.draw(run, kind=kind, replica=1, out=tmp_path / f"{kind}.png")
            assert "From a file" in texts(figure)
            assert any("replica 1 of 2" in text.replace("\n", " ") for text in texts(figure))


def test_every_path_on_the_circle_goes_through_the_angles_and_comes_in_on_the_other_side():
    angles = np.array([[0.0, 3.0], [0.5, 3.1], [1.0, 3.3]])
    run = trajectory(
        CIRCLE, 3, positions=np.stack([np.cos(angles), np.sin(angles)], -1)[:, None], weights=np.full(2, 0.5)
    )
    curves = sorted(piece[:, 1].round(6).tolist() for piece in lines_of(figures.draw(run)))
    around = (np.array([3.0, 3.1, 3.3]) - 2 * np.pi).round(6).tolist()
    assert curves == sorted([[0.0, 0.5, 1.0], [3.0, 3.1, 3.3], around])


def test_paths_in_the_plane_join_the_first_position_to_the_last():
    run = trajectory(PLANE, tokens=1)
    pieces = lines_of(figures.draw(run))
    np.testing.assert_allclose(pieces[0][0], run.positions[0, 0, 0])
    np.testing.assert_allclose(pieces[-1][-1], run.positions[-1, 0, 0])
    for before, after in pairwise(pieces):
        np.testing.assert_array_equal(before[1], after[0])


def test_principal_components_are_those_of_the_first_and_last_frame():
    run = trajectory(Euclidean(5), tokens=20)
    run.positions[2] *= 1e3  # a frame in between does not count
    rows = np.concatenate([run.positions[0, 0], run.positions[-1, 0]])
    variances = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    share = f"({variances[0] / variances.sum():.0%} of the variance)"
    assert any(share in text for text in texts(figures.draw(run)))


def test_words_label_the_starts_once_each_and_mathematics_in_them_is_not_read():
    words = ["the", "the", "$x_$", ",", "rabbit", "hole", "...", "was"]
    run = trajectory(Euclidean(4), token_strings=words)
    run.positions = 10 * np.random.default_rng(3).standard_normal((6, 1, 8, 4))
    shown = texts(figures.draw(run))
    assert {"rabbit", "hole", "was", "the", "$x_$"} <= set(shown)
    assert shown.count("the") == 1 and "," not in shown and "..." not in shown


@pytest.mark.parametrize("kind", ["observables", "similarity"])
def test_one_panel_alone(kind):
    assert len(figures.draw(trajectory(SPHERE), kind=kind).axes) == 1


def test_the_observables_show_the_replica_and_the_range_of_all():
    run = trajectory(SPHERE, replicas=3)
    run.observables = {"order": np.arange(6.0)[:, None] + np.array([0.0, 0.5, 2.25])}
    axes = figures.draw(run, kind="observables", replica=1).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.arange(6.0) + 0.5)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.0, 7.25)


def test_numbers_of_clusters_are_drawn_as_steps_and_over_decades_on_a_logarithmic_axis():
    run = trajectory(SPHERE, 4)
    run.observables = {"clusters": np.array([[1000.0], [500.0], [20.0], [1.0]])}
    axes = figures.draw(run, kind="observables").axes[0]
    assert axes.lines[0].get_drawstyle() == "steps-post"
    assert axes.get_yscale() == "log"


# histograms


def test_pair_products_are_those_of_all_pairs():
    tokens = np.random.default_rng(0).standard_normal((7, 4))
    expected = [tokens[i] @ tokens[j] for i in range(7) for j in range(i + 1, 7)]
    np.testing.assert_allclose(pair_products(tokens, cosine=False), expected, rtol=1e-14)
    lengths = [np.linalg.norm(tokens[i]) * np.linalg.norm(tokens[j]) for i in range(7) for j in range(i + 1, 7)]
    np.testing.assert_allclose(pair_products(tokens, cosine=True), np.array(expected) / lengths, rtol=1e-13)


def test_the_histograms_hold_the_cosines_of_the_chosen_frames():
    run = trajectory(SPHERE, tokens=40)
    drawn = stairs_of(figures.draw(run, kind="similarity", depths=[0, 3]))
    assert len(drawn) == 2
    for frame, (heights, edges) in zip((0, 3), drawn, strict=True):
        unit = run.positions[frame, 0] / 2.0
        counts = np.histogram((unit @ unit.T)[np.triu_indices(40, 1)], edges)[0]
        np.testing.assert_allclose(heights, 0.88 * counts / counts.max(), atol=1e-12)


def test_pairs_count_by_their_weights():
    angles = np.array([0.0, 1.0, 2.5])
    run = trajectory(
        CIRCLE,
        1,
        positions=np.stack([np.cos(angles), np.sin(angles)], -1)[None, None],
        weights=np.array([0.6, 0.3, 0.1]),
    )
    heights, edges = stairs_of(figures.draw(run, kind="similarity"))[0]
    at = {gap: heights[np.searchsorted(edges, np.cos(gap)) - 1] for gap in (1.0, 1.5, 2.5)}
    assert at[1.0] == pytest.approx(0.88)
    assert at[1.5] == pytest.approx(0.88 * 0.03 / 0.18)
    assert at[2.5] == pytest.approx(0.88 * 0.06 / 0.18)


def test_tokens_that_coincide_fill_the_last_bin_alone():
    run = trajectory(Sphere(4), 2, positions=np.full((2, 1, 8, 4), 0.5))
    for heights, edges in stairs_of(figures.draw(run, kind="similarity")):
        assert heights[-1] == pytest.approx(0.88) and not heights[:-1].any()
        assert edges[-1] == 1.0 and edges[0] <= 0.5


def test_inner_products_that_change_scale_are_seen_at_every_depth():
    run = trajectory(PLANE, 5, tokens=30)
    run.positions = run.positions[:1] * np.array([1, 5, 25, 125, 625.0])[:, None, None, None]
    for heights, _ in stairs_of(figures.draw(run, kind="similarity")):
        assert np.count_nonzero(heights) >= 4  # on one linear axis the first row would fill two bins


# depths


def test_the_default_depths_follow_the_way_the_tokens_go():
    frames = np.arange(10)
    gone = np.array([0, 1, 2, 3, 3, 3, 3, 3, 3, 3.0])
    assert excerpt.frames_along(frames, gone).tolist() == [0, 1, 2, 3]
    assert excerpt.frames_along(frames, np.zeros(10)).tolist() == [0, 3, 6, 9]
    run = trajectory(PLANE, 6)
    steps = np.linalg.norm(np.diff(run.positions[:, 0], axis=0), axis=2).mean(axis=1)
    np.testing.assert_allclose(excerpt.journey(run, 0)[1], np.concatenate([[0], np.cumsum(steps)]))


def test_depths_are_the_nearest_frames():
    times = np.array([0.0, 1.0, 2.0, 4.0])
    assert excerpt.frames_at(times, [1.4, 4.0, 3.1]).tolist() == [1, 3]


def test_depths_saved_logarithmically_are_drawn_so_and_keep_depth_zero():
    times = np.concatenate([[0.0], np.geomspace(0.1, 1e3, 30)])
    assert saved_logarithmically(times)
    assert not saved_logarithmically(np.linspace(0, 1e3, 31))
    assert not saved_logarithmically(np.array([0.0, 1.0]))
    axes = figures.draw(trajectory(CIRCLE, 31, times=times)).axes[0]
    assert axes.get_xscale() == "symlog" and axes.get_xlim() == (0.0, 1e3)
    colours = DepthScale(times).colours(times)
    brightness = colours[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) < 0.01).all() and brightness[0] > 0.6 > 0.2 > brightness[-1]


# bounded reading


class Counting:
    """Positions that say how many frames are read, and hold none."""

    def __init__(self, shape):
        self.shape, self.frames = shape, 0

    def __getitem__(self, index):
        chosen, replica = index
        assert isinstance(chosen, list) and replica == 0
        assert len(chosen) * 8 * self.shape[2] * self.shape[3] <= 2 * excerpt.BLOCK_BYTES
        self.frames += len(chosen)
        rows = np.random.default_rng(len(chosen)).standard_normal((len(chosen), *self.shape[2:]))
        return PLANE.retract(rows)


@pytest.mark.parametrize(("frames", "tokens"), [(100_000, 4), (300, 20_000)])
def test_few_frames_and_few_pairs_of_a_long_or_large_trajectory_are_taken(frames, tokens, monkeypatch):
    largest = []
    monkeypatch.setattr(
        "attndyn.data.figures.panels.pair_products",
        lambda rows, cosine: largest.append(len(rows)) or pair_products(rows, cosine),
    )
    run = trajectory(
        PLANE,
        times=np.arange(float(frames)),
        positions=Counting((frames, 1, tokens, 2)),
        weights=np.full(tokens, 1 / tokens),
        observables={"order": np.zeros((frames, 1))},
    )
    figure = figures.draw(run)
    assert run.positions.frames <= 510
    assert max(largest) <= 2000
    assert max(len(line.get_xdata()) for line in figure.findobj(matplotlib.lines.Line2D)) <= 2010


def test_a_sample_of_tokens_is_random_without_repeats_and_leaves_out_weight_zero():
    weights = np.ones(1000)
    weights[:100] = 0
    tokens = excerpt.sample(weights, 300)
    assert len(np.unique(tokens)) == 300 and tokens.min() >= 100
    np.testing.assert_array_equal(tokens, excerpt.sample(weights, 300))
    assert excerpt.sample(weights, 900).tolist() == list(range(100, 1000))


# odd trajectories


def odd_trajectories():
    nan = trajectory(SPHERE, status="failed: the tokens are not finite. " + "Because. " * 50)
    nan.positions[4:] = np.nan
    nan.observables = {"energy": np.array([[1.0], [np.inf], [np.nan], [2], [3], [4]])}
    nan.observables["order"] = np.full((6, 1), np.nan)
    unfinite = trajectory(Euclidean(4))
    unfinite.positions[:] = np.nan
    many = trajectory(PLANE, replicas=2)
    many.observables = {f"number_{k}": np.full((6, 2), 10.0 ** (3 * k)) for k in range(-3, 4)}
    many.observables |= {"spectrum": np.ones((6, 2, 3)), "zero": np.zeros((6, 2))}
    return {
        "one frame": trajectory(SPHERE, 1),
        "one frame of the circle": trajectory(CIRCLE, 1),
        "one token": trajectory(SPHERE, tokens=1),
        "one token of many dimensions": trajectory(Sphere(9), tokens=1),
        "one token of the circle": trajectory(CIRCLE, tokens=1),
        "constant": trajectory(SPHERE, observables={"order": np.ones((6, 1)) * (1 + 1e-15)}),
        "no observables": trajectory(PLANE, observables={}),
        "all at the origin": trajectory(PLANE, positions=np.zeros((6, 1, 8, 2))),
        "not finite at the end": nan,
        "not finite at all": unfinite,
        "many observables and replicas": many,
        "weights with zeros": trajectory(SPHERE, weights=np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0])),
        "weights of replicas": trajectory(PLANE, replicas=2, weights=np.full((2, 8), 0.125)),
        "odd title": trajectory(CIRCLE, scenario_text=r"title = '$\frac$ {} _^ " + "long " * 60 + "'"),
        "no title": trajectory(CIRCLE, scenario_text="count = 3"),
        "no scenario": trajectory(CIRCLE, scenario_text="}not toml{"),
        "strings without a glyph": trajectory(Euclidean(3), token_strings=["兎", "穴"] * 4),
        "float32": trajectory(SPHERE, positions=trajectory(SPHERE).positions.astype(np.float32)),
    }


@pytest.mark.parametrize("name", odd_trajectories())
def test_odd_trajectories_are_drawn_without_a_warning(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.draw(odd_trajectories()[name], out=tmp_path / "odd.png")
    assert (tmp_path / "odd.png").stat().st_size > 0


# refusals


def test_a_kind_that_does_not_suit_the_space_is_refused_with_those_that_do():
    with pytest.raises(InvalidInput, match=r"kind must be one of sphere, components, .*got 'circle'"):
        figures.draw(trajectory(SPHERE), kind="circle")
    with pytest.raises(
        InvalidInput, match=r"circle, plane, observables, .*got 'sphere': it is for tokens on the sphere"
    ):
        figures.draw(trajectory(CIRCLE), kind="sphere")
    with pytest.raises(InvalidInput, match=r"no observables.*save\.observables"):
        figures.draw(trajectory(SPHERE, observables={}), kind="observables")


@pytest.mark.parametrize("depths", [[5.1], [-0.1, 1.0], [float("nan")]])
def test_a_depth_outside_the_trajectory_is_refused_with_the_range(depths):
    with pytest.raises(InvalidInput, match=r"depths must lie in \[0, 5\]"):
        figures.draw(trajectory(SPHERE), depths=depths)


def test_no_depths_are_refused():
    with pytest.raises(InvalidInput, match="depths must be a list of numbers"):
        figures.draw(trajectory(SPHERE), depths=[])


@pytest.mark.parametrize("replica", [2, -1, 0.5, True])
def test_a_replica_that_is_not_there_is_refused_with_those_that_are(replica):
    with pytest.raises(InvalidInput, match=r"replica must be an integer in \[0, 1\]"):
        figures.draw(trajectory(SPHERE, replicas=2), replica=replica)


def test_a_file_that_cannot_be_a_figure_is_refused_before_anything_is_drawn(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for out, message in (
        ("picture.jpg", r"\.png, \.pdf, \.svg; got"),
        ("picture", r"\.png, \.pdf, \.svg; got"),
        ("missing/picture.png", "its folder is not there"),
        ("folder.png", "it is a folder"),
    ):
        with pytest.raises(InvalidInput, match=message):
            figures.draw(trajectory(SPHERE), out=tmp_path / out)


def test_a_trajectory_without_frames_is_refused():
    with pytest.raises(InvalidInput, match="no frames"):
        figures.draw(trajectory(SPHERE, times=np.empty(0), positions=np.empty((0, 1, 8, 3))))


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    with matplotlib.rc_context({"font.size": 31.0, "axes.grid": True}):
        before = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
        figure = figures.draw(trajectory(PLANE), out=tmp_path / "plane.png")
        assert {key: matplotlib.rcParams[key] for key in before} == before
        assert figure.axes[0].xaxis.label.get_fontsize() < 12  # the caller's style does not leak in
