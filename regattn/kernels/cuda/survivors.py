"""The few positions of a row that can have a weight, brought together in the lanes of a warp."""

from __future__ import annotations

from functools import lru_cache

import triton
import triton.language as tl

from regattn.kernels import LONGEST_ON_CUDA
from regattn.kernels.cuda import Tile
from regattn.kernels.cuda.rows import INF, divided
from regattn.kernels.cuda.tiles import by_row, read_scores, row_max, row_sum, write_rows


@lru_cache(maxsize=LONGEST_ON_CUDA)
def tile(d: int) -> Tile:
    """Blocks of 128, 512, 4,096 and 8,192; up to 512 a program is one warp, which waits for nobody.

    In the smallest a kernel branches to rows of up to half of its block, of which it takes twice as many.
    """
    tiles = ((128, 4, 1, 1), (512, 1, 0, 1), (4096, 1, 0, 8), (8192, 1, 0, 8))
    names = ("BLOCK", "ROWS", "HALVES", "num_warps")
    constants = dict(zip(names, next(t for t in tiles if d <= t[0]), strict=True))
    # Left to choose, the assembler spills some registers for one more program to fit.
    constants["maxnreg"] = 160 if d <= 512 else 255
    return Tile(constants["ROWS"] << (constants["HALVES"] if 2 * d <= constants["BLOCK"] else 0), constants)


def coarse_tile(d: int) -> Tile:
    """For the rows that are left, which are few: fewer forms are compiled than there are powers of two."""
    block = next(block for block in (128, 512, 2048, 4096, 8192) if d <= block)
    rows = max(1, 256 // block)
    warps = max(min(8, rows * block // 128), block // 512)
    constants = {"ROWS": rows, "BLOCK": block, "HALVES": 0, "num_warps": warps}
    if warps <= 8:
        constants["maxnreg"] = 255  # as in :func:`tile`
    return Tile(rows, constants)


@triton.constexpr_function
def lanes_of(block):
    """How many threads share a row."""
    return 8 if block <= 128 else 32 if block <= 512 else 256


@triton.constexpr_function
def slots_of(block):
    """How many survivors of a row have room."""
    return 16 if block <= 128 else 32


@triton.jit
def _smaller(a, b):
    return tl.minimum(a, b)


@triton.jit
def row_min(x):
    return tl.reduce(tl.reduce(x, 0, _smaller, keep_dims=True), 2, _smaller, keep_dims=True)


@triton.jit
def flat(x):
    """A number for each row, as (ROWS, 1): kept where its row is, and not in all threads as if reshaped."""
    return tl.sum(tl.sum(x, 2), 0)[:, None]


@triton.jit
def below_top(x, mask, strides, mask_strides, sizes, places, sound, WORK: tl.constexpr):
    """Scores less their maximum, −inf for what takes no part; the maximum; which rows are bad."""
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, sound.shape[1], WORK)
    top = row_max(scores)
    bad = ~((top < INF) & sound)
    some_score = (top > -INF) & ~bad
    return scores - tl.where(some_score, top, INF), top, bad


@triton.jit
def sparse_bound(below, gamma):
    """A lower bound on γ times sparsemax's threshold, two of Newton's steps from −γ."""
    tau = -gamma
    for _ in tl.static_range(2):
        above = tl.maximum(below - tau, 0.0)
        size = tl.maximum(row_sum((above > 0).to(below.dtype)), 1.0)
        tau += divided(row_sum(above) - gamma, size)
    return tau


@triton.jit
def compact(keep, present, columns, holes, most, SLOTS: tl.constexpr, ROWS: tl.constexpr):
    """The positions to keep in order, −1 beyond them; whether the slot before, or after, has a neighbour."""
    slot = tl.arange(0, SLOTS)[None, :] + tl.zeros([ROWS, SLOTS], tl.int32)
    position, joins, joined = slot * 0 - 1, slot * 0, slot * 0
    last = tl.full([1, ROWS, 1], -1, tl.int32)
    following = last - 1  # the present position after the last one
    k = 0
    while k < most:
        at = row_min(tl.where(keep & (columns > last), columns, 1 << 20))
        here = flat(at)
        position = tl.where((slot == k) & (here < (1 << 20)), here, position)
        near = (here == flat(following)).to(tl.int32)
        joins = tl.where(slot == k, near, joins)
        joined = tl.where(slot == k - 1, near, joined)
        following = at + 1
        if holes:
            following = row_min(tl.where(present & (columns > at), columns, 1 << 21))
        last = at
        k += 1
    return position, joins > 0, joined > 0


@triton.jit
def write_zeros(y, bad, places, d):
    """0 everywhere, before the weights that are not; NaN in bad rows."""
    zeros = by_row(tl.zeros(places[1].shape, tl.float32), bad.shape[1])
    write_rows(y, tl.where(bad, float("nan"), zeros), places, d)
