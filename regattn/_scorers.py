"""How well a query fits a key: the three scorers in use."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DotScorer(nn.Module):
    r"""Score :math:`\langle q, k \rangle`, divided by :math:`\sqrt{d}` if ``scaled``.

    Shapes: query (…, targets, d) and keys (…, sources, d) to scores (…, targets, sources).
    Source: Luong, Pham & Manning (2015), section 3.1; scaled, Vaswani et al. (2017), section 3.2.
    """

    def __init__(self, *, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        scores = query @ keys.transpose(-1, -2)
        return scores / math.sqrt(keys.shape[-1]) if self.scaled else scores


class BilinearScorer(nn.Module):
    r"""Score :math:`k^\top W q` ("general"), without a bias.

    Shapes: query (…, targets, query_size) and keys (…, sources, key_size) to (…, targets, sources).
    Source: Luong, Pham & Manning (2015), section 3.1.
    """

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(query_size, key_size, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return self.project(query) @ keys.transpose(-1, -2)


class AdditiveScorer(nn.Module):
    r"""Score :math:`v^\top \tanh(W_k k + W_q q + b)`.

    Shapes: query (…, targets, query_size) and keys (…, sources, key_size) to (…, targets, sources).
    Source: Bahdanau, Cho & Bengio (2015), appendix A.1.2.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int) -> None:
        super().__init__()
        self.project_query = nn.Linear(query_size, hidden_size, bias=False)
        self.project_keys = nn.Linear(key_size, hidden_size)
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        pairs = self.project_query(query).unsqueeze(-2) + self.project_keys(keys).unsqueeze(-3)
        scores: Tensor = self.v(torch.tanh(pairs)).squeeze(-1)  # pairs (…, targets, sources, hidden)
        return scores
