"""Dev and test sets for a parallel corpus that has none."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from tasks.data.corpus import Part, items_of
from tasks.seq2seq.data import Example


def hold_out(train: Sequence[Part[Example]], sizes: Mapping[str, int]) -> dict[str, list[Part[Example]]]:
    """Take dev and test sets out of a corpus that has none, so that no sentence stands in two splits.

    Pairs are taken in the order of a hash of their target sentence, so that neither the order of the corpus
    nor chance has a say. What stays in ``train`` shares no source and no target sentence with them, whatever
    its case and kinds of spaces; of two sets, the later one in ``sizes`` loses the sentences that they share.

    Args:
        train: pairs of a source and one target, file by file.
        sizes: for each set how many pairs to take.

    Returns:
        First ``train``, the pairs that are left, with those that are dropped counted, and the sets, all in
        the order of the files.

    Raises:
        ValueError: a size below 1, or too few pairs.
    """
    homes = iter(_homes(items_of(train), sizes))
    splits: dict[str, list[Part[Example]]] = {split: [] for split in ("train", *sizes)}
    for part in train:
        placed = [(example, next(homes)) for example in part.items]
        for split, parts in splits.items():
            parts.append(Part(part.file, [e for e, home in placed if home == split], Counter()))
        shared = sum(home is None for _, home in placed)
        splits["train"][-1].dropped += part.dropped + Counter({"sentence_held_out": shared})
    return splits


def _homes(examples: Sequence[Example], sizes: Mapping[str, int]) -> list[str | None]:
    """For each example the split that it goes to, or None."""
    homes: list[str | None] = [None] * len(examples)
    folded = [(_folded(example.source), _folded(example.target)) for example in examples]
    order = sorted(range(len(examples)), key=lambda place: (_hash(folded[place][1]), place))
    sources, targets = set[str](), set[str]()  # sentences of the sets before
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"held_out must take at least 1 pair for {split}, got {size}")
        order = [place for place in order if not _shares(folded[place], sources, targets)]
        if len(order) <= size:
            raise ValueError(
                f"held_out must have more than {size} pairs to take {split} from, got {len(order)}"
            )
        taken, order = order[:size], order[size:]
        for place in taken:
            homes[place] = split
            sources.add(folded[place][0])
            targets.add(folded[place][1])
    for place in order:
        homes[place] = None if _shares(folded[place], sources, targets) else "train"
    return homes


def _shares(pair: tuple[str, str], sources: set[str], targets: set[str]) -> bool:
    return pair[0] in sources or pair[1] in targets


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
