"""Which sentences go into which batch, and how a batch becomes a tensor."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from tasks.checks import PositiveInt, Seed, check_number, check_ranges
from tasks.data.vocabulary import PAD

Unit = Literal["sentences", "tokens"]
"""What the size of a batch may count."""

_POOL = 50  # batches sorted together: long enough for little padding, short enough to stay random


def epoch_batches(
    lengths: Sequence[int] | np.ndarray,
    batch_size: PositiveInt,
    *,
    seed: Seed,
    epoch: Seed,
    count: Unit = "sentences",
) -> list[list[int]]:
    """Deal all items into batches of similar length, in an order that depends on the arguments alone.

    The items are shuffled and cut into pools of 50 batches; each pool is sorted by length and cut into
    batches; all batches are shuffled. No global random state is read or changed, so that a resumed run
    deals the same batches.

    Args:
        lengths: length of every item.
        batch_size: most items in a batch; where tokens count, most items times the longest of them, padding
            included. An item that is longer by itself has a batch to itself.
        seed, epoch: of the run, from 0.
        count: what ``batch_size`` counts.

    Returns:
        Lists of positions in ``lengths``, every position exactly once; where sentences count, only one batch
        may be smaller.

    Example:
        >>> epoch_batches([3, 9, 3, 9], 2, seed=0, epoch=0)
        [[3, 1], [0, 2]]
        >>> epoch_batches([3, 9, 3, 9], 9, seed=0, epoch=0, count="tokens")
        [[3], [0, 2], [1]]
    """
    check_ranges(epoch_batches, {"batch_size": batch_size, "seed": seed, "epoch": epoch, "count": count})
    # NumPy promises never to change this older generator's stream, which it does not for the new one.
    random = np.random.RandomState([seed, epoch])
    order, lengths = random.permutation(len(lengths)), np.asarray(lengths, np.int64)
    sizes = np.ones_like(lengths) if count == "sentences" else np.maximum(lengths, 1)
    pool_size = _POOL * batch_size * len(sizes) // max(1, int(sizes.sum()))  # in items of average size
    batches: list[list[int]] = []
    for start in range(0, len(order), max(1, pool_size)):
        pool = order[start : start + max(1, pool_size)]
        pool = pool[lengths[pool].argsort(kind="stable")]
        batches += _cut_padded(pool.tolist(), sizes[pool].tolist(), batch_size)
    return [batches[number] for number in random.permutation(len(batches))]


def length_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Deal items into batches of similar length, the shortest first, for evaluation.

    Example:
        >>> length_batches([3, 9, 3, 9, 1], 2)
        [[4, 0], [2, 1], [3]]
    """
    check_number("batch_size", batch_size, PositiveInt)
    return _cut(sorted(range(len(lengths)), key=lengths.__getitem__), batch_size)


def pad(sequences: Sequence[Sequence[int]], multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Put sentences of different lengths, at least one each, into one tensor, as long as a ``multiple``.

    Returns:
        int64 tensors: words (batch, longest or more), filled up with ``PAD`` on the right, and lengths
        (batch,).

    Raises:
        ValueError: there is no sentence, or one is empty.

    Example:
        >>> pad([[5, 6, 7], [8]])
        (tensor([[5, 6, 7],
                [8, 0, 0]]), tensor([3, 1]))
    """
    lengths = [len(sequence) for sequence in sequences]
    if not lengths:
        raise ValueError("a batch must have at least one sentence, got none")
    if 0 in lengths:
        raise ValueError(f"sentences must have at least one word, got none at position {lengths.index(0)}")
    width = -(-max(lengths) // multiple) * multiple
    rows = [[*sequence, *[PAD] * (width - len(sequence))] for sequence in sequences]
    return torch.tensor(rows, dtype=torch.long), torch.tensor(lengths, dtype=torch.long)


def _cut(items: Sequence[int], size: int) -> list[list[int]]:
    return [[*items[start : start + size]] for start in range(0, len(items), size)]


def _cut_padded(items: Sequence[int], sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Cut into runs as long as they can be while items times the largest size is within the limit."""
    if max(sizes, default=1) == 1:
        return _cut(items, limit)
    runs: list[list[int]] = []
    largest = 0
    for item, size in zip(items, sizes, strict=True):
        largest = max(largest, size)
        if not runs or largest * (len(runs[-1]) + 1) > limit:
            runs.append([])
            largest = size
        runs[-1].append(item)
    return runs
