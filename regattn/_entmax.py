"""α-entmax: a sparse softmax, between softmax and sparsemax, and beyond."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regattn._autograd import Solution, define_solver, dx_dgamma, product_by_kernel, solve_along
from regattn._certify import Rows
from regattn._checks import Strength, check_scores, check_strengths
from regattn._prox import ranked_rows, solve_simplex
from regattn._registry import Mapping, MappingSpec
from regattn._softmax import softmax
from regattn._sparsemax import sparsemax_certificate


def entmax(
    scores: Tensor,
    dim: int = -1,
    *,
    gamma: Strength = 1.0,
    alpha: Strength = 1.5,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Map scores to weights that are the sparser the larger α is: softmax at 1, sparsemax at 2.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle
        - \gamma\, \frac{\sum_i y_i^\alpha - 1}{\alpha (\alpha - 1)}

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: overall strength, above 0; larger is flatter. It and ``alpha`` may be tensors, such as learnt
            parameters, with one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        alpha: at least 1; 1 is :func:`softmax`, 2 is :func:`sparsemax`.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``alpha < 1``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> entmax(torch.tensor([1.0, 2.1, 1.9]), alpha=1.3)
        tensor([0.0914, 0.5117, 0.3969])

    Source: Peters, Niculae & Martins (2019), section 3; the derivative by α, Correia, Niculae & Martins
    (2019), proposition 1.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma, alpha=alpha)
    if not isinstance(alpha, Tensor):
        if alpha == 1:
            return softmax(scores, dim, gamma=gamma, mask=mask)
        if alpha == 1.5:
            return solve_along(solve_entmax15, scores, dim, mask, gamma)
        if alpha == 2:
            return solve_along(solve_simplex, scores, dim, mask, gamma)
    return solve_along(solve_entmax, scores, dim, mask, gamma, alpha)


def entmax15(scores: Tensor, dim: int = -1, *, gamma: Strength = 1.0, mask: Tensor | None = None) -> Tensor:
    r"""Map scores to weights of which some are exactly zero, halfway from softmax to sparsemax.

    .. math::
        \operatorname*{argmax}_{y \in \Delta}\; \langle x, y \rangle
        - \tfrac{4}{3} \gamma \Bigl(\sum_i y_i^{3/2} - 1\Bigr)

    Args:
        scores: floating tensor of any shape; a row is one slice along ``dim``.
        dim: dimension of the positions attended to.
        gamma: strength, above 0; larger is flatter. A tensor, such as a learnt parameter, may hold
            one for each row or head: broadcastable to ``scores``, size 1 along ``dim``.
        mask: bool, broadcastable to ``scores``; ``True`` where attention is allowed.

    Returns:
        Tensor like ``scores``: every row on the simplex, 0 where masked; all 0 if nothing is allowed.

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``gamma <= 0``, ``dim`` out of range, or a malformed ``mask``.

    Example:
        >>> entmax15(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0369, 0.5508, 0.4123])

    Source: Peters, Niculae & Martins (2019), section 3: entmax with α = 1.5.
    """
    check_scores(scores, dim, mask)
    check_strengths(scores, dim, gamma=gamma)
    return solve_along(solve_entmax15, scores, dim, mask, gamma)


def _product(weights: Tensor, direction: Tensor, gamma: Strength, alpha: Strength = 1.5) -> Tensor:
    """(diag(s) − s sᵀ/Σs)/γ @ direction with s = y^(2−α), in operations that can be differentiated."""
    y = weights if weights.dtype == torch.float64 else weights.float()
    support = ~(y <= 0)  # NaN stays in, to come out as NaN
    s = (torch.where(support, y, 1.0) ** (2 - alpha)).masked_fill(~support, 0.0)
    g = torch.where(support, direction.to(y.dtype), 0.0)
    total = s.sum(-1, keepdim=True).masked_fill(~support.any(-1, keepdim=True), 1.0)
    shift = (s * g).sum(-1, keepdim=True) / total
    return (s * (g - shift) / gamma).to(direction.dtype)


_SERIES = 0.5  # below it the first fifteen terms are exact, above it nothing cancels


def _expm1_ratio(a: Tensor) -> Tensor:
    """(exp(a) − 1)/a, 1 at 0."""
    small = a.abs() < _SERIES
    near, far = torch.where(small, a, 0.0), torch.where(small, 1.0, a)
    series = torch.ones_like(a)
    for n in range(15, 1, -1):
        series = 1 + near / n * series
    return torch.where(small, series, torch.expm1(far) / far)


def _slope_of_expm1_ratio(a: Tensor) -> Tensor:
    """Its derivative (exp(a)(a − 1) + 1)/a², ½ at 0."""
    small = a.abs() < _SERIES
    near, far = torch.where(small, a, 0.0), torch.where(small, 1.0, a)
    series = torch.full_like(a, 1 / 17)
    for n in range(14, -1, -1):  # Σ aⁿ (n + 1)/(n + 2)! = Σ aⁿ/n! · 1/(n + 2)
        series = 1 / (n + 2) + near / (n + 1) * series
    return torch.where(small, series, (torch.expm1(far) * (far - 1) + far) / far**2)


def _log_of(y: Tensor) -> Tensor:
    return torch.where(y > 0, y, 1.0).log()


def _dx_dalpha(solution: Solution, gamma: Strength, alpha: Tensor) -> Tensor:
    """−γ ∂/∂α of y^(α−1)/(α−1), the derivative of Ω, less 1/(α−1)², which moves nothing."""
    log = _log_of(solution.values)
    u = log * log * _slope_of_expm1_ratio((alpha.to(log.dtype) - 1) * log)
    return -gamma * solution.along(u)


solve_entmax = define_solver(
    "entmax",
    {"gamma": dx_dgamma, "alpha": _dx_dalpha},
    product_by_kernel("entmax", _product),
    structured=False,
)


def _entmax15_in_plain_operators(scores: Tensor, mask: Tensor | None, gamma: Strength) -> Tensor:
    """Peters, Niculae & Martins (2019), algorithm 2: a threshold for each size of the support, by sorting."""
    z, ranked, empty = ranked_rows(scores, mask, 2 * gamma)
    sizes = torch.arange(1, z.shape[-1] + 1, device=z.device)
    means = ranked.cumsum(-1) / sizes
    variances = (ranked * ranked).cumsum(-1) / sizes - means * means
    thresholds = means - (1 / sizes - variances).clamp(min=0.0).sqrt()
    size = (thresholds <= ranked).sum(-1, keepdim=True).clamp(min=1)
    threshold = torch.where(sizes == size, thresholds, 0.0).sum(-1, keepdim=True)
    root = (z - threshold).clamp(min=0.0)
    return (root * root).masked_fill(empty, 0.0).to(scores.dtype)


solve_entmax15 = define_solver(
    "entmax15",
    {"gamma": dx_dgamma},
    product_by_kernel("entmax", _product),
    structured=False,
    file="entmax",
    plain=_entmax15_in_plain_operators,
)


def _omega(y: Tensor, allowed: Tensor, alpha: Strength = 1.5) -> Tensor:
    """Σ y·(y^(α−1) − 1)/(α(α − 1)), which is Σ y log y at α = 1."""
    log, of_row = _log_of(y), alpha.unsqueeze(-1) if isinstance(alpha, Tensor) and alpha.ndim else alpha
    return (y * log * _expm1_ratio((of_row - 1) * log)).sum(-1) / alpha


def _certificate(rows: Rows, alpha: Strength = 1.5) -> Tensor:
    """The exact weights of any t = ε(max z − τ), ε = α − 1, are optimal up to how far their sum is from 1.

    They are (εz + t)^(1/ε); divided by their sum Σ they are right for scores moved by t·|1 − Σ^(−ε)|/ε at
    most. t is read off the largest weight. Beyond α = 2 weights are steep in the scores: these are judged.
    """
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    eps = alpha - 1
    top = rows.y.amax(-1, keepdim=True)
    t = top**eps
    inside = 1 + eps * rows.z / t
    log = torch.where(eps > 0, torch.log1p(torch.where(inside > 0, eps * rows.z / t, 0.0)) / eps, rows.z)
    shape = torch.where((inside > 0) & rows.allowed, log.exp(), 0.0)
    total = shape.sum(-1, keepdim=True)
    excess = (top * total).log()
    moved = t * (excess * _expm1_ratio(-eps * excess)).abs()
    of_weights = torch.maximum((rows.y - shape / total).abs().amax(-1), moved.squeeze(-1))
    slopes = rows.y**eps / eps
    return torch.where(alpha.squeeze(-1) < 2, of_weights, sparsemax_certificate(rows._replace(y=slopes)))


class Entmax(Mapping):
    """Module form of :func:`entmax`: from softmax to sparsemax as α goes from 1 to 2.

    Example:
        >>> Entmax(learn=("alpha",))
        Entmax(dim=-1, gamma=1.0, alpha=1.5, learn=('alpha',))
    """

    function = staticmethod(entmax)

    def __init__(
        self, dim: int = -1, *, gamma: Strength = 1.0, alpha: Strength = 1.5, learn: Sequence[str] = ()
    ) -> None:
        super().__init__(dim, learn=learn, gamma=gamma, alpha=alpha)


class Entmax15(Mapping):
    """Module form of :func:`entmax15`: halfway from softmax to sparsemax.

    Example:
        >>> Entmax15()(torch.tensor([1.0, 2.1, 1.9]))
        tensor([0.0369, 0.5508, 0.4123])
    """

    function = staticmethod(entmax15)

    def __init__(self, dim: int = -1, *, gamma: Strength = 1.0, learn: Sequence[str] = ()) -> None:
        super().__init__(dim, learn=learn, gamma=gamma)


ENTMAX = MappingSpec(
    entmax,
    Entmax,
    colour="#E69F00",
    omega=_omega,
    certificate=_certificate,
    solver=solve_entmax,
)
ENTMAX15 = MappingSpec(
    entmax15,
    Entmax15,
    colour="#56B4E9",
    omega=_omega,
    certificate=_certificate,
    solver=solve_entmax15,
    beside_paper=True,
)
