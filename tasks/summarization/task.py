"""Sentence summarization: the encoder–decoder, scored with ROUGE."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch
from torch import nn

from tasks.packages import check_installed
from tasks.seq2seq.data import Corpus, Example
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.scoring import Scores
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.task import Seq2SeqTask, copied, new_model
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.seq2seq.translator import Translator
from tasks.summarization import UNTIL_UNKNOWN
from tasks.summarization.metrics import DUC, GIGAWORD, Letters, duc_output, rouge_items, unicode_words

_ASCII = re.compile("[A-Za-z0-9]")

SENTENCE = Example(
    "the fishing ministers of norway and russia agreed in oslo on tuesday to cut the catch of cod in the "
    "barents sea by a third next year .",
    ("norway and russia agree to cut cod catch",),
)
"""A sentence and a headline, over which attention is shown."""


class Rouge:
    """ROUGE of headlines, by the rules of DUC 2004 on ``duc_splits`` and those of Gigaword on others.

    Args:
        duc_splits: names of splits.
        until_unknown: score outputs up to their first unknown word, too.
        letters: of words, as for :class:`RougeRule`.
    """

    metric = "rougeL"

    def __init__(
        self, duc_splits: Sequence[str], *, until_unknown: bool = False, letters: Letters = "ascii"
    ) -> None:
        self.duc_splits, self.until_unknown, self.letters = frozenset(duc_splits), until_unknown, letters
        check_installed("rouge_score", "ROUGE")  # now, and not after the first epoch
        self.version = version("rouge-score")

    def __call__(self, split: str, outputs: Sequence[str], examples: Sequence[Example]) -> Scores:
        rule = replace(DUC if split in self.duc_splits else GIGAWORD, letters=self.letters)
        if split in self.duc_splits:
            outputs = [duc_output(o, e.source) for o, e in zip(outputs, examples, strict=True)]
        references = [example.references for example in examples]
        items = rouge_items(outputs, references, rule)
        numbers = sorted({len(example.references) for example in examples})
        refs = "-".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
        suffix = f"refs:{refs}|rouge-score:{self.version}"
        signatures = {"rouge": f"{rule.signature}|{suffix}"}
        rounded = {name: [round(score, 4) for score in scores] for name, scores in items.items()}
        means = {name: float(np.mean(scores)) for name, scores in items.items()}
        if self.until_unknown:
            ended = replace(rule, until_bracket=True)
            for name, scores in rouge_items(outputs, references, ended).items():
                means[name + UNTIL_UNKNOWN] = float(np.mean(scores))
            signatures["rouge" + UNTIL_UNKNOWN] = f"{ended.signature}|{suffix}"
        return Scores(means, signatures, rounded)


def check_letters(corpus: Corpus) -> None:
    """Refuse a corpus to most of whose headlines ROUGE would give 0 whatever is written.

    Raises:
        ValueError: more than half of a split's first references hold letters, none of them of ASCII.
    """
    for split, examples in corpus.splits.items():
        unseen = [e.target for e in examples if not _ASCII.search(e.target) and unicode_words(e.target)]
        if split != "train" and 2 * len(unseen) > len(examples):
            raise ValueError(
                f"headlines of {split} must have ASCII letters or digits, all that ROUGE-1.5.5 reads, "
                f"got {unseen[0][:40]!r}; task.letters=unicode reads those of every alphabet"
            )


def build(
    corpus: Corpus,
    mapping: nn.Module,
    seed: int,
    device: torch.device,
    *,
    text: TextSettings,
    model: ModelSettings,
    batches: BatchSettings,
    search: SearchSettings,
    replace_unknown: bool = False,
    duc_splits: Sequence[str] | None = None,
    until_unknown: bool = False,
    letters: Letters = "ascii",
) -> Seq2SeqTask:
    """Make the task of a corpus of headlines with new weights, drawn from ``seed``.

    Args:
        corpus, mapping, seed, device: what is read, what attends, which draw, and where.
        text, model, batches, search: as their classes say.
        replace_unknown: write, for an unknown word, the source word that it attended to most.
        duc_splits: the splits that are scored by the rules of DUC 2004; those that are called after DUC by
            default, such as ``duc2004``.
        until_unknown: report ROUGE of outputs up to their first unknown word, too: ROUGE-1.5.5 reads no
            more of them.
        letters: those that ROUGE makes words of, ``"ascii"`` as in ROUGE-1.5.5, or ``"unicode"`` for other
            languages than English.

    Raises:
        ValueError: a corpus that these settings cannot use, or no split of such a name.
    """
    if letters == "ascii":
        check_letters(corpus)
    if duc_splits is None:
        duc_splits = [split for split in corpus.splits if split.startswith("duc")]
    if unknown := set(duc_splits) - corpus.splits.keys():
        raise ValueError(f"duc_splits must name splits of the corpus, got {', '.join(sorted(unknown))}")
    scoring = Rouge(duc_splits, until_unknown=until_unknown, letters=letters)
    made = new_model(corpus, mapping, seed, device, text, model)
    translator = Translator(*made, search, replace_unknown=replace_unknown)
    return Seq2SeqTask(corpus, translator, scoring, batches, SENTENCE, seed=seed)


LEAD_WORDS, LEAD_BYTES = 8, 75


def baselines(task: Seq2SeqTask) -> dict[str, dict[str, dict[str, float]]]:
    """ROUGE of the beginning of the source: its first eight words, and its first 75 bytes.

    Source: Rush, Chopra & Weston (2015), section 7.2, for DUC 2004 the bytes; the words are usual for
        Gigaword.
    """

    def words(text: str) -> str:
        return " ".join(text.split()[:LEAD_WORDS])

    def beginning(text: str) -> str:
        return text.encode()[:LEAD_BYTES].decode(errors="ignore")

    return {
        f"first {LEAD_WORDS} words": copied(task, words),
        f"first {LEAD_BYTES} bytes": copied(task, beginning),
    }
