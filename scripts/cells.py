"""A table before it has a format: cells that know the runs behind them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says, in plain characters.
        value: what it is sorted by, where that is a number.
        runs: ids of the runs that the figure is made of; none for a label or somebody else's figure.
        note: what has to be known to read it, such as the standing of a recalled figure.
        best: whether it is the best of its column, which is shown in bold.
    """

    text: str
    value: float | None = None
    runs: tuple[str, ...] = ()
    note: str = ""
    best: bool = False


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
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
