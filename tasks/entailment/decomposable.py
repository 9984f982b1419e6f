"""An entailment model in which attention alone brings the two sentences together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import regattn
from regattn import Attention, DotScorer
from tasks.data.vocabulary import PAD
from tasks.entailment.data import LABELS
from tasks.entailment.model import EntailmentOutput, PaddedBatch
from tasks.ranges import Fraction, PositiveInt, check_ranges


class DecomposableModel(nn.Module):
    r"""Attend from each word to the other sentence, compare, sum up, and decide; no order of words is read.

    With projected words :math:`a_i` of the premise and :math:`b_j` of the hypothesis, scores
    :math:`e_{ij} = \langle F(a_i), F(b_j) \rangle` and weights :math:`\mathrm{mapping}(e)` over either side,
    each word is compared with the average that it attends to, :math:`v_{1,i} = G([a_i; \beta_i])` and
    :math:`v_{2,j} = G([b_j; \alpha_j])`; the label is read off :math:`H([\sum_i v_{1,i}; \sum_j v_{2,j}])`.
    F, G and H have two layers with ReLU each.

    Args:
        vectors: word vectors (words, dim).
        mapping: module ``(scores, mask) -> weights``, of both directions.
        hidden_size: size of the projected vectors and of all layers, at least 1.
        dropout: share of the inputs of every layer of F, G and H that is dropped, in [0, 1).
        train_vectors: whether the vectors are trained along.

    Raises:
        ValueError: a number out of its range.

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
