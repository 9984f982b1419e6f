"""Search for the most probable outputs of an encoder–decoder: greedy and beam search."""

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from tasks.data.batching import in_order_batches, pad
from tasks.seq2seq.beams import Beams
from tasks.seq2seq.search_config import Hypothesis, SearchSettings


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
) -> list[list[Hypothesis]]:
    """Search for the outputs of many sentences, those of similar length together.

    Args:
        model: in evaluation mode, on ``device``.
        sources: tokens of the sentences, at least one in each.
        settings: see :class:`SearchSettings`.
        batch_size: most sentences searched at once, at least 1.
        device: where the model is.

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
