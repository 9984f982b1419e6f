"""fusedmax on a few positions of each row, all of them in one thread: without shuffles, without memory.

A chain is a tuple with a tensor for each of its places, in which every thread has a number of its own row. A
set of places is an integer with a digit of four bits for each, 1 where it is in the set.
"""

# ruff: noqa: RUF005 - Triton takes no unpacking in a tuple
# mypy: disable-error-code="assignment"

from __future__ import annotations

import triton
import triton.language as tl

from regattn.kernels.cuda.rows import INF, INVALID, along, convert, divided, offset, some, strength
from regattn.kernels.cuda.tiles import row_sum

PLACES = tl.constexpr(16)
EVERYWHERE = tl.constexpr(0x1111111111111111)


# ------------------------------------------------------------------ in and out
@triton.jit
def rows_of_threads(structure, ROWS: tl.constexpr):
    """The row of each thread of a warp; whether no thread before it has that row too; and 0."""
    SHARE: tl.constexpr = 32 // ROWS
    thread = tl.arange(0, 32)
    rows = tl.program_id(0).to(tl.int64) * ROWS + thread // SHARE
    return rows, thread % SHARE == 0, tl.load(structure + rows, mask=rows < 0, other=0)


@triton.jit
def by_thread(x, zero):
    """A number for each row, (1, ROWS, 1), for each thread that of its own: what is computed with ``zero``,
    which was loaded, is laid out as that was."""
    x = tl.sum(tl.sum(x, 2), 0)
    SHARE: tl.constexpr = zero.shape[0] // x.shape[0]
    if SHARE > 1:
        x = tl.reshape(x[:, None] + tl.zeros([x.shape[0], SHARE], x.dtype), zero.shape)
    return x + zero.to(x.dtype)


@triton.jit
def bits(flags, columns, zero, BLOCK: tl.constexpr):
    """Flags of up to 128 positions of a row as two words."""
    bit = tl.where(flags, tl.full([1, 1, 1], 1, tl.int64) << (columns & 63).to(tl.int64), 0)
    low = by_thread(row_sum(tl.where(columns < 64, bit, 0)), zero)
    high = low * 0
    if BLOCK > 64:
        high = by_thread(row_sum(tl.where(columns < 64, 0, bit)), zero)
    return low.to(tl.uint64, bitcast=True), high.to(tl.uint64, bitcast=True)


@triton.jit
def _listed(kept, taking):
    """The positions that are kept, in order; at which of these places the position before is kept too; and
    whether the first, and the last, is so of all that take part."""
    low, high = kept
    present_low, present_high = taking
    # A position's bit, one further on, is carried over those that take no part, to the next that does.
    beyond = low << 1
    carried = beyond + ~present_low
    next_low, next_high = carried & low, ((high << 1) | (low >> 63)) + ~present_high
    next_high = (next_high + (carried < beyond).to(tl.uint64)) & high
    out_low, out_high = present_low & ~low, present_high & ~high
    last = (out_high < high) | ((high == 0) & (out_high == 0) & (out_low < low))
    positions, beside = (), (low * 0).to(tl.int64)
    first = last
    for k in tl.static_range(PLACES):
        in_low = low != 0
        word = tl.where(in_low, low, high)
        bit = word & (~word + 1)
        if k == 0:
            first = tl.where(in_low, out_low & (bit - 1), out_low | (out_high & (bit - 1))) == 0
        exponent = bit.to(tl.float32).to(tl.int32, bitcast=True) >> 23
        positions = positions + (exponent - tl.where(in_low, 127, 63),)  # below 0 where none is left
        beside |= _at((tl.where(in_low, next_low, next_high) & bit) != 0, k)
        high = tl.where(in_low, high, high & ~bit)
        low = tl.where(in_low, low & ~bit, low)
    return positions, beside, first, last


@triton.jit
def _joined(chain):
    """As (threads, places)."""
    for _ in tl.static_range(4):
        pairs = ()
        for k in tl.static_range(len(chain) // 2):
            pairs = pairs + (tl.join(chain[k], chain[k + len(chain) // 2]),)
        chain = pairs
    return tl.reshape(chain[0], [chain[0].shape[0], PLACES])


@triton.jit
def _parted(x):
    """A chain from (threads, places)."""
    chain = (tl.reshape(x, [x.shape[0], 2, 2, 2, 2]),)
    for _ in tl.static_range(4):
        low, high = (), ()
        for k in tl.static_range(len(chain)):
            a, b = tl.split(chain[k])
            low, high = low + (a,), high + (b,)
        chain = low + high
    return chain


# ------------------------------------------------------------------ along a chain
@triton.jit
def _at(flag, k: tl.constexpr):
    return flag.to(tl.int64) << (4 * k)


@triton.jit
def _has(places, k: tl.constexpr):
    return ((places >> (4 * k)) & 1) != 0


@triton.jit
def _means(values, starts):
    """The mean over the segment that each place is in, the same bits for all of it."""
    total, size = values[0], values[0] * 0 + 1
    until = (total,)
    for k in tl.static_range(1, PLACES):
        total = tl.where(_has(starts, k), 0.0, total) + values[k]
        size = tl.where(_has(starts, k), 0.0, size) + 1
        until = until + (divided(total, size),)
    mean = until[PLACES - 1]
    found = (mean,)
    for k in tl.static_range(1, PLACES):
        mean = tl.where(_has(starts, PLACES - k), until[PLACES - 1 - k], mean)
        found = (mean,) + found
    return found


@triton.jit
def _less(values, others):
    less = ()
    for k in tl.static_range(PLACES):
        less = less + (values[k] - others[k],)
    return less


@triton.jit
def _pulled(values, falls, rises, ends, lam):
    """Values with λ more for each neighbour that is above, λ less for one that is below or out."""
    steps = falls + (rises >> 4) - rises - (falls >> 4) - ends + 2 * EVERYWHERE
    pulled = ()
    for k in tl.static_range(PLACES):
        pulled = pulled + (values[k] + lam * (((steps >> (4 * k)) & 7).to(tl.int32) - 2).to(lam.dtype),)
    return pulled


@triton.jit
def _best_set(gains, starts, lam):
    """The smallest set with the most Σ gain − λ·cut in each segment: ``fusedmax._advantage`` says how."""
    left = (gains[0],)
    for k in tl.static_range(1, PLACES):
        before = tl.minimum(tl.maximum(left[k - 1], -lam), lam)
        left = left + (tl.where(_has(starts, k), 0.0, before) + gains[k],)
    best, after = _at(left[PLACES - 1] > 0, PLACES - 1), lam * 0
    for k in tl.static_range(1, PLACES):
        after = tl.minimum(tl.maximum(after + gains[PLACES - k], -lam), lam)
        after = tl.where(_has(starts, PLACES - k), 0.0, after)
        best |= _at(left[PLACES - 1 - k] + after > 0, PLACES - 1 - k)
    return best


@triton.jit
def _split(z, count, beside, ends, lam, worth):
    """Where the solution falls, and where it rises, from the place before, as ``fusedmax._split`` does."""
    rest, falls = z, tl.where(lam == 0, beside, 0)  # tied scores are no segment then
    rises, high = beside * 0, beside * 0
    new_falls, new_rises = falls, rises
    running = count > 0
    while some(running):
        pulled = _pulled(rest, new_falls, new_rises, ends, lam)
        levels = _means(pulled, new_falls | new_rises | ~beside)
        doubtful = high * 0
        for k in tl.static_range(PLACES):
            doubtful |= _at(levels[k] <= worth, k)
        doubtful = tl.where(running, doubtful & high, 0)
        if some(doubtful != 0):
            high = high & ~doubtful
        else:
            falls, rises = tl.where(running, new_falls, falls), tl.where(running, new_rises, rises)
            rest = _less(rest, levels)
            high = _best_set(_less(pulled, levels), falls | rises | ~beside, lam)
        whole, above = beside & ~(falls | rises), high << 4
        new_falls, new_rises = falls | (whole & above & ~high), rises | (whole & high & ~above)
        running = running & ((new_falls != falls) | (new_rises != rises))
    return falls, rises


@triton.jit
def _threshold(levels, count):
    """τ with Σ max(level − τ, 0) = 1, from below by Newton's steps."""
    tau = levels[0]
    for k in tl.static_range(1, PLACES):
        tau = tl.maximum(tau, levels[k])
    running = count > 0
    tau = tl.where(running, tau - 1, 0.0)
    before = tau * 0 + PLACES + 1
    while some(running):
        size, excess = tau * 0, tau * 0 - 1
        for k in tl.static_range(PLACES):
            above = tl.maximum(levels[k] - tau, 0.0)
            size += (above > 0).to(tau.dtype)
            excess += above
        tau = tl.where(running, tau + divided(excess, tl.maximum(size, 1.0)), tau)
        running = running & (size < before)  # the support only shrinks; once more for the rounding
        before = size
    return tau


@triton.jit
def _weights(z, count, beside, ends, lam, tau, EPS: tl.constexpr):
    """Values, and where segments start."""
    lowest = z[0]
    for k in tl.static_range(1, PLACES):
        lowest = tl.minimum(lowest, z[k])
    falls, rises = _split(z, count, beside, ends, lam, EPS * tl.maximum(lam, -lowest))
    starts, above = falls | rises | ~beside, ()  # over τ: best not a difference of larger numbers
    for k in tl.static_range(PLACES):
        above = above + (tl.where(k < count, z[k] - tau, -INF),)
    levels = _means(_pulled(above, falls, rises, ends, lam), starts)
    tau = _threshold(levels, count)
    values = ()
    for k in tl.static_range(PLACES):
        values = values + (tl.maximum(levels[k] - tau, 0.0),)
    return values, starts


@triton.jit
def fuse(
    found, x, y, structure, strides, gamma, lam, gamma_strides, lam_strides, sizes, n, d,
    WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Weights and structure of fusedmax where at most ``PLACES`` positions are kept."""
    rows, once, kept, taking, count, top, near, state = found
    positions, beside, first, last = _listed(kept, taking)
    wrong = state == INVALID
    lams = tl.where(wrong, 0.0, strength(lam, lam_strides, sizes, rows, n, WORK))
    gammas = tl.where(wrong, 1.0, strength(gamma, gamma_strides, sizes, rows, n, WORK))

    places = _joined(positions)
    at = offset(rows, sizes, strides)[:, None] + along(places, strides)
    scores = _parted(convert(tl.load(x + at, mask=places >= 0, other=0.0), WORK))
    z, here = (), beside * 0
    for k in tl.static_range(PLACES):
        z = z + (tl.where(k < count, divided(scores[k] - top, gammas), 0.0),)
        here |= _at(k < count, k)
    # A neighbour that is out is below, on the left and on the right.
    final = here & ~(here >> 4)
    ends = (here & ~beside) - tl.where(first, here & 1, 0)
    ends += (here & ~(beside >> 4)) - tl.where(last, final, 0)
    values, starts = _weights(z, count, beside, ends, lams, tl.where(wrong, 0.0, divided(near, gammas)), EPS)

    entries, numbers, number, groups = (), (), state * 0, state * 0
    for k in tl.static_range(PLACES):
        inside, start = (values[k] > 0).to(tl.int32), _has(starts, k).to(tl.int32)
        entries, numbers = entries + (4 * positions[k] + start,), numbers + (number,)
        number, groups = number + inside, groups + (inside & start)
    value, row = _joined(values), structure + rows * (2 + d)
    inside = once[:, None] & (value > 0)
    tl.debug_barrier()  # zeros before values
    tl.store(y + (rows * d)[:, None] + places, convert(value, y.dtype.element_ty), mask=inside)
    tl.store(row[:, None] + 2 + _joined(numbers), _joined(entries).to(tl.int16), mask=inside)
    tl.store(row, tl.where(state < 0, state, number).to(tl.int16), mask=once & (rows < n))
    tl.store(row + 1, groups.to(tl.int16), mask=once & (rows < n))
