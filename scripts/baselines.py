"""What can be guessed of an entailment corpus without attention: `make baselines DATA=mini`."""

from __future__ import annotations

import json
import sys

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import read_config
from scripts.runs.setup import load_corpus
from tasks.entailment.baselines import baseline_accuracies


def baselines(overrides: list[str]) -> None:
    """Print the test accuracies of a hypothesis-only and of a bag-of-words model, corpus included."""
    config = read_config(overrides)
    if config.task_name != "snli":
        raise UsageError(f"baselines must get TASK=snli, the one task that has them, got {config.task_name}")
    corpus, _ = load_corpus(config.data)
    source = {"name": corpus.name, "sha256": corpus.sha256, "sizes": corpus.sizes}
    print(json.dumps({"corpus": source, "test": baseline_accuracies(corpus, seed=config.seed)}, indent=2))


if __name__ == "__main__":
    cli.main(lambda: baselines(sys.argv[1:]))
