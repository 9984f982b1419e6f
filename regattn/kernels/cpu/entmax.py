"""α-entmax, a scalar root, and its derivative."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from regattn.kernels.cpu import on_tensors, product_on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.powers import exp_of, log_of, power_of
from regattn.kernels.cpu.screening import (
    BAD,
    CHUNK,
    SMALLEST,
    SPARE,
    fill,
    find_supports,
    is_sound,
    load_support,
    reciprocal,
    scan_row,
    strength_of,
    within_reach,
)
from regattn.kernels.cpu.sparsemax import add_up
from regattn.kernels.cpu.vectors import power_sums

_STEPS = 3  # of Newton's method for it
_GRID = 1024.0  # to which it is rounded up, so that it does not depend on the order of a sum
_OFFSET = 0.3217  # so that no number that often occurs lies at an edge of the grid
_NOTHING_LEFT = 745.0  # exp(−745) is 0


@reordered_sum
def _sums_of_row(row, flags, masked, n, top, scale, t, fourth):
    """Σ v^(m−1) and Σ v^m of v = max((x − top)·scale + t, 0), for m = 4 if ``fourth``, else 2."""
    s, s_m = 0.0, 0.0
    for i in range(n):
        v = max((np.float64(row[i]) - top) * scale + t, 0.0)
        v = v if not masked or flags[i] else 0.0
        square = v * v
        s += v * square if fourth else v
        s_m += square * square if fourth else square
    return s, s_m


@inlined
def first_bound(scores, mask, masked, r, top, scale, m):
    """A number not under the t ≤ 1 with Σ max((x − top)·scale + t, 0)^m = 1.

    As long as v ≤ 1 a larger exponent has a smaller sum, and 2 or 4 is cheap. Newton's method comes to the
    root from above, wherever it stops.
    """
    if m > 4.0:
        return 1.0
    fourth = m > 2.0
    row, flags = scores[r], mask[r if masked else 0]
    t, n = 1.0, row.size
    for _ in range(_STEPS):
        s, s_m = _sums_of_row(row, flags, masked, n, top, scale, t, fourth)
        root = np.sqrt(np.sqrt(s_m)) if fourth else np.sqrt(s_m)
        if s_m <= 1.0:
            break
        t -= (s_m - s_m / root) / s
    return min((np.floor(t * _GRID - _OFFSET) + 1.0 + _OFFSET) / _GRID, 1.0)


@reordered_sum
def _sums_of_powers(z, n, scale, m):
    """Σ u^(m−1) and Σ u^m of u = max(1 + z·scale, 0)."""
    s, s_m = 0.0, 0.0
    for k in range(n):
        x = z[k] * scale
        power = power_of(x, m)
        s_m += power
        s += power / (1.0 + x) if power > 0.0 else 0.0
    return s, s_m


@inlined
def unit_norm_root(z, n, m, t, enough):
    """The t with Σ max(z + t, 0)^m = 1, from a bound above it; max z = 0 and m ≥ 1.

    By Newton's method on the norm, which is convex: every step ends on the same side of the root. The last
    one leaves an error of the size of the square of ``enough``; for m < 2, where the slope is only Hölder
    where a position enters the support, steps go on down to rounding.
    """
    enough = enough if m >= 2.0 else 4.0 * np.finfo(np.float64).eps
    for _ in range(100):
        if m == 2.0:
            s1, s2, _ = power_sums(z, n, t)
            step = (s2 - np.sqrt(s2)) / (s1 * t)
        else:
            s, s_m = _sums_of_powers(z, n, 1.0 / t, m)
            step = -np.expm1(-(np.log(t) + np.log(s_m) / m)) * s_m / s
        t -= step * t
        if step <= enough:
            break
    return t


@inlined
def _bracketed_root(z, n, m):
    """The same for 0 < m < 1, where the sum is not convex: a false position, halved where it sticks."""
    low, high = n ** (-1.0 / m), 1.0
    below, above = -1.0, 1.0
    for step in range(200):
        share = -below / (above - below) if step % 3 else 0.5
        t = low + (high - low) * share
        if not low < t < high:
            t = 0.5 * (low + high)
        _, s_m = _sums_of_powers(z, n, 1.0 / t, m)
        value = np.log(s_m) + m * np.log(t)
        if value > 0.0:
            high, above = t, value
        else:
            low, below = t, min(value, -SMALLEST)
        if high - low <= 2.0 * np.finfo(np.float64).eps * high:
            break
    return high if above < -below else low


@inlined
def _weigh(z, n, t, e):
    """z ← max(1 + z/t, 0)^e."""
    scale = 1.0 / t
    if e == np.inf:
        for k in range(n):
            z[k] = 1.0 if z[k] == 0.0 else 0.0
    elif e == 2.0:
        for k in range(n):
            v = max(1.0 + z[k] * scale, 0.0)
            z[k] = v * v
    else:
        for k in range(n):
            z[k] = power_of(z[k] * scale, e)


@inlined
def write_shares(z, n, index, values, r):
    """Weights in proportion to ``z``."""
    per_total = 1.0 / add_up(z, 0, n)
    fill(values[r], 0.0)
    for k in range(n):
        values[r, index[k]] = z[k] * per_total


@inlined
def tolerance(scores):
    """A step of Newton's method after which scores of this type are solved."""
    return 1e-9 if np.finfo(scores.dtype).eps < 1e-10 else 1e-5


@inlined
def power_row(scores, mask, masked, state, r, top, gamma, scale, m, e, index, z, values):
    """Weights in proportion to max(z + t, 0)^e, where Σ max(z + t, 0)^m = 1 and z = scale·(x − top)/γ."""
    n = power_shares(scores, mask, masked, state, r, top, gamma, scale, m, e, index, z)
    write_shares(z, n, index, values, r)


@inlined
def power_shares(scores, mask, masked, state, r, top, gamma, scale, m, e, index, z):
    """Their shares in ``z``, at the positions in ``index``; returns the number of these."""
    unit = min(gamma / scale, np.finfo(np.float64).max)
    t = first_bound(scores, mask, masked, r, top, reciprocal(unit), m) if m >= 1.0 else 1.0
    n, _ = within_reach(scores, mask, masked, state, r, top, unit, t, index, None, z)
    if n > 1 and m < np.inf:
        t = unit_norm_root(z, n, m, t, tolerance(scores)) if m >= 1.0 else _bracketed_root(z, n, m)
    _weigh(z, n, t, e)
    if m < 1.0:
        _correct_sum(z, n, t, e)
    return n


@inlined
def _correct_sum(z, n, t, e):
    """Add to z·t^e what their sum lacks to 1, in proportion to the derivatives z^(1 − 1/e) by the threshold.

    Where these are steep no t that a float can hold has the sum 1, and to divide by it would move large ones.
    """
    scale = t**e
    slopes = lacking = 0.0
    for k in range(n):
        z[k] *= scale
        slopes += z[k] ** (1.0 - 1.0 / e) if z[k] > 0.0 else 0.0
    lacking = 1.0 - add_up(z, 0, n)
    for k in range(n):
        if z[k] > 0.0:
            z[k] = max(z[k] + lacking * z[k] ** (1.0 - 1.0 / e) / slopes, 0.0)


@kernel
def entmax15_rows(start, stop, scores, mask, masked, gammas, values):
    """argmax over the simplex of ⟨x, y⟩ − γ·4/3·(Σ y^1.5 − 1); NaN rows are known by their values.

    With z = (x − max x)/2γ and t = max x/2γ − τ ≤ 1: y = max(z + t, 0)².
    """
    d = scores.shape[1]
    z = np.empty(d + SPARE)
    index = np.empty(d + SPARE, np.int64)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        state, top = scan_row(scores, mask, masked, r, is_sound(gamma, SMALLEST))
        if state > 0:
            power_row(scores, mask, masked, state, r, top, gamma, 0.5, 2.0, 2.0, index, z, values)
        else:
            fill(values[r], np.nan if state == BAD else 0.0)


@kernel
def entmax_rows(start, stop, scores, mask, masked, gammas, alphas, values):
    """argmax over the simplex of ⟨x, y⟩ − γ·(Σ y^α − 1)/(α(α − 1)), α ≥ 1; softmax where α = 1.

    With ε = α − 1, z = ε(x − max x)/γ and t = ε·max x/γ − τ ≤ 1: y = max(z + t, 0)^(1/ε).
    """
    d = scores.shape[1]
    z = np.empty(d + SPARE)
    index = np.empty(d + SPARE, np.int64)
    for r in range(start, stop):
        gamma, alpha = strength_of(gammas, r), strength_of(alphas, r)
        sound = is_sound(gamma, SMALLEST) and is_sound(alpha, 1.0)
        state, top = scan_row(scores, mask, masked, r, sound)
        if state <= 0:
            fill(values[r], np.nan if state == BAD else 0.0)
            continue
        if alpha > 1.0:
            e = 1.0 / (alpha - 1.0)
            power_row(scores, mask, masked, state, r, top, gamma, alpha - 1.0, e, e, index, z, values)
        else:
            n, _ = within_reach(scores, mask, masked, state, r, top, gamma, _NOTHING_LEFT, index, None, z)
            for k in range(n):
                z[k] = exp_of(z[k])
            write_shares(z, n, index, values, r)


# ------------------------------------------------------------------ derivatives
@reordered_sum
def _weighted(s, g, n):
    """Σ s and Σ s·g."""
    sum_s = sum_sg = 0.0
    for k in range(n):
        sum_s += s[k]
        sum_sg += s[k] * g[k]
    return sum_s, sum_sg


@inlined
def raise_to(y, n, e):
    """y ← y^e for y in [0, 1], 0 for y = 0."""
    if e == 0.5:
        for k in range(n):
            y[k] = np.sqrt(y[k])
    elif e != 1.0:
        for k in range(n):
            power = exp_of(e * log_of(max(y[k], np.finfo(np.float64).tiny), 0.0))
            y[k] = power if y[k] > 0.0 else 0.0


@kernel
def product_rows(start, stop, direction, weights, output, gammas, alphas):
    """(diag(s) − s sᵀ/Σs)/γ times ``direction``, with s = y^(2−α)."""
    d = direction.shape[1]
    g, s = np.empty(d + SPARE), np.empty(d + SPARE)
    index, counts = np.empty((CHUNK, d + SPARE), np.int64), np.empty(CHUNK, np.int64)
    no_mask = np.empty((1, 1), np.bool_)
    for first in range(start, stop, CHUNK):
        last = min(first + CHUNK, stop)
        find_supports(direction, weights, no_mask, first, last, index, counts)
        for r in range(first, last):
            positions, n = index[r - first], counts[r - first]
            load_support(direction, weights, output, r, positions, n, s, g)
            if n == 0:
                continue
            raise_to(s, n, 2.0 - strength_of(alphas, r))
            sum_s, sum_sg = _weighted(s, g, n)
            shift, scale = sum_sg / sum_s, 1.0 / strength_of(gammas, r)
            for k in range(n):
                output[r, positions[k]] = scale * s[k] * (g[k] - shift)


entmax15 = on_tensors(entmax15_rows, structured=False)
entmax = on_tensors(entmax_rows, structured=False)
_product = product_on_tensors(product_rows)


def product(direction: Tensor, weights: Tensor, gamma: float | Tensor, alpha: float | Tensor = 1.5) -> Tensor:
    """Jacobian of α-entmax at ``weights`` times ``direction``."""
    return _product(direction, weights, gamma, alpha)
