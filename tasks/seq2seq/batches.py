"""What a training step of an encoder–decoder sees: which pairs, how many, padded how."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from tasks.data.batching import UNITS
from tasks.ranges import BatchSize, Fraction, PositiveInt, Range, check_ranges
from tasks.seq2seq.data import Example
from tasks.seq2seq.text import PairBatch, Tokenizers


@dataclass(frozen=True)
class BatchSettings:
    """What a training step sees; the defaults are those of OpenNMT-py in 2017.

    Args:
        size: of a batch, from 1 to 65,536.
        count: ``"sentences"``, or ``"tokens"`` for padded source tokens.
        max_length: training pairs with more tokens on a side are left out.
        mean_over: ``"sentences"`` or ``"tokens"``: the loss sums over the batch's target tokens and is
            divided by the number of these.
        pad_to_multiple: lengths of padded batches are multiples of this, from 1 to 1,024, so that few shapes
            occur.
        label_smoothing: probability spread evenly over the vocabulary, in [0, 1).

    Raises:
        ValueError: a value out of its range.
    """

    size: BatchSize = 64
    count: Literal["sentences", "tokens"] = "sentences"
    max_length: PositiveInt = 50
    mean_over: str = "sentences"
    pad_to_multiple: Annotated[int, Range(least=1, most=1_024)] = 1
    label_smoothing: Fraction = 0.0

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        for name in ("count", "mean_over"):
            if getattr(self, name) not in UNITS:
                raise ValueError(f"{name} must be one of {', '.join(UNITS)}, got {getattr(self, name)!r}")


def short_pairs(
    examples: Sequence[Example], tokenizers: Tokenizers, longest: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Numbered training pairs with 1 to ``longest`` tokens on both sides."""
    pairs: list[tuple[Sequence[int], Sequence[int]]] = []
    for example in examples:
        source, target = tokenizers.source.encode(example.source), tokenizers.target.encode(example.target)
        if 0 < len(source) <= longest and 0 < len(target) <= longest:
            pairs.append((array("i", source), array("i", target)))
    if not pairs:
        raise ValueError(f"training must have a pair of 1 to {longest} tokens on both sides, got none")
    return pairs


def target_rows(pairs: PairBatch) -> Tensor:
    """Positions in the flattened targets of all tokens to predict, and of some padding.

    The output layer takes most of a step, so most padding is dropped before it. Some fills the rows up to a
    multiple of 64: libraries compile a product for every new shape.
    """
    mask = pairs.target_mask.flatten()
    count = -(-int(mask.sum()) // 64) * 64
    return mask.byte().argsort(descending=True, stable=True)[:count]
