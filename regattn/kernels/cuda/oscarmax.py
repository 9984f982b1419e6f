"""oscarmax: sorted sums, and the corners of their concave majorant, one after another."""

from __future__ import annotations

from functools import lru_cache

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels import LONGEST_ON_CUDA
from regattn.kernels.cuda import Tile, launch_slope, launch_structured
from regattn.kernels.cuda.rows import (
    INF,
    INVALID,
    convert,
    load_scores,
    program_rows,
    segment_sums,
    side_by_side,
    some,
    some_in_row,
    strength,
    write_slope,
)
from regattn.kernels.cuda.survivors import coarse_tile
from regattn.kernels.cuda.tiles import by_row, places_of, read_scores, reciprocal, write_rows

EACH = tl.constexpr(16)
"""Scores of a thread."""


@lru_cache(maxsize=LONGEST_ON_CUDA)
def _tile(d: int) -> Tile:
    """Sixteen scores in each thread; up to 512 a program is one warp, which waits for nobody."""
    block = next(b for b in (128, 512, 2048, 4096, 8192) if d <= b)
    rows, halves = max(1, 512 // block), int(block == 128)
    constants = {"ROWS": rows, "BLOCK": block, "HALVES": halves, "num_warps": max(1, block // 512)}
    return Tile(rows << int(halves and 2 * d <= block), constants)


@triton.jit
def _support(w, here, count, running):
    """τ = max_k (w_1 + … + w_k − 1)/k, and the least k that attains it, by Dinkelbach's steps."""
    k = tl.arange(0, w.shape[1])[None, :] + 1
    sums = _cumsum(w)
    tau = tl.maximum((tl.sum(w, 1, keep_dims=True) - 1) / tl.maximum(count, 1), -1.0)
    length = count + 1
    while some(running):
        best, at = tl.max(tl.where(here, sums - tau * k, -INF), 1, return_indices=True, keep_dims=True)
        tau = tl.where(running, tau + (best - 1) / (at + 1), tau)
        running = running & (at + 1 < length)  # the prefix only shrinks
        length = tl.where(running, at + 1, length)
    return tau, tl.minimum(length, count)


@triton.jit
def _flat(x):
    """(EACH, rows, lanes) as (rows, positions), those of a thread side by side: so sorting shuffles least."""
    x = tl.permute(x, (1, 2, 0))
    return tl.reshape(x, (x.shape[0], x.shape[1] * x.shape[2]))


@triton.jit
def _deep(x):
    """The inverse of :func:`_flat`."""
    return tl.permute(tl.reshape(x, (x.shape[0], x.shape[1] // EACH, EACH)), (2, 0, 1))


@triton.jit
def _cumsum(x):
    """In the threads first, where they need no shuffles."""
    each = _deep(x)
    total = tl.sum(each, 0, keep_dims=True)
    return _flat(tl.cumsum(each, 0) + (tl.cumsum(total, 2) - total))


@triton.constexpr_function
def _halvings(n):
    return n.bit_length() - 1


@triton.jit
def _sorted(x):
    """From the largest down: as :func:`tl.sort`, in fewer instructions where a pair lies in one thread."""
    ROWS: tl.constexpr = x.shape[0]
    BLOCK: tl.constexpr = x.shape[1]
    k, right = tl.arange(0, BLOCK)[None, :], tl.arange(0, 2)[None, None, :, None] == 1
    for stage in tl.static_range(1, _halvings(BLOCK) + 1):
        turned = tl.where(((k >> stage) & 1) != 0, -1.0, 1.0).to(x.dtype)  # every other run, at last none
        x *= turned
        for half in tl.static_range(stage):
            pairs = tl.reshape(x, [ROWS, BLOCK >> (stage - half), 2, 1 << (stage - half - 1)])
            pairs = tl.where(right, tl.min(pairs, 2, keep_dims=True), tl.max(pairs, 2, keep_dims=True))
            x = tl.reshape(pairs, [ROWS, BLOCK])
        x *= turned
    return x


@triton.jit
def _inverse(number):
    """1/number in float64 by Newton's step from float32: dividing takes five times as long."""
    near = (1.0 / number.to(tl.float32)).to(tl.float64)
    return near * (2 - number * near)


@triton.jit
def _below_top(scores, gamma, lam, d):
    """z = (scores − max)/γ, −inf for what takes no part; what does, its number; and which rows are bad."""
    invalid = some_in_row(~(scores < INF)) | ~((gamma > 0) & (gamma < INF) & (lam >= 0) & (lam < INF))
    present = (scores > -INF) & ~invalid
    count = tl.sum(tl.where(present, 1.0, 0.0), 1, keep_dims=True).to(tl.int32)
    top = tl.max(tl.where(present, scores, -INF), 1, keep_dims=True)
    z = (scores - tl.where(count > 0, top, 0.0)) * reciprocal(tl.where(invalid, 1.0, gamma))
    floor = convert(-2.0 - 2.0 * lam * d, scores.dtype)  # below it no score matters
    return tl.where(present, tl.maximum(z, floor), -INF), present, count, invalid


@triton.jit
def oscarmax_rows(
    x, mask, gamma, lam, y, structure, strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    places = places_of(n, d, ROWS, BLOCK, BLOCK // EACH)
    scores = _flat(read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK))
    columns = _flat(by_row(places[1], ROWS))
    rows = program_rows(ROWS)
    gammas = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    lams = strength(lam, lam_strides, sizes, rows, n, tl.float64)
    z, present, count, invalid = _below_top(scores, gammas, lams, d)
    lams = tl.where(invalid, 0.0, lams)

    # Scores within λ·count/2 of each other are one group, wherever they lie.
    lowest = tl.min(tl.where(present, z, 0.0), 1, keep_dims=True)
    whole = -convert(lowest, tl.float64) <= lams * count / 2
    order = z
    if some(~whole & (count > 0)):
        order = _sorted(z)
    k = tl.arange(0, BLOCK)[None, :] + 1
    here = k <= count
    w = tl.where(here, tl.where(here, convert(order, tl.float64), 0.0) + lams * (k - 1), 0.0)
    tau, length = _support(w, here, count, ~whole & (count > 0))
    length = tl.where(whole, count, length)
    sums = tl.where(k <= length, _cumsum(tl.where(here, w - tau, 0.0)), -INF)
    near = 4e-15 if x.dtype.element_ty == tl.float64 else 1e-12  # slopes that differ by rounding
    worth = near * tl.maximum(lams * length, -tl.min(tl.where(k <= length, order, 0.0), 1, keep_dims=True))

    row = structure + rows * (2 + d)
    values = tl.where(invalid, float("nan"), 0.0).to(WORK) + tl.zeros([ROWS, BLOCK], WORK)
    taken, groups, before = count * 0, count * 0, tl.where(invalid, 0.0, INF).to(WORK)
    height, level = lams * 0, lams * 0 + INF
    alone = tl.where(lams > 0, 1, BLOCK)  # how many stand at the start of a group
    running = count > 0
    while some(running):
        slope = tl.where(k > taken, (sums - height) * _inverse(k - taken), -INF)
        steepest = tl.max(slope, 1, keep_dims=True)
        last = tl.max(tl.where(slope >= steepest - worth, k, 0), 1, keep_dims=True)
        last, steepest = tl.where(whole, count, last), tl.where(whole, _inverse(count), steepest)
        level = tl.minimum(level, steepest)  # rounding must not put a group above a better one
        end = tl.where(whole, lowest, tl.min(tl.where(k <= last, order, 0.0), 1, keep_dims=True))
        running = running & (level > 0)
        member = (z >= tl.where(running, end, INF)) & (z < before)
        number = _cumsum(member.to(tl.int32))
        entry = 4 * columns + (number <= alone).to(tl.int32)
        place = tl.reshape(row + 1 + taken, (1, ROWS, 1)) + _deep(number)
        tl.store(place, _deep(entry).to(tl.int16), mask=_deep(member))
        values = tl.where(member, convert(level, WORK), values)
        groups += tl.where(running & (lams > 0), 1, 0)
        height += level * (last - taken)
        taken, before = tl.where(running, last, taken), end
        running = running & (taken < length)
    write_rows(y, _deep(values), places, d)
    tl.store(row, tl.where(invalid, INVALID, taken).to(tl.int16), mask=rows < n)
    tl.store(row + 1, tl.where(lams > 0, groups, taken).to(tl.int16), mask=rows < n)


def oscarmax(
    scores: Tensor, mask: Tensor | None, gamma: float | Tensor, lam: float | Tensor
) -> tuple[Tensor, Tensor]:
    return launch_structured((scores, mask, gamma, lam), (oscarmax_rows, _tile))


@triton.jit
def penalty_slope_rows(
    x, mask, g, values, structure, out, strides, mask_strides, g_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """∂/∂y Σ_{i<j} max(y_i, y_j) of the members, or its sum with ``g``: how many stand below, those that are
    equal counted half."""
    rows, listed = program_rows(ROWS), tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
    scores, _ = load_scores(x, mask, strides, mask_strides, sizes, rows, listed, n, d, WORK)
    count = tl.sum((scores > -INF).to(WORK), 1, keep_dims=True)
    row = structure + rows * (2 + d)
    state = tl.load(row, mask=rows < n, other=0).to(tl.int32)
    groups = tl.load(row + 1, mask=rows < n, other=0)
    member = listed < tl.where(groups > 1, state, 0)  # one group has no derivative
    position = tl.load(row + 2 + listed, mask=member, other=0).to(tl.int32) >> 2
    above = tl.load(row + 1 + listed, mask=member & (listed > 0), other=0).to(tl.int32) >> 2
    weight = tl.load(values + rows * d + position, mask=member, other=0.0).to(WORK)
    before = tl.load(values + rows * d + above, mask=member, other=0.0).to(WORK)
    weight = side_by_side(weight, structure, listed)
    start = member & ((listed == 0) | (weight != before))
    _, size, rank = segment_sums(weight, member, start)
    slope = tl.where(member, count - (listed + 1 + size - rank) + 0.5 * (size - 1), 0.0)
    slope = tl.where(state == INVALID, float("nan"), slope)
    write_slope(slope, g, out, g_strides, sizes, rows, position, member, n, d, WORK)


def penalty_slope(
    scores: Tensor, mask: Tensor | None, values: Tensor, structure: Tensor, product: Tensor | None
) -> Tensor:
    return launch_slope(penalty_slope_rows, (scores, mask, product), values, structure, tile=coarse_tile)
