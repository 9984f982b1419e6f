"""The same on a long run, of which only what lies above a level is wanted."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu.compiling import called
from regattn.kernels.cpu.prox import off_the_ends, taut_string
from regattn.kernels.cpu.screening import MANY
from regattn.kernels.cpu.sparsemax import add_up
from regattn.kernels.cpu.vectors import first_flag, where_at_least


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
