"""Search for the most probable outputs of an encoder–decoder: greedy and beam search."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_right

from tasks.checks import NonNegativeInt, PositiveInt, Range, check_ranges
from tasks.data.batching import length_batches, pad
from tasks.data.corpus import MAX_CHARS
from tasks.data.vocabulary import BOS, EOS, PAD, UNK
from tasks.seq2seq.model import Seq2Seq

Penalty = Annotated[float, Range(least=0, most=10)]


@dataclass(frozen=True)
class SearchSettings:
    """What to search for, and how widely.

    Source: Wu et al. (2016), Google's neural machine translation system, section 7.
    """

    beam_size: Annotated[int, Range(least=1, most=1_000)] = 5  # hypotheses at each step; 1 is greedy search
    max_length: Annotated[int, Range(least=1, most=MAX_CHARS)] = 100  # most tokens, without the end
    min_length: NonNegativeInt = 0  # fewest tokens, at most max_length
    n_best: PositiveInt = 1  # outputs for each sentence, at most beam_size
    length_penalty: Penalty = 0.0  # α of GNMT, as :meth:`divisor` says
    # β of GNMT: β Σ_i log min(Σ_t a_ti, 1) is added, a_ti being the weight of source position i at step t.
    # Sums below 0.001 count as that, for sparse weights can be 0.
    coverage_penalty: Penalty = 0.0
    no_repeat_ngram: NonNegativeInt = 0  # length of what an output has at most once; 0 allows all
    max_length_ratio: Annotated[float | None, Range(above=0, most=1_000)] = None  # as :meth:`limit` says
    allow_unknown: bool = True  # whether outputs may contain UNK

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if self.n_best > self.beam_size:
            raise ValueError(f"n_best must be at most beam_size, {self.beam_size}, got {self.n_best}")
        if self.min_length > self.max_length:
            most, got = self.max_length, self.min_length
            raise ValueError(f"min_length must be at most max_length, {most}, got {got}")
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


def search(
    model: Seq2Seq, source: Tensor, lengths: Tensor, settings: SearchSettings
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
        model, settings: in evaluation mode, on the device of ``source``; how widely to search.
        source: int64 tokens (batch, longest), padded with ``PAD`` on the right.
        lengths: int64 (batch,), on the CPU; each at least 1.

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
    model: Seq2Seq,
    sources: Sequence[Sequence[int]],
    settings: SearchSettings,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[Hypothesis]]:
    """Search for the outputs of many sentences, those of similar length together.

    ``on_batch`` is told after every batch for how many sentences outputs are found, and of how many.

    Returns:
        What :func:`search` returns, in the order of ``sources``.

    Raises:
        ValueError: an empty sentence, or ``batch_size < 1``.
    """
    empty = [position for position, ids in enumerate(sources) if not len(ids)]
    if empty:
        raise ValueError(f"every sentence must have at least one token, got none at position {empty[0]}")
    found: dict[int, list[Hypothesis]] = {}
    # Longest first, so that memory that does not suffice shows at once.
    for positions in length_batches([-len(ids) for ids in sources], batch_size):
        source, lengths = pad([sources[position] for position in positions])
        found.update(zip(positions, search(model, source.to(device), lengths, settings), strict=True))
        on_batch(len(found), len(sources))
    return [found[position] for position in range(len(sources))]


def _check_source(source: Tensor, lengths: Tensor) -> None:
    if source.ndim != 2 or source.dtype != torch.long:
        raise ValueError(f"source must be int64 (batch, longest), got {source.dtype} {tuple(source.shape)}")
    if lengths.shape != source.shape[:1] or lengths.dtype != torch.long or lengths.device.type != "cpu":
        got = f"{lengths.dtype} {tuple(lengths.shape)} on {lengths.device}"
        raise ValueError(f"lengths must be int64 ({len(source)},) on the CPU, got {got}")
    outside = [length for length in lengths.tolist() if not 1 <= length <= source.shape[1]]
    if outside:
        raise ValueError(f"lengths must lie in 1 ... {source.shape[1]}, got {outside[0]}")


# ------------------------------------------------------------------ from step to step of the decoder
_CHUNK = 64  # about the root of a vocabulary: few chunks to rank and few tokens in each
_RISE = 1e-3  # how far above 0 rounding may lift a log-probability
_LEAST_COVERAGE = 1e-3  # sparse weights are exactly 0 at places, whose logarithm would level all scores
_SCORE, _LOG_PROBABILITY, _LENGTH, _BEAM, _FINISHED = range(5)  # columns of a kept hypothesis


class Beams:
    """The hypotheses of all sentences between two steps of the decoder.

    ``rows`` are the sentences still searched; of every other tensor they are the first dimension, the
    hypotheses, the most probable first, the second. Nothing is copied from step to step but what decides the
    next: tokens, back-pointers and weights go into ``history`` and are read once, at the end.
    """

    def __init__(self, source: Tensor, lengths: list[int], settings: SearchSettings) -> None:
        (n, longest), kept, device = source.shape, settings.n_best, source.device
        self.settings, self.lengths, self.device = settings, lengths, device
        self.limits = [settings.limit(length) for length in lengths]
        self.rows = list(range(n))
        self.step = 0
        self.tokens = torch.full((n, 1), BOS, device=device)
        self.parents = torch.zeros((n, 1), dtype=torch.long, device=device)
        self.total = torch.zeros((n, 1), dtype=torch.float64, device=device)
        self.pool = torch.full((n, kept, 5), -math.inf, dtype=torch.float64, device=device)
        self.final = self.pool.clone()
        self.bounds = torch.tensor(
            [settings.divisor(limit + 1) for limit in self.limits], dtype=torch.float64, device=device
        )
        self.source_lengths = torch.tensor(lengths, device=device)
        self.coverage: Tensor | None = None
        if settings.coverage_penalty:
            self.coverage = torch.zeros((n, 1, longest), dtype=torch.float64, device=device)
        self.prefixes = torch.empty((n, 1, 0), dtype=torch.long, device=device)
        self.forbidden = torch.empty(0, dtype=torch.bool, device=device)
        self.history: list[tuple[list[int], Tensor, Tensor, Tensor]] = []

    def advance(self, table: Tensor, weights: Tensor) -> Tensor | None:
        """Choose the hypotheses that go on; return which rows are still searched, or None for all."""
        beam_size, alive = self.settings.beam_size, self.total.shape[1]
        table = self._without_repeats(table)
        width = min(beam_size + alive, alive * table.shape[-1])
        total, parents, tokens = _most_probable(table, self.total, self._forbid(table.shape[-1]), width)
        ends = tokens == EOS
        first = slice(min(beam_size, width))
        ended = ends[:, first] & (total[:, first] > -math.inf)
        self._keep(total[:, first], parents[:, first], ended, weights)

        going = min(beam_size, width - alive)
        order = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :going]
        next_total, next_parents, next_tokens = (x.gather(1, order) for x in (total, parents, tokens))
        self.history.append((self.rows, next_parents, next_tokens, weights))

        closed = next_total[:, 0] / self.bounds <= self.pool[:, -1, _SCORE]
        sound = total[:, 0] <= self.total[:, 0] + _RISE
        closing = self._read(closed, sound)
        if closing:
            self._close(closing, parents[:, first], ended)
        self.step += 1
        self.total, self.parents, self.tokens = next_total, next_parents, next_tokens
        self._follow(weights)
        return self._leave(closing)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """Return what was found, following the back-pointers of all sentences at once."""
        ids, weights = self._trace()
        found: list[list[Hypothesis]] = [[] for _ in self.lengths]
        for row, kept in enumerate(self.final.tolist()):
            for rank, (value, log_probability, length, _, finished) in enumerate(kept):
                if value == -math.inf:
                    break
                tokens, steps = int(length), int(length + finished)
                found[row].append(
                    Hypothesis(
                        tuple(ids[row, rank, :tokens].tolist()),
                        log_probability,
                        value,
                        weights[row, rank, :steps, : self.lengths[row]].clone(),
                        bool(finished),
                    )
                )
        return found

    def _without_repeats(self, table: Tensor) -> Tensor:
        """Make every token impossible that would repeat a sequence of its hypothesis."""
        n = self.settings.no_repeat_ngram
        if not n or self.step < n:
            return table
        sequences = self.prefixes.unfold(-1, n, 1)  # (b, k, step - n + 1, n)
        start = self.prefixes[..., self.step - n + 1 :]
        repeated = (sequences[..., :-1] == start[..., None, :]).all(-1)
        values = torch.where(repeated, -math.inf, math.inf).to(table.dtype)
        return table.scatter_reduce(-1, sequences[..., -1], values, "amin")

    def _forbid(self, size: int) -> Tensor:
        """Return which of ``size`` tokens cannot come next; only what changes is written again."""
        if self.step == 0:
            self.forbidden = torch.zeros(size, dtype=torch.bool, device=self.device)
            self.forbidden[[PAD, BOS, EOS]] = True
            self.forbidden[UNK] = not self.settings.allow_unknown
        if self.step == self.settings.min_length:
            self.forbidden[EOS] = False
        return self.forbidden

    def _keep(self, total: Tensor, parents: Tensor, ended: Tensor, weights: Tensor) -> None:
        """Let finished hypotheses into the ``n_best`` of their sentences."""
        coverage = None if self.coverage is None else self.coverage + weights
        scores = self._scores(total, parents, coverage, self.step + 1).masked_fill(~ended, -math.inf)
        pool = torch.cat([self.pool, self._columns(scores, total, parents, finished=1)], 1)
        self.pool = _first_rows(
            pool, pool[..., _SCORE].argsort(dim=1, descending=True, stable=True), self.settings.n_best
        )

    def _scores(self, total: Tensor, beams: Tensor, coverage: Tensor | None, length: int) -> Tensor:
        scores = total / self.settings.divisor(length)
        if coverage is None:
            return scores
        inside = torch.arange(coverage.shape[-1], device=self.device) < self.source_lengths[:, None, None]
        logs = torch.where(inside, coverage.clamp(_LEAST_COVERAGE, 1).log(), 0).sum(-1)
        return scores + self.settings.coverage_penalty * logs.gather(1, beams)

    def _columns(self, scores: Tensor, total: Tensor, beams: Tensor, *, finished: int) -> Tensor:
        length, flag = torch.full_like(total, self.step), torch.full_like(total, finished)
        return torch.stack([scores, total, length, beams.double(), flag], -1)

    def _read(self, closed: Tensor, sound: Tensor) -> list[int]:
        """Return the rows whose search is over; the one place that waits for the device."""
        over, fine = torch.stack([closed, sound]).tolist()
        if False in fine:
            where = f"step {self.step} of sentence {self.rows[fine.index(False)]}"
            raise ValueError(f"log-probabilities must be at most 0, got more or NaN at {where}")
        return [i for i, row in enumerate(self.rows) if over[i] or self.step >= self.limits[row]]

    def _close(self, closing: list[int], parents: Tensor, ended: Tensor) -> None:
        """Write down the best of the sentences that are over, after them hypotheses that did not end."""
        beams = torch.arange(self.total.shape[1], device=self.device).expand_as(self.total)
        taken = ((parents[..., None] == beams[:, None]) & ended[..., None]).any(1) | self.total.isneginf()
        scores = self._scores(self.total, beams, self.coverage, self.step).masked_fill(taken, -math.inf)
        others = self._columns(scores, self.total, beams, finished=0)
        others = _first_rows(
            others, scores.argsort(dim=1, descending=True, stable=True), self.settings.n_best
        )
        best = torch.cat([self.pool, others], 1)
        # Stable: those there are keep their order, before the empty places.
        best = _first_rows(
            best, best[..., _SCORE].isneginf().byte().argsort(dim=1, stable=True), self.settings.n_best
        )
        rows = torch.tensor(closing, device=self.device)
        sentences = torch.tensor([self.rows[i] for i in closing], device=self.device)
        self.final[sentences] = best[rows]

    def _follow(self, weights: Tensor) -> None:
        """Hand down what hypotheses remember, where a setting asks for it."""
        if self.settings.no_repeat_ngram:
            before = self.prefixes.gather(1, self.parents[..., None].expand(-1, -1, self.prefixes.shape[-1]))
            self.prefixes = torch.cat([before, self.tokens[..., None]], -1)
        if self.coverage is not None:
            beams = self.parents[..., None].expand(-1, -1, self.coverage.shape[-1])
            self.coverage = (self.coverage + weights).gather(1, beams)

    def _leave(self, closing: list[int]) -> Tensor | None:
        """Drop the sentences that are over."""
        if not closing:
            return None
        going = sorted(set(range(len(self.rows))).difference(closing))
        self.rows = [self.rows[i] for i in going]
        kept = torch.tensor(going, dtype=torch.long, device=self.device)
        for name in ("total", "parents", "tokens", "pool", "bounds", "source_lengths", "prefixes"):
            setattr(self, name, getattr(self, name)[kept])
        if self.coverage is not None:
            self.coverage = self.coverage[kept]
        return kept

    def _trace(self) -> tuple[Tensor, Tensor]:
        """Return the tokens (b, n_best, steps) and weights (b, n_best, steps, S) of what was written down."""
        n, kept, steps = len(self.lengths), self.settings.n_best, len(self.history)
        ids = torch.zeros((n, kept, steps), dtype=torch.long, device=self.device)
        weights = self.history[0][3].new_zeros((n, kept, steps, self.history[0][3].shape[-1]))
        exists = ~self.final[..., _SCORE].isneginf()
        length, beams = (
            self.final[..., column].masked_fill(~exists, 0).long() for column in (_LENGTH, _BEAM)
        )
        for step, (rows, parents, tokens, attended) in reversed(list(enumerate(self.history))):
            here = torch.zeros(n, dtype=torch.long)
            here[rows] = torch.arange(len(rows))
            row = here.to(self.device)[:, None]
            # What had ended before this step reads something here that is cut off in the end.
            slot = beams.clamp(max=parents.shape[1] - 1)
            ids[..., step] = tokens[row, slot]
            beams = torch.where(step < length, parents[row, slot], beams)
            weights[:, :, step] = attended[row, beams.clamp(max=attended.shape[1] - 1)]
        return ids.cpu(), weights.cpu()


def _most_probable(
    table: Tensor, total: Tensor, forbidden: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ``width`` most probable continuations, equal ones by hypothesis and then by token.

    The best continuations lie in those chunks of the vocabulary that have the best maxima, so that all the
    ``table`` (b, k, vocabulary) is read once, and only what is left is sorted.

    Returns:
        Log-probabilities of the continued hypotheses, which they continue, and tokens, each (b, ``width``).
    """
    size = table.shape[-1]
    chunk = min(_CHUNK, size)
    maxima = _chunk_maxima(table, forbidden, chunk)  # (b, k, chunks)
    chunks = maxima.shape[-1]
    maxima = (total[..., None] + maxima).flatten(1)
    order = _largest(maxima, min(width, maxima.shape[1])).sort(dim=1).values
    parents, place = order // chunks, order % chunks  # (b, m)
    tokens = (place * chunk)[..., None] + torch.arange(chunk, device=table.device)  # (b, m, chunk)
    entries = (parents * size)[..., None] + tokens.clamp(max=size - 1)
    values = table.flatten(1).gather(1, entries.flatten(1)).view_as(entries)
    out = pad_right(forbidden, (0, chunks * chunk - size), value=True).view(chunks, chunk)
    values = values.masked_fill(out[place], -math.inf)
    values = (total.gather(1, parents)[..., None] + values).flatten(1)
    order = _largest(values, width)
    order = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return values.gather(1, order), parents.gather(1, order // chunk), tokens.flatten(1).gather(1, order)


def _largest(values: Tensor, n: int) -> Tensor:
    """Return the positions (b, n) of the largest ``values`` (b, m): NaN, then the first of equal ones.

    Equal ones stand in order. This is a stable sort cut to n, which takes ten times as long, for topk alone
    leaves open which of equal values it takes.
    """
    size = values.shape[1]
    values = values.nan_to_num(math.inf, math.inf, -math.inf)
    least = values.topk(n).values[:, -1:]
    earliest = torch.arange(size, 0, -1, device=values.device)
    keys = torch.where(values > least, earliest + size, torch.where(values == least, earliest, 0))
    return keys.topk(n).indices


def _chunk_maxima(table: Tensor, forbidden: Tensor, chunk: int) -> Tensor:
    # The special tokens are all in the first chunk, the vocabulary's end may be a shorter one.
    whole = table.shape[-1] // chunk * chunk
    first = table[..., :chunk].masked_fill(forbidden[:chunk], -math.inf).amax(-1, keepdim=True)
    middle = table[..., chunk:whole].unflatten(-1, (whole // chunk - 1, chunk)).amax(-1)
    last = [table[..., whole:].amax(-1, keepdim=True)] if whole < table.shape[-1] else []
    return torch.cat([first, middle, *last], -1)


def _first_rows(values: Tensor, order: Tensor, n: int) -> Tensor:
    """Return the first ``n`` rows of ``values`` (b, m, c) in an ``order`` (b, m) of its rows."""
    return values.gather(1, order[:, :n, None].expand(-1, -1, values.shape[-1]))
