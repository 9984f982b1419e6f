"""Every run of a task in Markdown, those that differ in their seeds alone in one row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from scripts.markdown import markdown
from scripts.paper.selection import Corpus, Runs, by_label, by_setting, mapping_label, sizes_of
from scripts.paper.significance import mean_std
from scripts.paper.table import UNKNOWN
from tasks._registry import (
    BEST_EPOCH,
    EPOCH_SECONDS,
    EPOCHS,
    MAPPING_SHARE,
    TOKENS_PER_SECOND,
    Column,
    Group,
    TaskSpec,
    measure,
)
from tasks.training.records import Record, RecordError

_ROOM = 10  # columns of a table that GitHub shows without scrolling
_FIXED = ("mapping", "seeds")


def _listed(name: str) -> Callable[[Runs], str]:
    return lambda runs: ", ".join(str(getattr(run, name)) for run in runs)


# Of time the least disturbed run: a shared machine only ever adds to it.
_COLUMNS: dict[str, tuple[str, Callable[[Runs], str]]] = {
    "mapping": ("mapping", lambda runs: mapping_label(runs[0])),
    "seeds": ("seeds", _listed("seed")),
    BEST_EPOCH: ("best epoch", _listed("best_epoch")),
    EPOCHS: ("epochs", _listed("epochs")),
    EPOCH_SECONDS: ("s / epoch, fastest", lambda runs: f"{min(r.seconds['per_epoch'] for r in runs):.1f}"),
    TOKENS_PER_SECOND: ("tokens / s, fastest", lambda runs: f"{max(r.tokens_per_second for r in runs):,.0f}"),
    MAPPING_SHARE: (
        "time in the mapping",
        lambda runs: mean_std([100 * r.seconds["mapping_share"] for r in runs]).text(1),
    ),
}


def run_tables(task: TaskSpec, records: Runs) -> str:
    """All tables of a task, each under the corpus and tier that it is of.

    Raises:
        RecordError: records cannot be shown.
    """
    parts = [
        f"# {task.title}",
        f"{task.units} Derived from results/runs by `make tables`; not written by hand.",
    ]
    for corpus, settings in groupby(by_setting(records), key=lambda found: found[0]):
        for number, (_, setting, runs) in enumerate(settings):
            parts += [] if number else _corpus(corpus, runs[0])
            parts += [f"### {setting.line}", *_tables(task, runs), *setting.notes]
    return "\n\n".join(parts) + "\n"


def _corpus(corpus: Corpus, record: Record) -> list[str]:
    return [f"## {corpus.title}", f"{sizes_of(record)}, SHA-256 {corpus.sha256[:16]}…"]


def _tables(task: TaskSpec, runs: Runs) -> Iterator[str]:
    """One row for each mapping, mean ± standard deviation over the seeds; as many tables as it takes."""
    first, rows = runs[0], list(by_label(runs).values())
    _check_measured(task, first)
    for part in task.parts:
        groups = [
            [column for column in group if any(_text(column, row) for row in rows)]
            for group in part.columns(first.test_splits, first.signatures)
        ]
        tables = _fitting([group for group in groups if group], _ROOM - len(_FIXED))
        if tables and part.title:
            yield f"#### {part.title.format(split=first.test_splits[0])}"
        for columns in tables:
            shown = (*_FIXED, *columns)
            yield markdown(map(_head, shown), ([_text(c, row) or UNKNOWN for c in shown] for row in rows))


def _head(column: Column | str) -> str:
    return _COLUMNS[column][0] if isinstance(column, str) else column.label


def _text(column: Column | str, runs: Runs) -> str:
    """What a column says of the runs of one mapping; nothing where not all of them know it."""
    if isinstance(column, str):
        return _COLUMNS[column][1](runs)
    values = [run.metrics.get(column.split, {}).get(column.metric) for run in runs]
    known = [column.scale * value for value in values if value is not None]
    return mean_std(known).text(column.digits) if len(known) == len(runs) else ""


def _fitting(groups: Sequence[Group | list[Column | str]], room: int) -> list[list[Column | str]]:
    """The columns in tables with ``room`` for so many, groups broken only where one alone does not fit."""
    tables: list[list[Column | str]] = []
    for group in groups:
        for number, column in enumerate(group):
            needed = min(len(group) if number == 0 else 1, room)
            if not tables or len(tables[-1]) + needed > room:
                tables.append([])
            tables[-1].append(column)
    return tables


def _check_measured(task: TaskSpec, record: Record) -> None:
    """Refuse a record whose signatures do not say which part of the tables its scores belong to."""
    known = [part.signature for part in task.parts if part.signature]
    for kind in dict.fromkeys(kind for kind, _ in known):
        ways = [way for other, way in known if other == kind]
        for split in record.metrics:
            if measure(record.signatures, split, kind) not in ways:
                raise RecordError(
                    f"{record.id} must say how {kind.upper()} of {split} was measured, {' or '.join(ways)}, "
                    f"got {record.signatures.get(split, {}).get(kind, '')!r}"
                )
