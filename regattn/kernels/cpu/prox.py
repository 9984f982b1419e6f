"""The proximal operators and the isotonic regression that the mappings are made of."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel
from regattn.kernels.cpu.screening import BAD, SPARE, fill, init_row, set_counts, strength_of, within_reach
from regattn.kernels.cpu.sorting import SOME, pool, sort_descending
from regattn.kernels.cpu.total_variation import taut_string


@inlined
def _present(scores, mask, masked, r, values, structure, index, z):
    """Shift what takes part of a row by its maximum; return how many that are, and the maximum."""
    state, top = init_row(scores, mask, masked, r, True, values, structure)
    if state <= 0:
        fill(values[r], np.nan if state == BAD else -np.inf)
        return 0, top
    m, _ = within_reach(scores, mask, masked, state, r, top, 1.0, np.inf, index, None, z)
    if m < scores.shape[1]:
        fill(values[r], -np.inf)
    return m, top


@inlined
def _expand(index, level, size, blocks, offset, values, structure, r):
    """Write one value for each block of consecutive members."""
    c = 0
    for b in range(blocks):
        for k in range(int(size[b])):
            values[r, index[c]] = level[b] + offset
            structure[r, 2 + c] = 4 * index[c] + (k == 0)
            c += 1
    set_counts(structure, r, c, blocks)


@kernel
def prox_tv1d_rows(start, stop, scores, mask, masked, lams, values, structure):
    """argmin of ½‖y − x‖² + λ Σ|y_{i+1} − y_i|."""
    d = scores.shape[1]
    z, level, size = np.empty(d + SPARE), np.empty(d + SPARE), np.empty(d + SPARE)
    index = np.empty(d + SPARE, np.int64)
    chain, length = np.empty((2, d + 1)), np.empty((2, d + 1))
    for r in range(start, stop):
        m, top = _present(scores, mask, masked, r, values, structure, index, z)
        lam, segments = strength_of(lams, r), 0
        if lam == 0.0:
            for i in range(m):
                level[i], size[i] = z[i], 1
            segments = m
        elif m > 0:
            segments = taut_string(z, 0, m, 0.0, 0.0, lam, level, size, 0, chain, length)
        if m > 0:
            _expand(index, level, size, segments, top, values, structure, r)


@kernel
def isotonic_regression_rows(start, stop, scores, mask, masked, decreasing, values, structure):
    """argmin of ‖y − x‖² over y_1 ≤ y_2 ≤ … (≥ if ``decreasing``)."""
    d = scores.shape[1]
    z, size = np.empty(d + SPARE), np.empty(d + SPARE)
    index = np.empty(d + SPARE, np.int64)
    sign = 1.0 if decreasing[0] else -1.0
    for r in range(start, stop):
        m, top = _present(scores, mask, masked, r, values, structure, index, z)
        for i in range(m):
            z[i], size[i] = sign * z[i], 1
        blocks = pool(z, size, m)
        for b in range(blocks):
            z[b] = sign * (z[b] / size[b])
        if m > 0:
            _expand(index, z, size, blocks, top, values, structure, r)


@kernel
def prox_oscar_rows(start, stop, scores, mask, masked, lams, values, structure):
    """argmin of ½‖y − x‖² + λ Σ_{i<j} max(|y_i|, |y_j|)."""
    d = scores.shape[1]
    z, size = np.empty(d + SPARE), np.empty(d + SPARE)
    index, item = np.empty(d + SPARE, np.int64), np.empty(d + SPARE, np.int64)
    spare, where = np.empty(SOME), np.empty(SOME, np.int64)
    for r in range(start, stop):
        m, _ = _present(scores, mask, masked, r, values, structure, index, z)
        lam = strength_of(lams, r)
        for i in range(m):
            z[i], item[i] = abs(np.float64(scores[r, index[i]])), i
        sort_descending(z, item, 0, m, spare, where)
        for i in range(m):
            z[i], size[i] = z[i] - lam * (m - 1 - i), 1
        blocks = pool(z, size, m) if lam > 0.0 else m
        c = groups = i = 0
        for b in range(blocks):
            value, last = max(z[b] / size[b], 0.0), i + int(size[b])
            counts = value > 0.0 or lam == 0.0
            groups += counts
            for k in range(i, last):
                at = index[item[k]]
                negative = scores[r, at] < 0.0
                values[r, at] = -value if negative else value
                if counts:
                    structure[r, 2 + c] = 4 * at + 2 * negative + (k == i)
                    c += 1
            i = last
        if m > 0:
            set_counts(structure, r, c, groups)


prox_tv1d = on_tensors(prox_tv1d_rows)
prox_oscar = on_tensors(prox_oscar_rows)
isotonic_regression = on_tensors(isotonic_regression_rows)
