"""sparsemax: the simplex projection as attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regattn._autograd import solve_along
from regattn._certify import Rows, half_gap
from regattn._checks import Strength, check_scores, check_strengths
from regattn._prox import solve_simplex
from regattn._registry import Mapping, MappingSpec


def sparsemax(scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, mask: Tensor | None = None) -> Tensor:
    r"""Map scores to weights of which many are exactly zero.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle - \tfrac{\gamma}{2} \lVert y \rVert^2

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.
        Its derivative at a boundary of the support is that of the smaller support.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> sparsemax(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.6000, 0.4000])

    Source: Martins & Astudillo (2016); Niculae & Blondel (2017), section 2.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma)
    return solve_along(solve_simplex, scores, dim, mask, gamma)


def half_square(y: Tensor, allowed: Tensor | None = None) -> Tensor:
    return 0.5 * (y * y).sum(-1)


def sparsemax_certificate(rows: Rows) -> Tensor:
    a = rows.z - rows.y
    lower = a.masked_fill(~rows.allowed, -torch.inf).amax(-1)
    return half_gap(lower, a.masked_fill(rows.y == 0, torch.inf).amin(-1))


class Sparsemax(Mapping):
    """Module form of :func:`sparsemax`: weights of which many are exactly zero.

    Example:
        >>> Sparsemax()(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0000, 0.6000, 0.4000])
    """

    function = staticmethod(sparsemax)

    def __init__(self, dim: int = -1, *, gamma: Strength = 1.0, learn: Sequence[str] = ()) -> None:
        super().__init__(dim, learn=learn, gamma=gamma)


SPARSEMAX = MappingSpec(
    sparsemax,
    Sparsemax,
    colour="#0072B2",
    omega=half_square,
    certificate=sparsemax_certificate,
    solver=solve_simplex,
    paper_name="sparsemax",
)
