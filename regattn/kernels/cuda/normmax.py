"""normmax, a scalar root, and its derivative."""

from __future__ import annotations

from functools import partial

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.entmax import strengths, weigh
from regattn.kernels.cuda.pnormmax import power
from regattn.kernels.cuda.rows import INF, strength
from regattn.kernels.cuda.tiles import (
    NOTHING,
    below_top,
    normalised,
    read_scores,
    read_weights,
    reciprocal,
    row_sum,
    rows_and_places,
    wide_tile,
    write_rows,
)

_tile = partial(wide_tile, unbounded_from=8192)


@triton.jit
def normmax_rows(
    x, mask, gamma, alpha, y, strides, mask_strides, gamma_strides, alpha_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas, alphas = strengths(gamma, alpha, gamma_strides, alpha_strides, sizes, rows, n, WORK)
    shared = alphas == 1  # by the largest scores
    z, state = below_top(scores, gammas, NOTHING)
    e = 1 / tl.where(shared, 1.0, alphas - 1)
    w = weigh(z, tl.where(shared, 0.0, state), e + 1, e, EPS)
    w = tl.where(shared, (z == 0).to(WORK), w)
    write_rows(y, normalised(w, state), places, d)


@triton.jit
def product_rows(
    g, gamma, alpha, weights, out, strides, gamma_strides, alpha_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """J @ g, with s as in :mod:`regattn._normmax`."""
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    weight, v = read_weights(weights, g, strides, sizes, places, d, ROWS, WORK)
    alphas = strength(alpha, alpha_strides, sizes, rows, n, WORK)
    total = row_sum(weight)
    y = weight * reciprocal(tl.where(total > 0, total, 1.0))  # as rounding left it
    norm = row_sum(power(y, alphas))
    norm = power(tl.where(norm > 0, norm, 1.0), reciprocal(alphas))
    steep = norm * reciprocal(tl.where(alphas > 1, alphas - 1, INF))
    s = power(tl.minimum(y / norm, 1.0), 2 - alphas) * steep * (v - row_sum(y * v))
    s = (s - y * row_sum(s)) * reciprocal(strength(gamma, gamma_strides, sizes, rows, n, WORK))
    write_rows(out, tl.where(weight > 0, s, weight), places, d)


def normmax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor, alpha: float | Tensor) -> Tensor:
    return launch_like(normmax_rows, (scores, mask, gamma, alpha), tile=_tile)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor, alpha: float | Tensor) -> Tensor:
    """J @ direction of :func:`normmax`, from its weights."""
    return launch_like(product_rows, (direction, gamma, alpha), weights, tile=wide_tile)
