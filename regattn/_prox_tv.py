"""Proximal operator of one-dimensional total variation."""

from __future__ import annotations

from torch import Tensor

from regattn._checks import check_scores, check_strengths
from regattn._operators import solve_along
from regattn._partition import define_partition_solver

solve_tv = define_partition_solver("prox_tv1d", {"lam": "float"}, on_simplex=False)


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
    check_strengths(x, dim, lam=lam)
    return solve_along(solve_tv, x, dim, None, lam)
