"""Row solvers for the CPU: exact, float64 inside, in time that grows with the support.

A file for each mapping. Its compiled kernel ``<name>_rows(start, stop, scores, mask, masked, …, values,
structure)`` works on the rows from ``start`` to ``stop`` of C-contiguous arrays of shape (rows, d):

- ``scores``: float32 or float64;
- ``mask``: bool of the same shape, read only if ``masked``; a position without it, or at −inf,
  takes no part;
- strengths such as ``gammas``: float64 of shape (1,), or (rows,) where each row has its own;
- ``values``: the solution, of the scores' type;
- ``structure``: which positions have a derivative and which share one, of shape (rows, 2 + d): the
  number of such members, the number of groups, then one entry for each member, group after group,
  ``4·position + 2·(its sign is negative) + (it is the first of its group)``. Nothing after these
  is read: what a sparse row costs depends on its support.

A row with NaN or +inf, or with strengths outside their range, comes out NaN; its number of members
is ``INVALID``.

Most scores can be seen to get weight 0 from a lower bound on the threshold τ. So a row is read once
for its maximum and once for its survivors, both in vector instructions, and only these are solved.

Beside the kernel stands ``<name>(scores, mask, *strengths)`` on tensors, along their last dimension, made by
:func:`on_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regattn.kernels.cpu.openmp import parallel_rows
from regattn.kernels.cpu.screening import NO_MASK, support_rows

Weights = Tensor | tuple[Tensor, Tensor]  # alone, or with their structure

_WORKING = (torch.float32, torch.float64)  # every other type is computed in float32
_WORTH_SHARING = 16_384  # scores: fewer are done before a thread that sleeps wakes up


def on_tensors(kernel: Callable[..., None]) -> Callable[..., tuple[Tensor, Tensor]]:
    """What a kernel of rows does, on tensors.

    Returns:
        ``solve(scores, mask, *strengths) -> (values, structure)``. ``mask`` is None or bool, broadcastable to
        the scores. A strength is a number, or a tensor that is broadcastable to the scores with size 1 in the
        last dimension.
    """

    def solve(scores: Tensor, mask: Tensor | None, *strengths: float | Tensor) -> tuple[Tensor, Tensor]:
        x = working_rows(scores)
        flags = _flags(mask, scores)
        numbers = [_constant(s) if type(s) is float else strength_array(s, scores) for s in strengths]
        (count, d), values, room = x.shape, torch.empty_like(x), _room(x)
        run_rows(kernel, count, count * d, x.numpy(), flags, mask is not None, *numbers, values.numpy(), room)
        structure = torch.from_numpy(room)
        if scores.ndim != 2:
            structure = structure.view(*scores.shape[:-1], 2 + d)
        return like(values, scores), structure

    return solve


def slope_on_tensors(kernel: Callable[..., None]) -> Callable[..., Tensor]:
    """What a kernel of a penalty's slope does: the slope like the scores, or with ``product`` of each row."""

    def penalty_slope(
        scores: Tensor, mask: Tensor | None, values: Tensor, structure: Tensor, product: Tensor | None
    ) -> Tensor:
        x, y = working_rows(scores), working_rows(values)
        g = y if product is None else working_rows(product)
        output = torch.empty_like(y if product is None else y[:, :1])
        entries = structure.reshape(len(x), structure.shape[-1]).contiguous()
        arrays = y.numpy(), entries.numpy(), g.numpy(), product is not None, output.numpy()
        run_rows(kernel, len(x), x.numel(), x.numpy(), _flags(mask, scores), mask is not None, *arrays)
        return output.view(*scores.shape[:-1], output.shape[-1]).to(scores.dtype)

    return penalty_slope


def product_on_tensors(kernel: Callable[..., None]) -> Callable[..., Tensor]:
    """What a kernel of products with Jacobians does: ``product(direction, weights, *strengths)``.

    Where the structure of the weights stands beside them, their support need not be looked for.
    """

    def product(direction: Tensor, found: Weights, *strengths: float | Tensor) -> Tensor:
        weights, structure = found if isinstance(found, tuple) else (found, None)
        g, y = working_rows(direction), working_rows(weights)
        count, work = g.shape[0], g.numel()
        if structure is None:
            entries = _room(y)
            run_rows(support_rows, count, work, y.numpy(), entries)
        else:
            entries = (structure if structure.ndim == 2 else structure.reshape(count, -1)).numpy()
        output = torch.empty_like(g)
        arrays = [strength_array(strength, weights) for strength in strengths]
        arguments = (g.numpy(), y.numpy(), entries, output.numpy(), *arrays)
        run_rows(kernel, count, work, *arguments)
        return like(output, direction)

    return product


def run_rows(kernel: Callable[..., None], count: int, work: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` on ``count`` rows, in threads if that pays."""
    if count > 1 and work >= _WORTH_SHARING:
        parallel_rows(kernel, count, *arguments)
    else:
        kernel(0, count, *arguments)


# ------------------------------------------------------------------ tensors to arrays
def _flags(mask: Tensor | None, scores: Tensor) -> np.ndarray:
    if mask is None:
        return NO_MASK
    return mask.detach().expand(scores.shape).reshape(-1, scores.shape[-1]).contiguous().numpy()


def working_rows(scores: Tensor) -> Tensor:
    """(…, d) -> contiguous (rows, d) in the working precision, detached."""
    flat = scores.detach()  # each step only where it does something: a short row feels them all
    if flat.ndim != 2:
        flat = flat.reshape(-1, scores.shape[-1])
    if flat.dtype not in _WORKING:
        flat = flat.float()
    return flat if flat.is_contiguous() else flat.contiguous()


def like(values: Tensor, scores: Tensor) -> Tensor:
    """Rows in the shape and type of the scores."""
    if values.ndim != scores.ndim:
        values = values.view(scores.shape)
    return values if values.dtype == scores.dtype else values.to(scores.dtype)


def _room(rows: Tensor) -> np.ndarray:
    """For a structure, in half of the time that PyTorch takes: large enough for 4·position + 3."""
    count, d = rows.shape
    return np.empty((count, 2 + d), np.int16 if d <= 8192 else np.int32)


def structure_like(scores: Tensor, dtype: torch.dtype = torch.int32) -> Tensor:
    """Room for the structure of a solution; compiled code sees int32, whatever the length is."""
    *batch, d = scores.shape
    # Sizes one by one: a tuple of them costs half a microsecond, which short rows feel.
    return torch.empty(*batch, 2 + d, dtype=dtype, device=scores.device)


def strength_array(strength: float | Tensor, scores: Tensor) -> np.ndarray:
    """One number, or one for each row."""
    if not isinstance(strength, Tensor):
        return _constant(float(strength))
    each = strength.detach().to(torch.float64)
    if each.numel() > 1:
        each = each.expand(*scores.shape[:-1], 1)
    return each.reshape(-1).contiguous().numpy()


@lru_cache
def _constant(value: float) -> np.ndarray:
    return np.array([value], np.float64)
