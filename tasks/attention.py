"""What attention looks like: over which words, how much of it is zero, what segments and groups it has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PEAKED = 0.99
"""The weight over which a row counts as one that looks at a single word."""


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


class AttentionTally:
    """Counts over rows of attention weights, from which their statistics follow.

    A *support run* is a longest run of neighbouring positions whose weights are not 0. A *segment* is a
    longest run of neighbouring positions of one group, a group being the positions that the mapping fused:
    each segment lies in one support run, and a group of oscarmax may have several.

    The four last of the metrics tell whether scores can still be learnt from; they count the rows with at
    least two positions allowed.

    Metrics:
        zero_share: mean share of a row's allowed positions with a weight of exactly 0.
        support_runs: mean number of support runs in a row.
        segments: mean number of segments in a row.
        segment_length: mean positions of a segment, over all segments.
        groups: mean number of groups in a row.
        group_size: mean positions of a group, over all groups.
        entropy: mean of -Σ w log w, in nats.
        one_word_share: share of rows whose support is one position.
        peaked_share: share of rows with a weight over .99: what softmax has in place of the former.
        fused_share: share of rows of which all allowed positions are one group: uniform, whatever the scores.
        zero_gradient_share: share of rows whose support is one group, those of a single word and those fused
            whole among them: no change of the scores, if small enough, changes the weights.

    Example:
        >>> tally = AttentionTally()
        >>> weights = torch.tensor([[0.25, 0.25, 0.0, 0.5, 0.0]])
        >>> mask = torch.tensor([[True, True, True, True, False]])
        >>> tally.add(weights, mask, groups=torch.tensor([[1, 1, 0, 2, 0]]))
        >>> tally.metrics()["zero_share"], tally.metrics()["segment_length"]
        (0.25, 1.5)
    """

    _MEANS = ("zero_share", "support_runs", "segments", "groups", "entropy")
    _SHARES = ("one_word_share", "peaked_share", "fused_share", "zero_gradient_share")

    def __init__(self) -> None:
        self.rows = 0
        self.sums = dict.fromkeys((*self._MEANS, *self._SHARES), 0.0)
        self.fused = 0  # positions that are in a group
        self.open_rows = 0  # rows with a choice: at least two positions allowed

    def add(self, weights: Tensor, mask: Tensor, groups: Tensor) -> None:
        """Count a batch of rows; one that is masked everywhere does not count.

        Args:
            weights: (rows, sources), 0 where masked.
            mask: bool, of that shape; ``True`` where attention is allowed.
            groups: int64, of that shape; numbers of the groups as :func:`regattn.groups` returns them, 0
                outside the support.

        Raises:
            ValueError: the shapes differ or are not of two dimensions, or a masked position has a weight or
                a group.
        """
        _check(weights, mask, groups)
        kept = mask.any(-1)
        weights, mask, groups = weights.detach()[kept].double(), mask[kept], groups[kept]
        allowed, support = mask.sum(-1), (weights != 0).sum(-1)
        count_of_groups = _changes(groups.sort(-1).values)
        is_open, is_one_group = allowed > 1, count_of_groups == 1
        counts = {
            "zero_share": (allowed - support) / allowed.double(),
            "support_runs": _changes((weights != 0).long()),
            "segments": _changes(groups),
            "groups": count_of_groups,
            "entropy": torch.special.entr(weights).sum(-1),
            "one_word_share": is_open & (support == 1),
            "peaked_share": is_open & (weights > PEAKED).any(-1),
            "fused_share": is_open & is_one_group & (support == allowed),
            "zero_gradient_share": is_open & is_one_group,
        }
        for name, count in counts.items():
            self.sums[name] += float(count.sum(dtype=torch.float64))
        self.rows += len(weights)
        self.open_rows += int(is_open.sum())
        self.fused += int((groups != 0).sum())

    def metrics(self) -> dict[str, float]:
        """Means over all rows counted; one that would divide by 0 is left out."""
        fractions: dict[str, tuple[float, float]]
        fractions = {name: (self.sums[name], self.rows) for name in self._MEANS}
        fractions |= {name: (self.sums[name], self.open_rows) for name in self._SHARES}
        fractions["segment_length"] = self.fused, self.sums["segments"]
        fractions["group_size"] = self.fused, self.sums["groups"]
        return {name: part / whole for name, (part, whole) in fractions.items() if whole}


def _changes(labels: Tensor) -> Tensor:
    """How often a row goes over to a new label that is not 0; (rows,)."""
    before = torch.nn.functional.pad(labels, (1, 0))[:, :-1]
    return ((labels != before) & (labels != 0)).sum(-1)


def _check(weights: Tensor, mask: Tensor, groups: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in (weights, mask, groups)]
    if weights.ndim != 2 or len(set(shapes)) != 1:
        got = ", ".join(map(str, shapes))
        raise ValueError(f"weights, mask and groups must have one shape (rows, sources), got {got}")
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, got {mask.dtype}")
    if bool((((weights != 0) | (groups != 0)) & ~mask).any()):
        raise ValueError("masked positions must have weight 0 and group 0, got others")
