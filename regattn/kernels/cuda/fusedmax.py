"""fusedmax: the support, then its runs, split until none splits."""

from __future__ import annotations

import triton
import triton.language as tl

from regattn.kernels.cuda import on_tensors
from regattn.kernels.cuda.rows import (
    INF,
    divided,
    load_scores,
    program_rows,
    segment_sums,
    shifted,
    some,
    some_in_row,
    strength,
    threshold,
    write,
)


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
def fusedmax_rows(
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
    scores, invalid = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    lam = strength(lam, lam_strides, sizes, rows, n, WORK)
    gamma = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, present = shifted(scores, gamma, -2.0 - 8.0 * lam)
    first, last = _neighbour(columns * 0, present, False) == 0, _neighbour(columns * 0, present, True) == 0

    inside = present
    tau, before = -1.0 - 2.0 * lam, lam * 0 + BLOCK + 1
    running = some_in_row(present)
    while some(running):
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

    left, right = _edges(inside, present, columns * 0, columns * 0)
    left = tl.where(present & ~first & (lam == 0), 1, left)  # tied scores are no segment then
    worth = EPS * tl.maximum(lam, -tl.min(tl.where(inside, z, 0.0), 1, keep_dims=True))
    rest = z
    total, size, _ = segment_sums(
        rest + lam * (left - right).to(WORK), present, present & (first | (left != 0))
    )
    running = some_in_row(inside) & (lam > 0)
    while some(running):
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

    start = present & (first | (left != 0))
    pull = lam * (left - right).to(WORK)
    total, size, _ = segment_sums(tl.where(inside, z - tau, 0.0) + pull, present, start)
    level = divided(total, size)  # above τ: weights are best not a difference of larger numbers
    values = tl.where(inside, tl.maximum(level - threshold(level, inside), 0.0), 0.0)
    write(y, structure, rows, columns, values, start, invalid, n, d)


fusedmax = on_tensors(fusedmax_rows)
