"""Isotonic regression."""

from __future__ import annotations

from torch import Tensor

from regattn._checks import check_scores
from regattn._operators import solve_along
from regattn._partition import define_partition_solver

solve_isotonic = define_partition_solver("isotonic_regression", {"decreasing": "bool"}, on_simplex=False)


def isotonic_regression(x: Tensor, dim: int = -1, *, decreasing: bool = False) -> Tensor:
    r"""Closest monotone sequence.

    .. math::
        \operatorname*{argmin}_{y_1 \le y_2 \le \dots}\; \lVert y - x \rVert^2

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
