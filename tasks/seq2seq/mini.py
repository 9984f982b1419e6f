"""What the embedded corpora that a grammar writes have in common."""

from collections.abc import Callable, Mapping
from random import Random

from tasks.data.corpus import SPLITS
from tasks.data.portable_random import check_sizes
from tasks.seq2seq.data import Example


def write_splits(
    sizes: Mapping[str, int], seed: int, write: Callable[[Random, set[str]], Example]
) -> dict[str, list[Example]]:
    """Write train, dev and test, the test set first: held-out sets do not depend on the size of train.

    Args:
        sizes: number of examples of each split, for :func:`tasks.data.portable_random.check_sizes`.
        seed: any integer.
        write: from a generator of the split's own, and what is known from all splits, to a new example.

    Raises:
        ValueError: a size below 1, or more than the grammars have.
    """
    check_sizes(sizes)
    splits: dict[str, list[Example]] = {}
    known: set[str] = set()
    for split in reversed(SPLITS):
        rng = Random(f"{seed} {split}")
        splits[split] = [write(rng, known) for _ in range(sizes[split])]
    return {split: splits[split] for split in SPLITS}
