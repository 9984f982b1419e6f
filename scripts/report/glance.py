"""The page in a paragraph and one small table, counted from what stands on it."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.cells import Cell, Table
from scripts.columns import MAPPINGS, UNKNOWN
from scripts.comparing.paper import Paper
from scripts.comparing.verdicts import NOT_REPRODUCED, REPRODUCED, UNDECIDED, tally
from scripts.report.missing import Cells, Count, runs_of
from tasks.training.records import Record

TIERS = {
    "paper": "the paper’s corpus at its size, with its model",
    "small": "real data of the same kind but less of it, with a smaller model, as two CPU cores finish",
    "mini": "made-up sentences that come with the code, in minutes; shows that everything works, says "
    "nothing about the paper",
}
STANDINGS = {
    "12.34": "stated in our summary of the paper, or confirmed in a public source",
    "12.34ʳ": "recalled, not confirmed",
    "?": "not known; never filled in",
}
VERDICTS = {
    REPRODUCED: "the difference lies as the paper claims, and more surely than chance explains",
    NOT_REPRODUCED: "it lies the other way, as surely",
    UNDECIDED: "all else: at this number of seeds and test items the data does not say",
}


def glance(paper: Paper, records: Sequence[Record]) -> Table:
    """The largest tier with runs, and how many, for every row of the paper's tables."""
    rows = tuple(_row(table.title, runs_of(table, records)) for table in paper.tables.values())
    intro = "The largest tier that there are runs of, and how many, for each row of the paper’s tables:"
    return Table("glance", "Runs of the largest tier", intro, ("table", *MAPPINGS), rows)


def _row(title: str, cells: Cells) -> tuple[Cell, ...]:
    return Cell(title), *(_best(cells, mapping) for mapping in MAPPINGS)


def _best(cells: Cells, mapping: str) -> Cell:
    for tier in TIERS:
        if runs := cells[tier].get(mapping):
            return Cell(f"{tier} × {len(runs)}", None, tuple(run.id for run in runs))
    return Cell(UNKNOWN)


def summary(records: Sequence[Record], tables: Sequence[Table], count: Count) -> list[str]:
    """PaddedBatch: what there is of the paper's figures, what became of its claims, on which data."""
    return [_figures(count), *_claims(tables), *_data(records)]


def _figures(count: Count) -> str:
    return (
        f"The paper’s tables have {count.figures} figures as far as we know them, {count.unknown} of them of "
        f"unknown value. {_having(count.paper)} at the paper’s own scale and "
        f"{_having(count.less).lower()} on less data with a smaller model alone; "
        f"{count.nothing or 'none'} {_have(count.nothing)} nothing but "
        "made-up data, or nothing at all."
    )


def _having(count: int) -> str:
    return f"{count or 'None'} {_have(count)} a run"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _so_many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _claims(tables: Sequence[Table]) -> list[str]:
    """How many comparisons have each verdict, at every tier but the one of made-up data."""
    return [
        f"At tier {tier} its claims were tested in {tally(table)}."
        for tier in ("paper", "small")
        for table in tables
        if table.name == f"claims-{tier}"
    ]


def _data(records: Sequence[Record]) -> list[str]:
    counts = {tier: sum(record.tier == tier for record in records) for tier in TIERS}
    listed = ", ".join(f"{count} of tier {tier}" for tier, count in counts.items() if count)
    return [f"Behind this page are {_so_many(len(records), 'run')}: {listed}."] if records else []
