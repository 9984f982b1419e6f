"""What a task makes of the texts that a model wrote, and of its attention as a word alignment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from tasks.seq2seq.data import Example, Link, Links
from tasks.training.records import Rows


@dataclass(frozen=True)
class Scores:
    """Scores of a test set, 0 to 100, and how they were computed.

    Attributes:
        metrics: by name.
        signatures: for each kind of metric what somebody needs to know to compute it again.
        items: what tests of significance draw from: for every item a score, or the counts of one.
    """

    metrics: dict[str, float]
    signatures: dict[str, str]
    items: Mapping[str, Rows]


def check_outputs(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse what is no test set.

    Raises:
        ValueError: there are no items, an item has no output, or a text in place of its references.
    """
    if not len(outputs) == len(references) > 0:
        got = f"{len(outputs)} outputs for {len(references)} items"
        raise ValueError(f"a test set must have an output for every item, got {got}")
    # A text is a sequence of texts too, one for each of its letters.
    if any(isinstance(item, str) for item in references):
        raise ValueError("an item must have a tuple of references, got a text")


class Scoring(Protocol):
    """The metrics of a task."""

    metric: str
    """Name of the first metric to quote."""

    def __call__(self, split: str, outputs: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score the outputs for the examples of a split."""


def alignment_from_attention(
    weights: torch.Tensor, source_words: Sequence[int], target_words: Sequence[int]
) -> set[Link]:
    """Link each target word with the source word that it attends to most.

    A source word has the sum of the weights of its tokens, a target word the mean of the rows of its tokens.

    Args:
        weights: attention of one sentence, (target tokens, source tokens), not negative; without the row of
            ``</s>`` and without padding, which the caller leaves out.
        source_words: for each source token the position of its word, as a tokenizer's ``words`` returns it.
        target_words: the same of the target.

    Returns:
        Pairs (source word, target word): one for each target word with tokens, of equal source words the
        first; none for a target word all of whose weights are 0.

    Raises:
        ValueError: the shape of ``weights`` is not that of the words, or a weight is negative or not finite.

    Example:
        >>> weights = torch.tensor([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0]])
        >>> sorted(alignment_from_attention(weights, [0, 1, 1], [0, 1]))
        [(0, 1), (1, 0)]
    """
    table = weights.detach().cpu().double()
    wanted = len(target_words), len(source_words)
    if table.shape != wanted:
        raise ValueError(f"weights of these words must have the shape {wanted}, got {tuple(table.shape)}")
    if (bad := table[~((table >= 0) & table.isfinite())]).numel():
        raise ValueError(f"weights must be finite and not negative, got {float(bad[0])}")
    if not table.numel():
        return set()
    source, target = torch.tensor(source_words), torch.tensor(target_words)
    summed = table.new_zeros(len(target), max(source_words) + 1).index_add(1, source, table)
    # (target words, source words); the sum over the tokens of a word has its maximum where the mean has it.
    rows = table.new_zeros(max(target_words) + 1, summed.shape[1]).index_add(0, target, summed).numpy()
    return {(int(row.argmax()), word) for word, row in enumerate(rows) if row.any()}  # the first of equals


class AlignmentTally:
    r"""Alignments against those made by hand, over a corpus.

    With the links :math:`A` found, the sure links :math:`S` and the possible ones :math:`P \supseteq S`:

    .. math::
        \text{precision} = \frac{|A \cap P|}{|A|}, \quad \text{recall} = \frac{|A \cap S|}{|S|}, \quad
        \text{AER} = 1 - \frac{|A \cap S| + |A \cap P|}{|A| + |S|}

    Metrics:
        aer: alignment error rate, 0 to 1, lower is better.
        alignment_precision: 0 to 1.
        alignment_recall: 0 to 1.

    Example:
        >>> tally = AlignmentTally()
        >>> tally.add({(0, 0), (1, 2)}, Links(sure=frozenset({(0, 0)}), possible=frozenset({(0, 0), (1, 1)})))
        >>> tally.metrics()
        {'aer': 0.3333333333333333, 'alignment_precision': 0.5, 'alignment_recall': 1.0}

    Source: Och & Ney (2003), "A Systematic Comparison of Various Statistical Alignment Models", section 5.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        """Of every sentence the numbers of links found that are sure, of those possible, of all, and of S."""

    def add(self, found: Collection[Link], gold: Links) -> None:
        """Count the links of one sentence."""
        found = frozenset(found)
        agreed = len(found & gold.sure), len(found & gold.possible)
        self.rows.append((*agreed, len(found), len(gold.sure)))

    def metrics(self) -> dict[str, float]:
        """Rates over all links counted; one that would divide by 0 is left out."""
        found_sure, found_possible, found, sure = (sum(row[k] for row in self.rows) for k in range(4))
        fractions = {
            "aer": (found + sure - found_sure - found_possible, found + sure),
            "alignment_precision": (found_possible, found),
            "alignment_recall": (found_sure, sure),
        }
        return {name: part / whole for name, (part, whole) in fractions.items() if whole}


def aer_of_totals(totals: np.ndarray, items: int) -> np.ndarray:
    """AER, 0 to 1, of texts with these sums of :attr:`AlignmentTally.rows`, (..., 4) to (...); of no links 0.

    Args:
        totals: the sums.
        items: how many sentences they are of, which does not matter here.
    """
    found_sure, found_possible, found, sure = np.moveaxis(totals, -1, 0)
    links = found + sure
    return 1 - np.where(links > 0, (found_sure + found_possible) / np.maximum(links, 1), 1.0)
