"""The paper's tables with ours beside them, what they say of its claims, and what attention looked like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.cells import Cell, Table
from scripts.columns import MAPPINGS
from scripts.comparing.claims import claims_table
from scripts.comparing.costs import cost_table
from scripts.comparing.interpretability import interpretability_table
from scripts.comparing.measured import measured_in, our_cell, quoted_cell, seeds_cell
from scripts.comparing.paper import LEGEND, Paper, PaperColumn, PaperTable
from scripts.comparing.selection import Row, Runs, row_of
from scripts.comparing.significance import ItemScores
from scripts.runs.recipes import TIERS


def paper_tables(records: Runs, details: Path, paper: Paper) -> list[Table]:
    """Every table: of the paper's, for each tier with runs.

    Args:
        records: of all runs; those that are no cell's are left out.
        details: the folder of their details.
        paper: what the paper says.

    Raises:
        RecordError: the runs of a table are of several corpora, or their details are missing or damaged.
    """
    items = ItemScores(details)
    return [table for tier in TIERS for table in _tables_of_tier(records, tier, paper, items)]


def _tables_of_tier(records: Runs, tier: str, paper: Paper, items: ItemScores) -> list[Table]:
    found = {name: row_of(records, table.task, tier) for name, table in paper.tables.items()}
    rows = {name: row for name, row in found.items() if row}
    if not rows:
        return []
    scores = [score_table(name, paper.tables[name], tier, row) for name, row in rows.items()]
    return [
        *scores,
        claims_table(paper, tier, rows, items),
        interpretability_table(tier, rows, records),
        cost_table(tier, rows),
    ]


def score_table(name: str, paper_table: PaperTable, tier: str, row: Row) -> Table:
    """A table of the paper with ours beside it: mappings × scores, those of the best in bold."""
    measured = measured_in(paper_table, next(iter(row.values()))[0])
    columns = [_paper_column(paper_table, column) for column in paper_table.columns]
    heads = [f"paper: {column.label}" for column in paper_table.columns]
    columns += [[our_cell(row.get(mapping, ()), one) for mapping in MAPPINGS] for one in measured]
    heads += [f"ours: {one.label}" for one in measured]
    seeds = [seeds_cell(row.get(mapping, ())) for mapping in MAPPINGS]
    labels = [Cell(mapping) for mapping in MAPPINGS]
    return Table(
        name=f"{name}-{tier}",
        title=f"{paper_table.title}, tier {tier}",
        intro=whose_data(paper_table, tier, row),
        heads=("mapping", *heads, "seeds"),
        rows=tuple(zip(labels, *map(_with_best, columns), seeds, strict=True)),
        notes=(
            f"{LEGEND} Ours: mean ± standard deviation over the seeds. In bold the largest of each column, "
            "which says nothing of significance: the table of claims does.",
        ),
    )


def whose_data(paper_table: PaperTable, tier: str, row: Row) -> str:
    """A paragraph that says what ours is measured on, and that it is not the paper's where it is not."""
    corpus = next(iter(row.values()))[0].corpus
    sizes = ", ".join(f"{count:,} {split}" for split, count in corpus["sizes"].items())
    ours = f"Ours: {corpus['name']}, {sizes} pairs (SHA-256 {corpus['sha256'][:16]}…), tier {tier}."
    theirs = f"The paper's: {paper_table.corpus}."
    if tier == "paper":
        return f"{ours} {theirs}"
    return f"{ours} {theirs} Ours is trained on other data at another scale: the two do not compare."


def _paper_column(paper_table: PaperTable, column: PaperColumn) -> list[Cell]:
    return [quoted_cell(paper_table.rows[mapping][column.key]) for mapping in MAPPINGS]


def _with_best(column: Sequence[Cell]) -> list[Cell]:
    known = [cell.value for cell in column if cell.value is not None]
    return [replace(cell, best=len(known) > 1 and cell.value == max(known)) for cell in column]
