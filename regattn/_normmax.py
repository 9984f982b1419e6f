"""normmax: sparse weights from a norm, not its square."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regattn._autograd import Solution, define_solver, dx_dgamma, product_by_kernel, solve_along
from regattn._certify import Rows
from regattn._checks import Strength, check_scores, check_strengths
from regattn._pnormmax import power_certificate
from regattn._registry import Mapping, MappingSpec
from regattn._sparsemax import sparsemax_certificate


def normmax(
    scores: Tensor,
    dim: int = -1,
    *,
    gamma: Strength = 1.0,
    alpha: Strength = 2.0,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Map scores to sparse weights, nearly equal in their support where α is large.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle - \gamma \lVert y \rVert_\alpha

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: overall strength, above 0; larger is flatter. It and ``alpha`` may be tensors, such as learnt
            parameters, with one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        alpha: of the norm, at least 1; 1 is the limit, where the largest scores share all weight, and has no
            derivative.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``alpha < 1``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> normmax(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.5714, 0.4286])

    Source: Blondel, Martins & Niculae (2020), section 4.3.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma, alpha=alpha)
    return solve_along(solve_normmax, scores, dim, mask, gamma, alpha)


def _of_support(y: Tensor, alpha: Strength) -> tuple[Tensor, Tensor, Tensor]:
    """The support, ‖y‖_α, and y/‖y‖_α, 1 outside the support."""
    support = ~(y <= 0)  # NaN stays in, to come out as NaN
    empty = ~support.any(-1, keepdim=True)
    top = y.detach().amax(-1, keepdim=True).masked_fill(empty, 1.0)
    ratio = torch.where(support, y / top, 1.0)
    powers = (ratio**alpha).masked_fill(~support, 0.0).sum(-1, keepdim=True).masked_fill(empty, 1.0)
    norm = top * powers ** (1 / alpha)
    return support, norm, torch.where(support, y / norm, 1.0)


def _product(weights: Tensor, direction: Tensor, gamma: Strength, alpha: Strength) -> Tensor:
    """J @ direction from the weights, in operations that can be differentiated.

    On the support the Hessian of N = ‖y‖_α is diag(1/s) − k·b bᵀ with v = y/N, k = (α − 1)/N, s = v^(2−α)/k
    and b = v^(α−1). Its kernel is y, so that J = (I − y 1ᵀ) diag(s) (I − 1 yᵀ)/γ.
    """
    y = weights if weights.dtype == torch.float64 else weights.float()
    y = y / y.sum(-1, keepdim=True).masked_fill((y <= 0).all(-1, keepdim=True), 1.0)  # as rounding left it
    support, norm, v = _of_support(y, alpha)
    steep = torch.as_tensor(alpha, dtype=y.dtype) - 1
    per_slope = torch.where(steep > 0, 1 / torch.where(steep > 0, steep, 1.0), 0.0)
    g = torch.where(support, direction.to(y.dtype), 0.0)
    shift = (y * g).sum(-1, keepdim=True)
    solved = (v ** (2 - alpha) * norm * per_slope * (g - shift)).masked_fill(~support, 0.0)
    return ((solved - y * solved.sum(-1, keepdim=True)) / gamma).to(direction.dtype)


def _dx_dalpha(solution: Solution, gamma: Strength, alpha: Tensor) -> Tensor:
    """−γ ∂/∂α of v^(α−1), the derivative of Ω."""
    alpha = alpha.to(solution.values.dtype)
    support, _norm, v = _of_support(solution.values, alpha)
    log = v.log()
    mean = (torch.where(support, v, 0.0) ** alpha * log).sum(-1, keepdim=True)
    slope = v ** (alpha - 1) * (log - (alpha - 1) / alpha * mean)
    return -gamma * solution.along(torch.where(support, slope, 0.0))


solve_normmax = define_solver(
    "normmax",
    {"gamma": dx_dgamma, "alpha": _dx_dalpha},
    product_by_kernel("normmax", _product),
    structured=False,
)


def _omega(y: Tensor, allowed: Tensor, alpha: Strength) -> Tensor:
    each = alpha.unsqueeze(-1) if isinstance(alpha, Tensor) and alpha.ndim else alpha
    return _of_support(y, each)[1].squeeze(-1) * allowed.any(-1)


def _certificate(rows: Rows, alpha: Strength) -> Tensor:
    """As pnormmax's; beyond α = 2 weights are steep in the scores, and these are judged."""
    each = torch.as_tensor(alpha, dtype=torch.float64)

    def slopes(y: Tensor) -> Tensor:  # the derivatives of ‖y‖_α
        support, _, v = _of_support(y, each)
        return torch.where(support, v ** (each - 1), 0.0)

    of_weights = power_certificate(rows, 1 / (each - 1), lambda y: slopes(y).amax(-1, keepdim=True))
    of_scores = sparsemax_certificate(rows._replace(y=slopes(rows.y)))
    return torch.where(each.squeeze(-1) < 2, of_weights, of_scores)


class Normmax(Mapping):
    """Module form of :func:`normmax`: sparse weights, nearly equal in their support where α is large.

    Example:
        >>> Normmax(alpha=3.0)(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.5402, 0.4598])
    """

    function = staticmethod(normmax)

    def __init__(
        self, dim: int = -1, *, gamma: Strength = 1.0, alpha: Strength = 2.0, learn: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, learn=learn, gamma=gamma, alpha=alpha)


NORMMAX = MappingSpec(
    normmax,
    Normmax,
    colour="#F0E442",
    omega=_omega,
    certificate=_certificate,
    solver=solve_normmax,
)
