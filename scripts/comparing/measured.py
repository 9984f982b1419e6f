"""Scores that runs have, as cells of a table: ours over seeds, and the paper's with its standing."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.cells import Cell
from scripts.columns import UNKNOWN
from scripts.comparing.paper import MARKS, PaperColumn, PaperTable, Quoted
from scripts.comparing.selection import Runs
from scripts.comparing.significance import Spread, spread
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


def measured_in(paper_table: PaperTable, record: Record) -> list[Measured]:
    """What runs like this one have of a table's scores, in the table's order."""
    tests = record.test_splits
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


def our_cell(runs: Runs, one: Measured) -> Cell:
    """The mean of runs over their seeds; unknown of none."""
    return spread_cell(spread([score(record, one) for record in runs]), runs) if runs else Cell(UNKNOWN)


def spread_cell(found: Spread, runs: Runs, digits: int = 2) -> Cell:
    """A mean over the seeds of runs, its interval as a note."""
    note = (
        f"95 % interval over {found.count} seeds: {found.interval(digits)}" if found.count > 1 else "one seed"
    )
    return Cell(found.text(digits), found.mean, ids(runs), note)


def seeds_cell(runs: Runs) -> Cell:
    """The seeds of runs; unknown of none."""
    return Cell(", ".join(str(record.seed) for record in runs) or UNKNOWN, float(len(runs)), ids(runs))


def corpus_label(record: Record) -> str:
    """What a run is of: corpora of two tasks may have one name."""
    return f"{record.task} on {record.corpus['name']}"


def ids(*several: Runs) -> tuple[str, ...]:
    """Ids of runs, for the cell that is made of them."""
    return tuple(record.id for runs in several for record in runs)
