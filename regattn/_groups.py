"""Which positions a mapping has tied together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regattn._autograd import load_kernel, to_last
from regattn._checks import check_scores, check_strengths
from regattn._registry import find, resolve


def groups(
    scores: Tensor, mapping: Any, dim: int = -1, *, mask: Tensor | None = None, **strengths: Any
) -> Tensor:
    """Groups of positions that a mapping gave one shared weight because its penalty fused them.

    The labels come from the solver itself: two weights that are equal by chance are two groups.

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        mapping: a mapping of this library, as a function or as a Module.
        dim: dimension of the positions attended to.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.
        **strengths: keyword parameters of the mapping.

    Returns:
        int64 tensor like ``scores``: 0 outside the support, else the number of the position's group,
        distinct inside a row. A mapping without groups has one for each position of its support.

    Raises:
        TypeError, ValueError: as the mapping.

    Example:
        >>> groups(torch.tensor([1.0, 2.1, 1.9]), fusedmax, lam=0.1)
        tensor([0, 1, 1])
    """
    function, strengths = resolve(mapping, strengths)
    scores = scores.detach()
    spec = find(function)
    if spec is None or spec.solver is None or not spec.has_groups:
        support = function(scores, dim, mask=mask, **strengths) > 0
        return support.cumsum(dim) * support
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, **strengths)
    if mask is not None:
        scores = torch.where(mask, scores, -torch.inf)
    every = spec.defaults | strengths
    each = (to_last(s, dim, scores.ndim) if isinstance(s, Tensor) else float(s) for s in every.values())
    _, structure = spec.solver.kernel(scores.movedim(dim, -1), None, *each)
    labels = load_kernel(structure.device.type, "groups", "labels")(structure)
    return labels.clamp(min=0).movedim(-1, dim).long()
