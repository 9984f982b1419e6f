"""`make report`: one page of what was reproduced, on which data, how surely, and what is missing."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import regattn
from regattn._heatmap import GROUP_COLOURS
from scripts import cli
from scripts.bench.render import history, plot_shapes, read_results
from scripts.paper import RESULTS
from scripts.paper.claims import HEADS, OUTCOMES, REPRODUCED, ClaimResults, ClaimTest, claim_label, untested
from scripts.paper.plots import Group, chart, heatmaps, svg
from scripts.paper.reported import Paper, read_paper
from scripts.paper.selection import MAPPINGS, Runs, by_label, by_setting, rows_of, strengths_label
from scripts.paper.table import UNKNOWN, Cell, Row, Table, ids
from scripts.paper.tables import results_of_tiers
from scripts.runs.config import TIERS
from scripts.style import house_style
from tasks._registry import TASKS
from tasks.checks import counted
from tasks.data.files import write_atomically
from tasks.training.records import read_records

_WEB = Path(__file__).parent / "paper" / "web"
_SENTENCE = 40  # characters from which a cell is broken into lines
_TOLD = ("the paper's, ", "not known")  # beginnings of notes that say what the mark on a figure does
_MISSING = (
    "These rows of the paper's tables have no run on the paper's corpus at its size. What stands in their "
    "place comes from less data and smaller models, and can neither confirm nor refute a figure."
)


def page(records: Runs, folder: Path, paper: Paper) -> str:
    """The report as one HTML file that needs nothing else."""
    records = [run for run in records if run.tier in TIERS]  # no run to debug with
    results = results_of_tiers(records, folder, paper)[::-1]
    groups, missing = in_order(records), missing_table(paper, records)
    tables = [missing, *(table for result in results for table in result.tables)]
    pictures = list(heatmaps(groups, folder / "details"))
    made = Environment(
        loader=FileSystemLoader(_WEB), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.globals.update(
        anchor=anchor, claim_lines=claim_lines, inline=_inline, strengths_label=strengths_label
    )
    made.filters.update(figure=_figure, typeset=_typeset, view=view)
    return made.get_template("index.html").render(
        paper=paper,
        tasks=TASKS,
        results=results,
        missing=missing,
        lacking=dict.fromkeys(row[0].text for row in missing.rows),
        lead=next((picture for picture in pictures if picture.is_single), None),
        pictures=pictures,
        charts=[chart(*group) for group in in_order([run for run in records if len(run.history) > 1])],
        costs=kernel_costs(folder / "bench" / "cpu.json"),
        groups=groups,
        collections=collections(tables, groups),
        tiers=Counter(record.tier for record in records),
        mappings=[regattn.MAPPINGS[name] for name in MAPPINGS],
        group_colours=GROUP_COLOURS,
    )


def in_order(records: Runs) -> list[Group]:
    """Runs in the page's order: the paper's tier first, tasks and mappings as in the paper."""
    tasks = list(TASKS)
    found = sorted(by_setting(records), key=lambda of: (-TIERS.index(of[0].tier), tasks.index(of[0].task)))
    return [(corpus, setting, by_label(runs)) for corpus, setting, runs in found]


# ------------------------------------------------------------------ what was reproduced, and what is missing
def missing_table(paper: Paper, records: Runs) -> Table:
    """The rows of the paper's tables without a run at its scale, and the experiment that makes one."""
    rows: list[Row] = []
    for task, table in paper.tables.items():
        there = {tier: rows_of(records, task, tier) for tier in TIERS}
        rows += [
            (
                Cell(TASKS[task].title),
                Cell(mapping),
                Cell(str(len(figures)), len(figures)),
                *(_on(there[tier].get(mapping, ())) for tier in ("small", "mini")),
                Cell(f"paper/{task}"),
            )
            for mapping, figures in table.rows.items()
            if mapping not in there["paper"]
        ]
    return Table(
        name="missing",
        title="Rows without a run at the paper's scale",
        intro=_MISSING if rows else "Every row of the paper's tables has a run at the paper's scale.",
        heads=("table", "mapping", "figures", "runs on less data", "runs on synthetic data", "experiment"),
        rows=tuple(rows),
    )


def _on(runs: Runs) -> Cell:
    return Cell(f"{len(runs)} on {runs[0].corpus['name']}", runs=ids(runs)) if runs else Cell(UNKNOWN)


# ------------------------------------------------------------------ tables, and where their figures lead
@dataclass(frozen=True)
class View:
    """A table as the page shows it."""

    groups: Sequence[tuple[str, int]]  # heads that several columns share, each with how many
    heads: Sequence[tuple[str, bool]]  # of columns, each with whether it holds numbers
    marks: Mapping[str, int]  # numbers of the notes that several cells share
    remarks: Sequence[tuple[str, str]]  # notes on one cell, each with its row and column
    is_wordy: bool  # whether there are sentences in it


def view(table: Table) -> View:
    """The table with the notes that cells share numbered in the order in which they are read."""
    cells = [
        (f"{row[0].text}, {head}", cell)
        for row in table.rows
        for head, cell in zip(table.heads, row, strict=True)
    ]
    told = Counter(cell.note for _, cell in cells if cell.note and not cell.note.startswith(_TOLD))
    shared = [note for note, count in told.items() if count > 1]
    parts = [  # "paper: BLEU" stands under "paper"
        head.partition(": ") if head.startswith(("paper: ", "ours: ")) else ("", "", head)
        for head in table.heads
    ]
    names = [name.replace("-", "\N{NON-BREAKING HYPHEN}") for *_, name in parts]
    return View(
        groups=[(group, len(list(of))) for group, of in groupby(part[0] for part in parts)],
        heads=[(name, _is_numeric(table, number)) for number, name in enumerate(names)],
        marks={note: number for number, note in enumerate(shared, 1)},
        remarks=[(place, cell.note) for place, cell in cells if told[cell.note] == 1],
        is_wordy=any(len(cell.text) > _SENTENCE for _, cell in cells),
    )


def _is_numeric(table: Table, column: int) -> bool:
    """Whether a column holds short figures, and dashes where there are none."""
    cells = table.column(column)
    return column > 0 and all((c.value is not None or c.is_empty) and len(c.text) < 24 for c in cells)


class ClaimLine(NamedTuple):
    """A claim as the page shows it."""

    id: str
    text: str
    verdicts: Sequence[tuple[str, str]]  # outcome and text; of the primary one alone if there is one
    rest: str  # what became of other comparisons, or why there are none
    table: Table | None  # what was compared, the verdict beside it; None if nothing was


def claim_lines(claims: ClaimResults) -> list[ClaimLine]:
    """All claims: those with a primary endpoint first, those not tested last."""
    lines = []
    for claim, tested in claims.comparisons:
        primary = next((one.verdict for one in tested if one.role == "primary"), None)
        counts = Counter(one.verdict.outcome for one in tested if one.role in ("secondary", "time"))
        tally = [(outcome, f"{counts[outcome]} {outcome}") for outcome in OUTCOMES if counts[outcome]]
        if primary:
            others = f"others: {', '.join(text for _, text in tally)}" if tally else ""
            verdicts, rest = [(primary.outcome, primary.text)], "; ".join(filter(None, [primary.why, others]))
        else:
            verdicts, rest = (
                tally or [("", "not tested")],
                "" if tally else untested(claim).removeprefix("not tested: "),
            )
        table = Table(claim.id, claim.text, "", (HEADS[0], "verdict", *HEADS[1:]), _comparisons(tested))
        lines.append(
            (ClaimLine(claim.id, claim_label(claim), verdicts, rest, table if tested else None), primary)
        )
    return [line for line, _ in sorted(lines, key=lambda of: (of[1] is None, of[0].table is None))]


def _comparisons(tested: Sequence[ClaimTest]) -> tuple[Row, ...]:
    rows = []
    for one in tested:
        note = "; ".join(filter(None, [one.verdict.why, one.verdict.data]))
        is_best = one.verdict.outcome == REPRODUCED
        verdict = Cell(one.verdict.text, runs=one.runs, note=note, best=is_best)
        rows.append((one.cells[0], verdict, *one.cells[1:]))
    return tuple(rows)


def anchor(runs: Iterable[str]) -> str:
    """Where on the page the runs of a figure stand; nowhere for a figure without runs.

    Example:
        >>> anchor(["a"]), anchor(["a", "b"]) == anchor(["b", "a", "b"]), anchor([])
        ('run-a', True, '')
    """
    ids = sorted(set(runs))
    if len(ids) < 2:
        return f"run-{ids[0]}" if ids else ""
    return f"runs-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"


def collections(tables: Iterable[Table], groups: Iterable[Group]) -> dict[str, list[str]]:
    """The runs of every figure that is made of others than one run or one group, by their anchor."""
    known = {anchor(run.id for run in runs) for *_, rows in groups for runs in rows.values()}
    made = {anchor(c.runs): sorted(set(c.runs)) for table in tables for row in table.rows for c in row}
    return {place: runs for place, runs in made.items() if len(runs) > 1 and place not in known}


# ------------------------------------------------------------------ the template
def _inline(name: str) -> Markup:
    """A file of our own, which is not escaped inside <style> and <script>."""
    return Markup((_WEB / name).read_text(encoding="utf-8"))


def _figure(value: float) -> str:
    """A metric of a record, in as many digits as tell runs apart.

    Example:
        >>> _figure(0.1234567), _figure(-1000.7123), _figure(0.0)
        ('0.12346', '−1000.7', '0')
    """
    return f"{value:.5g}".replace("-", "\N{MINUS SIGN}")


def _typeset(text: str) -> str:
    r"""Quotation marks, apostrophes and minus signs as in print, and no line that begins behind a ±.

    Example:
        >>> _typeset("the paper's \"table\", -1.04 to 5-10")
        'the paper’s “table”, −1.04 to 5-10'
    """
    text = re.sub('"([^"]*)"', "“\\1”", text).replace("'", "’")
    text = text.replace("± ", "±\N{NO-BREAK SPACE}")
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text)


# ------------------------------------------------------------------ what a mapping costs by itself
def kernel_costs(path: Path) -> tuple[Markup, str] | None:
    """The picture of all shapes by the benchmark at ``path``, and where and how it was measured; None where
    it has no section of shapes."""
    shapes = read_results(path).get("shapes", {})
    if not shapes.get("cells"):
        return None
    with house_style():
        return svg(plot_shapes(shapes), "The mapping alone"), history(shapes).replace("`", "")


def main(arguments: Sequence[str]) -> None:
    """Write the page to results/report/index.html, or elsewhere, and say where it is."""
    parser = cli.Parser(prog="python -m scripts.report", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS / "report" / "index.html", help="the page")
    output = parser.parse_args(arguments).output
    records = read_records(RESULTS / "runs")
    text = page(records, RESULTS, read_paper()).encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, [text])
    print(f"{output}: {counted(len(records), 'run')}, {len(text) / 2**20:.1f} MiB")


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
