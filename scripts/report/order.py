"""The order in which the page speaks of runs: the paper's tier first, mini last; the rest as in the paper."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.columns import mapping_rank
from scripts.tables import Corpus, by_mapping, by_setting
from tasks.training.records import Record

TASKS, TIERS = ("snli", "gigaword", "translation"), ("paper", "small", "mini")


def in_order(records: Sequence[Record]) -> list[tuple[str, str, dict[str, list[Record]]]]:
    """Runs with one corpus, tier and setting: title, setting, and the runs of each mapping by its label."""
    found = by_setting(records)
    return [
        (_title(corpus), setting, _rows(runs))
        for corpus in sorted(found, key=_rank)
        for (setting, _), runs in found[corpus].items()
    ]


def place(order: Sequence[str], name: str) -> int:
    """Where a name stands; what is not in the order comes last."""
    return order.index(name) if name in order else len(order)


def _rank(corpus: Corpus) -> tuple[int, int, Corpus]:
    return place(TIERS, corpus[3]), place(TASKS, corpus[0]), corpus


def _title(corpus: Corpus) -> str:
    task, name, _, tier = corpus
    return f"{task} on {name}, tier {tier}"


def _rows(records: Sequence[Record]) -> dict[str, list[Record]]:
    rows = by_mapping(records)
    return dict(sorted(rows.items(), key=lambda row: mapping_rank(row[1][0].mapping)))
