"""What the page cannot show: the paper's figures without a run at the paper's scale, and what is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.cells import Cell, Table
from scripts.columns import UNKNOWN
from scripts.comparing.paper import Paper, PaperTable
from scripts.comparing.selection import Row, row_of
from scripts.runs.recipes import TIERS
from tasks.training.records import Record

Cells = Mapping[str, Row]
_HEADS = ("table", "mapping", "figures", "runs on less data", "runs on made-up data", "experiment")

_LACKING = (
    "These rows of the paper’s tables have no run on the paper’s corpus at its size. What stands in their "
    "place comes from less data and smaller models, and can neither confirm nor refute a figure."
)


@dataclass(frozen=True)
class Count:
    """How many figures the paper's tables have, and how many of them have what.

    Attributes:
        figures: all of them.
        unknown: those whose value is not known.
        paper: those with a run at the paper's scale.
        less: those with runs on less data alone.
    """

    figures: int
    unknown: int
    paper: int
    less: int

    @property
    def nothing(self) -> int:
        return self.figures - self.paper - self.less


@dataclass(frozen=True)
class Missing:
    """What is missing.

    Attributes:
        count: of the figures.
        table: a row for each row of the paper's tables without a run at its scale.
        commands: title of each such table, and what makes its runs.
        settings: what is not known of the paper, by the title of the table.
    """

    count: Count
    table: Table
    commands: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, Sequence[str]]]


def missing(paper: Paper, records: Sequence[Record]) -> Missing:
    """What of the paper has no run among ``records``."""
    cells = {name: runs_of(table, records) for name, table in paper.tables.items()}
    lacking = {
        name: [mapping for mapping in table.rows if mapping not in cells[name]["paper"]]
        for name, table in paper.tables.items()
    }
    rows = [
        _row(paper.tables[name], mapping, cells[name])
        for name, mappings in lacking.items()
        for mapping in mappings
    ]
    commands = [
        (paper.tables[name].title, f"make reproduce TABLE={name} TIER=paper")
        for name, mappings in lacking.items()
        if mappings
    ]
    intro = _LACKING if rows else "Every row of the paper’s tables has a run at the paper’s scale."
    table = Table("missing", "Rows without a run at the paper’s scale", intro, _HEADS, tuple(rows))
    return Missing(_count(paper, cells), table, commands, _unknown(paper))


def runs_of(table: PaperTable, records: Sequence[Record]) -> Cells:
    """The runs of a table of the paper's: tier → mapping → runs."""
    return {tier: row_of(records, table.task, tier) for tier in TIERS}


def _row(table: PaperTable, mapping: str, cells: Cells) -> tuple[Cell, ...]:
    count = len(table.rows[mapping])
    less, made_up = (_made(cells[tier].get(mapping, ())) for tier in ("small", "mini"))
    experiment = Cell(f"paper/{table.task}")
    return Cell(table.title), Cell(mapping), Cell(str(count), count), less, made_up, experiment


def _made(runs: Sequence[Record]) -> Cell:
    if not runs:
        return Cell(UNKNOWN)
    return Cell(f"{len(runs)} on {runs[0].corpus['name']}", None, tuple(run.id for run in runs))


def _count(paper: Paper, cells: Mapping[str, Cells]) -> Count:
    counts = {"figures": 0, "unknown": 0, "paper": 0, "less": 0}
    for name, table in paper.tables.items():
        for mapping, figures in table.rows.items():
            at_scale, less = mapping in cells[name]["paper"], mapping in cells[name]["small"]
            counts["figures"] += len(figures)
            counts["unknown"] += sum(figure.value is None for figure in figures.values())
            counts["paper"] += len(figures) * at_scale
            counts["less"] += len(figures) * (less and not at_scale)
    return Count(**counts)


def _unknown(paper: Paper) -> list[tuple[str, list[str]]]:
    """The settings that nobody knows, table by table."""
    found = []
    for name, table in paper.tables.items():
        unknown = [s.name for s in paper.settings if s.table == name and s.quoted.value is None]
        if unknown:
            found.append((table.title, unknown))
    return found
