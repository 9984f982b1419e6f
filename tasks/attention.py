"""What attention looks like: over which words, how much of it is zero, what segments and groups it has.

And what it does while it is trained, seen in a sample of the steps: whether scores are still learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

import regattn

PEAKED = 0.99
"""The weight over which a row counts as one that looks at a single word."""


@dataclass(frozen=True)
class AttentionGrid:
    """The attention of one item, as plain JSON.

    ``weights`` and ``groups``, as :func:`regattn.groups` numbers them, are (targets, sources); ``source`` and
    ``target`` are the words at their sides.
    """

    source: list[str]
    target: list[str]
    weights: list[list[float]]
    groups: list[list[int]]

    @classmethod
    def of(cls, source: Iterable[str], target: Iterable[str], weights: Tensor, groups: Tensor) -> Self:
        """That of tensors on any device."""
        return cls([*source], [*target], weights.tolist(), groups.tolist())

    def rounded(self, digits: int) -> Self:
        """The same with weights of so many digits; one that is not 0 never becomes 0."""
        weights = [[float(f"{weight:.{digits}g}") for weight in row] for row in self.weights]
        return replace(self, weights=weights)


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
            whole among them, or would be but for weights at a ceiling of 1: no change of the scores, if small
            enough, changes the weights.

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
        """Count a batch of rows (rows, sources); one that is masked everywhere does not count.

        Weights are 0 where masked, and so are the groups, as :func:`regattn.groups` numbers them.
        """
        assert weights.ndim == 2 and weights.shape == mask.shape == groups.shape and mask.dtype == torch.bool
        assert not (((weights != 0) | (groups != 0)) & ~mask).any(), "masked positions weigh nothing"
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
            "zero_gradient_share": is_open & (is_one_group | _is_held(weights, groups)),
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


def _is_held(weights: Tensor, groups: Tensor) -> Tensor:
    """Whether all weights of a row but one group stand at a ceiling of 1, as those of budget may; (rows,)."""
    at_ceiling = (weights == 1) & (weights.sum(-1, keepdim=True) > 1 + 1e-3)
    held = at_ceiling.any(-1)
    if not held.any():  # as of every mapping onto the simplex, whose rows need no sorting then
        return held
    others = groups.masked_fill(at_ceiling, 0).sort(-1).values
    return held & (_changes(others) < 2)


def _changes(labels: Tensor) -> Tensor:
    """How often a row goes over to a new label that is not 0; (rows,)."""
    before = torch.nn.functional.pad(labels, (1, 0))[:, :-1]
    return ((labels != before) & (labels != 0)).sum(-1)


# ------------------------------------------------------------------ while it is trained
EVERY = 20
"""Steps from one that is looked at to the next; what looking costs is spread over as many."""

_ENOUGH = 5  # samples of an epoch before it is judged
_MOST_FUSED = 0.9  # of the rows
_MOST_ALONE = 1 / 3  # of the rows, at the beginning
_BEGINNING = 1_000  # steps of the first epoch; later a word alone may be what was learnt


class AttentionMonitor:
    """Looks at the mappings of a model in every :data:`EVERY`-th training step, the first one included.

    It only reads: the steps are the same, bit for bit, with and without it. Of several processes one looks,
    at its own share of the batch; rows of padded targets count as others do.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._mappings = [module for module in modules if isinstance(module, regattn.Mapping)]
        scorers = [module.scorer for module in modules if isinstance(module, regattn.Attention)]
        self._weights = [weight for scorer in scorers for weight in scorer.parameters()]

    @contextmanager
    def watch(self, step: int) -> Iterator[dict[str, float]]:
        """Look at the training step that is made inside, where it is the turn of the ``step``-th.

        Yields:
            What fills when the block is left, in a step that is looked at: the metrics of
            :class:`AttentionTally`, and ``scorer_gradient``, the Euclidean norm of the
            gradient of the scorers' weights before it is clipped, where they have any; strengths that are
            learnt, each under its name, as means over what there are of them.
        """
        figures: dict[str, float] = {}
        if step % EVERY or not self._mappings:
            yield figures
            return
        tally, norms = AttentionTally(), dict[Tensor, Tensor]()

        def look(mapping: Any, given: tuple[Any, ...], weights: Tensor) -> None:
            _add(tally, mapping, weights.detach(), *given)

        def keep(weight: Tensor) -> None:
            assert weight.grad is not None
            norms[weight] = weight.grad.norm()

        handles = [mapping.register_forward_hook(look) for mapping in self._mappings]
        handles += [weight.register_post_accumulate_grad_hook(keep) for weight in self._weights]
        try:
            yield figures
        finally:
            for handle in handles:
                handle.remove()
        figures.update(tally.metrics())
        for mapping in self._mappings:
            figures.update({name: float(getattr(mapping, name).detach().mean()) for name in mapping.learn})
        if norms:
            figures["scorer_gradient"] = float(torch.stack([*norms.values()]).norm())


@torch.no_grad()
def _add(
    tally: AttentionTally,
    mapping: regattn.Mapping,
    weights: Tensor,
    scores: Tensor,
    mask: Tensor | None = None,
) -> None:
    groups = regattn.groups(scores, mapping, mapping.dim, mask=mask)
    allowed = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask.expand_as(weights)
    rows = (tensor.movedim(mapping.dim, -1).flatten(0, -2) for tensor in (weights, allowed, groups))
    tally.add(*rows)


@contextmanager
def gamma_times(factor: float, model: nn.Module) -> Iterator[None]:
    """Inside, each mapping in ``model`` has ``factor`` times its γ, and its λ divided by as much.

    Raises:
        ValueError: one of them is a tensor, such as one that is learnt.
    """
    given = [
        (module, name, value)
        for module in model.modules()
        if factor != 1 and isinstance(module, regattn.Mapping)
        for name, value in module.strengths.items()
        if name in ("gamma", "lam")
    ]
    for _, name, value in given:
        if isinstance(value, Tensor):
            raise ValueError(
                f"{name} must be a number where anneal_gamma is not null, got one that is learnt"
            )
    try:
        for mapping, name, value in given:
            setattr(mapping, name, value * factor if name == "gamma" else value / factor)
        yield
    finally:
        for mapping, name, value in given:
            setattr(mapping, name, value)


def warning(means: Mapping[str, float], samples: int, *, epoch: int, step: int) -> str | None:
    """A sentence with advice where scores are not learnt, by the means of an epoch's ``samples`` so far."""
    if samples < _ENOUGH:
        return None
    if means.get("fused_share", 0.0) > _MOST_FUSED:
        return (
            f"{means['fused_share']:.0%} of the rows of attention are fused whole, which gives the scores no "
            f"gradient: a smaller attention.lam lets them be learnt (docs/training.md)"
        )
    is_beginning = epoch == 1 and step <= _BEGINNING
    if is_beginning and means.get("one_word_share", 0.0) > _MOST_ALONE:
        return (
            f"{means['one_word_share']:.0%} of the rows of attention have one word in their support after "
            f"{step} steps, which gives the scores no gradient: a larger attention.gamma with lam divided by "
            f"as much, lets them be learnt (docs/training.md)"
        )
    return None
