"""Compiled row solvers for the CPU, exact, float64 inside, parallel over rows.

Every public function takes a C-contiguous float32 or float64 array ``x`` of shape (rows, d), writes
the solution of each row into ``y`` (same shape and type) and its structure into ``labels`` (int32):
0 where a position has no derivative, else ±k for the k-th group of positions that share one value.
A position at −inf takes no part. A row with NaN or +inf comes out NaN, labelled ``POISONED``.

All of it stands in one file because numba's cache on disk watches only the file of the function
that is called: a helper edited elsewhere would leave stale machine code behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit

POISONED = np.int32(-(2**31))
_compiled = njit(cache=True, nogil=True, error_model="numpy")


# ------------------------------------------------------------------ parallel over rows
# numba's own thread pools are not safe under fork (OpenMP) or under several Python threads
# (workqueue); compiled code without the GIL in plain threads is both.
_ELEMENTS_PER_THREAD = 16_384  # below this a thread costs more than it saves


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "regattn")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def run(kernel: Callable[..., None], threads: int, arrays: tuple[np.ndarray, ...], *parameters: Any) -> None:
    """Call ``kernel(*arrays, *parameters)`` on blocks of rows, one block per thread."""
    rows, d = arrays[0].shape
    threads = max(1, min(threads, rows, rows * d // _ELEMENTS_PER_THREAD))
    if threads == 1:
        kernel(*arrays, *parameters)
        return
    pool = _pool(threads - 1)
    cuts = [rows * i // threads for i in range(threads + 1)]
    blocks = [[a[i:j] for a in arrays] for i, j in pairwise(cuts)]
    others = [pool.submit(kernel, *block, *parameters) for block in blocks[1:]]
    kernel(*blocks[0], *parameters)
    wait(others)
    for other in others:
        other.result()


# ------------------------------------------------------------------ pieces of a row
@_compiled
def _shift(x, gamma, z, place):
    """z ← (x − max x)/γ without the −inf entries, place ← where they were.

    Returns their number (−1 for a row with NaN or +inf) and max x.
    """
    top = -np.inf
    for v in x:
        if not v < np.inf:
            return -1, top
        if v > top:
            top = v
    n = 0
    for i in range(x.size):
        if x[i] > -np.inf:
            z[n] = (np.float64(x[i]) - top) / gamma
            place[n] = i
            n += 1
    return n, top


@_compiled
def _blank(n, fill, y, labels):
    """Fill a row before its positions are written: NaN if it is poisoned (n < 0), else ``fill``."""
    y[:] = np.nan if n < 0 else fill
    labels[:] = POISONED if n < 0 else 0


@_compiled
def _sift_down(key, item, root, n):
    """Restore the heap (largest on top) below ``root``."""
    k, i = key[root], item[root]
    child = 2 * root + 1
    while child < n:
        if child + 1 < n and key[child + 1] > key[child]:
            child += 1
        if key[child] <= k:
            break
        key[root], item[root] = key[child], item[child]
        root = child
        child = 2 * root + 1
    key[root], item[root] = k, i


@_compiled
def _heapify(key, item, n):
    for root in range(n // 2 - 1, -1, -1):
        _sift_down(key, item, root, n)


@_compiled
def _pop(key, item, n):
    """Move the largest of a heap of ``n`` to position n − 1."""
    key[0], key[n - 1] = key[n - 1], key[0]
    item[0], item[n - 1] = item[n - 1], item[0]
    _sift_down(key, item, 0, n - 1)


@_compiled
def _threshold(level, size, n, key, item):
    """τ with Σ size·max(level − τ, 0) = 1; only the support is ever sorted."""
    for i in range(n):
        key[i], item[i] = level[i], i
    _heapify(key, item, n)
    total, count = -1.0, 0
    while n > 0 and key[0] * count > total:
        total += size[item[0]] * key[0]
        count += size[item[0]]
        _pop(key, item, n)
        n -= 1
    return total / count


@_compiled
def _decreasing(v, n, mean, size):
    """Pool adjacent violators: blocks of the closest non-increasing sequence; ties are pooled."""
    m = 0
    for i in range(n):
        mean[m], size[m] = v[i], 1  # sums until the end: divisions are slow
        while m > 0 and mean[m] * size[m - 1] >= mean[m - 1] * size[m]:
            mean[m - 1] += mean[m]
            size[m - 1] += size[m]
            m -= 1
        m += 1
    for b in range(m):
        mean[b] /= size[b]
    return m


@_compiled
def _taut_string(z, start, stop, left, right, lam, level, end, m, height, chain, chain_height):
    """Append the segments of P_TV(z[start:stop]), ``left`` and ``right`` taken off its ends.

    The cumulative sum of the solution is the shortest path from (0, 0) to (n, S_n) inside a tube of
    half-width λ around the cumulative sum S of the data (closed at both ends); its bends are the
    ends of the segments. The path is found by the funnel algorithm: the convex chain of the tube's
    upper wall (row 0) and the concave one of its lower wall (row 1), both as seen from the last
    bend. When a new point of one wall passes behind the other wall's chain, that chain becomes
    path. Each point enters and leaves a chain once: O(n).
    """
    # One loop written out: numba counts references for each array handed to a helper, which made it
    # seven times slower.
    n = stop - start
    height[0] = 0.0
    for k in range(1, n + 1):
        height[k] = height[k - 1] + z[start + k - 1]
        if k == 1:
            height[k] -= left
        if k == n:
            height[k] -= right
    bend, bend_height, bend_offset = 0, 0.0, 0.0
    head_0 = head_1 = tail_0 = tail_1 = 0
    for k in range(1, n + 1):
        half = lam if k < n else 0.0
        for wall in range(2):
            sign = 1.0 if wall == 0 else -1.0
            head, tail = (head_0, tail_0) if wall == 0 else (head_1, tail_1)
            here = height[k] + sign * half
            while tail > head:
                v, vh = chain[wall, tail - 1], chain_height[wall, tail - 1]
                if tail - head > 1:
                    u, uh = chain[wall, tail - 2], chain_height[wall, tail - 2]
                else:
                    u, uh = bend, bend_height
                if sign * (vh - uh) * (k - v) < sign * (here - vh) * (v - u):
                    break
                tail -= 1
            chain[wall, tail], chain_height[wall, tail] = k, here
            tail += 1
            if tail - head == 1:
                other = 1 - wall
                head_o, tail_o = (head_1, tail_1) if wall == 0 else (head_0, tail_0)
                while tail_o > head_o:
                    v, vh = chain[other, head_o], chain_height[other, head_o]
                    if sign * (vh - bend_height) * (k - bend) <= sign * (here - bend_height) * (v - bend):
                        break
                    m = _segment(z, start, bend, v, n, left, right, bend_offset, -sign * lam, level, end, m)
                    bend, bend_height, bend_offset = v, vh, -sign * lam
                    head_o += 1
                if wall == 0:
                    head_1 = head_o
                else:
                    head_0 = head_o
            if wall == 0:
                head_0, tail_0 = head, tail
            else:
                head_1, tail_1 = head, tail
    return _segment(z, start, bend, n, n, left, right, bend_offset, 0.0, level, end, m)


@_compiled
def _segment(z, start, i, j, n, left, right, offset_i, offset_j, level, end, m):
    """Append the segment (i, j] of a path that is ``offset`` off the data's cumulative sum at its ends.

    The level is a mean of the data, not a difference of long sums; the path rises more steeply
    after touching the upper wall (offset > 0) and less after the lower, whatever rounding says.
    """
    total = offset_j - offset_i
    for k in range(i, j):
        total += z[start + k]
    if i == 0:
        total -= left
    if j == n:
        total -= right
    level[m] = total / (j - i)
    if offset_i > 0.0:
        level[m] = max(level[m], level[m - 1])
    elif offset_i < 0.0:
        level[m] = min(level[m], level[m - 1])
    end[m] = start + j
    return m + 1


# ------------------------------------------------------------------ rows: projections and proximal operators
@_compiled
def sparsemax(x, y, labels, gamma):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖²."""
    rows, d = x.shape
    z, level, key = np.empty(d), np.empty(d), np.empty(d)
    place, item = np.empty(d, np.int64), np.empty(d, np.int64)
    size = np.ones(d, np.int64)
    for r in range(rows):
        n, _ = _shift(x[r], gamma, z, place)
        _blank(n, 0.0, y[r], labels[r])
        if n > 0:
            _singletons(z, n, place, y[r], labels[r], level, size, key, item)


@_compiled
def _singletons(z, n, place, y, labels, level, size, key, item):
    """Project one shifted row on the simplex, every position its own group."""
    m = 0
    for i in range(n):
        if z[i] > -1.0:
            level[m], size[m] = z[i], 1
            m += 1
    tau = _threshold(level, size, m, key, item)
    for i in range(n):
        if z[i] > tau:
            y[place[i]], labels[place[i]] = z[i] - tau, i + 1


@_compiled
def fusedmax(x, y, labels, gamma, lam):
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ|y_{i+1} − y_i|).

    A score under max x/γ − 1 − 4λ gets weight 0 and separates its neighbours, so that only the runs
    between such scores are solved, each less λ at its inner ends.
    """
    rows, d = x.shape
    z, level, key, height = np.empty(d), np.empty(d), np.empty(d), np.empty(d + 1)
    place, item = np.empty(d, np.int64), np.empty(d, np.int64)
    begin, end, size = np.empty(d, np.int64), np.empty(d, np.int64), np.empty(d, np.int64)
    chain, chain_height = np.empty((2, d + 1), np.int64), np.empty((2, d + 1))
    floor = -1.0 - 4.0 * lam
    for r in range(rows):
        n, _ = _shift(x[r], gamma, z, place)
        _blank(n, 0.0, y[r], labels[r])
        if n <= 0:
            continue
        if lam == 0.0:  # tied scores are not a fused group then
            _singletons(z, n, place, y[r], labels[r], level, size, key, item)
            continue
        m = stop = 0
        while stop < n:
            start = stop
            while start < n and z[start] < floor:
                start += 1
            stop = start
            while stop < n and z[stop] >= floor:
                stop += 1
            if stop > start:
                left, right = (lam if start > 0 else 0.0), (lam if stop < n else 0.0)
                first = m
                m = _taut_string(z, start, stop, left, right, lam, level, end, m, height, chain, chain_height)
                for s in range(first, m):
                    begin[s] = start if s == first else end[s - 1]
                    size[s] = end[s] - begin[s]
        tau = _threshold(level, size, m, key, item)
        for s in range(m):
            if level[s] > tau:
                for i in range(begin[s], end[s]):
                    y[r, place[i]], labels[r, place[i]] = level[s] - tau, s + 1


@_compiled
def oscarmax(x, y, labels, gamma, lam):
    """argmax over the simplex of ⟨x, y⟩ − γ(½‖y‖² + λ Σ_{i<j} max(y_i, y_j)).

    With v the sorted scores less λ(n−1, …, 0), the support is the longest prefix that attains
    τ = max_k (v_1 + … + v_k − 1)/k, and isotonic regression is needed inside it only.
    """
    rows, d = x.shape
    z, key, mean, level = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    place, item, size = np.empty(d, np.int64), np.empty(d, np.int64), np.empty(d, np.int64)
    for r in range(rows):
        n, _ = _shift(x[r], gamma, z, place)
        _blank(n, 0.0, y[r], labels[r])
        if n <= 0:
            continue
        if lam == 0.0:
            _singletons(z, n, place, y[r], labels[r], level, size, key, item)
            continue
        floor = max(-lam * (n - 1) - 1.0, z[:n].mean() - lam * (n - 1) / 2 - 1.0 / n)
        m = 0
        for i in range(n):
            if z[i] > floor or z[i] == 0.0:
                key[m], item[m] = z[i], i
                m += 1
        _sort_ascending(key, item, m)
        total, tau, k = -1.0, -np.inf, 0
        for i in range(m):
            level[i] = key[m - 1 - i] - lam * (n - 1 - i)
            total += level[i]
            if total / (i + 1) >= tau:
                tau, k = total / (i + 1), i + 1
        # From here relative to the support's mean score and mean rank: τ and the block levels are of
        # size λn, their difference is not.
        centre = key[m - k : m].mean()
        i, weight = 0, np.inf
        for b in range(_decreasing(level, k, mean, size)):
            j = i + size[b]
            tilt = lam * ((i + j) - k) / 2
            # min: rounding must not put a block above one with larger scores
            weight = min(weight, key[m - j : m - i].mean() - centre + tilt + 1.0 / k)
            for s in range(i, j):
                if weight > 0.0:
                    at = place[item[m - 1 - s]]
                    y[r, at], labels[r, at] = weight, b + 1
            i = j


@_compiled
def _sort_ascending(key, item, n):
    """By insertion where that is faster, else by heap, so that no row costs more than O(n log n)."""
    if n <= 64:
        for i in range(1, n):
            k, at, j = key[i], item[i], i
            while j > 0 and key[j - 1] > k:
                key[j], item[j] = key[j - 1], item[j - 1]
                j -= 1
            key[j], item[j] = k, at
        return
    _heapify(key, item, n)
    for k in range(n, 1, -1):
        _pop(key, item, k)


@_compiled
def prox_tv1d(x, y, labels, lam):
    """argmin of ½‖y − x‖² + λ Σ|y_{i+1} − y_i|."""
    rows, d = x.shape
    z, level, height = np.empty(d), np.empty(d), np.empty(d + 1)
    place, end = np.empty(d, np.int64), np.empty(d, np.int64)
    chain, chain_height = np.empty((2, d + 1), np.int64), np.empty((2, d + 1))
    for r in range(rows):
        n, top = _shift(x[r], 1.0, z, place)
        _blank(n, -np.inf, y[r], labels[r])
        m = 0
        if lam == 0.0:
            for i in range(n):
                level[i], end[i] = z[i], i + 1
            m = n
        elif n > 0:
            m = _taut_string(z, 0, n, 0.0, 0.0, lam, level, end, 0, height, chain, chain_height)
        for s in range(m):
            for i in range(end[s - 1] if s > 0 else 0, end[s]):
                y[r, place[i]], labels[r, place[i]] = level[s] + top, s + 1


@_compiled
def isotonic_regression(x, y, labels, decreasing):
    """argmin of ‖y − x‖² over y_1 ≤ y_2 ≤ … (≥ if ``decreasing``)."""
    rows, d = x.shape
    z, mean = np.empty(d), np.empty(d)
    place, size = np.empty(d, np.int64), np.empty(d, np.int64)
    sign = 1.0 if decreasing else -1.0
    for r in range(rows):
        n, top = _shift(x[r], sign, z, place)
        _blank(n, -np.inf, y[r], labels[r])
        i = 0
        for b in range(_decreasing(z, n, mean, size)):
            for _ in range(size[b]):
                y[r, place[i]], labels[r, place[i]] = sign * mean[b] + top, b + 1
                i += 1


@_compiled
def prox_oscar(x, y, labels, lam):
    """argmin of ½‖y − x‖² + λ Σ_{i<j} max(|y_i|, |y_j|)."""
    rows, d = x.shape
    z, key, mean = np.empty(d), np.empty(d), np.empty(d)
    place, item, size = np.empty(d, np.int64), np.empty(d, np.int64), np.empty(d, np.int64)
    for r in range(rows):
        n, _ = _shift(x[r], 1.0, z, place)
        _blank(n, -np.inf, y[r], labels[r])
        for i in range(n):
            key[i], item[i] = -abs(np.float64(x[r, place[i]])), i
        _sort_ascending(key, item, n)
        for i in range(n):
            z[i] = -key[i] - lam * (n - 1 - i)
        blocks = n
        if lam > 0.0:
            blocks = _decreasing(z, n, mean, size)
        else:
            mean[:n], size[:n] = z[:n], 1
        i = 0
        for b in range(blocks):
            for _ in range(size[b]):
                p = place[item[i]]
                sign = -1 if x[r, p] < 0 else 1
                y[r, p] = sign * max(mean[b], 0.0)
                labels[r, p] = sign * (b + 1) if mean[b] > 0 or lam == 0.0 else 0
                i += 1


# ------------------------------------------------------------------ rows: one scalar root
@_compiled
def pnormmax(x, y, gamma, p):
    """argmax over the simplex of ⟨x, y⟩ − γ/2·‖y‖_p², 1 < p < 2.

    With t = max x/γ − τ, r = max(1 + z/t, 0) and R_s = Σ r^s the root is that of
    log R_q·(2−p)/p − log R_{q−1} − log t, which decreases in t on (0, 1]; y = r^{q−1}/R_{q−1}.
    """
    rows, d = x.shape
    z, power = np.empty(d), np.empty(d)
    place = np.empty(d, np.int64)
    q = p / (p - 1.0)
    for r in range(rows):
        n, _ = _shift(x[r], gamma, z, place)
        y[r] = np.nan if n < 0 else 0.0
        m = 0
        for i in range(n):  # t ≤ 1: no other score can be in the support
            if z[i] > -1.0:
                z[m], place[m] = z[i], place[i]
                m += 1
        if m == 0:
            continue
        scale, s1 = 1.0 / _pnorm_root(z[:m], p, q), 0.0
        for i in range(m):
            u = max(1.0 + z[i] * scale, 0.0)
            power[i] = u * u if p == 1.5 else u ** (q - 1.0)
            s1 += power[i]
        for i in range(m):
            y[r, place[i]] = power[i] / s1


@_compiled
def _pnorm_root(z, p, q):
    """Newton in log t, kept inside a shrinking bracket."""
    low, high, t = 0.0, 1.0, 1.0
    for _ in range(100):
        s0 = s1 = s2 = 0.0
        scale = 1.0 / t
        for v in z:
            u = 1.0 + v * scale
            if u > 0.0:
                w = u if p == 1.5 else u ** (q - 2.0)
                s0 += w
                s1 += w * u
                s2 += w * u * u
        gap = np.log(s2) * (2.0 - p) / p - np.log(s1) - np.log(t)
        if gap > 0.0:
            low = t
        else:
            high = t
        slope = (2.0 - p) / p * q * (s1 - s2) / s2 - (q - 1.0) * (s0 - s1) / s1 - 1.0
        new = t * np.exp(-gap / slope) if slope < 0.0 else low
        if abs(new - t) <= 1e-15 * t:  # the rounding of gap itself
            return new
        t = new if low < new < high else 0.5 * (low + high)
    return t


# ------------------------------------------------------------------ rows: the derivative of a partition
@_compiled
def group_average(g, labels, out, scale, centre):
    """out = scale · (g, less its mean over all groups if ``centre``, averaged inside each group)."""
    rows, d = g.shape
    total, count = np.empty(d + 1), np.empty(d + 1, np.int64)
    for r in range(rows):
        if d > 0 and labels[r, 0] == POISONED:
            out[r] = np.nan
            continue
        total[:] = 0.0
        count[:] = 0
        for i in range(d):
            k = abs(labels[r, i])
            if k > 0:
                total[k] += g[r, i] if labels[r, i] > 0 else -g[r, i]
                count[k] += 1
                if centre:
                    total[0] += g[r, i]
                    count[0] += 1
        mean = total[0] / count[0] if count[0] > 0 else 0.0
        for i in range(d):
            k = abs(labels[r, i])
            out[r, i] = 0.0
            if k > 0:
                average = scale * (total[k] / count[k] - mean)
                out[r, i] = average if labels[r, i] > 0 else -average
