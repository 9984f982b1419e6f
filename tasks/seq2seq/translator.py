"""A trained model at work: texts in, texts with their attention out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

import regattn
from tasks.attention import AttentionGrid
from tasks.data.batching import length_batches
from tasks.seq2seq.model import Seq2Seq
from tasks.seq2seq.search import Hypothesis, SearchSettings, search_all
from tasks.seq2seq.text import PairBatch, Tokenizers, pair_batch

_SENTENCES = 64  # in a batch: memory and speed only, no result depends on it


@dataclass(frozen=True)
class Output:
    """A text that the model wrote: its tokens as shown, its score, and its attention (tokens, sources).

    ``source`` are the tokens read; a last row of ``weights`` beyond the tokens is that of the end.
    """

    text: str
    source: tuple[str, ...]
    ids: tuple[int, ...]
    score: float
    log_probability: float
    weights: Tensor


class ForcedBatch(NamedTuple):
    """A batch of known targets as the model reads them, on its device.

    ``log_likelihood`` of every token (b, T), ``weights`` and ``groups`` (b, T, S).
    """

    pairs: PairBatch
    log_likelihood: Tensor
    weights: Tensor
    groups: Tensor


class Translator:
    """A model with its tokenizers, asked sentence by sentence or read along a known target.

    Asking it puts the model into eval mode. With ``replace_unknown`` it writes, for an unknown word, the
    source word that it attended to most.
    """

    def __init__(
        self,
        model: Seq2Seq,
        tokenizers: Tokenizers,
        settings: SearchSettings,
        *,
        replace_unknown: bool = False,
    ) -> None:
        self.model, self.tokenizers = model, tokenizers
        self.settings, self.replace_unknown = settings, replace_unknown
        self.mapping = cast(regattn.Mapping, model.attention.mapping)

    def generate(
        self,
        texts: Sequence[str],
        settings: SearchSettings | None = None,
        on_batch: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[Output]]:
        """For each text its ``n_best`` outputs, best first; one empty output for a text without words.

        ``on_batch`` is told after every batch how many are done, and how many there are.
        """
        self.model.eval()
        sources = [self.tokenizers.source.encode(text) for text in texts]
        full = [number for number, source in enumerate(sources) if source]
        found = search_all(
            self.model,
            [sources[number] for number in full],
            settings or self.settings,
            batch_size=_SENTENCES,
            device=self.model.device,
            on_batch=on_batch,
        )
        outputs = [[self._nothing()] for _ in texts]
        for number, hypotheses in zip(full, found, strict=True):
            source = tuple(self.tokenizers.source.tokens(texts[number]))
            outputs[number] = [self._output(source, hypothesis) for hypothesis in hypotheses]
        return outputs

    @property
    def greedy(self) -> SearchSettings:
        """The same settings without a beam."""
        return replace(self.settings, beam_size=1, n_best=1)

    def teacher_forced(
        self, sources: Sequence[str], targets: Sequence[str]
    ) -> Iterator[tuple[list[int], ForcedBatch]]:
        """Read along known targets, batch by batch; each comes with the positions of its pairs.

        Sources without words are passed over.
        """
        encode = self.tokenizers.source.encode, self.tokenizers.target.encode
        pairs = [(encode[0](s), encode[1](t)) for s, t in zip(sources, targets, strict=True)]
        full = [number for number, (source, _) in enumerate(pairs) if source]
        for batch in length_batches([len(pairs[number][0]) for number in full], _SENTENCES):
            numbers = [full[i] for i in batch]
            chosen = [pairs[number] for number in numbers]
            yield numbers, self.teacher_forced_batch([s for s, _ in chosen], [t for _, t in chosen])

    @torch.no_grad()
    def teacher_forced_batch(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> ForcedBatch:
        """Read one batch of pairs as numbers."""
        self.model.eval()
        pairs = pair_batch(sources, targets, self.model.device)
        decoded, memory = self.model(pairs.source, pairs.lengths, pairs.decoder_input)
        log_probabilities = self.model.predict(decoded.outputs).float().log_softmax(-1)
        likelihood = log_probabilities.gather(-1, pairs.labels.unsqueeze(-1)).squeeze(-1)
        scores = self.model.attention.scorer(decoded.queries, memory.states).to(decoded.weights.dtype)
        groups = regattn.groups(scores, self.mapping, mask=memory.mask)
        return ForcedBatch(pairs, likelihood, decoded.weights, groups)

    def grid(self, text: str, ids: Sequence[int]) -> AttentionGrid:
        """The attention of one text and an output for it, the end's row left out."""
        forced = self.teacher_forced_batch([self.tokenizers.source.encode(text)], [ids])
        written = slice(None, len(ids))
        source, target = self.tokenizers.source.tokens(text), self.tokenizers.target.show(ids)
        return AttentionGrid.of(source, target, forced.weights[0, written], forced.groups[0, written])

    def _output(self, source: tuple[str, ...], found: Hypothesis) -> Output:
        unknown = None
        if self.replace_unknown:
            unknown = [source[row.argmax()] for row in found.weights[: len(found.ids)]]
        written = self.tokenizers.target.decode(found.ids, unknown)
        return Output(written, source, found.ids, found.score, found.log_probability, found.weights)

    def _nothing(self) -> Output:
        return Output("", (), (), 0.0, 0.0, torch.zeros(0, 0))
