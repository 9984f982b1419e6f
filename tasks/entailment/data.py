"""Pairs of sentences with a label: corpora for textual entailment."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.checks import PositiveIntOrNone, check_ranges
from tasks.data import corpus
from tasks.data.corpus import MAX_CHARS, SPLITS, Form, Keys, check_different, prepare
from tasks.data.files import first_found, resolve_within
from tasks.data.normalize import tokenize
from tasks.data.reader import Row, Source, hub_sources, read_rows
from tasks.entailment.agreement import explained_words

LABELS = ("entailment", "neutral", "contradiction")

_COLUMNS = {
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "label": ("gold_label", "label"),
}
_EXPLANATIONS = tuple(f"explanation_{n}" for n in (1, 2, 3))  # as e-SNLI names them (Camburu et al., 2018)
_NUMBERS = {label: number for number, label in enumerate(LABELS)} | {str(i): i for i in range(len(LABELS))}
_NO_LABEL = ("-", "", "-1")  # no majority among the annotators, as the official files and the hub have it
_FILE_NAMES = ("snli_1.0_{}.jsonl", "{}.parquet", "{}.jsonl", "{}.csv", "{}.tsv")


@dataclass(frozen=True)
class Pair:
    """Two sentences as words, and the number of their label in ``LABELS``.

    ``evidence`` is a half-open span of positions in the premise, where a corpus knows what decides;
    ``explained`` are positions there of words that a human explanation of the label repeats.
    """

    premise: tuple[str, ...]
    hypothesis: tuple[str, ...]
    label: int
    evidence: tuple[int, int] | None = None
    explained: frozenset[int] = frozenset()


Corpus = corpus.Corpus[Pair]


def _content(pair: Pair) -> tuple[Any, ...]:
    return pair.premise, pair.hypothesis, pair.label


def _decoded(content: list[Any], explained: list[int] | None) -> Pair:
    premise, hypothesis, label = content
    return Pair(tuple(premise), tuple(hypothesis), label, explained=frozenset(explained or ()))


def _texts(pair: Pair) -> tuple[str, str]:
    return " ".join(pair.premise), " ".join(pair.hypothesis)


FORM = Form(
    _content,
    _decoded,
    _texts,
    keys=lambda pair: [(pair.premise, pair.hypothesis)],  # what makes two pairs one, whatever their labels
    rest=lambda pair: sorted(pair.explained) or None,  # evidence is of generated pairs, which nobody stores
)


def load_folder(
    root: Path | str,
    train_files: Sequence[str] = (),
    dev_files: Sequence[str] = (),
    test_files: Sequence[str] = (),
    *,
    name: str = "snli",
    keep: Mapping[str, Mapping[str, str]] | None = None,
    lowercase: bool = True,
    disjoint_premises: bool = False,
    limit: PositiveIntOrNone = None,
    cache: Path | None = None,
    prepared: Path | None = None,
) -> Corpus:
    """Read a corpus from the files of a folder.

    Pairs without a majority label or without words are dropped, pairs with a sentence of more than 10,000
    characters, and training pairs that also stand in dev or test; all are counted. Where a file has human
    explanations of its labels, ``explanation_1`` to ``explanation_3``, pairs know what of the premise these
    repeat.

    Args:
        root: the folder.
        train_files, dev_files, test_files: names relative to ``root``. A split without names is read from
            the official ``snli_1.0_<split>.jsonl``, else from ``<split>.parquet``, ``.jsonl``, ``.csv``
            or ``.tsv``.
        name: what records call the corpus.
        keep: for a file of these names, the columns and values of the rows to read.
        lowercase: fold letters to lower case.
        disjoint_premises: also drop training pairs whose premise, in any case, occurs in dev or test.
        limit: of every split keep only this many pairs, the first ones.
        cache, prepared: for :func:`tasks.data.reader.read_rows` and :func:`tasks.data.corpus.prepare`.

    Raises:
        OSError: a file is missing.
        ValueError: a name leaves ``root``; ``keep`` names a file that is not read; an unknown label; a split
            without pairs; ``limit < 1``; anything that the reader rejects.
    """
    options = {**locals()}
    check_ranges(load_folder, options)
    root, named = Path(root), dict(zip(SPLITS, (train_files, dev_files, test_files), strict=True))
    files = {
        split: list(names) or [first_found(root, [usual.format(split) for usual in _FILE_NAMES])]
        for split, names in named.items()
    }
    check_different(files)
    keep = keep or {}
    if unread := keep.keys() - {file for names in files.values() for file in names}:
        raise ValueError(f"keep must name files that are read, got {', '.join(sorted(unread))}")

    def source(name: str) -> Source[Row]:
        file, kept = resolve_within(root, name), keep.get(name)
        read = partial(read_rows, file, _COLUMNS, kept, optional=_EXPLANATIONS, cache=cache)
        return Source(str(file), read, [file])

    return _prepare(name, options, {split: [*map(source, names)] for split, names in files.items()})


def load_hub(
    name: str = "stanfordnlp/snli",
    *,
    lowercase: bool = True,
    disjoint_premises: bool = False,
    limit: PositiveIntOrNone = None,
    revision: str | None = None,
    sha256: str | None = None,
    cache: Path | None = None,
    prepared: Path | None = None,
) -> Corpus:
    """Read a corpus from the Hugging Face hub; arguments as for :func:`load_folder`.

    ``revision`` is the commit of the data set to read, the newest by default; ``sha256`` the checksum that
    the corpus has to have, any by default.

    Raises:
        ConnectionError: the hub cannot be reached.
        ValueError: no such data set; another checksum; an unknown label; a split without pairs;
            ``limit < 1``.
    """
    options = {**locals()}
    check_ranges(load_hub, options)

    return _prepare(
        name, options, hub_sources(name, _COLUMNS, lambda row: row, revision=revision, cache=cache)
    )


def _prepare(name: str, options: Mapping[str, Any], sources: Mapping[str, Sequence[Source[Row]]]) -> Corpus:
    shared: dict[str, Keys[Pair]] = {}
    if options["disjoint_premises"]:
        shared["premise_held_out"] = lambda pair: [" ".join(pair.premise).lower()]
    keep = partial(pairs_from_rows, lowercase=options["lowercase"])
    return prepare(Corpus(name, "", {}, {}), FORM, options, sources, lambda split: keep, shared=shared)


def pairs_from_rows(rows: Iterable[Row], lowercase: bool = True) -> tuple[list[Pair], Counter[str]]:
    """Turn rows with ``premise``, ``hypothesis`` and ``label`` into pairs, and count those dropped.

    Raises:
        ValueError: an unknown label, or a sentence that is not text.
    """
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    known: dict[str, tuple[str, ...]] = {}  # a premise comes three times
    for row in rows:
        label, texts = _label(row), (row.text("premise"), row.text("hypothesis"))
        if label is None:
            dropped["no_label"] += 1
        elif max(map(len, texts)) > MAX_CHARS:
            dropped["too_long"] += 1
        else:
            premise, hypothesis = (_words(text, lowercase, known) for text in texts)
            if premise and hypothesis:
                told = [row.text(column) for column in _EXPLANATIONS if column in row.values]
                pairs.append(Pair(premise, hypothesis, label, explained=explained_words(premise, told)))
            else:
                dropped["empty"] += 1
    return pairs, dropped


def _label(row: Row) -> int | None:
    got = row.values["label"]
    if str(got) in _NO_LABEL:
        return None
    if str(got) not in _NUMBERS:
        known = ", ".join(LABELS)
        raise ValueError(f"{row.where} must have a label among {known}, 0, 1, 2, -1 and '-', got {got!r}")
    return _NUMBERS[str(got)]


def _words(text: str, lowercase: bool, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if text not in known:
        # One object per word: half a million pairs fit into a quarter of the memory.
        known[text] = tuple(map(sys.intern, tokenize(text, lowercase=lowercase)))
    return known[text]
