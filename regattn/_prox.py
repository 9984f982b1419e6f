"""Building blocks: projection on the simplex, two proximal operators, isotonic regression."""

from __future__ import annotations

from torch import Tensor

from regattn._autograd import define_partition_solver, dx_dgamma, solve_along
from regattn._checks import check_scores, check_strengths

solve_simplex = define_partition_solver("sparsemax", {"gamma": dx_dgamma}, on_simplex=True)
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
