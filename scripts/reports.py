"""How the results of each task are shown: its file, its settings, its columns, its curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.columns import BEST_EPOCH, EPOCH_SECONDS, EPOCHS, MAPPING_SHARE, TOKENS, Column, metric, percent
from scripts.runs.config import leaves
from tasks.training.records import Record, RecordError

Kind = Sequence[Column]
_ELSEWHERE = frozenset({"trainer.checkpoint_every", "trainer.device", "trainer.seed", "trainer.threads"})
_MEASURES = {"f1": "F1", "recall": "recall"}  # as the signatures of ROUGE begin
ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


@dataclass(frozen=True)
class Part:
    """Columns that belong together.

    Attributes:
        title: what stands above them; the only part of a report needs none.
        kinds: groups of columns, which share a table as far as it has room.
    """

    title: str
    kinds: Sequence[Kind]


@dataclass(frozen=True)
class Headline:
    """The metric of a learning curve: its name, what it is called, and what makes it one of 0 to 100."""

    metric: str
    label: str
    scale: float = 1


@dataclass(frozen=True)
class Report:
    """How the runs of a task are shown.

    Attributes:
        file: name of the tables' file.
        title: its heading.
        units: a sentence on the numbers.
        headline: the metric of its learning curves.
        setting: what was chosen of the model and its training, apart from mapping and seed, in one line.
        notes: paragraphs below the tables; runs that differ in them or in the setting share no table.
        parts: the columns for runs like this one.
    """

    file: str
    title: str
    units: str
    headline: Headline
    setting: Callable[[Record], str]
    notes: Callable[[Record], Sequence[str]]
    parts: Callable[[Record], Sequence[Part]]


def _entailment_setting(record: Record) -> str:
    config = record.config
    task, optim = config["task"], config["optim"]
    vectors = "trained" if task["train_vectors"] else "frozen"
    penalty = f", ℓ2 {optim['weight_decay']:g}" if optim.get("weight_decay") else ""
    return (
        f"{vectors} vectors, hidden {task['hidden_size']}, batch {task['batch_size']}, "
        f"lr {optim['lr']:g}{penalty}, dropout {task['dropout']:g}, {config['trainer']['epochs']} epochs"
    )


def _entailment_parts(record: Record) -> list[Part]:
    columns = [
        percent("dev accuracy", "dev", "accuracy", 2),
        percent("test accuracy", "test", "accuracy", 2),
        percent("zero weights", "test", "zero_share"),
        percent("weight on the evidence", "test", "evidence_mass"),
        BEST_EPOCH,
        EPOCH_SECONDS,
        MAPPING_SHARE,
    ]
    return [Part("", [columns])]


def _seq2seq_setting(record: Record) -> str:
    config = record.config
    task, optim = config["task"], config["optim"]
    text, model, batches = task["text"], task["model"], task["batches"]
    direction = "bidirectional " if model["bidirectional"] else ""
    feeding = ", input feeding" if model["input_feed"] else ""
    chosen = [
        f"up to {text['vocab_size']:,} {text['tokenizer']}",
        f"{model['layers']}-layer {direction}{model['cell']} {model['hidden_size']}{feeding}",
        f"batch {batches['size']} {batches['count']}",
        f"{optim['_target_'].rpartition('.')[2]} lr {optim['lr']:g}",
        f"dropout {model['dropout']:g}",
        f"{config['trainer']['epochs']} epochs",
        f"beam {task['search']['beam_size']}",
    ]
    return ", ".join(chosen)


def _seq2seq_notes(record: Record) -> list[str]:
    """Signatures, and every value of the config: settings differ in more than fits a heading."""
    return [*_signatures(record.signatures), _details(record.config)]


def _signatures(signatures: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One paragraph of all signatures, each with the splits that it holds for."""
    splits: dict[tuple[str, str], list[str]] = {}
    for split, of in signatures.items():
        for name, signature in of.items():
            splits.setdefault((name, signature), []).append(split)
    lines = [f"{name} (`{signature}`) of {', '.join(of)}" for (name, signature), of in splits.items()]
    return [f"Signatures: {'; '.join(lines)}."] if lines else []


def _details(config: Mapping[str, Any]) -> str:
    values = dict(leaves({section: config[section] for section in ("task", "optim", "trainer")}))
    lines = ", ".join(f"`{key}={value}`" for key, value in values.items() if key not in _ELSEWHERE)
    return f"<details><summary>all settings</summary>\n\n{lines}\n\n</details>"


def _training() -> list[Column]:
    return [BEST_EPOCH, EPOCHS, EPOCH_SECONDS, TOKENS, MAPPING_SHARE]


def _attention(record: Record) -> Part:
    """What the attention over the first test set looks like."""
    split = record.test_splits[0]
    columns = [
        percent("zero weights", split, "zero_share"),
        *(
            metric(name.replace("_", " "), split, name, 2)
            for name in ("support_runs", "segments", "segment_length", "groups", "group_size", "entropy")
        ),
    ]
    return Part(f"Attention on {split}", [columns])


def _translation_parts(record: Record) -> list[Part]:
    tests = record.test_splits
    alignment = [
        [
            percent(f"{split} AER", split, "aer"),
            percent(f"{split} precision", split, "alignment_precision"),
            percent(f"{split} recall", split, "alignment_recall"),
        ]
        for split in tests
    ]
    bleu = [metric("dev BLEU, greedy", "dev", "bleu", 2)]
    bleu += [metric(f"{split} BLEU", split, "bleu", 2) for split in tests]
    chrf = [metric(f"{split} chrF", split, "chrf", 2) for split in tests]
    perplexity = [metric(f"{split} perplexity", split, "perplexity", 2) for split in tests]
    return [
        Part("Translations", [bleu, chrf]),
        Part("Likelihood and training", [perplexity, _training()]),
        _attention(record),
        Part("Attention as word alignment", alignment),
    ]


def _summarization_parts(record: Record) -> list[Part]:
    by_measure: dict[str, list[Kind]] = {}
    for split in record.metrics:
        measure = _rouge_measure(record, split)
        greedy = ", greedy" if split == "dev" else ""
        columns = [metric(f"{split} {label}{greedy}", split, name, 2) for name, label in ROUGE.items()]
        by_measure.setdefault(measure, []).append(columns)
    perplexity = [metric(f"{split} perplexity", split, "perplexity", 2) for split in record.test_splits]
    return [
        *(Part(f"Headlines, {measure}", kinds) for measure, kinds in by_measure.items()),
        Part("Likelihood and training", [perplexity, _training()]),
        _attention(record),
    ]


def _rouge_measure(record: Record, split: str) -> str:
    signature = record.signatures.get(split, {}).get("rouge", "")
    measure = signature.partition("|")[0]
    if measure not in _MEASURES:
        raise RecordError(
            f"{record.id} must say how ROUGE of {split} was measured, {' or '.join(_MEASURES)}, "
            f"got {signature!r}"
        )
    return _MEASURES[measure]


REPORTS = {  # by the task of a record
    "snli": Report(
        file="accuracy.md",
        title="Results",
        units="Shares in %.",
        headline=Headline("accuracy", "accuracy, %", 100),
        setting=_entailment_setting,
        notes=lambda record: (),
        parts=_entailment_parts,
    ),
    "translation": Report(
        file="translation.md",
        title="Translation",
        units="Scores 0 to 100, shares in %, entropy in nats.",
        headline=Headline("bleu", "BLEU, greedy"),
        setting=_seq2seq_setting,
        notes=_seq2seq_notes,
        parts=_translation_parts,
    ),
    "gigaword": Report(
        file="gigaword.md",
        title="Summarization",
        units="Scores 0 to 100, shares in %, entropy in nats.",
        headline=Headline("rougeL", "ROUGE-L, greedy"),
        setting=_seq2seq_setting,
        notes=_seq2seq_notes,
        parts=_summarization_parts,
    ),
}


def report_of(record: Record) -> Report:
    """How the record's task is shown.

    Raises:
        RecordError: nobody has said how.
    """
    if record.task not in REPORTS:
        raise RecordError(f"{record.id} must be of the task {', '.join(REPORTS)}, got {record.task!r}")
    return REPORTS[record.task]
