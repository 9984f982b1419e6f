"""The report is one file that needs no other, says what is missing, and is the same for the same records."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from scripts.paper.claims import HEADS, REPRODUCED, UNDECIDED, ClaimResults, ClaimTest, Verdict
from scripts.paper.plots import dev_curves, draw_curves, heatmap
from scripts.paper.reported import Claim, read_paper
from scripts.paper.selection import Corpus, corpus_of, file_names
from scripts.paper.table import Cell, Table
from scripts.report import anchor, claim_lines, missing_table, page, view
from scripts.style import new_figure
from tasks._registry import TASKS
from tasks.attention import AttentionGrid
from tasks.training.records import Record, read_records
from tests.scripts.paper.committed import ROOT, committed_records
from tests.scripts.paper.page_results import WORDS, attention, results, run

PAPER = ROOT / "results" / "paper.yaml"
BENCH = ROOT / "results" / "bench" / "cpu.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("report") / "results"
    results(found)
    (found / "bench").mkdir()
    (found / "bench" / "cpu.json").write_bytes(BENCH.read_bytes())
    return found


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return page(read_records(folder / "runs"), folder, read_paper(PAPER))


def visible(text: str) -> str:
    """What is read on the page, in one line."""
    bare = re.sub(r"<(style|script).*?</\1>", " ", text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", bare)).split())


def test_the_same_records_give_the_same_bytes_in_another_process(folder: Path, text: str) -> None:
    (folder / "paper.yaml").write_bytes(PAPER.read_bytes())
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
    assert not re.search(r'\bsrc=|url\((?!#)|@import|fetch\(|href="https?:', text)


def test_a_run_to_debug_with_is_not_on_the_page(folder: Path, text: str) -> None:
    records = read_records(folder / "runs")
    debug = dataclasses.replace(records[0], id="debug", tier="debug")
    assert page([*records, debug], folder, read_paper(PAPER)) == text


def test_text_is_escaped(text: str) -> None:
    assert "<dog>" not in text and "&lt;dog&gt;" in text
    assert "# <script>" not in text and text.count("<script>") == 1


def test_every_run_has_its_command_data_and_seed(folder: Path, text: str) -> None:
    for record in read_records(folder / "runs"):
        above, _, below = text.partition(f'id="run-{record.id}"')
        shown, data = visible(below.partition("</details>")[0]), visible(above.rpartition("<dt>corpus")[2])
        assert record.command in shown and record.commit in shown and f"seed {record.seed}" in shown
        assert record.corpus["sha256"] in data and "3,000 train" in data


def test_without_records_it_says_what_to_run(tmp_path: Path) -> None:
    text = page([], tmp_path, read_paper(PAPER))
    shown = visible(text)
    assert "make reproduce TABLE=all TIER=mini SEEDS=3" in shown and "make report" in shown
    assert "have no run on the paper’s corpus" in shown and "make bench" in shown
    assert "run-" not in text.partition("</style>")[2].partition("<script>")[0]


def test_what_is_missing_stands_with_what_makes_it(tmp_path: Path) -> None:
    missing = missing_table(read_paper(PAPER), [])
    assert sum(row[2].value or 0 for row in missing.rows) == 5 + 30 + 5
    assert len(missing.rows) == 15
    for row in missing.rows:
        assert (ROOT / "configs" / "experiment" / f"{row[-1].text}.yaml").exists()
    shown = visible(page([], tmp_path, read_paper(PAPER)))
    assert "Textual entailment make reproduce TABLE=snli TIER=paper" in shown
    assert "Textual entailment: D, batch size, epochs" in shown


def test_shared_notes_are_numbered_and_numbers_at_the_right() -> None:
    rows = (
        (Cell("a"), Cell("1.0", 1.0, ("x",), "later"), Cell("a sentence that goes on and on", 1.0)),
        (Cell("b", note="alone"), Cell("–"), Cell("b", 2.0, ("x", "y"), "later", best=True)),
        (Cell("c"), Cell("2.0ʳ", 2.0, note="the paper's, recalled"), Cell("–")),
    )
    shown = view(Table("t", "T", "", ("name", "ours: n", "ours: R-1"), rows))
    assert shown.marks == {"later": 1} and shown.remarks == [("b, name", "alone")]
    assert shown.heads == [("name", False), ("n", True), ("R\N{NON-BREAKING HYPHEN}1", False)]
    assert shown.groups == [("", 1), ("ours", 2)]
    assert view(Table("t", "T", "", ("recipe: score",), ())).heads == [("recipe: score", False)]
    assert anchor(["x"]) == "run-x" and anchor(["y", "x"]) == anchor(["x", "y"]) != "run-x"


def test_verdicts_stand_beside_what_was_compared() -> None:
    cells = (Cell("a > b"), Cell("test"), *[Cell("1.0", 1.0, ("x",))] * (len(HEADS) - 2))
    undecided = Verdict(UNDECIDED, 1, "too few", "on other data")
    tested = [
        ClaimTest(cells, undecided, ("x",), "secondary"),
        ClaimTest(cells, Verdict(REPRODUCED, 3, "", "on other data"), ("x",), "secondary"),
    ]
    beats, fast = (
        Claim("a", "a beats b", "stated", "greater"),
        Claim("f", "it is fast", "stated", "untested", how="no"),
    )
    first, second = claim_lines(ClaimResults([(fast, []), (beats, tested)], Table("t", "", "", (), ())))
    assert first.verdicts == [(REPRODUCED, "1 reproduced"), (UNDECIDED, "1 undecided")]
    assert first.table is not None and first.table.heads[:3] == ("compared", "verdict", "on")
    shown = first.table.column(1)
    assert [cell.text for cell in shown] == ["undecided at n = 1 seed", "reproduced"]
    assert [cell.best for cell in shown] == [False, True]
    assert [cell.note for cell in shown] == ["too few; on other data", "on other data"]
    assert second == ("f", "it is fast", [("", "not tested")], "no", None)


def test_a_primary_verdict_stands_for_its_claim_and_first() -> None:
    cells = (Cell("a > b"), Cell("test"), *[Cell("1.0", 1.0)] * (len(HEADS) - 2))
    secondary = ClaimTest(cells, Verdict(REPRODUCED, 3), (), "secondary")
    primary = ClaimTest(cells, Verdict(UNDECIDED, 3, "too few"), (), "primary")
    claims = [Claim(name, name, "stated", "greater") for name in "ab"]
    tested = [(claims[0], [secondary]), (claims[1], [secondary, primary])]
    lines = claim_lines(ClaimResults(tested, Table("t", "", "", (), ())))
    assert [line.id for line in lines] == ["b", "a"]
    assert lines[0].verdicts == [(UNDECIDED, "undecided at n = 3 seeds")]
    assert lines[0].rest == "too few; others: 1 reproduced"


def curves(runs: list[Record]) -> tuple[dict[str, list[float]], Axes]:
    _, axes = new_figure(2.0)
    draw_curves(axes, runs, TASKS["snli"].primary_metric)
    return {str(line.get_label()): list(np.asarray(line.get_ydata())) for line in axes.lines}, axes


def test_a_curve_goes_on_as_long_as_all_seeds_do(tmp_path: Path) -> None:
    of_dev = {1: [0.25, 0.5, 0.75], 2: [0.75, 1.0]}
    histories = {seed: [{"dev": {"accuracy": v}} for v in values] for seed, values in of_dev.items()}
    runs = [
        dataclasses.replace(run("fusedmax", seed, "small", tmp_path), history=history)
        for seed, history in histories.items()
    ]
    assert dev_curves(runs, TASKS["snli"].primary_metric).tolist() == [[25.0, 50.0], [75.0, 100.0]]


def test_pictures_of_two_corpora_of_one_name_have_names_of_their_own() -> None:
    corpora = [Corpus("snli", "a/b", digit * 64, "mini") for digit in "12"]
    names = file_names("figure2", [*corpora, corpora[0]._replace(tier="paper")])
    assert [*names.values()] == [
        "figure2-snli-a_b-mini-11111111", "figure2-snli-a_b-mini-22222222", "figure2-snli-a_b-paper",
    ]  # fmt: skip


def test_a_line_is_the_mean_of_its_seeds_and_its_band_holds_them(folder: Path) -> None:
    runs = [record for record in read_records(folder / "runs") if record.tier == "small"]
    lines, axes = curves(runs)
    assert lines["softmax 45.3"] == pytest.approx([40.3, 45.3])
    band = axes.collections[0].get_paths()[0].vertices
    assert sorted({round(float(y), 6) for _, y in band}) == pytest.approx([40.2, 40.4, 45.2, 45.4])


def test_lines_of_one_mapping_are_told_apart_by_their_strengths(tmp_path: Path) -> None:
    one = run("fusedmax", 1, "small", tmp_path)
    other = run("fusedmax", 2, "small", tmp_path, mapping_params={"gamma": 1.0, "lam": 0.5})
    lines, axes = curves([one, other])
    assert [name.rpartition(" ")[0] for name in lines] == [
        "fusedmax, γ 1, λ 0.1:", "fusedmax, γ 1, λ 0.5:"
    ]  # fmt: skip
    assert len({line.get_linestyle() for line in axes.lines}) == 2


def test_one_target_each_has_every_weight_and_stretch(tmp_path: Path) -> None:
    names = ("softmax", "fusedmax", "oscarmax")
    runs = [(run(name, 1, "small", tmp_path), attention(name)) for name in names]
    found = heatmap(corpus_of(runs[0][0]), "", runs)
    assert found.is_single and found.columns == 3 and [word for word, _ in found.rows] == list(WORDS)
    shown = np.array([[weight for ((weight, *_),) in cells] for _, cells in found.rows])
    assert shown.T.tolist() == [example.weights[0] for _, example in runs]
    starts = [colour for _, cells in found.rows for ((_, sides, colour),) in cells if "starts" in sides]
    assert len(starts) == 1 + 2  # a segment of neighbours; two stretches of one group
    assert len(set(starts)) == 1  # each the first group of its mapping


def test_each_mapping_has_a_column_for_each_target(tmp_path: Path) -> None:
    one = AttentionGrid(
        source=["x", "y", "z"], target=["u", "v"], weights=[[1.0, 0, 0], [0.0, 0.5, 0.0001]],
        groups=[[1, 0, 0], [0, 1, 2]],
    )  # fmt: skip
    other = AttentionGrid(source=["x", "y", "z"], target=["w"], weights=[[0.0, 0.5, 0.5]], groups=[[0, 1, 1]])
    record = run("sparsemax", 1, "small", tmp_path)
    found = heatmap(corpus_of(record), "", [(record, one), (record, other)])
    assert not found.is_single and [targets for _, targets in found.blocks] == [["u", "v"], ["w"]]
    weights = [[[weight for weight, *_ in cells] for cells in blocks] for _, blocks in found.rows]
    assert weights == [[[1.0, 0.0], [0.0]], [[0.0, 0.5], [0.5]], [[0.0, 0.0001], [0.5]]]
    assert [blocks[1][0][1] for _, blocks in found.rows] == ["", "in starts", "in stops"]


def test_zeros_are_empty_cells(text: str) -> None:
    part = text.partition('<table class="heat single"')[2].partition("</table>")[0]
    assert part.count("></td>") > 1 and part.count("--w:") > 5 and "--w:0;" not in part


def test_findings_lead_to_what_they_are_read_off(text: str) -> None:
    part = text.partition('id="findings"')[2].partition("</section>")[0]
    links = re.findall(r'<li>.*?<a class="screen" href="#([^"]+)">', part)
    assert links[0] == "claims-small-snli-fusedmax" and len(links) == part.count("<li>") == 2


def test_the_mapping_alone_has_its_dots(text: str) -> None:
    part = text.partition('id="tab-cost"')[2].partition("</section>")[0]
    assert "regattn.fusedmax" in visible(part) and part.count("<svg") == 1


def test_the_committed_page_is_that_of_the_committed_records() -> None:
    made = page(committed_records(), ROOT / "results", read_paper(PAPER))
    assert (ROOT / "results" / "report" / "index.html").read_text(encoding="utf-8") == made
    assert 10_000 < len(made.encode()) < 2 * 2**20
    assert WORDS[1] not in made
