"""Which of the paper's figures have runs at which scale, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.paper.metrics import ids
from scripts.paper.reported import Paper
from scripts.paper.selection import Runs, rows_of
from scripts.paper.table import UNKNOWN, Cell, Table
from scripts.runs.config import TIERS
from tasks._registry import TASKS

_MISSING = (
    "These rows of the paper's tables have no run on the paper's corpus at its size. What stands in their "
    "place comes from less data and smaller models, and can neither confirm nor refute a figure."
)


@dataclass(frozen=True)
class Coverage:
    """A row of the paper's tables: how many figures it has, how many are not known, and our runs by tier."""

    task: str
    mapping: str
    figures: int
    unknown: int
    runs: Mapping[str, Runs]

    @property
    def tier(self) -> str:
        """The largest with runs; nothing where there are none."""
        return next((tier for tier in reversed(TIERS) if tier in self.runs), "")


def coverage(paper: Paper, records: Runs) -> list[Coverage]:
    """What there is for every row of the paper's tables, in its order."""
    found = []
    for task, table in paper.tables.items():
        tiers = {tier: rows_of(records, task, tier) for tier in TIERS}
        for mapping, figures in table.rows.items():
            unknown = sum(figure.value is None for figure in figures.values())
            runs = {tier: rows[mapping] for tier, rows in tiers.items() if mapping in rows}
            found.append(Coverage(task, mapping, len(figures), unknown, runs))
    return found


def missing_table(rows: Sequence[Coverage]) -> Table:
    """The rows of the paper's tables without a run at its scale, and the experiment that makes one."""
    missing = [row for row in rows if row.tier != "paper"]
    return Table(
        name="missing",
        title="Rows without a run at the paper's scale",
        intro=_MISSING if missing else "Every row of the paper's tables has a run at the paper's scale.",
        heads=("table", "mapping", "figures", "runs on less data", "runs on made-up data", "experiment"),
        rows=tuple(
            (
                Cell(TASKS[row.task].title),
                Cell(row.mapping),
                Cell(str(row.figures), row.figures),
                _on(row.runs.get("small", ())),
                _on(row.runs.get("mini", ())),
                Cell(f"paper/{row.task}"),
            )
            for row in missing
        ),
    )


def _on(runs: Runs) -> Cell:
    return Cell(f"{len(runs)} on {runs[0].corpus['name']}", runs=ids(runs)) if runs else Cell(UNKNOWN)


def summary(rows: Sequence[Coverage]) -> str:
    """How many of the paper's figures have a run at which scale, in a sentence."""

    def figures(*tiers: str) -> str:
        return str(sum(row.figures for row in rows if row.tier in tiers) or "none")

    return (
        f"The paper's tables have {sum(row.figures for row in rows)} figures as far as we know them, "
        f"{sum(row.unknown for row in rows)} of them of unknown value: {figures('paper')} with a run at the "
        f"paper's own scale, {figures('small')} with runs on less data with a smaller model alone, "
        f"{figures('mini', '')} with nothing but made-up data, or nothing at all."
    )
