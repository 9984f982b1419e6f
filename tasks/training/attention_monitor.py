"""What attention does while it is trained, seen in a sample of the steps: whether scores are still learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import regattn
from tasks.attention import AttentionTally

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

    Args:
        model: whose :class:`regattn.Mapping` modules are looked at, if it has any.
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
            :class:`tasks.attention.AttentionTally`, and ``scorer_gradient``, the Euclidean norm of the
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
