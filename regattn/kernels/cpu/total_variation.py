"""The proximal operator of total variation on a run of scores: all of it, or what lies above a level."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu.compiling import called, inlined
from regattn.kernels.cpu.screening import MANY
from regattn.kernels.cpu.sparsemax import add_up
from regattn.kernels.cpu.vectors import first_flag, where_at_least


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


# ------------------------------------------------------------------ level sets
@called
def _gains(z, start, stop, floor, lam, gain):
    """What each score, with the best of those after it, adds to {P_TV(z) > floor}, its own cut not counted.

    From the end each takes on what is after it, between −λ and λ: beyond these it is better cut off.
    """
    part = (stop - start) // 4
    a, b, c, e = start + part, start + 2 * part, start + 3 * part, stop
    after = 0.0
    while e > start + 4 * part:
        e -= 1
        after = gain[e] = min(max(after, -lam), lam) + (z[e] - floor)
    # Four parts at once, as if nothing were after them, for each addition waits for the one before;
    u = v = w = 0.0
    for k in range(1, part + 1):
        u = gain[a - k] = min(max(u, -lam), lam) + (z[a - k] - floor)
        v = gain[b - k] = min(max(v, -lam), lam) + (z[b - k] - floor)
        w = gain[c - k] = min(max(w, -lam), lam) + (z[c - k] - floor)
        after = gain[e - k] = min(max(after, -lam), lam) + (z[e - k] - floor)
    for end in (c, b, a):  # which holds again from where a bound was met.
        k = end
        while k > start:
            after = min(max(gain[k], -lam), lam) + (z[k - 1] - floor)
            if after == gain[k - 1]:
                break
            k -= 1
            gain[k] = after


@called
def _next_at_least(numbers, k, stop, floor):
    while k < stop:
        flags = where_at_least(numbers, k, min(64, stop - k), floor)
        if flags != np.uint64(0):
            return k + first_flag(flags)
        k += 64
    return stop


@called
def _next_below(numbers, k, stop, floor):
    while k < stop:
        flags = ~where_at_least(numbers, k, min(64, stop - k), floor)
        if flags != np.uint64(0):
            return min(k + first_flag(flags), stop)
        k += 64
    return stop


@called
def append_string(z, start, stop, left, right, lam, level, size, first, m, chain, length):
    """Append the segments of P_TV and where each begins."""
    end = taut_string(z, start, stop, left, right, lam, level, size, m, chain, length)
    for s in range(m, end):
        first[s] = start
        start += int(size[s])
    return end


@called
def _trend(z, start, stop):
    """1 where the scores rise throughout, −1 where they fall, else 0."""
    rise = fall = True
    for begin in range(start, stop - 1, 64):
        before, after = z[begin : min(begin + 64, stop - 1)], z[begin + 1 : min(begin + 65, stop)]
        for k in range(after.size):
            rise &= after[k] > before[k]
            fall &= after[k] < before[k]
        if not (rise or fall):
            return 0
    return 1 if rise else -1


@called
def _ramp(z, start, stop, sign, left, right, lam, floor, level, size, first, m):
    """The segments above ``floor`` where the scores rise (``sign`` 1) or fall: λ levels off either end.

    Returns ``m`` and nothing done where the two ends meet.
    """
    low, high, p, away = lam - sign * left, lam + sign * right, start + 1, 0.0
    while p < stop:
        away += (p - start) * (sign * (z[p] - z[p - 1]))
        if away > low:
            break
        p += 1
    q, away = stop - 1, 0.0
    while q >= p:
        away += (stop - q) * (sign * (z[q] - z[q - 1]))
        if away > high:
            break
        q -= 1
    if q < p:
        return m
    # min, max: rounding must not put an end beyond what it levels off to
    bottom = sign * min(sign * ((add_up(z, start, p) + sign * low) / (p - start)), sign * z[p])
    summit = sign * max(sign * ((add_up(z, q, stop) - sign * high) / (stop - q)), sign * z[q - 1])
    if p == q and sign * (summit - bottom) <= 0.0:
        return m
    level[m], size[m], first[m] = bottom, p - start, start
    m += bottom > floor
    for k in range(p, q):
        level[m], size[m], first[m] = z[k], 1.0, k
        m += z[k] > floor
    level[m], size[m], first[m] = summit, stop - q, q
    m += summit > floor
    return m


@called
def _parted_string(z, start, stop, left, right, lam, gain, level, size, first, m, chain, length):
    """As above, but parted first where P_TV passes the mean: often the parts are one segment each."""
    mean, whole = off_the_ends(z, start, stop, left, right, lam)
    if whole:
        level[m], size[m], first[m] = mean, stop - start, start
        return m + 1
    _gains(z, start, stop, mean, lam, gain)
    begin, above = start, gain[start] > 0.0
    while begin < stop:
        end = (
            _next_below(gain, begin + 1, stop, -lam) if above else _next_at_least(gain, begin + 1, stop, lam)
        )
        pull = lam if above else -lam
        left, right = 0.0 if begin == start else pull, 0.0 if end == stop else pull
        old, m = m, append_string(z, begin, end, left, right, lam, level, size, first, m, chain, length)
        for s in range(old, m):  # rounding must not put a part on the other side
            level[s] = max(level[s], mean) if above else min(level[s], mean)
        begin, above = end, not above
    return m


@called
def long_run(z, start, stop, left, right, lam, floor, gain, level, size, first, m, chain, length):
    """Append the segments of P_TV(z[start:stop]) above ``floor``, ``left`` and ``right`` taken off its ends.

    What is not above it separates the rest, as what was screened out does. As part of fusedmax's own
    code a taut string would take twice the time.
    """
    sign = _trend(z, start, stop)
    if sign != 0:
        segments = _ramp(z, start, stop, sign, left, right, lam, floor, level, size, first, m)
        if segments > m:
            return segments
    mean, whole = off_the_ends(z, start, stop, left, right, lam)
    if whole:
        level[m], size[m], first[m] = mean, stop - start, start
        return m + 1
    _gains(z, start, stop, floor, lam, gain)
    begin = start if gain[start] > 0.0 else _next_at_least(gain, start + 1, stop, lam)
    while begin < stop:
        end = _next_below(gain, begin + 1, stop, -lam)
        left, right = 0.0 if begin == start else lam, 0.0 if end == stop else lam
        following = _next_at_least(gain, end, stop, lam)
        if end < begin + MANY:
            m = append_string(z, begin, end, left, right, lam, level, size, first, m, chain, length)
        else:
            m = _parted_string(z, begin, end, left, right, lam, gain, level, size, first, m, chain, length)
        begin = following
    return m
