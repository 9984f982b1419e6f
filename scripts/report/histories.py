"""Every run behind the page's figures, and where on the page it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scripts.cells import Table
from scripts.report.order import in_order
from tasks.training.records import Record


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone."""

    anchor: str
    title: str
    runs: Sequence[Record]


@dataclass(frozen=True)
class Chapter:
    """The runs of one corpus, tier and setting."""

    title: str
    setting: str
    groups: Sequence[Group]


@dataclass(frozen=True)
class Collection:
    """Runs of several groups behind one figure, such as a comparison."""

    anchor: str
    runs: Sequence[str]


def chapters(records: Sequence[Record]) -> list[Chapter]:
    """All runs in order."""
    return [Chapter(title, setting, _groups(rows)) for title, setting, rows in in_order(records)]


def _groups(rows: Mapping[str, Sequence[Record]]) -> list[Group]:
    return [Group(anchor([run.id for run in runs]), label, runs) for label, runs in rows.items()]


def collections(tables: Iterable[Table], chapters: Iterable[Chapter]) -> list[Collection]:
    """The runs of every figure that is made of others than one run or one group."""
    known = {group.anchor for chapter in chapters for group in chapter.groups}
    found = {}
    for table in tables:
        for cell in (cell for row in table.rows for cell in row):
            place = anchor(cell.runs)
            if len(set(cell.runs)) > 1 and place not in known:
                found[place] = Collection(place, sorted(set(cell.runs)))
    return list(found.values())


def anchor(runs: Iterable[str]) -> str:
    """Where on the page the runs of a figure stand; nowhere for a figure without runs.

    Example:
        >>> anchor(["a"]), anchor(["a", "b"]) == anchor(["b", "a", "b"]), anchor([])
        ('run-a', True, '')
    """
    ids = sorted(set(runs))
    if len(ids) < 2:
        return f"run-{ids[0]}" if ids else ""
    return f"runs-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"
