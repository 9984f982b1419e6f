"""softmax and its derivative, with masks and empty rows in the same launch."""

from __future__ import annotations

from functools import partial

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.rows import INF, strength
from regattn.kernels.cuda.tiles import (
    below_top,
    normalised,
    positive_strength,
    read_scores,
    read_weights,
    row_sum,
    rows_and_places,
    tile,
    write_rows,
)

_tile = partial(tile, unbounded_from=8192)


@triton.jit
def softmax_rows(
    x, mask, gamma, y, strides, mask_strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, state = below_top(scores, gammas, -INF)
    write_rows(y, normalised(tl.exp(z), state), places, d)


def softmax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor) -> Tensor:
    return launch_like(softmax_rows, (scores, mask, gamma), tile=_tile)


@triton.jit
def product_rows(
    g, gamma, weights, out, strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    y, v = read_weights(weights, g, strides, sizes, places, d, ROWS, WORK)
    v = y * (v - row_sum(y * v)) / strength(gamma, gamma_strides, sizes, rows, n, WORK)
    write_rows(out, v, places, d)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor) -> Tensor:
    """J @ direction of :func:`softmax`, from its weights."""
    return launch_like(product_rows, (direction, gamma), weights, tile=tile)
