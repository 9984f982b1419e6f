"""The Triton kernels: a program holds a few whole rows in registers and solves them together.

What is sequential on a CPU is a scan here: an associative function over the row, for all groups at once.
Each loop runs until the slowest row of the program is done and leaves finished rows alone, so that a
row's bits do not depend on its neighbours. :mod:`regattn.kernels.cuda` says what goes in and out.
"""

from __future__ import annotations

import triton
import triton.language as tl

from regattn.kernels.triton_rows import (
    INF,
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
    write,
)


# ------------------------------------------------------------------ sparsemax
@triton.jit
def sparsemax(
    x, mask, gamma, y, structure, strides, mask_strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, columns = program_rows(ROWS), tl.arange(0, BLOCK)[None, :]
    scores, poisoned = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    z, present = shifted(scores, strength(gamma, gamma_strides, sizes, rows, n, WORK), -2.0)
    values = tl.where(present, tl.maximum(z - threshold(z, present), 0.0), 0.0)
    position = columns + tl.zeros([ROWS, BLOCK], tl.int32)
    write(y, structure, rows, position, values, present, poisoned, n, d)


# ------------------------------------------------------------------ fusedmax
@triton.jit
def _then(add_a, low_a, high_a, add_b, low_b, high_b):
    """u → min(max(u + add, low), high) for a, then b: such maps are closed under composition."""
    low = tl.minimum(tl.maximum(low_a + add_b, low_b), high_b)
    high = tl.minimum(tl.maximum(high_a + add_b, low_b), high_b)
    return add_a + add_b, low, high


@triton.jit
def _advantage(gain, present, first, last, lam):
    """How much better the best set with a position is than the best set without it.

    A set A is worth Σ_A gain − λ·cut(A), cut counting the steps of the chain into and out of A.
    From the left, the advantage u of having the position at hand in A obeys
    u ← min(max(u, −λ), λ) + gain; from the right likewise. Positive is: in the smallest best set.
    """
    add = tl.where(present, gain, 0.0)
    wall = tl.where(first, 0.0, lam)
    low, high = tl.where(present, gain - wall, -INF), tl.where(present, gain + wall, INF)
    _, left, _ = tl.associative_scan((add, low, high), 1, _then)
    wall = tl.where(last, 0.0, lam)
    low, high = tl.where(present, gain - wall, -INF), tl.where(present, gain + wall, INF)
    _, right, _ = tl.associative_scan((add, low, high), 1, _then, reverse=True)
    return left + right - gain


@triton.jit
def _last_two(a, b):
    """The last two digits (base 4) that are not 0."""
    return tl.where(b == 0, a, tl.where(b < 4, b | ((a & 3) << 2), b))


@triton.jit
def _neighbour(state, present, REVERSE: tl.constexpr):
    """1 + the state (0 or 1) of the nearest present position before or after this one; 0 if there is none."""
    return tl.associative_scan(tl.where(present, 1 + state, 0), 1, _last_two, reverse=REVERSE) >> 2


@triton.jit
def _edges(high, present, left, right):
    """Edges of each position, where there are none yet set between a high one and one that is not.

    1 if the position on the left of the edge is the higher one, −1 if it is the lower one.
    """
    here = high.to(tl.int32)
    before, after = _neighbour(here, present, False), _neighbour(here, present, True)
    left = tl.where(present & (before > 0) & (left == 0), before - 1 - here, left)
    right = tl.where(present & (after > 0) & (right == 0), here - after + 1, right)
    return left, right


@triton.jit
def fusedmax(
    x, mask, gamma, lam, y, structure, strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """First the support with τ, by Dinkelbach's iteration; then its runs, split until nothing splits.

    A segment's level is the mean of its scores, each edge adding or taking λ at the two positions beside
    it. A part of the segment lies above that level if it is worth more than its cuts: it is a segment
    then. Ties within rounding stay together: a part must be worth ``EPS`` times its size.
    """
    rows = program_rows(ROWS)
    columns = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
    scores, poisoned = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    lam = strength(lam, lam_strides, sizes, rows, n, WORK)
    gamma = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, present = shifted(scores, gamma, -2.0 - 8.0 * lam)
    first, last = _neighbour(columns * 0, present, False) == 0, _neighbour(columns * 0, present, True) == 0

    inside = present
    tau, before = -1.0 - 2.0 * lam, lam * 0 + BLOCK + 1
    running = some_in_row(present)
    go = some(running)
    while go:
        above = present & (_advantage(z - tau, present, first, last, lam) > 0)
        size = tl.sum(above.to(WORK), 1, keep_dims=True)
        beside = _neighbour(above.to(tl.int32), present, False)
        cuts = tl.sum(
            (present & (beside > 0) & (beside - 1 != above.to(tl.int32))).to(WORK), 1, keep_dims=True
        )
        excess = tl.sum(tl.where(above, z - tau, 0.0), 1, keep_dims=True) - lam * cuts - 1
        running = running & (size > 0)
        inside = (running & above) | (~running & inside)
        tau = tl.where(running, tau + divided(excess, tl.maximum(size, 1.0)), tau)
        running = running & (size < before)  # the set only shrinks
        before = size
        go = some(running)

    left, right = _edges(inside, present, columns * 0, columns * 0)
    left = tl.where(present & ~first & (lam == 0), 1, left)  # tied scores are no segment then
    worth = EPS * tl.maximum(lam, -tl.min(tl.where(inside, z, 0.0), 1, keep_dims=True))
    rest = z
    total, size, _ = segment_sums(
        rest + lam * (left - right).to(WORK), present, present & (first | (left != 0))
    )
    running = some_in_row(inside) & (lam > 0)
    go = some(running)
    while go:
        rest = tl.where(inside, rest - divided(total, size), 0.0)  # from here relative to the level
        pull = lam * (left - right).to(WORK)
        start, end = first | (left != 0), last | (right != 0)
        high = inside & (_advantage(rest + pull, present, start, end, lam) > 0)
        new_left, new_right = _edges(high, present, left, right)
        pull = lam * (new_left - new_right).to(WORK)
        total, size, _ = segment_sums(rest + pull, present, present & (first | (new_left != 0)))
        # By rounding a part may seem to be above that is not, which a large λ would make worse.
        doubtful = high & (total <= worth * size)
        if some(doubtful & running):
            new_left, new_right = _edges(high & ~doubtful, present, left, right)
            pull = lam * (new_left - new_right).to(WORK)
            total, size, _ = segment_sums(rest + pull, present, present & (first | (new_left != 0)))
        running = running & some_in_row(new_left != left)
        left, right = tl.where(running, new_left, left), tl.where(running, new_right, right)
        go = some(running)

    start = present & (first | (left != 0))
    pull = lam * (left - right).to(WORK)
    total, size, _ = segment_sums(tl.where(inside, z - tau, 0.0) + pull, present, start)
    level = divided(total, size)  # above τ: weights are best not a difference of larger numbers
    values = tl.where(inside, tl.maximum(level - threshold(level, inside), 0.0), 0.0)
    write(y, structure, rows, columns, values, start, poisoned, n, d)


# ------------------------------------------------------------------ oscarmax
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
        tl.store(scratch + order, columns, mask=here)
        tl.debug_barrier()
        rank = tl.where(here, tl.load(scratch + columns, mask=here, other=0), columns)
        tl.debug_barrier()
        tl.store(scratch + columns, order, mask=here)
        tl.debug_barrier()
        slot = _sorted_columns(_packed(high, rank))
        position = tl.where(here, tl.load(scratch + slot, mask=here, other=0), columns)
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
def oscarmax(
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
    scores, poisoned = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    lam = strength(lam, lam_strides, sizes, rows, n, WORK)
    gamma = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    mine = (rows < n) & (columns < d)
    position = _descending(scores, columns, structure + rows * d, mine, x.dtype.element_ty)
    here = columns < tl.sum((scores > -INF).to(tl.int32), 1, keep_dims=True)
    at = offset(rows, sizes, strides) + position.to(tl.int64) * strides[3]
    scores = convert(tl.load(x + at, mask=here, other=-INF), WORK)  # again, in order
    z, _ = shifted(scores, gamma, -2.0 - 2.0 * lam * d)
    w = tl.where(here, z + lam * columns.to(WORK), 0.0)

    tau, length = lam * 0 - 1.0, lam * 0 + BLOCK
    running = some_in_row(here)
    go = some(running)
    while go:
        total = tl.cumsum(tl.where(here, w - tau, 0.0), 1)
        best = tl.where(here, total, -INF)
        shorter = tl.argmax(best, 1, keep_dims=True).to(WORK) + 1
        excess = tl.max(best, 1, keep_dims=True) - 1
        tau = tl.where(running, tau + divided(excess, shorter), tau)
        running = running & (shorter < length)  # the prefix only shrinks
        length = tl.where(running, shorter, length)
        go = some(running)

    inside = here & (columns.to(WORK) < length)
    start = here & ((columns == 0) | (lam == 0))
    worth = EPS * tl.maximum(lam * length, -tl.min(tl.where(inside, z, 0.0), 1, keep_dims=True))
    rest = w
    running = some_in_row(inside) & (lam > 0)
    go = some(running)
    while go:
        total, size, rank = segment_sums(rest, inside, start)
        rest = tl.where(inside, rest - divided(total, size), 0.0)
        best, left = _highest(rest, inside & (rank < size), rank, start)
        split = inside & (rank == left + 1) & (best > worth * tl.minimum(left, size - left))
        running = running & some_in_row(split)
        start = start | (running & split)
        go = some(running)

    mean = tl.sum(tl.where(inside, z, 0.0), 1, keep_dims=True) / length
    total, size, rank = segment_sums(z - mean + 1 / length, inside, start)
    middle = columns.to(WORK) - rank + 1 + (size - length) / 2  # of the group, from that of the support
    level = tl.where(inside, divided(total, size) + lam * middle, INF)
    level = tl.associative_scan(level, 1, minimum)  # rounding must not put a group above a better one
    values = tl.where(inside, tl.maximum(level - threshold(level, inside), 0.0), 0.0)
    write(y, structure, rows, position, values, start, poisoned, n, d)


# ------------------------------------------------------------------ pnormmax
@triton.jit
def _power(base, exponent):
    """base^exponent for base ≥ 0, 0 for 0."""
    return tl.where(base > 0, tl.exp(exponent * tl.log(tl.where(base > 0, base, 1.0))), 0.0)


@triton.jit
def _powers(z, t, exponent, HALVES: tl.constexpr):
    """u = max(1 + z/t, 0) and u^exponent, the logarithm corrected for the rounding of u."""
    slope = divided(z, t)
    u = tl.maximum(1 + slope, 0.0)
    if HALVES:
        return u, u
    else:
        base = tl.where(u > 0, u, 1.0)
        log = tl.log(base) + tl.where(u > 0, divided(slope - (u - 1), base), 0.0)
        return u, tl.where(u > 0, tl.exp(exponent * log), 0.0)


@triton.jit
def pnormmax(
    x, mask, gamma, p, y, strides, mask_strides, gamma_strides, p_strides, sizes, n, d,
    HALVES: tl.constexpr, SQUARE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """One root in t = max x/γ − τ, as on the CPU.

    ``HALVES``: p is 1.5, no power is needed; ``SQUARE``: p is 2.
    """
    rows, columns = program_rows(ROWS), tl.arange(0, BLOCK)[None, :]
    scores, poisoned = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    z, present = shifted(scores, strength(gamma, gamma_strides, sizes, rows, n, WORK), -2.0)
    if SQUARE:
        values = tl.where(present, tl.maximum(z - threshold(z, present), 0.0), 0.0)
    else:
        p = strength(p, p_strides, sizes, rows, n, WORK)
        q = divided(p, p - 1)
        share = divided(2 - p, p)
        z = tl.where(present, z, -2.0)
        t, low, high = p * 0 + 1, p * 0, p * 0 + 1
        running = some_in_row(present)
        trials = 0
        go = some(running)
        while go:
            u, w = _powers(z, t, q - 2, HALVES)
            s0 = tl.sum(tl.where(u > 0, w, 0.0), 1, keep_dims=True)
            s1 = tl.sum(w * u, 1, keep_dims=True)
            s2 = tl.sum(w * u * u, 1, keep_dims=True)
            s0, s1, s2 = (tl.where(running, s0, 1.0), tl.where(running, s1, 1.0), tl.where(running, s2, 1.0))
            gap = tl.log(s2) * share - tl.log(s1) - tl.log(t)
            low, high = tl.where(running & (gap > 0), t, low), tl.where(running & (gap <= 0), t, high)
            slope = share * q * divided(s1 - s2, s2) - (q - 1) * divided(s0 - s1, s1) - 1
            new = tl.where(slope < 0, t * tl.exp(-divided(gap, slope)), low)
            moved = tl.abs(new - t) > EPS * t
            new = tl.where(moved & ((new <= low) | (new >= high)), 0.5 * (low + high), new)
            t = tl.where(running, new, t)
            trials += 1
            running = running & moved & (trials < 100)
            go = some(running)
        u, w = _powers(z, t, q - 2, HALVES)
        values = w * u
        total = tl.sum(values, 1, keep_dims=True)
        values = tl.where(present, divided(values, tl.where(total > 0, total, 1.0)), 0.0)
    values = tl.where(poisoned, float("nan"), values)
    here = (rows < n) & (columns < d)
    tl.store(y + rows * d + columns, convert(values, y.dtype.element_ty), mask=here)


@triton.jit
def pnormmax_product(
    g, gamma, p, weights, out, strides, gamma_strides, p_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """(H⁻¹ − H⁻¹1 1ᵀH⁻¹ / 1ᵀH⁻¹1)·g/γ on the support, with H the Hessian of ½‖y‖_p².

    H⁻¹ = diag(s) − c·y yᵀ with s = (y/‖y‖)^{2−p}/(p−1) and c = (2−p)/((p−1)‖y‖²).
    """
    rows, columns = program_rows(ROWS), tl.arange(0, BLOCK)[None, :]
    here = (rows < n) & (columns < d)
    y = tl.load(weights + rows * d + columns, mask=here, other=0.0).to(WORK)
    poisoned = some_in_row(y != y)
    support = here & (y > 0)
    at = offset(rows, sizes, strides) + columns.to(tl.int64) * strides[3]
    g = convert(tl.load(g + at, mask=support, other=0.0), WORK)
    y = tl.where(support, y, 0.0)
    gamma = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    p = strength(p, p_strides, sizes, rows, n, WORK)

    empty = ~some_in_row(support)
    top = tl.where(empty, 1.0, tl.max(y, 1, keep_dims=True))
    ratio = divided(y, top)
    root = _power(ratio, 2 - p)
    norm = tl.sum(
        tl.where(support, divided(ratio * ratio, tl.where(support, root, 1.0)), 0.0), 1, keep_dims=True
    )
    norm = _power(tl.where(empty, 1.0, norm), divided(p * 0 + 1, p))  # of y / top
    s = tl.where(support, divided(root, _power(norm, 2 - p) * (p - 1)), 0.0)
    c = divided(2 - p, (p - 1) * (top * norm) * (top * norm))
    solved = s * g - c * y * tl.sum(y * g, 1, keep_dims=True)
    mass = tl.sum(s, 1, keep_dims=True) - c
    share = divided(tl.sum(solved, 1, keep_dims=True), tl.where(empty, 1.0, mass))
    result = tl.where(support, divided(solved - (s - c * y) * share, gamma), 0.0)
    result = tl.where(poisoned, float("nan"), result)
    tl.store(out + rows * d + columns, convert(result, out.dtype.element_ty), mask=here)


# ------------------------------------------------------------------ the derivative of a partition
@triton.jit
def group_average(
    g, scale, structure, out, strides, scale_strides, sizes, n, d,
    CENTRE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows = program_rows(ROWS)
    columns = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
    here = (rows < n) & (columns < d)
    entry = tl.load(structure + rows * d + columns, mask=here, other=2)
    poisoned, position = some_in_row(entry < 0), tl.where(entry < 0, columns, entry >> 2)
    member, start = (entry & 2) == 0, (entry & 1) == 1
    at = offset(rows, sizes, strides) + position.to(tl.int64) * strides[3]
    v = convert(tl.load(g + at, mask=here & member, other=0.0), WORK)
    if CENTRE:
        size = tl.maximum(tl.sum(member.to(WORK), 1, keep_dims=True), 1.0)
        v = v - divided(tl.sum(v, 1, keep_dims=True), size)
    total, size, _ = segment_sums(v, member, start & member)
    scale = strength(scale, scale_strides, sizes, rows, n, WORK)
    result = tl.where(member, scale * divided(total, size), 0.0)
    result = tl.where(poisoned, float("nan"), result)
    tl.store(out + rows * d + position, convert(result, out.dtype.element_ty), mask=here)
