"""oscarmax: the support of the sorted scores, then their regression, split until none splits."""

from __future__ import annotations

import triton
import triton.language as tl

from regattn.kernels.cuda import on_tensors
from regattn.kernels.cuda.rows import (
    INF,
    INVALID,
    along,
    convert,
    divided,
    last_of_segment,
    load_scores,
    minimum,
    offset,
    program_rows,
    segment_sums,
    shifted,
    some,
    some_in_row,
    strength,
    threshold,
    write_structure,
)


@triton.jit
def _ordered(bits, SHIFT: tl.constexpr, REST: tl.constexpr):
    """Integers in the order of the floating-point numbers with these bits."""
    return bits ^ ((bits >> SHIFT) & REST)


@triton.jit
def _packed(key, columns):
    """In one integer, so that the larger key and then the smaller column is the larger one."""
    return (key.to(tl.int64) << 32) | (columns ^ (columns.shape[1] - 1)).to(tl.int64)


@triton.jit
def _sorted_columns(packed):
    last = packed.shape[1] - 1  # all bits of a column
    return ((tl.sort(packed, 1, descending=True) & last) ^ last).to(tl.int32)


@triton.jit
def _descending(scores, columns, scratch, here, TYPE: tl.constexpr):
    """Positions by decreasing score, those that a row does not have last.

    A score of 16 or 32 bits is sorted in one integer with its position; one of 64 bits by its lower half
    first, and the order found is put in memory for the second sort to look up.
    """
    native = convert(scores, TYPE)
    if TYPE.primitive_bitwidth == 16:
        key = tl.where(here, _ordered(native.to(tl.int16, bitcast=True).to(tl.int32), 15, 0x7FFF), -0x8000)
        position = _sorted_columns((key << 16) | (columns ^ (columns.shape[1] - 1)))
    elif TYPE.primitive_bitwidth == 32:
        key = tl.where(here, _ordered(native.to(tl.int32, bitcast=True), 31, 0x7FFFFFFF), -0x80000000)
        position = _sorted_columns(_packed(key, columns))
    else:
        key = _ordered(native.to(tl.int64, bitcast=True), 63, 0x7FFFFFFFFFFFFFFF)
        low = tl.where(here, (key & 0xFFFFFFFF) - 0x80000000, -0x80000000)
        high = tl.where(here, key >> 32, -0x80000000)
        order = _sorted_columns(_packed(low, columns))
        tl.store(scratch + order, columns.to(tl.int16), mask=here)
        tl.debug_barrier()
        rank = tl.where(here, tl.load(scratch + columns, mask=here, other=0).to(tl.int32), columns)
        tl.debug_barrier()
        tl.store(scratch + columns, order.to(tl.int16), mask=here)
        tl.debug_barrier()
        slot = _sorted_columns(_packed(high, rank))
        position = tl.where(here, tl.load(scratch + slot, mask=here, other=0).to(tl.int32), columns)
        tl.debug_barrier()  # the memory is for something else again
    return position


@triton.jit
def _highest_sum(new_a, sum_a, best_a, at_a, new_b, sum_b, best_b, at_b):
    """The largest sum of the first positions of a segment, and of how many."""
    best = sum_a + best_b
    return (
        new_a | new_b,
        tl.where(new_b > 0, sum_b, sum_a + sum_b),
        tl.where(new_b > 0, best_b, tl.maximum(best_a, best)),
        tl.where((new_b > 0) | (best > best_a), at_b, at_a),
    )


@triton.jit
def _highest(value, eligible, rank, start):
    """In each segment the largest sum of its first positions up to an eligible one, and of how many."""
    start = start.to(tl.int32)
    best = tl.where(eligible, value, -INF)
    _, _, best, size = tl.associative_scan((start, value, best, rank), 1, _highest_sum)
    _, best, size = tl.associative_scan((start, best, size), 1, last_of_segment, reverse=True)
    return best, size


@triton.jit
def oscarmax_rows(
    x, mask, gamma, lam, y, structure, strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """With w the sorted scores plus λ(0, 1, …): support and τ, then decreasing isotonic regression.

    In float64 throughout: the sums of w grow with the square of the support, what is sought does not.

    The support is the prefix that attains τ = max_k (w_1 + … + w_k − 1)/k. The regression is the slope of
    the concave majorant of its sums: in each segment the sum farthest above the chord is a corner of it.
    """
    rows = program_rows(ROWS)
    columns = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
    scores, invalid = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    lam = strength(lam, lam_strides, sizes, rows, n, WORK)
    gamma = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    unsound = ~((gamma > 0) & (gamma < INF) & (lam >= 0) & (lam < INF))
    invalid, scores = invalid | unsound, tl.where(unsound, -INF, scores)
    lam, gamma = tl.where(unsound, 0.0, lam), tl.where(unsound, 1.0, gamma)
    mine = (rows < n) & (columns < d)
    position = _descending(scores, columns, structure + rows * (2 + d), mine, x.dtype.element_ty)
    here = columns < tl.sum((scores > -INF).to(tl.int32), 1, keep_dims=True)
    at = offset(rows, sizes, strides) + along(position, strides)
    scores = convert(tl.load(x + at, mask=here, other=-INF), WORK)  # again, in order
    z, _ = shifted(scores, gamma, -2.0 - 2.0 * lam * d)
    w = tl.where(here, z + lam * columns.to(WORK), 0.0)

    tau, length = lam * 0 - 1.0, lam * 0 + BLOCK
    running = some_in_row(here)
    while some(running):
        total = tl.cumsum(tl.where(here, w - tau, 0.0), 1)
        best = tl.where(here, total, -INF)
        shorter = tl.argmax(best, 1, keep_dims=True).to(WORK) + 1
        excess = tl.max(best, 1, keep_dims=True) - 1
        tau = tl.where(running, tau + divided(excess, shorter), tau)
        running = running & (shorter < length)  # the prefix only shrinks
        length = tl.where(running, shorter, length)

    inside = here & (columns.to(WORK) < length)
    start = here & ((columns == 0) | (lam == 0))
    worth = EPS * tl.maximum(lam * length, -tl.min(tl.where(inside, z, 0.0), 1, keep_dims=True))
    rest = w
    running = some_in_row(inside) & (lam > 0)
    while some(running):
        total, size, rank = segment_sums(rest, inside, start)
        rest = tl.where(inside, rest - divided(total, size), 0.0)
        best, left = _highest(rest, inside & (rank < size), rank, start)
        split = inside & (rank == left + 1) & (best > worth * tl.minimum(left, size - left))
        running = running & some_in_row(split)
        start = start | (running & split)

    mean = tl.sum(tl.where(inside, z, 0.0), 1, keep_dims=True) / length
    total, size, rank = segment_sums(z - mean + 1 / length, inside, start)
    middle = columns.to(WORK) - rank + 1 + (size - length) / 2  # of the group, from that of the support
    level = tl.where(inside, divided(total, size) + lam * middle, INF)
    level = tl.associative_scan(level, 1, minimum)  # rounding must not put a group above a better one
    values = tl.where(inside, tl.maximum(level - threshold(level, inside), 0.0), 0.0)
    values = tl.where(invalid, float("nan"), values)
    tl.store(y + rows * d + position, convert(values, y.dtype.element_ty), mask=mine)
    write_structure(structure, rows, position, values > 0, start, tl.where(invalid, INVALID, 0), n, d)


oscarmax = on_tensors(oscarmax_rows, double=True)
