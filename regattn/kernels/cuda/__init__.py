"""Row solvers for CUDA in Triton: one kernel launch from scores to weights and structure.

A file for each mapping, with its kernel and ``<name>(scores, mask, *strengths)`` on tensors, made by
:func:`on_tensors`. That works on the last dimension of tensors with any strides and any leading
dimensions; scores and mask are read where they lie. float64 is computed in float64, everything else in
float32 and returned in its own type. A position at −inf or outside the mask takes no part; a row with
NaN or +inf comes out NaN.

The structure of a solution lists the positions of a row so that each group is contiguous: int32 like the
scores, ``4·position + 2·(outside the support) + (first of its group)``, or −1 throughout an invalid row.
Entries outside the support may stand inside a group and do not end it. One backward kernel serves all.

A program holds a few whole rows in registers and solves them together. What is sequential on a CPU is a scan
here: an associative function over the row, for all groups at once. Each loop runs until the slowest row of
the program is done and leaves finished rows alone, so that a row's bits do not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

Input = Tensor | float | None


class _Layout(NamedTuple):
    """Tensors of one shape as rows: the last two leading sizes, and four strides for each tensor."""

    sizes: tuple[int, int]
    tensors: list[Any]
    strides: list[tuple[int, ...] | None]


def _layout(shape: Sequence[int], inputs: Sequence[Input]) -> _Layout:
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


def launch_rows(
    kernel: Any, inputs: Sequence[Input], outputs: Sequence[Tensor], *, double: bool = False, **flags: bool
) -> None:
    """Run ``kernel`` over the rows of the first input, whose shape the others have or broadcast to.

    Args:
        kernel: a Triton function.
        inputs: in any layout.
        outputs: what it writes, and what else it reads of contiguous tensors.
        double: whether it computes in float64 whatever the inputs' type.
        **flags: its ``tl.constexpr`` arguments.
    """
    first = inputs[0]
    assert isinstance(first, Tensor)
    rows, d = first.numel() // first.shape[-1], first.shape[-1]
    if rows == 0:
        return
    wide = first.dtype == torch.float64
    work = torch.float64 if wide or double else torch.float32
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
    arguments = (*tensors, *outputs, *strides, sizes, rows, d)
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        _launch(kernel, (triton.cdiv(rows, tile),), arguments, options)


def structure_like(scores: Tensor) -> Tensor:
    """Room for the structure of a solution."""
    return torch.empty_like(scores, dtype=torch.int32, memory_format=torch.contiguous_format)


def on_tensors(kernel: Any, *, double: bool = False) -> Callable[..., tuple[Tensor, Tensor]]:
    """What a kernel of rows does, on tensors.

    Returns:
        ``solve(scores, mask, *strengths) -> (values, structure)``. ``mask`` is None or bool, broadcastable to
        the scores. A strength is a number, or a tensor that is broadcastable to the scores with size 1 in the
        last dimension.
    """

    def solve(scores: Tensor, mask: Tensor | None, *strengths: float | Tensor) -> tuple[Tensor, Tensor]:
        values = torch.empty_like(scores, memory_format=torch.contiguous_format)
        structure = structure_like(values)
        launch_rows(kernel, (scores, mask, *strengths), (values, structure), double=double)
        return values, structure

    return solve
