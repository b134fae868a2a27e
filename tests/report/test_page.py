"""The page as a browser sees it: phone and desktop, light and dark, by keyboard, on paper, without a network."""

from __future__ import annotations

import base64
import csv
import io
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from harness.report.findings import Findings
from harness.report.theme import DARK, LIGHT

PHONE, DESK, PAPER = (390, 844), (1280, 900), (688, 970)


def show(browser: webdriver.Chrome, path: Path, size: tuple[int, int]) -> webdriver.Chrome:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get(path.as_uri())
    return browser


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desktop"])
def page(request: pytest.FixtureRequest, browser: webdriver.Chrome, page_path: Path) -> webdriver.Chrome:
    return show(browser, page_path, request.param)


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desktop"])
def comparison(request: pytest.FixtureRequest, browser: webdriver.Chrome, compare_path: Path) -> webdriver.Chrome:
    return show(browser, compare_path, request.param)


def js(page: webdriver.Chrome, code: str) -> Any:
    return page.execute_script(f"return {code}")


#: Texts that leave the drawing, and pairs of texts that overlap by more than their descenders.
MISPLACED_TEXTS = """[...document.querySelectorAll('.plot svg')].flatMap(svg => {
    const frame = svg.getBoundingClientRect(), found = [];
    const texts = [...svg.querySelectorAll('text')].map(text => {
        const box = text.getBoundingClientRect();
        return [text.textContent.trim(), box.left, box.right, box.top + box.height / 4, box.bottom - box.height / 4];
    });
    texts.forEach(([name, left, right, top, bottom], at) => {
        if (left < frame.left - 1 || right > frame.right + 1 || top < frame.top || bottom > frame.bottom)
            found.push(svg.querySelector('title').textContent + ': outside: ' + name);
        for (const [other, l, r, t, b] of texts.slice(at + 1))
            if (left < r - 1 && l < right - 1 && top < b && t < bottom)
                found.push(svg.querySelector('title').textContent + ': ' + name + ' over ' + other);
    });
    return found;
})"""


def require_whole(page: webdriver.Chrome, plots: int) -> None:
    """Nothing sticks out, nothing goes wrong, nothing is fetched, and every plot can be read."""
    assert js(page, "document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert js(page, "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    sizes = js(
        page,
        "[...document.querySelectorAll('.plot svg')].map(s => { const b = s.getBoundingClientRect();"
        " return [b.width, b.height, Math.min(...[...s.querySelectorAll('text')].map("
        "t => parseFloat(getComputedStyle(t).fontSize) * b.width / s.viewBox.baseVal.width))] })",
    )
    assert len(sizes) >= plots
    for width, height, smallest_text in sizes:
        assert width >= 300
        assert height >= 100
        assert smallest_text >= 8.0
    assert js(page, MISPLACED_TEXTS) == []
    ids = js(page, "[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_the_page_is_whole(page: webdriver.Chrome) -> None:
    require_whole(page, plots=3 + 1 + 2 + 6 + 6 + 3)


def test_the_comparison_is_whole(comparison: webdriver.Chrome) -> None:
    require_whole(comparison, plots=2)
    first = comparison.find_element(By.CSS_SELECTOR, "main > section:first-child")
    assert "Stand-in router: amqp1" in first.text
    assert "amqp1 against rabbit, 3 paired repetitions" in comparison.find_element(By.ID, "answer").text


def test_any_number_of_long_names_finds_room(browser: webdriver.Chrome, crowded: tuple[Path, Path]) -> None:
    for path in crowded:
        for size in (PHONE, DESK):
            require_whole(show(browser, path, size), plots=6)


def test_the_stand_in_is_announced_before_anything_else(page: webdriver.Chrome) -> None:
    first = page.find_element(By.CSS_SELECTOR, "main > section:first-child")
    assert "Stand-in router: amqp1" in first.text
    assert first.rect["y"] < 500


def test_the_answer_comes_before_the_figures(page: webdriver.Chrome) -> None:
    answer = page.find_element(By.CSS_SELECTOR, "#answer li:first-child").text
    assert "A call from edge-b to a server at its own site (local-call) takes 162 ms on rabbit" in answer
    assert "on rabbit the message goes edge-b to core to edge-b" in answer


def test_structure_for_assistive_technology(page: webdriver.Chrome) -> None:
    assert js(page, "[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)")
    labelled = "s => s.querySelector('title') && s.querySelector('desc').textContent.length > 20"
    assert js(page, f"[...document.querySelectorAll('svg[role=img]')].every({labelled})")
    assert js(page, "document.documentElement.lang") == "en"
    levels = js(page, "[...document.querySelectorAll('h1,h2')].map(h => h.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1
    dangling = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).length"
    assert js(page, dangling) == 0


def test_by_keyboard(page: webdriver.Chrome) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "To the answer"
    assert js(page, "[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0)")


def test_tables_and_plots_can_be_taken_along(page: webdriver.Chrome, findings: Findings) -> None:
    links = {
        a.get_attribute("download"): a.get_attribute("href") for a in page.find_elements(By.CSS_SELECTOR, "a[download]")
    }
    rows = csv.DictReader(io.StringIO(_decode(links["latency.csv"])))
    wanted = ("local-call", "edge-b", "rabbit")
    row = next(row for row in rows if (row["workload"], row["client_site"], row["system"]) == wanted)
    known = next(f for f in findings.pairs if (f.pair.workload, f.pair.client_site, f.system.name) == wanted)
    assert float(row["p50_ms"]) == known.headline.p50_ms


def test_every_plot_is_saved_from_the_page_itself(browser: webdriver.Chrome, page_path: Path, tmp_path: Path) -> None:
    page = show(browser, page_path, DESK)
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    assert "image/svg+xml;base64" not in page_path.read_text(encoding="utf-8")
    figures = page.find_elements(By.CSS_SELECTOR, "figure.plot")
    for figure in figures:
        kinds = [button.get_attribute("data-as") for button in figure.find_elements(By.TAG_NAME, "button")]
        assert kinds == ["svg", "png"]
    for button in figures[0].find_elements(By.TAG_NAME, "button"):
        page.execute_script("arguments[0].focus()", button)
        page.switch_to.active_element.send_keys(Keys.ENTER)
    svg, png = tmp_path / "floor-0.svg", tmp_path / "floor-0.png"
    for _ in range(100):
        if svg.exists() and png.exists():
            break
        time.sleep(0.1)
    assert "--paper:#ffffff" in svg.read_text(encoding="utf-8")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    pixels = (imread(png)[:, :, :3] * 255).round().astype(int)
    assert pixels.shape[1] == 960
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    blue = (np.abs(pixels - _rgb(LIGHT["s0"])).sum(axis=2) < 12).sum()
    assert blue > 100, "the colours are those of the page"


def _decode(address: str | None) -> str:
    assert address is not None
    return base64.b64decode(address.split(",", 1)[1]).decode()


def test_follows_the_readers_preference_for_dark(page: webdriver.Chrome) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colours[scheme] = js(page, "getComputedStyle(document.documentElement).getPropertyValue('--paper')")
        ink = js(page, "getComputedStyle(document.querySelector('.plot svg text')).fill")
        assert ink in {f"rgb{_rgb(tokens[name])}" for tokens in (LIGHT, DARK) for name in ("ink", "muted")}
    assert colours == {"light": LIGHT["paper"], "dark": DARK["paper"]}


def test_prints_whole(browser: webdriver.Chrome, page_path: Path) -> None:
    """On A4 paper no table is cut off at the edge, nothing scrolls, and plots keep their size."""
    page = show(browser, page_path, PAPER)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    try:
        assert js(page, "document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        beyond = (
            "[...document.querySelectorAll('table, svg')].filter(e => e.getBoundingClientRect().right > innerWidth)"
        )
        assert js(page, f"{beyond}.map(e => e.textContent.slice(0, 60))") == []
        assert js(page, "getComputedStyle(document.querySelector('nav')).display") == "none"
        assert js(page, "getComputedStyle(document.documentElement).getPropertyValue('--paper')") == LIGHT["paper"]
        facts = "[...document.querySelectorAll('details.facts table')]"
        assert js(page, f"{facts}.length") > 3
        assert js(page, f"{facts}.filter(t => !t.checkVisibility({{contentVisibilityAuto: true}})).length") == 0
        pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
        assert pdf.startswith(b"%PDF")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_every_plot_and_every_fold_is_reached_by_keyboard(page: webdriver.Chrome) -> None:
    """What can be opened or taken along can be focused, in the order it stands in, and says what it is."""
    reachable = "[...document.querySelectorAll('a[href], button, summary, [tabindex]')]"
    assert js(page, f"{reachable}.every(e => e.tabIndex >= 0)")
    assert js(page, f"{reachable}.every(e => (e.textContent || e.getAttribute('aria-label')).trim().length > 1)")
    body = page.find_element(By.TAG_NAME, "body")
    for _ in range(12):
        body.send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.tag_name in ("a", "button", "summary", "div")
    width = js(page, "parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
    assert width >= 2, "focus can be seen"
    summary = page.find_element(By.CSS_SELECTOR, ".plot summary")
    page.execute_script("arguments[0].focus()", summary)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert js(page, "document.querySelector('.plot details').open")


def test_tables_say_what_their_cells_belong_to(page: webdriver.Chrome) -> None:
    assert js(page, "[...document.querySelectorAll('thead th')].every(t => t.scope === 'col')")
    groups = "[...document.querySelectorAll('tr.group th')]"
    assert js(page, f"{groups}.every(t => t.scope === 'rowgroup')")
    assert js(page, "[...document.querySelectorAll('.scroll')].every(e => e.getAttribute('aria-label'))")
    rows = "[...document.querySelectorAll('tbody tr:not(.group)')]"
    assert js(page, f"{rows}.every(r => r.cells[0].tagName === 'TH' && r.cells[0].scope === 'row')")


def test_small_enough_to_forward(page_path: Path) -> None:
    assert page_path.stat().st_size <= 2 << 20


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _rgb(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_enough_to_read(tokens: dict[str, str]) -> None:
    for ink in ("ink", "muted", "accent"):
        assert _contrast(tokens[ink], tokens["paper"]) >= 4.5, ink
    assert _contrast(tokens["muted"], tokens["raised"]) >= 4.5
    assert _contrast(tokens["warn-ink"], tokens["warn-paper"]) >= 4.5
    for token in (name for name in tokens if name[0] == "s" and name[1:].isdigit()):
        assert _contrast(tokens[token], tokens["paper"]) >= 3, token
