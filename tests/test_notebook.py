"""Notebooks: displays say what files and scenarios are, are harmless whatever these hold, and never raise."""

import base64
import io
from html.parser import HTMLParser
from types import SimpleNamespace

import attndyn
import numpy as np
import pytest
from attndyn.data import notebook
from attndyn.data.reading import open_trajectory
from attndyn.data.trajectory import TrajectoryWriter
from attndyn.particles import Ensemble, Euclidean, Sphere
from attndyn.scenarios.notebook import scenario_html
from PIL import Image

VOID = {"img", "br", "hr"}
ALLOWED = {"div", "strong", "table", "tr", "th", "td", "details", "summary", "img", "pre"}


class Page(HTMLParser):
    """The tags, attributes and texts of a display; every tag must be closed, and be one that does nothing."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.images, self.tables = [], [], [], {}
        self.feed(html)
        self.close()
        assert self.open == []
        cells = [text for tag, text in self.texts if tag in ("th", "td")]
        self.rows = dict(zip(cells[::2], cells[1::2], strict=True))

    def handle_starttag(self, tag, attributes):
        assert tag in ALLOWED
        assert all(not name.startswith("on") and name in ("style", "src", "alt", "open") for name, _ in attributes)
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1], data))

    def text(self, tag):
        return [text for name, text in self.texts if name == tag]


def written(path, scenario='title = "Tokens drift"', frames=3, space=None, tokens=6, observables=("order",), **options):
    space = space or Sphere(3)
    ensemble = Ensemble.uniform(space, tokens, replicas=2, seed=1)
    with TrajectoryWriter(
        path, ensemble=ensemble, scenario=scenario, observables=list(observables), **options
    ) as writer:
        for step in range(frames):
            values = {name: np.array([0.25, 0.5]) + step for name in observables}
            writer.append(step, 0.5 * step, ensemble.positions, values)
    return path


@pytest.mark.parametrize("space", [Sphere(2), Sphere(3), Sphere(5), Euclidean(1), Euclidean(2), Euclidean(3)])
def test_a_trajectory_is_shown_with_what_it_holds_and_a_small_picture(tmp_path, space):
    with open_trajectory(written(tmp_path / "run.h5", space=space)) as run:
        page = Page(run._repr_html_())
    assert page.text("strong") == ["Tokens drift"]
    assert page.rows["status"].startswith(("finished", "running"))
    assert page.rows["tokens"].startswith("6 ") and page.rows["replicas"] == "2"
    assert page.rows["frames"] == "3, depth 0 to 1"
    assert page.rows["order"] == "0.25 .. 0.5 \N{RIGHTWARDS ARROW} 2.25 .. 2.5"
    (image,) = page.images
    assert image["alt"] == "the tokens of Tokens drift" and "background: white" in image["style"]
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64" and len(data) < 400_000
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (363, 374)


def test_text_of_strangers_is_harmless(tmp_path):
    evil = '<script>alert(1)</script><img src=x onerror=alert(2)>"\\u0027 & \\u001b[2J'
    path = tmp_path / "<b>run & \"'.h5"
    written(path, f"title = '''{evil}'''", observables=("order",), token_strings=["</div><script>"] * 6)
    with open_trajectory(path) as run:
        run.status = f"failed: {evil}"
        run.statistics = {evil: evil}
        html = run._repr_html_()
    page = Page(html)  # which knows no script, and no image but ours
    assert "<script" not in html and "\x1b" not in html and len(page.images) == 1
    assert any("<script>alert(1)</script>" in text for text in page.text("strong"))
    assert page.rows["status"].startswith("failed: <script>")


def test_a_file_that_is_closed_or_without_frames_or_of_a_run_that_goes_is_shown_as_far_as_it_is_known(tmp_path):
    run = open_trajectory(written(tmp_path / "run.h5"))
    run.close()
    assert "Trajectory" in "".join(Page(run._repr_html_()).text("pre"))
    with open_trajectory(written(tmp_path / "empty.h5", frames=0)) as run:
        page = Page(run._repr_html_())
        assert page.rows["frames"] == "none yet" and not page.images
        run.status = "running"
        assert Page(run._repr_html_()).rows["status"] == "running: the run still goes, or was killed"


def test_what_cannot_be_drawn_is_shown_without_a_picture_and_what_cannot_be_read_as_its_name(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no")

    with open_trajectory(written(tmp_path / "run.h5")) as run:
        monkeypatch.setattr(notebook, "_portrait", fail)
        page = Page(run._repr_html_())
        assert page.rows["order"] and not page.images
    assert Page(notebook.trajectory_html(SimpleNamespace())).text("pre") == ["namespace()"]

    class Broken:
        __repr__ = fail

    assert Page(notebook.sweep_html(Broken())).text("pre") == ["Broken"]
    assert Page(notebook.limit_html(Broken())).text("pre") == ["Broken"]
    assert Page(scenario_html(Broken())).text("pre") == ["Broken"]


def test_a_scenario_is_shown_by_what_is_not_its_default(tmp_path):
    scenario = attndyn.load("sphere-clusters").override({"attention.beta": 9.5, "title": "a < b"})
    html = scenario._repr_html_()
    page = Page(html)
    assert page.text("strong") == ["a < b"] and page.text("summary") == ["defaults"]
    changed, same = html.split("<details>")
    assert page.rows["attention.beta"] == "9.5" and "attention.beta" in changed
    assert "depth.method" in same and "depth.method" not in changed
    defaults = Page(attndyn.Scenario.parse("")._repr_html_())
    assert "the defaults" in defaults.text("div") and defaults.text("strong") == ["scenario"]


def test_every_bundled_scenario_can_be_shown():
    for name in attndyn.names():
        page = Page(attndyn.load(name)._repr_html_())
        assert page.rows and page.text("pre") == []


def test_a_sweep_and_a_study_are_shown(tmp_path):
    sweep = attndyn.sweep(
        attndyn.load("circle-metastable").override({"tokens.count": 4, "depth.time": 1.0, "save.times": [1.0]}),
        {"attention.beta": [1.0, 2.0]},
        out=tmp_path / "sweep.h5",
        backend="reference",
        workers=1,
    )
    with sweep:
        page = Page(sweep._repr_html_())
    assert page.rows["points"] == "2 of 2 done" and page.rows["attention.beta"] == "1, 2"
    assert page.rows["clusters"].startswith("mean ")
    series = SimpleNamespace(name="depth", summary=lambda: {"slope": 1.25, "points": 3, "values": [1]})
    study = SimpleNamespace(
        kind="depth", name="x", runs=["a"], series=[series], remarks=["a <b> remark"], scenario_text="", path="y.h5"
    )
    page = Page(notebook.limit_html(study))
    assert page.rows["depth"] == "slope 1.25, points 3" and "a <b> remark" in page.text("div")
