"""Reading a row: its state, its maximum, the scores that may get a weight, the list of those that got one."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu.compiling import frame, inlined, kernel
from regattn.kernels.cpu.powers import digits_of
from regattn.kernels.cpu.vectors import (
    count_flags,
    first_flag,
    ordered_key,
    prefetch,
    same_bits,
    where_at_least,
    where_true,
)

INVALID = -1
BAD, EMPTY, GAPS, FULL = -1, 0, 1, 2
NO_MASK = np.zeros((1, 1), np.bool_)  # beside ``masked`` = False
SMALLEST = 5e-324
LONG = 16  # scores for which a call is nothing
MANY = 128  # survivors for which another look in vector instructions pays
SPARE = 64  # entries of an array beyond those of a row, so that vector instructions may read past these
_AHEAD = 1024  # scores: what is read so much later is fetched now
_AT_ONCE = 8  # positions that are written at once, since the end of a loop is mispredicted


@inlined
def scan_row(scores, mask, masked, r, sound):
    """State of a row, bad if its strengths are not ``sound``, and its largest score.

    By way of integers, because a maximum of floats is not vectorised.
    """
    row, flags = scores[r], mask[r if masked else 0]
    infinite = ordered_key(same_bits(scores.dtype.type(np.inf)))
    absent = ordered_key(same_bits(scores.dtype.type(-np.inf)))
    high, low = absent, infinite
    if masked:
        for i in range(row.size):
            key = ordered_key(same_bits(row[i])) if flags[i] else absent
            high, low = max(high, key), min(low, key)
    else:
        for i in range(row.size):
            key = ordered_key(same_bits(row[i]))
            high, low = max(high, key), min(low, key)
    if not sound or high >= infinite or low < absent:  # NaN lies beyond the infinities, on either side
        return BAD, 0.0
    if high == absent:
        return EMPTY, 0.0
    return GAPS if masked or low == absent else FULL, np.float64(same_bits(ordered_key(high)))


@inlined
def score_floor(scores, top, depth):
    """A number of the scores' type, finite, and for certain not above ``top − depth``."""
    info = np.finfo(scores.dtype)
    floor = top - depth
    return scores.dtype.type(max(floor - 2.0 * info.eps * abs(floor), np.float64(info.min)))


@inlined
def survivors(scores, mask, masked, gaps, r, floor, index, rank):
    """Positions whose score is at least ``floor``, and their ranks among those that take part.

    ``rank`` is None if nobody wants them; where there are no ``gaps``, ``index`` itself has them. Returns the
    number of survivors and of positions that take part.
    """
    d = scores.shape[1]
    lowest = scores.dtype.type(np.finfo(scores.dtype).min)
    m = n = 0
    for begin in range(0, d, 64):
        offset, count = r * d + begin, min(64, d - begin)
        for ahead in range(_AHEAD, _AHEAD + 64, 16):
            prefetch(scores, offset + ahead)
        survive = where_at_least(scores, offset, count, floor)
        present = ~np.uint64(0)
        if gaps:
            present = where_at_least(scores, offset, count, lowest)
            if masked:
                present &= where_true(mask, offset, count)
            survive &= present
        if survive == ~np.uint64(0):
            positions = index[m : m + 64]  # a range from 0 is vectorised
            for i in range(64):
                positions[i] = begin + i
            if rank is not None and gaps:
                ranks = rank[m : m + 64]
                for i in range(64):
                    ranks[i] = n + i
            m += 64
        else:
            k = m
            m += count_flags(survive)
            while survive != np.uint64(0):
                for i in range(_AT_ONCE):
                    at = first_flag(survive) & 63
                    index[k + i] = begin + at
                    if rank is not None and gaps:
                        before = (np.uint64(1) << np.uint64(at)) - np.uint64(1)
                        rank[k + i] = n + count_flags(present & before)
                    survive &= survive - np.uint64(1)
                k += _AT_ONCE
        n += count_flags(present) if gaps else 64
    return m, n if gaps else d


@kernel
def support_rows(start, stop, weights, structure):
    """The structure of weights above 0 that nothing ties to each other."""
    info = np.finfo(weights.dtype)
    smallest = weights.dtype.type(np.float64(info.tiny) * np.float64(info.eps))
    index = np.empty(weights.shape[1] + SPARE, np.int64)
    for r in range(start, stop):
        n, _ = survivors(weights, NO_MASK, False, False, r, smallest, index, None)
        for k in range(n):
            structure[r, 2 + k] = 4 * index[k] + 1
        n = INVALID if np.isnan(weights[r, 0]) else n
        set_counts(structure, r, n, n)


@inlined
def look_ahead(direction, weights, structure, r, stop):
    """Have the members of rows to come brought near: they lie where no processor would look for them."""
    far, near = r + 16, r + 4
    if far < stop:
        offset = far * structure.shape[1]
        prefetch(structure, offset)
        prefetch(structure, offset + 31)
    if near < stop and 8 * structure[near, 0] < direction.shape[1]:  # else rows are read as a whole
        for k in range(structure[near, 0]):
            offset = near * direction.shape[1] + (structure[near, 2 + k] >> 2)
            prefetch(direction, offset)
            if weights is not None:
                prefetch(weights, offset)


@frame
def multiply_supports(product_of_row, start, stop, direction, weights, structure, output, gammas, strengths):
    """Products with Jacobians that weights determine: 0 outside of the support, NaN if a row is bad.

    γ times those on the support is s ← ``product_of_row(y, g, s, n, strength, digits)``, with n weights y and
    direction g.
    """
    d = direction.shape[1]
    y, g, s = np.empty(d + SPARE), np.empty(d + SPARE), np.empty(d + SPARE)
    for r in range(start, stop):
        look_ahead(direction, weights, structure, r, stop)
        n = np.int64(structure[r, 0])
        entries = structure[r, 2 : 2 + max(n, 0)]
        for k in range(entries.size):
            at = np.uint64(entries[k] >> 2)
            y[k], g[k] = weights[r, at], direction[r, at]
        fill(output[r], np.nan if n == INVALID else 0.0)
        if n > 0:
            product_of_row(y, g, s, n, strength_of(strengths, r), digits_of(weights))
            scale = 1.0 / strength_of(gammas, r)
            for k in range(entries.size):
                output[r, np.uint64(entries[k] >> 2)] = scale * s[k]


@inlined
def count_present(scores, mask, masked, r, lowest):
    d, n = scores.shape[1], 0
    for begin in range(0, d, 64):
        offset, count = r * d + begin, min(64, d - begin)
        present = where_at_least(scores, offset, count, lowest)
        if masked:
            present &= where_true(mask, offset, count)
        n += count_flags(present)
    return n


@inlined
def _shift(scores, r, top, gamma, depth, index, rank, m, z):
    """z ← (score − top)/γ of the survivors that reach −depth; returns their number."""
    scale = reciprocal(gamma)
    dropped = False
    if m == scores.shape[1]:  # without going by way of ``index``, in vector instructions
        row = scores[r]
        for k in range(row.size):
            value = (np.float64(row[k]) - top) * scale
            dropped |= value < -depth
            z[k] = value
    else:
        for k in range(m):
            value = (np.float64(scores[r, index[k]]) - top) * scale
            dropped |= value < -depth
            z[k] = value
    if not dropped:
        return m
    kept = 0
    for k in range(m):
        # by way of scalars: reading back what was just stored costs more than all the rest
        value, p = z[k], index[k]
        z[kept], index[kept] = value, p
        if rank is not None:
            q = rank[k]
            rank[kept] = q
        kept += value >= -depth
    return kept


@inlined
def within_reach(scores, mask, masked, state, r, top, gamma, depth, index, rank, z):
    """z ← (score − top)/γ of the positions that reach −depth, and which these are.

    Returns their number and that of the positions that take part.
    """
    floor = score_floor(scores, top, gamma * depth)
    m, n = survivors(scores, mask, masked, state == GAPS, r, floor, index, rank)
    return _shift(scores, r, top, gamma, depth, index, rank, m, z), n


@inlined
def fill(row, value):
    for i in range(row.size):
        row[i] = value


@inlined
def set_counts(structure, r, members, groups):
    structure[r, 0], structure[r, 1] = members, groups


@inlined
def init_row(scores, mask, masked, r, sound, values, structure):
    """State of a row and its largest score, as :func:`scan_row`; writes what needs no solution."""
    state, top = scan_row(scores, mask, masked, r, sound)
    if state <= 0:
        fill(values[r], np.nan if state == BAD else 0.0)
        set_counts(structure, r, INVALID if state == BAD else 0, 0)
    return state, top


@inlined
def write_singletons(z, n, tau, scale, index, values, structure, r):
    """Weights (z − τ)·scale where that is above 0, every position its own group."""
    fill(values[r], 0.0)
    c = 0
    for k in range(n):
        weight, at = (z[k] - tau) * scale, index[k]
        values[r, at] = max(weight, 0.0)
        structure[r, 2 + c] = 4 * at + 1  # written over by the next one if it is not in the support
        c += weight > 0.0
    set_counts(structure, r, c, c)


@inlined
def strength_of(strengths, r):
    return strengths[r if strengths.size > 1 else 0]


@inlined
def reciprocal(gamma):
    return min(1.0 / gamma, np.finfo(np.float64).max)  # finite, since 0 is multiplied by it


@inlined
def is_sound(strength, lowest):
    return lowest <= strength < np.inf


@inlined
def load_row(scores, mask, masked, r, gammas, lams, values, structure):
    """γ and λ of a row, and what :func:`init_row` says of it."""
    gamma, lam = strength_of(gammas, r), strength_of(lams, r)
    sound = is_sound(gamma, SMALLEST) and is_sound(lam, 0.0)
    state, top = init_row(scores, mask, masked, r, sound, values, structure)
    return gamma, lam, state, top
