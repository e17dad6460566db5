"""What the documents tell to do is done: the tutorial as it stands, the Python of the README and of the guides."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import attndyn
import pytest
from attndyn.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))  # for the modules of docs/, which are no package
from press.pictures import TOLERANCE, difference, reduce  # noqa: E402
from press.walk import blocks, same, walk  # noqa: E402

# what the Python of a page takes as given
CLUSTERS = 'import attndyn; attndyn.run("sphere-clusters", out="clusters.h5").close()\n'
RUN = 'import attndyn; attndyn.run("sphere-clusters", out="run.h5").close()\n'
LAW = """
from attndyn import Attention, Ensemble, Euclidean
law, ensemble = Attention(beta=0.3, value=0.3), Ensemble.uniform(Euclidean(3), 6, radius=0.78, seed=3)
u = ensemble.positions
"""
FRAME = "step, time, energy = 0, 0.0, [1.0]\n"
STAIRS = """
import attndyn
for name, rtol in (("stairs", 1e-10), ("coarse", 1e-6)):
    scenario = attndyn.load("circle-staircase").override({"depth.rtol": rtol})
    attndyn.run(scenario, out=f"{name}.h5").close()
"""
INTERRUPTED = """
import attndyn
attndyn.run("sphere-clusters", out="clusters.h5", walltime=1e-3).close()
"""
CHECKPOINT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
from checkpoints import made, word_pieces
folder = Path("all-MiniLM-L6-v2")
made("bert").save_pretrained(folder)
word_pieces(folder, "Alice was beginning to get very tired")
"""
GIVEN = {
    "analysis.md": CLUSTERS,
    "figures.md": RUN,
    "fixed-points.md": LAW,
    "importing.md": CHECKPOINT,
    "keeping.md": INTERRUPTED,
    "movies.md": CLUSTERS,
    "structures.md": STAIRS,
    "trajectory-files.md": CLUSTERS + LAW + FRAME,
}
GUIDES = (*GIVEN, "fast-sums.md", "limits.md", "regularity.md")


def test_the_tutorial_does_and_shows_what_it_says(tmp_path):
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    shown = 0
    for block, output, printed in walk(text, tmp_path):
        assert same(output, printed), f"line {block.line} shows\n{output}\nprinted was\n{printed}"
        shown += 1
    assert shown > 8
    pictures = re.findall(r"\(tutorial/([\w-]+\.png)\)", text)
    assert {path.name for path in (DOCS / "tutorial").glob("*.png")} == set(pictures)
    for name in pictures:
        reduce(tmp_path / name)
        assert difference(tmp_path / name, DOCS / "tutorial" / name) < TOLERANCE, name


def test_a_walk_sees_what_is_wrong(tmp_path):
    page = (
        "Save this as `a.toml`:\n\n```toml\nx = 1\n```\n\n"
        "```python\nimport pathlib\nprint(pathlib.Path('a.toml').read_text())\n```\n\n```text\nx = {}\n```\n"
    )
    assert [same(shown, printed) for _, shown, printed in walk(page.format(1), tmp_path)] == [True]
    assert [same(shown, printed) for _, shown, printed in walk(page.format(2), tmp_path)] == [False]
    with pytest.raises(RuntimeError, match="line 1: attndyn show nonsense: attndyn: nonsense: neither"):
        list(walk("```sh\nattndyn show nonsense\n```\n", tmp_path))
    with pytest.raises(RuntimeError, match="line 1: ZeroDivisionError"):
        list(walk("```python\n1 / 0\n```\n", tmp_path))


def python_of(page):
    return [block.code for block in blocks(page.read_text(encoding="utf-8")) if block.language == "python"]


def run_script(code, folder):
    script = folder / "page.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_python_of_the_readme_runs(tmp_path):
    run_script("\n".join(python_of(ROOT / "README.md")), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_the_python_of_the_guides_runs(name, tmp_path):
    run_script("\n".join([GIVEN.get(name, ""), *python_of(DOCS / name)]), tmp_path)


def test_no_page_has_python_that_is_not_run():
    pages = {
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if any(block.language == "python" for block in blocks(path.read_text(encoding="utf-8")))
    }
    assert pages == {*GUIDES, "tutorial.md", "sweeps.md"}


@pytest.mark.slow
def test_the_page_on_sweeps_runs(tmp_path):
    page = DOCS / "sweeps.md"
    scenario = next(block for block in blocks(page.read_text(encoding="utf-8")) if block.name == "gather.toml")
    (tmp_path / "gather.toml").write_text(scenario.code, encoding="utf-8")
    attndyn.sweep(
        tmp_path / "gather.toml", {"attention.beta": [1.0, 4.0]}, out=tmp_path / "phase.h5", workers=1
    ).close()
    for code in python_of(page):  # each a script by itself, which worker processes import
        run_script(code.replace("replicas=128", "replicas=4"), tmp_path)  # as quick as it can be


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path, monkeypatch):
    """In this process: each would import everything anew in one of its own, which takes longer than what it does."""
    from checkpoints import made, word_pieces  # takes a while: transformers

    monkeypatch.chdir(tmp_path)
    model = tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2"  # a folder comes before the hub
    made("bert").save_pretrained(model)
    word_pieces(model, "Alice was beginning to get very tired")
    ran = 0
    for block in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        if block.language == "toml" and block.name:
            (tmp_path / block.name).write_text(block.code, encoding="utf-8")
        for line in block.code.splitlines() if block.language == "sh" else ():
            if line.startswith("attndyn "):
                assert main(shlex.split(line, comments=True)[1:]) == 0, line
                ran += 1
    assert ran > 15
