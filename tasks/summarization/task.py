"""Sentence summarization: the encoder–decoder, scored with ROUGE item by item as ROUGE-1.5.5 counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Literal
from unicodedata import category, normalize

import numpy as np
import torch
from torch import nn

from tasks.checks import PositiveIntOrNone, check_installed, check_ranges
from tasks.seq2seq.data import Corpus, Example
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.task import Scores, Seq2SeqTask, copied, new_model
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.seq2seq.translator import Translator
from tasks.summarization import UNTIL_UNKNOWN

_ASCII = re.compile("[A-Za-z0-9]")

SENTENCE = Example(
    "the fishing ministers of norway and russia agreed in oslo on tuesday to cut the catch of cod in the "
    "barents sea by a third next year .",
    ("norway and russia agree to cut cod catch",),
)
"""A sentence and a headline, over which attention is shown."""


Letters = Literal["ascii", "unicode"]
_ALONE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class RougeRule:
    """How a test set is scored."""

    limit_bytes: PositiveIntOrNone  # outputs and references are cut to so many; None leaves them whole
    stem: bool  # whether words are compared by their Porter stems, those of English
    measure: Literal["recall", "f1"]
    # Whether a text ends at its first <, that of an unknown word in an output. The script does so: it finds
    # the sentences of its files by their tags.
    until_bracket: bool = False
    # As the script has it, to which words of others are boundaries; or those of every alphabet make words,
    # and an ideograph or kana is a word of its own.
    letters: Letters = "ascii"

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))

    @property
    def signature(self) -> str:
        """All of it in a few characters."""
        cut = "none" if self.limit_bytes is None else f"{self.limit_bytes}b"
        more = "|end:<" if self.until_bracket else ""
        more += "|letters:unicode" if self.letters == "unicode" else ""
        return f"{self.measure}|cut:{cut}|stem:{'porter' if self.stem else 'no'}{more}"


GIGAWORD = RougeRule(limit_bytes=None, stem=True, measure="f1")
"""Full length, ``ROUGE-1.5.5.pl -m``."""
DUC = RougeRule(limit_bytes=75, stem=True, measure="recall")
"""DUC 2004 task 1, ``ROUGE-1.5.5.pl -m -b 75``; each item has four references."""


def rouge_items(
    outputs: Sequence[str], references: Sequence[Sequence[str]], rule: RougeRule
) -> dict[str, list[float]]:
    r"""ROUGE of each item; that of a test set is their mean.

    With :math:`m_r` the matches between the output and reference :math:`r`, an item's scores are

    .. math::
        R = \frac{\sum_r m_r}{\sum_r n_r}, \quad P = \frac{\sum_r m_r}{k\, n}, \quad F_1 = \frac{2PR}{P+R}

    for :math:`n` and :math:`n_r` the n-grams of the output and of the :math:`k` references, a match being an
    n-gram in common; for ROUGE-L they are words, and a match is a word of the longest common subsequence.

    Args:
        outputs, references: one summary for each item, and one reference or more.
        rule: :data:`GIGAWORD`, :data:`DUC` or another.

    Returns:
        For each item the scores times 100: ``rouge1``, ``rouge2``, ``rougeL``.

    Example:
        >>> rouge_items(["a ship", "a dog"], [("ships",), ("the dog", "a cat")], DUC)["rouge1"]
        [100.0, 50.0]

    Source: Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries"; pooling of the references as
        ``-f A`` of its script does it. The irregular forms that the script takes from WordNet are not known
        here: "ran" is not "run".
    """
    # Here: it brings nltk and scipy, seconds that only this task needs.
    from rouge_score.tokenizers import DefaultTokenizer

    if not all(references):
        raise ValueError("every item must have at least one reference, got none")
    tokenizer = DefaultTokenizer(use_stemmer=rule.stem)

    def words(text: str) -> list[str]:
        if rule.until_bracket:
            text = text.partition("<")[0]
        data = text.encode()[: rule.limit_bytes]
        if rule.letters == "unicode":
            runs = unicode_words(data.decode(errors="ignore"))
            return [word for run in runs for word in (tokenizer.tokenize(run) if run.isascii() else [run])]
        # ROUGE sees bytes, and those outside of ASCII are boundaries to it: so is half a letter at the cut.
        return list(tokenizer.tokenize(data.decode("latin-1")))

    scores: dict[str, list[float]] = {"rouge1": [], "rouge2": [], "rougeL": []}
    for text, item in zip(outputs, references, strict=True):
        output, wanted = words(text), [words(reference) for reference in item]
        scores["rouge1"].append(_pooled(_ngrams(output, 1), [_ngrams(one, 1) for one in wanted], rule))
        scores["rouge2"].append(_pooled(_ngrams(output, 2), [_ngrams(one, 2) for one in wanted], rule))
        longest = sum(_longest_common_subsequence(output, one) for one in wanted)
        sizes = len(output) * len(wanted), sum(map(len, wanted))
        scores["rougeL"].append(_score(longest, *sizes, rule))
    return scores


def unicode_words(text: str) -> list[str]:
    """Runs of letters, digits and what is written over them, in lower case; ideographs and kana one by one.

    Example:
        >>> unicode_words("Сто судов, 3 Häfen; 一只狗 ran")
        ['сто', 'судов', '3', 'häfen', '一', '只', '狗', 'ran']
    """

    def spaced(character: str) -> str:
        if _ALONE.match(character):
            return f" {character} "
        return character if character.isalnum() or category(character).startswith("M") else " "

    return "".join(map(spaced, normalize("NFC", text.lower()))).split()


def duc_output(output: str, source: str) -> str:
    """Return a model's output as it is scored on DUC 2004: with numbers, and ``fail`` if nothing is left.

    Every word that begins with ``#`` becomes a number of the source that is as long, a number being a word
    that begins with a digit. Of equally long ones the last is taken, as often as asked for; where there is
    none, the ``#…`` stays. Words ``<s>`` are left out.

    Example:
        >>> duc_output("## dead , ## hurt in #,###-mile run", "In 12 towns and 36 hours , 1,500 ran")
        '36 dead , 36 hurt in #,###-mile run'

    Source: the script of Rush, Chopra & Weston (2015) that prepares outputs for ROUGE.
    """
    numbers = {len(word): word for word in source.split() if word[0].isdigit()}
    words = (numbers.get(len(word), word) if word[0] == "#" else word for word in output.split())
    return " ".join(word for word in words if word != "<s>") or "fail"


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def _pooled(
    output: Counter[tuple[str, ...]], references: list[Counter[tuple[str, ...]]], rule: RougeRule
) -> float:
    matches = sum((output & reference).total() for reference in references)
    total = sum(reference.total() for reference in references)
    return _score(matches, output.total() * len(references), total, rule)


def _score(matches: int, output: int, references: int, rule: RougeRule) -> float:
    if matches == 0:
        return 0.0
    if rule.measure == "recall":
        return 100 * matches / references
    return 100 * 2 * matches / (output + references)  # 2PR / (P + R)


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    row = [0] * (len(second) + 1)  # row[j]: length for the words of first so far and j words of second
    for word in first:
        above = 0
        for j, other in enumerate(second, 1):
            above, row[j] = row[j], above + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


class Rouge:
    """ROUGE of headlines, by the rules of DUC 2004 on ``duc_splits`` and those of Gigaword on others."""

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
    """Refuse a corpus with a split whose headlines mostly have letters, none of them of ASCII: ROUGE is 0."""
    scored = {split: examples for split, examples in corpus.splits.items() if split != "train"}
    for split, examples in scored.items():
        unseen = [e.target for e in examples if not _ASCII.search(e.target) and unicode_words(e.target)]
        if 2 * len(unseen) > len(examples):
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
