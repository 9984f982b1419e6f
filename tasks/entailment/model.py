"""Entailment models with any mapping as their attention: the paper's, and one of attention alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import regattn
from regattn import AdditiveScorer, Attention, DotScorer
from tasks.checks import Fraction, PositiveInt, check_ranges
from tasks.data.vocabulary import PAD
from tasks.entailment.data import LABELS


class PaddedBatch(NamedTuple):
    """A padded batch: word numbers (batch, longest) and lengths (batch,), the lengths on the CPU."""

    words: Tensor
    lengths: Tensor


class EntailmentOutput(NamedTuple):
    """A batch as a model decides on it: ``logits`` (batch, 3) and its attention over the premises.

    ``weights`` and ``groups``, as :func:`regattn.groups` numbers them, are (batch, queries, premise length);
    ``mask`` (batch, premise length) and ``is_query`` (batch, queries) are bool, ``False`` for padding.
    """

    logits: Tensor
    weights: Tensor
    mask: Tensor
    groups: Tensor
    is_query: Tensor


class EntailmentModel(nn.Module):
    r"""Read the premise, then the hypothesis, then attend over the premise once, and decide.

    With premise states :math:`h_t`, the last hypothesis state :math:`h_N` and weights
    :math:`\mathrm{mapping}(v^\top \tanh(W_{pm} h_t + W_{hm} h_N + b_m))` over the premise, whose
    average of states is r, the label is read off :math:`u = \tanh(W_{pu} r + W_{hu} h_N + b_u)`.

    Args:
        vectors: word vectors (words, dim).
        mapping: module ``(scores, mask) -> weights``.
        hidden_size: size D of the projected vectors and of all states, at least 1.
        dropout: share of the inputs of the GRUs and of u that is dropped, in [0, 1).
        train_vectors: whether the vectors are trained along; the paper's are frozen.

    Source: Niculae & Blondel (2017), section 4.1, after Martins & Astudillo (2016), section 4.3.
    """

    def __init__(
        self,
        vectors: Tensor,
        mapping: nn.Module,
        *,
        hidden_size: PositiveInt = 200,
        dropout: Fraction = 0.1,
        train_vectors: bool = False,
    ) -> None:
        super().__init__()
        check_ranges(EntailmentModel.__init__, {"hidden_size": hidden_size, "dropout": dropout})
        self.vectors = nn.Embedding.from_pretrained(vectors, freeze=not train_vectors, padding_idx=PAD)
        self.project = nn.Linear(vectors.shape[1], hidden_size)
        self.read_premise = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.read_hypothesis = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.attention = Attention(AdditiveScorer(hidden_size, hidden_size, hidden_size), mapping)
        self.from_context = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_hypothesis = nn.Linear(hidden_size, hidden_size)
        self.classify = nn.Linear(hidden_size, len(LABELS))
        self.dropout = nn.Dropout(dropout)

    @property
    def device(self) -> torch.device:
        return self.project.weight.device

    def forward(self, premise: PaddedBatch, hypothesis: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Logits (batch, 3) and attention weights (batch, premise length)."""
        return self._decide(*self._read(premise, hypothesis))

    @torch.no_grad()
    def predict(self, premise: PaddedBatch, hypothesis: PaddedBatch) -> EntailmentOutput:
        """Decide and show how: what :meth:`forward` returns, and what the mapping could see and has fused."""
        states, query, mask = self._read(premise, hypothesis)
        logits, weights = self._decide(states, query, mask)
        groups = regattn.groups(self.attention.scorer(query, states), self.attention.mapping, mask=mask)
        is_query = torch.ones_like(mask[..., 0])  # the hypothesis as a whole
        return EntailmentOutput(logits, weights.unsqueeze(1), mask.squeeze(1), groups, is_query)

    def _decide(self, states: Tensor, query: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        context, weights = self.attention(query, states, mask=mask)  # (batch, 1, D), (batch, 1, words)
        u = torch.tanh(self.from_context(context) + self.from_hypothesis(query)).squeeze(1)
        return self.classify(self.dropout(u)), weights.squeeze(1)

    def _read(self, premise: PaddedBatch, hypothesis: PaddedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Premise states (batch, words, D), last hypothesis state (batch, 1, D), mask (batch, 1, words)."""
        states, last = self._run(self.read_premise, premise, None)
        _, query = self._run(self.read_hypothesis, hypothesis, last)
        mask = (premise.words != PAD).unsqueeze(1)
        return states, query.transpose(0, 1), mask

    def _run(self, gru: nn.GRU, sentences: PaddedBatch, start: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = self.dropout(self.project(self.vectors(sentences.words)))
        packed = pack_padded_sequence(inputs, sentences.lengths, batch_first=True, enforce_sorted=False)
        states, last = gru(packed, start)
        longest = sentences.words.shape[1]
        return pad_packed_sequence(states, batch_first=True, total_length=longest)[0], last


class DecomposableModel(nn.Module):
    r"""Attend from each word to the other sentence, compare, sum up, and decide; no order of words is read.

    With projected words :math:`a_i` of the premise and :math:`b_j` of the hypothesis, scores
    :math:`e_{ij} = \langle F(a_i), F(b_j) \rangle` and weights :math:`\mathrm{mapping}(e)` over either side,
    each word is compared with the average that it attends to, :math:`v_{1,i} = G([a_i; \beta_i])` and
    :math:`v_{2,j} = G([b_j; \alpha_j])`; the label is read off :math:`H([\sum_i v_{1,i}; \sum_j v_{2,j}])`.
    F, G and H have two layers with ReLU each.

    Arguments are those of :class:`EntailmentModel`; dropped are inputs of every layer of F, G and H.

    Source: Parikh, Täckström, Das & Uszkoreit (2016), section 3, without attention inside a sentence.
    """

    def __init__(
        self,
        vectors: Tensor,
        mapping: nn.Module,
        *,
        hidden_size: PositiveInt = 200,
        dropout: Fraction = 0.2,
        train_vectors: bool = False,
    ) -> None:
        super().__init__()
        check_ranges(DecomposableModel.__init__, {"hidden_size": hidden_size, "dropout": dropout})
        self.vectors = nn.Embedding.from_pretrained(vectors, freeze=not train_vectors, padding_idx=PAD)
        self.project = nn.Linear(vectors.shape[1], hidden_size, bias=False)
        self.attend = _layers(hidden_size, hidden_size, dropout)
        self.attention = Attention(DotScorer(), mapping)
        self.compare = _layers(2 * hidden_size, hidden_size, dropout)
        self.aggregate = _layers(2 * hidden_size, hidden_size, dropout)
        self.classify = nn.Linear(hidden_size, len(LABELS))

    @property
    def device(self) -> torch.device:
        return self.project.weight.device

    def forward(self, premise: PaddedBatch, hypothesis: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Logits (batch, 3) and the weights of hypothesis words over the premise's (batch, words, words)."""
        sides = [self.project(self.vectors(side.words)) for side in (premise, hypothesis)]
        queries = [self.attend(words) for words in sides]
        masks = [side.words != PAD for side in (premise, hypothesis)]
        sums, weights = [], torch.empty(0)
        for this, other in ((0, 1), (1, 0)):
            attended, weights = self.attention(
                queries[this], queries[other], sides[other], mask=masks[other].unsqueeze(1)
            )
            compared = self.compare(torch.cat([sides[this], attended], -1))
            sums.append((compared * masks[this].unsqueeze(-1)).sum(1))
        return self.classify(self.aggregate(torch.cat(sums, -1))), weights

    @torch.no_grad()
    def predict(self, premise: PaddedBatch, hypothesis: PaddedBatch) -> EntailmentOutput:
        """Decide and show how: the attention of the hypothesis over the premise."""
        logits, weights = self(premise, hypothesis)
        scores = self.attention.scorer(
            *(self.attend(self.project(self.vectors(s.words))) for s in (hypothesis, premise))
        )
        mask, is_word = premise.words != PAD, hypothesis.words != PAD
        groups = regattn.groups(scores, self.attention.mapping, mask=mask.unsqueeze(1))
        rows = is_word.unsqueeze(-1)
        return EntailmentOutput(logits, weights * rows, mask, groups * rows, is_word)


def _layers(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(inputs, hidden), nn.ReLU(),
        nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(),
    )  # fmt: skip
