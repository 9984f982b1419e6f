"""oscarmax: the simplex, with a penalty on differences between all pairs."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors, slope_on_tensors
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.screening import (
    FULL,
    GAPS,
    INVALID,
    MANY,
    SPARE,
    count_present,
    fill,
    load_row,
    reciprocal,
    score_floor,
    set_counts,
    within_reach,
)
from regattn.kernels.cpu.sorting import SOME, heap_sort, pool, sort_by_counting, sort_descending
from regattn.kernels.cpu.sparsemax import add_up, largest, singletons


@reordered_sum
def _mean(scores, mask, masked, lowest, top, gamma, n):
    """Mean of (score − top)/γ over the scores that take part."""
    scale = reciprocal(gamma)
    total = 0.0
    for i in range(scores.size):
        present = scores[i] >= lowest and (not masked or mask[i])
        total += (np.float64(scores[i]) - top) * scale if present else 0.0
    return total / n


_FEW = 16  # survivors that are not looked at again
_PER_BUCKET = 24


@inlined
def _penalties(lam, n, start, stop):
    """λ(n−1−start) + … + λ(n−stop): what the ranks from ``start`` to ``stop`` lose."""
    return lam * (stop - start) * (n - 0.5 * (start + stop + 1))


@inlined
def _screen_again(z, m, n, lam, index, tau):
    """Drop scores until it no longer helps: of m survivors each loses at least λ(n−m), and τ is at
    least what they attain together."""
    while m > _FEW:
        tau = max(tau, (add_up(z, 0, m) - _penalties(lam, n, 0, m) - 1.0) / m)
        floor = min(tau + lam * (n - m), -1e-300) * (1.0 + 1e-12)
        kept = 0
        for k in range(m):
            kept += z[k] > floor
        if 4 * kept > 3 * m:
            break
        kept = 0
        for k in range(m):
            value, p = z[k], index[k]
            z[kept], index[kept] = value, p
            kept += value > floor
        m = kept
    return m


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
        sort_by_counting(z, 0, m, sums, item)
        for k in range(m):
            end[k] = k + 1
        return m
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
    height, tau, last = 0.0, -np.inf, 0
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

    parts = 0
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
        # τ is at least what the maximum alone attains, and what all scores together attain
        depth = 1.0 + lam * (n - 1)
        if lam > 0.0:
            mean = _mean(scores[r], mask[r if masked else 0], masked, lowest, top, gamma, n)
            depth = min(depth, 0.5 * lam * (n - 1) + 1.0 / n - mean)
        if state == FULL and n >= MANY:
            floor = score_floor(scores, top, gamma * depth)
            if 8 * count_present(scores, mask, masked, r, floor) > 7 * n:
                # Leaving out so few would cost more than taking them along, for all are taken in vectors.
                depth = np.inf
        reach = depth * (1.0 + 1e-12)
        m, _ = within_reach(scores, mask, masked, state, r, top, gamma, reach, index, None, z)
        if lam == 0.0:  # tied scores are not a fused group then
            singletons(z, m, index, values, structure, r, key, item)
            continue
        m = _screen_again(z, m, n, lam, index, -depth)
        parts = _sort_into_parts(
            z, m, n, lam, key, item, end, sums, bucket, begin, dealt, gap, total, size, spare, where
        )
        height, best, last, k = -1.0, -np.inf, 0, 0
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
                at = index[members[t]]
                values[r, at] = weight
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
