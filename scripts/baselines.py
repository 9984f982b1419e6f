"""What simple systems reach on a corpus, without attention: `make baselines TASK=snli TIER=mini`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scripts import cli
from scripts.paper.reported import Baselines
from scripts.runs.config import TIERS, read_config
from scripts.runs.setup import set_up
from tasks._registry import TASKS, import_object
from tasks.data.files import write_json_atomically
from tasks.training.provenance import commit, file_word, versions


def main(arguments: Sequence[str]) -> None:
    """Compute the baselines of a recipe's corpus, write them to results/baselines, and print them."""
    parser = cli.Parser(prog="python -m scripts.baselines", description=__doc__)
    known = [name for name, task in TASKS.items() if task.baselines]
    parser.add_argument("--task", choices=known, default="snli", help="one that has baselines")
    parser.add_argument("--tier", choices=TIERS, default="mini", help="the recipe is <tier>/<task>")
    parser.add_argument("overrides", nargs="*", help="such as data.root=<folder>")
    given = parser.parse_args(arguments)
    setup = set_up(read_config([f"experiment={given.tier}/{given.task}", *given.overrides]))
    scores = import_object(TASKS[given.task].baselines)(setup.task)
    corpus, tests = setup.task.corpus, setup.task.corpus.test_splits
    # Where files lie is nobody else's business.
    shown = ["data.root=…" if text.startswith("data.root=") else text for text in given.overrides]
    more = f" ARGS={shlex.quote(' '.join(shown))}" if shown else ""
    found = Baselines(
        task=given.task,
        tier=given.tier,
        corpus={"name": corpus.name, "sha256": corpus.sha256, "sizes": corpus.sizes},
        scores=scores,
        signatures={split: setup.task.signatures.get(split, {}) for split in tests},
        commit=commit(),
        command=f"make baselines TASK={given.task} TIER={given.tier}{more}",
        versions=versions(),
    )
    path = Path(setup.config.results_dir) / "baselines" / f"{given.task}-{file_word(corpus.name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, asdict(found))
    for name, of in scores.items():
        figures = (f"{split} {metric} {value:.4g}" for split, m in of.items() for metric, value in m.items())
        print(f"{name}: {', '.join(figures)}")
    print(path)


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
