"""Choices of chance that are the same in every version of Python, for corpora that a grammar writes.

Of the random module's methods only random() is promised to give the same numbers in every version.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

from tasks.data.corpus import SPLITS

T = TypeVar("T")

MOST = 1_000_000
"""Items of a synthetic corpus, all splits together: each grammar writes more that differ.

How many a grammar writes is told by how seldom two draws agree, which is at least once in as many pairs of
draws as there are different items; that of translation, the smallest, agrees once in 2.6 million.
"""


def check_sizes(sizes: Mapping[str, int], multiple: int = 1) -> None:
    """Refuse sizes of splits that are no positive multiples, or more than ``MOST`` together."""
    for split, size in sizes.items():
        if size < 1 or size % multiple:
            wanted = f"a positive multiple of {multiple}" if multiple > 1 else "at least 1"
            raise ValueError(f"{split} must be {wanted}, got {size}")
    if (total := sum(sizes.values())) > MOST:
        names = ", ".join(sizes)
        raise ValueError(f"{names} of a synthetic corpus must be at most {MOST:,} together, got {total:,}")


def choice(rng: Random, options: Sequence[T]) -> T:
    """Return one of ``options``, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    """Return ``items`` in any order."""
    return sorted(items, key=lambda _: rng.random())


def write_splits(
    sizes: Mapping[str, int],
    seed: int,
    draw: Callable[[Random], Iterable[tuple[Hashable, T]]],
    together: int = 1,
) -> dict[str, list[T]]:
    """Write train, dev and test, the test set first: held-out sets do not depend on the size of train.

    Args:
        sizes: number of items of each split, for :func:`check_sizes`.
        seed: any integer.
        draw: from a generator of the split's own to items, each with what no other item of any split may
            have; none where it has drawn what does not fit.
        together: how many items are drawn at once; several stand in any order in the end.
    """
    check_sizes(sizes, together)
    splits: dict[str, list[T]] = {}
    known: set[Hashable] = set()
    for split in reversed(SPLITS):
        rng, items = Random(f"{seed} {split}"), list[T]()
        while len(items) < sizes[split]:
            drawn = list(draw(rng))
            if known.isdisjoint(key for key, _ in drawn):
                known.update(key for key, _ in drawn)
                items += [item for _, item in drawn]
        splits[split] = shuffled(rng, items) if together > 1 else items
    return {split: splits[split] for split in SPLITS}
