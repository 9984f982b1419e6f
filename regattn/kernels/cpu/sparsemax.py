"""Projection on the simplex, and sparsemax."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors
from regattn.kernels.cpu.compiling import called, inlined, kernel, reordered_sum
from regattn.kernels.cpu.screening import (
    SMALLEST,
    SPARE,
    init_row,
    is_sound,
    strength_of,
    within_reach,
    write_singletons,
)
from regattn.kernels.cpu.sorting import heap_sort
from regattn.kernels.cpu.vectors import FEW, few_support_sums, same_bits, sums_above, support_sums


@reordered_sum
def add_up(numbers, start, stop):
    part, total = numbers[start:stop], 0.0  # a range from 0 is vectorised
    for i in range(part.size):
        total += part[i]
    return total


@inlined
def largest(sign, numbers, n):
    """max of sign·number, if that is nowhere negative; as integers, since a maximum of floats is not
    vectorised."""
    largest = same_bits(0.0)
    for i in range(n):
        largest = max(largest, same_bits(sign * numbers[i]))
    return same_bits(largest)


@reordered_sum
def _above(level, size, n, tau):
    """Σ size·level and Σ size of the levels above τ; without sizes these are 1."""
    total = count = 0.0
    if size is None:  # half of the memory to read
        for i in range(n):
            above = level[i] > tau
            total += level[i] if above else 0.0
            count += 1.0 if above else 0.0
    else:
        for i in range(n):
            weight = size[i] if level[i] > tau else 0.0
            total += weight * level[i]
            count += weight
    return total, count


_ROUNDS = 24
_SOME = 64  # scores: more take loops
_GUESS = -0.5  # at the threshold of scores whose maximum is 0


@inlined
def threshold(level, size, n, tau, key, item):
    """τ with Σ size·max(level − τ, 0) = 1, from a lower bound on it.

    The threshold of a superset of the support drops some of it, until none is dropped.
    That takes a handful of rounds, except on rows made for it; these are sorted.
    """
    if 0 < n <= FEW:
        total, count = few_support_sums(level, size, n) if 2 * n <= FEW else support_sums(level, size, n)
        return (total - 1.0) / count
    count = np.inf
    for _ in range(_ROUNDS):
        total, kept = _above(level, size, n, tau)
        if kept == count or kept == 0.0:
            return tau
        count, tau = kept, (total - 1.0) / kept
    return _threshold_by_sorting(level, size, n, key, item)


@called
def _threshold_by_sorting(level, size, n, key, item):
    for i in range(n):
        key[i], item[i] = level[i], i
    heap_sort(key, item, n)
    total, count = -1.0, 0.0
    while n > 0 and key[n - 1] * count > total:
        weight = 1.0 if size is None else size[item[n - 1]]
        total += weight * key[n - 1]
        count += weight
        n -= 1
    return total / count


@inlined
def simplex_threshold(z, m, key, item):
    """As :func:`threshold`, of scores whose maximum is 0.

    In blocks of vectors where they are too many to be compared and too few for long loops.
    """
    if not FEW < m <= _SOME:
        return threshold(z, None, m, -1.0 - 1e-15, key, item)
    total, count = sums_above(z, m, _GUESS)  # any set gives a lower bound, so that the guess may be too high
    kept = np.inf
    while True:
        tau = (total - 1.0) / count
        total, count = sums_above(z, m, tau)
        if count >= kept:  # more by rounding alone
            return tau
        kept = count


@inlined
def singletons(z, m, index, values, structure, r, key, item):
    """Project the survivors on the simplex, every position its own group."""
    tau = simplex_threshold(z, m, key, item)
    write_singletons(z, m, tau, 1.0, index, values, structure, r)


@kernel
def sparsemax_rows(start, stop, scores, mask, masked, gammas, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖²; τ ≥ max x/γ − 1."""
    d = scores.shape[1]
    z, key = np.empty(d + SPARE), np.empty(d + SPARE)
    index, item = np.empty(d + SPARE, np.int64), np.empty(d + SPARE, np.int64)
    for r in range(start, stop):
        gamma = strength_of(gammas, r)
        sound = is_sound(gamma, SMALLEST)
        state, top = init_row(scores, mask, masked, r, sound, values, structure)
        if state > 0:
            m, _ = within_reach(scores, mask, masked, state, r, top, gamma, 1.0, index, None, z)
            singletons(z, m, index, values, structure, r, key, item)


sparsemax = on_tensors(sparsemax_rows)
