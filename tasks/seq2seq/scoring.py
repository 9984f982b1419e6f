"""What a task makes of the texts that a model wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.seq2seq.data import Example
from tasks.training.details import Rows


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
