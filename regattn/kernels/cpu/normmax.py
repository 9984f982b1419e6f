"""normmax, a scalar root, and its derivative."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors, product_on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel
from regattn.kernels.cpu.entmax import power_shares, raise_to, write_shares
from regattn.kernels.cpu.pnormmax import dot
from regattn.kernels.cpu.powers import DOUBLE, exp_of, log_of
from regattn.kernels.cpu.screening import (
    SMALLEST,
    SPARE,
    init_row,
    is_sound,
    multiply_supports,
    strength_of,
)
from regattn.kernels.cpu.sparsemax import add_up


@kernel
def normmax_rows(start, stop, scores, mask, masked, gammas, alphas, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ·‖y‖_α.

    With z = (x − max x)/γ, ε = α − 1 and t = max x/γ − τ ≤ 1: y is in proportion to max(z + t, 0)^(1/ε), and
    Σ max(z + t, 0)^(α/ε) = 1. As α falls to 1, the largest scores share all weight.
    """
    d = scores.shape[1]
    z = np.empty(d + SPARE)
    index, powers = np.empty(d + SPARE, np.int64), np.empty(d + SPARE)
    for r in range(start, stop):
        gamma, alpha = strength_of(gammas, r), strength_of(alphas, r)
        sound = is_sound(gamma, SMALLEST) and is_sound(alpha, 1.0)
        state, top = init_row(scores, mask, masked, r, sound, values, structure)
        if state > 0:
            e = 1.0 / (alpha - 1.0)
            n = power_shares(scores, mask, masked, state, r, top, gamma, 1.0, e + 1.0, e, index, z, powers)
            write_shares(z, n, index, values, structure, r)


@inlined
def _product_of_row(y, g, s, n, alpha, digits):
    per_total = 1.0 / add_up(y, 0, n)  # which rounding may have left beside 1
    for k in range(n):
        s[k] = y[k] = y[k] * per_total
    raise_to(s, n, alpha, digits)
    norm = exp_of(log_of(min(add_up(s, 0, n), 1.0), 0.0, DOUBLE) / alpha, DOUBLE)
    for k in range(n):
        s[k] = min(y[k] / norm, 1.0)
    raise_to(s, n, 2.0 - alpha, digits)
    each = norm / (alpha - 1.0) if alpha > 1.0 else 0.0
    shift = dot(y, g, n)
    for k in range(n):
        s[k] *= each * (g[k] - shift)
    total = add_up(s, 0, n)
    for k in range(n):
        s[k] -= y[k] * total


@kernel
def product_rows(start, stop, direction, weights, structure, output, gammas, alphas):
    """Jacobian of normmax at the solution ``weights`` times ``direction``, with s as in
    :mod:`regattn._normmax`."""
    multiply_supports(_product_of_row, start, stop, direction, weights, structure, output, gammas, alphas)


normmax = on_tensors(normmax_rows)
product = product_on_tensors(product_rows)
