"""What a search is asked for, and the outputs that it finds."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from tasks.data.corpus import MAX_CHARS
from tasks.ranges import NonNegativeInt, PositiveInt, Range, check_ranges

Penalty = Annotated[float, Range(least=0, most=10)]


@dataclass(frozen=True)
class SearchSettings:
    """What to search for, and how widely.

    Args:
        beam_size: hypotheses continued at each step, from 1 to 1,000; 1 is greedy search.
        max_length: most tokens of an output, its end not counted, at least 1; no text that is read may be
            longer than 10,000.
        min_length: fewest tokens of an output, from 0 to ``max_length``.
        n_best: outputs returned for each sentence, from 1 to ``beam_size``.
        length_penalty: α of GNMT, from 0 to 10; the log-probability of an output of n tokens, its end
            counted, is divided by ((5 + n) / 6)^α.
        coverage_penalty: β of GNMT, from 0 to 10; β Σ_i log min(Σ_t a_ti, 1) is added, a_ti being the weight
            of source position i at step t. Sums below 0.001 count as that, for sparse weights can be 0.
        no_repeat_ngram: length of the token sequences that an output has at most once; 0 allows all.
        max_length_ratio: also end an output at this times its source's length plus 10 tokens (but never
            before ``min_length``), above 0 and at most 1,000, or None.
        allow_unknown: whether outputs may contain ``UNK``.

    Raises:
        ValueError: a number out of its range.

    Source: Wu et al. (2016), Google's neural machine translation system, section 7.
    """

    beam_size: Annotated[int, Range(least=1, most=1_000)] = 5
    max_length: Annotated[int, Range(least=1, most=MAX_CHARS)] = 100
    min_length: NonNegativeInt = 0
    n_best: PositiveInt = 1
    length_penalty: Penalty = 0.0
    coverage_penalty: Penalty = 0.0
    no_repeat_ngram: NonNegativeInt = 0
    max_length_ratio: Annotated[float | None, Range(above=0, most=1_000)] = None
    allow_unknown: bool = True

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if self.n_best > self.beam_size:
            raise ValueError(f"n_best must be at most beam_size, {self.beam_size}, got {self.n_best}")
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length must be at most max_length, {self.max_length}, got {self.min_length}"
            )
        if not isinstance(self.allow_unknown, bool):
            raise ValueError(f"allow_unknown must be True or False, got {self.allow_unknown!r}")

    def divisor(self, length: int) -> float:
        """What the log-probability of so many tokens, the end counted, is divided by."""
        return ((5 + length) / 6) ** self.length_penalty

    def limit(self, source_length: int) -> int:
        """The most tokens of an output for a source of so many."""
        if self.max_length_ratio is None:
            return self.max_length
        longest = int(self.max_length_ratio * source_length) + 10
        return max(self.min_length, min(self.max_length, longest))


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """An output of the search.

    ``ids`` are its tokens without begin and end, ``log_probability`` is their sum, that of the end included
    if it was reached (``finished``), and ``score`` is that after penalties. ``weights`` are those of the
    attention, on the CPU, (tokens and the end if reached, source length).
    """

    ids: tuple[int, ...]
    log_probability: float
    score: float
    weights: Tensor
    finished: bool
