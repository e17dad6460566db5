"""The documents as a site: built strictly, without a network, and read without one. Needs the extra docs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).parents[1]
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--no-first-run"]  # fmt: skip
# what makes a browser load something: the sources of elements, style sheets and icons
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors and without a way to the network."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", ROOT / "mkdocs.yml", "-d", folder],
        capture_output=True,
        text=True,
        env=os.environ | nowhere,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    loaded = {str(page): LOADED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {page: found for page, found in loaded.items() if found} == {}
    # the theme would fetch mermaid for a page with such a diagram
    assert [page for page in pages if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", sheet.read_text(encoding="utf-8")) == []


@pytest.mark.slow
def test_the_reference_has_the_docstrings(site):
    page = (site / "reference" / "particles.html").read_text(encoding="utf-8")
    assert 'id="attndyn.particles.attention.Attention"' in page
    assert "<code>beta</code>: the inverse temperature" in page
    assert 'id="attndyn.particles.attention.Attention.drift"' in page
    assert "s_ij = beta &lt;q_i, k_j&gt; and w_ij" in (site / "numerics.html").read_text(encoding="utf-8")
    scenario = (site / "source" / "scenarios" / "library" / "equiangular.toml.html").read_text(encoding="utf-8")
    assert "at right angles" in scenario


@pytest.mark.slow
@pytest.mark.browser
def test_it_is_read_from_disk_and_searched_without_a_network(site):
    sync_api = pytest.importorskip("playwright.sync_api")
    wrong, asked = [], []
    with sync_api.sync_playwright() as playwright:
        try:
            path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
            browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {error}")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(request.url))
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "tutorial", "gallery", "scenarios", "notation", "reference/integrators"):
            page.goto((site / f"{name}.html").as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
            assert not wide, f"{name} is wider than the window"
            broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)")
            assert broken == []
        page.goto((site / "index.html").as_uri())
        page.locator(".md-search__input").press_sequentially("sinkhorn")
        page.locator(".md-search-result__meta", has_text="matching document").wait_for(timeout=20_000)
        found = page.locator(".md-search-result__item").all_inner_texts()
        browser.close()
    assert any("Gallery" in text for text in found)
    assert any("Numerics" in text for text in found)
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
