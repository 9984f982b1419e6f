"""Dev and test sets for a parallel corpus that has none."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from tasks.data.corpus import Part, items_of
from tasks.seq2seq.data import Example


def hold_out(examples: Sequence[Example], sizes: Mapping[str, int]) -> dict[str, list[Example]]:
    """Take dev and test sets out of a corpus that has none, so that no sentence stands in two splits.

    Pairs are taken in the order of a hash of their target sentence, so that neither the order of the corpus
    nor chance has a say. What stays in ``train`` shares no source and no target sentence with them, whatever
    its case and kinds of spaces; of two sets, the later one in ``sizes`` loses the sentences that they share.

    Args:
        examples: pairs of a source and one target.
        sizes: for each set how many pairs to take.

    Returns:
        The sets, and first ``train``, the pairs that are left, all in the order of ``examples``.

    Raises:
        ValueError: a size below 1, or too few pairs.
    """
    homes = _homes(examples, sizes)
    return {
        split: [example for example, home in zip(examples, homes, strict=True) if home == split]
        for split in ("train", *sizes)
    }


def _homes(examples: Sequence[Example], sizes: Mapping[str, int]) -> list[str | None]:
    """For each example the split that it goes to, or None; as for :func:`hold_out`."""
    homes: list[str | None] = [None] * len(examples)
    order = sorted(range(len(examples)), key=lambda place: (_hash(examples[place].target), place))
    known: tuple[set[str], set[str]] = (set(), set())  # source and target sentences of the sets before
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"held_out must take at least 1 pair for {split}, got {size}")
        order = [place for place in order if not _shares(examples[place], known)]
        if len(order) <= size:
            raise ValueError(
                f"held_out must have more than {size} pairs to take {split} from, got {len(order)}"
            )
        taken, order = order[:size], order[size:]
        for place in taken:
            homes[place] = split
            known[0].add(_folded(examples[place].source))
            known[1].add(_folded(examples[place].target))
    for place in order:
        homes[place] = None if _shares(examples[place], known) else "train"
    return homes


def hold_out_of(train: list[Part[Example]], sizes: Mapping[str, int]) -> dict[str, list[Part[Example]]]:
    """The same of what was read file by file."""
    homes = iter(_homes(items_of(train), sizes))
    splits: dict[str, list[Part[Example]]] = {split: [] for split in ("train", *sizes)}
    for part in train:
        placed = [(example, next(homes)) for example in part.items]
        for split, parts in splits.items():
            parts.append(Part(part.file, [e for e, home in placed if home == split], Counter()))
        shared = sum(home is None for _, home in placed)
        splits["train"][-1].dropped += part.dropped + Counter({"sentence_held_out": shared})
    return splits


def _shares(example: Example, known: tuple[set[str], set[str]]) -> bool:
    return _folded(example.source) in known[0] or _folded(example.target) in known[1]


def _hash(text: str) -> bytes:
    return hashlib.sha256(_folded(text).encode()).digest()


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
