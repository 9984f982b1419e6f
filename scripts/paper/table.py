"""A table of results, and what it is in Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

from scripts.markdown import markdown

UNKNOWN = "–"
NOT_REPORTED = "?"
"""What stands in place of a figure of ours, and of the paper's, that there is not."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says, in plain characters.
        value: what it is sorted by, where that is a number; digits behind the eighth may differ from one
            processor to another, and are not written.
        runs: ids of the runs that the figure is made of; none for a label or somebody else's figure.
        note: what has to be known to read it, such as how surely a figure of the paper's is known.
        best: whether it is the best of its column, which is shown in bold.
    """

    text: str
    value: float | None = None
    runs: tuple[str, ...] = ()
    note: str = ""
    best: bool = False

    @property
    def is_empty(self) -> bool:
        return self.text in (UNKNOWN, NOT_REPORTED)


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        name: of its files, such as ``"snli-small"``.
        title: its heading.
        intro: a paragraph above it: which data, which tier, what differs from the paper.
        heads: one for each column.
        rows: of as many cells.
        notes: paragraphs below it.
    """

    name: str
    title: str
    intro: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

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
    return "\n\n".join([f"# {table.title}", table.intro, to_grid(table), *table.notes]) + "\n"


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
