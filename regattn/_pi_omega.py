"""The mapping of a regularizer that the user writes down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regattn._checks import check_scores, check_strengths
from regattn._simplex import project_simplex

Omega = Callable[[Tensor], Tensor]


def Pi_Omega(
    scores: Tensor,
    omega: Omega,
    dim: int = -1,
    *,
    gamma: float = 1.0,
    mask: Tensor | None = None,
    tol: float = 1e-12,
    max_iter: int = 10_000,
) -> Tensor:
    r"""Map scores to weights under any smooth, strongly convex regularizer.

    .. math::
        \Pi_\Omega(x) = \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle - \gamma\, \Omega(y)

    Solved in float64 by accelerated projected gradient with backtracking and restarts. The Jacobian
    is implicit: with H the Hessian of Ω on the support,
    :math:`(H^{-1} - H^{-1} 1 1^\top H^{-1} / 1^\top H^{-1} 1) / \gamma`.

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        omega: maps one vector of d weights to a number, in PyTorch operations that can be
            differentiated on the whole simplex, corners included, and twice on its interior; strongly
            convex. Masked positions of its argument are 0.
        dim: dimension of the positions attended to.
        gamma: strength, above 0; larger is flatter.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.
        tol: duality gap at which a row is solved, above 0; with a β-strongly convex Ω the weights are
            then within :math:`\sqrt{2\,\mathrm{tol} / (\gamma \beta)}` of the solution.
        max_iter: number of gradient steps after which to give up.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``tol <= 0``, ``dim`` out of range, or a malformed ``mask``.
        RuntimeError: the gap is above ``tol`` after ``max_iter`` steps.

    Example:
        >>> Pi_Omega(torch.tensor([1.0, 2.1, 1.9]), lambda y: 0.5 * (y * y).sum())  # sparsemax
        tensor([0.0000, 0.6000, 0.4000])

    Source: Niculae & Blondel (2017), section 2 and proposition 1; Beck & Teboulle (2009) for the
    solver, O'Donoghue & Candès (2015) for the restarts.
    """
    check_scores(scores, dim, mask)
    check_strengths(gamma=gamma)
    if scores.device.type != "cpu":
        raise ValueError(f"Pi_Omega solves on CPU tensors, got one on {scores.device}; use .cpu()")
    if not tol > 0:
        raise ValueError(f"tol must be above 0, got {tol!r}")
    x = scores if mask is None else torch.where(mask, scores, -torch.inf)
    weights: Tensor = _Solve.apply(x.movedim(dim, -1).double(), omega, gamma, tol, max_iter)
    return weights.movedim(-1, dim).to(scores.dtype)


def _solve(x: Tensor, omega: Omega, gamma: float, tol: float, max_iter: int) -> Tensor:
    """Rows (n, d) in float64; every row has its own step size and restarts on its own."""
    allowed = x != -torch.inf
    poisoned = ~(x < torch.inf).all(-1, keepdim=True)
    linear = torch.where(allowed & ~poisoned, x - x.amax(-1, keepdim=True), 0.0)
    value_and_grad = torch.vmap(torch.func.grad_and_value(omega))

    def objective(y: Tensor) -> tuple[Tensor, Tensor]:
        gradient, value = value_and_grad(y)
        return gamma * value - (linear * y).sum(-1), (gamma * gradient - linear) * allowed

    def duality_gap(y: Tensor, gradient: Tensor) -> Tensor:
        lowest = gradient.masked_fill(~allowed, torch.inf).amin(-1)
        return (gradient * y).sum(-1) - lowest.nan_to_num(posinf=0.0)

    y = ahead = project_simplex(torch.zeros_like(x), mask=allowed)
    curvature = torch.ones(len(x), 1, dtype=x.dtype)
    momentum = torch.ones(len(x), 1, dtype=x.dtype)
    gap = torch.full((len(x),), torch.inf, dtype=x.dtype)
    for _ in range(max_iter):
        gap = duality_gap(y, objective(y)[1])
        if bool((gap <= tol).all()):
            return y.masked_fill(poisoned, torch.nan)
        value, gradient = objective(ahead)
        while True:
            new = project_simplex(ahead - gradient / curvature, mask=allowed)
            step = new - ahead
            bound = value + (gradient * step).sum(-1) + curvature.squeeze(-1) / 2 * (step * step).sum(-1)
            above = objective(new)[0] > bound + 1e-15 * (1 + value.abs())
            if not bool(above.any()):
                break
            curvature = torch.where(above.unsqueeze(-1), 2 * curvature, curvature)
        restart = (gradient * (new - y)).sum(-1, keepdim=True) > 0
        momentum = torch.where(restart, 1.0, momentum)
        following = (1 + (1 + 4 * momentum * momentum).sqrt()) / 2
        ahead = new + torch.where(restart, 0.0, (momentum - 1) / following) * (new - y)
        y, momentum = new, following
    raise RuntimeError(
        f"Pi_Omega wanted a duality gap of at most {tol:g}, got {float(gap.max()):g} after {max_iter} steps"
    )


def _product(weights: Tensor, direction: Tensor, omega: Omega, gamma: float) -> Tensor:
    """J @ direction for rows (n, d), in operations that can be differentiated again."""
    support = ~(weights <= 0)
    both = support.unsqueeze(-1) & support.unsqueeze(-2)
    hessian = torch.where(both, torch.vmap(torch.func.jacrev(torch.func.grad(omega)))(weights), 0.0)
    hessian = hessian + torch.diag_embed((~support).to(weights.dtype))
    sides = torch.stack([torch.where(support, direction, 0.0), support.to(weights.dtype)], -1)
    solved, ones = torch.linalg.solve(hessian, sides).unbind(-1)
    total = ones.sum(-1, keepdim=True)
    share = solved.sum(-1, keepdim=True) / torch.where(total == 0, 1.0, total)
    return (solved - ones * share) * support / gamma


class _Solve(torch.autograd.Function):
    """Solve without a graph; differentiate by the implicit function theorem."""

    @staticmethod
    def forward(x: Tensor, omega: Omega, gamma: float, tol: float, max_iter: int) -> Tensor:
        rows = x.detach().reshape(-1, x.shape[-1])
        return _solve(rows, omega, gamma, tol, max_iter).reshape(x.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.omega, ctx.gamma, *_ = inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Solve.jvp(ctx, gradient), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (weights,) = ctx.saved_tensors
        d = weights.shape[-1]
        product = _product(weights.reshape(-1, d), tangent.reshape(-1, d), ctx.omega, ctx.gamma)
        return product.reshape(weights.shape)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, *options: Any) -> tuple[Tensor, int]:
        return _Solve.apply(x.movedim(in_dims[0], 0), *options), 0
