"""Every kind of figure against a stored picture of it, and a changed figure against the same: that one must differ.

Made anew, after looking at what changed: pytest tests/test_pictures.py -n 0 --mpl-generate-path=tests/pictures
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from attndyn.data import figures
from attndyn.data.figures.page import STYLE
from attndyn.data.rates import Series
from attndyn.particles import Attention, Euclidean, Sphere
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

PICTURES = Path(__file__).parent / "pictures"
# root mean square of 255. Matplotlib 3.8, 3.9 and 3.11, with FreeType 2.6 and 2.14, draw the same to the last bit; a
# changed figure, below, is 8 and more away
TOLERANCE = 3.0
DPI = 50
WORDS = "alice was beginning to get very tired of sitting by her sister on the bank and having nothing to".split()  # noqa: SIM905


def spread(tokens, dimension):
    """Tokens (tokens, dimension) that lie about, from sines: the same everywhere."""
    i, k = np.arange(tokens)[:, None], np.arange(dimension)
    return np.cos(1.0 + 1.7 * i + 0.9 * k * (i + 1.0))


def gathering(space, tokens=20, frames=31, slower=1.0, logarithmic=False, **changes):
    """Tokens that gather in three places, in two of them later, and there all together; depths from 0 to 100."""
    times = (
        np.concatenate([[0.0], np.geomspace(0.1, 100.0, frames - 1)]) if logarithmic else np.linspace(0, 100, frames)
    )
    start = spread(tokens, space.dimension)
    places = 1.2 * spread(3, space.dimension)[np.arange(tokens) % 3]
    pairs = 1.2 * spread(3, space.dimension)[np.minimum(np.arange(tokens) % 3, 1)]

    def reached(rate):
        return -np.expm1(-((rate * times / slower) ** 2))[:, None, None]

    positions = start + reached(0.3) * (places - start) + reached(0.04) * (pairs - places)
    positions = space.retract(positions[:, None])
    mean = positions.mean(axis=2)
    return SimpleNamespace(
        times=times,
        positions=positions,
        observables={"order": np.linalg.norm(mean, axis=-1)} | changes.pop("observables", {}),
        tokens=tokens,
        weights=np.full(tokens, 1 / tokens),
        token_strings=changes.pop("strings", None),
        scenario_text='title = "Tokens gather"',
        status="finished",
        space=space,
        law_at=changes.pop("law_at", lambda t: Attention(beta=4.0)),
    )


def two_heads(t):
    """A law that looks at the first and at the last components."""
    query = np.vstack([2.0 * np.eye(2, 4), 2.0 * np.eye(2, 4)[:, ::-1]])
    return Attention(beta=1.0, heads=2, query=query, key=query, value=np.eye(4))


def sweep(slower, keys):
    """A stand-in for a sweep of two keys or one."""
    betas, times = np.array([0.5, 1.0, 2.0, 4.0, 8.0]), np.linspace(0.0, 10.0, 41)
    axes = {"attention.beta": betas} | ({"tokens.count": np.array([8, 16, 32])} if keys == 2 else {})
    shape = tuple(map(len, axes.values()))
    speed = betas / slower if keys == 1 else np.outer(betas, [1.0, 0.7, 0.4]) / slower
    return SimpleNamespace(
        axes=axes,
        observables={"aligned_pairs": -np.expm1(-0.2 * speed[..., None] * times)},
        times=np.broadcast_to(times, (*shape, len(times))),
        status=np.full(shape, "finished"),
        done=np.ones(shape, bool),
        provenance={"values": {"tokens": {"count": 32, "replicas": 16}}},
        scenario_text='title = "How many pairs are aligned"',
    )


class Sweep(SimpleNamespace):
    def __len__(self):
        return self.done.size


def study(slower):
    """A stand-in for a study of the limit of depth."""
    layers = 2.0 ** np.arange(3, 11)
    series = [
        Series("euler", "layers", layers, 2.0 * layers**-1.0 * slower**2, "power", layers > 10, expected=-1.0),
        Series("distance", "depth", np.linspace(0.1, 5, 30), np.exp(np.linspace(0.1, 5, 30) / slower), bound=None),
    ]
    return SimpleNamespace(
        series=series, kind="depth", runs=range(9), remarks=["errors at depth 5"], scenario_text='title = "Layers"'
    )


def regularity(slower):
    """A stand-in for a study of the regularity of three layers under two masks, and at the steepest tokens."""
    n, series = 2.0 ** np.arange(3, 8), []
    for number, name in enumerate(("{} none", "{} causal", "steepest {}")):
        for layer in range(3):
            wave = 1.0 + 0.1 * np.cos(n + layer)
            values = (layer + 1.0 + 10.0 * number) * n ** (0.25 * slower**2 + 0.1 * number) * wave
            series.append(Series(name.format(f"layer {layer}"), "tokens", n, values, "power"))
    return SimpleNamespace(
        series=series, kind="regularity", runs=range(5), remarks=[], scenario_text='title = "A text in three layers"'
    )


def wordless(figure):
    """The figure without words: letters, and so how much room they take, are others with every version of FreeType.

    What is written is the matter of test_figures.py.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(NullFormatter())
            axis.set_minor_formatter(NullFormatter())
    for artist in figure.findobj(lambda artist: isinstance(artist, Text | Legend)):
        artist.set_visible(False)
        artist.set_in_layout(False)  # the room for titles that are not seen
    return figure


def figure_of(name, slower=1.0):
    """The figure of this name; tokens are slower, or what else it shows is other, by a factor."""
    if name in ("phase", "phase-keys"):
        made = Sweep(**vars(sweep(slower, 1 if name == "phase" else 2)))
        return figures.draw_sweep(made, depths=None if name == "phase" else [2.0, 10.0])
    if name == "rates":
        return figures.draw_study(study(slower))
    if name == "growth":
        return figures.draw_study(regularity(slower))
    space, changes = RUNS[name]
    kind = name.removesuffix("-strings").removesuffix("-heads").removesuffix("-saved")
    return figures.draw(gathering(space, slower=slower, **changes), kind=kind, depths=[0.0, 5.0, 20.0, 100.0])


def saved_energy():
    frames = 61
    clusters = np.repeat([12, 7, 4, 3, 1], [10, 5, 10, 24, 12])[:, None].astype(float)
    return {"frames": frames, "logarithmic": True, "observables": {"energy": 40.0 / clusters, "clusters": clusters}}


SPHERE = Sphere(3)
RUNS = {
    "circle": (Sphere(2), {}),
    "sphere": (SPHERE, {}),
    "line": (Euclidean(1), {"logarithmic": True}),
    "plane": (Euclidean(2), {}),
    "components-strings": (Sphere(6), {"strings": WORDS, "tokens": len(WORDS)}),
    "observables": (SPHERE, {"logarithmic": True}),
    "energy": (SPHERE, {"logarithmic": True}),
    "tree": (SPHERE, {"logarithmic": True}),
    "tree-strings": (Sphere(6), {"strings": WORDS, "tokens": len(WORDS)}),
    "similarity": (SPHERE, {}),
    "ridge": (SPHERE, {"logarithmic": True}),
    "attention": (SPHERE, {}),
    "attention-strings": (Sphere(6), {"strings": WORDS, "tokens": len(WORDS)}),
    "attention-heads": (Euclidean(4), {"law_at": two_heads}),
    "lipschitz": (SPHERE, {"logarithmic": True, "tokens": 9}),
}
NAMES = (*RUNS, "phase", "phase-keys", "rates", "growth")


@pytest.mark.mpl_image_compare(
    baseline_dir="pictures", tolerance=TOLERANCE, style=str(STYLE), savefig_kwargs={"dpi": DPI}
)
@pytest.mark.parametrize("name", NAMES)
def test_picture(name):
    return wordless(figure_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_figure_is_not_taken_for_the_stored_one(name, tmp_path):
    wordless(figure_of(name, slower=1.2)).savefig(tmp_path / "changed.png", dpi=DPI)
    stored, changed = PICTURES / f"test_picture_{name}.png", tmp_path / "changed.png"
    assert compare_images(stored, changed, TOLERANCE) is not None


def test_every_kind_has_a_picture():
    drawn = {name.split("-")[0] for name in NAMES}
    assert drawn == {*figures.KINDS, *figures.SWEEP_KINDS, *figures.STUDY_KINDS}
