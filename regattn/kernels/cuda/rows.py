"""What every Triton kernel does with rows: read them, sum over segments, write them.

A tensor of rows is (ROWS, BLOCK) in a program. No ``tl.gather``: it would make the compiler keep each row
in every warp. What stands elsewhere in a row is brought by a scan, or looked up in memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

INF = tl.constexpr(float("inf"))
INVALID, UNSOLVED = tl.constexpr(-1), tl.constexpr(-2)
"""Stand in a structure for the number of members."""


# ------------------------------------------------------------------ rows in
@triton.jit
def program_rows(ROWS: tl.constexpr):
    return tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]


@triton.jit
def offset(rows, sizes, strides):
    """Where rows begin: row-major over three leading dimensions, of which the first needs no size."""
    at = rows * strides[2]
    if sizes[0] * sizes[1] > 1:  # divisions take longer than all the rest of a short row
        row, middles, inners = rows.to(tl.int32), sizes[0].to(tl.int32), sizes[1].to(tl.int32)
        above = row // inners
        outer = above // middles
        inner, middle = row - above * inners, above - outer * middles
        at = outer.to(tl.int64) * strides[0] + middle.to(tl.int64) * strides[1]
        at += inner.to(tl.int64) * strides[2]
    return at


@triton.jit
def along(columns, strides):
    """Where columns are in a row."""
    if strides[3] is None:
        return columns
    else:
        return columns.to(tl.int64) * strides[3]


@triton.jit
def strength(value, strides, sizes, rows, n, WORK: tl.constexpr):
    """A number for each row: γ, λ or p, one for all or one per row."""
    if strides is None:
        return (rows * 0).to(WORK) + value
    else:
        return convert(tl.load(value + offset(rows, sizes, strides), mask=rows < n, other=2), WORK)


@triton.jit
def divided(a, b):
    """Rounded to nearest, which plain float32 division on the device is not: ties must stay ties."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b


@triton.jit
def convert(x, TYPE: tl.constexpr):
    """Conversion between 16 and 64 bits goes by way of float32."""
    if x.dtype.primitive_bitwidth + TYPE.primitive_bitwidth == 80:
        x = x.to(tl.float32)
    return x.to(TYPE)


@triton.jit
def load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK: tl.constexpr):
    """Scores, −inf for what takes no part; and which rows hold NaN or +inf, all of them −inf then."""
    taking = (rows < n) & (columns < d)
    if mask is not None:
        at = offset(rows, sizes, mask_strides) + along(columns, mask_strides)
        taking = taking & (tl.load(mask + at, mask=taking, other=0) != 0)
    at = offset(rows, sizes, strides) + along(columns, strides)
    scores = convert(tl.load(x + at, mask=taking, other=-INF), WORK)
    invalid = tl.max((~(scores < INF)).to(tl.int32), 1, keep_dims=True) > 0
    return tl.where(invalid, -INF, scores), invalid


@triton.jit
def shifted(scores, gamma, floor):
    """(scores − max)/γ, not under ``floor``, below which no score matters; 0 where there is none."""
    present = scores > -INF
    top = tl.max(scores, 1, keep_dims=True)
    z = divided(scores - tl.where(top > -INF, top, 0.0), gamma)
    return tl.where(present, tl.maximum(z, floor), 0.0), present


# ------------------------------------------------------------------ pieces of a row
@triton.jit
def side_by_side(x, memory, columns):
    """The same numbers, eight neighbours in a thread: a scan, which else would take one after another from
    the next thread, shuffles an eighth as often.

    For the layout alone: what is added are zeros, to be loaded by 16 bytes, none of which is read.
    """
    eights = tl.multiple_of(memory + columns, (1, 16))
    return x + tl.load(eights, mask=columns < 0, other=0).to(x.dtype)


@triton.jit
def some(x):
    return tl.max(x.to(tl.int32)) > 0


@triton.jit
def some_in_row(x):
    return tl.max(x.to(tl.int32), 1, keep_dims=True) > 0


@triton.jit
def _segmented_sum(new_a, sum_a, size_a, new_b, sum_b, size_b):
    total, size = tl.where(new_b > 0, sum_b, sum_a + sum_b), tl.where(new_b > 0, size_b, size_a + size_b)
    return new_a | new_b, total, size


@triton.jit
def last_of_segment(flags_b, x_b, y_b, flags_a, x_a, y_a):
    """What stands at the end of the first segment of a and b, of which the scan from the right meets b first.

    Bit 0 of the flags: a segment starts at the first position; bit 1: one starts after it.
    """
    closed = ((flags_a & 2) | (flags_b & 1)) > 0
    flags = (flags_a & 1) | tl.where(closed | (flags_b > 1), 2, 0)
    return flags, tl.where(closed, x_a, x_b), tl.where(closed, y_a, y_b)


@triton.jit
def segment_sums(value, member, start):
    """Sum and number of members in each position's segment, the same bits for all of it; its own number."""
    start = start.to(tl.int32)
    value = tl.where(member, value, 0.0)
    _, total, rank = tl.associative_scan((start, value, member.to(value.dtype)), 1, _segmented_sum)
    _, total, size = tl.associative_scan((start, total, rank), 1, last_of_segment, reverse=True)
    return total, tl.maximum(size, 1.0), rank


@triton.jit
def threshold(level, member):
    """τ with Σ max(level − τ, 0) = 1 over the members, from below by Newton's steps."""
    tau = tl.max(tl.where(member, level, -INF), 1, keep_dims=True) - 1
    running = some_in_row(member)
    tau = tl.where(running, tau, 0.0)
    before = tau * 0 + level.shape[1] + 1
    while some(running):
        above = member & (level > tau)
        size = tl.sum(above.to(tau.dtype), 1, keep_dims=True)
        excess = tl.sum(tl.where(above, level - tau, 0.0), 1, keep_dims=True) - 1
        tau = tl.where(running, tau + divided(excess, tl.maximum(size, 1.0)), tau)
        running = running & (size < before)  # the support only shrinks; once more for the rounding
        before = size
    return tau


@triton.jit
def write_structure(structure, rows, position, inside, start, state, n, d):
    """List the members, after their number (``state`` if that is below 0) and that of groups."""
    row = structure + rows * (2 + d)
    number = tl.cumsum(inside.to(tl.int32), 1)
    entry = 4 * position + (start & inside).to(tl.int32)
    tl.store(row + 1 + number, entry.to(tl.int16), mask=inside)
    members = tl.sum(inside.to(tl.int32), 1, keep_dims=True)
    groups = tl.sum((start & inside).to(tl.int32), 1, keep_dims=True)
    tl.store(row, tl.where(state < 0, state, members).to(tl.int16), mask=rows < n)
    tl.store(row + 1, groups.to(tl.int16), mask=rows < n)


@triton.jit
def write_slope(slope, g, out, g_strides, sizes, rows, columns, inside, n, d, WORK: tl.constexpr):
    """Each where it belongs; or, if there is a direction, the sum of a row with that."""
    if g is None:
        tl.store(out + rows * d + columns, convert(slope, out.dtype.element_ty), mask=inside)
    else:
        at = offset(rows, sizes, g_strides) + along(columns, g_strides)
        v = convert(tl.load(g + at, mask=inside, other=0.0), WORK)
        total = tl.sum(slope * v, 1, keep_dims=True)
        tl.store(out + rows, convert(total, out.dtype.element_ty), mask=rows < n)
