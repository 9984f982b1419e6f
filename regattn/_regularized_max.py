"""max_Ω, and its argmax for an Ω that the user writes down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regattn._autograd import nested, saved_primals, to_last
from regattn._checks import check_scores, check_strengths
from regattn._prox import project_simplex
from regattn._registry import MappingSpec, find_with, resolve

Omega = Callable[[Tensor], Tensor]


def rows_along(
    scores: Tensor, dim: int, mask: Tensor | None, strengths: dict[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    """Rows along the last dimension, −inf where masked, and their strengths."""
    x = scores if mask is None else torch.where(mask, scores, -torch.inf)
    moved = {name: to_last(value, dim, scores.ndim) for name, value in strengths.items()}
    return x.movedim(dim, -1), moved


def weighted_omega(weights: Tensor, allowed: Tensor, spec: MappingSpec, strengths: dict[str, Any]) -> Tensor:
    """γ Ω of rows along the last dimension."""
    assert spec.omega is not None
    every = spec.defaults | strengths
    each = {k: v.squeeze(-1) if isinstance(v, Tensor) and v.ndim else v for k, v in every.items()}
    gamma: Any = each.pop("gamma")
    return gamma * spec.omega(weights, allowed, **each)


class _ReverseEnvelope(torch.autograd.Function):
    """:class:`_Envelope` without forward mode, which the compiler (torch 2.13) takes in no Function."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, gradient.unsqueeze(-1) * ctx.saved_tensors[0], None


class _Envelope(_ReverseEnvelope):
    """Attach the gradient that the envelope theorem gives: the derivative of max_Ω is its argument.

    The argument enters as an input, so that differentiating again differentiates the mapping. The
    value brings the derivatives with respect to the strengths.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])
        ctx.save_for_forward(inputs[2])

    @staticmethod
    @nested
    def jvp(ctx: Any, of_value: Tensor, tangent: Tensor, _: Tensor) -> Tensor:
        return of_value + (saved_primals(ctx)[0] * tangent).sum(-1)


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
    x, strengths = rows_along(scores, dim, mask, strengths)
    weights = function(x, **strengths)
    allowed = x.detach() != -torch.inf
    y = weights.detach()
    inner = torch.where(y > 0, x.detach() * y, y).sum(-1)
    value = inner - weighted_omega(y, allowed, spec, strengths).to(inner.dtype)
    value = value.masked_fill(~allowed.any(-1), -torch.inf)
    envelope = _ReverseEnvelope if torch.compiler.is_compiling() else _Envelope
    return envelope.apply(value, x, weights)


# ------------------------------------------------------------------ any Ω
def regularized_argmax(
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
        >>> regularized_argmax(torch.tensor([1.0, 2.1, 1.9]), lambda y: 0.5 * (y * y).sum())  # sparsemax
        tensor([0.0000, 0.6000, 0.4000])

    Source: Niculae & Blondel (2017), section 2 and proposition 1; Beck & Teboulle (2009) for the
    solver, O'Donoghue & Candès (2015) for the restarts.
    """
    check_scores(scores, dim, mask)
    check_strengths(gamma=gamma)
    if scores.device.type != "cpu":
        raise ValueError(f"scores must be on the CPU, got a tensor on {scores.device}; use .cpu()")
    if not tol > 0:
        raise ValueError(f"tol must be above 0, got {tol!r}")
    x = scores if mask is None else torch.where(mask, scores, -torch.inf)
    weights: Tensor = _Argmax.apply(x.movedim(dim, -1).double(), omega, gamma, tol, max_iter)
    return weights.movedim(-1, dim).to(scores.dtype)


Pi_Omega = regularized_argmax  # as the paper writes it


def _argmax(x: Tensor, omega: Omega, gamma: float, tol: float, max_iter: int) -> Tensor:
    """Rows (n, d) in float64; every row has its own step size and restarts on its own."""
    allowed = x != -torch.inf
    invalid = ~(x < torch.inf).all(-1, keepdim=True)
    linear = torch.where(allowed & ~invalid, x - x.amax(-1, keepdim=True), 0.0)
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
            return y.masked_fill(invalid, torch.nan)
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
    got = f"{float(gap.max()):g} after {max_iter} step{'s' * (max_iter != 1)}"
    raise RuntimeError(f"the duality gap must be at most {tol:g}, got {got}")


def _argmax_product(weights: Tensor, direction: Tensor, omega: Omega, gamma: float) -> Tensor:
    """J @ direction for rows (n, d), in operations that can be differentiated again."""
    support = ~(weights <= 0)
    both = support.unsqueeze(-1) & support.unsqueeze(-2)
    hessian = torch.where(both, torch.vmap(torch.func.jacrev(torch.func.grad(omega)))(weights), 0.0)
    hessian = hessian + torch.diag_embed((~support).to(weights.dtype))
    sides = torch.stack([torch.where(support, direction, 0.0), support.to(weights.dtype)], -1)
    solved, ones = torch.linalg.solve(hessian, sides).unbind(-1)
    total = ones.sum(-1, keepdim=True)
    shift = solved.sum(-1, keepdim=True) / torch.where(total == 0, 1.0, total)
    return (solved - ones * shift) * support / gamma


class _Argmax(torch.autograd.Function):
    """Solve without a graph; differentiate by the implicit function theorem."""

    @staticmethod
    def forward(x: Tensor, omega: Omega, gamma: float, tol: float, max_iter: int) -> Tensor:
        rows = x.detach().reshape(-1, x.shape[-1])
        return _argmax(rows, omega, gamma, tol, max_iter).reshape(x.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.omega, ctx.gamma, *_ = inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Argmax._product(ctx, ctx.saved_tensors[0], gradient), None, None, None, None

    @staticmethod
    @nested
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _Argmax._product(ctx, saved_primals(ctx)[0], tangent)

    @staticmethod
    def _product(ctx: Any, weights: Tensor, direction: Tensor) -> Tensor:
        d = weights.shape[-1]
        product = _argmax_product(weights.reshape(-1, d), direction.reshape(-1, d), ctx.omega, ctx.gamma)
        return product.reshape(weights.shape)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, *options: Any) -> tuple[Tensor, int]:
        return _Argmax.apply(x.movedim(in_dims[0], 0), *options), 0
