"""Building blocks: projection on the simplex, two proximal operators, isotonic regression."""

from __future__ import annotations

import torch
from torch import Tensor

from regattn._autograd import by_gamma, define_partition_solver, solve_along
from regattn._checks import Strength, check_scores, check_strengths


def ranked_rows(scores: Tensor, mask: Tensor | None, gamma: Strength) -> tuple[Tensor, Tensor, Tensor]:
    """For ONNX, where kernels are unknown: (x − max x)/γ, the same by size, and which rows are empty.

    In float64, as kernels have it; what lies 2 and more below the maximum gets no weight, and becomes −2.
    """
    x = scores.double() if mask is None else torch.where(mask, scores.double(), -torch.inf)
    top = x.amax(-1, keepdim=True)
    empty = top == -torch.inf
    z = ((x - top.masked_fill(empty, 0.0)) / gamma).clamp(min=-2.0)
    return z, z.sort(-1, descending=True).values, empty


def _simplex_in_plain_operators(scores: Tensor, mask: Tensor | None, gamma: Strength) -> Tensor:
    z, ranked, empty = ranked_rows(scores, mask, gamma)
    sums, sizes = ranked.cumsum(-1), torch.arange(1, z.shape[-1] + 1, device=z.device)
    size = (1 + sizes * ranked > sums).sum(-1, keepdim=True).clamp(min=1)
    threshold = (torch.where(sizes == size, sums, 0.0).sum(-1, keepdim=True) - 1) / size
    return (z - threshold).clamp(min=0.0).masked_fill(empty, 0.0).to(scores.dtype)


solve_simplex = define_partition_solver(
    "sparsemax", {"gamma": by_gamma}, on_simplex=True, plain=_simplex_in_plain_operators
)
solve_tv1d = define_partition_solver("prox_tv1d", {"lam": "float"}, on_simplex=False, file="prox")
solve_oscar = define_partition_solver("prox_oscar", {"lam": "float"}, on_simplex=False, file="prox")
solve_isotonic = define_partition_solver(
    "isotonic_regression", {"decreasing": "bool"}, on_simplex=False, file="prox"
)


def project_simplex(x: Tensor, dim: int = -1, *, mask: Tensor | None = None) -> Tensor:
    r"""Closest point of the probability simplex.

    .. math::
        \operatorname*{argmin}_{y \in \Delta}\; \lVert y - x \rVert^2,
        \qquad \Delta = \{ y \ge 0,\; {\textstyle \sum_i} y_i = 1 \}

    Args:
        x: floating tensor of any shape; a row is one slice along ``dim``. −inf is as masked.
        dim: dimension of the coordinates.
        mask: bool, broadcastable to ``x``; ``True`` for coordinates that take part.

    Returns:
        Tensor like ``x``; masked coordinates are 0, a row without any is all 0.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: ``dim`` out of range or a malformed ``mask``.

    Example:
        >>> project_simplex(torch.tensor([0.5, 1.2, -1.0]))
        tensor([0.1500, 0.8500, 0.0000])

    Source: Held, Wolfe & Crowder (1974); derivative, Martins & Astudillo (2016), section 2.
    """
    check_scores(x, dim, mask, name="x")
    return solve_along(solve_simplex, x, dim, mask, 1.0)


def prox_tv1d(x: Tensor, lam: float, dim: int = -1) -> Tensor:
    r"""Closest piecewise constant signal, at a price for each jump.

    .. math::
        \operatorname*{argmin}_{y}\; \tfrac12 \lVert y - x \rVert^2 + \lambda \sum_i |y_{i+1} - y_i|

    Args:
        x: floating tensor of any shape; a row is one slice along ``dim``. −inf takes no part:
            the entries on its two sides are neighbours.
        lam: price of a unit jump, at least 0.
        dim: dimension along which the signal runs.

    Returns:
        Tensor like ``x``; −inf stays −inf.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: ``lam < 0`` or ``dim`` out of range.

    Example:
        >>> prox_tv1d(torch.tensor([0.0, 0.4, 3.0, 3.2]), lam=0.5)
        tensor([0.4500, 0.4500, 2.8500, 2.8500])

    Source: the taut string, Davies & Kovac (2001), section 2, by the funnel algorithm for shortest
    paths; linear in the length of a row.
    """
    check_scores(x, dim, name="x")
    check_strengths(lam=lam)
    return solve_along(solve_tv1d, x, dim, None, lam)


def prox_oscar(x: Tensor, lam: float, dim: int = -1) -> Tensor:
    r"""Shrink a vector so that entries of close magnitude become equal in magnitude.

    .. math::
        \operatorname*{argmin}_{y}\; \tfrac12 \lVert y - x \rVert^2
        + \lambda \sum_{i<j} \max(|y_i|, |y_j|)

    Args:
        x: floating tensor of any shape; a row is one slice along ``dim``. −inf takes no part.
        lam: strength, at least 0.
        dim: dimension of the entries.

    Returns:
        Tensor like ``x``; −inf stays −inf.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: ``lam < 0`` or ``dim`` out of range.

    Example:
        >>> prox_oscar(torch.tensor([3.0, -2.9, 0.1]), lam=0.2)
        tensor([ 2.6500, -2.6500,  0.1000])

    Source: Zhong & Kwok (2012), section 3; Bondell & Reich (2008) for the penalty.
    """
    check_scores(x, dim, name="x")
    check_strengths(lam=lam)
    return solve_along(solve_oscar, x, dim, None, lam)


def isotonic_regression(x: Tensor, dim: int = -1, *, decreasing: bool = False) -> Tensor:
    r"""Closest monotone sequence.

    .. math::
        \operatorname*{argmin}_{y_1 \le y_2 \le \ldots}\; \lVert y - x \rVert^2

    Args:
        x: floating tensor of any shape; a row is one slice along ``dim``. −inf takes no part.
        dim: dimension along which the sequence runs.
        decreasing: ask for a non-increasing sequence instead.

    Returns:
        Tensor like ``x``; −inf stays −inf. Entries that are tied count as pooled in the derivative.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: ``dim`` out of range.

    Example:
        >>> isotonic_regression(torch.tensor([1.0, 3.0, 2.0, 4.0]))
        tensor([1.0000, 2.5000, 2.5000, 4.0000])

    Source: pool adjacent violators, Best & Chakravarti (1990); linear in the length of a row.
    """
    check_scores(x, dim, name="x")
    return solve_along(solve_isotonic, x, dim, None, decreasing)
