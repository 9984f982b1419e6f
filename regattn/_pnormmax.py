"""pnormmax: the paper's sq-pnorm-max."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from regattn._autograd import define_solver, dx_dgamma, product_by_kernel, solve_along
from regattn._certify import Rows
from regattn._checks import Strength, check_scores, check_strengths
from regattn._prox import solve_simplex
from regattn._registry import Mapping, MappingSpec
from regattn._sparsemax import sparsemax_certificate


def pnormmax(
    scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, p: float = 1.5, mask: Tensor | None = None
) -> Tensor:
    r"""Map scores to sparse weights, the sparser the smaller the norm's exponent.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle - \tfrac{\gamma}{2} \lVert y \rVert_p^2

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: overall strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        p: which norm, 1 < ``p`` ≤ 2; 2 gives :func:`sparsemax`.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``p`` outside (1, 2], ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> pnormmax(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.6549, 0.3451])

    Source: Niculae & Blondel (2017), section 2 (sq-pnorm-max), solved as one scalar root instead of
    by projected gradient.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma, p=p)
    if p == 2:
        return solve_along(solve_simplex, scores, dim, mask, gamma)
    return solve_along(solve_pnormmax, scores, dim, mask, gamma, p)


def _product(weights: Tensor, direction: Tensor, gamma: Strength, p: float) -> Tensor:
    """J @ direction from the weights, in operations that can be differentiated.

    On the support the Hessian of ½‖y‖_p² is diagonal plus rank one; by Sherman–Morrison its inverse
    is diag(s) − c·y yᵀ with s = (y/‖y‖)^{2−p}/(p−1) and c = (2−p)/((p−1)‖y‖²), which is all that
    J = (H⁻¹ − H⁻¹1 1ᵀH⁻¹ / 1ᵀH⁻¹1)/γ needs.
    """
    y = weights if weights.dtype == torch.float64 else weights.float()
    support = ~(y <= 0)  # NaN stays in, to come out as NaN
    empty = ~support.any(-1, keepdim=True)
    top = y.detach().amax(-1, keepdim=True).masked_fill(empty, 1.0)
    ratio = torch.where(support, y / top, 1.0)
    root = ratio ** (2 - p)  # the one power of every entry; for p = 1.5 a square root
    powers = (ratio * ratio / root).masked_fill(~support, 0.0).sum(-1, keepdim=True)
    norm = powers.masked_fill(empty, 1.0) ** (1 / p)  # of y / top
    s = (root / (norm ** (2 - p) * (p - 1))).masked_fill(~support, 0.0)
    c = (2 - p) / ((p - 1) * (top * norm) ** 2)

    g = torch.where(support, direction.to(y.dtype), 0.0)
    solved = s * g - c * y * (y * g).sum(-1, keepdim=True)
    ones = s - c * y
    shift = solved.sum(-1, keepdim=True) / (s.sum(-1, keepdim=True) - c)
    return ((solved - ones * shift) / gamma).to(direction.dtype)


solve_pnormmax = define_solver(
    "pnormmax", {"gamma": dx_dgamma, "p": "float"}, product_by_kernel("pnormmax", _product), structured=False
)


def _omega(y: Tensor, allowed: Tensor, p: float) -> Tensor:
    return 0.5 * torch.linalg.vector_norm(y, p, dim=-1) ** 2


def _certificate(rows: Rows, p: float) -> Tensor:
    if p == 2:
        return sparsemax_certificate(rows)

    def largest_derivative(y: Tensor) -> Tensor:  # of ½‖y‖_p²
        top = y.amax(-1, keepdim=True)
        return top * ((y / top) ** p).sum(-1, keepdim=True) ** ((2 - p) / p)

    return power_certificate(rows, 1 / (p - 1), largest_derivative)


def power_certificate(
    rows: Rows, exponent: float | Tensor, largest_derivative: Callable[[Tensor], Tensor]
) -> Tensor:
    """For any t = max z − τ the exact weights of that t are optimal up to how far they are from giving it.

    They have the shape (1 + z/t)_+^exponent, and t is the largest derivative of Ω at them. Read off the given
    weights, t collects the rounding of all of them; a secant step finds the one that suits them better.
    """

    def violation(t: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1 + rows.z / t).clamp(min=0).masked_fill(~rows.allowed, 0.0) ** exponent
        exact = shape / shape.sum(-1, keepdim=True)
        gap = largest_derivative(exact) - t
        return torch.maximum((rows.y - exact).abs().amax(-1), gap.abs().squeeze(-1)), gap

    t = largest_derivative(rows.y)
    first, gap = violation(t)
    second, next_gap = violation(t + gap)
    third, _ = violation(t + gap * gap / (gap - next_gap))
    return torch.fmin(first, torch.fmin(second, third))  # there is no third where the gaps are equal


class PNormmax(Mapping):
    """Module form of :func:`pnormmax`: sparse weights that are the flatter the larger p is.

    Example:
        >>> PNormmax(p=1.5)(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.6549, 0.3451])
    """

    function = staticmethod(pnormmax)

    def __init__(
        self, dim: int = -1, *, gamma: Strength = 1.0, p: float = 1.5, learn: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, learn=learn, gamma=gamma, p=p)


PNORMMAX = MappingSpec(
    pnormmax,
    PNormmax,
    colour="#CC79A7",
    omega=_omega,
    certificate=_certificate,
    solver=solve_pnormmax,
    paper_name="sq-pnorm-max",
)
