"""The report in a real browser: it loads, answers, sorts, fits a phone, and prints without its controls."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import regattn
from scripts.paper.page import page
from scripts.paper.reported import read_paper
from scripts.paper.selection import MAPPINGS
from tasks.training.records import read_records
from tests.scripts.paper.page_results import results

sync_api = pytest.importorskip("playwright.sync_api", reason="the report is driven by playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="a browser is wanted: apt-get install chromium")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    results(folder)
    shutil.copytree(ROOT / "results" / "bench", folder / "bench", dirs_exist_ok=True)
    text = page(read_records(folder / "runs"), folder, read_paper(ROOT / "results" / "paper.yaml"))
    (folder / "index.html").write_text(text, encoding="utf-8")
    return (folder / "index.html").as_uri()


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Any]:
    """The page at the width of a phone; what it complains of or fetches fails the test."""
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    yield tab
    tab.close()
    assert wrong == [] and {url.partition("#")[0] for url in asked} <= {address, "data:,"}


def shown(tab: Any) -> dict[str, list[float]]:
    """The weights that the panel shows, mapping by mapping."""
    code = "rows => rows.map(row => [...row.querySelectorAll('.col')].map(one => Number(one.dataset.weight)))"
    return dict(zip(MAPPINGS, tab.eval_on_selector_all("[data-mapping]", code), strict=True))


def wanted(tab: Any) -> dict[str, list[float]]:
    """The library's weights for where the sliders stand."""

    def values(selector: str, key: str) -> list[Any]:
        return list(tab.eval_on_selector_all(selector, f"all => all.map(one => one.{key})"))

    scores = torch.tensor(values(".scores input", "valueAsNumber"), dtype=torch.float64)
    mask = torch.tensor(values(".masks input", "checked"))
    gamma, fused, oscar, p = values(".strengths input", "valueAsNumber")
    strengths = {"fusedmax": {"lam": fused}, "oscarmax": {"lam": oscar}, "pnormmax": {"p": p}}
    return {
        name: getattr(regattn, name)(scores, mask=mask, gamma=gamma, **strengths.get(name, {})).tolist()
        for name in MAPPINGS
    }


def assert_as_the_library(tab: Any) -> None:
    found = shown(tab)
    for name, weights in wanted(tab).items():
        assert found[name] == pytest.approx(weights, abs=1e-9), name


def test_the_panel_answers_as_the_library_does(tab: Any) -> None:
    assert_as_the_library(tab)
    before = shown(tab)
    tab.locator(".scores input").nth(3).focus()
    for _ in range(20):
        tab.keyboard.press("ArrowUp")
    assert_as_the_library(tab)
    after = shown(tab)
    assert all(after[name][3] > before[name][3] for name in MAPPINGS)
    number = tab.locator("[data-mapping=fusedmax] .weight").nth(3).inner_text()
    assert number == f"{after['fusedmax'][3]:.3f}"


def test_strengths_masks_and_groups(tab: Any) -> None:
    outlines = tab.locator("[data-mapping=fusedmax] .room.in")
    few = outlines.count()
    tab.locator("#lam-fusedmax").fill("0.8")
    tab.locator("#gamma").fill("2")
    tab.locator(".masks input").nth(1).uncheck()
    assert_as_the_library(tab)
    assert outlines.count() > few > 0 and shown(tab)["softmax"][1] == 0
    tab.locator("#panel [type=reset]").click()
    tab.wait_for_function("document.querySelectorAll('.masks input:checked').length === 8")
    assert_as_the_library(tab)


def column(tab: Any, number: int) -> list[float]:
    texts = tab.locator(f"#reading table tbody tr td:nth-child({number})").all_inner_texts()
    return [float(text) for text in texts if re.fullmatch(r"[\d.]+", text)]


def test_a_table_sorts_by_click_and_by_key(tab: Any) -> None:
    head = tab.locator("#reading thead th", has_text="forward").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    found = column(tab, 3)
    assert len(found) > 3 and found == sorted(found, reverse=True)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and column(tab, 3) == sorted(found)


def test_a_figure_leads_to_its_run_and_the_run_is_open(tab: Any) -> None:
    link = tab.locator("#tables td a").first
    target = link.get_attribute("href")
    link.click()
    tab.wait_for_function("document.querySelector(':target details[open], details[open]:target')")
    assert tab.locator(f"{target} code, {target}:has(code)").first.is_visible()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_page(tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_controls_are_not_printed(tab: Any) -> None:
    controls = "all => all.filter(one => one.checkVisibility()).length"
    assert tab.eval_on_selector_all("input, nav, #draw", controls) > 12
    tab.emulate_media(media="print")
    assert tab.eval_on_selector_all("input, nav, #draw, button.copy", controls) == 0
    assert tab.locator("[data-mapping=oscarmax] .weight").first.is_visible()


def test_by_dark_the_page_is_dark(tab: Any) -> None:
    tab.emulate_media(color_scheme="dark")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground))) < 64
