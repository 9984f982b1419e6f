"""softmax as an operator of its own, by PyTorch's; public functions on a CPU call PyTorch's directly."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor) -> Tensor:
    working = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:
        working = torch.where(mask, working, -torch.inf)
    top = working.amax(-1, keepdim=True)
    empty = top == -torch.inf
    working = (working - top.masked_fill(empty, 0.0)) / gamma
    return torch.softmax(working.masked_fill(empty, 0.0), -1).masked_fill(empty, 0.0).to(scores.dtype)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor) -> Tensor:
    """J @ direction of :func:`softmax`, from its weights."""
    y, g = (t if t.dtype == torch.float64 else t.float() for t in (weights, direction))
    g = torch.where(y == 0, 0.0, g)
    return (y * (g - (y * g).sum(-1, keepdim=True)) / gamma).to(direction.dtype)
