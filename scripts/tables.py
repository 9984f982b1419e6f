"""Markdown tables from the records of finished runs: `make tables`.

A table is of one corpus, told apart by its checksum, and of one tier: figures of different data never
share a table, whatever the corpora are called.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scripts import cli
from tasks.training.atomic import write_atomically
from tasks.training.records import Record, read_records

RESULTS = Path("results")
COLUMNS = ("setting", "mapping", "seeds", "dev", "test", "best epoch", "s / epoch", "in the mapping")


def corpus_key(record: Record) -> tuple[str, str, str, str]:
    """What a table is about."""
    return record.task, record.corpus["name"], record.corpus["sha256"], record.tier


def setting(record: Record) -> str:
    """What was chosen of the model and its training, apart from mapping and seed."""
    config = record.config
    task, optim = config["task"], config["optim"]
    vectors = "trained" if task["train_vectors"] else "frozen"
    penalty = f", ℓ2 {optim['weight_decay']:g}" if optim["weight_decay"] else ""
    return (
        f"{vectors} vectors, hidden {task['hidden_size']}, batch {task['batch_size']}, "
        f"lr {optim['lr']:g}{penalty}, dropout {task['dropout']:g}, {config['trainer']['epochs']} epochs"
    )


def _mapping(record: Record) -> str:
    strengths = ", ".join(f"{name} {value:g}" for name, value in record.mapping_params.items())
    return f"{record.mapping} ({strengths})"


def _spread(values: Sequence[float], scale: float, digits: int) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    text = f"{scale * mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {scale * stdev(values):.{digits}f}"


def _row(records: Sequence[Record]) -> list[str]:
    def accuracy(split: str) -> str:
        return _spread([r.metrics[split]["accuracy"] for r in records], 100, 2)

    return [
        setting(records[0]),
        _mapping(records[0]),
        ", ".join(str(r.seed) for r in records),
        accuracy("dev"),
        accuracy("test"),
        ", ".join(str(r.best_epoch) for r in records),
        _spread([r.seconds["per_epoch"] for r in records], 1, 1),
        _spread([r.seconds["mapping_share"] for r in records], 100, 1) + " %",
    ]


def table(records: Sequence[Record]) -> str:
    """One row for each setting and mapping; accuracy in %, mean ± standard deviation over the seeds."""
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.seed):
        cells[setting(record), _mapping(record)].append(record)
    rows: list[Sequence[str]] = [COLUMNS, ["---"] * len(COLUMNS)]
    rows += [_row(found) for _, found in sorted(cells.items())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def tables(records: Sequence[Record]) -> str:
    """All tables, each under the corpus and tier that it is of."""
    by_corpus: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_corpus[corpus_key(record)].append(record)
    parts = ["# Results\n\nAccuracy in %. Derived from results/runs by `make tables`; not written by hand."]
    for (task, corpus, sha256, tier), found in sorted(by_corpus.items()):
        sizes: Any = json.dumps(found[0].corpus["sizes"]).strip("{}").replace('"', "")
        head = f"## {task} on {corpus}, tier {tier}\n\nSHA-256 {sha256[:16]}…; pairs: {sizes}."
        parts.append(f"{head}\n\n{table(found)}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write results/tables/accuracy.md and print it."""
    text = tables(read_records(RESULTS / "runs"))
    path = RESULTS / "tables" / "accuracy.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [text.encode()])
    print(text)


if __name__ == "__main__":
    cli.main(main)
