"""max_Ω, the maximum whose argument a mapping is, and the loss that belongs to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regattn._checks import check_scores
from regattn._mapping import resolve
from regattn._operators import to_last
from regattn._registry import MappingSpec, find_with


def _omega(weights: Tensor, allowed: Tensor, spec: MappingSpec, strengths: dict[str, Any]) -> Tensor:
    """γ Ω of rows along the last dimension."""
    assert spec.omega is not None
    every = spec.defaults | strengths
    each = {k: v.squeeze(-1) if isinstance(v, Tensor) and v.ndim else v for k, v in every.items()}
    gamma: Any = each.pop("gamma")
    return gamma * spec.omega(weights, allowed, **each)


class _Envelope(torch.autograd.Function):
    """Attach the gradient that the envelope theorem gives: the derivative of max_Ω is its argument.

    The argument enters as an input, so that differentiating again differentiates the mapping. The
    value brings the derivatives with respect to the strengths.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])
        ctx.save_for_forward(inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, gradient.unsqueeze(-1) * ctx.saved_tensors[0], None

    @staticmethod
    def jvp(ctx: Any, of_value: Tensor, tangent: Tensor, _: Tensor) -> Tensor:
        return of_value + (ctx.saved_tensors[0] * tangent).sum(-1)


def max_omega(
    scores: Tensor, mapping: Any, dim: int = -1, *, mask: Tensor | None = None, **strengths: Any
) -> Tensor:
    r"""Regularized maximum, a smooth or piecewise quadratic stand-in for max.

    .. math::
        \max\nolimits_\Omega(x) = \max_{y \in \Delta}\; \langle x, y \rangle - \gamma\, \Omega(y)

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        mapping: whose Ω: a mapping of this library, as a function or as a Module.
        dim: dimension that is maximized over.
        mask: bool, broadcastable to ``scores``; ``True`` where a position takes part.
        **strengths: keyword parameters of the mapping.

    Returns:
        Tensor without ``dim``; its gradient with respect to ``scores`` is ``mapping(scores)``.
        −inf for a row in which nothing takes part.

    Raises:
        TypeError, ValueError: as the mapping; ValueError for a mapping without a known Ω.

    Example:
        >>> max_omega(torch.tensor([1.0, 2.1, 1.9]), fusedmax, lam=0.1)
        tensor(1.7000)

    Source: Niculae & Blondel (2017), section 2, equation 2.
    """
    function, strengths = resolve(mapping, strengths)
    spec = find_with(function, "omega")
    check_scores(scores, dim, mask)
    x = scores if mask is None else torch.where(mask, scores, -torch.inf)
    x = x.movedim(dim, -1)
    strengths = {name: to_last(value, dim, scores.ndim) for name, value in strengths.items()}
    weights = function(x, **strengths)
    allowed = x.detach() != -torch.inf
    y = weights.detach()
    inner = torch.where(y > 0, x.detach() * y, y).sum(-1)
    value = inner - _omega(y, allowed, spec, strengths).to(inner.dtype)
    value = value.masked_fill(~allowed.any(-1), -torch.inf)
    return _Envelope.apply(value, x, weights)


def fenchel_young_loss(
    scores: Tensor,
    target: Tensor,
    mapping: Any,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    **strengths: Any,
) -> Tensor:
    r"""Loss that is zero exactly where the mapping gives the target.

    .. math::
        L(x; y) = \max\nolimits_\Omega(x) + \gamma\, \Omega(y) - \langle x, y \rangle \;\ge 0

    With softmax it is the Kullback–Leibler divergence (cross-entropy for a one-hot target), with
    sparsemax the sparsemax loss. Its gradient with respect to ``scores`` is ``mapping(scores) - target``.

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        target: weights of the same shape, every row on the simplex and 0 where masked.
        mapping: as in :func:`max_omega`.
        dim: dimension of the positions.
        mask: bool, broadcastable to ``scores``; ``True`` where a position takes part.
        **strengths: keyword parameters of the mapping.

    Returns:
        One loss for each row: tensor without ``dim``.

    Raises:
        TypeError, ValueError: as :func:`max_omega`; ValueError if the shapes differ.

    Example:
        >>> fenchel_young_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]), sparsemax)
        tensor(2.)

    Source: Blondel, Martins & Niculae (2020), "Learning with Fenchel–Young losses", section 3.
    """
    if scores.shape != target.shape:
        raise ValueError(
            f"target must have the shape of scores {tuple(scores.shape)}, got {tuple(target.shape)}"
        )
    function, strengths = resolve(mapping, strengths)
    maximum = max_omega(scores, function, dim, mask=mask, **strengths)
    x = scores if mask is None else torch.where(mask, scores, -torch.inf)
    x, y = x.movedim(dim, -1), target.movedim(dim, -1)
    strengths = {name: to_last(value, dim, scores.ndim) for name, value in strengths.items()}
    omega = _omega(y, x.detach() != -torch.inf, find_with(function, "omega"), strengths)
    return maximum + omega - torch.where(y > 0, x * y, 0.0).sum(-1)
