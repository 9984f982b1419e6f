"""Putting in order: sorts, and the pooling of what stands in the wrong one."""

from __future__ import annotations

from regattn.kernels.rows.compiling import called, inlined


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
        _sift_down(key, item, 0, last)


@inlined
def insertion_sort(key, item, start, stop):
    """Descending."""
    for i in range(start + 1, stop):
        k, at, j = key[i], item[i], i
        while j > start and key[j - 1] < k:
            key[j], item[j] = key[j - 1], item[j - 1]
            j -= 1
        key[j], item[j] = k, at


@called
def sort_descending(key, item, start, stop):
    """No more than O(n log n) for any row."""
    if stop - start <= 64:
        insertion_sort(key, item, start, stop)
        return
    part, place = key[start:stop], item[start:stop]
    heap_sort(part, place, stop - start)
    for i in range((stop - start) // 2):
        j = stop - start - 1 - i
        part[i], part[j] = part[j], part[i]
        place[i], place[j] = place[j], place[i]


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
