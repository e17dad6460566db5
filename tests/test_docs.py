"""The documents: pages made from the code are fresh, what pages name is there, links lead somewhere."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import attndyn
import pytest
from attndyn import Scenario
from attndyn.particles.observables import REGISTRY

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))  # for the modules of docs/, which are no package
import generate  # noqa: E402
from press import commands, exhibits, keys, reference  # noqa: E402
from press.markup import as_markdown, plain  # noqa: E402
from press.pictures import MOST_BYTES, TOLERANCE, difference, reduce  # noqa: E402

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])


def read(path):
    return path.read_text(encoding="utf-8")


def test_pages_made_from_the_code_are_fresh():
    assert generate.stale() == [], "python docs/generate.py writes them"


def test_a_page_that_was_changed_by_hand_or_is_left_over_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    generate.write()
    assert generate.stale() == []
    (tmp_path / "cli.md").write_text("by hand", encoding="utf-8")
    (tmp_path / "scenarios.md").unlink()
    (tmp_path / "reference" / "left.md").write_text("left over", encoding="utf-8")
    assert generate.stale() == ["cli.md", "reference/left.md", "scenarios.md"]
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_every_command_and_every_option_is_on_the_page_of_the_command_line():
    text = commands.page()
    listed = subprocess.run(
        [sys.executable, "-m", "attndyn.cli", "limit", "--help"], capture_output=True, text=True, check=True
    ).stdout
    section = text.split("## `attndyn limit`")[1].split("\n## ")[0]
    options = set(re.findall(r"--[a-z][a-z-]*", listed.split("Options:")[1])) - {"--help", "--set"}
    assert "--workers" in options
    assert [option for option in options if f"`{option}" not in section] == []
    for word in commands.COMMANDS:
        assert f"## `attndyn {word}`" in text


def test_every_key_of_a_scenario_is_on_its_page():
    schema = Scenario.model_json_schema()
    text = keys.page()
    found = {name for table in schema["$defs"].values() for name in table.get("properties", {})}
    assert len(found) > 80
    assert [name for name in sorted(found) if f"| `{name}` |" not in text] == []
    assert [name for name in schema["properties"] if f"`[{name}]`" not in text and f"| `{name}` |" not in text] == []
    assert [name for name in REGISTRY if f"| `{name}` |" not in text] == []
    assert "| `rtol` | number > 0 | `1e-08` |" in text
    assert "list of [observables](#observables)" in text


def test_every_public_name_is_in_the_reference():
    pages = reference.pages()
    top = pages["attndyn.md"]
    assert [name for name in attndyn.__all__ if f"`{name}`" not in top] == []
    shown = {home for text in pages.values() for home in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
    linked = set(re.findall(r"\]\[(attndyn\.\S+?)\]", "".join(pages.values())))
    assert linked - shown == set()
    assert [home for home in shown if resolved(home) is None] == []


def resolved(name):
    """What a dotted name stands for; None where there is none."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found = import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            found = getattr(found, word, None)
        return found
    return None


def test_the_names_and_keys_of_the_notation_are_there():
    text = read(DOCS / "notation.md")
    names = re.findall(r"`(attndyn\.[\w.]+)", text)
    assert len(names) > 15
    assert [name for name in names if resolved(name) is None] == []
    attributes = re.findall(r"`(Ensemble|Attention|Space|Sphere|Solution|Trajectory)\.(\w+)", text)
    assert len(attributes) > 15
    assert [f"{of}.{name}" for of, name in attributes if not has(getattr(attndyn, of), name)] == []
    schema = Scenario.model_json_schema()
    sections = [key for key in schema["properties"] if key not in ("title", "source")]
    assert [section for section in sections if f"[{section}]" not in text and f"`{section}." not in text] == []
    named = re.findall(rf"`((?:{'|'.join(sections)})\.\w+)`", text)
    assert len(named) > 30
    page = keys.page()
    for key in named:
        section, word = key.split(".")
        assert f"| `{word}` |" in page.split(f"\n## `[{section}]`")[1].split("\n## ")[0], key
    assert [name for name in attndyn.__all__ if f"`{name}" not in text and f".{name}" not in text] == ["__version__"]


def has(cls, attribute):
    """Whether a class has an attribute, or its instances are given one."""
    sources = (inspect.getsource(base) for base in cls.__mro__ if base.__module__.startswith("attndyn."))
    return hasattr(cls, attribute) or any(
        re.search(rf"^ +(self\.)?{attribute}\b.*[:=]", text, re.M) for text in sources
    )


def test_every_bundled_scenario_is_in_the_gallery_with_its_picture():
    text = exhibits.page()
    sizes = {path.stem: path.stat().st_size for path in (DOCS / "gallery").glob("*.png")}
    assert set(sizes) == set(attndyn.names())
    assert max(sizes.values()) <= MOST_BYTES
    assert sum(sizes.values()) < 3_000_000
    for name in attndyn.names():
        entry = text.split(f"### {name}\n")[1].split("\n### ")[0]
        assert f"(gallery/{name}.png)" in entry
        assert "*What one sees:*" in entry
        assert f"`{exhibits.command(name)}`" in entry
        assert f"(../scenarios/library/{name}.toml)" in entry
    assert "[arXiv:math/0607446](https://arxiv.org/abs/math/0607446)" in text
    assert exhibits.command("depth-network") == "attndyn limit depth-network"
    assert exhibits.command("sphere-clusters") == "attndyn run sphere-clusters"


def test_pictures_that_show_something_else_are_told_apart(tmp_path):
    from attndyn.data.figures import draw

    scenario = attndyn.load("sphere-clusters").override({"depth.time": 5.0})
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        with attndyn.run(scenario.override({"tokens.seed": seed})) as trajectory:
            draw(trajectory, out=tmp_path / f"{name}.png")
        reduce(tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").stat().st_size <= MOST_BYTES
    assert difference(tmp_path / "one.png", tmp_path / "again.png") == 0.0
    assert difference(tmp_path / "one.png", tmp_path / "other.png") > TOLERANCE


def anchors(text):
    """The anchors of a page's headings."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", outside, re.MULTILINE):
        kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
        yield "-".join(kept.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target, anchor in re.findall(r"\]\(([^)\s#:]*)(?:#([^)\s]*))?\)", text):
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in set(anchors(read(path)))):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def test_every_page_is_in_the_navigation():
    navigation = read(ROOT / "mkdocs.yml").split("\nnav:")[1]
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert [page for page in pages if not re.search(rf"(: |- ){re.escape(page)}$", navigation, re.MULTILINE)] == []


DOCSTRING = """One law, x_i |-> <q_i, k_j>*.

    a_i = b
        + c

    d = e

beta      : the inverse
            temperature
query, key : `Q_x`, not [a link]
What follows is a sentence
that goes on.
"""


def test_a_docstring_becomes_paragraphs_formulas_and_a_list():
    assert as_markdown(DOCSTRING) == (
        "One law, x\\_i \\|-> &lt;q\\_i, k\\_j>\\*.\n\n"
        "```text\na_i = b\n    + c\n\nd = e\n```\n\n"
        "- `beta`: the inverse temperature\n- `query, key`: `Q_x`, not \\[a link\\]\n\n"
        "What follows is a sentence that goes on."
    )
    assert plain("a  |\n b") == "a \\| b"
