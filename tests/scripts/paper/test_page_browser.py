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
from scripts.paper.reported import read_paper
from scripts.paper.selection import MAPPINGS
from scripts.report import page
from tasks.training.records import read_records
from tests.scripts.paper.page_results import results

sync_api = pytest.importorskip("playwright.sync_api", reason="the report is driven by playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="a browser is wanted: apt-get install chromium")
ROOT = Path(__file__).resolve().parents[3]
ROWS = "#panel tbody tr"
SCORES = "#table-snli-small + p + .scroll table"
COMMITTED = (ROOT / "results" / "report" / "index.html").as_uri()


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
    assert wrong == [] and {url.partition("#")[0] for url in asked} <= {address, COMMITTED, "data:,"}


def shown(tab: Any) -> dict[str, list[float]]:
    """The weights that the panel shows, mapping by mapping."""
    code = "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => Number(cell.dataset.weight)))"
    rows = tab.eval_on_selector_all("#panel tbody tr", code)
    return dict(zip(MAPPINGS, map(list, zip(*rows, strict=True)), strict=True))


def wanted(tab: Any) -> dict[str, list[float]]:
    """The library's weights for where the sliders stand."""

    def values(selector: str, key: str) -> list[Any]:
        return list(tab.eval_on_selector_all(selector, f"all => all.map(one => one.{key})"))

    scores = torch.tensor(values(f"{ROWS} [type=range]", "valueAsNumber"), dtype=torch.float64)
    mask = torch.tensor(values(f"{ROWS} [type=checkbox]", "checked"))
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


def drag(tab: Any, slider: Any, to: float) -> None:
    """Draw a slider's thumb from where it stands to a share of its width."""
    box = slider.bounding_box()
    low, high, value = (float(slider.evaluate(f"it => it.{key}")) for key in ("min", "max", "value"))
    middle = box["y"] + box["height"] / 2
    room = box["width"] - 16  # as wide as the thumb
    tab.mouse.move(box["x"] + 8 + room * (value - low) / (high - low), middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 8 + room * to, middle, steps=5)
    tab.mouse.up()


def test_a_drag_on_a_phone_is_answered_by_all_and_kept(tab: Any) -> None:
    assert_as_the_library(tab)
    before = shown(tab)
    tab.locator("#panel .strengths").evaluate("it => it.scrollIntoView()")
    controls = tab.locator("#panel .strengths input, #panel tbody th, #panel tbody td")
    sides = controls.evaluate_all(
        "all => all.map(it => it.getBoundingClientRect()).map(r => [r.top, r.bottom])"
    )
    assert min(top for top, _ in sides) >= 0 and max(bottom for _, bottom in sides) <= 844  # one screen
    slider = tab.locator(f"{ROWS} [type=range]").nth(3)
    drag(tab, slider, to=0.9)
    assert slider.evaluate("it => it.valueAsNumber") == pytest.approx(1.6, abs=0.11)
    assert_as_the_library(tab)
    after = shown(tab)
    assert all(after[name][3] > before[name][3] for name in MAPPINGS)
    cell = tab.locator(f"{ROWS}:nth-child(4) td").nth(2)
    assert cell.inner_text() == f"{after['fusedmax'][3]:.3f}".removeprefix("0")
    tab.wait_for_function("location.hash.startsWith('#try?')")
    tab.reload()
    assert shown(tab) == after


def test_own_words_are_labels_and_stand_in_the_address(tab: Any) -> None:
    tab.locator("#sentence").fill(" one  <b>two</b> three ")
    tab.locator(f"{ROWS} [type=checkbox]").nth(1).uncheck()
    tab.locator("#lam-fusedmax").fill("0.8")
    assert_as_the_library(tab)
    tab.wait_for_function("location.hash.includes('lam-fusedmax=0.8')")
    address = tab.url
    tab.locator("#panel [type=reset]").click()
    assert tab.locator(ROWS).count() == 8
    tab.wait_for_function("!location.hash.includes('lam-fusedmax=0.8')")
    tab.goto(address)  # the same page: nothing is loaded, the hash alone changes
    tab.wait_for_function("document.querySelectorAll('#panel tbody tr').length === 3")
    labels = tab.locator(f"{ROWS} th label").all_inner_texts()
    assert [label.strip() for label in labels] == ["one", "<b>two</b>", "three"]
    assert_as_the_library(tab)
    assert shown(tab)["softmax"][1] == 0 and tab.locator("#lam-fusedmax").input_value() == "0.8"
    many = " ".join(map(str, range(20)))
    tab.locator("#sentence").fill(many)
    assert tab.locator(ROWS).count() == 12


def test_a_damaged_address_gives_a_panel_that_answers(tab: Any, address: str) -> None:
    tab.goto(f"{address}#try?words=a+b&scores=1e9+x&masked=-1+z&gamma=0&lam-fusedmax=nan&p-pnormmax=%E0%A4")
    tab.wait_for_function("document.querySelectorAll('#panel tbody tr').length === 2")
    assert_as_the_library(tab)
    assert all(sum(weights) == pytest.approx(1) for weights in shown(tab).values())


def test_strengths_and_masks_change_the_groups(tab: Any) -> None:
    outlines = tab.locator(f"{ROWS} td:nth-child({2 + MAPPINGS.index('fusedmax')}).in")
    few = outlines.count()
    tab.locator("#lam-fusedmax").fill("0.8")
    tab.locator("#gamma").fill("2")
    tab.locator(f"{ROWS} [type=checkbox]").nth(1).uncheck()
    assert_as_the_library(tab)
    assert outlines.count() > few > 0 and shown(tab)["softmax"][1] == 0


def column(tab: Any, number: int) -> list[float]:
    texts = tab.locator(f"{SCORES} tbody tr td:nth-child({number})").all_inner_texts()
    return [float(found[0]) for text in texts if (found := re.match(r"[\d.]+", text))]


def test_a_table_sorts_by_click_and_by_key(tab: Any) -> None:
    head = tab.locator(f"{SCORES} thead th", has_text="test accuracy").last
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    found = column(tab, 5)
    assert len(found) > 3 and found == sorted(found, reverse=True)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and column(tab, 5) == sorted(found)


def test_a_scrolled_table_keeps_its_first_head_in_sight(tab: Any) -> None:
    scroll = tab.locator("#results .scroll").first
    scroll.scroll_into_view_if_needed()
    scroll.evaluate("it => { it.scrollLeft = 1e4; }")
    seen = """it => { const box = it.getBoundingClientRect(), y = box.bottom - 8;
      return [8, 40, 80, 120].map(x => it.contains(document.elementFromPoint(box.left + x, y))); }"""
    assert scroll.evaluate("it => it.scrollLeft") > 0
    assert all(scroll.locator("thead th").first.evaluate(seen))


def test_a_figure_leads_to_its_run_and_the_run_is_open(tab: Any) -> None:
    link = tab.locator("#results td a").first
    target = link.get_attribute("href")
    link.click()
    tab.wait_for_function("document.querySelector(':target details[open], details[open]:target')")
    assert tab.locator(f"{target} code, {target}:has(code)").first.is_visible()


def test_a_link_into_a_folded_tab_shows_it(tab: Any, address: str) -> None:
    assert not tab.locator("#table-agreement-small").is_visible()
    tab.goto(f"{address}#table-agreement-small")
    tab.wait_for_function("document.querySelector('#table-agreement-small').checkVisibility()")


# Text that its own box cuts off: of a box that scrolls, or outside of what can be scrolled to.
CLIPPED = """all => all.filter(it => it.checkVisibility()).filter(it => {
  const box = it.getBoundingClientRect(), scroll = it.closest('.scroll');
  const isWide = (box) => box && box.scrollWidth > box.clientWidth + 1;
  const cut = isWide(it) && getComputedStyle(it).overflowX !== 'visible';
  const stuck = isWide(scroll) && getComputedStyle(scroll).overflowX !== 'auto';
  const left = scroll ? box.left + scroll.scrollLeft : box.left;
  const room = scroll ? scroll.scrollWidth + scroll.getBoundingClientRect().left : innerWidth;
  return cut || stuck || left < -1 || box.right + (scroll?.scrollLeft ?? 0) > room + 1;
}).map(it => it.textContent.slice(0, 40))"""


@pytest.mark.parametrize(("width", "longest"), [(390, 10_000), (1280, 8_000)])
def test_the_committed_page_is_short_and_cuts_nothing(tab: Any, width: int, longest: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto(COMMITTED)
    for label in tab.locator(".tabs > label").all():
        label.click()
        assert tab.evaluate("document.documentElement.scrollHeight") <= longest
    tab.eval_on_selector_all("details", "all => all.forEach(it => { it.open = true; })")
    tab.add_style_tag(content=".tabs > div { display: block !important; }")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.eval_on_selector_all("th, td, svg text, label, figcaption, summary, p, li", CLIPPED) == []
    wide = "all => all.filter(it => it.scrollWidth > it.clientWidth).map(it => it.ariaLabel)"
    assert width < 1280 or tab.eval_on_selector_all(".scroll", wide) == []


def test_the_first_screen_has_findings_and_a_picture(tab: Any) -> None:
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.goto(COMMITTED)
    for part in ("#findings table.heat", "#findings li:first-child"):
        box = tab.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 800, part


def test_controls_are_not_printed(tab: Any) -> None:
    controls = "all => all.filter(one => one.checkVisibility()).length"
    assert tab.eval_on_selector_all("input, nav, #draw", controls) > 12
    tab.emulate_media(media="print")
    assert tab.eval_on_selector_all("input, nav, #draw, button.copy", controls) == 0
    assert tab.locator(f"{ROWS} td").first.is_visible() and tab.locator("#table-cost-small").is_visible()


def test_by_dark_the_page_is_dark(tab: Any) -> None:
    tab.emulate_media(color_scheme="dark")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground))) < 64
