"""Euclidean projection on the probability simplex."""

from __future__ import annotations

from torch import Tensor

from regattn._checks import check_scores
from regattn._operators import effect_of_gamma, solve_along
from regattn._partition import define_partition_solver

solve_simplex = define_partition_solver("sparsemax", {"gamma": effect_of_gamma}, on_simplex=True)


def project_simplex(x: Tensor, dim: int = -1, *, mask: Tensor | None = None) -> Tensor:
    r"""Closest point of the probability simplex.

    .. math::
        \operatorname*{argmin}_{y \in \Delta}\; \lVert y - x \rVert^2,
        \qquad \Delta = \{ y \ge 0,\; \textstyle\sum_i y_i = 1 \}

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
