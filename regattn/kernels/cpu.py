"""Row solvers on CPU tensors: compiled kernels, parallel over rows.

Each solves along the last dimension. ``mask`` is None or bool, broadcastable to the scores. A strength
is a number, or a tensor that is broadcastable to the scores with size 1 in the last dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regattn.kernels import rows
from regattn.kernels.threads import share

Strength = float | Tensor
Solution = tuple[Tensor, Tensor]

_WORKING = (torch.float32, torch.float64)  # every other type is computed in float32
_NO_MASK = np.zeros((1, 1), np.bool_)


# ------------------------------------------------------------------ parallel over rows
_WORTH_SHARING = 16_384  # scores: fewer are done before a thread that sleeps wakes up
_AVERAGED_PER_SOLVED = 8  # scores that are averaged in the time that one takes to be solved


def _run(kernel: Callable[..., None], count: int, work: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` on ``count`` rows, in threads if that pays."""
    if count > 1 and work >= _WORTH_SHARING:
        share(kernel, count, *arguments)
    else:
        kernel(0, count, *arguments)


# ------------------------------------------------------------------ tensors to arrays
def working_rows(scores: Tensor) -> Tensor:
    """(…, d) -> contiguous (rows, d) in the working precision, detached."""
    flat = scores.detach()  # each step only where it does something: a short row feels them all
    if flat.ndim != 2:
        flat = flat.reshape(-1, scores.shape[-1])
    if flat.dtype not in _WORKING:
        flat = flat.float()
    return flat if flat.is_contiguous() else flat.contiguous()


def _like(values: Tensor, scores: Tensor) -> Tensor:
    """Rows in the shape and type of the scores."""
    if values.ndim != scores.ndim:
        values = values.view(scores.shape)
    return values if values.dtype == scores.dtype else values.to(scores.dtype)


def structure_like(scores: Tensor) -> Tensor:
    """Room for the structure of a solution: see :mod:`regattn.kernels.rows`."""
    *batch, d = scores.shape
    smallest = torch.int16 if d <= 8192 else torch.int32  # holds 4·position + 3
    # Sizes one by one: a tuple of them costs half a microsecond, which short rows feel.
    return torch.empty(*batch, 2 + d, dtype=smallest, device=scores.device)


@lru_cache
def _constant(value: float) -> np.ndarray:
    return np.array([value], np.float64)


def _strength(value: Strength, scores: Tensor) -> np.ndarray:
    if not isinstance(value, Tensor):
        return _constant(value)
    each = value.detach().to(torch.float64)
    if each.numel() > 1:
        each = each.expand(*scores.shape[:-1], 1)
    return each.reshape(-1).contiguous().numpy()


def _arguments(scores: Tensor, mask: Tensor | None) -> tuple[Tensor, tuple[Any, ...]]:
    x = working_rows(scores)
    if mask is None:
        return x, (x.numpy(), _NO_MASK, False)
    flags = mask.detach().expand(scores.shape).reshape(x.shape).contiguous().numpy()
    return x, (x.numpy(), flags, True)


def _solve(
    kernel: Callable[..., None], scores: Tensor, mask: Tensor | None, parameters: tuple[Any, ...]
) -> Solution:
    x, arguments = _arguments(scores, mask)
    values, structure, (count, d) = torch.empty_like(x), structure_like(x), x.shape
    _run(kernel, count, count * d, *arguments, *parameters, values.numpy(), structure.numpy())
    if scores.ndim != 2:
        structure = structure.view(*scores.shape[:-1], 2 + d)
    return _like(values, scores), structure


# ------------------------------------------------------------------ solvers
def sparsemax(scores: Tensor, mask: Tensor | None, gamma: Strength) -> Solution:
    return _solve(rows.sparsemax, scores, mask, (_strength(gamma, scores),))


def fusedmax(scores: Tensor, mask: Tensor | None, gamma: Strength, lam: Strength) -> Solution:
    return _solve(rows.fusedmax, scores, mask, (_strength(gamma, scores), _strength(lam, scores)))


def oscarmax(scores: Tensor, mask: Tensor | None, gamma: Strength, lam: Strength) -> Solution:
    return _solve(rows.oscarmax, scores, mask, (_strength(gamma, scores), _strength(lam, scores)))


def prox_tv1d(scores: Tensor, mask: Tensor | None, lam: Strength) -> Solution:
    return _solve(rows.prox_tv1d, scores, mask, (_strength(lam, scores),))


def prox_oscar(scores: Tensor, mask: Tensor | None, lam: Strength) -> Solution:
    return _solve(rows.prox_oscar, scores, mask, (_strength(lam, scores),))


def isotonic_regression(scores: Tensor, mask: Tensor | None, decreasing: bool) -> Solution:
    return _solve(rows.isotonic_regression, scores, mask, (decreasing,))


def pnormmax(scores: Tensor, mask: Tensor | None, gamma: Strength, p: float) -> Tensor:
    x, arguments = _arguments(scores, mask)
    values = torch.empty_like(x)
    strength = _strength(gamma, scores)
    _run(rows.pnormmax, x.shape[0], x.numel(), *arguments, strength, float(p), values.numpy())
    return _like(values, scores)


# ------------------------------------------------------------------ derivatives
def group_average(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
    g = working_rows(direction)
    output = torch.empty_like(g)
    found = structure if structure.ndim == 2 else structure.reshape(-1, structure.shape[-1])
    found = found.contiguous()
    arrays, work = (g.numpy(), found.numpy(), output.numpy()), g.numel() // _AVERAGED_PER_SOLVED
    _run(rows.group_average, g.shape[0], work, *arrays, float(scale), centre)
    return _like(output, direction)


def pnormmax_product(direction: Tensor, weights: Tensor, gamma: Strength, p: float) -> Tensor:
    g, y = working_rows(direction), working_rows(weights)
    output = torch.empty_like(g)
    arrays, strength = (g.numpy(), y.numpy(), output.numpy()), _strength(gamma, weights)
    _run(rows.pnormmax_product, g.shape[0], g.numel(), *arrays, strength, float(p))
    return _like(output, direction)


def labels(structure: Tensor) -> Tensor:
    """0 outside the support, else ±k for the k-th group of a row; −1 throughout a poisoned one."""
    found = structure.reshape(-1, structure.shape[-1]).contiguous()
    output = torch.empty((len(found), found.shape[1] - 2), dtype=torch.int32)
    _run(rows.labels, len(output), output.numel(), found.numpy(), output.numpy())
    return output.view(*structure.shape[:-1], -1)
