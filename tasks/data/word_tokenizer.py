"""What every tokenizer does, text to numbers and back; and that of words, cut at spaces or by Moses."""

import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any, ClassVar, Self

from tasks.data.normalize import PLAIN, Normalizer
from tasks.data.parallel import map_items
from tasks.data.vocabulary import BOUNDARIES, EOS, SPECIAL, START, UNK, Vocabulary
from tasks.errors import check_installed


class Tokenizer(ABC):
    """Cuts text into tokens that have numbers, and puts numbers together to text.

    Every tokenizer numbers ``<pad>``, ``<unk>``, ``<s>`` and ``</s>`` 0 to 3; a text never contains them.
    What :meth:`tokens` and :meth:`encode` return are of one length.
    """

    kind: ClassVar[str]
    normalizer: Normalizer

    @abstractmethod
    def __len__(self) -> int:
        """How many different tokens there are, the four special ones included."""

    @abstractmethod
    def tokens(self, text: str) -> list[str]:
        """Return the tokens of ``text`` as they are shown, unknown ones too, without begin and end."""

    @abstractmethod
    def words(self, text: str) -> list[int]:
        """Return for each token of ``text`` the position, among the words between spaces, that it is from."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the numbers of the tokens of ``text``, ``UNK`` for unknown ones, without begin and end."""

    @abstractmethod
    def decode(self, ids: Sequence[int], unknown: Sequence[str] | None = None) -> str:
        """Return the text of these numbers, without begin, end and padding.

        Args:
            ids: the numbers.
            unknown: for each number the token to write where it is ``UNK``; ``<unk>`` is written by default.
        """

    def show(self, ids: Sequence[int]) -> list[str]:
        """Return the token of each number as it is shown, special ones too."""
        if any(not 0 <= number < len(self) for number in ids):
            raise ValueError(f"a token's number must lie in 0 ... {len(self) - 1}, got {list(ids)}")
        return self._show(ids)

    @property
    def sha256(self) -> str:
        """Checksum of everything that decides what the methods return."""
        return str(self.to_json()["sha256"])

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; ``kind`` says which tokenizer it is."""
        content = {"kind": self.kind, "normalizer": asdict(self.normalizer), **self._content()}
        return {**content, "sha256": fingerprint(content)}

    @classmethod
    @abstractmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild from :meth:`to_json`."""

    @abstractmethod
    def _content(self) -> dict[str, Any]: ...

    @abstractmethod
    def _show(self, ids: Sequence[int]) -> list[str]: ...


class WordTokenizer(Tokenizer):
    """Numbers words by frequency.

    Args:
        vocabulary: its words begin with ``BOUNDARIES``.
        normalizer: what is done to every token; Moses' rules see the text in its own case and digits.
        moses: language whose Moses rules cut the text and put it together; ``None`` does both at spaces.

    Raises:
        ValueError: a vocabulary that begins otherwise, or a language for which Moses has no rules.

    Example:
        >>> tokenizer = WordTokenizer.train(["Ein Hund.", "Der Hund schläft."], moses="de")
        >>> tokenizer.encode("Der Hund bellt."), tokenizer.words("Der Hund bellt.")
        ([6, 5, 1, 4], [0, 1, 2, 2])
        >>> tokenizer.decode([6, 5, 1, 4], unknown=["The", "dog", "barks", "."])
        'Der Hund barks.'
    """

    kind = "words"

    def __init__(
        self, vocabulary: Vocabulary, normalizer: Normalizer = PLAIN, moses: str | None = None
    ) -> None:
        if (start := vocabulary.words[: EOS + 1]) != START:
            raise ValueError(f"a tokenizer's vocabulary must begin with {START}, got {start}")
        if moses is not None:
            moses_rules(moses)
        self.vocabulary, self.normalizer, self.moses = vocabulary, normalizer, moses

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        max_size: int | None = 50_000,
        normalizer: Normalizer = PLAIN,
        moses: str | None = None,
    ) -> "WordTokenizer":
        """Keep the frequent words of the texts, the most frequent first.

        Args:
            texts: such as one side of a training set.
            max_size: most words to keep, not counting the four special ones; the paper's code keeps 50,000.
            normalizer: as for the class.
            moses: as for the class.

        Raises:
            ValueError: there is no word in the texts, or a bad number or language.
        """
        tokenizer = cls(Vocabulary(BOUNDARIES), normalizer, moses)
        counts: Counter[str] = Counter()
        for some in map_items(tokenizer._count, texts if isinstance(texts, Sequence) else list(texts)):
            counts.update(some)
        if not counts:
            raise ValueError("a tokenizer must have at least one word to learn from, got none")
        for boundary in BOUNDARIES:
            del counts[boundary]
        kept = Vocabulary.from_counts(counts, max_size=max_size)
        return cls(Vocabulary((*BOUNDARIES, *kept.words[len(SPECIAL) :])), normalizer, moses)

    def _count(self, texts: Sequence[str]) -> Counter[str]:
        return Counter(token for text in texts for token in self.tokens(text))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def tokens(self, text: str) -> list[str]:
        return [token for token, _ in self._cut(text)]

    def words(self, text: str) -> list[int]:
        return [word for _, word in self._cut(text)]

    def encode(self, text: str) -> list[int]:
        ids = self.vocabulary.encode(self.tokens(text))
        return [number if number > EOS else UNK for number in ids]  # a text may hold "</s>" as a word

    def decode(self, ids: Sequence[int], unknown: Sequence[str] | None = None) -> str:
        kept = strip_special(ids, self.show(ids), unknown)
        if self.moses is None:
            return " ".join(kept)
        return moses_rules(self.moses)[1].detokenize(kept, unescape=False)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "WordTokenizer":
        words = Vocabulary.from_json(content["words"])
        return cls(words, Normalizer(**content["normalizer"]), content["moses"])

    def _content(self) -> dict[str, Any]:
        return {"words": self.vocabulary.to_json(), "moses": self.moses}

    def _show(self, ids: Sequence[int]) -> list[str]:
        return [self.vocabulary.words[number] for number in ids]

    def _cut(self, text: str) -> list[tuple[str, int]]:
        """The tokens, each with the position of the word between spaces that it is from."""
        if self.moses is None:
            return [(word, i) for i, word in enumerate(self.normalizer(text).split())]
        # Rules look at capitals and digits (Dr. 3,000), so these are folded afterwards.
        cut = _cut_by_moses(PLAIN(text).split(), self.moses)
        return [(self.normalizer(token), word) for token, word in cut]


_CONTROLS = {code: None for code in range(32)}  # characters that Moses drops


def _cut_by_moses(words: list[str], language: str) -> list[tuple[str, int]]:
    words = [word.translate(_CONTROLS) for word in words]
    tokens = moses_rules(language)[0].tokenize(" ".join(words), escape=False)
    if "".join(tokens) != "".join(words):
        # A text that holds one of the rules' own place-holders, as DOTMULTI, comes out changed.
        return [(word, i) for i, word in enumerate(words) if word]
    owner = [i for i, word in enumerate(words) for _ in word]  # of every character
    starts = accumulate(map(len, tokens), initial=0)
    return [(token, owner[start]) for token, start in zip(tokens, starts, strict=False)]


@functools.cache
def moses_rules(language: str) -> tuple[Any, Any]:
    """Moses' two halves; the library would silently take the English rules for a language it lacks.

    Raises:
        PackageError: sacremoses is missing.
        ValueError: there are no rules for the language.
    """
    check_installed("sacremoses", "a text in Moses tokens")
    import sacremoses  # half a second that few corpora need
    from sacremoses.corpus import NonbreakingPrefixes

    languages = sorted({*NonbreakingPrefixes().available_langs.values(), "ja", "ko"})
    if language not in languages:
        raise ValueError(f"moses must be one of the languages {' '.join(languages)}, got {language!r}")
    return sacremoses.MosesTokenizer(language), sacremoses.MosesDetokenizer(language)


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 over plain JSON values, whatever the order of the keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def strip_special(
    ids: Sequence[int], tokens: Sequence[str], unknown: Sequence[str] | None = None
) -> list[str]:
    """Return those of the tokens that are text, each ``UNK`` as ``unknown`` has it.

    Raises:
        ValueError: ``unknown`` is of another length.

    Example:
        >>> strip_special([2, UNK, 7, EOS, 0], ["<s>", "<unk>", "dog", "</s>", "<pad>"], list("ABCDE"))
        ['B', 'dog']
    """
    given = tokens if unknown is None else unknown
    if len(given) != len(ids):
        raise ValueError(f"{len(ids)} numbers must have as many tokens for unknown ones, got {len(given)}")
    rows = zip(ids, tokens, given, strict=True)
    return [
        other if number == UNK else token for number, token, other in rows if number == UNK or number > EOS
    ]
