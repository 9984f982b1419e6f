"""Search for the most probable outputs of an encoder–decoder: greedy and beam search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, Self, TypeVar

import torch
from torch import Tensor

from tasks.data.batching import in_order_batches, pad
from tasks.data.corpus import MAX_CHARS
from tasks.ranges import NonNegativeInt, PositiveInt, Range, check_ranges
from tasks.seq2seq.beams import Beams, Hypothesis

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


class Memory(Protocol):
    """The encoded sources of a batch of b sentences."""

    def select(self, rows: Tensor) -> Self:
        """Return the sentences ``rows`` (m,)."""


class State(Protocol):
    """The decoder's state, every tensor (b, k, …): k hypotheses for each sentence."""

    def select(self, rows: Tensor) -> Self:
        """Return the sentences ``rows`` (m,)."""

    def reorder(self, beams: Tensor) -> Self:
        """Return for each new hypothesis the state of the old one, ``beams`` (b, k'), that it continues."""


M = TypeVar("M", bound=Memory)
S = TypeVar("S", bound=State)


class Decoder(Protocol[M, S]):
    """What a model offers to be searched; the hypotheses of a sentence share its memory."""

    def encode(self, source: Tensor, lengths: Tensor) -> M:
        """Encode ``source`` (b, S), padded with ``PAD``; ``lengths`` (b,) are on the CPU."""

    def start(self, memory: M) -> S:
        """Return the state before the first token, with k = 1."""

    def step(self, tokens: Tensor, state: S, memory: M) -> tuple[Tensor, Tensor, S]:
        """Read the tokens before, (b, k).

        Returns:
            Log-probabilities of the next token (b, k, vocabulary), weights (b, k, S), the next state.
        """


def search(
    model: Decoder[M, S], source: Tensor, lengths: Tensor, settings: SearchSettings
) -> list[list[Hypothesis]]:
    r"""Find outputs :math:`y` of high score by beam search.

    .. math::
        \operatorname*{argmax}_{y}\; \frac{\log p(y \mid x)}{((5 + |y|) / 6)^\alpha}
        + \beta \sum_i \log \min\Bigl(\sum_t a_{ti},\, 1\Bigr)

    At each step every hypothesis is continued by every token, and the ``beam_size`` most probable of these
    are looked at: those that end are finished. The ``beam_size`` most probable of those that do not end go
    on. Equally probable ones are taken in the order of the hypotheses they continue, then of their tokens.
    A sentence leaves the batch when no hypothesis that goes on can enter its ``n_best``, so that stopping
    changes no output.

    Args:
        model: in evaluation mode, on the device of ``source``.
        source: int64 tokens (batch, longest), padded with ``PAD`` on the right.
        lengths: int64 (batch,), on the CPU; each at least 1.
        settings: see :class:`SearchSettings`.

    Returns:
        For each sentence at most ``n_best`` hypotheses, best first. Unfinished ones, as long as allowed,
        come last, and only where fewer finished ones were found.

    Raises:
        ValueError: malformed ``source`` or ``lengths``, or log-probabilities that are NaN or above 0.

    Source: Wu et al. (2016), section 7, for the penalties.
    """
    _check_source(source, lengths)
    if not len(source):
        return []
    with torch.no_grad():
        beams = Beams(source, lengths.tolist(), settings)
        memory = model.encode(source, lengths)
        state = model.start(memory)
        while beams.rows:
            table, weights, state = model.step(beams.tokens, state, memory)
            kept = beams.advance(table, weights)
            if not beams.rows:
                break
            if kept is not None:
                memory, state = memory.select(kept), state.select(kept)
            state = state.reorder(beams.parents)
        return beams.hypotheses()


def search_all(
    model: Decoder[M, S],
    sources: Sequence[Sequence[int]],
    settings: SearchSettings,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[Hypothesis]]:
    """Search for the outputs of many sentences, those of similar length together.

    Args:
        model: in evaluation mode, on ``device``.
        sources: tokens of the sentences, at least one in each.
        settings: see :class:`SearchSettings`.
        batch_size: most sentences searched at once, at least 1.
        device: where the model is.
        on_batch: told after every batch for how many sentences outputs are found, and of how many.

    Returns:
        What :func:`search` returns, in the order of ``sources``.

    Raises:
        ValueError: an empty sentence, or ``batch_size < 1``.
    """
    empty = [position for position, ids in enumerate(sources) if not len(ids)]
    if empty:
        raise ValueError(f"every sentence must have at least one token, got none at position {empty[0]}")
    # Longest first, so that memory that does not suffice shows at once.
    order = sorted(range(len(sources)), key=lambda position: -len(sources[position]))
    found: dict[int, list[Hypothesis]] = {}
    for batch in in_order_batches(len(order), batch_size):
        positions = [order[number] for number in batch]
        source, lengths = pad([sources[position] for position in positions])
        found.update(zip(positions, search(model, source.to(device), lengths, settings), strict=True))
        on_batch(len(found), len(order))
    return [found[position] for position in range(len(sources))]


def _check_source(source: Tensor, lengths: Tensor) -> None:
    if source.ndim != 2 or source.dtype != torch.long:
        raise ValueError(f"source must be int64 (batch, longest), got {source.dtype} {tuple(source.shape)}")
    if lengths.shape != source.shape[:1] or lengths.dtype != torch.long or lengths.device.type != "cpu":
        wanted = f"int64 ({len(source)},) on the CPU"
        raise ValueError(
            f"lengths must be {wanted}, got {lengths.dtype} {tuple(lengths.shape)} on {lengths.device}"
        )
    outside = [length for length in lengths.tolist() if not 1 <= length <= source.shape[1]]
    if outside:
        raise ValueError(f"lengths must lie in 1 ... {source.shape[1]}, got {outside[0]}")
