"""Optimality certificates: how to know that an answer is right without trusting a solver.

Weights y are optimal for scores x = γz exactly if some subgradient g of Ω at y and some τ have
z_i − g_i = τ where y_i > 0 and z_i − g_i ≤ τ where y_i = 0. With a = z − y each penalty below has the
largest lower bound A and the smallest upper bound B of such a τ in closed form; optimal means A ≤ B,
and moving the scores by (A − B)/2 makes it so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from regattn._autograd import to_last
from regattn._checks import check_scores, check_strengths
from regattn._registry import find_with, resolve


class Rows(NamedTuple):
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
        mapping: a mapping of this library with known optimality conditions (all but
            :func:`oscarmax_published`), as a function or as a Module.
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
    spec = find_with(function, "certificate")
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, **strengths)
    if scores.shape != weights.shape:
        raise ValueError(
            f"weights must have the shape of scores {tuple(scores.shape)}, got {tuple(weights.shape)}"
        )
    strengths = {name: _per_row(value, scores, dim) for name, value in (spec.defaults | strengths).items()}
    gamma = strengths.pop("gamma")
    x = scores.detach() if mask is None else torch.where(mask, scores.detach(), -torch.inf)
    x, y = (t.movedim(dim, -1).double() for t in (x, weights.detach()))
    shape, d = x.shape[:-1], x.shape[-1]
    rows, negative = _prepare(x.reshape(-1, d), y.reshape(-1, d), gamma)
    some = rows.allowed.any(-1)
    total = spec.total(rows.allowed, **strengths) if spec.total else some.to(x.dtype)
    # entry by entry: as many as the sum says are above 0
    off = ((y.reshape(-1, d).sum(-1) - total) / total.clamp(min=1)).abs()
    feasible = torch.maximum(negative, off)
    assert spec.certificate is not None
    violation = torch.maximum(spec.certificate(rows, **strengths), feasible)
    violation = torch.where(some, violation, feasible)
    violation = violation.masked_fill(violation.isnan(), torch.inf)  # NaN weights are no answer
    invalid = ~(x < torch.inf).all(-1).reshape(-1)
    return violation.masked_fill(invalid, torch.nan).reshape(shape)


def _per_row(strength: Any, scores: Tensor, dim: int) -> Any:
    """A number, or (rows, 1)."""
    if not isinstance(strength, Tensor):
        return strength
    moved = to_last(strength.detach(), dim, scores.ndim)
    return moved.expand(*scores.movedim(dim, -1).shape[:-1], 1).reshape(-1, 1).double()


def _prepare(x: Tensor, y: Tensor, gamma: Any) -> tuple[Rows, Tensor]:
    """Rows for the conditions, and the largest weight below 0 or where none may be."""
    allowed = x != -torch.inf
    order = torch.argsort(~allowed, dim=-1, stable=True)
    x, y, allowed = (t.gather(-1, order) for t in (x, y, allowed))
    z = ((x - x.amax(-1, keepdim=True)) / gamma).masked_fill(~allowed, 0.0)
    leak = y.abs().masked_fill(allowed, 0.0).amax(-1)
    negative = torch.maximum((-y).amax(-1), leak)
    return Rows(z, y.clamp(min=0).masked_fill(~allowed, 0.0), allowed), negative


def half_gap(lower: Tensor, upper: Tensor) -> Tensor:
    return ((lower - upper) / 2).clamp(min=0)
