"""Tables of results: what they are in Markdown and CSV, and scores as their cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from scripts.markdown import markdown, paragraph
from scripts.paper.reported import MARKS, ReportedColumn, ReportedTable, ReportedValue
from scripts.paper.selection import Runs, task_of
from scripts.paper.significance import mean_std
from tasks.training.records import Record, RecordError

UNKNOWN = "–"
NOT_REPORTED = "?"
"""What stands in place of a figure of ours, and of the paper's, that there is not."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    value: float | None = None  # sorted by; written with eight digits, the same on all processors
    runs: tuple[str, ...] = ()  # ids of those that the figure is made of
    note: str = ""  # what has to be known to read it
    best: bool = False  # of its column, shown in bold

    @property
    def is_empty(self) -> bool:
        return self.text in (UNKNOWN, NOT_REPORTED)


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table of results."""

    name: str  # of its files, such as snli-small
    title: str
    intro: str  # which data, which tier, what differs from the paper
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # paragraphs below it

    def column(self, number: int) -> list[Cell]:
        return [row[number] for row in self.rows]


def to_markdown(table: Table) -> str:
    r"""A heading, the table, its notes; the best of a column in bold.

    Example:
        >>> print(to_markdown(Table("t", "T", "About.", ("a", "b"), ((Cell("x|y"), Cell("1", best=True)),))))
        # T
        <BLANKLINE>
        About.
        <BLANKLINE>
        | a | b |
        | --- | --- |
        | x\|y | **1** |
        <BLANKLINE>
    """
    title, intro, *notes = map(paragraph, (table.title, table.intro, *table.notes))
    return "\n\n".join([f"# {title}", intro, to_grid(table), *notes]) + "\n"


def to_grid(table: Table) -> str:
    """The table alone in Markdown."""
    rows = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in table.rows]
    return markdown(table.heads, rows)


def to_csv(table: Table) -> str:
    """Plain numbers, where cells have one, else their text; what is not there is empty. The last columns name
    the runs behind a row, and hold what has to be known to read it, such as intervals."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow([*table.heads, "run ids", "notes"])
    for row in table.rows:
        runs = dict.fromkeys(run for cell in row for run in cell.runs)
        notes = [f"{head}: {cell.note}" for head, cell in zip(table.heads, row, strict=True) if cell.note]
        lines.writerow([*map(_plain, row), " ".join(runs), "; ".join(notes)])
    return file.getvalue()


def _plain(cell: Cell) -> str | float:
    if cell.value is None:
        return "" if cell.is_empty else cell.text
    return float(f"{cell.value:.8g}")


FORMATS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "csv": to_csv}


# ------------------------------------------------------------------ scores as cells: ours, and the paper's
Signatures = Mapping[str, Mapping[str, str]]
"""For every split, how its metrics were computed, by kind."""


@dataclass(frozen=True)
class SplitMetric:
    """A score that runs have: the metric of a test split, the paper's column that it stands beside, and what
    makes it one of 0 to 100."""

    split: str
    metric: str
    label: str
    column: ReportedColumn
    scale: float


def metrics_in(table: ReportedTable, record: Record) -> list[SplitMetric]:
    """What runs like this one have of a table's scores, in the table's order."""
    tests, names = record.test_splits, task_of(record).test_names
    found = []
    for column in table.columns:
        wanted = tests if column.split is None else [column.split, names.get(column.split, "")]
        splits = [split for split in tests if split in wanted and column.metric in record.metrics[split]]
        scale = task_of(record).scale(column.metric)
        found += [SplitMetric(split, column.metric, _label(column, split), column, scale) for split in splits]
    return found


def check_signatures(metrics: Sequence[SplitMetric], measured: Mapping[str, Signatures]) -> None:
    """Refuse a column of figures that were measured in several ways, or in another than the column's.

    ``measured`` are the signatures of whatever stands in the rows, under a name for the message.
    """
    for one in metrics:
        first: tuple[str, str] | None = None
        for name, signatures in measured.items():
            of = signatures.get(one.split, {})
            # "rouge" says how rouge1, rouge2 and rougeL were measured; accuracy has one way alone.
            signature = next((text for kind, text in of.items() if one.metric.startswith(kind)), "")
            wanted = one.column.measure
            if wanted and signature.partition("|")[0] != wanted:
                raise RecordError(
                    f"{name} must have {one.label} measured by {wanted}, got the signature {signature!r}"
                )
            first = first or (name, signature)
            if signature != first[1]:
                raise RecordError(
                    f"{name} must have the {one.label} of the signature {first[1]!r}, as {first[0]}, "
                    f"got {signature!r}"
                )


def _label(column: ReportedColumn, split: str) -> str:
    """
    Example:
        >>> _label(ReportedColumn("k", None, "bleu", "BLEU"), "test_2016_flickr")
        'BLEU, test_2016_flickr'
    """
    return column.label if split == column.split else f"{column.label.split()[-1]}, {split}"


def reported_cell(reported: ReportedValue) -> Cell:
    """The paper's figure with the mark of its confidence.

    Example:
        >>> reported_cell(ReportedValue(82.4, "recalled")).text
        '82.40ʳ'
    """
    if not isinstance(reported.value, int | float):
        return Cell(NOT_REPORTED, note="not known")
    text = f"{reported.value:.2f}{MARKS[reported.confidence]}"
    return Cell(text, float(reported.value), note=f"the paper's, {reported.confidence}")


def our_cell(runs: Runs, one: SplitMetric) -> Cell:
    """The mean of runs over their seeds; unknown of none."""
    return over_seeds(runs, [one.scale * run.metrics[one.split][one.metric] for run in runs])


def over_seeds(
    runs: Runs, values: Sequence[float | None], digits: int = 2, *, interval: bool = False
) -> Cell:
    """A mean over the seeds of runs; unknown where not all of them know a value.

    Its standard deviation stands behind it and its 95 % interval in a note, or ``interval`` behind it.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(runs):
        return Cell(UNKNOWN)
    found = mean_std(known)
    if interval:
        half = "" if found.half_width is None else f" ± {found.half_width:.{digits}f}"
        return Cell(f"{found.mean:.{digits}f}{half}", found.mean, ids(runs))
    return Cell(found.text(digits), found.mean, ids(runs), found.interval(digits))


def seeds_cell(runs: Runs) -> Cell:
    """The seeds of runs, neighbours as a range; unknown of none."""
    return Cell(_ranges(sorted(run.seed for run in runs)) or UNKNOWN, float(len(runs)), ids(runs))


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending integers, three or more neighbours as a range.

    Example:
        >>> _ranges([1, 2, 3, 5, 7, 8]), _ranges([])
        ('1–3, 5, 7, 8', '')
    """
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda of: of[1] - of[0])]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def corpus_label(record: Record) -> str:
    """What a run is of: corpora of two tasks may have one name."""
    return f"{record.task} on {record.corpus['name']}"


def ids(*several: Runs) -> tuple[str, ...]:
    """Ids of runs, for the cell that is made of them."""
    return tuple(record.id for runs in several for record in runs)
