"""Optimality certificates: how to know that an answer is right without trusting a solver.

Weights y are optimal for scores x = γz exactly if some subgradient g of Ω at y and some τ have
z_i − g_i = τ where y_i > 0 and z_i − g_i ≤ τ where y_i = 0. With a = z − y each penalty below has the
largest lower bound A and the smallest upper bound B of such a τ in closed form; optimal means A ≤ B,
and moving the scores by (A − B)/2 makes it so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from regattn._checks import check_scores, check_strengths
from regattn._fusedmax import fusedmax
from regattn._mapping import resolve
from regattn._operators import to_last
from regattn._oscarmax import oscarmax
from regattn._pnormmax import pnormmax
from regattn._softmax import softmax
from regattn._sparsemax import sparsemax


class _Rows(NamedTuple):
    """Rows (n, d) in float64 with the positions that take part moved to the front."""

    z: Tensor  # scores/γ less their maximum
    y: Tensor  # weights, negative ones raised to 0
    allowed: Tensor


def certify(
    scores: Tensor,
    weights: Tensor,
    mapping: Any,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    **strengths: Any,
) -> Tensor:
    r"""Largest violation of a mapping's optimality conditions, row by row.

    It is a number :math:`\varepsilon` such that the weights are exactly optimal once the scores
    divided by gamma and the weights are moved by at most :math:`\varepsilon` per entry; not always the
    smallest one, since tiny weights and near ties are taken as they stand. For sparsemax,
    fusedmax and oscarmax the true weights are then within :math:`4 \varepsilon`. No solver is run;
    for fusedmax the cost is quadratic in the length of a row.

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        weights: what is claimed to be ``mapping(scores)``.
        mapping: softmax, sparsemax, fusedmax, oscarmax or pnormmax, as a function or as a Module.
        dim: dimension of the positions.
        mask: bool, broadcastable to ``scores``; weights elsewhere count as violations.
        **strengths: keyword parameters of the mapping.

    Returns:
        float64 tensor without ``dim``, at least 0; NaN for a row with NaN or +inf scores.

    Raises:
        TypeError, ValueError: as the mapping; ValueError for a mapping without known conditions.

    Example:
        >>> x = torch.tensor([1.0, 2.1, 1.9], dtype=torch.float64)
        >>> bool(certify(x, fusedmax(x), fusedmax) < 1e-15)
        True
        >>> certify(x, torch.tensor([0.0, 0.6, 0.4]), fusedmax)
        tensor(0.1500, dtype=torch.float64)
    """
    function, strengths = resolve(mapping, strengths)
    if function not in _VIOLATIONS:
        known = ", ".join(f.__name__ for f in _VIOLATIONS)
        raise ValueError(f"mapping must be one of {known}, got {getattr(function, '__name__', function)!r}")
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, **strengths)
    if scores.shape != weights.shape:
        raise ValueError(
            f"weights must have the shape of scores {tuple(scores.shape)}, got {tuple(weights.shape)}"
        )
    strengths = {name: _per_row(value, scores, dim) for name, value in strengths.items()}
    gamma = strengths.pop("gamma", 1.0)
    x = scores.detach() if mask is None else torch.where(mask, scores.detach(), -torch.inf)
    x, y = (t.movedim(dim, -1).double() for t in (x, weights.detach()))
    shape, d = x.shape[:-1], x.shape[-1]
    rows, feasible = _prepare(x.reshape(-1, d), y.reshape(-1, d), gamma)
    violation = torch.maximum(_VIOLATIONS[function](rows, **strengths), feasible)
    violation = torch.where(rows.allowed.any(-1), violation, feasible)
    violation = violation.masked_fill(violation.isnan(), torch.inf)  # NaN weights are no answer
    poisoned = ~(x < torch.inf).all(-1).reshape(-1)
    return violation.masked_fill(poisoned, torch.nan).reshape(shape)


def _per_row(strength: Any, scores: Tensor, dim: int) -> Any:
    """A number, or (rows, 1)."""
    if not isinstance(strength, Tensor):
        return strength
    moved = to_last(strength.detach(), dim, scores.ndim)
    return moved.expand(*scores.movedim(dim, -1).shape[:-1], 1).reshape(-1, 1).double()


def _prepare(x: Tensor, y: Tensor, gamma: Any) -> tuple[_Rows, Tensor]:
    """Rows for the conditions, and how far the weights are from the simplex."""
    allowed = x != -torch.inf
    order = torch.argsort(~allowed, dim=-1, stable=True)
    x, y, allowed = (t.gather(-1, order) for t in (x, y, allowed))
    z = ((x - x.amax(-1, keepdim=True)) / gamma).masked_fill(~allowed, 0.0)
    target = allowed.any(-1).to(y.dtype)
    leak = y.abs().masked_fill(allowed, 0.0).amax(-1)
    feasible = torch.maximum((y.sum(-1) - target).abs(), torch.maximum((-y).amax(-1), leak))
    return _Rows(z, y.clamp(min=0).masked_fill(~allowed, 0.0), allowed), feasible


def _softmax(rows: _Rows) -> Tensor:
    exact = torch.softmax(rows.z.masked_fill(~rows.allowed, -torch.inf), -1)
    return (rows.y - exact).abs().masked_fill(~rows.allowed, 0.0).amax(-1)


def _half_gap(lower: Tensor, upper: Tensor) -> Tensor:
    return ((lower - upper) / 2).clamp(min=0)


def _sparsemax(rows: _Rows) -> Tensor:
    a = rows.z - rows.y
    lower = a.masked_fill(~rows.allowed, -torch.inf).amax(-1)
    return _half_gap(lower, a.masked_fill(rows.y == 0, torch.inf).amin(-1))


def _fusedmax(rows: _Rows, lam: Any = 0.1) -> Tensor:
    """Over all windows: the mean of a, less what its two edges can take away, bounds τ.

    The dual variable of edge k lies in [−λ, λ], and is ±λ where the weights jump there.
    """
    n, d = rows.y.shape
    count = rows.allowed.sum(-1, keepdim=True)
    edge = torch.arange(d + 1)
    inner = (edge > 0) & (edge < count)
    jump = torch.zeros(n, d + 1, dtype=rows.y.dtype)
    jump[:, 1:d] = lam * rows.y.diff(dim=-1).sign()
    slack = lam * (inner & (jump == 0)).double()
    fixed = torch.where(inner, jump, 0.0)
    total = torch.nn.functional.pad((rows.z - rows.y).cumsum(-1), (1, 0))
    low = (total + fixed - slack).masked_fill(edge > count, -torch.inf)
    high = (total + fixed + slack).masked_fill(edge > count, torch.inf)
    zeros = torch.nn.functional.pad((rows.y == 0).cumsum(-1), (1, 0))
    lower, upper = torch.full((n,), -torch.inf).double(), torch.full((n,), torch.inf).double()
    for m in range(1, d + 1):
        start_low, start_high = low[:, :-m], high[:, :-m]
        lower = torch.maximum(lower, (low[:, m:] - start_high).nan_to_num(nan=-torch.inf).amax(-1) / m)
        positive = zeros[:, m:] == zeros[:, :-m]
        upper = torch.minimum(upper, (high[:, m:] - start_low).masked_fill(~positive, torch.inf).amin(-1) / m)
    return _half_gap(lower, upper)


def _oscarmax(rows: _Rows, lam: Any = 0.01) -> Tensor:
    """In each group of tied weights the largest and the smallest members bound τ, ranks taken off."""
    d = rows.y.shape[-1]
    a, y = rows.z - rows.y, rows.y.masked_fill(~rows.allowed, -1.0)
    order = torch.argsort(a, dim=-1, descending=True, stable=True)
    order = order.gather(-1, torch.argsort(y.gather(-1, order), dim=-1, descending=True, stable=True))
    a, y = a.gather(-1, order), y.gather(-1, order)
    rank = torch.arange(d)
    others_below = (rows.allowed.sum(-1, keepdim=True) - 1 - rank).double()
    total = torch.nn.functional.pad((a - lam * others_below).cumsum(-1), (1, 0))
    new = torch.nn.functional.pad(y.diff(dim=-1) != 0, (1, 0), value=True)
    start = torch.where(new, rank, 0).cummax(-1).values
    last = torch.nn.functional.pad(new[:, 1:], (0, 1), value=True)
    stop = torch.where(last, rank + 1, d).flip(-1).cummin(-1).values.flip(-1)
    best = (total[:, 1:] - total.gather(-1, start)) / (rank + 1 - start)
    worst = (total.gather(-1, stop) - total[:, :-1]) / (stop - rank)
    lower = best.masked_fill(y < 0, -torch.inf).amax(-1)
    return _half_gap(lower, worst.masked_fill(y <= 0, torch.inf).amin(-1))


def _pnormmax(rows: _Rows, p: float = 1.5) -> Tensor:
    """For any t = max z − τ the exact weights of that t are optimal up to how far they are from giving it.

    They have the shape (1 + z/t)_+^{1/(p−1)}. Read off the given weights, t collects the rounding of all of
    them; a secant step finds the one that suits them better.
    """
    if p == 2:
        return _sparsemax(rows)

    def largest_derivative(y: Tensor) -> Tensor:  # of ½‖y‖_p²
        top = y.amax(-1, keepdim=True)
        return top * ((y / top) ** p).sum(-1, keepdim=True) ** ((2 - p) / p)

    def violation(t: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1 + rows.z / t).clamp(min=0).masked_fill(~rows.allowed, 0.0) ** (1 / (p - 1))
        exact = shape / shape.sum(-1, keepdim=True)
        gap = largest_derivative(exact) - t
        return torch.maximum((rows.y - exact).abs().amax(-1), gap.abs().squeeze(-1)), gap

    t = largest_derivative(rows.y)
    first, gap = violation(t)
    second, next_gap = violation(t + gap)
    third, _ = violation(t + gap * gap / (gap - next_gap))
    return torch.fmin(first, torch.fmin(second, third))  # there is no third where the gaps are equal


_VIOLATIONS: dict[Any, Callable[..., Tensor]] = {
    softmax: _softmax,
    sparsemax: _sparsemax,
    fusedmax: _fusedmax,
    oscarmax: _oscarmax,
    pnormmax: _pnormmax,
}
