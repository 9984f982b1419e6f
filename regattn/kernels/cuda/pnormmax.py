"""pnormmax, a scalar root, and its derivative."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_rows
from regattn.kernels.cuda.rows import (
    along,
    convert,
    divided,
    load_scores,
    offset,
    program_rows,
    shifted,
    some,
    some_in_row,
    strength,
    threshold,
)


@triton.jit
def _power(base, exponent):
    """base^exponent for base ≥ 0, 0 for 0."""
    return tl.where(base > 0, tl.exp(exponent * tl.log(tl.where(base > 0, base, 1.0))), 0.0)


@triton.jit
def _powers(z, t, exponent, HALVES: tl.constexpr):
    """u = max(1 + z/t, 0) and u^exponent, the logarithm corrected for the rounding of u."""
    slope = divided(z, t)
    u = tl.maximum(1 + slope, 0.0)
    if HALVES:
        return u, u
    else:
        base = tl.where(u > 0, u, 1.0)
        log = tl.log(base) + tl.where(u > 0, divided(slope - (u - 1), base), 0.0)
        return u, tl.where(u > 0, tl.exp(exponent * log), 0.0)


@triton.jit
def pnormmax_rows(
    x, mask, gamma, p, y, strides, mask_strides, gamma_strides, p_strides, sizes, n, d,
    HALVES: tl.constexpr, SQUARE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """One root in t = max x/γ − τ, as on the CPU.

    ``HALVES``: p is 1.5, no power is needed; ``SQUARE``: p is 2.
    """
    rows, columns = program_rows(ROWS), tl.arange(0, BLOCK)[None, :]
    scores, invalid = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    z, present = shifted(scores, strength(gamma, gamma_strides, sizes, rows, n, WORK), -2.0)
    if SQUARE:
        values = tl.where(present, tl.maximum(z - threshold(z, present), 0.0), 0.0)
    else:
        p = strength(p, p_strides, sizes, rows, n, WORK)
        q = divided(p, p - 1)
        power = divided(2 - p, p)
        z = tl.where(present, z, -2.0)
        t, low, high = p * 0 + 1, p * 0, p * 0 + 1
        running = some_in_row(present)
        trials = 0
        while some(running):
            u, w = _powers(z, t, q - 2, HALVES)
            s0 = tl.sum(tl.where(u > 0, w, 0.0), 1, keep_dims=True)
            s1 = tl.sum(w * u, 1, keep_dims=True)
            s2 = tl.sum(w * u * u, 1, keep_dims=True)
            s0, s1, s2 = (tl.where(running, s0, 1.0), tl.where(running, s1, 1.0), tl.where(running, s2, 1.0))
            gap = tl.log(s2) * power - tl.log(s1) - tl.log(t)
            low, high = tl.where(running & (gap > 0), t, low), tl.where(running & (gap <= 0), t, high)
            slope = power * q * divided(s1 - s2, s2) - (q - 1) * divided(s0 - s1, s1) - 1
            new = tl.where(slope < 0, t * tl.exp(-divided(gap, slope)), low)
            moved = tl.abs(new - t) > EPS * t
            new = tl.where(moved & ((new <= low) | (new >= high)), 0.5 * (low + high), new)
            t = tl.where(running, new, t)
            trials += 1
            running = running & moved & (trials < 100)
        u, w = _powers(z, t, q - 2, HALVES)
        values = w * u
        total = tl.sum(values, 1, keep_dims=True)
        values = tl.where(present, divided(values, tl.where(total > 0, total, 1.0)), 0.0)
    values = tl.where(invalid, float("nan"), values)
    here = (rows < n) & (columns < d)
    tl.store(y + rows * d + columns, convert(values, y.dtype.element_ty), mask=here)


@triton.jit
def product_rows(
    g, gamma, p, weights, out, strides, gamma_strides, p_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """J @ g, with s and c as in :mod:`regattn._pnormmax`."""
    rows, columns = program_rows(ROWS), tl.arange(0, BLOCK)[None, :]
    here = (rows < n) & (columns < d)
    y = tl.load(weights + rows * d + columns, mask=here, other=0.0).to(WORK)
    invalid = some_in_row(y != y)
    support = here & (y > 0)
    at = offset(rows, sizes, strides) + along(columns, strides)
    g = convert(tl.load(g + at, mask=support, other=0.0), WORK)
    y = tl.where(support, y, 0.0)
    gamma = strength(gamma, gamma_strides, sizes, rows, n, WORK)
    p = strength(p, p_strides, sizes, rows, n, WORK)

    empty = ~some_in_row(support)
    top = tl.where(empty, 1.0, tl.max(y, 1, keep_dims=True))
    ratio = divided(y, top)
    root = _power(ratio, 2 - p)
    norm = tl.sum(
        tl.where(support, divided(ratio * ratio, tl.where(support, root, 1.0)), 0.0), 1, keep_dims=True
    )
    norm = _power(tl.where(empty, 1.0, norm), divided(p * 0 + 1, p))  # of y / top
    s = tl.where(support, divided(root, _power(norm, 2 - p) * (p - 1)), 0.0)
    c = divided(2 - p, (p - 1) * (top * norm) * (top * norm))
    solved = s * g - c * y * tl.sum(y * g, 1, keep_dims=True)
    mass = tl.sum(s, 1, keep_dims=True) - c
    shift = divided(tl.sum(solved, 1, keep_dims=True), tl.where(empty, 1.0, mass))
    result = tl.where(support, divided(solved - (s - c * y) * shift, gamma), 0.0)
    result = tl.where(invalid, float("nan"), result)
    tl.store(out + rows * d + columns, convert(result, out.dtype.element_ty), mask=here)


def pnormmax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor, p: float) -> Tensor:
    values = torch.empty_like(scores, memory_format=torch.contiguous_format)
    launch_rows(pnormmax_rows, (scores, mask, gamma, p), (values,), HALVES=p == 1.5, SQUARE=p == 2.0)
    return values


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor, p: float) -> Tensor:
    """J @ direction of :func:`pnormmax`, from its weights."""
    out = torch.empty_like(direction, memory_format=torch.contiguous_format)
    launch_rows(product_rows, (direction, gamma, p), (weights.contiguous(), out))
    return out
