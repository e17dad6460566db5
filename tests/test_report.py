"""Reports: one page holds what the file holds, in little room, says what it left out, and is safe to open."""

import base64
import hashlib
import html
import re
import subprocess
import sys
from html.parser import HTMLParser

import attndyn
import numpy as np
import pytest
from attndyn.cli import main
from attndyn.data.report import MOST_BYTES, attention, clusters, packing, pictures, thinning
from attndyn.data.report import page as pages
from attndyn.errors import InvalidInput, MissingExtra
from attndyn.particles import Ensemble, Euclidean, Sphere
from plotly.offline import get_plotlyjs
from report_pages import array_of, data_of, gathering, places_of, words_of, written

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


class Outline(HTMLParser):
    """The tags of a page with their attributes, which must close as they open."""

    VOID = ("meta", "input", "img", "br", "link")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page_of(tmp_path, monkeypatch):
    """(space, replica=0, **what `written` takes) -> the text of the page, quickly: without figures and plotly."""
    monkeypatch.setattr(pictures, "pictures_of", lambda *anything: ([], []))
    monkeypatch.setattr(pages, "_plotly", lambda: "window.Plotly = {}")

    def make(space, replica=0, **file):
        path = written(tmp_path / "gather.h5", space, **file)
        out = attndyn.report(path, tmp_path / "gather.html", replica=replica)
        path.unlink()
        text = out.read_text(encoding="utf-8")
        out.unlink()
        return text

    return make


@pytest.fixture(scope="module")
def sphere_page(tmp_path_factory):
    """The page of tokens with strings on the sphere."""
    folder = tmp_path_factory.mktemp("sphere")
    path = written(folder / "gather.h5", Sphere(3), strings=[f"word{k}" for k in range(12)])
    return attndyn.report(path, folder / "gather.html").read_text(encoding="utf-8")


# what is on the page


def test_a_page_has_its_parts_in_order(sphere_page):
    heads = [html.unescape(head) for head in re.findall(r"<h2[^>]*>(.*?)</h2>", sphere_page)]
    assert heads == [
        "What was run",
        "The tokens over depth",
        "Which tokens are together at depth 4",
        "Figures",
        "The scenario",
        "To make it again",
        "Provenance",
    ]
    words = words_of(sphere_page)
    assert "12 tokens on the sphere in R³, softmax attention, beta = 2" in words
    assert "What one sees: they meet." in words
    assert "pip install 'attndyn[report]==0.1.0'" in words
    assert "cat > gather.toml <<'SCENARIO' title = \"Tokens gather\"" in words
    assert "attndyn run gather.toml --out gather.h5" in words


def test_the_tokens_of_the_page_are_those_of_the_file(sphere_page):
    data = data_of(sphere_page)
    true = gathering(Sphere(3), 12, 5)[:, 0]
    assert data["kind"] == "sphere" and data["radius"] == 1.0
    assert data["times"] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert data["strings"][3] == "word3"
    np.testing.assert_allclose(places_of(data), true, atol=0.5 / 32767 + 1e-12)


def test_the_attention_of_the_page_is_that_of_the_law(sphere_page):
    data = data_of(sphere_page)
    attention, x = data["attention"], gathering(Sphere(3), 12, 5)[:, 0]
    scores = np.exp(2.0 * x @ x.transpose(0, 2, 1))
    rows = scores / scores.sum(axis=-1, keepdims=True)
    to, peaks = array_of(attention["to"]), array_of(attention["peaks"])
    weights = array_of(attention["shares"]) / 32767 * peaks[..., None]
    assert attention["frames"] == [0, 1, 2, 3, 4] and attention["tokens"] == list(range(12))
    assert to.shape == weights.shape == (5, 1, 12, 10)
    step = peaks.max() / 32767  # of a weight on the page, and float32
    largest = -np.sort(-rows, axis=-1)[..., :10]
    np.testing.assert_allclose(weights[:, 0], largest, rtol=1e-6, atol=0.5 * step)
    np.testing.assert_allclose(np.take_along_axis(rows, to[:, 0].astype(int), -1), largest, rtol=1e-12)


def test_the_clusters_of_the_page_keep_their_numbers(page_of):
    data = data_of(page_of(Euclidean(2), positions=two_clusters_that_meet()))
    numbers = array_of(data["clusters"])
    assert data["counts"] == [3, 2, 1]
    # the larger pair of tokens keeps its number when the smaller one joins it; the fifth token is alone at first
    assert numbers[0].tolist() == [1, 1, 0, 0, 0, clusters.ALONE]
    assert numbers[1].tolist() == [1, 1, 0, 0, 0, 0]
    assert numbers[2].tolist() == [0] * 6


def two_clusters_that_meet():
    """(3, 1, 6, 2): tokens at 0, 0, 5, 5, 5 and 9; then the last is at 5; then all are there."""
    across = np.array([[0, 0, 5, 5, 5, 9], [0, 0, 5, 5, 5, 5], [5, 5, 5, 5, 5, 5]], float)
    return np.stack([across, np.zeros((3, 6))], axis=-1)[:, None]


def test_curves_are_those_of_the_replica_with_the_range_of_all(page_of):
    values = np.arange(10.0).reshape(5, 2)
    data = data_of(page_of(Sphere(2), replica=1, replicas=2, observables={"spread": values}))
    (chart,) = data["observables"]["charts"]
    assert chart["name"] == "spread" and not chart["logarithmic"]
    assert array_of(chart["curves"]).tolist() == [values[:, 1].tolist()]
    assert array_of(chart["range"]).tolist() == values.T.tolist()
    np.testing.assert_allclose(places_of(data), gathering(Sphere(2), 12, 5, 2)[:, 1], atol=1e-4)


def test_figures_say_in_numbers_what_is_seen(sphere_page):
    pictures = Outline(sphere_page).all("img")
    assert len(pictures) >= 1
    for picture in pictures:
        assert picture["src"].startswith("data:image/png;base64,")
        assert "12 tokens from depth 0 to 4" in picture["alt"]
        assert "Spread goes from 1 to 0" in picture["alt"]
        assert re.search(r"Clusters: \d+ at depth 0, .*2 at depth 4\.", picture["alt"])


@pytest.mark.parametrize(
    ("space", "kind", "components"),
    [
        (Euclidean(1), "line", 1),
        (Euclidean(2), "plane", 2),
        (Sphere(2), "circle", 2),
        (Euclidean(3), "space", 3),
        (Sphere(7), "components", 3),
    ],
)
def test_the_view_follows_from_the_space(page_of, space, kind, components):
    page = page_of(space)
    data = data_of(page)
    assert (data["kind"], len(data["axes"])) == (kind, components)
    assert data["places"]["shape"] == [5, 12, components]
    if kind == "components":
        share = int(re.search(r"They hold (\d+)% of the variance", words_of(page))[1])
        x = gathering(space, 12, 5)[:, 0].reshape(-1, 7)
        squares = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
        assert share == round(100 * squares[:3].sum() / squares.sum())


def test_a_network_has_layers(tmp_path):
    scenario = attndyn.load("residual-network").override({"tokens.count": 8, "depth.layers": 6})
    run = attndyn.run(scenario, out=tmp_path / "network.h5")
    data = data_of(attndyn.report(run, tmp_path / "network.html").read_text())
    assert data["layerStep"] == scenario.depth.layer_step
    assert len(data["times"]) == 7


# what cannot be shown is said


def test_a_single_frame_and_no_observables(page_of):
    data = data_of(page_of(Sphere(3), frames=1, observables={}))
    assert data["times"] == [0.0] and data["observables"]["charts"] == []


def test_no_frame_at_all(page_of):
    page = page_of(Sphere(3), frames=0, positions=np.empty((0, 1, 12, 3)), observables={})
    assert "The file holds no frames" in words_of(page)
    assert Outline(page).all("script") == []


def test_a_run_that_failed(page_of):
    positions = gathering(Euclidean(3), 12, 5)
    positions[4, 0, 3] = np.nan
    page = page_of(Euclidean(3), positions=positions, status="failed: the drift is not finite")
    assert "The run failed: the drift is not finite. The last frame is at depth 4." in words_of(page)
    places = places_of(data_of(page))
    assert np.isnan(places[4, 3]).all() and np.isfinite(places[4, 2]).all()


def test_an_interrupted_run(page_of):
    assert "The run did not end by itself: interrupted." in words_of(page_of(Sphere(3), status="interrupted"))


@pytest.mark.parametrize("scenario", ["hyperbolic = true", "not even toml [", "[tokens]\ncount = 999999999"])
def test_a_scenario_that_is_not_understood_costs_the_attention_only(page_of, scenario):
    page = page_of(Sphere(3), scenario=scenario)
    assert "This version does not understand the scenario" in words_of(page)
    data = data_of(page)
    assert data["attention"] is None and len(data["times"]) == 5
    assert html.escape(scenario) in page


# in little room


def test_many_tokens_and_frames_are_thinned_and_the_page_says_so(page_of, monkeypatch):
    monkeypatch.setattr(thinning, "MOST_TOKENS", 50)
    monkeypatch.setattr(thinning, "MOST_PLACES", 1000)
    page = page_of(Sphere(3), tokens=300, frames=90)
    data = data_of(page)
    assert data["places"]["shape"] == [20, 50, 3]
    assert (data["frames"][0], data["frames"][-1], data["allFrames"], data["allTokens"]) == (0, 89, 90, 300)
    true = gathering(Sphere(3), 300, 90)[:, 0]
    np.testing.assert_allclose(places_of(data), true[np.ix_(data["frames"], data["tokens"])], atol=1e-4)
    words = words_of(page)
    assert "The view shows 50 of 300 tokens" in words
    assert "The slider has 20 of 90 saved frames" in words
    # clusters and attention are of all tokens
    full = Ensemble(true[0], Sphere(3))
    counted = attndyn.particles.observables.clusters(full)[0]
    assert data["counts"][0] == counted > 50
    assert array_of(data["attention"]["to"]).max() > 50


def test_attention_is_thinned_and_the_page_says_so(page_of, monkeypatch):
    monkeypatch.setattr(attention, "MOST_KEPT", 1200)
    page = page_of(Sphere(3), tokens=60, frames=30)
    data = data_of(page)["attention"]
    kept, some = len(data["frames"]), len(data["tokens"])
    assert kept * some * 10 <= 1200 and some < 60
    assert f"weights are kept at {kept} of the 30 depths, of {some} of the 60 tokens." in words_of(page)
    x = gathering(Sphere(3), 60, 30)[:, 0]
    frame, token = data["frames"][-1], data["tokens"][2]
    row = np.exp(2.0 * x[frame] @ x[frame, token])
    peak = array_of(data["peaks"])[-1, 0, 2]
    assert peak == pytest.approx((row / row.sum()).max(), rel=1e-5)


def test_the_largest_page_is_small_enough():
    """Positions, clusters and attention at their bounds, of numbers that cannot be compressed."""
    generator = np.random.default_rng(0)
    places = generator.integers(-32767, 32767, (thinning.MOST_PLACES, 3)).astype(np.int16)
    numbers = generator.integers(0, 60000, thinning.MOST_PLACES).astype(np.uint16)
    shares = generator.integers(-32767, 32767, attention.MOST_KEPT).astype(np.int16)
    to = generator.integers(0, 60000, attention.MOST_KEPT).astype(np.uint16)
    arrays = sum(len(packing.packed(values)["data"]) for values in (places, numbers, shares, to))
    assert arrays + pictures.MOST_BYTES + len(packing.packed_text(get_plotlyjs())) < MOST_BYTES - 300_000


def test_quantised_numbers_keep_their_places():
    values = np.array([[1.0, -2.0, np.nan], [0.5, np.inf, 0.0]])
    steps = packing.quantised(values, np.array([[2.0], [0.5]]))
    assert steps.tolist() == [[16384, -32767, -32768], [32767, -32768, 0]]


# safe to open


def test_a_page_asks_for_nothing(sphere_page):
    outline = Outline(sphere_page)
    assert outline.all("link") == [] and outline.all("iframe") == []
    assert all("src" not in script for script in outline.all("script"))
    outside = [value for _, attributes in outline.tags for value in attributes.values() if "://" in str(value)]
    assert outside == []
    assert "url(" not in sphere_page[: sphere_page.index("</style>")]


def test_only_the_scripts_of_the_page_may_run(sphere_page):
    (policy,) = [meta["content"] for meta in Outline(sphere_page).all("meta") if "http-equiv" in meta]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    script = re.search(r'<script type="module">(.*?)</script>', sphere_page, re.DOTALL)[1]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (script, get_plotlyjs())
    ]
    assert rules["script-src"].split() == hashes


def test_texts_of_strangers_are_harmless(page_of):
    scenario = f"title = '''{HOSTILE}'''\n# {HOSTILE}\n[tokens]\ncount = 12\n\nSCENARIO\n"
    provenance = {"scenario": {"name": f"$(rm -rf ~) {HOSTILE}"}, HOSTILE: HOSTILE, "versions": {"attndyn": "1; rm *"}}
    page = page_of(
        Sphere(3),
        scenario=scenario,
        strings=[HOSTILE, "\ud800", "\x00", *"abcdefghi"],
        status=f"failed: {HOSTILE}",
        provenance=provenance,
    )
    outline = Outline(page)
    kinds = [script["type"] for script in outline.all("script")]
    assert kinds == ["application/json", "text/plain", "module"]
    assert all(picture["src"].startswith("data:image/png") for picture in outline.all("img"))
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)
    assert data_of(page)["strings"][0] == HOSTILE[:60]
    words = words_of(page)
    assert "pip install 'attndyn[report]==1; rm *'" in words
    assert "attndyn report rm--rf-script-script-alert-1-script-img-src-x-onerror-alert-2.h5" in words
    assert "\x00" not in page


def test_a_scenario_cannot_end_its_own_quotation(page_of):
    page = page_of(Sphere(3), scenario="[tokens]\ncount = 12\n# \nSCENARIO\nrm -rf ~\n")
    text = html.unescape(re.search(r'aria-label="Command lines">(.*?)</pre>', page, re.DOTALL)[1])
    assert "<<'SCENARIO_'" in text and text.index("rm -rf") < text.index("\nSCENARIO_\n")


def test_the_command_lines_make_the_file_again(tmp_path):
    scenario = attndyn.load("sphere-clusters").override({"tokens.count": 6, "depth.time": 0.5})
    first = attndyn.run(scenario, out=tmp_path / "first.h5", backend="reference")
    page = attndyn.report(first, tmp_path / "first.html").read_text()
    text = html.unescape(re.search(r'aria-label="Command lines">(.*?)</pre>', page, re.DOTALL)[1])
    lines = "\n".join(line for line in text.splitlines() if not line.startswith(("pip ", "attndyn report")))
    here = f"attndyn() {{ '{sys.executable}' -m attndyn.cli \"$@\"; }}\n"
    subprocess.run(["bash", "-ec", here + lines], cwd=tmp_path, check=True, capture_output=True)
    with attndyn.open(tmp_path / "sphere-clusters.h5") as second:
        np.testing.assert_array_equal(second.positions[:], first.positions[:])
    assert text.endswith("attndyn report sphere-clusters.h5 --out sphere-clusters.html")


# other files, and mistakes


def test_a_sweep_has_its_diagram_and_its_numbers(tmp_path):
    scenario = attndyn.load("circle-metastable").override({"tokens.count": 5, "depth.time": 1.0, "save.times": [0, 1]})
    attndyn.sweep(scenario, {"attention.beta": [1.0, 2.0, 4.0]}, out=tmp_path / "sweep.h5", workers=1)
    page = attndyn.report(tmp_path / "sweep.h5", tmp_path / "sweep.html").read_text()
    outline = Outline(page)
    assert outline.all("script") == [] and len(outline.all("img")) == 1
    words = words_of(page)
    assert "A sweep of circle-metastable over attention.beta." in words
    assert "attndyn sweep circle-metastable.toml --grid attention.beta=1.0,2.0,4.0 --out" in words


def test_a_limit_study_has_its_rates(tmp_path):
    changes = {"tokens.count": 4, "depth.time": 0.5, "limit.layers": [4, 8, 16]}
    scenario = attndyn.load("depth-network").override(changes)
    attndyn.limit(scenario, out=tmp_path / "study.h5", workers=1)
    page = attndyn.report(tmp_path / "study.h5", tmp_path / "study.html").read_text()
    words = words_of(page)
    assert len(Outline(page).all("img")) == 1
    assert "A limit study of depth-network: depth." in words and "rate between" in words
    assert "attndyn limit depth depth-network.toml --out" in words


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "gather.h5", Sphere(2), replicas=2)
    assert main(["report", "gather.h5"]) == 0
    assert re.fullmatch(r"gather.html \(\d\.\d MB\)\n", capsys.readouterr().out)
    assert main(["report", "gather.h5"]) == 2
    assert "gather.html exists already" in capsys.readouterr().err
    assert main(["report", "gather.h5", "--overwrite", "--quiet", "--replica", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["report", "gather.h5", "--out", "other.html", "--replica", "2"]) == 2
    assert "replica must be an integer in [0, 1]; got 2" in capsys.readouterr().err
    assert main(["report", "gather.h5", "--out", "nowhere/other.html"]) == 2
    assert main(["report", "gather.h5", "--out", "other.pdf"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gather.h5", "gather.html"]


def test_long_texts_are_cut(page_of):
    page = page_of(Sphere(3), scenario="# " + "x" * 300_000, strings=["y" * 1000] * 12)
    assert "x ... (300002 characters)" in words_of(page) and "attndyn.open(sys.argv[1]).scenario" in words_of(page)
    assert len(page) < 250_000
    assert data_of(page)["strings"] == ["y" * 60] * 12


def test_without_plotly_the_extra_is_named(tmp_path, monkeypatch):
    written(tmp_path / "gather.h5", Sphere(2))
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtra, match=r"pip install 'attndyn\[report\]'"):
        attndyn.report(tmp_path / "gather.h5", tmp_path / "gather.html")
    assert not (tmp_path / "gather.html").exists()


def test_a_folder_is_no_page(tmp_path):
    (tmp_path / "a.html").mkdir()
    with pytest.raises(InvalidInput, match="it is a folder"):
        attndyn.report(tmp_path / "gather.h5", tmp_path / "a.html", overwrite=True)
