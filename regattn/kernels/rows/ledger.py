"""Rows shared among threads: which is next, and how many are done."""

from __future__ import annotations

import numpy as np

from regattn.kernels.rows.compiling import inlined, kernel
from regattn.kernels.rows.vectors import atomic_add

_NEXT, _DONE, _COUNT, _THREADS = range(4)
_LEAST = 16  # blocks of the smallest size would be this many for each thread
NO_LEDGER = np.empty(0, np.int64)


def new_ledger(count, threads):
    """Which of ``count`` rows is next, and how many are done."""
    return np.array([0, 0, count, threads], np.int64)


@inlined
def take(ledger, start, stop):
    """Report a block as done, and take the next: its first row, and the row behind its last.

    Blocks become smaller, so that all threads end together, whoever began late or got the rows that
    take long.
    """
    if ledger.size == 0:
        return stop, stop
    atomic_add(ledger, _DONE, stop - start)
    count, threads = ledger[_COUNT], ledger[_THREADS]
    size = max((count - ledger[_NEXT]) // (2 * threads), count // (_LEAST * threads), 1)
    start = min(atomic_add(ledger, _NEXT, size), count)
    return start, min(start + size, count)


def all_taken(ledger):
    return ledger[_NEXT] >= ledger[_COUNT]


@kernel
def all_done(ledger, looks):
    """Whether all rows are done, after looking at most so many times."""
    while looks > 0 and atomic_add(ledger, _DONE, 0) < ledger[_COUNT]:
        looks -= 1
    return looks > 0
