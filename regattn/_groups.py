"""Which positions a mapping has tied together, and attention as a picture that outlines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regattn._autograd import load_kernel, to_last
from regattn._checks import check_scores, check_strengths
from regattn._registry import find, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def plot(
    weights: Tensor | Sequence[Sequence[float]],
    source: Sequence[str],
    target: Sequence[str] | None = None,
    *,
    groups: Tensor | Sequence[Sequence[int]] | None = None,
    title: str = "",
) -> Figure:
    """Draw attention as a heat map: weights as shaded cells, zeros white, merged groups outlined.

    A weight that is exactly 0 stays white, and one that is not is shaded, however small it is. With
    ``groups`` each stretch of positions that the mapping merged has a box, all of one group in one colour.

    Args:
        weights: (targets, sources), or (sources,) for one row, in [0, 1]; a tensor or lists, as of JSON.
        source: words along x, one for each column.
        target: words along y, one for each row; none are written if None.
        groups: integers like ``weights``, as :func:`regattn.groups` numbers them: 0 outside the support.
        title: stands above it.

    Returns:
        A figure of its own, which matplotlib's global state does not know: ``figure.savefig(path)`` writes
        it, a notebook shows it.

    Raises:
        ImportError: matplotlib is not installed (extra ``plot``).
        ValueError: shapes that do not fit together, weights outside [0, 1], groups that are not integers,
            or nothing to draw.

    Example:
        >>> scores, words = torch.tensor([[1.0, 2.1, 1.9, 0.4]]), ["the", "black", "cat", "sat"]
        >>> merged = groups(scores, fusedmax, lam=0.2)
        >>> figure = plot(fusedmax(scores, lam=0.2), words, ["cat"], groups=merged)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['.50', '.50']
    """
    try:
        from regattn._heatmap import Panel, lay_out
    except ImportError as error:
        raise ImportError("regattn.plot needs matplotlib: pip install 'regattn[plot]'") from error
    weights = torch.as_tensor(weights)
    rows = weights.unsqueeze(0) if weights.ndim == 1 else weights
    if groups is not None:
        groups = torch.as_tensor(groups)
        groups = groups.reshape(rows.shape) if groups.shape == weights.shape else groups
    numbers = None if groups is None else groups.detach().cpu().numpy()
    panel = Panel(title, rows.detach().float().cpu().numpy(), source, target, numbers)
    return lay_out([[panel]])
