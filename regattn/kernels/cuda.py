"""Row solvers for CUDA in Triton: one kernel launch from scores to weights and structure.

Every public function works on the last dimension of a tensor with any strides and any leading
dimensions; scores and mask are read where they lie. float64 is computed in float64, everything else in
float32 and returned in its own type. A position at −inf or outside the mask takes no part; a row with
NaN or +inf comes out NaN.

The structure of a solution lists the positions of a row so that each group is contiguous: int32 like the
scores, ``4·position + 2·(outside the support) + (first of its group)``, or −1 throughout a poisoned row.
Entries outside the support may stand inside a group and do not end it. One backward kernel serves all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels import triton_solvers

POISONED = -(2**31)  # the label of a NaN row
Strength = float | Tensor


# ------------------------------------------------------------------ launching


class _Layout(NamedTuple):
    """Tensors of one shape as rows: the last two leading sizes, and four strides for each tensor."""

    sizes: tuple[int, int]
    tensors: list[Any]
    strides: list[tuple[int, ...] | None]


def _layout(shape: Sequence[int], inputs: Sequence[Tensor | float | None]) -> _Layout:
    """Collapse leading dimensions where all tensors allow it; copy only if more than three are left."""
    wide = [t.expand(shape) if isinstance(t, Tensor) else t for t in inputs]
    leading: list[tuple[int, ...]] = []  # size, then the stride of each input
    for k, size in enumerate(shape[:-1]):
        here = (size, *(t.stride(k) if isinstance(t, Tensor) else 0 for t in wide))
        if leading and all(a == b * size for a, b in zip(leading[-1][1:], here[1:], strict=True)):
            leading[-1] = (leading[-1][0] * size, *here[1:])
        elif size > 1:
            leading.append(here)
    if len(leading) > 3:
        rows = (math.prod(shape[:-1]), shape[-1])
        return _layout(rows, [t.reshape(rows) if isinstance(t, Tensor) else t for t in wide])
    leading = [(1, *(0 for _ in wide))] * (3 - len(leading)) + leading
    strides = [
        (*(dim[1 + k] for dim in leading), t.stride(-1)) if isinstance(t, Tensor) else None
        for k, t in enumerate(wide)
    ]
    return _Layout((leading[1][0], leading[2][0]), wide, strides)


def _launch(kernel: Any, grid: tuple[int], arguments: Sequence[Any], options: dict[str, Any]) -> None:
    kernel[grid](*arguments, **options)


def _solve(
    kernel: Any, inputs: Sequence[Tensor | float | None], contiguous: Sequence[Tensor], **flags: bool
) -> None:
    """Run ``kernel`` over the rows of the first input, whose shape the others have or broadcast to."""
    first = inputs[0]
    assert isinstance(first, Tensor)
    rows, d = first.numel() // first.shape[-1], first.shape[-1]
    if rows == 0:
        return
    wide = first.dtype == torch.float64
    work = torch.float64 if wide or kernel is triton_solvers.oscarmax else torch.float32
    inputs = [t.to(first.device) if isinstance(t, Tensor) else t for t in inputs]
    inputs = [t.view(torch.uint8) if isinstance(t, Tensor) and t.dtype == torch.bool else t for t in inputs]
    if wide:  # a number is passed to a kernel in float32
        inputs = [first.new_full((), t) if isinstance(t, float) else t for t in inputs]
    sizes, tensors, strides = _layout(first.shape, inputs)
    block = max(16, triton.next_power_of_2(d))
    tile = max(1, 256 // block)
    options = {
        **flags,
        "ROWS": tile,
        "BLOCK": block,
        "WORK": tl.float64 if work == torch.float64 else tl.float32,
        "EPS": 4 * torch.finfo(work).eps,
        "num_warps": min(16, max(1, tile * block // 128)),
    }
    arguments = (*tensors, *contiguous, *strides, sizes, rows, d)
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        _launch(kernel, (triton.cdiv(rows, tile),), arguments, options)


def structure_like(scores: Tensor) -> Tensor:
    """Room for the structure of a solution."""
    return torch.empty_like(scores, dtype=torch.int32, memory_format=torch.contiguous_format)


def _outputs(scores: Tensor) -> tuple[Tensor, Tensor]:
    values = torch.empty_like(scores, memory_format=torch.contiguous_format)
    return values, structure_like(values)


# ------------------------------------------------------------------ public
def sparsemax(scores: Tensor, mask: Tensor | None, gamma: Strength) -> tuple[Tensor, Tensor]:
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖², row by row, and its structure.

    Args:
        scores: floating (…, d), any strides.
        mask: bool, broadcastable to ``scores``; ``True`` takes part.
        gamma: number above 0, or floating tensor broadcastable to (…, 1).
    """
    found = _outputs(scores)
    _solve(triton_solvers.sparsemax, (scores, mask, gamma), found)
    return found


def fusedmax(scores: Tensor, mask: Tensor | None, gamma: Strength, lam: Strength) -> tuple[Tensor, Tensor]:
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ|y_{i+1} − y_i|); ``lam`` is given as ``gamma``."""
    found = _outputs(scores)
    _solve(triton_solvers.fusedmax, (scores, mask, gamma, lam), found)
    return found


def oscarmax(scores: Tensor, mask: Tensor | None, gamma: Strength, lam: Strength) -> tuple[Tensor, Tensor]:
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ_{i<j} max(y_i, y_j))."""
    found = _outputs(scores)
    _solve(triton_solvers.oscarmax, (scores, mask, gamma, lam), found)
    return found


def pnormmax(scores: Tensor, mask: Tensor | None, gamma: Strength, p: float) -> Tensor:
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖_p²."""
    values = torch.empty_like(scores, memory_format=torch.contiguous_format)
    _solve(triton_solvers.pnormmax, (scores, mask, gamma, p), (values,), HALVES=p == 1.5, SQUARE=p == 2.0)
    return values


def group_average(direction: Tensor, structure: Tensor, scale: Strength, centre: bool) -> Tensor:
    """scale · (direction, less its mean over the support if ``centre``, averaged inside each group)."""
    out = torch.empty_like(direction, memory_format=torch.contiguous_format)
    _solve(triton_solvers.group_average, (direction, scale), (structure.contiguous(), out), CENTRE=centre)
    return out


def pnormmax_product(direction: Tensor, weights: Tensor, gamma: Strength, p: float) -> Tensor:
    """J @ direction of :func:`pnormmax`, from its weights."""
    out = torch.empty_like(direction, memory_format=torch.contiguous_format)
    _solve(triton_solvers.pnormmax_product, (direction, gamma, p), (weights.contiguous(), out))
    return out


def labels(structure: Tensor) -> Tensor:
    """Groups as in the CPU kernels: 0 outside the support, else the group's number, POISONED for NaN rows."""
    outside, start = (structure & 2) != 0, (structure & 1) != 0
    group = start.cumsum(-1).masked_fill(outside, 0).to(torch.int32)
    position = torch.where(
        structure < 0, torch.arange(structure.shape[-1], device=structure.device), structure >> 2
    )
    return torch.zeros_like(group).scatter_(-1, position, group).masked_fill_(structure < 0, POISONED)
