"""Choices of chance that are the same in every version of Python, for corpora that a grammar writes.

Of the random module's methods only random() is promised to give the same numbers in every version.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

MOST = 1_000_000
"""Items of an embedded corpus, all splits together: each grammar writes more that differ.

How many a grammar writes is told by how seldom two draws agree, which is at least once in as many pairs of
draws as there are different items; that of translation, the smallest, agrees once in 2.6 million.
"""


def check_sizes(sizes: Mapping[str, int], multiple: int = 1) -> None:
    """Refuse, before anything is drawn, sizes of splits that no grammar has.

    Raises:
        ValueError: a size that is not a positive multiple of ``multiple``, or more than ``MOST`` together.
    """
    for split, size in sizes.items():
        if size < 1 or size % multiple:
            wanted = f"a positive multiple of {multiple}" if multiple > 1 else "at least 1"
            raise ValueError(f"{split} must be {wanted}, got {size}")
    if (total := sum(sizes.values())) > MOST:
        names = ", ".join(sizes)
        raise ValueError(f"{names} of an embedded corpus must be at most {MOST:,} together, got {total:,}")


def choice(rng: Random, options: Sequence[T]) -> T:
    """Return one of ``options``, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    """Return ``items`` in any order."""
    return sorted(items, key=lambda _: rng.random())
