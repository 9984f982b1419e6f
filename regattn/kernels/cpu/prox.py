"""The proximal operators and the isotonic regression that the mappings are made of."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel
from regattn.kernels.cpu.screening import BAD, fill, init_row, set_counts, strength_of, within_reach
from regattn.kernels.cpu.sorting import SOME, pool, sort_descending
from regattn.kernels.cpu.sparsemax import add_up


# ------------------------------------------------------------------ the taut string
@inlined
def off_the_ends(z, start, stop, left, right, lam):
    """Take ``left`` and ``right`` off the ends of a run; its mean then, and whether all is one segment.

    That is so where the cumulative sum stays within λ of a straight line.
    """
    z[start] -= left
    z[stop - 1] -= right
    mean = add_up(z, start, stop) / (stop - start)
    room = lam * (1.0 + 1e-15 * (stop - start))  # what touches the walls does, whatever rounding says
    away, k = z[start] - mean, start + 1
    while k < stop and abs(away) <= room:
        away += z[k] - mean
        k += 1
    return mean, k == stop


_MONOTONE = 16  # single scores in a row after which a monotone stretch is looked for


@inlined
def taut_string(z, start, stop, left, right, lam, level, size, m, chain, length):
    """Append the segments of P_TV(z[start:stop]), ``left`` and ``right`` first taken off its ends.

    The cumulative sum of the solution is the shortest path from (0, 0) to (n, S_n) inside a tube of
    half-width λ around the cumulative sum S of the data (closed at both ends); its bends are the
    ends of the segments. From the last bend on, which is ``offset`` off S, the convex minorant of the
    tube's upper wall (row 0) and the concave majorant of its lower wall (row 1) are kept as pieces
    with a rise and a length, the last piece of each in variables. When one wall is a single piece
    and is passed by the first piece of the other, that piece becomes path. Each point enters and
    leaves a wall once: O(n).
    """
    n = stop - start
    mean, whole = off_the_ends(z, start, stop, left, right, lam)
    if whole:
        level[m], size[m] = mean, n
        return m + 1
    bend, offset, single, looked, k = np.int64(0), 0.0, 0, 0, 0
    head_0 = tail_0 = head_1 = tail_1 = 0
    rise_0 = length_0 = rise_1 = length_1 = 0.0
    while k < n:
        rise = z[start + k] - mean
        end = lam if k == n - 1 else 0.0
        k += 1
        if k == bend + 1:
            head_0 = tail_0 = head_1 = tail_1 = 0
            rise_0, rise_1 = rise + lam - offset - end, rise - lam - offset + end
            length_0 = length_1 = 1.0
            continue
        upwards = (rise - end) * length_0 > rise_0
        if upwards:
            chain[0, tail_0], length[0, tail_0] = rise_0, length_0
            tail_0 += 1
            rise_0, length_0 = rise - end, 1.0
        downwards = (rise + end) * length_1 < rise_1
        if downwards:
            chain[1, tail_1], length[1, tail_1] = rise_1, length_1
            tail_1 += 1
            rise_1, length_1 = rise + end, 1.0
        if not upwards:
            rise_0 += rise - end
            length_0 += 1.0
            while tail_0 > head_0 and rise_0 * length[0, tail_0 - 1] <= chain[0, tail_0 - 1] * length_0:
                tail_0 -= 1
                rise_0 += chain[0, tail_0]
                length_0 += length[0, tail_0]
            if tail_0 == head_0:
                while head_1 < tail_1 and rise_0 * length[1, head_1] < chain[1, head_1] * length_0:
                    v = bend + int(length[1, head_1])
                    rise_0 -= chain[1, head_1]
                    length_0 -= length[1, head_1]
                    head_1 += 1
                    single = single + 1 if v == bend + 1 and offset < 0.0 else 0
                    m = _segment(z, start, bend, v, offset, -lam, level, size, m)
                    bend, offset = v, -lam
        if not downwards:
            rise_1 += rise + end
            length_1 += 1.0
            while tail_1 > head_1 and rise_1 * length[1, tail_1 - 1] >= chain[1, tail_1 - 1] * length_1:
                tail_1 -= 1
                rise_1 += chain[1, tail_1]
                length_1 += length[1, tail_1]
            if tail_1 == head_1:
                while head_0 < tail_0 and rise_1 * length[0, head_0] > chain[0, head_0] * length_1:
                    v = bend + int(length[0, head_0])
                    rise_1 -= chain[0, head_0]
                    length_1 -= length[0, head_0]
                    head_0 += 1
                    single = single + 1 if v == bend + 1 and offset > 0.0 else 0
                    m = _segment(z, start, bend, v, offset, lam, level, size, m)
                    bend, offset = v, lam
        if single >= _MONOTONE and bend >= looked:
            looked, stretch = _monotone_run(z, start, bend, n, offset, lam)
            single = 0
            if k <= looked and stretch > 0:
                levels, sizes, data = level[m : m + stretch], size[m : m + stretch], z[start + bend : stop]
                for i in range(stretch):
                    levels[i] = data[i]
                    sizes[i] = 1.0
                m += stretch
                bend += stretch
                k = bend
    return _segment(z, start, bend, n, offset, 0.0, level, size, m)


@inlined
def _monotone_run(z, start, bend, n, offset, lam):
    """End of the monotone stretch after a bend, and how many of its scores are segments of their own.

    Where the data rise after a bend at the upper wall (or fall after one at the lower), that wall is
    convex and the path follows it, until what is left of the stretch lets the other wall pass.
    """
    sign = 1.0 if offset > 0.0 else -1.0
    data = z[start : start + n]
    stop = bend + 1
    while stop < n and sign * data[stop] > sign * data[stop - 1]:
        stop += 1
    room, away, last = lam if stop == n else 2.0 * lam, 0.0, stop - 1
    while last > bend and away <= room:
        last -= 1
        away += (stop - 1 - last) * (sign * (data[last + 1] - data[last]))
    return stop, last + 1 - bend if away > room else 0


@inlined
def _segment(z, start, i, j, offset_i, offset_j, level, size, m):
    """Append the segment (i, j] of a path that is ``offset`` off the data's cumulative sum at its ends.

    The level is a mean of the data, not a difference of long sums; the path rises more steeply
    after touching the upper wall (offset > 0) and less after the lower, whatever rounding says.
    """
    total = offset_j - offset_i
    for k in range(i, j):
        total += z[start + k]
    level[m] = total / (j - i)
    if offset_i > 0.0:
        level[m] = max(level[m], level[m - 1])
    elif offset_i < 0.0:
        level[m] = min(level[m], level[m - 1])
    size[m] = j - i
    return m + 1


# ------------------------------------------------------------------ on rows
@inlined
def _present(scores, mask, masked, r, values, structure, index, rank, z):
    """Shift what takes part of a row by its maximum; return how many that are, and the maximum."""
    state, top = init_row(scores, mask, masked, r, True, values, structure)
    if state <= 0:
        fill(values[r], np.nan if state == BAD else -np.inf)
        return 0, top
    m, _ = within_reach(scores, mask, masked, state, r, top, 1.0, np.inf, index, rank, z)
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
    z, level, size = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1)
    index, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    chain, length = np.empty((2, d + 1)), np.empty((2, d + 1))
    for r in range(start, stop):
        m, top = _present(scores, mask, masked, r, values, structure, index, rank, z)
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
    z, size = np.empty(d + 1), np.empty(d + 1)
    index, rank = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    sign = 1.0 if decreasing[0] else -1.0
    for r in range(start, stop):
        m, top = _present(scores, mask, masked, r, values, structure, index, rank, z)
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
    z, size = np.empty(d + 1), np.empty(d + 1)
    index, rank, item = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    spare, where = np.empty(SOME), np.empty(SOME, np.int64)
    for r in range(start, stop):
        m, _ = _present(scores, mask, masked, r, values, structure, index, rank, z)
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
