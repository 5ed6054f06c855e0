"""The page in a real headless Chromium. Screenshots go to $REPORT_SCREENSHOTS, if it is set."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest

import run_fitting
from eval3dpw.report.run_report import ReportLimits, write_report
from tests.eval3dpw.conftest import fake_sequence
from tests.eval3dpw.report.test_report_coco import coco_files
from tests.eval3dpw.small_runs import write_run
from tests.headless_browser import Browser, find_browser

pytestmark = pytest.mark.slow

HOSTILE = '<script>alert("é&1")<'
CANVAS = "document.getElementById('scene-canvas')"

# Smallest contrast of any visible text with the nearest opaque background behind it (WCAG 2.1, 1.4.3).
CONTRAST = """(() => {
  const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  let worst = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ['SCRIPT', 'STYLE', 'title'].includes(parent.tagName)) continue;
    const style = getComputedStyle(parent);
    let behind = parent, background = [255, 255, 255];
    for (; behind; behind = behind.parentElement) {
      const colour = numbers(getComputedStyle(behind).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) { background = colour; break; }
    }
    const ink = numbers(parent instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(background)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, walker.currentNode.textContent.slice(0, 40)];
  }
  return worst;
})()"""

# Everything that can be operated must be reachable by Tab and have a name.
NAMELESS = """Array.from(
  document.querySelectorAll('button, select, input, canvas, a, [tabindex]')
).filter((element) => {
  const name = element.getAttribute('aria-label') || element.textContent.trim()
    || (element.labels && element.labels.length && element.labels[0].textContent.trim());
  return !name || element.tabIndex < 0;
}).map((element) => element.outerHTML.slice(0, 120))"""

# Labels of charts that lie over one another (the y axis's name is turned, its box is not compared).
OVERLAPS = """Array.from(document.querySelectorAll('.chart svg[role=img]')).flatMap((svg) => {
  const texts = Array.from(svg.querySelectorAll('text:not([transform])'));
  const labels = texts.map((t) => [t.textContent, t.getBoundingClientRect()]);
  const found = [];
  labels.forEach(([a, p], i) => labels.slice(i + 1).forEach(([b, q]) => {
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 1 && high > 4) found.push(a + ' / ' + b);
  }));
  return found;
})"""

PIXELS = f"""(() => {{
  const canvas = {CANVAS}, copy = document.createElement('canvas');
  copy.width = 64; copy.height = 64;
  const context = copy.getContext('2d');
  context.drawImage(canvas, 0, 0, 64, 64);
  return Array.from(context.getImageData(0, 0, 64, 64).data).join(' ');
}})()"""


@pytest.fixture(scope="module")
def browser_path():
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed (apt-get install chromium, or set CHROMIUM)")
    return path


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    import pickle

    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("page")
    files = []
    for seed, name in enumerate(("walk", HOSTILE)):
        path = folder / "root" / "sequenceFiles" / "test" / f"{name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(fake_sequence(name, frames=4, seed=seed), protocol=2))
        images = folder / "root" / "imageFiles" / name
        images.mkdir(parents=True)
        for frame in range(4):
            shade = np.linspace(60, 200, 64, dtype=np.uint8)
            cv2.imwrite(str(images / f"image_{frame:05d}.jpg"), np.tile(shade[None, :, None], (48, 1, 3)))
        files.append(path)
    write_run(folder / "root", folder / "out", files)
    return write_report(folder / "out", limits=ReportLimits(pictures=1))


@contextlib.contextmanager
def opened(browser_path, profile, page):
    """A browser that shows a page, and must find nothing wrong with it and ask for nothing outside it."""
    with Browser(browser_path, profile, 1440, 900) as browser:
        browser.open(page.as_uri())
        yield browser
        assert browser.problems == []
        assert [url for url in browser.requests if not url.startswith(("data:", page.as_uri()))] == []


@pytest.fixture
def browser(browser_path, tmp_path, page_file):
    with opened(browser_path, tmp_path / "profile", page_file) as browser:
        yield browser


@pytest.fixture(scope="module")
def coco_page(tmp_path_factory):
    """What `coco-eval --report` writes."""
    folder = tmp_path_factory.mktemp("coco")
    truth, found = coco_files()
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "<i>A&B.json").write_text(json.dumps(found))
    words = ["--annotations", folder / "truth.json", "--results", folder / "<i>A&B.json", "--bootstrap", 50]
    page = folder / "page.html"
    assert run_fitting.main(["coco-eval", *map(str, words), "--report", str(page)]) == 0
    return page


@pytest.fixture
def coco_browser(browser_path, tmp_path, coco_page):
    with opened(browser_path, tmp_path / "profile", coco_page) as browser:
        yield browser


def column(browser, number):
    script = (
        f"Array.from(document.querySelectorAll('#headline tbody tr')).map(r => Number(r.cells[{number}].dataset.value))"
    )
    return browser.run(script)


def test_tables_sort_by_click_and_by_key(browser):
    before = column(browser, 1)
    browser.run("document.querySelectorAll('#headline th button')[1].click()")
    assert column(browser, 1) == sorted(before)
    assert browser.run("document.querySelectorAll('#headline thead th')[1].ariaSort") == "ascending"
    browser.run("document.querySelectorAll('#headline th button')[1].focus()")
    browser.press("Enter", text="\r")
    assert column(browser, 1) == sorted(before, reverse=True)
    browser.run("document.querySelectorAll('#headline th button')[0].click()")
    names = browser.run("Array.from(document.querySelectorAll('#headline tbody th')).map(h => h.textContent)")
    assert names == sorted(names)


def test_slider_changes_the_pictures(browser):
    slider = "document.querySelector('[data-role=slider]')"
    shown = "[document.querySelector('[data-role=overlay]').src, document.querySelector('[data-role=side]').src]"
    browser.run(f"{slider}.focus()")
    before = browser.run(shown)
    browser.press("ArrowLeft")
    after = browser.run(shown)
    assert before[0] != after[0] and before[1] != after[1]
    assert browser.run("document.querySelector('[data-role=chosen]').textContent") == "raw"
    assert browser.run(f"{slider}.getAttribute('aria-valuetext')") == "raw"


def test_choices_change_table_and_charts(browser):
    cell = "document.querySelector('[data-table=sequences] td:nth-child(3)').textContent"
    chart = "document.querySelector('[data-chart=time] path').getAttribute('d')"
    before = browser.run(f"[{cell}, {chart}]")
    for name in ("sequences", "time-metric"):
        script = (
            f"(e => {{ e.value = 'pa_mpjpe_mm'; e.dispatchEvent(new Event('change')); }})"
            f"(document.querySelector('[data-for={name}]'))"
        )
        browser.run(script)
    after = browser.run(f"[{cell}, {chart}]")
    assert before[0] != after[0] and before[1] != after[1]
    lines = "document.querySelectorAll('[data-chart=reliability] path').length"
    count = browser.run(lines)
    browser.run("document.querySelector('[data-chart=reliability] .legend input').click()")
    assert browser.run(lines) == count - 1


def test_bodies_in_3d_turn_play_and_switch(browser):
    browser.run(f"{CANVAS}.scrollIntoView()")
    browser.wait_for(f"{CANVAS}.dataset.drawn === 'ccnet truth @0'")
    pictures = [browser.run(PIXELS)]
    assert len(set(pictures[0].split()[::4])) > 20  # not blank

    def changed(script=""):
        if script:
            browser.run(script)
        for _ in range(50):
            browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
            picture = browser.run(PIXELS)
            if picture != pictures[-1]:
                pictures.append(picture)
                return True
        return False

    assert changed("document.getElementById('scene-truth').click()")
    assert browser.run(f"{CANVAS}.dataset.drawn") == "ccnet @0"
    assert changed(
        "(e => { e.value = 'init'; e.dispatchEvent(new Event('change')); })(document.getElementById('scene-row'))"
    )
    browser.run(f"{CANVAS}.focus()")
    browser.press("ArrowRight")
    assert changed()
    browser.press("+", text="+")
    assert changed()
    browser.run("document.getElementById('scene-play').click()")
    browser.wait_for(f"!{CANVAS}.dataset.drawn.endsWith('@0')")
    browser.run("document.getElementById('scene-play').click()")
    assert browser.run("document.getElementById('scene-play').textContent") == "Play"


def test_names_are_text(browser):
    assert browser.run("document.querySelectorAll('[data-table=sequences] tbody th').length") == 2
    assert HOSTILE in browser.run("document.querySelector('[data-table=sequences]').textContent")
    assert browser.run("document.scripts.length") == 4


FOCUS = """(() => {
  const element = document.activeElement, style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  return {
    place: Array.from(document.querySelectorAll('*')).indexOf(element), tag: element.tagName, id: element.id,
    ring: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
    seen: box.bottom > 0 && box.top < innerHeight,
  };
})()"""
REACHABLE = """Array.from(
  document.querySelectorAll('a[href], button, select, input, canvas, summary, [tabindex="0"]')
).filter((element) => !element.disabled && element.checkVisibility()).length"""


def test_every_control_is_reached_by_tab_in_order_and_shows_it(browser):
    browser.run(f"{CANVAS}.scrollIntoView()")
    browser.wait_for(f"{CANVAS}.dataset.drawn")  # disabled controls are known then
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    browser.run("document.querySelector('a').focus()")
    found = [browser.run(FOCUS)]
    for _ in range(browser.run(REACHABLE) - 1):
        browser.press("Tab")
        found.append(browser.run(FOCUS))
    places = [one["place"] for one in found]
    assert places == sorted(set(places))  # each once, in the order of the page
    assert [one for one in found[1:] if one["ring"] < 2 or not one["seen"]] == []  # the first was not reached by key
    assert {"A", "BUTTON", "SELECT", "INPUT", "CANVAS", "SUMMARY"} <= {one["tag"] for one in found}


def test_the_frame_slider_of_the_scene_moves_by_key(browser):
    browser.run(f"{CANVAS}.scrollIntoView()")
    browser.wait_for(f"{CANVAS}.dataset.drawn")
    browser.run("document.getElementById('scene-frame').focus()")
    browser.press("ArrowRight")
    browser.wait_for(f"{CANVAS}.dataset.drawn.endsWith('@1')")
    assert browser.run("document.getElementById('scene-frame').getAttribute('aria-valuetext')") == "frame 1"


def keep(picture):
    """Copy a screenshot to where the artefacts of a test run are wanted."""
    assert picture.stat().st_size > 20_000
    if kept := os.environ.get("REPORT_SCREENSHOTS"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, kept)


def assert_looks_right(browser, width):
    browser.resize(width, 900, mobile=width < 600)
    browser.run("new Promise(done => setTimeout(done, 200))")
    assert browser.run("document.documentElement.scrollWidth") <= width
    ratio, text = browser.run(CONTRAST)
    assert ratio >= 4.5, text
    assert browser.run(NAMELESS) == []
    assert browser.run(OVERLAPS) == []


@pytest.mark.parametrize("width", [1440, 390])
def test_looks(browser, width, tmp_path):
    assert_looks_right(browser, width)
    browser.run(f"{CANVAS}.scrollIntoView()")
    browser.wait_for(f"{CANVAS}.dataset.drawn")
    browser.run("scrollTo(0, 0)")
    picture = tmp_path / f"report-{width}.png"
    browser.screenshot(picture)
    keep(picture)


@pytest.mark.parametrize("width", [1440, 390])
def test_looks_of_the_coco_page(coco_browser, width, tmp_path):
    assert_looks_right(coco_browser, width)
    picture = tmp_path / f"coco-{width}.png"
    coco_browser.screenshot(picture)
    keep(picture)


def test_coco_page_sorts_and_its_charts_react(coco_browser):
    column = "Array.from(document.querySelectorAll('#headline tbody tr')).map(r => Number(r.cells[1].dataset.value))"
    before = coco_browser.run(column)
    assert len(set(before)) > 2
    button = "document.querySelectorAll('#headline th button')[1]"
    coco_browser.run(f"{button}.click()")
    assert coco_browser.run(column) == sorted(before)
    coco_browser.run(f"{button}.focus()")
    coco_browser.press("Enter", text="\r")
    assert coco_browser.run(column) == sorted(before, reverse=True)
    for chart, shape in (("reliability", "path"), ("sparsification", "path"), ("scatter", "circle")):
        assert coco_browser.run(f"document.querySelectorAll('[data-chart={chart}] {shape}').length") > 0
    lines = "document.querySelectorAll('[data-chart=sparsification] path').length"
    count = coco_browser.run(lines)
    coco_browser.run("document.querySelector('[data-chart=sparsification] .legend input').click()")
    assert coco_browser.run(lines) == count - 1
    assert "<i>A&B" in coco_browser.run("document.title")
    assert coco_browser.run("document.querySelectorAll('i').length") == 0
