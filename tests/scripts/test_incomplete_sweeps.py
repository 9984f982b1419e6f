"""Whatever runs of a sweep are missing, tables and plans tell of those that are there, and of no other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from scripts.paper import selection, table
from scripts.paper.selection import MAPPINGS, Corpus, mapping_label
from scripts.paper.significance import MeanStd
from scripts.runs.plan import Run, list_runs, make_plan
from tasks._registry import TASKS
from tasks.training.records import Record, write_record
from tests.example_record import RECORD

SEEDS = (1, 2, 3, 4)
OTHER = {**RECORD.corpus, "sha256": "2" * 64}


def runs() -> list[Record]:
    """All of a sweep: five mappings, two strengths of one of them, two corpora of one name, four seeds."""
    settings = [(name, {"gamma": 1.0}, RECORD.corpus) for name in MAPPINGS]
    settings += [("fusedmax", {"gamma": 1.0, "lam": 0.5}, RECORD.corpus), ("softmax", {"gamma": 1.0}, OTHER)]
    return [run(name, params, corpus, seed) for name, params, corpus in settings for seed in SEEDS]


def run(mapping: str, params: dict[str, float], corpus: dict[str, Any], seed: int) -> Record:
    """A run whose figures no other one has."""
    chance = random.Random(f"{mapping}{params}{corpus['sha256']}{seed}")
    metrics = {split: {"accuracy": chance.random()} for split in ("dev", "test")}
    return replace(RECORD, mapping=mapping, mapping_params=params, corpus=corpus, seed=seed, metrics=metrics)


Row = tuple[str, str, str, str, str]


def wanted(records: list[Record]) -> list[Row]:
    """Of every setting with a run: corpus, mapping, the seeds that are there, and the means over them."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        strengths = ", ".join(f"{name} {value:g}" for name, value in record.mapping_params.items())
        key = record.corpus["sha256"][:16], f"{record.mapping} ({strengths})"
        groups.setdefault(key, []).append(record)
    return sorted(
        (
            *key,
            ", ".join(str(r.seed) for r in found),
            *(over_seeds(found, split) for split in ("dev", "test")),
        )
        for key, found in groups.items()
    )


def over_seeds(found: list[Record], split: str) -> str:
    values = [100 * record.metrics[split]["accuracy"] for record in found]
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def shown(text: str) -> Iterator[Row]:
    """The rows of a page, each with the corpus that it stands under."""
    corpus = ""
    for line in text.split("\n"):
        if "SHA-256" in line:
            corpus = line.split("SHA-256 ")[1][:16]
        if line.startswith("| ") and not line.startswith(("| mapping", "| ---")):
            mapping, seeds, dev, test, *_ = line.strip("| ").split(" | ")
            yield corpus, mapping, seeds, dev, test


def says_what_is_there(records: list[Record]) -> bool:
    return sorted(shown(table.run_tables(TASKS["snli"], records))) == wanted(records)


def incomplete(n: int) -> Iterator[list[Record]]:
    """Sweeps of which any number of runs are missing, in any order."""
    chance, every = random.Random(0), runs()
    for _ in range(n):
        yield chance.sample(every, chance.randint(1, len(every)))


def test_tables_show_the_runs_that_are_there(measure: Any) -> None:
    row = measure("incomplete sweep")
    for records in incomplete(row.n):
        row.all(says_what_is_there(records), seeds=SEEDS)


# ------------------------------------------------------------------ the plan
@pytest.fixture
def jobs(tmp_path: Path) -> list[Run]:
    return list_runs(["snli"], "mini", (1, 2), [f"results_dir={tmp_path}"])


def test_a_plan_names_every_missing_run_with_its_command(jobs: list[Run], measure: Any) -> None:
    row, chance = measure("incomplete plan"), random.Random(0)
    folder = Path(jobs[0].config["results_dir"]) / "runs"
    for trial in range(row.n):
        for path in folder.glob("*.json"):
            path.unlink()
        done = chance.sample(jobs, chance.randint(0, len(jobs)))
        for job in done:
            write_record(
                folder, replace(RECORD, id=f"{job.job.name}-{trial}", seed=job.seed, config=job.config)
            )
        missing = [planned.run for planned in make_plan(jobs) if planned.record is None]
        told = all(f"seed={job.seed}" in job.command and job.experiment in job.command for job in missing)
        row.all(told and missing == [job for job in jobs if job not in done])


# ------------------------------------------------------------------ planted faults
def last_seed_alone(records: Any) -> dict[str, list[Record]]:
    return {mapping_label(record): [record] for record in sorted(records, key=lambda r: r.seed)}


def strengths_not_told_apart(records: Any) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        found.setdefault(record.mapping, []).append(record)
    return found


def over_all_seeds(values: Any) -> MeanStd:
    """As if those that are missing were 0."""
    return MeanStd(sum(values) / len(SEEDS), len(SEEDS))


def without_checksum(record: Record) -> Corpus:
    return Corpus(record.task, record.corpus["name"], "2" * 64, record.tier)


PLANNED = {**table._COLUMNS, "seeds": ("seeds", lambda records: "1, 2, 3, 4")}
WRONG: dict[str, tuple[Any, str, Any]] = {
    "the last seed alone": (table, "by_label", last_seed_alone),
    "strengths not told apart": (table, "by_label", strengths_not_told_apart),
    "corpora not told apart": (selection, "corpus_of", without_checksum),
    "seeds as they were planned": (table, "_COLUMNS", PLANNED),
    "missing runs counted as 0": (table, "mean_std", over_all_seeds),
}


@pytest.mark.measures("wrong tables")
@pytest.mark.parametrize(("module", "name", "wrong"), WRONG.values(), ids=WRONG)
def test_wrong_table_is_caught(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, wrong: Any) -> None:
    monkeypatch.setattr(module, name, wrong)
    assert not all(says_what_is_there(records) for records in incomplete(20))
