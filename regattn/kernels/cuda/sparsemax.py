"""sparsemax: the threshold by Newton's steps from below, and the derivative from the weights."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.rows import strength
from regattn.kernels.cuda.tiles import (
    NOTHING,
    below_top,
    positive_strength,
    read_scores,
    read_weights,
    reciprocal,
    row_sum,
    rows_and_places,
    threshold,
    tile,
    write_rows,
)


@triton.jit
def sparsemax_rows(
    x, mask, gamma, y, strides, mask_strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, state = below_top(scores, gammas, NOTHING)
    values = tl.maximum(z - threshold(z, state), 0.0, propagate_nan=tl.PropagateNan.ALL)
    write_rows(y, values, places, d)


def sparsemax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor) -> Tensor:
    return launch_like(sparsemax_rows, (scores, mask, gamma), tile=tile)


@triton.jit
def centre_rows(
    g, scale, weights, out, strides, scale_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    y, v = read_weights(weights, g, strides, sizes, places, d, ROWS, WORK)
    inside = y > 0
    size = row_sum(tl.where(inside, 1.0, y))  # or NaN
    mean = row_sum(v) * reciprocal(tl.maximum(size, 1.0, propagate_nan=tl.PropagateNan.ALL))
    v = (v - mean) * strength(scale, scale_strides, sizes, rows, n, WORK)
    write_rows(out, tl.where(inside, v, y), places, d)


def centred(direction: Tensor, weights: Tensor, scale: float | Tensor) -> Tensor:
    """scale · (direction less its mean over the support) on the support, 0 elsewhere."""
    return launch_like(centre_rows, (direction, scale), weights, tile=tile)


def structure_like(values: Tensor) -> Tensor:
    """None: the weights tell the support."""
    return values.new_empty((*values.shape[:-1], 0))
