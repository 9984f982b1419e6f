"""What follows from the groups of a solution: its derivative, and its labels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cpu.groups import labels as labels
from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.rows import (
    INVALID,
    along,
    convert,
    divided,
    offset,
    program_rows,
    segment_sums,
    side_by_side,
    strength,
)
from regattn.kernels.cuda.sparsemax import centred
from regattn.kernels.cuda.survivors import lanes_of, slots_of, tile, write_zeros
from regattn.kernels.cuda.tiles import places_of, rows_of


@triton.jit
def _average(
    g, structure, out, strides, sizes, rows, listed, members, factor, d, WORK: tl.constexpr
):  # fmt: skip
    member = listed < members
    entry = tl.load(structure + rows * (2 + d) + 2 + listed, mask=member, other=0).to(tl.int32)
    position = entry >> 2
    at = offset(rows, sizes, strides) + along(position, strides)
    v = side_by_side(convert(tl.load(g + at, mask=member, other=0.0), WORK), structure, listed)
    v = v - divided(tl.sum(v, 1, keep_dims=True), tl.maximum(members, 1).to(WORK))
    total, size, _ = segment_sums(v, member, member & ((entry & 1) == 1))
    result = convert(factor * divided(total, size), out.dtype.element_ty)
    tl.store(out + rows * d + position, result, mask=member)


@triton.jit
def group_average_rows(
    g, scale, structure, out, strides, scale_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    SLOTS: tl.constexpr = slots_of(BLOCK)
    wide = rows_of(ROWS)
    invalid = tl.load(structure + wide * (2 + d), mask=wide < n, other=0) == INVALID
    write_zeros(out, invalid, places_of(n, d, ROWS, BLOCK, lanes_of(BLOCK)), d)
    tl.debug_barrier()  # zeros before values
    rows = program_rows(ROWS)
    members = tl.load(structure + rows * (2 + d), mask=rows < n, other=0).to(tl.int32)
    groups = tl.load(structure + rows * (2 + d) + 1, mask=rows < n, other=0)
    members = tl.where(groups > 1, members, 0)  # one group has no derivative
    factor = strength(scale, scale_strides, sizes, rows, n, WORK)
    few = tl.where(members <= SLOTS, members, 0)
    listed = tl.arange(0, SLOTS)[None, :] + tl.zeros([ROWS, SLOTS], tl.int32)
    if tl.max(few) > 0:
        _average(g, structure, out, strides, sizes, rows, listed, few, factor, d, WORK)
    if tl.max(members) > SLOTS:
        many = tl.where(members > SLOTS, members, 0)
        every = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
        _average(g, structure, out, strides, sizes, rows, every, many, factor, d, WORK)


def group_average(direction: Tensor, structure: Tensor, scale: float | Tensor, centre: bool) -> Tensor:
    """scale · (direction, less its mean over the support, averaged inside each group).

    Weights in place of a structure say that each position is alone.
    """
    assert centre, "what is not on the simplex has no solver here"
    if structure.is_floating_point():
        return centred(direction, structure, scale)
    return launch_like(group_average_rows, (direction, scale), structure, tile=tile)


def whole(structure: Tensor) -> Tensor:
    """With zeros after the members: what compiled code sees."""
    if structure.is_floating_point():
        return structure
    listed = torch.arange(structure.shape[-1], device=structure.device) < structure[..., :1].clamp(min=0) + 2
    return torch.where(listed, structure, 0)
