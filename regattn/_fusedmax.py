"""fusedmax: attention on contiguous segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regattn._autograd import by_gamma, by_lam, define_partition_solver, solve_along
from regattn._certify import Rows, half_gap
from regattn._checks import Strength, check_scores, check_strengths
from regattn._registry import Mapping, MappingSpec
from regattn._sparsemax import half_square

solve_fusedmax = define_partition_solver("fusedmax", {"gamma": by_gamma, "lam": by_lam}, on_simplex=True)


def fusedmax(
    scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, lam: Strength = 0.1, mask: Tensor | None = None
) -> Tensor:
    r"""Map scores to sparse weights in which neighbouring positions tend to share one value.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle
        - \gamma \Bigl(\tfrac12 \lVert y \rVert^2 + \lambda \sum_i |y_{i+1} - y_i|\Bigr)

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: overall strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        lam: strength of the ties between neighbours, at least 0; 0 gives :func:`sparsemax`.
            May be a tensor as ``gamma`` may.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed. Positions on
            both sides of a masked one are neighbours of each other.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.
        Where segments are about to part, the derivative is that of the segments still joined.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``lam < 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> fusedmax(torch.tensor([1.0, 2.1, 1.9]), lam=0.1)
        tensor([0.0000, 0.5000, 0.5000])

    Source: Niculae & Blondel (2017), section 3.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma, lam=lam)
    return solve_along(solve_fusedmax, scores, dim, mask, gamma, lam)


def _omega(y: Tensor, allowed: Tensor, lam: Any) -> Tensor:
    # positions that take no part are moved after the others, so that neighbours are adjacent
    order = torch.argsort(~allowed, dim=-1, stable=True)
    y, allowed = y.gather(-1, order), allowed.gather(-1, order)
    jumps = (y.diff(dim=-1).abs() * allowed[..., 1:]).sum(-1)
    return half_square(y) + lam * jumps


def _certificate(rows: Rows, lam: Any) -> Tensor:
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
    return half_gap(lower, upper)


class Fusedmax(Mapping):
    """Module form of :func:`fusedmax`: sparse weights in which neighbours tend to share one value.

    Example:
        >>> Fusedmax(lam=0.1)(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.5000, 0.5000])
    """

    function = staticmethod(fusedmax)

    def __init__(
        self, dim: int = -1, *, gamma: Strength = 1.0, lam: Strength = 0.1, learn: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, learn=learn, gamma=gamma, lam=lam)


FUSEDMAX = MappingSpec(
    fusedmax,
    Fusedmax,
    colour="#D55E00",
    omega=_omega,
    certificate=_certificate,
    solver=solve_fusedmax,
    has_groups=True,
    paper_name="fusedmax",
)
