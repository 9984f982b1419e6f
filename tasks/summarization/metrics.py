"""What is measured of summaries: ROUGE-1, ROUGE-2 and ROUGE-L, item by item as ROUGE-1.5.5 counts them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from unicodedata import category, normalize

from tasks.ranges import PositiveIntOrNone, check_ranges
from tasks.seq2seq.scoring import check_outputs

Letters = Literal["ascii", "unicode"]
_ALONE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class RougeRule:
    """How a test set is scored.

    Attributes:
        limit_bytes: outputs and references are cut to so many bytes; ``None`` leaves them whole.
        stem: whether words are compared by their Porter stems.
        measure: ``"recall"`` or ``"f1"``.
        until_bracket: whether a text ends at its first ``<``, that of an unknown word in an output. The
            script does so: it finds the sentences of its files by their tags.
        letters: ``"ascii"`` as the script has it, to which words of others are boundaries; or ``"unicode"``,
            where those of every alphabet make words, and an ideograph or kana is a word of its own. Stems are
            those of English.

    Raises:
        ValueError: ``limit_bytes < 1``, or another ``measure``.
    """

    limit_bytes: PositiveIntOrNone
    stem: bool
    measure: Literal["recall", "f1"]
    until_bracket: bool = False
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
        outputs: one summary for each item; an empty one scores 0.
        references: one or more for each item.
        rule: :data:`GIGAWORD`, :data:`DUC` or another.

    Returns:
        For each item the scores times 100: ``rouge1``, ``rouge2``, ``rougeL``.

    Raises:
        ValueError: there are no items, an item has no reference, or the numbers of outputs and items differ.

    Example:
        >>> rouge_items(["a ship", "a dog"], [("ships",), ("the dog", "a cat")], DUC)["rouge1"]
        [100.0, 50.0]

    Source: Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries"; pooling of the references as
        ``-f A`` of its script does it. The irregular forms that the script takes from WordNet are not known
        here: "ran" is not "run".
    """
    # Here: it brings nltk and scipy, seconds that only this task needs.
    from rouge_score.tokenizers import DefaultTokenizer

    check_outputs(outputs, references)
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

    Example:
        >>> duc_output("   ", "The ship sank .")
        'fail'
    """
    return replace_numbers(output, source) or "fail"


def replace_numbers(output: str, source: str) -> str:
    """Replace every word of an output that begins with ``#`` by a number of the source that is as long.

    A number is a word that begins with a digit. Of equally long ones the last is taken, as often as asked
    for; where there is none, the ``#…`` stays. Words ``<s>`` are left out.

    Args:
        output: text in which every digit is written ``#``.
        source: the input, with its digits.

    Example:
        >>> replace_numbers("## dead , ## hurt in #,###-mile run", "In 12 towns and 36 hours , 1,500 ran")
        '36 dead , 36 hurt in #,###-mile run'

    Source: the script of Rush, Chopra & Weston (2015) that prepares outputs for ROUGE.
    """
    numbers = {len(word): word for word in source.split() if word[0].isdigit()}
    words = (numbers.get(len(word), word) if word[0] == "#" else word for word in output.split())
    return " ".join(word for word in words if word != "<s>")


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
