"""1.5-entmax, a scalar root, and its derivative."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.rows import some, strength
from regattn.kernels.cuda.tiles import (
    NOTHING,
    below_top,
    normalised,
    positive_strength,
    read_scores,
    read_weights,
    reciprocal,
    row_sum,
    rows_and_columns,
    tile,
    write_rows,
)


@triton.jit
def _root(z, state, EPS: tl.constexpr):
    """The t with Σ max(z + t, 0)² = 1, from t = 1 by Newton's method on √Σ, which is convex."""
    t = tl.abs(state)
    running = state > 0
    while some(running):
        v = tl.maximum(z + t, 0.0)
        s1, s2 = row_sum(v), row_sum(v * v)
        step = (s2 - tl.sqrt(s2)) / s1
        t = tl.where(running, t - step, t)
        running = running & (step > tl.sqrt(t * 0 + EPS) / 16 * t)  # the next would be its square
    return t


@triton.jit
def entmax15_rows(
    x, mask, gamma, y, strides, mask_strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    for half in tl.static_range(2):
        if (d <= BLOCK // 2) == (half == 1):
            rows, columns, length = rows_and_columns(n, d, ROWS * (1 + half), BLOCK // (1 + half))
            scores = read_scores(x, mask, strides, mask_strides, sizes, rows, columns, length, WORK)
            gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
            z, state = below_top(scores, 2 * gammas, NOTHING)
            v = tl.maximum(z + _root(z, state, EPS), 0.0)
            write_rows(y, normalised(v * v, state), rows, columns, length, d)


def entmax15(scores: Tensor, mask: Tensor | None, gamma: float | Tensor) -> Tensor:
    return launch_like(entmax15_rows, (scores, mask, gamma), tile=tile)


@triton.jit
def product_rows(
    g, gamma, weights, out, strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    for half in tl.static_range(2):
        if (d <= BLOCK // 2) == (half == 1):
            rows, columns, length = rows_and_columns(n, d, ROWS * (1 + half), BLOCK // (1 + half))
            y, v = read_weights(weights, g, strides, sizes, rows, columns, length, d, WORK)
            s = tl.sqrt(y)
            total = row_sum(s)
            shift = row_sum(s * v) / tl.where(total > 0, total, 1.0)
            inverse = reciprocal(strength(gamma, gamma_strides, sizes, rows, n, WORK))
            write_rows(out, tl.where(y > 0, s * (v - shift) * inverse, y), rows, columns, length, d)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor) -> Tensor:
    """J @ direction of :func:`entmax15`, from its weights."""
    return launch_like(product_rows, (direction, gamma), weights, tile=tile)
