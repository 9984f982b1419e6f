"""Proximal operator of the OSCAR penalty."""

from __future__ import annotations

from torch import Tensor

from regattn._checks import check_scores, check_strengths
from regattn._operators import solve_along
from regattn._partition import define_partition_solver

solve_oscar = define_partition_solver("prox_oscar", {"lam": "float"}, on_simplex=False)


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
