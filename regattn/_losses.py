"""Fenchel–Young losses: what cross-entropy is to softmax, for every mapping that has an Ω."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regattn._autograd import can_call_kernel, load_kernel
from regattn._checks import Strength, check_scores, check_strengths
from regattn._entmax import entmax, entmax15
from regattn._normmax import normmax
from regattn._registry import find_with, resolve, shown
from regattn._regularized_max import max_omega, rows_along, weighted_omega
from regattn._sparsemax import sparsemax

_REDUCTIONS = ("none", "mean", "sum")


def fenchel_young_loss(
    scores: Tensor,
    target: Tensor,
    mapping: Any,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "none",
    **strengths: Any,
) -> Tensor:
    r"""Loss that is zero exactly where the mapping gives the target.

    .. math::
        L(x; y) = \max\nolimits_\Omega(x) + \gamma\, \Omega(y) - \langle x, y \rangle \;\ge 0

    With softmax it is the Kullback–Leibler divergence (cross-entropy for a class), with sparsemax the
    sparsemax loss. Its gradient with respect to ``scores`` is ``mapping(scores) - target``. Of a class of
    many, with sparsemax, entmax and normmax on the CPU, nothing as long as the scores is made but their
    gradient.

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        target: weights of the same shape, every row on the simplex and 0 where masked; or int64 without
            ``dim``, the index of each row's class.
        mapping: as in :func:`max_omega`.
        dim: dimension of the classes.
        mask: bool, broadcastable to ``scores``; ``True`` where a position takes part.
        weight: one factor for each class; a row counts by that of its class, or by the mean under its target.
        ignore_index: the class index of rows that have no loss and no gradient.
        reduction: ``"none"``, ``"sum"``, or ``"mean"``: over the rows that count, by their weights if their
            targets are classes, as in :func:`torch.nn.functional.cross_entropy`.
        **strengths: keyword parameters of the mapping.

    Returns:
        One loss for each row, without ``dim``, or a number. A row in which nothing takes part has loss 0
        and gradient 0.

    Raises:
        TypeError, ValueError: as :func:`max_omega`; ValueError for a target, weight or reduction that does
            not fit.

    Example:
        >>> fenchel_young_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]), sparsemax)
        tensor(2.)
        >>> fenchel_young_loss(torch.tensor([2.0, 0.0]), torch.tensor(1), sparsemax)
        tensor(2.)

    Source: Blondel, Martins & Niculae (2020), "Learning with Fenchel–Young losses", section 3.
    """
    function, strengths = resolve(mapping, strengths)
    spec = find_with(function, "omega")
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, **strengths)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    if weight is not None and tuple(weight.shape) != (scores.shape[dim],):
        raise ValueError(f"weight must have shape ({scores.shape[dim]},), got {tuple(weight.shape)}")
    if target.is_floating_point():
        if scores.shape != target.shape:
            raise ValueError(
                f"target must have the shape of scores {tuple(scores.shape)}, got {tuple(target.shape)}"
            )
        losses = _loss_of_weights(scores, target, function, dim, mask, strengths)
        if weight is not None:
            losses = losses * (target.movedim(dim, -1) * weight).sum(-1)
        return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses
    if spec.total is not None:
        raise ValueError(f"target must be weights for {spec.name}, whose total is not 1, got class indices")
    kept = target != ignore_index
    classes = torch.where(kept, target, 0)
    _check_classes(target, classes, scores, dim)
    losses = _loss_of_classes(scores, classes, kept, function, dim, mask, strengths)
    counted = kept.to(losses.dtype) if weight is None else torch.where(kept, weight[classes], 0.0)
    if weight is not None:
        losses = losses * counted
    if reduction == "none":
        return losses
    return losses.sum() / counted.sum() if reduction == "mean" else losses.sum()


def _check_classes(target: Tensor, classes: Tensor, scores: Tensor, dim: int) -> None:
    shape, count = tuple(scores.select(dim, 0).shape), scores.shape[dim]
    if target.dtype != torch.int64 or tuple(target.shape) != shape:
        raise ValueError(
            f"target must be weights of the shape of scores {tuple(scores.shape)}, or int64 class indices of "
            f"shape {shape}, got {target.dtype} of shape {tuple(target.shape)}"
        )
    if can_call_kernel(classes) and classes.device.type == "cpu" and classes.numel():
        low, high = (int(found) for found in classes.aminmax())
        if low < 0 or high >= count:
            got = low if low < 0 else high
            raise ValueError(f"target must be class indices from 0 to {count - 1} or ignore_index, got {got}")


def _loss_of_weights(
    scores: Tensor, target: Tensor, function: Any, dim: int, mask: Tensor | None, strengths: dict[str, Any]
) -> Tensor:
    maximum = max_omega(scores, function, dim, mask=mask, **strengths)
    x, strengths = rows_along(scores, dim, mask, strengths)
    y, allowed = target.movedim(dim, -1), x.detach() != -torch.inf
    omega = weighted_omega(y, allowed, find_with(function, "omega"), strengths)
    loss = maximum + omega - torch.where(y > 0, x * y, 0.0).sum(-1)
    return torch.where(allowed.any(-1), loss, 0.0)


def _loss_of_classes(
    scores: Tensor,
    classes: Tensor,
    kept: Tensor,
    function: Any,
    dim: int,
    mask: Tensor | None,
    strengths: dict[str, Any],
) -> Tensor:
    every = find_with(function, "omega").defaults | strengths
    gamma: Any = every["gamma"]
    alpha: Any = {sparsemax: 2.0, entmax15: 1.5}.get(function, every.get("alpha"))
    if (
        function in (sparsemax, entmax15, entmax, normmax)
        and mask is None
        and not isinstance(gamma, Tensor)
        and not isinstance(alpha, Tensor)
        and alpha > 1
        and (alpha <= 2 or function is normmax)
        and scores.device.type == "cpu"
        and can_call_kernel(scores)
    ):
        rows = scores.movedim(dim, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        targets = torch.where(kept, classes, -1).reshape(-1)
        losses: Tensor = _ClassLoss.apply(flat, targets, function is normmax, float(gamma), float(alpha))
        return losses.reshape(rows.shape[:-1])
    losses = _loss_of_weights(scores, _one_hot(classes, scores, dim), function, dim, mask, strengths)
    return torch.where(kept, losses, 0.0)


def _one_hot(classes: Tensor, like: Tensor, dim: int) -> Tensor:
    return torch.zeros_like(like).scatter(dim, classes.unsqueeze(dim), 1.0)


class _ClassLoss(torch.autograd.Function):
    """By kernels that keep the support alone; differentiated again, by the weights in whole."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, targets: Tensor, of_norm: bool, gamma: float, alpha: float) -> Tensor:
        losses, found = load_kernel("cpu", "losses", "class_loss")(rows, targets, of_norm, gamma, alpha)
        ctx.save_for_backward(rows, targets, *found)
        ctx.problem = of_norm, gamma, alpha
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, targets, *found = ctx.saved_tensors
        if torch.is_grad_enabled() or not can_call_kernel(gradient):
            of_norm, gamma, alpha = ctx.problem
            weights = (normmax if of_norm else entmax)(rows, gamma=gamma, alpha=alpha)
            counted = (targets >= 0) & ~(rows == -torch.inf).all(-1)
            moved = weights - _one_hot(targets.clamp(min=0), rows, -1)
            product = gradient.unsqueeze(-1) * torch.where(counted.unsqueeze(-1), moved, 0.0)
        else:
            product = load_kernel("cpu", "losses", "class_gradient")(gradient, targets, tuple(found))
            product = product.to(rows.dtype)
        return product, None, None, None, None


# ------------------------------------------------------------------ by name, as torch has cross_entropy
def _as_cross_entropy(
    mapping: Any,
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    **strengths: Any,
) -> Tensor:
    """Classes along dimension 1, or 0 of a single row."""
    check_scores(scores, 0)
    options: dict[str, Any] = {"weight": weight, "ignore_index": ignore_index, "reduction": reduction}
    return fenchel_young_loss(scores, target, mapping, min(1, scores.ndim - 1), **options, **strengths)


def sparsemax_loss(
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    gamma: Strength = 1.0,
) -> Tensor:
    """:func:`fenchel_young_loss` of :func:`sparsemax`, called as :func:`torch.nn.functional.cross_entropy`.

    Args:
        scores: floating (N, C, …), or (C,) of one row: classes stand where cross_entropy has them.
        target: int64 class indices (N, …), or weights of the shape of ``scores``.
        weight, ignore_index, reduction: as in :func:`fenchel_young_loss`, but the mean unless told.
        gamma: above 0.

    Returns:
        A number, or one loss for each row with ``reduction="none"``.

    Raises:
        TypeError, ValueError: as :func:`fenchel_young_loss`.

    Example:
        >>> sparsemax_loss(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor(1.)

    Source: Martins & Astudillo (2016), section 3.
    """
    return _as_cross_entropy(sparsemax, scores, target, weight, ignore_index, reduction, gamma=gamma)


def entmax15_loss(
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    gamma: Strength = 1.0,
) -> Tensor:
    """:func:`fenchel_young_loss` of :func:`entmax15`; arguments, result and errors as :func:`sparsemax_loss`.

    Example:
        >>> entmax15_loss(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor(1.)

    Source: Peters, Niculae & Martins (2019), section 3.
    """
    return _as_cross_entropy(entmax15, scores, target, weight, ignore_index, reduction, gamma=gamma)


def entmax_loss(
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    gamma: Strength = 1.0,
    alpha: Strength = 1.5,
) -> Tensor:
    """:func:`fenchel_young_loss` of :func:`entmax`; arguments, result and errors as :func:`sparsemax_loss`.

    Args:
        alpha: of entmax, at least 1.

    Example:
        >>> entmax_loss(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]), alpha=1.2)
        tensor(1.0198)

    Source: Peters, Niculae & Martins (2019), section 3.
    """
    return _as_cross_entropy(
        entmax, scores, target, weight, ignore_index, reduction, gamma=gamma, alpha=alpha
    )


def normmax_loss(
    scores: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    *,
    gamma: Strength = 1.0,
    alpha: Strength = 2.0,
) -> Tensor:
    """:func:`fenchel_young_loss` of :func:`normmax`; arguments, result and errors as :func:`sparsemax_loss`.

    Args:
        alpha: of normmax, at least 1.

    Example:
        >>> normmax_loss(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]), alpha=3.0)
        tensor(1.)

    Source: Blondel, Martins & Niculae (2020), section 4.3.
    """
    return _as_cross_entropy(
        normmax, scores, target, weight, ignore_index, reduction, gamma=gamma, alpha=alpha
    )


class FenchelYoungLoss(nn.Module):
    """Module form of :func:`fenchel_young_loss`, called as :class:`torch.nn.CrossEntropyLoss`.

    Args:
        mapping: function or Module; a Module's strengths are learnt with the rest where they are parameters.
        weight, ignore_index, reduction: as in :func:`fenchel_young_loss`.
        **strengths: keyword parameters of the mapping.

    Example:
        >>> FenchelYoungLoss(fusedmax, lam=0.1)(torch.tensor([[1.0, 2.1, 1.9]]), torch.tensor([2]))
        tensor(0.4000)
    """

    weight: Tensor | None

    def __init__(
        self,
        mapping: Any,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        **strengths: Any,
    ) -> None:
        super().__init__()
        find_with(resolve(mapping, {})[0], "omega")
        self.mapping, self.ignore_index, self.reduction = mapping, ignore_index, reduction
        self.strengths = strengths
        self.register_buffer("weight", weight)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """The loss of scores with the classes along dimension 1, as ``torch.nn.CrossEntropyLoss`` has it."""
        return _as_cross_entropy(
            self.mapping, scores, target, self.weight, self.ignore_index, self.reduction, **self.strengths
        )

    if TYPE_CHECKING:  # nn.Module has a call return Any

        def __call__(self, scores: Tensor, target: Tensor) -> Tensor: ...

    def extra_repr(self) -> str:
        return shown(self.mapping, **self.strengths, reduction=self.reduction)


class _NamedLoss(FenchelYoungLoss):
    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        **strengths: Any,
    ) -> None:
        super().__init__(self.of, weight, ignore_index, reduction, **strengths)

    of: Any


class SparsemaxLoss(_NamedLoss):
    """Module form of :func:`sparsemax_loss`: cross-entropy's place where sparsemax predicts.

    Example:
        >>> SparsemaxLoss()(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor(1.)
    """

    of = staticmethod(sparsemax)


class Entmax15Loss(_NamedLoss):
    """Module form of :func:`entmax15_loss`: cross-entropy's place where entmax15 predicts.

    Example:
        >>> Entmax15Loss()(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor(1.)
    """

    of = staticmethod(entmax15)


class EntmaxLoss(_NamedLoss):
    """Module form of :func:`entmax_loss`: cross-entropy's place where entmax predicts.

    Example:
        >>> EntmaxLoss(alpha=1.2)(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor(1.0198)
    """

    of = staticmethod(entmax)


class NormmaxLoss(_NamedLoss):
    """Module form of :func:`normmax_loss`: cross-entropy's place where normmax predicts.

    Example:
        >>> NormmaxLoss(alpha=3.0)(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1]))
        tensor(1.)
    """

    of = staticmethod(normmax)
