"""oscarmax: the simplex, with a penalty on differences between all pairs."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors, slope_on_tensors
from regattn.kernels.cpu.compiling import called, inlined, kernel, reordered_sum
from regattn.kernels.cpu.screening import (
    FULL,
    GAPS,
    INVALID,
    MANY,
    SPARE,
    count_present,
    fill,
    load_row,
    score_floor,
    set_counts,
    within_reach,
)
from regattn.kernels.cpu.sorting import SOME, heap_sort, pool, sort_by_counting, sort_descending
from regattn.kernels.cpu.sparsemax import add_up, largest, singletons
from regattn.kernels.cpu.vectors import first_flag, where_at_least

_FEW = 16  # survivors that are not looked at again
_PER_BUCKET = 24
_STRIDE = 32  # positions that are written at once
_CAREFUL = 0.95  # since what is left out changes mean and variance


@inlined
def _penalties(lam, n, start, stop):
    """λ(n−1−start) + … + λ(n−stop): what the ranks from ``start`` to ``stop`` lose."""
    return lam * (stop - start) * (n - 0.5 * (start + stop + 1))


@inlined
def _depth(scores, mask, masked, r, top, gamma, lam, n):
    """How far under the maximum a score gets a weight: of those that are among the m largest each loses at
    least λ(n − m), and τ is at least what the maximum alone attains, −1 − λ(n − 1).

    Returns that, and a bound on how many there are.
    """
    m, depth = n, 1.0 + lam * (n - 1)
    while m > _FEW:
        kept = count_present(scores, mask, masked, r, score_floor(scores, top, gamma * depth))
        if 4 * kept > 3 * m:
            break
        m, depth = kept, (1.0 + lam * (kept - 1)) * (1.0 + 1e-12)
    return depth, m


@inlined
def _is_one_group(scores, mask, masked, r, top, gamma, lam, n):
    """Whether all scores lie within λn/2 of each other."""
    floor = top - gamma * (0.5 * lam * n)
    floor += 2.0 * np.finfo(scores.dtype).eps * abs(floor)  # of the scores' type, and for certain not below
    return count_present(scores, mask, masked, r, scores.dtype.type(floor)) == n


@called
def _write_one_group(index, n, values, structure, r):
    entries = structure[r, 2 : 2 + n]
    if n == values.shape[1]:
        fill(values[r], 1.0 / n)
        for k in range(entries.size):
            entries[k] = 4 * k
    else:
        fill(values[r], 0.0)
        for k in range(entries.size):
            values[r, index[k]] = 1.0 / n
            entries[k] = 4 * index[k]
    entries[0] += 1
    set_counts(structure, r, n, 1)


@reordered_sum
def _moments(z, m, low, high):
    """Σ 1, Σ z and Σ z² of the scores between two bounds."""
    count = total = squares = 0.0
    for k in range(m):
        inside = low <= z[k] < high
        value = z[k] if inside else 0.0
        count += 1.0 if inside else 0.0
        total += value
        squares += value * value
    return count, total, squares


@inlined
def _half_width(count, total, squares, lam):
    """How far from their mean scores may lie so that no group ends among them.

    The sum of the j largest of c scores exceeds j times the mean by at most jh, (c − j)h and σ√(j(c − j)), if
    none is further than h from it and σ² is their variance; their penalties fall short of a straight line by
    λj(c − j)/2. With w = 2h/λ, that is more for every j if w(c − w) ≥ 4σ²/λ² or w ≤ c/2.
    """
    variance = squares / count - (total / count) ** 2
    rest = 1.0 - 16.0 * variance / (lam * count) ** 2
    return 0.25 * lam * count * (1.0 + np.sqrt(max(rest, 0.0)))


@inlined
def _between(z, begin, m, low, above):
    """64 flags: which scores from ``begin`` on are at least ``low`` and below ``above``."""
    count = min(64, m - begin)
    return where_at_least(z, begin, count, low) & ~where_at_least(z, begin, count, above)


@called
def _sort_around(z, m, lam, key, order, item, end, sums, spare, where):
    """Order the scores as some large ones, a part in which no group ends, and some small ones.

    Returns the number of parts; 0 if most scores are not such a part.
    """
    count, total, squares = _moments(z, m, -np.inf, np.inf)
    mean, width = total / count, _CAREFUL * _half_width(count, total, squares, lam)
    low, above = mean - width, mean + width
    count, total, squares = _moments(z, m, low, above)
    c, outside = np.int64(count), m - np.int64(count)
    if outside > SOME or c == 0:
        return np.int64(0)
    mean = total / count
    if max(above - mean, mean - low) > _half_width(count, total, squares, lam):
        return np.int64(0)
    found = order[:outside]
    k = np.int64(0)
    for begin in range(0, m, 64):
        flags = ~_between(z, begin, m, low, above)
        while flags != np.uint64(0):
            at = begin + first_flag(flags)
            if at >= m:
                break
            key[k], found[k] = z[at], at
            k += 1
            flags &= flags - np.uint64(1)
    sort_by_counting(key, np.int64(0), outside, spare, where)
    large = np.int64(0)
    while large < outside and spare[large] >= above:
        large += 1
    k, begin = large, np.int64(0)
    for i in range(outside + 1):  # what lies between those
        stop = found[i] if i < outside else m
        for at in range(begin, stop, _STRIDE):  # the next ones write over what is too much
            positions = item[k + at - begin : k + at - begin + _STRIDE]
            for j in range(_STRIDE):
                positions[j] = at + j
        k, begin = k + stop - begin, stop + 1
    for i in range(outside):
        part, at = (i, i) if i < large else (i + 1, i + c)
        item[at], end[part], sums[part] = found[where[i]], at + 1, spare[i]
    end[large], sums[large] = large + c, total
    return outside + 1


@inlined
def _sort_into_parts(
    z, m, n, lam, key, item, end, sums, bucket, begin, dealt, gap, total, size, spare, where
):
    """Order the scores z ≤ 0 as far as the solution depends on it; return the number of parts.

    No group ends inside a part, so its members may stand in any order; part q stops before
    ``end[q]``, its scores add up to ``sums[q]``.

    The scores are dealt into buckets of width w. Let V be the prefix sums of the sorted scores less
    their penalties. Inside a bucket of c scores V exceeds its chord by at most cw/4 − λc²/8. Where that
    does not bring it above the concave majorant of V at the ends of buckets (after the prefix that
    attains τ there: above the line of slope τ), the bucket is one part.
    """
    width = max(largest(-1.0, z, m), 1e-290)
    if width <= 0.5 * lam * m:
        for k in range(m):
            item[k] = k
        end[0], sums[0] = m, add_up(z, 0, m)
        return 1
    if m <= SOME:
        sort_by_counting(z, np.int64(0), m, sums, item)
        for k in range(m):
            end[k] = k + 1
        return m
    parts = _sort_around(z, m, lam, key, begin, item, end, sums, spare, where)
    if parts > 0:
        return parts
    buckets = max(1, m // _PER_BUCKET)
    width /= buckets
    per_width = 1.0 / width
    for k in range(m):
        bucket[k] = np.int32(-z[k] * per_width)  # there are vector instructions for 32 bits
    buckets += 2  # the lowest score lands in a bucket of its own, by rounding in the next
    for b in range(buckets):
        begin[b + 1], dealt[b] = 0, 0.0
    for k in range(m):
        begin[bucket[k] + np.uint32(1)] += 1
        dealt[bucket[k]] += z[k]
    begin[0] = 0
    height, tau, last = 0.0, -np.inf, np.int64(0)
    for b in range(buckets):
        c = begin[b + 1]
        begin[b + 1] += begin[b]
        end[b], size[b] = begin[b], c
        total[b] = dealt[b] - _penalties(lam, n, begin[b], begin[b + 1])
        height += total[b]
        gap[b + 1] = height
        if begin[b + 1] > 0 and height - 1.0 >= tau * begin[b + 1]:
            tau, last = (height - 1.0) / begin[b + 1], b + 1
    for k in range(m):
        at = end[bucket[k]]
        end[bucket[k]] = at + 1
        item[at] = k

    b, height, gap[0] = 0, 0.0, 0.0
    for s in range(pool(total, size, last)):
        start, slope = begin[b], total[s] / size[s]
        while b < last and begin[b + 1] <= start + size[s]:
            b += 1
            gap[b] = height + slope * (begin[b] - start) - gap[b]
        height += total[s]
    for b in range(last + 1, buckets + 1):
        gap[b] = 1.0 + tau * begin[b] - gap[b]

    for b in range(buckets):
        c = begin[b + 1] - begin[b]
        if c > 1 and 0.25 * c * (width - 0.5 * lam * c) > min(gap[b], gap[b + 1]):
            for i in range(begin[b], begin[b + 1]):
                key[i] = z[item[i]]
            sort_descending(key, item, begin[b], begin[b + 1], spare, where)
            for i in range(begin[b], begin[b + 1]):
                end[parts], sums[parts] = i + 1, key[i]
                parts += 1
        elif c > 0:
            end[parts], sums[parts] = begin[b + 1], dealt[b]
            parts += 1
    return parts


@kernel
def oscarmax_rows(start, stop, scores, mask, masked, gammas, lams, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ_{i<j} max(y_i, y_j)).

    With v the sorted scores less λ(n−1, …, 0), the support is the shortest prefix that attains
    τ = max_k (v_1 + … + v_k − 1)/k, and isotonic regression is needed inside it only.
    """
    d = scores.shape[1]
    lowest = scores.dtype.type(np.finfo(scores.dtype).min)
    z, key, gap = np.empty(d + SPARE), np.empty(d + SPARE), np.empty(d + 4)
    dealt = np.empty(d + 4)
    total, size, sums = np.empty(d + SPARE), np.empty(d + SPARE), np.empty(d + SPARE)
    index, item = np.empty(d + SPARE, np.int64), np.empty(d + SPARE, np.int64)
    spare, where = np.empty(SOME), np.empty(SOME, np.int64)
    end, begin, bucket = (
        np.empty(d + SPARE, np.int64),
        np.empty(d + 4, np.int64),
        np.empty(d + SPARE, np.uint32),
    )
    for r in range(start, stop):
        gamma, lam, state, top = load_row(scores, mask, masked, r, gammas, lams, values, structure)
        if state <= 0:
            continue
        lam = min(lam, 1e200 / d)  # so that no sum of penalties overflows
        n = d
        if state == GAPS:
            n = count_present(scores, mask, masked, r, lowest)
        one_group = lam > 0.0 and _is_one_group(scores, mask, masked, r, top, gamma, lam, n)
        depth, m = np.inf, n
        if not one_group:
            depth, m = _depth(scores, mask, masked, r, top, gamma, lam, n)
            if state == FULL and m == n >= MANY:
                depth = np.inf  # leaving a few out would cost more than taking them along, in vectors
        if state == GAPS or not one_group:
            m, _ = within_reach(scores, mask, masked, state, r, top, gamma, depth, index, None, z)
        if one_group:
            _write_one_group(index, n, values, structure, r)
            continue
        if lam == 0.0:  # tied scores are not a fused group then
            singletons(z, m, index, values, structure, r, key, item)
            continue
        parts = _sort_into_parts(
            z, m, n, lam, key, item, end, sums, bucket, begin, dealt, gap, total, size, spare, where
        )
        height, best, last, k = -1.0, -np.inf, np.int64(0), np.int64(0)
        for q in range(parts):
            total[q], size[q] = sums[q] - _penalties(lam, n, k, end[q]), end[q] - k
            k = end[q]
            height += total[q]
            if last == 0 or height * end[last - 1] > best * k:
                best, last = height, q + 1
        # From here relative to τ: it and the levels of groups are of size λn, their differences are not.
        tau, k = best / end[last - 1], 0
        for q in range(last):
            total[q] = sums[q] - size[q] * (lam * (n - 0.5 * (k + end[q] + 1)) + tau)
            k = end[q]
        blocks = pool(total, size, last)
        if blocks == 1 and k == n:
            _write_one_group(index, n, values, structure, r)
            continue
        # By rounding; the size of a group would multiply it.
        excess = (add_up(total, 0, blocks) - 1.0) / k
        fill(values[r], 0.0)
        i = groups = 0
        weight = np.inf
        for s in range(blocks):
            j = i + int(size[s])
            # min: rounding must not put a group above one with larger scores
            weight = min(weight, total[s] / size[s] - excess) if blocks > 1 else 1.0 / k
            if weight <= 0.0:
                break
            groups += 1
            members, entries = item[i:j], structure[r, 2 + i : 2 + j]
            for t in range(j - i):
                at = index[np.uint64(members[t])]
                values[r, np.uint64(at)] = weight
                entries[t] = 4 * at
            entries[0] += 1
            i = j
        set_counts(structure, r, i, groups)


oscarmax = on_tensors(oscarmax_rows)


@kernel
def penalty_slope_rows(start, stop, scores, mask, masked, values, structure, product, along, output):
    """∂/∂y Σ_{i<j} max(y_i, y_j) on the support: how many stand below, those that are equal counted half. If
    ``along``, its sum with ``product``.

    The groups are listed from the largest weight down; positions alone, where λ = 0, are not.
    """
    d = scores.shape[1]
    lowest = scores.dtype.type(np.finfo(scores.dtype).min)
    key, item = np.empty(d), np.empty(d, np.int64)
    for r in range(start, stop):
        members = structure[r, 0]
        fill(output[r], np.nan if members == INVALID else 0.0)
        if structure[r, 1] <= 1:
            continue  # one group has no derivative
        ordered = True
        for k in range(members):
            item[k] = structure[r, 2 + k] >> 2
            key[k] = -values[r, item[k]]
            ordered &= k == 0 or key[k - 1] <= key[k]
        if not ordered:
            heap_sort(key, item, members)
        n, total, i = count_present(scores, mask, masked, r, lowest), 0.0, 0
        while i < members:
            j, part = i + 1, 0.0
            while j < members and key[j] == key[i]:
                j += 1
            slope = n - j + 0.5 * (j - i - 1)
            for k in range(i, j):
                if along:
                    part += product[r, item[k]]
                else:
                    output[r, item[k]] = slope
            total += slope * part
            i = j
        if along:
            output[r, 0] = total


penalty_slope = slope_on_tensors(penalty_slope_rows)
