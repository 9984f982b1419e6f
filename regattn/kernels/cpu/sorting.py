"""Putting in order: sorts, and the pooling of what stands in the wrong one."""

from __future__ import annotations

import numpy as np

from regattn.kernels.cpu.compiling import called, inlined
from regattn.kernels.cpu.vectors import FEW, count_flags, where_at_least, where_few_at_least

SOME = 64  # keys that are sorted by counting: as many as are compared at once


@called
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


@called
def heap_sort(key, item, n):
    """Ascending."""
    for root in range(n // 2 - 1, -1, -1):
        _sift_down(key, item, root, n)
    for last in range(n - 1, 0, -1):
        key[0], key[last] = key[last], key[0]
        item[0], item[last] = item[last], item[0]
        _sift_down(key, item, np.int64(0), last)


@called
def sort_by_counting(key, start, stop, ranked, index):
    """Descending, at most ``SOME``: the keys, and where each stood after ``start``; ties stay in order.

    Quadratic, but in vector instructions without a branch, of which sorts by comparison mispredict half.
    """
    n = stop - start
    for i in range(n):
        ranked[i] = np.inf
    for i in range(n - 1, -1, -1):
        k = key[start + i]
        larger = where_few_at_least(key, start, n, k) if n <= FEW else where_at_least(key, start, n, k)
        rank = count_flags(larger) - 1
        while ranked[rank] == k:
            rank -= 1
        ranked[rank], index[rank] = k, i


@called
def sort_descending(key, item, start, stop, spare, index):
    """No more than O(n log n) for any row; ``spare`` and ``index`` have room for ``SOME``."""
    n = stop - start
    if n <= SOME:
        sort_by_counting(key, start, stop, spare, index)
        for i in range(n):
            key[start + i], index[i] = spare[i], item[start + index[i]]
        for i in range(n):
            item[start + i] = index[i]
        return
    keys, items = key[start:stop], item[start:stop]
    heap_sort(keys, items, n)
    for i in range(n // 2):
        j = n - 1 - i
        keys[i], keys[j] = keys[j], keys[i]
        items[i], items[j] = items[j], items[i]


@inlined
def pool(total, size, n):
    """Merge neighbours until the means total/size decrease: pool adjacent violators; ties are pooled."""
    m = 0
    for i in range(n):
        total[m], size[m] = total[i], size[i]  # sums until the end: divisions are slow
        while m > 0 and total[m] * size[m - 1] >= total[m - 1] * size[m]:
            total[m - 1] += total[m]
            size[m - 1] += size[m]
            m -= 1
        m += 1
    return m
