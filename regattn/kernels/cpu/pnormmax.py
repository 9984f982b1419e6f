"""pnormmax, a scalar root, and its derivative."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors, product_on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.entmax import raise_to, tolerance, write_shares
from regattn.kernels.cpu.powers import exp_of, log_of
from regattn.kernels.cpu.screening import (
    SMALLEST,
    SPARE,
    init_row,
    is_sound,
    multiply_supports,
    strength_of,
    within_reach,
)
from regattn.kernels.cpu.vectors import power_sums


@kernel
def pnormmax_rows(start, stop, scores, mask, masked, gammas, norms, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖_p², 1 < p < 2.

    With t = max x/γ − τ ≤ 1, u = max(1 + z/t, 0) and R_s = Σ u^s the root is that of
    log R_q·(2−p)/p − log R_{q−1} − log t, which decreases in t; y = u^{q−1}/R_{q−1}.
    """
    d = scores.shape[1]
    z = np.empty(d + SPARE)
    index = np.empty(d + SPARE, np.int64)
    p = norms[0]
    q = p / (p - 1.0)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        state, top = init_row(scores, mask, masked, r, is_sound(gamma, SMALLEST), values, structure)
        if state <= 0:
            continue
        m, _ = within_reach(scores, mask, masked, state, r, top, gamma, 1.0, index, None, z)
        if p == 1.5:
            t = _root_of_three_halves(z, m, tolerance(scores)) if m > 1 else 1.0
            for k in range(m):
                v = max(z[k] + t, 0.0)
                z[k] = v * v
        else:
            scale = 1.0 / _pnorm_root(z, m, p, q)
            for k in range(m):
                z[k] = max(1.0 + z[k] * scale, 0.0) ** (q - 1.0)
        write_shares(z, m, index, values, structure, r)


_GUESS = 0.85  # at a threshold between 0 and 1: between the means of few scores and of many


@inlined
def _root_of_three_halves(z, m, enough):
    """t with Σ v³ = (Σ v²)³, v = max(z + t, 0), by Newton's method for log Σv³ − 3 log Σv².

    Of log x = 2 artanh w the first term stands in for the logarithm: it is right near the root, and steps are
    smaller elsewhere. The last step leaves an error of the size of the square of ``enough``.
    """
    low, high, t = 0.0, 1.0, _GUESS
    for _ in range(100):
        s1, s2, s3 = power_sums(z, m, t)
        cube = s2 * s2 * s2
        w = (s3 - cube) / (s3 + cube)
        if w > 0.0:
            low = t
        else:
            high = t
        slope = 1.5 * t * (s2 * s2 - 2.0 * s1 * s3)
        step = -w * (s2 * s3 / slope) if slope < 0.0 else -1.0  # two divisions side by side
        new = t + t * step
        if abs(new - t) <= enough * t or high - low <= enough * low:
            return new
        t = new if low < new < high else 0.5 * (low + high)
    return t


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
def _sums(y, g, s, n):
    """Σ y^p, where s = y^(2−p); Σ y, Σ s, Σ y·g, Σ s·g."""
    of_powers = sum_y = sum_s = sum_yg = sum_sg = 0.0
    for k in range(n):
        of_powers += y[k] * y[k] / max(s[k], SMALLEST)
        sum_y += y[k]
        sum_s += s[k]
        sum_yg += y[k] * g[k]
        sum_sg += s[k] * g[k]
    return of_powers, sum_y, sum_s, sum_yg, sum_sg


@reordered_sum
def dot(a, b, n):
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@inlined
def _product_of_row(y, g, s, n, p, digits):
    for k in range(n):
        s[k] = y[k]
    raise_to(s, n, 2.0 - p, digits)
    of_powers, sum_y, sum_s, sum_yg, sum_sg = _sums(y, g, s, n)
    each = exp_of((p - 2.0) / p * log_of(min(of_powers, 1.0), 0.0, digits), digits) / (p - 1.0)
    c = (2.0 - p) / of_powers
    shift = (sum_sg - c * sum_y * sum_yg) / (sum_s - c * sum_y * sum_y)
    c *= sum_yg - shift * sum_y
    for k in range(n):
        s[k] = each * (s[k] * (g[k] - shift) - c * y[k])


@kernel
def product_rows(start, stop, direction, weights, structure, output, gammas, norms):
    """Jacobian of pnormmax at the solution ``weights`` times ``direction``, with s and c as in
    :mod:`regattn._pnormmax`."""
    multiply_supports(_product_of_row, start, stop, direction, weights, structure, output, gammas, norms)


pnormmax = on_tensors(pnormmax_rows)
product = product_on_tensors(product_rows)
