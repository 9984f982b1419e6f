"""A corpus: named splits of items, with a checksum of what they say."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Corpus(Generic[Item]):
    """The splits of a corpus.

    Attributes:
        name: as records call it.
        sha256: checksum of what all items say, in order, whatever file or format they came from.
        splits: items under ``train`` and ``dev``, and under one or more names of test sets.
        dropped: for each split, why items were left out and how many.
        embedded: whether every word of it is this project's own, so that results may quote it.
    """

    name: str
    sha256: str
    splits: dict[str, list[Item]]
    dropped: dict[str, dict[str, int]]
    embedded: bool = field(default=False, kw_only=True)

    @property
    def sizes(self) -> dict[str, int]:
        return {split: len(items) for split, items in self.splits.items()}

    @property
    def test_splits(self) -> tuple[str, ...]:
        """Names of the splits that are for testing."""
        return tuple(split for split in self.splits if split not in ("train", "dev"))


def check_limit(limit: int | None) -> None:
    """Raise ValueError unless ``limit``, most items of a split, is at least 1 or None."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 or None, got {limit}")


def checksum(splits: Mapping[str, Sequence[Item]], content: Callable[[Item], Sequence[Any]]) -> str:
    """SHA-256 over the ``content`` (plain JSON values) of every item, split after split as they stand."""
    digest = hashlib.sha256()
    for split, items in splits.items():
        for item in items:
            line = json.dumps([split, *content(item)], separators=(",", ":"))
            digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()
