"""What follows from the groups of a solution: its derivative, and its labels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_rows
from regattn.kernels.cuda.rows import (
    along,
    convert,
    divided,
    offset,
    program_rows,
    segment_sums,
    some_in_row,
    strength,
)
from regattn.kernels.cuda.sparsemax import centred

INVALID = -(2**31)  # the label of a NaN row


@triton.jit
def group_average_rows(
    g, scale, structure, out, strides, scale_strides, sizes, n, d,
    CENTRE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows = program_rows(ROWS)
    columns = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
    here = (rows < n) & (columns < d)
    entry = tl.load(structure + rows * d + columns, mask=here, other=2)
    invalid, position = some_in_row(entry < 0), tl.where(entry < 0, columns, entry >> 2)
    member, start = (entry & 2) == 0, (entry & 1) == 1
    at = offset(rows, sizes, strides) + along(position, strides)
    v = convert(tl.load(g + at, mask=here & member, other=0.0), WORK)
    if CENTRE:
        size = tl.maximum(tl.sum(member.to(WORK), 1, keep_dims=True), 1.0)
        v = v - divided(tl.sum(v, 1, keep_dims=True), size)
    total, size, _ = segment_sums(v, member, start & member)
    scale = strength(scale, scale_strides, sizes, rows, n, WORK)
    result = tl.where(member, scale * divided(total, size), 0.0)
    result = tl.where(invalid, float("nan"), result)
    tl.store(out + rows * d + position, convert(result, out.dtype.element_ty), mask=here)


def group_average(direction: Tensor, structure: Tensor, scale: float | Tensor, centre: bool) -> Tensor:
    """scale · (direction, less its mean over the support if ``centre``, averaged inside each group).

    Weights in place of a structure say that each position is alone.
    """
    if structure.is_floating_point():
        assert centre
        return centred(direction, structure, scale)
    out = torch.empty_like(direction, memory_format=torch.contiguous_format)
    launch_rows(group_average_rows, (direction, scale), (structure.contiguous(), out), CENTRE=centre)
    return out


def whole(structure: Tensor) -> Tensor:
    """As compiled code sees it: as it is, for the kernels write all of it."""
    return structure


def labels(structure: Tensor) -> Tensor:
    """Groups as in the CPU kernels: 0 outside the support, else the group's number, INVALID for NaN rows."""
    outside, start = (structure & 2) != 0, (structure & 1) != 0
    group = start.cumsum(-1).masked_fill(outside, 0).to(torch.int32)
    position = torch.where(
        structure < 0, torch.arange(structure.shape[-1], device=structure.device), structure >> 2
    )
    return torch.zeros_like(group).scatter_(-1, position, group).masked_fill_(structure < 0, INVALID)
