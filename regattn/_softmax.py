"""softmax, with the contract that all mappings share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from regattn._autograd import (
    can_call_kernel,
    define_solver,
    dx_dgamma,
    product_by_kernel,
    solve_along,
)
from regattn._certify import Rows
from regattn._checks import Strength, check_scores, check_strengths
from regattn._registry import Mapping, MappingSpec
from regattn.kernels import LONGEST_ON_CUDA

_TRITON = find_spec("triton") is not None  # which CUDA builds of PyTorch for Windows lack


def softmax(scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, mask: Tensor | None = None) -> Tensor:
    r"""Map scores to weights that are never zero.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle - \gamma \sum_i y_i \log y_i
        \;=\; \exp(x / \gamma) / {\textstyle \sum_i \exp(x_i / \gamma)}

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: temperature, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> softmax(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.1547, 0.4648, 0.3805])

    Source: Niculae & Blondel (2017), section 2; the contract for masks is this library's.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma)
    if scores.is_cuda and _TRITON and scores.shape[dim] <= LONGEST_ON_CUDA:
        return solve_along(solve_softmax, scores, dim, mask, gamma)
    working = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:
        working = torch.where(mask, working, -torch.inf)
    if isinstance(gamma, Tensor):  # one that the check could not see makes its row NaN
        gamma = gamma * torch.where((gamma > 0) & (gamma < torch.inf), 1.0, torch.nan)
    else:
        gamma = float(gamma)
    if isinstance(gamma, Tensor) or gamma != 1.0:
        # shifted first, so that a small gamma cannot overflow; an empty row is not: −inf − −inf is NaN
        top = working.detach().amax(dim, keepdim=True)
        finite = working > -torch.inf
        working = torch.where(finite, working - top, 0.0) / gamma
        working = torch.where(finite, working, -torch.inf)
    if working.is_cpu and can_call_kernel(working):
        weights = torch.softmax(working, dim)
        if not _some_row_is_nan(weights, dim):
            return weights.to(scores.dtype)
    empty = (working == -torch.inf).all(dim, keepdim=True)
    weights = torch.softmax(working.masked_fill(empty, 0.0), dim).masked_fill(empty, 0.0)
    return weights.to(scores.dtype)


def _some_row_is_nan(weights: Tensor, dim: int) -> bool:
    """A row is NaN throughout or nowhere, so that one position tells, and of all rows their sum."""
    return math.isnan(weights.detach().select(dim, 0).sum())


def _product(weights: Tensor, direction: Tensor, gamma: Strength) -> Tensor:
    """J @ direction from the weights, in operations that can be differentiated."""
    y = weights if weights.dtype == torch.float64 else weights.float()
    g = torch.where(weights == 0, 0.0, direction.to(y.dtype))
    return (y * (g - (y * g).sum(-1, keepdim=True)) / gamma).to(direction.dtype)


# On CUDA alone: a CPU takes PyTorch's own.
solve_softmax = define_solver(
    "softmax", {"gamma": dx_dgamma}, product_by_kernel("softmax", _product), structured=False
)


def _negative_entropy(y: Tensor, allowed: Tensor) -> Tensor:
    return torch.xlogy(y, y).sum(-1)


def _certificate(rows: Rows) -> Tensor:
    exact = torch.softmax(rows.z.masked_fill(~rows.allowed, -torch.inf), -1)
    return (rows.y - exact).abs().masked_fill(~rows.allowed, 0.0).amax(-1)


class Softmax(Mapping):
    """Module form of :func:`softmax`: weights that are never zero.

    Example:
        >>> Softmax(gamma=2.0)(torch.tensor([1.0, 2.0]))
        tensor([0.3775, 0.6225])
    """

    function = staticmethod(softmax)

    def __init__(self, dim: int = -1, *, gamma: Strength = 1.0, learn: Sequence[str] = ()) -> None:
        super().__init__(dim, learn=learn, gamma=gamma)


SOFTMAX = MappingSpec(
    softmax,
    Softmax,
    colour="#000000",
    omega=_negative_entropy,
    certificate=_certificate,
    paper_name="softmax",
)
