"""Which runs belong to which cell of the paper's tables: those of its experiment, whatever their seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from scripts.columns import MAPPINGS, mapping_rank
from tasks.training.provenance import PACE, SEEDS, config_hash
from tasks.training.records import Record, RecordError

Runs = Sequence[Record]
Row = Mapping[str, Runs]
"""Mapping → its runs, by seed; only mappings that have any, in the paper's order."""


def records_of_cell(records: Runs, experiment: str) -> list[Record]:
    """The runs of a cell, of ``records`` of one mapping: one for each seed, if it can be one with details.

    Raises:
        RecordError: they differ in their corpora.
    """
    found = [record for record in records if record.experiment == experiment]
    _check_one_corpus(found)
    by_seed: dict[int, Record] = {}
    for record in sorted(found, key=lambda r: (not r.details, r.id)):
        by_seed.setdefault(record.seed, record)
    return [by_seed[seed] for seed in sorted(by_seed)]


def by_recipe(records: Runs) -> list[dict[str, list[Record]]]:
    """Rows of runs that differ in mapping and seed alone, sorted by corpus."""
    found: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        recipe = config_hash(record.config, without=(*SEEDS, *PACE, "attention"))
        found[record.corpus["name"], record.corpus["sha256"], recipe].append(record)
    return [_by_mapping(runs) for _, runs in sorted(found.items())]


def _by_mapping(records: Runs) -> dict[str, list[Record]]:
    row: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (mapping_rank(r.mapping), r.seed)):
        row[record.mapping].append(record)
    return dict(row)


def row_of(records: Runs, task: str, tier: str) -> dict[str, list[Record]]:
    """The runs of a task's cells at a tier, by mapping.

    Raises:
        RecordError: they differ in their corpora.
    """
    row = {}
    for mapping in MAPPINGS:
        mine = [record for record in records if record.mapping == mapping]
        if found := records_of_cell(mine, f"{tier}/{task}"):
            row[mapping] = found
    _check_one_corpus([record for runs in row.values() for record in runs])
    return row


def _check_one_corpus(records: Runs) -> None:
    corpora = {record.corpus["sha256"]: record.id for record in records}
    if len(corpora) > 1:
        raise RecordError(
            f"the cells of a table want one corpus, got those of {' and '.join(corpora.values())}; "
            f"move away the records of one"
        )
