"""Strengths chosen for each mapping by trials on dev: `make strengths STUDY=<name> TRIALS_IN=<results>`.

Every mapping has had as many trials as the others. How studies came out is shown by scripts/paper/studies.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

import scripts.runs.config as config
from scripts import cli
from scripts.cli import UsageError
from scripts.paper.selection import grouped, mapping_rank
from scripts.runs.config import leaves
from tasks._registry import TASKS
from tasks.data.files import write_atomically, write_json_atomically
from tasks.training.provenance import SEEDS, SPEED, config_hash
from tasks.training.records import Record, read_records


def choose(records: Sequence[Record]) -> dict[str, Any]:
    """What trials that differ in mapping, strengths and seed alone come to: plain JSON.

    Every mapping has had the same number of settings and of runs. The setting chosen is the best by the
    task's primary metric on dev, on the mean over seeds; of equals the first in order.
    """
    alike = {config_hash(run.config, without=(*SEEDS, *SPEED, "attention")) for run in records}
    corpora = {
        tuple(value for name, value in run.corpus.items() if name.endswith("sha256")) for run in records
    }
    if len(alike) != 1 or len(corpora) != 1:
        raise UsageError(
            f"trials must differ in mapping, strengths and seed alone, got {len(alike)} settings and "
            f"{len(corpora)} corpora in {len(records)} records"
        )
    metric = TASKS[records[0].task].primary_metric.name
    by_mapping = grouped(sorted(records, key=_order), lambda run: run.mapping)
    settings = {
        name: grouped(runs, lambda run: json.dumps(_strengths(run))) for name, runs in by_mapping.items()
    }
    trials = {name: sorted(map(len, found.values())) for name, found in settings.items()}
    if len({tuple(counts) for counts in trials.values()}) != 1:
        shown = ", ".join(f"{name} {sum(counts)}" for name, counts in trials.items())
        raise UsageError(f"mappings must have as many trials as each other, got {shown}")

    def mean(runs: Sequence[Record]) -> float:
        return fmean(run.metrics["dev"][metric] for run in runs)

    return {
        "task": records[0].task,
        "corpus": records[0].corpus,
        "metric": metric,
        "budget": {
            "epochs": records[0].config["trainer"]["epochs"],
            "runs": sum(next(iter(trials.values()))),
        },
        "commits": sorted({run.commit for run in records}),
        "seconds": round(sum(run.seconds["total"] for run in records)),
        "trials": [
            {"mapping": run.mapping, **_strengths(run), "seed": run.seed, "dev": run.metrics["dev"][metric]}
            for run in sorted(records, key=_order)
        ],
        "chosen": {name: _strengths(max(found.values(), key=mean)[0]) for name, found in settings.items()},
    }


def _strengths(run: Record) -> dict[str, Any]:
    """What its config says of the mapping: its strengths, and which of them are learnt, if any."""
    return {
        name: value for name, value in run.config["attention"].items() if name != "_target_" and value != []
    }


def _order(run: Record) -> tuple[tuple[int, str], list[tuple[str, float]], int]:
    return mapping_rank(run.mapping), sorted(run.mapping_params.items()), run.seed


def write(study: str, found: Mapping[str, Any], results: Path) -> list[Path]:
    """Keep a study in ``results``/studies, and what it chose as a set of strengths in configs."""
    summary, folder = results / "studies" / f"{study}.json", config.CONFIGS / "strengths" / study
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(summary, dict(found))
    about = (
        "# @package _global_\n"
        "# For each mapping the strengths in the folder of this name; those of a mapping without a file\n"
        f"# stay as they are. Chosen on dev: results/studies/{study}.json\n"
    )
    texts = {folder.with_suffix(".yaml"): about}
    for mapping, strengths in found["chosen"].items():
        texts[folder / f"{mapping}.yaml"] = "".join(f"{name}: {value}\n" for name, value in strengths.items())
    for path, text in texts.items():
        write_atomically(path, [text.encode()])
    return [summary, *texts]


def main(arguments: Sequence[str]) -> None:
    parser = cli.Parser(prog="make strengths")
    parser.add_argument("--study", type=cli.study_name, required=True)
    parser.add_argument("--trials-in", type=Path, required=True)
    parser.add_argument("only", nargs="*", help="key=value: the trials whose config has this value")
    given = parser.parse_args(arguments)
    wanted = [(key, yaml.safe_load(value)) for key, _, value in (text.partition("=") for text in given.only)]
    records = [
        run
        for run in read_records(given.trials_in / "runs")
        if all(dict(leaves(run.config)).get(key) == value for key, value in wanted)
    ]
    if not records:
        raise UsageError(
            f"TRIALS_IN must be a folder with such trials in runs/, got none in {given.trials_in}"
        )
    found = choose(records)
    for path in write(given.study, found, Path("results")):
        print(path)
    for mapping, strengths in found["chosen"].items():
        print(mapping, " ".join(f"{name}={value}" for name, value in strengths.items()))


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
