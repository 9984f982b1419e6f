"""Attention as a layer: a scorer and a mapping, both passed in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Average values with weights that a mapping makes of a scorer's scores.

    Args:
        scorer: module ``(query, keys) -> scores``, such as :class:`regattn.DotScorer`.
        mapping: module ``(scores, mask=None) -> weights``, such as :class:`regattn.Fusedmax`.

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

    def __init__(self, scorer: nn.Module, mapping: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer
        self.mapping = mapping

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Context (…, targets, value_size) and weights (…, targets, sources); values default to keys."""
        scores = self.scorer(query, keys)  # (…, targets, sources)
        if torch.is_autocast_enabled(scores.device.type):
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights = self.mapping(scores, mask)
        return weights @ (keys if values is None else values), weights
