"""oscarmax: attention on groups of positions, wherever they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regattn._autograd import by_gamma, by_lam, define_partition_solver, solve_along
from regattn._certify import Rows, half_gap
from regattn._checks import Strength, check_scores, check_strengths
from regattn._prox import solve_oscar, solve_simplex
from regattn._registry import Mapping, MappingSpec
from regattn._sparsemax import half_square

solve_oscarmax = define_partition_solver("oscarmax", {"gamma": by_gamma, "lam": by_lam}, on_simplex=True)


def oscarmax(
    scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, lam: Strength = 0.01, mask: Tensor | None = None
) -> Tensor:
    r"""Map scores to sparse weights in which positions with close scores tend to share one value.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle
        - \gamma \Bigl(\tfrac12 \lVert y \rVert^2 + \lambda \sum_{i<j} \max(|y_i|, |y_j|)\Bigr)

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: overall strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        lam: strength of the ties between all pairs, at least 0; 0 gives :func:`sparsemax`.
            May be a tensor as ``gamma`` may.
            It acts once per pair, so that longer rows need smaller values.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.
        Where groups are about to part, the derivative is that of the groups still joined.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``lam < 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> oscarmax(torch.tensor([0.3, 0.1, -0.2]), lam=0.05)
        tensor([0.5167, 0.3667, 0.1167])

    Source: Niculae & Blondel (2017), section 3, whose definition is solved here; the composition
    published with it is :func:`oscarmax_published`.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma, lam=lam)
    return solve_along(solve_oscarmax, scores, dim, mask, gamma, lam)


def oscarmax_published(
    scores: Tensor, dim: int = -1, *, gamma: float = 1.0, lam: float = 0.01, mask: Tensor | None = None
) -> Tensor:
    r"""The composition :math:`P_\Delta(P_{\mathrm{OSC}}(x / \gamma))` that the paper's authors released.

    It solves the problem of :func:`oscarmax` for non-negative scores only: the proximal operator
    works on absolute values, so that the result changes when a constant is added to the scores.
    It is kept for ablations. Arguments, returns and errors as for :func:`oscarmax`, but that its strengths
    are numbers.

    Example:
        >>> oscarmax_published(torch.tensor([0.3, 0.1, -0.2]), lam=0.05)
        tensor([0.4833, 0.3833, 0.1333])

    Source: Niculae & Blondel (2017), section 3.
    """
    check_scores(scores, dim, mask)
    check_strengths(gamma=gamma, lam=lam)
    scaled = scores if gamma == 1.0 else scores / float(gamma)
    return solve_along(solve_simplex, solve_along(solve_oscar, scaled, dim, mask, lam), dim, None, 1.0)


def _omega(y: Tensor, allowed: Tensor, lam: Any) -> Tensor:
    others_below = torch.arange(y.shape[-1] - 1, -1, -1, dtype=y.dtype, device=y.device)
    below = others_below - (~allowed).sum(-1, keepdim=True)
    return half_square(y) + lam * (y.sort(dim=-1, descending=True).values * below.clamp(min=0)).sum(-1)


def _certificate(rows: Rows, lam: Any) -> Tensor:
    """In each group of tied weights the largest and the smallest members bound τ, ranks taken off."""
    d = rows.y.shape[-1]
    a, y = rows.z - rows.y, rows.y.masked_fill(~rows.allowed, -1.0)
    order = torch.argsort(a, dim=-1, descending=True, stable=True)
    order = order.gather(-1, torch.argsort(y.gather(-1, order), dim=-1, descending=True, stable=True))
    a, y = a.gather(-1, order), y.gather(-1, order)
    rank = torch.arange(d)
    others_below = (rows.allowed.sum(-1, keepdim=True) - 1 - rank).double()
    total = torch.nn.functional.pad((a - lam * others_below).cumsum(-1), (1, 0))
    new = torch.nn.functional.pad(y.diff(dim=-1) != 0, (1, 0), value=True)
    start = torch.where(new, rank, 0).cummax(-1).values
    last = torch.nn.functional.pad(new[:, 1:], (0, 1), value=True)
    stop = torch.where(last, rank + 1, d).flip(-1).cummin(-1).values.flip(-1)
    best = (total[:, 1:] - total.gather(-1, start)) / (rank + 1 - start)
    worst = (total.gather(-1, stop) - total[:, :-1]) / (stop - rank)
    lower = best.masked_fill(y < 0, -torch.inf).amax(-1)
    return half_gap(lower, worst.masked_fill(y <= 0, torch.inf).amin(-1))


class Oscarmax(Mapping):
    """Module form of :func:`oscarmax`: sparse weights in which close scores tend to share one value.

    Example:
        >>> Oscarmax(lam=0.05)(torch.tensor([1.0, 2.0, 0.95]))
        tensor([0.0167, 0.9667, 0.0167])
    """

    function = staticmethod(oscarmax)

    def __init__(
        self, dim: int = -1, *, gamma: Strength = 1.0, lam: Strength = 0.01, learn: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, learn=learn, gamma=gamma, lam=lam)


class OscarmaxPublished(Mapping):
    """Module form of :func:`oscarmax_published`: for ablations.

    Example:
        >>> OscarmaxPublished(lam=0.05)(torch.tensor([0.3, 0.1, -0.2]))
        tensor([0.4833, 0.3833, 0.1333])
    """

    function = staticmethod(oscarmax_published)

    def __init__(self, dim: int = -1, *, gamma: float = 1.0, lam: float = 0.01) -> None:
        super().__init__(dim, gamma=gamma, lam=lam)


OSCARMAX = MappingSpec(
    oscarmax,
    Oscarmax,
    colour="#009E73",
    omega=_omega,
    certificate=_certificate,
    solver=solve_oscarmax,
    has_groups=True,
    paper_name="oscarmax",
)
OSCARMAX_PUBLISHED = MappingSpec(oscarmax_published, OscarmaxPublished, colour="#8a8a8a")
