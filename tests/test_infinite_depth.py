"""docs/infinite-depth.md on small models: every scenario of an import, the step refined, clusters in words."""

import re

import attndyn
import numpy as np
import pytest
from attndyn.data.importers.importing import SCENARIOS
from report_pages import data_of

STUDIES = {"depth-limit.toml": {"limit.layers": [3, 6]}, "fixed-point.toml": {"limit.most": 5, "limit.starts": 1}}


@pytest.mark.parametrize("family", ["bert", pytest.param("llama", marks=pytest.mark.slow)])
def test_every_scenario_of_an_import_goes_to_its_end(imported, tmp_path, family):
    folder = imported(family)
    assert {path.name for path in folder.glob("*.toml")} == set(SCENARIOS)
    for file in SCENARIOS:
        scenario = attndyn.load(folder / file).override(STUDIES.get(file, {}))
        if file in STUDIES:
            with attndyn.limit(scenario, out=tmp_path / f"{file}.h5", backend="torch") as study:
                assert all(np.isfinite(series.error).all() for series in study.series), file
            continue
        with attndyn.run(scenario, backend="torch") as trajectory:
            assert trajectory.status == "finished", file
            assert trajectory.times[-1] == (scenario.depth.time or scenario.depth.layers * scenario.depth.step)
            assert np.isfinite(trajectory.positions[-1]).all(), file


@pytest.mark.parametrize(
    ("family", "file"),
    [
        ("bert", "depth-limit.toml"),
        ("gpt2", "depth-limit.toml"),
        pytest.param("bert", "interpolated.toml", marks=pytest.mark.slow),
        pytest.param("gpt2", "interpolated.toml", marks=pytest.mark.slow),
    ],
)
def test_the_error_against_the_flow_falls_like_the_step(imported, family, file):
    layers = [3 * 2**k for k in range(5, 9)]
    study = {"limit": {"kind": "depth", "layers": layers, "tolerance": 1e-9}}
    (series,) = attndyn.limit(attndyn.load(imported(family) / file).override(study), backend="torch").series
    between = np.diff(np.log(series.error)) / np.log(2)
    assert abs(between[-1] + 1) < 0.1, between
    assert series.expected == -1


def test_members_and_the_report_have_the_words(imported, tmp_path):
    file = tmp_path / "shared.h5"
    attndyn.run(imported("bert") / "shared.toml", out=file, backend="torch").close()
    from checkpoints import TEXT

    words = ["[CLS]", *TEXT.split(), "[SEP]"]
    (table,) = attndyn.analyze(file, ["members"], cluster_distance=1e3).tables.values()
    assert table.columns["size"].tolist() == [len(words)]
    assert table.columns["tokens"][0].startswith("the x4")
    assert all(word in table.columns["tokens"][0] for word in words)
    attndyn.report(file, tmp_path / "shared.html")
    page = (tmp_path / "shared.html").read_text(encoding="utf-8")
    assert data_of(page)["strings"] == words
    together = re.search(r'<section id="together">.*?</section>', page, re.DOTALL)[0]
    sizes = [int(size) for size in re.findall(r"<dt>(\d+) (?:tokens|alone)</dt>", together)]
    assert sum(sizes) == len(words)
    assert "cat" in together
