"""The report is one file that needs no other, says what is missing, and is the same for the same records."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from scripts.cells import Cell, Table
from scripts.comparing.paper import read_paper
from scripts.report.claims import claims
from scripts.report.grids import Grid, columns, rectangle
from scripts.report.histories import anchor
from scripts.report.lines import lines
from scripts.report.missing import missing
from scripts.report.page import page
from scripts.report.views import view
from scripts.reports import REPORTS
from scripts.tables import by_mapping
from tasks.training.details import Example
from tasks.training.records import read_records
from tests.scripts.committed import ROOT, committed_records
from tests.scripts.report_results import WORDS, attention, results, run

PAPER = ROOT / "results" / "paper.yaml"
BENCH = ROOT / "results" / "bench" / "cpu.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("report") / "results"
    results(found)
    return found


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return page(read_records(folder / "runs"), folder / "details", read_paper(PAPER), BENCH)


def visible(text: str) -> str:
    """What is read on the page, in one line."""
    bare = re.sub(r"<(style|script).*?</\1>", " ", text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", bare)).split())


def test_the_same_records_give_the_same_bytes_in_another_process(folder: Path, text: str) -> None:
    (folder / "paper.yaml").write_bytes(PAPER.read_bytes())
    (folder / "bench").mkdir()
    (folder / "bench" / "cpu.json").write_bytes(BENCH.read_bytes())
    command = [sys.executable, "-m", "scripts.report", "--output", "there/page.html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    said = subprocess.run(command, cwd=folder.parent, env=environment, check=True, capture_output=True)
    assert (folder.parent / "there" / "page.html").read_bytes() == text.encode()
    assert said.stdout.decode().startswith("there/page.html: 15 runs, ")


def test_every_link_leads_somewhere_on_the_page_or_to_a_record(folder: Path, text: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'href="([^"]*)"', text.partition("<script>")[0])) - {"data:,"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    others = {link for link in links if not link.startswith("#")}
    assert others == {f"../runs/{path.name}" for path in (folder / "runs").glob("*.json")}


def test_nothing_is_fetched(text: str) -> None:
    assert not re.search(r'\bsrc=|url\(|@import|fetch\(|href="https?:', text)


def test_text_is_escaped(text: str) -> None:
    assert "<dog>" not in text and "&lt;dog&gt;" in text
    assert "# <script>" not in text and text.count("<script>") == 1


def test_every_run_has_its_command_data_and_seed(folder: Path, text: str) -> None:
    for record in read_records(folder / "runs"):
        part = text.partition(f'id="run-{record.id}"')[2].partition("</details>")[0]
        shown = visible(part)
        assert record.command in shown and record.corpus["sha256"] in shown and record.commit in shown
        assert "3,000 train" in shown and f"seed {record.seed}" in shown


def test_without_records_it_says_what_to_run(tmp_path: Path) -> None:
    text = page([], tmp_path, read_paper(PAPER), tmp_path / "none.json")
    shown = visible(text)
    assert "make reproduce TABLE=all TIER=mini SEEDS=3" in shown and "make report" in shown
    assert "None have a run at the paper’s own scale" in shown and "make bench" in shown
    assert "run-" not in text.partition("</style>")[2].partition("<script>")[0]


def test_what_is_missing_is_a_row_with_the_command_that_makes_it() -> None:
    lacking = missing(read_paper(PAPER), [])
    assert lacking.count.figures == lacking.count.nothing == 5 + 30 + 5
    assert lacking.count.unknown == 1 + 5
    assert len(lacking.table.rows) == 15
    assert ("Textual entailment", "make reproduce TABLE=snli TIER=paper") in lacking.commands
    assert "epochs" in dict(lacking.settings)["Textual entailment"]
    for row in lacking.table.rows:
        assert (ROOT / "configs" / "experiment" / f"{row[-1].text}.yaml").exists()


def test_shared_notes_are_numbered_and_only_numbers_stand_at_the_right() -> None:
    rows = (
        (Cell("a"), Cell("1.0", 1.0, ("x",), "later"), Cell("a sentence that goes on and on", 1.0)),
        (Cell("b", note="alone"), Cell("–"), Cell("b", 2.0, ("x", "y"), "later", best=True)),
        (Cell("c"), Cell("2.0ʳ", 2.0, note="the paper's, recalled"), Cell("–")),
    )
    shown = view(Table("t", "T", "", ("name", "ours: n", "ours: R-1"), rows))
    assert shown.footnotes == ["later"] and shown.remarks == [("b, name", "alone")]
    assert [[cell.mark for cell in row] for row in shown.rows] == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert [cell.is_best for cell in shown.rows[1]] == [False, False, True]
    assert shown.heads == [("name", False), ("n", True), ("R\N{NON-BREAKING HYPHEN}1", False)]
    assert shown.groups == [("", 1), ("ours", 2)]
    assert [cell.href for row in shown.rows for cell in row if cell.href] == ["run-x", anchor(["y", "x"])]


def test_claims_stand_one_by_one_with_the_verdict_beside_what_was_compared() -> None:
    cells = Cell("a beats b"), Cell("a > b"), Cell("1.0", 1.0, ("x",))
    rows = (
        (*cells, Cell("undecided at n = 1 seed: too few; on other data", runs=("x",))),
        (*cells, Cell("reproduced; on other data", runs=("x",))),
        (Cell("it is fast"), Cell("–"), Cell("–"), Cell("not tested: no matter of scores")),
    )
    first, second = claims(
        Table("claims-small", "", "", ("claim", "compared", "ours", "verdict"), rows)
    ).tested
    assert [head for head, _ in first.comparisons.heads] == ["compared", "verdict", "ours"]
    verdicts = [row[1] for row in first.comparisons.rows]
    assert [cell.text for cell in verdicts] == ["undecided at n = 1 seed", "reproduced"]
    assert [cell.is_best for cell in verdicts] == [False, True]
    assert [note for _, note in first.comparisons.remarks] == ["too few; on other data", "on other data"]
    assert (first.reason, second.reason) == ("", "not tested: no matter of scores")


def test_a_line_is_the_mean_of_its_seeds_and_its_band_holds_them(folder: Path) -> None:
    runs = [record for record in read_records(folder / "runs") if record.tier == "small"]
    found = {line.name: line for line in lines(by_mapping(runs), REPORTS["snli"].headline)}
    assert found["softmax"].mean == pytest.approx([40.3, 45.3])
    assert found["softmax"].low == pytest.approx([40.2, 45.2])
    assert found["softmax"].high == pytest.approx([40.4, 45.4])


def test_lines_of_one_mapping_are_told_apart_by_their_strengths(tmp_path: Path) -> None:
    one = run("fusedmax", 1, "small", tmp_path)
    other = run("fusedmax", 2, "small", tmp_path, mapping_params={"gamma": 1.0, "lam": 0.5})
    names = [line.name for line in lines(by_mapping([one, other]), REPORTS["snli"].headline)]
    assert names == ["fusedmax (gamma 1, lam 0.1)", "fusedmax (gamma 1, lam 0.5)"]


def shades(svg: str) -> list[int]:
    return [int(step) for step in re.findall(r'class="s(\d+)"', svg)]


def test_columns_hold_every_weight_and_outline_every_stretch() -> None:
    grids = [Grid(name, name, attention(name)) for name in ("softmax", "fusedmax", "oscarmax")]
    svg = str(columns(grids))
    weights = [grid.example.weights[0] for grid in grids]
    assert len(shades(svg)) == sum(weight > 0 for row in weights for weight in row)
    assert svg.count('class="zero"') == sum(weight == 0 for row in weights for weight in row) > 0
    assert svg.count('class="group"') == 1 + 2  # a segment of neighbours; two stretches of one group
    assert svg.count("&lt;dog&gt;") == 1 + 1 + len(grids)  # the word, the label, a weight in each column


def test_a_rectangle_leaves_zeros_empty_and_shades_by_weight() -> None:
    example = Example(
        source=["x", "y", "z"], target=["u", "v"], weights=[[1.0, 0, 0], [0.0, 0.5, 0.001]],
        groups=[[1, 0, 0], [0, 1, 2]],
    )  # fmt: skip
    svg = str(rectangle(Grid("sparsemax", "r", example)))
    assert shades(svg) == [20, 10, 1] and "v ← y: 0.5" in svg and 'class="bordered"' in svg
    assert 'class="group"' not in svg


def test_the_mapping_alone_has_its_table_and_dots(text: str) -> None:
    part = text.partition('id="reading"')[2].partition('id="try"')[0]
    assert "regattn.fusedmax" in visible(part) and part.count("<circle") >= 5
    assert "copy of the same bytes" not in part


def test_the_committed_page_is_that_of_the_committed_records() -> None:
    made = page(committed_records(), ROOT / "results" / "details", read_paper(PAPER), BENCH)
    assert (ROOT / "results" / "report" / "index.html").read_text(encoding="utf-8") == made
    assert 10_000 < len(made.encode()) < 2 * 2**20
    assert WORDS[1] not in made
