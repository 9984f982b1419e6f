"""Evaluate a trained run again, on its dev and test sets: `make evaluate RUN=snli-fusedmax-mini-s1-…`.

Its record has to say the same; one of an earlier version is given what it could not know yet, and details
that are missing or damaged are written again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import cli
from scripts.runs.setup import load_best, open_run, set_up
from tasks.training.records import complete_results


def evaluate(run_name: str, overrides: Sequence[str] = ()) -> None:
    """Print the metrics of the run's best weights as JSON, corpus included."""
    run, config = open_run(run_name, overrides)
    setup = set_up(config)
    load_best(setup, run)
    task, corpus = setup.task, setup.task.corpus
    splits = ("dev", *corpus.test_splits)
    metrics = {split: task.evaluate(split, items=setup.trainer.items(split)) for split in splits}
    about = {"id": run.path.name, "corpus": {"name": corpus.name, "sha256": corpus.sha256}}
    print(json.dumps({**about, "metrics": metrics}, indent=2))
    complete_results(
        Path(setup.config.results_dir), run.path.name, metrics, lambda: setup.details(task.example())
    )


if __name__ == "__main__":
    cli.main(lambda: evaluate("".join(sys.argv[1:2]), sys.argv[2:]))
