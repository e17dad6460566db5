"""A report in a real browser: headless Chromium opens the page from the disk, and uses it by mouse and by keyboard.

Skipped where there is no Chromium or no playwright. ATTNDYN_SCREENSHOTS names a folder that keeps the screenshots.
"""

import os
import shutil
from pathlib import Path

import attndyn
import numpy as np
import pytest
from attndyn.data.report import pictures
from attndyn.particles import Euclidean, Sphere
from report_pages import gathering, written

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
FRAMES, TOKENS = 41, 12
WORDS = [f"word{k}" for k in range(TOKENS)]


@pytest.fixture(scope="module")
def browser():
    """A browser that is closed in the end."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'attndyn[browser]'")
    if CHROMIUM is None:
        pytest.skip("needs a Chromium: chromium, chromium-browser or google-chrome on the path")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the pages and their screenshots are."""
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def sphere(folder):
    """The page of tokens on the sphere, with strings, two heads' attention and two observables."""
    text = f"[tokens]\ncount = {TOKENS}\ndimension = 3\n\n[attention]\nbeta = 4.0\nheads = 3\nhead_dimension = 1\n"
    values = np.linspace(1.0, 3.0, FRAMES)[:, None]
    path = written(
        folder / "sphere.h5",
        Sphere(3),
        tokens=TOKENS,
        frames=FRAMES,
        scenario=f'title = "Words that meet"\n{text}output = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]\n',
        strings=WORDS,
        observables={"spread": values, "growth": 10.0**values},
    )
    return attndyn.report(path, folder / "sphere.html")


class Visit:
    """Pages that are opened from the disk. Nothing may be complained of, and nothing asked for but the pages."""

    def __init__(self, browser):
        self.browser, self.contexts, self.heard, self.asked = browser, [], [], []

    def open(self, path, **options):
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.heard.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(Path(path).as_uri())
        page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        return page

    def check(self):
        assert self.heard == []
        assert len(self.asked) == len(self.contexts)
        assert all(url.startswith("file:") for url in self.asked)

    def close(self):
        for context in self.contexts:
            context.close()
        self.check()


@pytest.fixture
def opened(browser):
    """(page file, **context) -> the page when it is ready, for one test."""
    visit = Visit(browser)
    yield visit.open
    visit.close()


@pytest.fixture(scope="module")
def visited(browser, sphere):
    """The page that tests share, and what is known of its visit."""
    visit = Visit(browser)
    yield visit.open(sphere), visit
    visit.close()


@pytest.fixture
def page(visited):
    """The page of tokens on the sphere, as it is when it was just opened."""
    shared, visit = visited
    shared.mouse.move(0, 0)
    shared.locator("#head").select_option(index=0)
    shared.locator("#tokens").focus()
    for key in ("Home", "Escape"):
        shared.keyboard.press(key)
    shared.evaluate("attndyn.show(0)")
    yield shared
    visit.check()


def positions():
    """Positions (frames, tokens, 3) of the tokens on the sphere."""
    return gathering(Sphere(3), TOKENS, FRAMES)[:, 0]


def shown(page, token):
    """The coordinates of a token as the page has them."""
    return page.evaluate(f"attndyn.position({token})")


def on_screen(page, token):
    """Where a token is in the window."""
    page.locator("#tokens").scroll_into_view_if_needed()
    box = page.locator("#tokens").bounding_box()
    x, y = page.evaluate(f"attndyn.pixel({token})")
    return box["x"] + x, box["y"] + y


def in_front(page):
    """A token near which there is no other."""
    pixels = np.array([page.evaluate(f"attndyn.pixel({token})") for token in range(TOKENS)])
    apart = np.linalg.norm(pixels[:, None] - pixels[None], axis=2) + 1e9 * np.eye(TOKENS)
    return int(apart.min(axis=1).argmax())


def painted(page):
    """The picture of the tokens as it was painted."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator("#tokens").screenshot()


def keep(page, folder, name):
    """Take a screenshot."""
    place = Path(os.environ.get("ATTNDYN_SCREENSHOTS") or folder)
    place.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=place / f"{name}.png", full_page=True)
    assert (place / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_it_opens_and_fits(opened, sphere, folder, scheme, width):
    page = opened(sphere, color_scheme=scheme, viewport={"width": width, "height": 900})
    assert page.title() == "Words that meet"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".chart .plot svg").count() >= 2
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    keep(page, folder, f"{scheme}-{width}")


def test_the_slider_moves_the_tokens_the_cursor_and_the_text(page):
    true = positions()
    slider, text = page.locator("#depth"), page.locator("#depth-text")
    assert text.inner_text().startswith("depth 0, ")
    np.testing.assert_allclose(shown(page, 3), true[0, 3], atol=1e-4)
    first, cursor = painted(page), page.locator(".cursor").first.bounding_box()["x"]

    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert text.inner_text() == slider.get_attribute("aria-valuetext")
    assert text.inner_text().startswith("depth 5, ") and "frame 6 of 41" in text.inner_text()
    np.testing.assert_allclose(shown(page, 3), true[5, 3], atol=1e-4)
    assert painted(page) != first
    page.keyboard.press("End")
    assert text.inner_text().startswith("depth 40, 2 clusters")
    at_end = page.locator(".cursor").first.bounding_box()["x"]
    plot = page.locator(".chart .plot").first.bounding_box()
    assert at_end > cursor + 0.7 * plot["width"]

    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert abs(page.evaluate("attndyn.frame()") - 20) <= 1
    middle = page.locator(".cursor").first.bounding_box()["x"]
    assert middle == pytest.approx((cursor + at_end) / 2, abs=0.03 * plot["width"])
    # the numbers beside the names of the observables follow
    frame = page.evaluate("attndyn.frame()")
    assert float(page.locator(".chart .value").first.inner_text()) == pytest.approx(1 + 2 * frame / 40, rel=1e-3)


def test_the_cursor_is_where_the_curve_has_this_depth(page):
    page.evaluate("attndyn.show(10)")
    plot = page.locator(".chart .plot").first
    # a tick of the axis at the same depth, drawn by plotly itself
    tick = plot.locator(".xtick text", has_text="10").first.bounding_box()
    cursor = page.locator(".cursor").first.bounding_box()
    assert cursor["x"] + cursor["width"] / 2 == pytest.approx(tick["x"] + tick["width"] / 2, abs=3)


def test_play_goes_on_and_stops(page):
    play = page.locator("#play")
    play.focus()
    page.keyboard.press("Enter")
    assert (play.inner_text(), play.get_attribute("aria-pressed")) == ("Pause", "true")
    page.wait_for_timeout(700)
    on_the_way = page.evaluate("attndyn.frame()")
    assert 0 < on_the_way < FRAMES - 1
    page.wait_for_timeout(700)
    play.click()
    stopped = page.evaluate("attndyn.frame()")
    assert stopped > on_the_way
    page.wait_for_timeout(500)
    assert page.evaluate("attndyn.frame()") == stopped
    assert (play.inner_text(), play.get_attribute("aria-pressed")) == ("Play", "false")
    page.evaluate(f"attndyn.show({FRAMES - 3})")
    play.click()
    page.locator("#play[aria-pressed=false]").wait_for(timeout=5000)  # at the end it stops by itself
    assert page.evaluate("attndyn.frame()") == FRAMES - 1


def test_reduced_motion_plays_in_few_steps(opened, sphere):
    page = opened(sphere, reduced_motion="reduce")
    page.locator("#play").click()
    page.wait_for_timeout(600)
    assert page.evaluate("attndyn.frame()") == 0
    page.wait_for_timeout(1000)
    assert 0 < page.evaluate("attndyn.frame()") <= 6


def test_a_token_is_named_and_its_attention_told(page, folder):
    token = in_front(page)
    page.mouse.move(*on_screen(page, token))
    tip = page.locator("#tip")
    tip.wait_for(timeout=2000)
    assert f"word{token} (token {token})" in tip.inner_text()
    assert page.locator("#chosen-name").inner_text() == f"word{token} (token {token})"

    x = positions()[0]
    rows = np.exp(4.0 * x.T[:, :, None] * x.T[:, None, :])  # of each head, with one component
    rows /= rows.sum(axis=-1, keepdims=True)
    page.mouse.click(*on_screen(page, token))  # keeps it
    page.mouse.move(0, 0)
    for choice, expected in (("all heads (mean)", rows.mean(axis=0)), ("head 2", rows[1])):
        page.locator("#head").select_option(label=choice)
        to = page.locator("#attention .to").all_inner_texts()
        shares = [float(share) for share in page.locator("#attention .share").all_inner_texts()]
        best = np.argsort(-expected[token])[:10]
        assert to == [f"word{k} ({k})" for k in best]
        np.testing.assert_allclose(shares, expected[token, best], rtol=1e-2)
    keep(page, folder, "attention")


def test_a_token_is_found_by_name_and_by_number(page):
    search, name = page.locator("#token"), page.locator("#chosen-name")
    for wanted in ("word7", "7", "7 word7"):
        search.fill(wanted)
        search.press("Enter")
        assert name.inner_text() == "word7 (token 7)"
        search.fill("")
        search.press("Enter")
        assert name.inner_text() == "No token chosen"
    search.fill("nobody")
    search.press("Enter")
    assert "No token shown has this name" in page.locator("#chosen-text").inner_text()


def test_the_view_turns_by_mouse_and_by_keyboard(page):
    before, picture = np.array(page.evaluate("attndyn.pixel(1)")), painted(page)
    x, y = on_screen(page, in_front(page))
    page.mouse.move(x + 30, y + 30)
    page.mouse.down()
    page.mouse.move(x + 130, y + 30, steps=4)
    page.mouse.up()
    assert np.linalg.norm(np.array(page.evaluate("attndyn.pixel(1)")) - before) > 5
    assert painted(page) != picture
    yaw, pitch = page.evaluate("attndyn.angles()")
    page.locator("#tokens").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    turned = page.evaluate("attndyn.angles()")
    assert turned[0] != yaw and turned[1] != pitch
    page.keyboard.press("Home")
    np.testing.assert_allclose(page.evaluate("attndyn.pixel(1)"), before)


def test_what_is_turned_is_still_the_sphere(page):
    """Pixels are an orthogonal projection of the positions, whichever way the view is turned."""
    page.locator("#tokens").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    pixels = np.array([page.evaluate(f"attndyn.pixel({token})") for token in range(TOKENS)])
    x = positions()[0]
    found, residual, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(TOKENS)]), pixels, rcond=None)
    assert np.abs(residual).max() < 1e-2
    scale = np.linalg.norm(found[:3], axis=0)
    assert scale[0] == pytest.approx(scale[1], rel=1e-3)
    assert found[:3, 0] @ found[:3, 1] == pytest.approx(0.0, abs=1e-3 * scale[0] ** 2)


@pytest.mark.parametrize(("space", "frames"), [(Sphere(2), 9), (Euclidean(1), 1), (Euclidean(3), 9), (Sphere(6), 1)])
def test_other_spaces_and_single_frames(opened, folder, monkeypatch, space, frames):
    monkeypatch.setattr(pictures, "pictures_of", lambda *anything: ([], []))
    name = f"{space.name}-{space.dimension}-{frames}"
    path = written(folder / f"{name}.h5", space, frames=frames, times=10.0 ** np.arange(-4, frames - 4))
    page = opened(attndyn.report(path, folder / f"{name}.html"))
    assert page.locator("#depth").is_disabled() == (frames == 1)
    page.evaluate(f"attndyn.show({frames - 1})")
    assert page.locator("#depth-text").inner_text().startswith("depth ")
    before = page.evaluate("attndyn.pixel(2)")
    page.locator("#tokens").focus()
    page.keyboard.press("ArrowLeft")
    assert (page.evaluate("attndyn.pixel(2)") != before) == (space.dimension > 2)
    keep(page, folder, name)


def test_how_long_a_frame_takes(page, capsys):
    """Printed, not judged: machines differ."""
    milliseconds = page.evaluate(
        """async () => {
          const found = [];
          for (let frame = 1; frame < 41; frame++) {
            const begun = performance.now();
            attndyn.show(frame);
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
            found.push(performance.now() - begun);
          }
          return found;
        }"""
    )
    with capsys.disabled():
        print(f"\na frame of the report: median {np.median(milliseconds):.1f} ms, longest {max(milliseconds):.1f} ms")
    assert len(milliseconds) == 40
