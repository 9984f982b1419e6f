"""A table as the page shows it: where each figure leads, and notes under numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from scripts.cells import Cell, Table
from scripts.columns import UNKNOWN
from scripts.comparing.paper import MARKS
from scripts.report.histories import anchor

_TOLD = ("the paper's, ", "not known")
_NO_FIGURE = (UNKNOWN, MARKS["unknown"])
_SENTENCE = 40  # characters from which a cell is broken into lines


@dataclass(frozen=True)
class Shown:
    """A cell.

    Attributes:
        text: what it says.
        sort: what it is sorted by; nothing for what comes last.
        href: where its runs stand; nothing for a cell without runs.
        note: what is known of it alone.
        mark: number of the note that it shares with others, or 0.
        is_number: whether it stands at the right.
        is_best: whether it is shown in bold.
        is_again: whether it says at the head of a row what the row above says, too.
    """

    text: str
    sort: str
    href: str
    note: str
    mark: int
    is_number: bool
    is_best: bool
    is_again: bool = False


@dataclass(frozen=True)
class View:
    """A table.

    Attributes:
        table: as it was made.
        groups: heads that several columns share, each with how many; none where there is nothing to share.
        heads: of columns, each with whether it holds numbers.
        rows: of cells.
        footnotes: notes that several cells share, by the numbers of the marks, from 1.
        remarks: notes on one cell alone, each with the row and column that it is about.
        is_wordy: whether there are sentences in it.
    """

    table: Table
    groups: Sequence[tuple[str, int]]
    heads: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Shown]]
    footnotes: Sequence[str]
    remarks: Sequence[tuple[str, str]]
    is_wordy: bool

    @property
    def is_mini(self) -> bool:
        return self.table.name.endswith("mini")


def view(table: Table) -> View:
    """The table with the notes that cells share numbered in the order in which they are read."""
    notes = Counter(cell.note for row in table.rows for cell in row if not _is_told(cell))
    shared = [note for note, count in notes.items() if count > 1]
    numbers = {note: number for number, note in enumerate(shared, 1)}
    numeric = [_is_numeric(table, column) for column in range(len(table.heads))]
    rows = [
        [_shown(cell, numbers, is_number) for cell, is_number in zip(row, numeric, strict=True)]
        for row in table.rows
    ]
    for above, row in pairwise(rows):
        row[0] = replace(row[0], is_again=row[0].text == above[0].text)
    remarks = [
        (f"{row[0].text}, {head}", cell.note)
        for row in table.rows
        for head, cell in zip(table.heads, row, strict=True)
        if notes[cell.note] == 1 and not _is_told(cell)
    ]
    is_wordy = any(len(cell.text) > _SENTENCE for row in table.rows for cell in row)
    groups, names = _grouped(table.heads)
    heads = list(zip(map(_unbroken, names), numeric, strict=True))
    return View(table, groups, heads, rows, shared, remarks, is_wordy)


def _is_told(cell: Cell) -> bool:
    """Whether a note says nothing that the mark on the figure does not."""
    return not cell.note or cell.note.startswith(_TOLD)


def _grouped(heads: Sequence[str]) -> tuple[list[tuple[str, int]], list[str]]:
    """What heads have before a colon, where neighbours share it, with their number; and the rest of them.

    Example:
        >>> _grouped(["mapping", "paper: R-1", "paper: R-2", "ours: R-1"])
        ([('', 1), ('paper', 2), ('ours', 1)], ['mapping', 'R-1', 'R-2', 'R-1'])
        >>> _grouped(["mapping", "speed"])
        ([], ['mapping', 'speed'])
    """
    parts = [head.partition(": ") for head in heads]
    if not any(colon for _, colon, _ in parts):
        return [], list(heads)
    groups: list[tuple[str, int]] = []
    for before, colon, _ in parts:
        name = before if colon else ""
        if groups and name and groups[-1][0] == name:
            groups[-1] = name, groups[-1][1] + 1
        else:
            groups.append((name, 1))
    return groups, [after if colon else before for before, colon, after in parts]


def _unbroken(head: str) -> str:
    """With hyphens that no line is broken at."""
    return head.replace("-", "\N{NON-BREAKING HYPHEN}")


def _is_numeric(table: Table, column: int) -> bool:
    """Whether a column holds short figures, and dashes where there are none."""
    cells = [row[column] for row in table.rows]
    known = [cell.value is not None or cell.text in _NO_FIGURE for cell in cells]
    return column > 0 and all(known) and all(len(cell.text) < 24 for cell in cells)


def _shown(cell: Cell, numbers: dict[str, int], is_number: bool) -> Shown:
    sort, mark = "" if cell.value is None else repr(cell.value), numbers.get(cell.note, 0)
    return Shown(cell.text, sort, anchor(cell.runs), "" if mark else cell.note, mark, is_number, cell.best)
