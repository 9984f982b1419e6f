"""Words and their numbers."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

from tasks.ranges import Range, check_ranges

PAD, UNK, BOS, EOS = range(4)
SPECIAL = ("<pad>", "<unk>")
BOUNDARIES = ("<s>", "</s>")
"""Begin and end of a sequence, which tokenizers number after padding and the unknown word."""
START = (*SPECIAL, *BOUNDARIES)


class Vocabulary:
    """A list of different words, numbered from 2; 0 is padding and 1 stands for every other word.

    Args:
        words: the words in the order of their numbers, without ``<pad>`` and ``<unk>``.

    Raises:
        ValueError: a word occurs twice, or is one of the two special ones.

    Example:
        >>> Vocabulary(["a", "dog"]).encode(["a", "red", "dog"])
        [2, 1, 3]
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: tuple[str, ...] = (*SPECIAL, *words)
        self._ids = {word: number for number, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            word, count = Counter(self.words).most_common(1)[0]
            raise ValueError(f"a vocabulary must have different words, got {word!r} {count} times")

    @classmethod
    def from_counts(
        cls, counts: Counter[str], *, max_size: Annotated[int | None, Range(least=0)] = None
    ) -> "Vocabulary":
        """Number the most frequent words first, and equally frequent ones in code point order.

        Args:
            counts: how often each word occurs.
            max_size: most words to keep, not counting the two special ones.

        Raises:
            ValueError: ``max_size < 0``.
        """
        check_ranges(cls.from_counts, {"max_size": max_size})
        words = counts.keys() - set(SPECIAL)
        return cls(sorted(words, key=lambda word: (-counts[word], word))[:max_size])

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Number the words; those outside the vocabulary become ``UNK``."""
        return [self._ids.get(token, UNK) for token in tokens]

    @property
    def sha256(self) -> str:
        """Checksum of the words in order: equal exactly when every word has the same number."""
        return hashlib.sha256(json.dumps(self.words).encode("ascii")).hexdigest()

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def to_json(self) -> list[str]:
        """All words, the two special ones first, as a plain list."""
        return list(self.words)

    @classmethod
    def from_json(cls, words: Sequence[str]) -> "Vocabulary":
        """Rebuild from :meth:`to_json`.

        Raises:
            ValueError: the list does not begin with the two special words, or repeats a word.
        """
        if tuple(words[:2]) != SPECIAL:
            raise ValueError(f"a stored vocabulary begins with {list(SPECIAL)}, got {list(words[:2])}")
        return cls(words[2:])
