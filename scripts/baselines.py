"""What can be guessed of an entailment corpus without attention: `make baselines DATA=mini`."""

from __future__ import annotations

import json
import sys

from hydra.utils import instantiate

from scripts import cli
from tasks.entailment.baselines import baseline_accuracies


def baselines(overrides: list[str]) -> None:
    """Print the test accuracies of a hypothesis-only and of a bag-of-words model, corpus included."""
    config = cli.read_config(overrides)
    corpus = instantiate(config.data, _convert_="all")
    source = {"name": corpus.name, "sha256": corpus.sha256, "sizes": corpus.sizes}
    print(json.dumps({"corpus": source, "test": baseline_accuracies(corpus, seed=config.seed)}, indent=2))


if __name__ == "__main__":
    cli.main(lambda: baselines(sys.argv[1:]))
