"""The table of claims, claim by claim: what was compared, the verdict beside it, the reasons below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from scripts.cells import Cell, Table
from scripts.report.views import View, view


@dataclass(frozen=True)
class Tested:
    """One claim.

    Attributes:
        text: of the claim.
        reason: why nothing was compared; empty where something was.
        comparisons: a line for each.
    """

    text: str
    reason: str
    comparisons: View


@dataclass(frozen=True)
class Claims:
    """The claims at one tier."""

    table: Table
    tested: Sequence[Tested]

    @property
    def is_mini(self) -> bool:
        return self.table.name.endswith("mini")


def claims(table: Table) -> Claims:
    """A table whose rows begin with a claim and end with a verdict."""
    groups = [(text, list(rows)) for text, rows in groupby(table.rows, key=lambda row: row[0].text)]
    return Claims(table, [_tested(table, text, rows) for text, rows in groups])


def _tested(table: Table, text: str, rows: Sequence[tuple[Cell, ...]]) -> Tested:
    lines = tuple((row[1], _verdict(row[-1]), *row[2:-1]) for row in rows)
    heads = (table.heads[1], table.heads[-1], *table.heads[2:-1])
    is_compared = any(row[-1].runs for row in rows)
    reason = "" if is_compared else "; ".join(row[-1].text for row in rows)
    return Tested(text, reason, view(Table(table.name, text, "", heads, lines)))


def _verdict(cell: Cell) -> Cell:
    """The verdict by itself, its reasons as a note."""
    word, *reasons = re.split(r"[:;] ", cell.text, maxsplit=1)
    notes = [*reasons, *([cell.note] if cell.note else [])]
    return replace(cell, text=word, note="; ".join(notes), best=word == "reproduced")
