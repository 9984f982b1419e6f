"""Choices of chance that are the same in every version of Python, for corpora that a grammar writes.

Of the random module's methods only random() is promised to give the same numbers in every version.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(rng: Random, options: Sequence[T]) -> T:
    """Return one of ``options``, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    """Return ``items`` in any order."""
    return sorted(items, key=lambda _: rng.random())
