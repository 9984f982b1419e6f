"""fusedmax: the support, then its runs, split until none splits."""

from __future__ import annotations

from functools import lru_cache

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels import LONGEST_ON_CUDA
from regattn.kernels.cuda import Tile, chains, launch_slope, launch_structured
from regattn.kernels.cuda.rows import (
    INF,
    INVALID,
    UNSOLVED,
    along,
    convert,
    divided,
    load_scores,
    offset,
    program_rows,
    segment_sums,
    shifted,
    side_by_side,
    some,
    some_in_row,
    strength,
    threshold,
    write_slope,
    write_structure,
)
from regattn.kernels.cuda.survivors import (
    below_top,
    coarse_tile,
    compact,
    flat,
    lanes_of,
    row_min,
    slots_of,
    sparse_bound,
    tile,
    write_zeros,
)
from regattn.kernels.cuda.tiles import by_row, places_of, row_sum, rows_of


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
    return left + right - add


@triton.jit
def _last_two(a, b):
    """The last two digits (base 4) that are not 0."""
    return tl.where(b == 0, a, tl.where(b < 4, b | ((a & 3) << 2), b))


@triton.jit
def _neighbour(state, present, REVERSE: tl.constexpr):
    """1 + the state (0 or 1) of the nearest present position before or after this one; 0 if there is none."""
    return tl.associative_scan(tl.where(present, 1 + state, 0), 1, _last_two, reverse=REVERSE) >> 2


NO_EDGE = tl.constexpr(1)
NO_EDGES = tl.constexpr(1 + 4 * 1)
"""The edges beside a position as left + 4 · right, one number, as registers are short. Each is 2 where the
position on its left is the higher one, 0 where it is the lower one, ``NO_EDGE`` where there is none."""


@triton.jit
def _edges(high, present, edges):
    """Edges of each position, where there are none yet set between a high one and one that is not."""
    here, left, right = high.to(tl.int32), edges & 3, edges >> 2
    before, after = _neighbour(here, present, False), _neighbour(here, present, True)
    left = tl.where(present & (before > 0) & (left == NO_EDGE), before - here, left)
    right = tl.where(present & (after > 0) & (right == NO_EDGE), here - after + 2, right)
    return left + 4 * right


@triton.jit
def _pull(edges, lam):
    """λ more for each neighbour that is above, λ less for one that is below."""
    return lam * ((edges & 3) - (edges >> 2)).to(lam.dtype)


@triton.jit
def _split(z, inside, present, edges, first, last, lam, worth):
    """Segments of the total variation's proximal operator, split until nothing splits.

    A segment's level is the mean of its scores, each edge adding or taking λ at the two positions beside
    it. A part of the segment lies above that level if it is worth more than its cuts: it is a segment
    then. By rounding a part may seem to be above that is not, which a large λ would make worse: a part must
    be worth ``worth`` times its size, else the edges round it are taken back.
    """
    rest, high = z, inside & (lam < 0)
    new_edges = edges
    running = some_in_row(inside)
    while some(running):
        pulled = rest + _pull(new_edges, lam)
        total, size, _ = segment_sums(pulled, present, present & (first | ((new_edges & 3) != NO_EDGE)))
        doubtful = running & high & (total <= worth * size)
        if some(doubtful):
            high = high & ~doubtful
        else:
            edges = tl.where(running, new_edges, edges)
            rest = tl.where(inside, rest - divided(total, size), 0.0)  # from here relative to the level
            start, end = first | ((edges & 3) != NO_EDGE), last | ((edges >> 2) != NO_EDGE)
            gain = rest + _pull(new_edges, lam)
            high = inside & (lam > 0) & (_advantage(gain, present, start, end, lam) > 0)
        new_edges = _edges(high, present, edges)
        running = running & some_in_row(new_edges != edges)
    return edges


@triton.jit
def _weights(z, inside, present, edges, first, last, lam, tau, EPS: tl.constexpr):
    """Values and starts of segments, from what is inside, with its edges to what is not."""
    worth = EPS * tl.maximum(lam, -tl.min(tl.where(inside, z, 0.0), 1, keep_dims=True))
    every = present & ~first & (lam == 0)  # tied scores are no segment then
    edges = tl.where(every, (edges & 12) + 2, edges)
    edges = _split(z, inside, present, edges, first, last, lam, worth)
    start = present & (first | ((edges & 3) != NO_EDGE))
    total, size, _ = segment_sums(tl.where(inside, z - tau, 0.0) + _pull(edges, lam), present, start)
    level = divided(total, size)  # above τ: weights are best not a difference of larger numbers
    return tl.where(inside, tl.maximum(level - threshold(level, inside), 0.0), 0.0), start


@lru_cache(maxsize=LONGEST_ON_CUDA)
def _tile(d: int) -> Tile:
    """As :func:`tile`, but of rows up to 128 twice as many."""
    if d > 128:
        return tile(d)
    return Tile(8 << (d <= 64), {"ROWS": 8, "BLOCK": 128, "HALVES": 0, "num_warps": 1, "maxnreg": 255})


@triton.jit
def _screened(
    x, mask, gammas, lams, y, strides, mask_strides, sizes, places, d,
    BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Write zeros; which scores survive, and take part; their maximum; γ times a lower bound on sparsemax's
    threshold; and for each row 0, ``INVALID``, or ``UNSOLVED`` where too many survive."""
    sound = (gammas > 0) & (gammas < INF) & (lams >= 0) & (lams < INF)
    below, top, bad = below_top(x, mask, strides, mask_strides, sizes, places, sound, WORK)
    present = below > -INF
    # cut(A) ≤ 2|A| on a chain, and what is 2λ below any bound on τ is out and separates
    near = sparse_bound(below, gammas)
    floor = near - gammas * (4 * lams + 16 * EPS * (1 + lams))
    keep = present & (below >= floor)
    unsolved = row_sum(keep.to(tl.int32)) > slots_of(BLOCK)
    write_zeros(y, bad, places, d)
    state = tl.where(bad, INVALID, tl.where(unsolved, UNSOLVED, 0))
    return keep & ~unsolved, present, top, near, state


@triton.jit
def _survivors(
    x, mask, gamma, lam, y, structure, strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """What is left of short rows after the screening, for each thread that of one row."""
    rows, places = rows_of(ROWS), places_of(n, d, ROWS, BLOCK, lanes_of(BLOCK))
    gammas = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    lams = strength(lam, lam_strides, sizes, rows, n, WORK)
    keep, present, top, near, state = _screened(
        x, mask, gammas, lams, y, strides, mask_strides, sizes, places, d, BLOCK, WORK, EPS
    )
    columns = by_row(places[1], ROWS)
    rows, once, zero = chains.rows_of_threads(structure, ROWS)
    kept, taking = chains.bits(keep, columns, zero, BLOCK), chains.bits(present, columns, zero, BLOCK)
    count = chains.by_thread(row_sum(keep.to(tl.int32)), zero)
    top, near = chains.by_thread(top, zero), chains.by_thread(near, zero)
    return rows, once, kept, taking, count, top, near, chains.by_thread(state, zero)


@triton.jit
def fusedmax_rows(
    x, mask, gamma, lam, y, structure, strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Rows of which few scores survive the screening; the others are left ``UNSOLVED``."""
    if ROWS > 1:
        if d <= BLOCK // 2:
            found = _survivors(
                x, mask, gamma, lam, y, structure,
                strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
                2 * ROWS, BLOCK // 2, WORK, EPS,
            )  # fmt: skip
        else:
            found = _survivors(
                x, mask, gamma, lam, y, structure,
                strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
                ROWS, BLOCK, WORK, EPS,
            )  # fmt: skip
        chains.fuse(
            found, x, y, structure, strides, gamma, lam, gamma_strides, lam_strides, sizes, n, d, WORK, EPS
        )
    else:
        SLOTS: tl.constexpr = slots_of(BLOCK)
        rows, places = rows_of(ROWS), places_of(n, d, ROWS, BLOCK, lanes_of(BLOCK))
        gammas = strength(gamma, gamma_strides, sizes, rows, n, WORK)
        lams = strength(lam, lam_strides, sizes, rows, n, WORK)
        keep, present, top, near, state = _screened(
            x, mask, gammas, lams, y, strides, mask_strides, sizes, places, d, BLOCK, WORK, EPS
        )
        columns = by_row(places[1], ROWS)
        most = tl.max(row_sum(keep.to(tl.int32)))
        length = tl.where((rows < n) & (state != INVALID), d, 0)
        holes = tl.max(length - row_sum(present.to(tl.int32))) > 0
        position, joins, joined = compact(keep, present, columns, holes, most, SLOTS, ROWS)
        first = position == flat(row_min(tl.where(present, columns, 1 << 20)))
        last = position == -flat(row_min(tl.where(present, -columns, 1 << 20)))

        here, row, state = position >= 0, program_rows(ROWS), flat(state)
        wrong = state == INVALID
        lams, gammas = tl.where(wrong, 0.0, flat(lams)), tl.where(wrong, 1.0, flat(gammas))
        at = offset(row, sizes, strides) + along(tl.maximum(position, 0), strides)
        score = convert(tl.load(x + at, mask=here, other=0.0), WORK)
        z = tl.where(here, divided(score - flat(top), gammas), 0.0)
        edges = tl.where(here & ~joins & ~first, 0, 1) + tl.where(here & ~joined & ~last, 8, 4)
        tau = tl.where(wrong, 0.0, divided(flat(near), gammas))
        values, start = _weights(z, here, here, edges, first, last, lams, tau, EPS)
        tl.debug_barrier()  # zeros before values
        tl.store(y + row * d + position, convert(values, y.dtype.element_ty), mask=values > 0)
        write_structure(structure, row, position, values > 0, start, state, n, d)


@triton.jit
def remaining_rows(
    x, mask, gamma, lam, y, structure, strides, mask_strides, gamma_strides, lam_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """The rows that were left: first the support with τ, by Dinkelbach's iteration, then its runs."""
    rows = program_rows(ROWS)
    state = tl.load(structure + rows * (2 + d), mask=rows < n, other=0)
    if some(state == UNSOLVED):
        rows = tl.where(state == UNSOLVED, rows, n)  # no others
        columns = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
        scores, _ = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
        scores = side_by_side(scores, structure, columns)
        lams = strength(lam, lam_strides, sizes, rows, n, WORK)
        z, present = shifted(scores, strength(gamma, gamma_strides, sizes, rows, n, WORK), -2.0 - 8.0 * lams)
        first = columns == tl.min(tl.where(present, columns, BLOCK), 1, keep_dims=True)
        last = columns == tl.max(tl.where(present, columns, -1), 1, keep_dims=True)
        inside = present
        tau, before = -1.0 - 2.0 * lams, lams * 0 + BLOCK + 1
        running = some_in_row(present)
        while some(running):
            above = present & (_advantage(z - tau, present, first, last, lams) > 0)
            size = tl.sum(above.to(WORK), 1, keep_dims=True)
            beside = _neighbour(above.to(tl.int32), present, False)
            cut = present & (beside > 0) & (beside - 1 != above.to(tl.int32))
            cuts = tl.sum(cut.to(WORK), 1, keep_dims=True)
            excess = tl.sum(tl.where(above, z - tau, 0.0), 1, keep_dims=True) - lams * cuts - 1
            running = running & (size > 0)
            inside = (running & above) | (~running & inside)
            tau = tl.where(running, tau + divided(excess, tl.maximum(size, 1.0)), tau)
            running = running & (size < before)  # the set only shrinks
            before = size
        edges = _edges(inside, present, columns * 0 + NO_EDGES)
        values, start = _weights(z, inside, present, edges, first, last, lams, tau, EPS)
        tl.store(y + rows * d + columns, convert(values, y.dtype.element_ty), mask=values > 0)
        write_structure(structure, rows, columns, values > 0, start, rows * 0, n, d)


def fusedmax(
    scores: Tensor, mask: Tensor | None, gamma: float | Tensor, lam: float | Tensor
) -> tuple[Tensor, Tensor]:
    launches = (fusedmax_rows, _tile), (remaining_rows, coarse_tile)
    return launch_structured((scores, mask, gamma, lam), *launches)


@triton.jit
def _last_values(count_a, last_a, before_a, count_b, last_b, before_b):
    """The last two values, of so many."""
    before = tl.where(count_b > 1, before_b, tl.where(count_b > 0, last_a, before_a))
    return tl.minimum(count_a + count_b, 2), tl.where(count_b > 0, last_b, last_a), before


@triton.jit
def _step_from(y, present, REVERSE: tl.constexpr):
    """Whether a value is above (1) or below (−1) that of the nearest present position before or after it."""
    parts = (present.to(tl.int32), y, y)
    count, _, other = tl.associative_scan(parts, 1, _last_values, reverse=REVERSE)
    step = (y > other).to(y.dtype) - (y < other).to(y.dtype)
    return tl.where(present & (count > 1), step, 0.0)


@triton.jit
def penalty_slope_rows(
    x, mask, g, values, out, strides, mask_strides, g_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """∂/∂y Σ|y_{i+1} − y_i|, or its sum with ``g``."""
    rows = program_rows(ROWS)
    columns = tl.arange(0, BLOCK)[None, :] + tl.zeros([ROWS, BLOCK], tl.int32)
    scores, _ = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    inside, present = (rows < n) & (columns < d), scores > -INF
    y = tl.load(values + rows * d + columns, mask=inside, other=0.0).to(WORK)
    slope = _step_from(y, present, False) + _step_from(y, present, True)
    write_slope(slope, g, out, g_strides, sizes, rows, columns, inside, n, d, WORK)


def penalty_slope(
    scores: Tensor, mask: Tensor | None, values: Tensor, structure: Tensor, product: Tensor | None
) -> Tensor:
    return launch_slope(penalty_slope_rows, (scores, mask, product), values, tile=coarse_tile)
