"""Attention as a layer: a scorer and a mapping, both passed in; and the three scorers in use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regattn._registry import as_module


class Attention(nn.Module):
    """Average values with weights that a mapping makes of a scorer's scores.

    Args:
        scorer: module ``(query, keys) -> scores``, such as :class:`regattn.DotScorer`.
        mapping: module ``(scores, mask=None) -> weights``, such as :class:`regattn.Fusedmax`, or the name of
            one of :data:`regattn.MAPPINGS`, which then has its default strengths.

    Shapes:
        query (…, targets, query_size), keys (…, sources, key_size), values (…, sources, value_size),
        mask bool, broadcastable to (…, targets, sources), ``True`` where attention is allowed.

    Under ``torch.autocast`` the mapping works in float32 and its weights are float32, as those of
    ``torch.softmax`` are; the products on both sides of it take the lower precision.

    Example:
        >>> attend = Attention(DotScorer(), Sparsemax())
        >>> context, weights = attend(torch.randn(2, 1, 8), torch.randn(2, 5, 8))
        >>> context.shape, weights.shape
        (torch.Size([2, 1, 8]), torch.Size([2, 1, 5]))
    """

    def __init__(self, scorer: nn.Module, mapping: nn.Module | str) -> None:
        super().__init__()
        self.scorer = scorer
        self.mapping = as_module(mapping)

    def extra_repr(self) -> str:
        return "" if isinstance(self.mapping, nn.Module) else f"mapping={self.mapping.__name__}"

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Context (…, targets, value_size) and weights (…, targets, sources); values default to keys.

        Without sources the context is zeros.
        """
        scores = self.scorer(query, keys)  # (…, targets, sources)
        if torch.is_autocast_enabled(scores.device.type):
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights = scores if scores.shape[-1] == 0 else self.mapping(scores, mask)
        return weights @ (keys if values is None else values), weights

    if TYPE_CHECKING:  # nn.Module has a call return Any; so below

        def __call__(
            self, query: Tensor, keys: Tensor, values: Tensor | None = None, mask: Tensor | None = None
        ) -> tuple[Tensor, Tensor]: ...


# ------------------------------------------------------------------ scorers
class DotScorer(nn.Module):
    r"""Score :math:`\langle q, k \rangle`, divided by :math:`\sqrt{d}` if ``scaled``.

    Called with query (…, targets, d) and keys (…, sources, d); returns scores (…, targets, sources).

    Args:
        scaled: whether to divide by the root of the size, which keeps scores on a scale of one.

    Example:
        >>> DotScorer(scaled=True)(torch.ones(1, 4), torch.ones(3, 4))
        tensor([[2., 2., 2.]])

    Source: Luong, Pham & Manning (2015), section 3.1; scaled, Vaswani et al. (2017), section 3.2.
    """

    def __init__(self, *, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def extra_repr(self) -> str:
        return f"scaled={self.scaled}"

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (…, targets, sources) of every key for every query."""
        scores = query @ keys.transpose(-1, -2)
        return scores / math.sqrt(keys.shape[-1]) if self.scaled else scores

    if TYPE_CHECKING:

        def __call__(self, query: Tensor, keys: Tensor) -> Tensor: ...


class BilinearScorer(nn.Module):
    r"""Score :math:`k^\top W q` ("general"), without a bias.

    Called with query (…, targets, query_size) and keys (…, sources, key_size); returns (…, targets, sources).

    Args:
        query_size: of a query, such as a decoder's state.
        key_size: of a key, such as an encoder's state.

    Example:
        >>> BilinearScorer(8, 6)(torch.randn(2, 3, 8), torch.randn(2, 5, 6)).shape
        torch.Size([2, 3, 5])

    Source: Luong, Pham & Manning (2015), section 3.1.
    """

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(query_size, key_size, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (…, targets, sources) of every key for every query."""
        scores: Tensor = self.project(query) @ keys.transpose(-1, -2)
        return scores

    if TYPE_CHECKING:

        def __call__(self, query: Tensor, keys: Tensor) -> Tensor: ...


class AdditiveScorer(nn.Module):
    r"""Score :math:`v^\top \tanh(W_k k + W_q q + b)`.

    Called with query (…, targets, query_size) and keys (…, sources, key_size); returns (…, targets, sources).
    Between them lie (…, targets, sources, hidden_size) numbers.

    Args:
        query_size: of a query.
        key_size: of a key.
        hidden_size: of v, where query and key meet.

    Example:
        >>> AdditiveScorer(8, 6, hidden_size=4)(torch.randn(2, 3, 8), torch.randn(2, 5, 6)).shape
        torch.Size([2, 3, 5])

    Source: Bahdanau, Cho & Bengio (2015), appendix A.1.2.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int) -> None:
        super().__init__()
        self.project_query = nn.Linear(query_size, hidden_size, bias=False)
        self.project_keys = nn.Linear(key_size, hidden_size)
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (…, targets, sources) of every key for every query."""
        pairs = self.project_query(query).unsqueeze(-2) + self.project_keys(keys).unsqueeze(-3)
        scores: Tensor = self.v(torch.tanh(pairs)).squeeze(-1)  # pairs (…, targets, sources, hidden)
        return scores

    if TYPE_CHECKING:

        def __call__(self, query: Tensor, keys: Tensor) -> Tensor: ...
