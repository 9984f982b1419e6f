"""α-entmax, a scalar root, and its derivative."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from regattn.kernels.cpu import Weights, on_tensors, product_on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.powers import DOUBLE, ROUGH, digits_of, exp_of, log_of, power_of
from regattn.kernels.cpu.screening import (
    FULL,
    SMALLEST,
    SPARE,
    fill,
    init_row,
    is_sound,
    multiply_supports,
    reciprocal,
    strength_of,
    within_reach,
    write_singletons,
)
from regattn.kernels.cpu.sparsemax import add_up
from regattn.kernels.cpu.vectors import power_sums

_LONG, _FAR = 256, 0.8  # in shorter rows, and where it ends above, a second step to the bound does not pay
_GRID = 1024.0  # to which the bound is rounded up, so that it does not depend on the order of a sum
_OFFSET = 0.3217  # so that no number that often occurs lies at an edge of the grid
_NOTHING_LEFT = 745.0  # exp(−745) is 0
_BLOCK = 16  # numbers of which powers are taken at once: what is left of a loop in vectors costs more
_SHORT = 64
_ROUNDING = 4.0 * np.finfo(np.float64).eps
_ROUGH_STEPS, _CLOSE = 3, 0.15  # after a step so short the next one is the last for float32
_STRAIGHT = 0.25  # a bend over which a step goes by the slope alone, which cannot pass the root


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
    for _ in range(2):
        s, s_m = _sums_of_row(row, flags, masked, n, top, scale, t, fourth)
        root = np.sqrt(np.sqrt(s_m)) if fourth else np.sqrt(s_m)
        if s_m <= 1.0:
            break
        t -= (s_m - s_m / root) / s
        if not fourth or n < _LONG or t > _FAR:
            break
    return min((np.floor(t * _GRID - _OFFSET) + 1.0 + _OFFSET) / _GRID, 1.0)


@reordered_sum
def _sums_of_powers(z, n, scale, m, digits, powers):
    """Σ u^m, Σ u^(m−1) and Σ u^(m−2) of u = max(1 + z·scale, 0), the last of them in ``powers``.

    A last block is filled up by numbers for which u = 0.
    """
    s, s1, s2 = 0.0, 0.0, 0.0
    for k in range((n + _BLOCK - 1) & -_BLOCK):
        x = z[k] * scale
        u = 1.0 + x
        lowest = power_of(x, m - 2.0, digits)
        lower = lowest * u
        power = lower * u
        s += power
        s1 += lower
        s2 += lowest
        powers[k] = lowest
    return s, s1, s2


@inlined
def _step(z, n, t, m, digits, powers):
    """A step of Newton's method for the norm of max(z + t, 0), as a part of t; and one that minds its bend.

    Series stand in for the logarithm of the sum and for an exponential: they are right near the root, and
    elsewhere steps are smaller.
    """
    scale = exp_of(m * log_of(t, 0.0, digits), digits)
    s, s1, s2 = _sums_of_powers(z, n, 1.0 / t, m, digits, powers)
    w = (s * scale - 1.0) / (s * scale + 1.0)  # artanh w is half of the logarithm
    square = w * w
    log = w * (2.0 + square * (2.0 / 3.0 + square * (2.0 / 5.0))) / m
    step = 12.0 * log / (12.0 + log * (6.0 + log)) * s / s1  # 1 − e^−log
    bend = 0.5 * (m - 1.0) * (s2 / s1 - s1 / s) * step
    return step, step * (1.0 + bend) if bend < _STRAIGHT else step


@inlined
def _unit_norm_shares(z, n, m, e, t, enough, digits, powers):
    """z ← max(1 + z/t, 0)^e of the t with Σ max(z + t, 0)^m = 1, from a bound above it; max z = 0, m ≥ 1, e
    is m or m − 1.

    By Halley's method on the norm, which is convex. The first steps take rough powers. The last one leaves an
    error of third order in ``enough``, and needs no new powers: a series moves those before it.
    """
    for _ in range(_ROUGH_STEPS):
        step, x = _step(z, n, t, m, ROUGH, powers)
        t -= x * t
        if abs(step) < _CLOSE:
            break
    for _ in range(100):
        scale = 1.0 / t
        step, x = _step(z, n, t, m, digits, powers)
        t -= x * t
        if -_ROUNDING <= step <= enough:
            break
    linear, constant = (1.0, 0.0) if e == m else (0.0, 1.0)  # a branch would double the loop
    for k in range(n):
        u = 1.0 + z[k] * scale
        q = x / u
        series = 1.0 - 0.25 * (e - 3.0) * q
        series = 1.0 - (e - 2.0) / 3.0 * q * series
        series = 1.0 - 0.5 * (e - 1.0) * q * series
        series = 1.0 - e * q * series
        z[k] = max(powers[k] * u * (u * linear + constant) * series, 0.0) if u > x else 0.0


@inlined
def _bracketed_root(z, n, m, powers):
    """The same for 0 < m < 1, where the sum is not convex: a false position, halved where it sticks."""
    low, high = n ** (-1.0 / m), 1.0
    below, above = -1.0, 1.0
    for step in range(200):
        share = -below / (above - below) if step % 3 else 0.5
        t = low + (high - low) * share
        if not low < t < high:
            t = 0.5 * (low + high)
        s_m, _, _ = _sums_of_powers(z, n, 1.0 / t, m, DOUBLE, powers)
        value = np.log(s_m) + m * np.log(t)
        if value > 0.0:
            high, above = t, value
        else:
            low, below = t, min(value, -SMALLEST)
        if high - low <= 2.0 * np.finfo(np.float64).eps * high:
            break
    return high if above < -below else low


@inlined
def _quadratic_root(z, n, t, enough):
    """The t with Σ max(z + t, 0)² = 1, from a bound above it, by Newton's method on the norm."""
    for _ in range(100):
        s1, s2, _ = power_sums(z, n, t)
        step = (s2 - np.sqrt(s2)) / (s1 * t)
        t -= step * t
        if step <= enough:
            break
    return t


@inlined
def write_shares(z, n, index, values, structure, r):
    """Weights in proportion to ``z``."""
    write_singletons(z, n, 0.0, 1.0 / add_up(z, 0, n), index, values, structure, r)


@inlined
def tolerance(scores):
    """A step of Newton's method after which scores of this type are solved."""
    return 1e-9 if digits_of(scores) == DOUBLE else 1e-5


@inlined
def _select(row, top, scale, depth, index, z):
    """As :func:`within_reach`, of a short row of which much is: without a branch to mispredict."""
    m = np.int64(0)
    for i in range(row.size):
        value = (np.float64(row[i]) - top) * scale
        z[m], index[m] = value, i
        m += value >= -depth
    return m


@inlined
def power_shares(scores, mask, masked, state, r, top, gamma, scale, m, e, index, z, powers):
    """z ← max(z + t, 0)^e up to a factor, where Σ max(z + t, 0)^m = 1 and z = scale·(x − top)/γ.

    Returns their number; ``index`` has their positions.
    """
    unit = min(gamma / scale, np.finfo(np.float64).max)
    t = first_bound(scores, mask, masked, r, top, reciprocal(unit), m) if m >= 1.0 else 1.0
    if m > 2.0 and state == FULL and scores.shape[1] <= _SHORT:
        n = _select(scores[r], top, reciprocal(unit), t, index, z)
    else:
        n, _ = within_reach(scores, mask, masked, state, r, top, unit, t, index, None, z)
    if n == 1 or m == np.inf:
        for k in range(n):
            z[k] = 1.0 if z[k] == 0.0 else 0.0
    elif m == 2.0:
        t = _quadratic_root(z, n, t, tolerance(scores))
        for k in range(n):
            v = max(z[k] + t, 0.0)
            z[k] = v * v if e == m else v
    else:
        fill(z[n : n + _BLOCK], -2.0)  # lower than any threshold
        if m >= 1.0:
            enough = tolerance(scores)
            if m >= 3.0:
                enough *= 300.0 / m
            elif m < 2.0:
                enough = _ROUNDING if digits_of(scores) == DOUBLE else 1e-7
            _unit_norm_shares(z, n, m, e, t, enough, digits_of(scores), powers)
        else:
            t = _bracketed_root(z, n, m, powers)
            for k in range(n):
                z[k] = power_of(z[k] / t, e, DOUBLE)
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
def entmax15_rows(start, stop, scores, mask, masked, gammas, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ·4/3·(Σ y^1.5 − 1).

    With z = (x − max x)/2γ and t = max x/2γ − τ ≤ 1: y = max(z + t, 0)².
    """
    d = scores.shape[1]
    z = np.empty(d + SPARE)
    index, powers = np.empty(d + SPARE, np.int64), np.empty(d + SPARE)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        state, top = init_row(scores, mask, masked, r, is_sound(gamma, SMALLEST), values, structure)
        if state > 0:
            n = power_shares(scores, mask, masked, state, r, top, gamma, 0.5, 2.0, 2.0, index, z, powers)
            write_shares(z, n, index, values, structure, r)


@kernel
def entmax_rows(start, stop, scores, mask, masked, gammas, alphas, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ·(Σ y^α − 1)/(α(α − 1)), α ≥ 1; softmax where α = 1.

    With ε = α − 1, z = ε(x − max x)/γ and t = ε·max x/γ − τ ≤ 1: y = max(z + t, 0)^(1/ε).
    """
    d = scores.shape[1]
    z = np.empty(d + SPARE)
    index, powers = np.empty(d + SPARE, np.int64), np.empty(d + SPARE)
    for r in range(start, stop):
        gamma, alpha = strength_of(gammas, r), strength_of(alphas, r)
        sound = is_sound(gamma, SMALLEST) and is_sound(alpha, 1.0)
        state, top = init_row(scores, mask, masked, r, sound, values, structure)
        if state <= 0:
            continue
        if alpha > 1.0:
            e = 1.0 / (alpha - 1.0)
            n = power_shares(scores, mask, masked, state, r, top, gamma, alpha - 1.0, e, e, index, z, powers)
        else:
            n, _ = within_reach(scores, mask, masked, state, r, top, gamma, _NOTHING_LEFT, index, None, z)
            for k in range(n):
                z[k] = exp_of(z[k], DOUBLE)
        write_shares(z, n, index, values, structure, r)


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
def raise_to(y, n, e, digits):
    """y ← y^e for y in [0, 1], 0 for y = 0; as many as fill the last block are 0 afterwards."""
    if e == 0.5:
        for k in range(n):
            y[k] = np.sqrt(y[k])
    elif e != 1.0:
        fill(y[n : n + _BLOCK], 0.0)
        for k in range((n + _BLOCK - 1) & -_BLOCK):
            power = exp_of(e * log_of(max(y[k], np.finfo(np.float64).tiny), 0.0, digits), digits)
            y[k] = power if y[k] > 0.0 else 0.0


@inlined
def _product_of_row(y, g, s, n, alpha, digits):
    raise_to(y, n, 2.0 - alpha, digits)
    total, total_g = _weighted(y, g, n)
    for k in range(n):
        s[k] = y[k] * (g[k] - total_g / total)


@kernel
def product_rows(start, stop, direction, weights, structure, output, gammas, alphas):
    """(diag(s) − s sᵀ/Σs)/γ times ``direction``, with s = y^(2−α)."""
    multiply_supports(_product_of_row, start, stop, direction, weights, structure, output, gammas, alphas)


entmax15 = on_tensors(entmax15_rows)
entmax = on_tensors(entmax_rows)
_product = product_on_tensors(product_rows)


def product(direction: Tensor, found: Weights, gamma: float | Tensor, alpha: float | Tensor = 1.5) -> Tensor:
    """Jacobian of α-entmax at its weights times ``direction``."""
    return _product(direction, found, gamma, alpha)
