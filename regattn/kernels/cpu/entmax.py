"""1.5-entmax, a scalar root, and its derivative."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regattn.kernels.cpu import like, on_tensors, run_rows, strength_array, working_rows
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.screening import (
    BAD,
    SMALLEST,
    fill,
    is_sound,
    scan_row,
    strength_of,
    survivors,
    within_reach,
)
from regattn.kernels.cpu.sparsemax import add_up


@reordered_sum
def _sums(z, m, t):
    """Σ v and Σ v² of v = max(z + t, 0)."""
    s1 = s2 = 0.0
    for k in range(m):
        v = max(z[k] + t, 0.0)
        s1 += v
        s2 += v * v
    return s1, s2


@inlined
def _root(z, m):
    """The t with Σ max(z + t, 0)² = 1.

    By Newton's method on the norm √Σ, which is convex: from t = 1, where it is at least 1 since max z = 0,
    every step ends on the same side of the root.
    """
    t = 1.0
    for _ in range(100):
        s1, s2 = _sums(z, m, t)
        step = (s2 - np.sqrt(s2)) / s1
        t -= step
        if step <= 1e-9 * t:  # what the next would be is the square of it
            break
    return t


@kernel
def entmax15_rows(start, stop, scores, mask, masked, gammas, values):
    """argmax over the simplex of ⟨x, y⟩ − γ·4/3·(Σ y^1.5 − 1); NaN rows are known by their values.

    With z = (x − max x)/2γ and t = max x/2γ − τ ≤ 1: y = max(z + t, 0)².
    """
    d = scores.shape[1]
    z = np.empty(d + 1)
    index, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        state, top = scan_row(scores, mask, masked, r, is_sound(gamma, SMALLEST))
        fill(values[r], np.nan if state == BAD else 0.0)
        if state <= 0:
            continue
        half = min(2.0 * gamma, np.finfo(np.float64).max)
        m, _ = within_reach(scores, mask, masked, state, r, top, half, 1.0, index, rank, z)
        t = _root(z, m)
        for k in range(m):
            v = max(z[k] + t, 0.0)
            z[k] = v * v
        per_total = 1.0 / add_up(z, 0, m)
        for k in range(m):
            values[r, index[k]] = z[k] * per_total


@reordered_sum
def _weighted(s, g, m):
    """Σ s and Σ s·g."""
    sum_s = sum_sg = 0.0
    for k in range(m):
        sum_s += s[k]
        sum_sg += s[k] * g[k]
    return sum_s, sum_sg


@kernel
def product_rows(start, stop, direction, weights, output, gammas):
    """(diag(s) − s sᵀ/Σs)/γ times ``direction``, with s = √y."""
    d = direction.shape[1]
    g, s = np.empty(d + 1), np.empty(d + 1)
    index, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    info, no_mask = np.finfo(weights.dtype), np.empty((1, 1), np.bool_)
    smallest = weights.dtype.type(np.float64(info.tiny) * np.float64(info.eps))
    for r in range(start, stop):
        bad = np.isnan(weights[r, 0])
        fill(output[r], np.nan if bad else 0.0)
        m, _ = survivors(weights, no_mask, False, False, r, smallest, index, rank)
        if bad or m == 0:
            continue
        for k in range(m):
            s[k], g[k] = np.sqrt(np.float64(weights[r, index[k]])), direction[r, index[k]]
        sum_s, sum_sg = _weighted(s, g, m)
        shift, scale = sum_sg / sum_s, 1.0 / strength_of(gammas, r)
        for k in range(m):
            output[r, index[k]] = scale * s[k] * (g[k] - shift)


entmax15 = on_tensors(entmax15_rows, structured=False)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor) -> Tensor:
    """Jacobian of 1.5-entmax at ``weights`` times ``direction``."""
    g, y = working_rows(direction), working_rows(weights)
    output = torch.empty_like(g)
    strengths = strength_array(gamma, weights)
    run_rows(product_rows, g.shape[0], g.numel(), g.numpy(), y.numpy(), output.numpy(), strengths)
    return like(output, direction)
