"""pnormmax, a scalar root, and its derivative."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors, product_on_tensors
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
from regattn.kernels.cpu.sparsemax import add_up, largest


@kernel
def pnormmax_rows(start, stop, scores, mask, masked, gammas, norms, values):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖_p², 1 < p < 2; NaN rows are known by their values.

    With t = max x/γ − τ ≤ 1, u = max(1 + z/t, 0) and R_s = Σ u^s the root is that of
    log R_q·(2−p)/p − log R_{q−1} − log t, which decreases in t; y = u^{q−1}/R_{q−1}.
    """
    d = scores.shape[1]
    z, power = np.empty(d + 1), np.empty(d + 1)
    index, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    p = norms[0]
    q = p / (p - 1.0)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        state, top = scan_row(scores, mask, masked, r, is_sound(gamma, SMALLEST))
        fill(values[r], np.nan if state == BAD else 0.0)
        if state <= 0:
            continue
        m, _ = within_reach(scores, mask, masked, state, r, top, gamma, 1.0, index, rank, z)
        scale = 1.0 / _pnorm_root(z, m, p, q)
        for k in range(m):
            u = max(1.0 + z[k] * scale, 0.0)
            power[k] = u * u if p == 1.5 else u ** (q - 1.0)
        per_total = 1.0 / add_up(power, 0, m)
        for k in range(m):
            values[r, index[k]] = power[k] * per_total


@reordered_sum
def _moments_of_three_halves(z, m, scale):
    """Σ u, Σ u², Σ u³."""
    s0 = s1 = s2 = 0.0
    for k in range(m):
        u = max(1.0 + z[k] * scale, 0.0)
        s0 += u
        s1 += u * u
        s2 += u * u * u
    return s0, s1, s2


@inlined
def _moments(z, m, scale, q):
    """Σ u^{q−2}, Σ u^{q−1}, Σ u^q."""
    s0 = s1 = s2 = 0.0
    for k in range(m):
        u = 1.0 + z[k] * scale
        if u > 0.0:
            w = u ** (q - 2.0)
            s0 += w
            s1 += w * u
            s2 += w * u * u
    return s0, s1, s2


@inlined
def _pnorm_root(z, m, p, q):
    """Newton in log t, kept inside a shrinking bracket.

    Where q ≥ 3 a step below 1e-9 leaves an error below rounding, because the slope is Lipschitz. For smaller
    q it is only Hölder of order q − 2 where a position enters the support: steps go on down to rounding.
    """
    low, high, t = 0.0, 1.0, 1.0
    enough = 1e-9 if q >= 3.0 else 4.0 * np.finfo(np.float64).eps
    for _ in range(100):
        if p == 1.5:
            s0, s1, s2 = _moments_of_three_halves(z, m, 1.0 / t)
            gap = np.log(s2 / (s1 * t) ** 3) / 3.0  # one logarithm for two
        else:
            s0, s1, s2 = _moments(z, m, 1.0 / t, q)
            gap = np.log(s2) * (2.0 - p) / p - np.log(s1 * t)
        if gap > 0.0:
            low = t
        else:
            high = t
        slope = (2.0 - p) / p * q * (s1 - s2) / s2 - (q - 1.0) * (s0 - s1) / s1 - 1.0
        new = t * np.exp(-gap / slope) if slope < 0.0 else low
        if abs(new - t) <= enough * t or high - low <= enough * low:
            return new
        t = new if low < new < high else 0.5 * (low + high)
    return t


@reordered_sum
def _sum_of_squares(numbers, divisors, n):
    total = 0.0
    for i in range(n):
        total += numbers[i] * numbers[i] / divisors[i]
    return total


@reordered_sum
def dot(a, b, n):
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@kernel
def product_rows(start, stop, direction, weights, output, gammas, norms):
    """Jacobian of pnormmax at the solution ``weights`` times ``direction``, with s and c as in
    :mod:`regattn._pnormmax`."""
    d, p = direction.shape[1], norms[0]
    y, g, s = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1)
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
            y[k], g[k] = weights[r, index[k]], direction[r, index[k]]
        top = largest(1.0, y, m)
        for k in range(m):
            y[k] /= top
        if p == 1.5:
            for k in range(m):
                s[k] = np.sqrt(y[k])
        else:
            for k in range(m):
                s[k] = y[k] ** (2.0 - p)
        norm = _sum_of_squares(y, s, m) ** (1.0 / p)  # of y / top
        power = 1.0 / np.sqrt(norm) if p == 1.5 else norm ** (p - 2.0)
        each, c = power / (p - 1.0), (2.0 - p) / ((p - 1.0) * norm * norm)
        for k in range(m):
            s[k] *= each
        sum_s, sum_y = add_up(s, 0, m), add_up(y, 0, m)
        sum_sg, sum_yg = dot(s, g, m), dot(y, g, m)
        shift = (sum_sg - c * sum_y * sum_yg) / (sum_s - c * sum_y * sum_y)
        scale = 1.0 / strength_of(gammas, r)
        for k in range(m):
            output[r, index[k]] = scale * (s[k] * (g[k] - shift) - c * y[k] * (sum_yg - shift * sum_y))


pnormmax = on_tensors(pnormmax_rows, structured=False)
product = product_on_tensors(product_rows)
