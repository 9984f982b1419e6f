"""budget: the threshold by Newton's steps inside a shrinking bracket."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_rows
from regattn.kernels.cuda.rows import INF, some, strength
from regattn.kernels.cuda.tiles import (
    below_top,
    positive_strength,
    read_scores,
    row_max,
    row_sum,
    rows_and_places,
    wide_tile,
    write_rows,
)

_ROUNDS = tl.constexpr(24)
"""Steps after which the bracket is halved: a row may be made to have many pieces on the way."""


@triton.jit
def _root(z, k, low, running):
    """τ with Σ clip(z − τ, 0, 1) = k in [low, 0); the sum is piecewise linear."""
    tau, high, trial = low, low * 0, 0
    while some(running):
        u = z - tau
        inside = (u > 0) & (u < 1)
        total, size = row_sum(tl.minimum(tl.maximum(u, 0.0), 1.0)), row_sum(tl.where(inside, 1.0, 0.0))
        low, high = tl.where(total > k, tau, low), tl.where(total < k, tau, high)
        new = tau + (total - k) / tl.maximum(size, 1.0)
        halve = (size == 0) | (new <= low) | (new >= high) | (trial >= _ROUNDS)
        new = tl.where(halve, 0.5 * low + 0.5 * high, new)
        running = running & (total != k) & (new != tau) & (new > low) & (new < high)
        tau = tl.where(running, new, tau)
        trial += 1
    return tau


@triton.jit
def budget_rows(
    x, mask, gamma, k, y, inner, strides, mask_strides, gamma_strides, k_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """``inner`` gets the weights strictly between 0 and 1, else 0: the support that derivatives see."""
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, state = below_top(scores, gammas, -INF)
    total = strength(k, k_strides, sizes, rows, n, WORK)
    present = z > -INF
    all_of_them = row_sum(tl.where(present, 1.0, 0.0)) <= total
    low = -row_max(tl.where(present, -z, 0.0)) - 1
    u = z - _root(z, total, low, (state > 0) & ~all_of_them)
    values = tl.where(all_of_them, tl.where(present, 1.0, 0.0), tl.minimum(tl.maximum(u, 0.0), 1.0))
    values = tl.where(state == state, values, state)
    write_rows(y, values, places, d)
    write_rows(inner, tl.where(values == 1, 0.0, values), places, d)


def budget(scores: Tensor, mask: Tensor | None, gamma: float | Tensor, k: float) -> tuple[Tensor, Tensor]:
    values = torch.empty_like(scores, memory_format=torch.contiguous_format)
    inner = structure_like(values)
    launch_rows(budget_rows, (scores, mask, gamma, k), (values, inner), tile=wide_tile)
    return values, inner


def structure_like(values: Tensor) -> Tensor:
    """Weights stand for the structure, as no two positions share one."""
    return torch.empty_like(values)
