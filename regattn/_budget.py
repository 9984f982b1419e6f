"""budget: sparsemax with a total other than 1 and a ceiling for each weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regattn._autograd import by_gamma, define_partition_solver, solve_along
from regattn._certify import Rows, half_gap
from regattn._checks import Strength, check_scores, check_strengths
from regattn._registry import Mapping, MappingSpec
from regattn._sparsemax import half_square

solve_budget = define_partition_solver("budget", {"gamma": by_gamma, "k": "float"}, on_simplex=True)


def budget(
    scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, k: float = 2.0, mask: Tensor | None = None
) -> Tensor:
    r"""Map scores to weights from 0 to 1 that sum to k: a soft choice of k positions.

    .. math::
        \operatorname*{argmax}_{0 \le y \le 1,\; \sum_i y_i = k}\;
        \langle x, y \rangle - \tfrac{\gamma}{2} \lVert y \rVert^2

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        k: the sum of a row's weights, above 0 and not necessarily whole; 1 gives :func:`sparsemax`.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: weights from 0 to 1, 0 where masked, of sum k; all 1 where no more than k are
        allowed. Its derivative where a weight reaches 0 or 1 is that of the weight staying there.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``k <= 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> budget(torch.tensor([1.0, 2.1, 1.9, 3.5]))
        tensor([0.0000, 0.6000, 0.4000, 1.0000])

    Source: Blondel (2019), "Structured prediction with projection oracles", on the knapsack polytope; entmax
    has it as ``budget_bisect``.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma, k=k)
    return solve_along(solve_budget, scores, dim, mask, gamma, float(k))


def _total(allowed: Tensor, k: float) -> Tensor:
    return allowed.sum(-1).double().clamp(max=k)


def _omega(y: Tensor, allowed: Tensor, k: float) -> Tensor:
    return half_square(y)


def _certificate(rows: Rows, k: float) -> Tensor:
    """z − y is τ for weights between 0 and 1, at most τ where they are 0, at least τ where they are 1."""
    a = rows.z - rows.y
    lower = a.masked_fill(~rows.allowed | (rows.y >= 1), -torch.inf).amax(-1)
    upper = a.masked_fill(rows.y == 0, torch.inf).amin(-1)
    return torch.maximum(half_gap(lower, upper), (rows.y - 1).clamp(min=0).amax(-1))


class Budget(Mapping):
    """Module form of :func:`budget`: weights from 0 to 1 that sum to k.

    Example:
        >>> Budget(k=2.0)(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0500, 1.0000, 0.9500])
    """

    function = staticmethod(budget)

    def __init__(
        self, dim: int = -1, *, gamma: Strength = 1.0, k: float = 2.0, learn: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, learn=learn, gamma=gamma, k=k)


BUDGET = MappingSpec(
    budget,
    Budget,
    colour="#999999",
    omega=_omega,
    certificate=_certificate,
    total=_total,
    solver=solve_budget,
)
