"""Scores on test sets drawn with replacement: what another choice of items would have given."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.ranges import PositiveInt, Seed, check_number

Rows = np.ndarray[Any, np.dtype[np.float64]]
SAMPLES = 10_000
_CHUNK = 2**21  # counts at once: bounds the memory
_STEP = 2.0**-20  # what scores of items are rounded to, that sums be exact in any order, on any processor


def mean_of_items(totals: Rows, count: int) -> Rows:
    """The mean score of ``count`` items from its total, (..., 1) to (...)."""
    return totals[..., 0] / count


def resampled_scores(
    items: ArrayLike,
    *,
    score: Callable[[Rows, int], Rows] = mean_of_items,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Rows:
    """Score runs on their test set, and on test sets of as many items drawn from it with replacement.

    A drawn set is the same for all runs, which makes comparing them a paired comparison.

    Args:
        items: of each run and item a score, (runs, items), or the counts that ``score`` makes one of,
            (runs, items, counts).
        score: scores of test sets from the totals over their items, ``(totals (..., counts), items) ->
            (...)``.
        samples: number of test sets drawn, at least 1.
        seed: from 0 to 2**32 - 1.

    Returns:
        For each run the score on the real test set and those on the drawn ones; (runs, 1 + samples).

    Raises:
        ValueError: there are no items, ``samples < 1``, or ``seed`` is out of range.

    Example:
        >>> resampled_scores([[1.0, 2.0, 6.0]], samples=3).tolist()
        [[3.0, 3.3333333333333335, 1.0, 3.0]]

    Source: Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation".
    """
    rows = np.asarray(items, dtype=np.float64)
    if rows.ndim == 2:
        rows = rows[..., np.newaxis]
    runs, count, width = rows.shape
    if count < 1:
        raise ValueError(f"a test set must have at least 1 item, got {count}")
    check_number("samples", samples, PositiveInt)
    check_number("seed", seed, Seed)
    flat = np.rint(rows.transpose(1, 0, 2).reshape(count, -1) / _STEP) * _STEP
    drawn = [score(rows.sum(1), count)]
    times = _draws(count, samples, seed)
    for begin in range(0, samples, _CHUNK // count + 1):
        totals = times[begin : begin + _CHUNK // count + 1].astype(np.float64) @ flat
        drawn += list(score(totals.reshape(-1, runs, width), count))
    return np.stack(drawn, axis=1)


@lru_cache(maxsize=2)  # those of one test set: every metric of it needs them
def _draws(count: int, samples: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """How often each item is in each drawn set; (samples, count)."""
    # Raw numbers of this generator are promised never to change; what NumPy makes of them is not.
    raw = np.random.PCG64(seed).random_raw
    times = np.empty((samples, count), dtype=np.uint8)
    for row in times:
        numbers = raw(-(-count // 2)).view(np.uint32)[:count].astype(np.uint64)
        row[:] = np.bincount(((numbers * count) >> 32).astype(np.int64), minlength=count)
    return times
