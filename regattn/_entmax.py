"""α-entmax: a sparse softmax, between softmax and sparsemax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regattn._autograd import define_solver, dx_dgamma, product_by_kernel, solve_along
from regattn._certify import Rows
from regattn._checks import Strength, check_scores, check_strengths
from regattn._registry import Mapping, MappingSpec


def entmax15(scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, mask: Tensor | None = None) -> Tensor:
    r"""Map scores to weights of which some are exactly zero, halfway from softmax to sparsemax.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle
        - \tfrac{4}{3} \gamma \Bigl(\sum_i y_i^{3/2} - 1\Bigr)

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> entmax15(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0369, 0.5508, 0.4123])

    Source: Peters, Niculae & Martins (2019), section 3: entmax with α = 1.5.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma)
    return solve_along(solve_entmax15, scores, dim, mask, gamma)


def _product(weights: Tensor, direction: Tensor, gamma: Strength) -> Tensor:
    """(diag(s) − s sᵀ/Σs)/γ @ direction with s = √y, in operations that can be differentiated."""
    y = weights if weights.dtype == torch.float64 else weights.float()
    support = ~(y <= 0)  # NaN stays in, to come out as NaN
    s = torch.where(support, y, 1.0).sqrt().masked_fill(~support, 0.0)
    g = torch.where(support, direction.to(y.dtype), 0.0)
    total = s.sum(-1, keepdim=True).masked_fill(~support.any(-1, keepdim=True), 1.0)
    shift = (s * g).sum(-1, keepdim=True) / total
    return (s * (g - shift) / gamma).to(direction.dtype)


solve_entmax15 = define_solver(
    "entmax15", {"gamma": dx_dgamma}, product_by_kernel("entmax", _product), structured=False, file="entmax"
)


def _omega15(y: Tensor, allowed: Tensor) -> Tensor:
    return 4 / 3 * ((y * y.sqrt()).sum(-1) - 1)


def _certificate15(rows: Rows) -> Tensor:
    """The exact weights of any t = max z/2 − τ are optimal up to how far their sum is from 1.

    They are (z/2 + t)²; divided by their sum Σ they are right for scores moved by 2t·|1 − Σ^(−½)| at most.
    t is read off the largest weight.
    """
    t = rows.y.amax(-1, keepdim=True).sqrt()
    shape = (rows.z / 2 + t).clamp(min=0).masked_fill(~rows.allowed, 0.0) ** 2
    total = shape.sum(-1, keepdim=True)
    moved = 2 * t * (1 - total.rsqrt()).abs()
    return torch.maximum((rows.y - shape / total).abs().amax(-1), moved.squeeze(-1))


class Entmax15(Mapping):
    """Module form of :func:`entmax15`."""

    function = staticmethod(entmax15)

    def __init__(self, dim: int = -1, *, gamma: Strength = 1.0, learn: Sequence[str] = ()) -> None:
        super().__init__(dim, learn=learn, gamma=gamma)


ENTMAX15 = MappingSpec(
    entmax15,
    Entmax15,
    colour="#56B4E9",
    omega=_omega15,
    certificate=_certificate15,
    solver=solve_entmax15,
    beside_paper=True,
)
