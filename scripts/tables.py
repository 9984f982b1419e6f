"""Markdown tables from the records of finished runs: `make tables`.

A table is of one corpus, told apart by its checksum, and of one tier: figures of different data never
share a table, whatever the corpora are called.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from scripts import cli
from scripts.markdown import markdown
from tasks.training.atomic import write_atomically
from tasks.training.records import Record, read_records

Corpus = tuple[str, str, str, str]
RESULTS = Path("results")
MEASURES = {  # metric: its column
    "accuracy": "accuracy",
    "zero_share": "zero weights",
    "evidence_mass": "weight on the evidence",
}


def corpus_key(record: Record) -> Corpus:
    """What a table is about."""
    return record.task, record.corpus["name"], record.corpus["sha256"], record.tier


def setting(record: Record) -> str:
    """What was chosen of the model and its training, apart from mapping and seed."""
    config = record.config
    task, optim = config["task"], config["optim"]
    vectors = "trained" if task["train_vectors"] else "frozen"
    penalty = f", ℓ2 {optim['weight_decay']:g}" if optim.get("weight_decay") else ""
    return (
        f"{vectors} vectors, hidden {task['hidden_size']}, batch {task['batch_size']}, "
        f"lr {optim['lr']:g}{penalty}, dropout {task['dropout']:g}, {config['trainer']['epochs']} epochs"
    )


def _mapping(record: Record) -> str:
    strengths = ", ".join(f"{name} {value:g}" for name, value in record.mapping_params.items())
    return f"{record.mapping} ({strengths})"


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _row(records: Sequence[Record]) -> dict[str, str]:
    """What a table says of the runs of one mapping under one setting, by column."""

    def percent(split: str, metric: str) -> str:
        return _spread([100 * r.metrics[split][metric] for r in records], 2 if metric == "accuracy" else 1)

    test = {name: percent("test", key) for key, name in MEASURES.items() if key in records[0].metrics["test"]}
    return {
        "mapping": _mapping(records[0]),
        "seeds": _listed([r.seed for r in records]),
        "dev accuracy": percent("dev", "accuracy"),
        **{f"test {name}" if name == "accuracy" else name: value for name, value in test.items()},
        "best epoch": _listed([r.best_epoch for r in records]),
        # the least disturbed run: a shared machine only ever adds time
        "s / epoch, fastest": f"{min(r.seconds['per_epoch'] for r in records):.1f}",
        "time in the mapping": _spread([100 * r.seconds["mapping_share"] for r in records], 1),
    }


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def table(records: Sequence[Record]) -> str:
    """One row for each mapping; shares in %, mean ± standard deviation over the seeds."""
    cells: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.seed):
        cells[_mapping(record)].append(record)
    rows = [_row(found) for _, found in sorted(cells.items())]
    return markdown(rows[0], (row.values() for row in rows))


def tables(records: Sequence[Record]) -> str:
    """All tables, each under the corpus and tier that it is of."""
    by_corpus: dict[Corpus, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_corpus[corpus_key(record)][setting(record)].append(record)
    parts = ["# Results", "Shares in %. Derived from results/runs by `make tables`; not written by hand."]
    for (task, corpus, sha256, tier), settings in sorted(by_corpus.items()):
        sizes = next(iter(settings.values()))[0].corpus["sizes"].items()
        pairs = ", ".join(f"{count:,} {split}" for split, count in sizes)
        parts += [f"## {task} on {corpus}, tier {tier}", f"{pairs} pairs, SHA-256 {sha256[:16]}…"]
        for chosen, found in sorted(settings.items()):
            parts += [f"### {chosen}", table(found)]
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
