"""A corpus: named splits of items, with a checksum of what they say and what became of every file."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Keys = Callable[[Item], Sequence[Hashable]]
"""From an item to what items that count as one have in common; the first is what it is trained on as."""

SPLITS = ("train", "dev", "test")
HELD_OUT = "pair_held_out"
MAX_CHARS = 10_000
"""Longer texts are taken for damage."""

_REPLACED = "\ufffd"  # what a program writes for characters that it could not read


class FileCounts(NamedTuple):
    """How many items a split has read of a file, why some were dropped, what is suspicious about others."""

    read: int
    dropped: Counter[str]
    suspicious: Counter[str]

    def __str__(self) -> str:
        parts = [f"{self.read:,} read"]
        for word, reasons in (("dropped", self.dropped), ("kept, but suspicious", self.suspicious)):
            if reasons:
                parts.append(f"{word}: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items()))
        return "; ".join(parts)


@dataclass
class Part(Generic[Item]):
    """What a split has read of one file: the items that are kept, and why others are dropped."""

    file: str
    items: list[Item]
    dropped: Counter[str]

    def keep(self, reason: str, is_kept: Callable[[Item], bool]) -> None:
        """Drop the other items, and count them."""
        kept = [item for item in self.items if is_kept(item)]
        self.dropped += Counter({reason: len(self.items) - len(kept)})  # a count of 0 is none
        self.items = kept


@dataclass(frozen=True)
class Corpus(Generic[Item]):
    """The splits of a corpus.

    Attributes:
        name: as records call it.
        sha256: checksum of what all items say, in order, whatever file or format they came from.
        splits: items under ``train`` and ``dev``, and under one or more names of test sets.
        files: for each split what became of the items of every file that it was read from.
        synthetic: whether every word of it is this project's own, so that results may quote it.
    """

    name: str
    sha256: str
    splits: dict[str, list[Item]]
    files: dict[str, dict[str, FileCounts]]
    synthetic: bool = field(default=False, kw_only=True)

    @property
    def sizes(self) -> dict[str, int]:
        return {split: len(items) for split, items in self.splits.items()}

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """For each split, why items were left out and how many."""
        return {split: dict(_dropped(self.files.get(split, {}))) for split in self.splits}

    @property
    def notes(self) -> list[str]:
        """A line for each file of which something was dropped, or is suspicious."""
        return [
            f"{file}, for {split}: {counts}"
            for split, files in self.files.items()
            for file, counts in files.items()
            if counts.dropped or counts.suspicious
        ]

    @property
    def test_splits(self) -> tuple[str, ...]:
        """Names of the splits that are for testing."""
        return tuple(split for split in self.splits if split not in ("train", "dev"))


AnyCorpus = TypeVar("AnyCorpus", bound=Corpus[Any])


def items_of(parts: Iterable[Part[Item]]) -> list[Item]:
    """All that is kept, in order."""
    return [item for part in parts for item in part.items]


def drop_shared(reason: str, splits: Mapping[str, Sequence[Part[Item]]], keys: Keys[Item]) -> None:
    """Drop the training items that stand in another split, too."""
    others = items_of(part for split, parts in splits.items() if split != "train" for part in parts)
    taken = {key for item in others for key in keys(item)}
    for part in splits["train"]:
        part.keep(reason, lambda item: keys(item)[0] not in taken)


def hold_out(
    train: Sequence[Part[Item]], sizes: Mapping[str, int], sides: Callable[[Item], tuple[str, str]]
) -> dict[str, list[Part[Item]]]:
    """Take dev and test sets out of pairs that have none, so that no text stands in two splits.

    Pairs are taken in the order of a hash of their second text, so that neither the order of the corpus nor
    chance has a say. What stays in ``train`` shares no first and no second text with them, whatever its case
    and kinds of spaces; of two sets, the later one in ``sizes`` loses the texts that they share.

    Args:
        train: the pairs, file by file.
        sizes: for each set how many pairs to take.
        sides: from a pair to its two texts.

    Returns:
        First ``train``, the pairs that are left, with those that are dropped counted, and the sets, all in
        the order of the files.

    Raises:
        ValueError: a size below 1, or too few pairs.
    """
    folded = [tuple(" ".join(text.lower().split()) for text in sides(item)) for item in items_of(train)]
    homes = iter(_homes(folded, sizes))
    splits: dict[str, list[Part[Item]]] = {split: [] for split in ("train", *sizes)}
    for part in train:
        placed = [(item, next(homes)) for item in part.items]
        for split, parts in splits.items():
            parts.append(Part(part.file, [item for item, home in placed if home == split], Counter()))
        shared = sum(home is None for _, home in placed)
        splits["train"][-1].dropped += part.dropped + Counter({"sentence_held_out": shared})
    return splits


def _homes(pairs: Sequence[tuple[str, ...]], sizes: Mapping[str, int]) -> list[str | None]:
    """For each pair of texts the split that it goes to, or None."""
    homes: list[str | None] = [None] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda place: hashlib.sha256(pairs[place][1].encode()).digest())
    taken = set[str](), set[str]()  # first and second texts of the sets before

    def is_shared(place: int) -> bool:
        return any(text in texts for text, texts in zip(pairs[place], taken, strict=True))

    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"held_out must take at least 1 pair for {split}, got {size}")
        order = [place for place in order if not is_shared(place)]
        if len(order) <= size:
            got = len(order)
            raise ValueError(f"held_out must have more than {size} pairs to take {split} from, got {got}")
        for place in order[:size]:
            homes[place] = split
            for text, texts in zip(pairs[place], taken, strict=True):
                texts.add(text)
        order = order[size:]
    for place in order:
        homes[place] = None if is_shared(place) else "train"
    return homes


def count_files(
    name: str,
    splits: Mapping[str, Sequence[Part[Item]]],
    sides: Callable[[Item], Sequence[str]],
    keys: Keys[Item],
) -> dict[str, dict[str, FileCounts]]:
    """What became of every file of every split; suspicious is what is kept, and may be a mistake.

    Args:
        name: of the corpus.
        splits: all parts of each.
        sides: from an item to its texts: one, and those that belong to it.
        keys: from an item to what it has in common with others that count as one.

    Raises:
        ValueError: nothing is left of a split.
    """
    tests = [part for split, parts in splits.items() if split not in ("train", "dev") for part in parts]
    tested = {key for item in items_of(tests) for key in keys(item)}

    def suspicions(split: str, item: Item) -> Iterator[str]:
        first, *others = sides(item)
        if any(_REPLACED in text for text in (first, *others)):
            yield "replaced"
        if first in others:
            yield "same_text"
        if split == "dev" and not tested.isdisjoint(keys(item)):
            yield "also_tested"

    files: dict[str, dict[str, FileCounts]] = {}
    for split, parts in splits.items():
        found = files.setdefault(split, {})
        for part in parts:
            before = found.get(part.file, FileCounts(0, Counter(), Counter()))
            suspicious = Counter(reason for item in part.items for reason in suspicions(split, item))
            read = before.read + len(part.items) + part.dropped.total()
            found[part.file] = FileCounts(read, before.dropped + part.dropped, before.suspicious + suspicious)
        if not any(part.items for part in parts):
            reasons = ", ".join(f"{reason} {count}" for reason, count in _dropped(found).items()) or "nothing"
            raise ValueError(f"the {split} split of {name} must have a pair, got none; dropped: {reasons}")
    return files


def _dropped(files: Mapping[str, FileCounts]) -> Counter[str]:
    return sum((counts.dropped for counts in files.values()), Counter())


def check_different(files: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError where a split would be read from one file twice."""
    for split, names in files.items():
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{split} must name different files, got {twice[0]} twice")


def verify_checksum(corpus: AnyCorpus, sha256: str | None) -> AnyCorpus:
    """Return the corpus if its checksum is this one; ``None`` takes any.

    Raises:
        ValueError: it has another.
    """
    if sha256 not in (None, corpus.sha256):
        raise ValueError(
            f"{corpus.name} must have the checksum of data.sha256, {sha256}, got {corpus.sha256}"
        )
    return corpus


def checksum(splits: Mapping[str, Sequence[Item]], content: Callable[[Item], Sequence[Any]]) -> str:
    """SHA-256 over the ``content`` (plain JSON values) of every item, split after split as they stand."""
    digest = hashlib.sha256()
    for split, items in splits.items():
        for item in items:
            line = json.dumps([split, *content(item)], separators=(",", ":"))
            digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()
