"""fusedmax: attention on contiguous segments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regattn._checks import Strength, check_scores, check_strengths
from regattn._mapping import Mapping
from regattn._operators import effect_of_gamma, solve_along
from regattn._partition import define_partition_solver


def _effect_of_lam(scores: Tensor, present: Tensor, values: Tensor, gamma: Any, lam: Any) -> Tensor:
    """−∂TV/∂y, the number of neighbours above less that of neighbours below; inside a group they cancel."""
    order = torch.argsort(~present, dim=-1, stable=True)  # what takes part, moved together
    y, taking = values.gather(-1, order), present.gather(-1, order)
    step = torch.sign(y.diff(dim=-1)) * taking[..., 1:]
    zero = torch.zeros_like(y[..., :1])
    pulls = torch.cat([step, zero], -1) - torch.cat([zero, step], -1)
    return gamma * torch.zeros_like(values).scatter(-1, order, pulls)


solve_fusedmax = define_partition_solver(
    "fusedmax", {"gamma": effect_of_gamma, "lam": _effect_of_lam}, on_simplex=True
)


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


class Fusedmax(Mapping):
    """Module form of :func:`fusedmax`."""

    function = staticmethod(fusedmax)

    def __init__(self, dim: int = -1, *, gamma: Strength = 1.0, lam: Strength = 0.1) -> None:
        super().__init__(dim, gamma=gamma, lam=lam)
