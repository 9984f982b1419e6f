"""Attention as it is looked at: weights and groups over words."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class AttentionGrid:
    """The attention of one item.

    ``weights`` and ``groups`` (int64, as :func:`regattn.groups` numbers them) are (targets, sources) on the
    CPU; ``source`` and ``target`` are the words at their sides.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: Tensor
    groups: Tensor
