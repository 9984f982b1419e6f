"""pnormmax, a scalar root, and its derivative."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from regattn.kernels.cuda import launch_like
from regattn.kernels.cuda.rows import some, strength
from regattn.kernels.cuda.sparsemax import sparsemax
from regattn.kernels.cuda.tiles import (
    NOTHING,
    below_top,
    normalised,
    positive_strength,
    read_scores,
    read_weights,
    reciprocal,
    row_max,
    row_sum,
    rows_and_places,
    wide_tile,
    write_rows,
)


@triton.jit
def power(base, exponent):
    """base^exponent for base ≥ 0, 0 for 0."""
    return tl.where(base > 0, tl.exp(exponent * tl.log(tl.where(base > 0, base, 1.0))), 0.0)


@triton.jit
def powers(z, t, exponent, HALVES: tl.constexpr):
    """u = max(1 + z/t, 0) and u^exponent, the logarithm corrected for the rounding of u."""
    slope = z * (1 / t)
    u = tl.maximum(1 + slope, 0.0)
    if HALVES:
        return u, u
    else:
        base = tl.where(u > 0, u, 1.0)
        log = tl.log(base) + tl.where(u > 0, (slope - (u - 1)) / base, 0.0)
        return u, tl.where(u > 0, tl.exp(exponent * log), 0.0)


@triton.jit
def _root(z, state, p, HALVES: tl.constexpr, EPS: tl.constexpr):
    """t = max x/γ − τ by Newton's steps in log t, kept inside a shrinking bracket, as on the CPU."""
    q, power = p / (p - 1), (2 - p) / p
    # A step that is small says that the next one is its square, unless positions enter with infinite slope.
    close = tl.where(p > 1.5, EPS, tl.sqrt(p * 0 + EPS) / 16)
    t, low, high = p * 0 + 1, p * 0, p * 0 + 1
    running = state > 0
    trials = 0
    while some(running):
        u, w = powers(z, t, q - 2, HALVES)
        s0 = row_sum(w if HALVES else tl.where(u > 0, w, 0.0))
        s1, s2 = row_sum(w * u), row_sum(w * u * u)
        if HALVES:  # 2(r − 1)/(r + 1) in place of log r, which has the same root and derivative there
            ratio = s2 / (s1 * t * s1 * t * s1 * t)
            gap = (2 / 3) * (ratio - 1) / (ratio + 1)
        else:
            gap = tl.log(s2) * power - tl.log(s1 * t)
        low, high = tl.where(running & (gap > 0), t, low), tl.where(running & (gap <= 0), t, high)
        slope = power * q * (s1 / s2 - 1) - (q - 1) * (s0 / s1 - 1) - 1
        new = tl.where(slope < 0, t * tl.exp(-gap / slope), low)
        moved = tl.abs(new - t) > close * t
        new = tl.where(moved & ((new <= low) | (new >= high)), 0.5 * (low + high), new)
        t = tl.where(running, new, t)
        trials += 1
        running = running & moved & (trials < 100)
    return t


@triton.jit
def _exponent(p, strides, sizes, rows, n, WORK: tl.constexpr):
    """p of each row; it is 1.5, for which no power is needed, where it is not given."""
    if p is None:
        return (rows * 0).to(WORK) + 1.5
    else:
        return strength(p, strides, sizes, rows, n, WORK)


@triton.jit
def pnormmax_rows(
    x, mask, gamma, p, y, strides, mask_strides, gamma_strides, p_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    HALVES: tl.constexpr = p is None
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    scores = read_scores(x, mask, strides, mask_strides, sizes, places, ROWS, WORK)
    gammas = positive_strength(gamma, gamma_strides, sizes, rows, n, WORK)
    z, state = below_top(scores, gammas, NOTHING)
    each = _exponent(p, p_strides, sizes, rows, n, WORK)
    t = _root(z, state, each, HALVES, EPS)
    u, w = powers(z, t, each / (each - 1) - 2, HALVES)
    write_rows(y, normalised(w * u, state), places, d)


@triton.jit
def product_rows(
    g, gamma, p, weights, out, strides, gamma_strides, p_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """J @ g, with s and c as in :mod:`regattn._pnormmax`, of r = y / max y."""
    HALVES: tl.constexpr = p is None
    rows, places = rows_and_places(n, d, ROWS, BLOCK)
    y, v = read_weights(weights, g, strides, sizes, places, d, ROWS, WORK)
    each = _exponent(p, p_strides, sizes, rows, n, WORK)
    top = row_max(y)
    top = tl.where(top == 0, 1.0, top)
    r = y * reciprocal(top)
    root = tl.sqrt(r) if HALVES else power(r, 2 - each)
    to_the_p = r * root if HALVES else tl.where(r > 0, r * r / tl.where(r > 0, root, 1.0), 0.0)
    norm = row_sum(to_the_p)
    norm = power(tl.where(norm > 0, norm, 1.0), reciprocal(each))  # of r
    s = reciprocal((each - 1) * power(norm, 2 - each))  # less the root
    c = (2 - each) * reciprocal((each - 1) * norm * norm)  # for r in place of y
    along_weights = c * row_sum(r * v)
    solved = s * root * v - r * along_weights
    mass = s * row_sum(root) - c / (top * top)
    shift = row_sum(solved) / tl.where(mass > 0, mass, 1.0)
    result = (solved - (s * root - r * (c / top)) * shift) * reciprocal(
        strength(gamma, gamma_strides, sizes, rows, n, WORK)
    )
    write_rows(out, tl.where(y > 0, result, y), places, d)


def pnormmax(scores: Tensor, mask: Tensor | None, gamma: float | Tensor, p: float) -> Tensor:
    if p == 2:
        return sparsemax(scores, mask, gamma)
    return launch_like(pnormmax_rows, (scores, mask, gamma, None if p == 1.5 else p), tile=wide_tile)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor, p: float) -> Tensor:
    """J @ direction of :func:`pnormmax`, from its weights."""
    return launch_like(product_rows, (direction, gamma, None if p == 1.5 else p), weights, tile=wide_tile)
