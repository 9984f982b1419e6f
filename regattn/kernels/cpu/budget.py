"""budget: weights from 0 to 1 that sum to k."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.screening import (
    SMALLEST,
    SPARE,
    fill,
    init_row,
    is_sound,
    set_counts,
    strength_of,
    within_reach,
)


@reordered_sum
def _weigh(z, m, tau):
    """Σ clip(z − τ, 0, 1), and how many of these are strictly between 0 and 1."""
    total = inside = 0.0
    for i in range(m):
        u = z[i] - tau
        total += min(max(u, 0.0), 1.0)
        inside += 1.0 if 0.0 < u < 1.0 else 0.0
    return total, inside


_ROUNDS = 24


@inlined
def _root(z, m, k, low):
    """τ with Σ clip(z − τ, 0, 1) = k in [low, 0), by Newton's steps inside a shrinking bracket.

    The sum is piecewise linear, so that the step from the right piece is the last one. On a row made to have
    many pieces on the way the bracket is halved after some rounds.
    """
    tau, high = low, 0.0
    for trial in range(_ROUNDS + 1100):  # there are no more halves of a bracket of floats
        total, inside = _weigh(z, m, tau)
        if total == k:
            break
        if total > k:
            low = tau
        else:
            high = tau
        new = tau + (total - k) / max(inside, 1.0)
        if inside == 0.0 or not low < new < high or trial >= _ROUNDS:
            new = 0.5 * low + 0.5 * high
        if new == tau or new <= low or new >= high:
            break
        tau = new
    return tau


@kernel
def budget_rows(start, stop, scores, mask, masked, gammas, counts, values, structure):
    """argmax of ⟨x, y⟩ − γ/2·‖y‖² over 0 ≤ y ≤ 1, Σ y = k; all 1 where no more than k take part.

    With z = (x − max x)/γ, τ ≥ −k if k ≤ 1. Else a depth is doubled until what it reaches sums to k.
    """
    d, k = scores.shape[1], counts[0]
    z = np.empty(d + SPARE)
    index = np.empty(d + SPARE, np.int64)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        state, top = init_row(scores, mask, masked, r, is_sound(gamma, SMALLEST), values, structure)
        if state <= 0:
            continue
        depth = k if k <= 1.0 else 2.0
        m, n = within_reach(scores, mask, masked, state, r, top, gamma, depth, index, None, z)
        while m < n and _weigh(z, m, -depth)[0] < k:
            depth *= depth
            m, n = within_reach(scores, mask, masked, state, r, top, gamma, depth, index, None, z)
        fill(values[r], 0.0)
        if n <= k:
            for i in range(n):
                values[r, index[i]] = 1.0
            set_counts(structure, r, 0, 0)
            continue
        if m == n:
            depth = 1.0
            for i in range(m):
                depth = max(depth, 1.0 - z[i])
        tau, c = _root(z, m, k, -min(depth, np.finfo(np.float64).max)), 0
        for i in range(m):
            weight = min(z[i] - tau, 1.0)
            if weight > 0.0:
                values[r, index[i]] = weight
                if weight < 1.0:
                    structure[r, 2 + c] = 4 * index[i] + 1
                    c += 1
        set_counts(structure, r, c, c)


budget = on_tensors(budget_rows)
