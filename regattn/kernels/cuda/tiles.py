"""Rows in registers, for mappings that need a few sums over a row and no order in it.

A program's scores are (BLOCK // LANES, ROWS, LANES): a row lies in 8 to 32 lanes of a warp, up to 64 scores
in each. A sum over a row is one over registers and then a few shuffles. Up to 2,048 positions a program is
one warp, which waits for nobody; past that, eight.

A kernel is compiled for blocks of 128, 512, 2,048 and 8,192, and branches to rows of up to half of its block,
of which it takes twice as many.
"""

from __future__ import annotations

from functools import lru_cache, partial

import triton
import triton.language as tl

from regattn.kernels import LONGEST_ON_CUDA
from regattn.kernels.cuda import Tile
from regattn.kernels.cuda.rows import INF, along, convert, offset, some, strength

NOTHING = tl.constexpr(-2.0)
"""Stands for a score that no threshold is under."""


@lru_cache(maxsize=LONGEST_ON_CUDA)
def tile(d: int, warps: int = 1, unbounded_from: int = LONGEST_ON_CUDA + 1) -> Tile:
    """Of rows of this length a program takes so many; see above for its constants.

    ``warps`` is for kernels that keep more than two numbers of a score: as many for 2,048 positions. From
    blocks ``unbounded_from`` on a thread gets the registers that it needs: to fit more programs on a
    multiprocessor Triton 3.6's assembler would spill some.
    """
    block = next(b for b in (128, 512, 2048, 8192) if d <= b)
    rows = max(1, 512 // block)
    warps = {2048: warps, 8192: 8}.get(block, 1)
    constants = {"ROWS": rows, "BLOCK": block, "HALVES": 1, "num_warps": warps}
    if block >= unbounded_from:
        constants["maxnreg"] = 255
    return Tile(rows * (2 if d <= block // 2 else 1), constants)


wide_tile = partial(tile, warps=2)


@triton.jit
def places_of(n, d, ROWS: tl.constexpr, BLOCK: tl.constexpr, LANES: tl.constexpr):
    """Row and column of each score, and how many columns its row has: none if that is past the last row.

    In memory's order, (BLOCK // LANES, ROWS * LANES): threads lie along the last dimension. As two of them,
    rows and lanes, Triton 3.6 would deal some registers to other threads in their place.
    """
    thread = tl.arange(0, ROWS * LANES)[None, :]
    rows = tl.program_id(0).to(tl.int64) * ROWS + thread // LANES
    columns = tl.arange(0, BLOCK // LANES)[:, None] * LANES + thread % LANES
    return rows, columns, tl.where(rows < n, d, 0)


@triton.jit
def by_row(x, ROWS: tl.constexpr):
    """What is read at places, as (BLOCK // LANES, ROWS, LANES)."""
    return tl.reshape(x, [x.shape[0], ROWS, x.shape[1] // ROWS])


@triton.jit
def rows_of(ROWS: tl.constexpr):
    """The rows of this program, in the shape of what is worked out for each of them, (1, ROWS, 1)."""
    return tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[None, :, None]


@triton.jit
def rows_and_places(n, d, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """As :func:`rows_of` and :func:`places_of`, in as many lanes as a row of ``BLOCK`` is worth."""
    LANES: tl.constexpr = BLOCK // 32 if BLOCK > 2048 else max(8, min(32, BLOCK // 16))
    return rows_of(ROWS), places_of(n, d, ROWS, BLOCK, LANES)


# ------------------------------------------------------------------ over each row
@triton.jit
def row_sum(x):
    return tl.sum(tl.sum(x, 0, keep_dims=True), 2, keep_dims=True)


@triton.jit
def _larger_or_nan(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def row_max(x):
    """NaN if there is one in the row."""
    return tl.reduce(tl.reduce(x, 0, _larger_or_nan, keep_dims=True), 2, _larger_or_nan, keep_dims=True)


@triton.jit
def reciprocal(x):
    if x.dtype == tl.float32:
        return tl.minimum(tl.div_rn(1.0, x), 3.4e38)
    else:
        return 1 / x


# ------------------------------------------------------------------ scores in, weights out
@triton.jit
def read_scores(x, mask, strides, mask_strides, sizes, places, ROWS: tl.constexpr, WORK: tl.constexpr):
    """Scores, −inf for what takes no part."""
    rows, columns, length = places
    taking = columns < length
    if mask is not None:
        at = offset(rows, sizes, mask_strides) + along(columns, mask_strides)
        taking = taking & (tl.load(mask + at, mask=taking, other=0) != 0)
    at = offset(rows, sizes, strides) + along(columns, strides)
    return by_row(convert(tl.load(x + at, mask=taking, other=-INF), WORK), ROWS)


@triton.jit
def positive_strength(value, strides, sizes, rows, n, WORK: tl.constexpr):
    """One for each row, NaN where it is not above 0 and finite."""
    each = strength(value, strides, sizes, rows, n, WORK)
    return tl.where((each > 0) & (each < INF), each, float("nan"))


@triton.jit
def below_top(scores, gamma, floor):
    """z = (scores − max)/γ, not under ``floor``; and a number for each row: 1, 0 for no scores, or NaN.

    NaN is for rows with NaN, +inf or a bad γ, whose z is ``floor`` throughout.
    """
    top = row_max(scores)
    state = tl.where(top > -INF, 1.0, 0.0).to(scores.dtype)
    state = tl.where((top < INF) & (gamma > 0), state, float("nan"))
    below = scores - tl.where(state > 0, top, INF)
    inverse = reciprocal(gamma)
    z = below * inverse
    if scores.dtype == tl.float32:  # rounded once, so that ties with the threshold are found
        z = tl.fma(tl.fma(-z, gamma + tl.zeros_like(z), below), inverse + tl.zeros_like(z), z)
    else:
        z = below / gamma
    return tl.maximum(z, floor), state


@triton.jit
def threshold(z, state):
    """τ with Σ max(z − τ, 0) = 1, from below by Newton's steps; NaN or 2 where there are no weights."""
    tau = -tl.abs(state)
    running = state > 0
    before = tau * 0 + z.numel
    while some(running):
        above = tl.maximum(z - tau, 0.0)
        size = row_sum((above > 0).to(z.dtype))
        step = (row_sum(above) - 1) * reciprocal(tl.maximum(size, 1.0))
        tau = tl.where(running, tau + step, tau)
        running = running & (size < before)  # the support only shrinks; once more for the rounding
        before = size
    return tau


@triton.jit
def normalised(values, state):
    """Divided by their sum; NaN or 0 throughout where the row has that state."""
    total = row_sum(values)
    return values * (state * reciprocal(tl.where(total > 0, total, 1.0)))


@triton.jit
def write_rows(out, values, places, d):
    rows, columns, length = places
    values = tl.reshape(values, columns.shape)
    tl.store(out + rows * d + columns, convert(values, out.dtype.element_ty), mask=columns < length)


@triton.jit
def read_weights(weights, g, strides, sizes, places, d, ROWS: tl.constexpr, WORK: tl.constexpr):
    """Weights, and a direction where they are not 0: elsewhere it may be anything, and is not read."""
    rows, columns, length = places
    y = tl.load(weights + rows * d + columns, mask=columns < length, other=0.0).to(WORK)
    at = offset(rows, sizes, strides) + along(columns, strides)
    v = convert(tl.load(g + at, mask=y != 0, other=0.0), WORK)
    return by_row(y, ROWS), by_row(v, ROWS)
