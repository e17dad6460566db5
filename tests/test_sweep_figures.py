"""Phase diagrams: they show the values of the sweep where they belong, and say what is missing."""

import matplotlib
import numpy as np
import pytest
from attndyn.data.figures import draw_sweep
from attndyn.data.sweep_layout import Description
from attndyn.data.sweep_writing import SweepWriter, create_sweep
from attndyn.data.sweeps import Sweep
from attndyn.errors import InvalidInput
from matplotlib.colors import LogNorm

FRAMES = 6


def made(folder, axes, value, times=np.arange(6.0), stopped=(), undone=(), names=("order", "clusters")):  # noqa: B008
    """A sweep whose first observable is value(t, *values of the keys); the stopped points have three frames."""
    path = folder / "made.h5"
    description = Description("made", axes, list(names), False, {}, "1")
    values = {"tokens": {"count": 7, "replicas": 3}}
    shapes = dict.fromkeys(names, ())
    create_sweep(
        path,
        description,
        scenario='title = "A made one"',
        provenance={"values": values},
        shapes=shapes,
        frames=len(times),
        replicas=1,
    )
    with SweepWriter(path) as writer:
        for place in np.ndindex(description.shape):
            if place in undone:
                continue
            depths = np.asarray(times[:3] if place in stopped else times)
            point = [grid[k] for grid, k in zip(axes.values(), place, strict=True)]
            row = np.array([value(t, *point) for t in depths], float)
            parts = {part: {name: row for name in names} for part in ("mean", "deviation")}
            status = "stopped: early" if place in stopped else "finished"
            writer.put(place, status=status, times=depths, parts=parts, statistics={})
    return Sweep(path)


def maps(figure):
    """The coloured cells of every map: (values with NaN where there are none, x edges, y edges, norm)."""
    found = figure.findobj(matplotlib.collections.QuadMesh)
    panels = [mesh for mesh in found if mesh.axes.get_label() != "<colorbar>"]
    rows = []
    for mesh in panels:
        corners = mesh.get_coordinates()
        rows.append((np.ma.filled(mesh.get_array(), np.nan), corners[0, :, 0], corners[:, 0, 1], mesh.norm))
    return rows


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def cells(edges, points):
    """In which cells points lie."""
    return np.searchsorted(edges, points) - 1


def test_one_key_is_drawn_over_depth(tmp_path):
    betas = [1.0, 2.0, 4.0]
    with made(tmp_path, {"attention.beta": betas}, lambda t, beta: t / 10 - beta) as sweep:
        figure = draw_sweep(sweep, out=tmp_path / "a.png")
    ((values, x, y, norm),) = maps(figure)
    for t in range(FRAMES):
        inside = min(max(t, 0.1), FRAMES - 1.1)
        shown = values[cells(y, betas), cells(x, inside)]
        np.testing.assert_allclose(shown, t / 10 - np.array(betas))
    assert (norm.vmin, norm.vmax) == (-4.0, -0.5)
    assert (x[0], x[-1]) == (0.0, 5.0)
    shown = texts(figure)
    assert {"depth $t$", r"inverse temperature $\beta$", "order, mean over replicas", "A made one"} <= {*shown}
    assert "7 tokens · 3 replicas · 3 points" in shown
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_values_may_be_given_in_any_order(tmp_path):
    with made(tmp_path, {"attention.beta": [2.0, 4.0, 1.0]}, lambda t, beta: beta) as sweep:
        ((values, _, y, _),) = maps(draw_sweep(sweep))
    np.testing.assert_allclose(values[:, 0], [1.0, 2.0, 4.0])
    assert (np.diff(y) > 0).all()


def test_depths_saved_geometrically_have_a_logarithmic_axis(tmp_path):
    times = np.append(0.0, np.geomspace(0.01, 100, 40))
    with made(tmp_path, {"attention.beta": [1.0, 2.0]}, lambda t, beta: t, times=times) as sweep:
        figure = draw_sweep(sweep)
    assert figure.axes[0].get_xscale() == "symlog"
    ((values, x, _, _),) = maps(figure)
    middle = times[1:-1]
    np.testing.assert_allclose(values[0, cells(x, middle)], middle)


def test_a_geometric_grid_has_a_logarithmic_axis_and_counts_a_logarithmic_colour(tmp_path):
    betas = np.geomspace(0.1, 10, 9).tolist()
    with made(tmp_path, {"attention.beta": betas}, lambda t, beta: 1 + 4 * t) as sweep:
        figure = draw_sweep(sweep, observable="clusters")
    assert figure.axes[0].get_yscale() == "log"
    ((_, _, y, norm),) = maps(figure)
    np.testing.assert_allclose(np.diff(np.log(y)), np.log(100) / 8)
    assert isinstance(norm, LogNorm)
    assert "clusters, mean over replicas" in texts(figure)


def test_what_was_not_computed_is_hatched_and_said(tmp_path):
    axes = {"attention.beta": [1.0, 2.0, 3.0]}
    with made(tmp_path, axes, lambda t, beta: t, stopped=[(1,)], undone=[(2,)]) as sweep:
        figure = draw_sweep(sweep)
    ((values, x, _, _),) = maps(figure)
    assert np.isfinite(values[0]).all() and np.isnan(values[2]).all()
    assert np.isnan(values[1, cells(x, 3.5) :]).all() and np.isfinite(values[1, : cells(x, 2.0)]).all()
    assert figure.axes[0].patch.get_hatch() == "////"
    assert "7 tokens · 3 replicas · 2 of 3 points so far · hatched: no value" in texts(figure)


def test_points_with_depths_of_their_own_are_drawn_at_them(tmp_path):
    axes = {"attention.beta": [1.0, 2.0]}
    with made(tmp_path, axes, lambda t, beta: t) as sweep:
        times = np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]])
        values = sweep.observables["order"]
        stand_in = _StandIn(sweep, times, {"order": np.where(np.isfinite(values), times, np.nan)})
        ((shown, x, _, _),) = maps(draw_sweep(stand_in))
    assert shown[0, cells(x, 4.0)] == 4.0
    assert shown[1, cells(x, 2.0)] == 2.0 and shown[1, cells(x, 1.5)] == 1.5
    assert np.isnan(shown[1, cells(x, 4.0)])


class _StandIn:
    """A sweep with other times and values."""

    def __init__(self, sweep, times, observables):
        self.axes, self.provenance, self.status, self.done = sweep.axes, sweep.provenance, sweep.status, sweep.done
        self.scenario_text, self.times, self.observables = sweep.scenario_text, times, observables

    def __len__(self):
        return 2


def test_two_keys_are_drawn_against_each_other_at_the_end_or_at_depths(tmp_path):
    axes = {"attention.beta": [1.0, 2.0, 3.0], "attention.mask": ["none", "causal"]}
    with made(
        tmp_path, axes, lambda t, beta, mask: 10 * t + beta + 0.5 * (mask == "causal"), stopped=[(0, 1)]
    ) as sweep:
        ((last, x, y, _),) = maps(draw_sweep(sweep))
        at_depths = maps(figure := draw_sweep(sweep, depths=[1.0, 4.2]))
    assert last.shape == (2, 3)
    place = np.ix_(cells(y, [0.0, 1.0]), cells(x, [1.0, 2.0, 3.0]))
    np.testing.assert_allclose(last[place], [[51.0, 52.0, 53.0], [21.5, 52.5, 53.5]])
    (one, *_), (four, *_) = at_depths
    np.testing.assert_allclose(one[place], [[11.0, 12.0, 13.0], [11.5, 12.5, 13.5]])
    np.testing.assert_allclose(four[place], [[41.0, 42.0, 43.0], [np.nan, 42.5, 43.5]])  # that run had ended
    assert {"depth $t = 1$", "depth $t = 4.2$", "none", "causal", "attention.mask"} <= {*texts(figure)}


def test_of_more_keys_all_but_two_have_a_value(tmp_path):
    axes = {"attention.beta": [1.0, 2.0], "tokens.count": [3, 4], "attention.mask": ["none", "causal"]}

    def value(t, beta, count, mask):
        return beta + 10 * count + 100 * (mask == "causal")

    with made(tmp_path, axes, value) as sweep:
        with pytest.raises(InvalidInput, match="one or two keys; of attention"):
            draw_sweep(sweep)
        ((values, *_),) = maps(figure := draw_sweep(sweep, at={"attention.mask": "causal"}))
        np.testing.assert_allclose(values, [[131, 132], [141, 142]])
        assert "3 replicas · attention.mask = causal · 8 points" in texts(figure)
        ((values, *_),) = maps(draw_sweep(sweep, at={"attention.mask": "none", "tokens.count": 4}))
        np.testing.assert_allclose(values[:, 0], [41, 42])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "sphere"}, "kind must be phase for a sweep; got 'sphere'"),
        ({"observable": "energy"}, "observable must be one of order, clusters; got 'energy'"),
        ({"at": {"tokens.seed": 1}}, "tokens.seed is none of the sweep's keys"),
        ({"at": {"attention.mask": "all"}}, "attention.mask is one of none, causal; got 'all'"),
        ({"at": {"attention.beta": 1.4}}, "attention.beta has no value 1.4 on its grid; the nearest is 1"),
        ({"at": {"attention.beta": "x"}}, "attention.beta is one of"),
        ({"at": {"attention.beta": 1.0, "attention.mask": "none"}}, "one or two keys"),
        ({"at": {"attention.mask": "none"}, "depths": [1.0]}, "depths choose the panels of a map of two keys"),
        ({"depths": [9.0]}, r"depths must lie in \[0, 5\]"),
        ({"depths": []}, "at most 6 depths; got 0"),
        ({"out": "a.jpg"}, "a figure is saved as one of"),
    ],
)
def test_what_a_sweep_does_not_have_is_told(tmp_path, options, says):
    axes = {"attention.beta": [1.0, 2.0, 3.0], "attention.mask": ["none", "causal"]}
    with made(tmp_path, axes, lambda t, beta, mask: t) as sweep, pytest.raises(InvalidInput, match=says):
        draw_sweep(sweep, **options)


@pytest.mark.parametrize("value", [lambda t, beta: np.nan, lambda t, beta: np.inf])
def test_nothing_finite_to_draw_is_told(tmp_path, value):
    with (
        made(tmp_path, {"attention.beta": [1.0, 2.0]}, value) as sweep,
        pytest.raises(InvalidInput, match="no finite value of order"),
    ):
        draw_sweep(sweep)


@pytest.mark.parametrize("betas", [[1.0], [1.0, 1.5]])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_smallest_sweeps_are_drawn(tmp_path, betas, frames):
    with made(tmp_path, {"attention.beta": betas}, lambda t, beta: 3.0, times=np.arange(float(frames))) as sweep:
        ((values, *_),) = maps(draw_sweep(sweep, out=tmp_path / "a.pdf"))
    assert (values == 3.0).all()


def test_a_picture_is_the_same_twice(tmp_path):
    with made(tmp_path, {"attention.beta": [1.0, 2.0]}, lambda t, beta: t * beta) as sweep:
        draw_sweep(sweep, out=tmp_path / "a.svg")
        draw_sweep(sweep, out=tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
