"""fusedmax: the simplex, with a penalty on differences between neighbours."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu import on_tensors, slope_on_tensors
from regattn.kernels.cpu.compiling import called, inlined, kernel
from regattn.kernels.cpu.screening import (
    GAPS,
    INVALID,
    LONG,
    MANY,
    SPARE,
    fill,
    load_row,
    set_counts,
    within_reach,
)
from regattn.kernels.cpu.sparsemax import add_up, simplex_threshold, singletons, threshold
from regattn.kernels.cpu.total_variation import append_string, long_run
from regattn.kernels.cpu.vectors import (
    FEW,
    first_flag,
    where_at_least,
    where_few_at_least,
    where_few_followed,
    where_followed,
)

_FEW = 3  # survivors that are not looked at again
_LOOKS = 2  # at the ends of runs


@called
def _screen_again(z, m, lam, bound, lowest, index, rank):
    """Drop survivors that have no part in a group above ``bound``, all but the first and the last.

    Beside a score that is out only what reaches ``bound`` stays, between two such scores only what
    reaches it less λ for both. A neighbour that is missing here is out, so that a survivor taken
    for one errs on the safe side.
    """
    alone = bound + 2.0 * lam
    kept = 1
    for begin in range(1, m - 1, 64):
        count = min(64, m - 1 - begin)
        here = where_at_least(z, begin, count, lowest)
        first, last = np.uint64(z[begin - 1] >= lowest), np.uint64(z[begin + count] >= lowest)
        before = here << np.uint64(1) | first
        after = here >> np.uint64(1) | last << np.uint64(count - 1)
        keep = here & before & after
        if kept == begin and keep == ~np.uint64(0):
            kept += 64
            continue
        keep |= here & (
            ((before | after) & where_at_least(z, begin, count, bound))
            | where_at_least(z, begin, count, alone)
        )
        while keep != np.uint64(0):
            k = begin + first_flag(keep)
            value, p, q = z[k], index[k], rank[k]
            z[kept], index[kept], rank[kept] = value, p, q
            kept += 1
            keep &= keep - np.uint64(1)
    value, p, q = z[m - 1], index[m - 1], rank[m - 1]
    z[kept], index[kept], rank[kept] = value, p, q
    return kept + 1


@called
def _bound_by_blocks(z, rank, m, lam, bound, total, item, key, order):
    """τ is at least what any blocks of neighbours attain together, whose cut is 2 each."""
    blocks, size = np.int64(0), 16
    for k in range(0, m - size + 1, size):
        total[blocks], item[blocks] = add_up(z, k, k + size) - 2.0 * lam, rank[k]
        blocks += rank[k + size - 1] - rank[k] == size - 1
    while blocks > 0:
        bound = max(bound, threshold(total, None, blocks, size * bound, key, order) / size)
        b = kept = 0
        while b + 4 <= blocks:
            if item[b + 3] - item[b] == 3 * size:
                total[kept] = total[b] + total[b + 1] + total[b + 2] + total[b + 3] + 6.0 * lam
                item[kept] = item[b]
                kept += 1
                b += 4
            else:
                b += 1
        blocks, size = kept, 4 * size
    return bound


@inlined
def _next_run(z, rank, m, n, bound, lowest, k):
    """Where the next neighbours that reach ``lowest`` begin, from survivor ``k`` on, and where they end, less
    what is below ``bound`` at either end; and where to look on."""
    while k < m and z[k] < lowest:
        k += 1
    begin = k
    k = min(k + 1, m)
    while (
        k + 64 <= m and rank[k + 63] == rank[k - 1] + 64 and where_at_least(z, k, 64, lowest) == ~np.uint64(0)
    ):
        k += 64
    while k < m and rank[k] == rank[k - 1] + 1 and z[k] >= lowest:
        k += 1
    end = k
    while begin < end and z[begin] < bound and rank[begin] > 0:
        begin += 1
    while begin < end and z[end - 1] < bound and rank[end - 1] < n - 1:
        end -= 1
    return begin, end, k


@inlined
def _some_runs(z, rank, m, n, lam, bound, lowest):
    """Flags of those of at most 64 survivors that stay, by the rules of :func:`_screen_again`; and which of
    these have a neighbour after them that stays."""
    alone = bound + 2.0 * lam
    if m <= FEW:
        near = where_few_followed(rank, m)
        stay, ends = where_few_at_least(z, 0, m, lowest), where_few_at_least(z, 0, m, bound)
        singles = where_few_at_least(z, 0, m, alone)
    else:
        near = where_followed(rank, m)
        stay, ends, singles = (
            where_at_least(z, 0, m, lowest),
            where_at_least(z, 0, m, bound),
            where_at_least(z, 0, m, alone),
        )
    first, last = np.uint64(rank[0] == 0), np.uint64(rank[m - 1] == n - 1) << np.uint64(m - 1)
    for _ in range(_LOOKS):
        before = (stay & near) << np.uint64(1) | first  # an end of the row costs no cut
        after = stay >> np.uint64(1) & near | last
        stay &= before & after | (before | after) & ends | singles
    return stay, stay & stay >> np.uint64(1) & near


@inlined
def _append_run(z, rank, n, start, stop, lam, bound, slack, gain, level, size, first, m, chain, length):
    """Append the segments of P_TV(z[start:stop]), λ taken off the ends that are not those of the row.

    Most runs are of one score or two. In long ones rounding may add up to ``slack`` for each.
    """
    left, right = lam if rank[start] > 0 else 0.0, lam if rank[stop - 1] < n - 1 else 0.0
    if stop - start >= LONG:
        bound -= slack * (stop - start)
        return long_run(z, start, stop, left, right, lam, bound, gain, level, size, first, m, chain, length)
    if stop - start > 2:
        return append_string(z, start, stop, left, right, lam, level, size, first, m, chain, length)
    size[m], first[m] = 1, start
    if stop - start == 1:
        level[m] = z[start] - left - right
        return m + np.int64(level[m] > bound)
    a, b = z[start] - left, z[start + 1] - right
    if abs(a - b) <= 2.0 * lam:
        level[m], size[m] = 0.5 * (a + b), 2
        return m + 1
    pull = lam if a > b else -lam
    level[m], level[m + 1] = a - pull, b + pull
    size[m + 1], first[m + 1] = 1, start + 1
    return m + 2


@inlined
def _write_groups(level, size, first, segments, tau, index, values, structure, r):
    """Give the segments above ``tau`` their weights; each is a group."""
    fill(values[r], 0.0)
    c = groups = 0
    for s in range(segments):
        weight = level[s] - tau
        if weight > 0.0:
            groups += 1
            if size[s] == 1.0:
                at = index[first[s]]
                values[r, at] = weight
                structure[r, 2 + c] = 4 * at + 1
                c += 1
                continue
            members = index[first[s] : first[s] + int(size[s])]
            entries = structure[r, 2 + c : 2 + c + members.size]
            for i in range(members.size):
                values[r, members[i]] = weight
                entries[i] = 4 * members[i]
            entries[0] += 1
            c += members.size
    set_counts(structure, r, c, groups)


@kernel
def fusedmax_rows(start, stop, scores, mask, masked, gammas, lams, values, structure):
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ|y_{i+1} − y_i|).

    Leaving a position out of a set changes its cut by at most 2λ. So τ is at least sparsemax's less
    2λ, and a score 2λ under τ gets weight 0 and separates its neighbours: only the runs between such
    scores are solved, each less λ at its inner ends.
    """
    d = scores.shape[1]
    z, key, level = np.empty(d + SPARE), np.empty(d + SPARE), np.empty(d + SPARE)
    index, ranks = np.empty(d + SPARE, np.int64), np.empty(d + SPARE, np.int64)
    first, item = np.empty(d + SPARE, np.int64), np.empty(d + SPARE, np.int64)
    size = np.empty(d + SPARE)
    walls = np.empty((2, d + 1)), np.empty((2, d + 1))
    for r in range(start, stop):
        gamma, lam, state, top = load_row(scores, mask, masked, r, gammas, lams, values, structure)
        if state <= 0:
            continue
        depth = 1.0 + 4.0 * lam
        rank = ranks if state == GAPS else index
        m, n = within_reach(scores, mask, masked, state, r, top, gamma, depth, index, rank, z)
        if lam == 0.0:  # tied scores are not a fused group then
            singletons(z, m, index, values, structure, r, key, item)
            continue
        bound = simplex_threshold(z, m, key, item) - 2.0 * lam - 1e-14 * depth
        if m >= MANY:
            bound = max(
                bound, _bound_by_blocks(z, rank, m, lam, bound, level, first, key, item) - 2e-14 * depth
            )
        lowest, slack = bound - 2.0 * lam, 1e-15 * depth
        if m > 64:
            m = _screen_again(z, m, lam, bound, lowest, index, rank)
        flagged = _FEW < m <= 64
        stay = joined = np.uint64(0)
        if flagged:
            stay, joined = _some_runs(z, rank, m, n, lam, bound, lowest)
        segments, k = np.int64(0), np.int64(0)
        while k < m:
            if flagged:
                begin = first_flag(stay)
                end = begin + 1 + first_flag(~(joined >> np.uint64(begin)))
                for _ in range(end - begin):
                    stay &= stay - np.uint64(1)
                k = m if stay == np.uint64(0) else end
            else:
                begin, end, k = _next_run(z, rank, m, n, bound, lowest, k)
            if begin < end:
                segments = _append_run(
                    z, rank, n, begin, end, lam, bound, slack, key, level, size, first, segments, *walls
                )
        if lam > 1e6:  # which is in every level, and would hide the 1 that the weights add up to
            summit = -np.inf
            for s in range(segments):
                summit = max(summit, level[s])
            for s in range(segments):
                level[s] -= summit
            bound = -1.0 - 1e-15
        tau = threshold(level, size, segments, bound, key, item)
        _write_groups(level, size, first, segments, tau, index, values, structure, r)


fusedmax = on_tensors(fusedmax_rows)


@inlined
def _step_from(values, scores, mask, masked, r, at, stop, way):
    """Whether a weight is above (1) or below (−1) the next one that takes part before ``stop``."""
    for i in range(at + way, stop, way):
        if scores[r, i] > -np.inf and (not masked or mask[r, i]):
            return (values[r, at] > values[r, i]) - np.int64(values[r, at] < values[r, i])
    return np.int64(0)


@kernel
def penalty_slope_rows(start, stop, scores, mask, masked, values, structure, product, along, output):
    """∂/∂y Σ|y_{i+1} − y_i| on the support: the steps at both ends of each segment. If ``along``, its sum
    with ``product``."""
    d = scores.shape[1]
    for r in range(start, stop):
        members, total = structure[r, 0], 0.0
        fill(output[r], np.nan if members == INVALID else 0.0)
        for k in range(members):
            entry, slope = structure[r, 2 + k], 0
            at = np.int64(entry >> 2)
            if entry & 1:
                slope += _step_from(values, scores, mask, masked, r, at, -1, -1)
            if k + 1 == members or structure[r, 3 + k] & 1:
                slope += _step_from(values, scores, mask, masked, r, at, d, 1)
            if along:
                total += slope * product[r, at]
            else:
                output[r, at] = slope
        if along and members > 0:
            output[r, 0] = total


penalty_slope = slope_on_tensors(penalty_slope_rows)
