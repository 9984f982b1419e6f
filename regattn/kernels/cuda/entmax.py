"""α-entmax, a scalar root, and its derivative."""

from __future__ import annotations

from functools import partial

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.pnormmax import power, powers
from regattn.kernels.cuda.rows import INF, some, strength
from regattn.kernels.cuda.tiles import (
    NOTHING,
    below_top,
    normalised,
    positive_strength,
    read_scores,
    read_weights,
    reciprocal,
    row_sum,
    rows_and_places,
    tile,
    wide_tile,
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
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, state = below_top(scores, 2 * gammas, NOTHING)
    v = tl.maximum(z + _root(z, state, EPS), 0.0)
    write_rows(y, normalised(v * v, state), places, d)


def entmax15(scores: Tensor, mask: Tensor | None, gamma: float | Tensor) -> Tensor:
    return launch_like(entmax15_rows, (scores, mask, gamma), tile=tile)


@triton.jit
def strengths(gamma, alpha, gamma_strides, alpha_strides, sizes, rows, n, WORK: tl.constexpr):
    """γ, NaN where it or α is out of range, and α; of each row."""
    gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
    alphas = strength(alpha, alpha_strides, sizes, rows, n, WORK)
    sound = (alphas >= 1) & (alphas < INF)
    return tl.where(sound, gammas, float("nan")), tl.where(sound, alphas, 2.0)


@triton.jit
def weigh(z, state, m, e, EPS: tl.constexpr):
    """max(z + t, 0)^e, up to a factor, where Σ max(z + t, 0)^m = 1.

    From t = 1 by Newton's method on the norm, which is convex for m ≥ 1. For m < 1, where slopes have no
    bound, a bracket of log t is halved.
    """
    size = tl.maximum(row_sum((z > NOTHING).to(z.dtype)), 1.0)
    t, convex = m * 0 + 1, m >= 1
    low, high = tl.maximum(tl.exp(-tl.log(size) * reciprocal(m)), 1e-30), t
    close = tl.where(m >= 2, tl.sqrt(m * 0 + EPS) / 16, EPS)
    running, trials = (state > 0) & (size > 1), 0
    before = t
    while some(running):
        u, w = powers(z, t, m - 1, False)
        s, s_m = row_sum(tl.where(u > 0, w, 0.0)), row_sum(w * u)
        gap = tl.log(s_m) + m * tl.log(t)
        step = (1 - tl.exp(-gap / m)) * s_m / s
        low, high = tl.where(gap > 0, low, t), tl.where(gap > 0, t, high)
        new = tl.where(convex, t - t * step, tl.sqrt(low) * tl.sqrt(high))
        t = tl.where(running, new, t)
        trials += 1
        running = running & (trials < 100)
        running = running & tl.where(convex, (step > close) & (step < before), high > low * (1 + EPS))
        before = step
    u, w = powers(z, t, e - 1, False)
    return w * u


_tile = partial(wide_tile, unbounded_from=128)


@triton.jit
def entmax_rows(
    x, mask, gamma, alpha, y, strides, mask_strides, gamma_strides, alpha_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas, alphas = strengths(gamma, alpha, gamma_strides, alpha_strides, sizes, rows, n, WORK)
    dense = alphas == 1  # softmax
    e = 1 / tl.where(dense, 1.0, alphas - 1)
    z, state = below_top(scores, gammas * e, tl.where(dense, -INF, NOTHING))
    w = weigh(z, tl.where(dense, 0.0, state), e, e, EPS)
    w = tl.where(dense, tl.exp(z), w)  # after the loop, through which it would take registers
    write_rows(y, normalised(w, state), places, d)


def entmax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor, alpha: float | Tensor) -> Tensor:
    return launch_like(entmax_rows, (scores, mask, gamma, alpha), tile=_tile)


@triton.jit
def product_rows(
    g, gamma, alpha, weights, out, strides, gamma_strides, alpha_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    y, v = read_weights(weights, g, strides, sizes, places, d, ROWS, WORK)
    s = tl.sqrt(y) if alpha is None else power(y, 2 - strength(alpha, alpha_strides, sizes, rows, n, WORK))
    total = row_sum(s)
    shift = row_sum(s * v) / tl.where(total > 0, total, 1.0)
    inverse = reciprocal(strength(gamma, gamma_strides, sizes, rows, n, WORK))
    write_rows(out, tl.where(y > 0, s * (v - shift) * inverse, y), places, d)


def product(
    direction: Tensor, weights: Tensor, gamma: float | Tensor, alpha: float | Tensor | None = None
) -> Tensor:
    """J @ direction of :func:`entmax` from its weights; of :func:`entmax15` without ``alpha``."""
    return launch_like(product_rows, (direction, gamma, alpha), weights, tile=tile)
