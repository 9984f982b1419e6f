"""The paper's tables with ours beside them, what they say of its claims, and what attention looked like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.cells import Cell, Table
from scripts.columns import MAPPINGS, UNKNOWN
from scripts.paper import LEGEND, MARKS, Paper, PaperColumn, PaperTable, Quoted
from scripts.selection import TIERS, Row, Runs, row_of
from scripts.significance import spread
from tasks.training.records import Record

_ONE_TEST = {"gigaword": "test"}
"""The one test set of the embedded headlines, scored as Gigaword's is."""
_SCALE = {"accuracy": 100.0}  # of a metric's record to the published scale


@dataclass(frozen=True)
class Measured:
    """A score that runs have: the metric of a test split, and the paper's column that it stands beside."""

    split: str
    metric: str
    label: str
    column: PaperColumn


def paper_tables(records: Runs, details: Path, paper: Paper) -> list[Table]:
    """Every table: of the paper's, for each tier with runs.

    Args:
        records: of all runs; those that are no cell's are left out.
        details: the folder of their details.
        paper: what the paper says.

    Raises:
        RecordError: the runs of a table are of several corpora, or their details are missing or damaged.
    """
    found = []
    for tier in TIERS:
        rows = {name: row_of(records, table.task, tier) for name, table in paper.tables.items()}
        rows = {name: row for name, row in rows.items() if row}
        found += [score_table(name, paper.tables[name], tier, row) for name, row in rows.items()]
    return found


def score_table(name: str, paper_table: PaperTable, tier: str, row: Row) -> Table:
    """A table of the paper with ours beside it: mappings × scores, those of the best in bold."""
    measured = measured_in(paper_table, next(iter(row.values()))[0])
    columns = [_paper_column(paper_table, column) for column in paper_table.columns]
    heads = [f"paper: {column.label}" for column in paper_table.columns]
    columns += [[_our_cell(row.get(mapping, ()), one) for mapping in MAPPINGS] for one in measured]
    heads += [f"ours: {one.label}" for one in measured]
    seeds = [_seeds_cell(row.get(mapping, ())) for mapping in MAPPINGS]
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


def measured_in(paper_table: PaperTable, record: Record) -> list[Measured]:
    """What runs like this one have of a table's scores, in the table's order."""
    tests = [split for split in record.metrics if split != "dev"]
    found = []
    for column in paper_table.columns:
        wanted = tests if column.split is None else [column.split, _ONE_TEST.get(column.split, "")]
        splits = [split for split in tests if split in wanted and column.metric in record.metrics[split]]
        found += [Measured(split, column.metric, _label(column, split), column) for split in splits]
    return found


def _label(column: PaperColumn, split: str) -> str:
    """
    Example:
        >>> _label(PaperColumn("k", None, "bleu", "BLEU"), "test_2016_flickr")
        'BLEU, test_2016_flickr'
    """
    return column.label if split == column.split else f"{column.label.split()[-1]}, {split}"


def score(record: Record, one: Measured) -> float:
    """The score on the published scale."""
    return _SCALE.get(one.metric, 1.0) * record.metrics[one.split][one.metric]


def quoted_cell(quoted: Quoted, digits: int = 2) -> Cell:
    """The paper's figure with the mark of its standing.

    Example:
        >>> quoted_cell(Quoted(82.4, "recalled")).text, quoted_cell(Quoted(None, "unknown")).text
        ('82.40ʳ', '?')
    """
    if not isinstance(quoted.value, int | float):
        return Cell(MARKS["unknown"], note="not known")
    text = f"{quoted.value:.{digits}f}{MARKS[quoted.standing]}"
    return Cell(text, float(quoted.value), note=f"the paper's, {quoted.standing}")


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


def _our_cell(runs: Runs, one: Measured) -> Cell:
    if not runs:
        return Cell(UNKNOWN)
    found = spread([score(record, one) for record in runs])
    note = f"95 % interval over {found.count} seeds: {found.interval()}" if found.count > 1 else "one seed"
    return Cell(found.text(), found.mean, ids(runs), note)


def _seeds_cell(runs: Runs) -> Cell:
    return Cell(", ".join(str(record.seed) for record in runs) or UNKNOWN, float(len(runs)), ids(runs))


def ids(*several: Runs) -> tuple[str, ...]:
    """Ids of runs, for the cell that is made of them."""
    return tuple(record.id for runs in several for record in runs)


def _with_best(column: Sequence[Cell]) -> list[Cell]:
    known = [cell.value for cell in column if cell.value is not None]
    return [replace(cell, best=len(known) > 1 and cell.value == max(known)) for cell in column]
