"""Whatever runs of a sweep are missing, tables and plans tell of those that are there, and of no other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from scripts.paper import selection, table, tables
from scripts.paper.reported import read_paper
from scripts.paper.selection import MAPPINGS, recipes_of
from scripts.paper.significance import MeanStd
from scripts.paper.table import Cell
from scripts.paper.tables import score_table
from scripts.reproduce import Run, list_runs, make_plan
from tasks.training.records import Record, write_record
from tests.example_record import RECORD

SEEDS = (1, 2, 3, 4)
TABLE = read_paper().tables["snli"]


def runs() -> list[Record]:
    """All of a sweep: five mappings, two strengths of one of them, in recipes of their own, four seeds."""
    settings = [(name, "small/snli", {"gamma": 1.0}) for name in MAPPINGS]
    settings.append(("fusedmax", "small/snli_tuned", {"gamma": 1.0, "lam": 0.5}))
    return [run(*setting, seed) for setting in settings for seed in SEEDS]


def run(mapping: str, recipe: str, params: dict[str, float], seed: int) -> Record:
    """A run whose figures no other one has."""
    metrics = {"test": {"accuracy": random.Random(f"{mapping}{params}{seed}").random()}}
    return replace(
        RECORD, experiment=recipe, mapping=mapping, mapping_params=params, seed=seed, metrics=metrics
    )


Row = tuple[str, str, str, str]


def wanted(records: list[Record]) -> list[Row]:
    """Of every cell with a run: recipe, mapping, the mean over the seeds that are there, and these."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        groups.setdefault((record.experiment.removeprefix("small/"), record.mapping), []).append(record)
    return sorted(
        (*key, over_seeds(found), ", ".join(str(r.seed) for r in found)) for key, found in groups.items()
    )


def over_seeds(found: list[Record]) -> str:
    values = [100 * record.metrics["test"]["accuracy"] for record in found]
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def shown(records: list[Record]) -> Iterator[Row]:
    """The rows of the table that have a figure of ours."""
    table = score_table("snli", TABLE, "small", recipes_of(records, "snli", "small"))
    for mapping, recipe, *_, score, seeds in table.rows:
        if score.runs:
            yield recipe.text, mapping.text, score.text, listed(seeds.text)


def listed(seeds: str) -> str:
    """Seeds one by one, "1, 2, 3, 5" for "1–3, 5"."""
    ends = [list(map(int, part.split("–"))) for part in seeds.split(", ")]
    return ", ".join(str(seed) for end in ends for seed in range(end[0], end[-1] + 1))


def says_what_is_there(records: list[Record]) -> bool:
    return sorted(shown(records)) == wanted(records)


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
    return {record.mapping: [record] for record in sorted(records, key=lambda r: r.seed)}


def over_all_seeds(values: Any) -> MeanStd:
    """As if those that are missing were 0."""
    return MeanStd(sum(values) / len(SEEDS), len(SEEDS))


def recipes_not_told_apart(records: Any, recipe: str, tier: str) -> Any:
    return selection.by_mapping(records)


WRONG: dict[str, tuple[Any, str, Any]] = {
    "the last seed alone": (selection, "by_mapping", last_seed_alone),
    "recipes not told apart": (selection, "rows_of", recipes_not_told_apart),
    "seeds as they were planned": (tables, "seeds_cell", lambda records: Cell("1–4")),
    "missing runs counted as 0": (table, "mean_std", over_all_seeds),
}


@pytest.mark.measures("wrong tables")
@pytest.mark.parametrize(("module", "name", "wrong"), WRONG.values(), ids=WRONG)
def test_wrong_table_is_caught(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, wrong: Any) -> None:
    monkeypatch.setattr(module, name, wrong)
    assert not all(says_what_is_there(records) for records in incomplete(20))
