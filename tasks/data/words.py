"""A tokenizer of whole words, cut at spaces or by the rules of Moses."""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from tasks.data.normalize import PLAIN, Normalizer
from tasks.data.tokenizer import BOUNDARIES, EOS, UNK, check_ids, fingerprint, strip_special
from tasks.data.vocabulary import SPECIAL, Vocabulary
from tasks.packages import check_installed


class Token(NamedTuple):
    """A token, and the position of the word between spaces that it is from."""

    text: str
    word: int


class WordTokenizer:
    """Numbers words by frequency, a :class:`~tasks.data.tokenizer.Tokenizer`.

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
        start, special = vocabulary.words[: EOS + 1], (*SPECIAL, *BOUNDARIES)
        if start != special:
            raise ValueError(f"a tokenizer's vocabulary must begin with {special}, got {start}")
        if moses is not None:
            _moses(moses)
        self.vocabulary, self.normalizer, self.moses = vocabulary, normalizer, moses

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        max_size: int | None = 50_000,
        min_count: int = 1,
        normalizer: Normalizer = PLAIN,
        moses: str | None = None,
    ) -> "WordTokenizer":
        """Keep the frequent words of the texts, the most frequent first.

        Args:
            texts: such as one side of a training set.
            max_size: most words to keep, not counting the four special ones; the paper's code keeps 50,000.
            min_count: fewest occurrences of a word that is kept.
            normalizer: as for the class.
            moses: as for the class.

        Raises:
            ValueError: there is no word in the texts, or a bad number or language.
        """
        tokenizer = cls(Vocabulary(BOUNDARIES), normalizer, moses)
        counts = Counter(token for text in texts for token in tokenizer.tokens(text))
        if not counts:
            raise ValueError("a tokenizer must have at least one word to learn from, got none")
        for boundary in BOUNDARIES:
            del counts[boundary]
        kept = Vocabulary.from_counts(counts, min_count=min_count, max_size=max_size)
        return cls(Vocabulary((*BOUNDARIES, *kept.words[len(SPECIAL) :])), normalizer, moses)

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def sha256(self) -> str:
        return fingerprint(self._content())

    def tokens(self, text: str) -> list[str]:
        return [token.text for token in self._cut(text)]

    def words(self, text: str) -> list[int]:
        return [token.word for token in self._cut(text)]

    def encode(self, text: str) -> list[int]:
        ids = self.vocabulary.encode(self.tokens(text))
        return [number if number > EOS else UNK for number in ids]  # a text may hold "</s>" as a word

    def decode(self, ids: Sequence[int], unknown: Sequence[str] | None = None) -> str:
        kept = strip_special(ids, self.show(ids), unknown)
        if self.moses is None:
            return " ".join(kept)
        return _moses(self.moses)[1].detokenize(kept, unescape=False)

    def show(self, ids: Sequence[int]) -> list[str]:
        check_ids(ids, len(self))
        return [self.vocabulary.words[number] for number in ids]

    def to_json(self) -> dict[str, Any]:
        return {**self._content(), "sha256": self.sha256}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "WordTokenizer":
        """Rebuild from :meth:`to_json`."""
        words = Vocabulary.from_json(content["words"])
        return cls(words, Normalizer(**content["normalizer"]), content["moses"])

    def _content(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "words": self.vocabulary.to_json(),
            "normalizer": asdict(self.normalizer),
            "moses": self.moses,
        }

    def _cut(self, text: str) -> list[Token]:
        if self.moses is None:
            return [Token(word, i) for i, word in enumerate(self.normalizer(text).split())]
        # Rules look at capitals and digits (Dr. 3,000), so these are folded afterwards.
        cut = _cut_by_moses(PLAIN(text).split(), self.moses)
        return [Token(self.normalizer(token), word) for token, word in cut]


def _cut_by_moses(words: list[str], language: str) -> list[Token]:
    words = [word.translate(_JUNK) for word in words]
    tokens = _moses(language)[0].tokenize(" ".join(words), escape=False)
    if "".join(tokens) != "".join(words):
        # A text that holds one of the rules' own place-holders, as DOTMULTI, comes out changed.
        return [Token(word, i) for i, word in enumerate(words) if word]
    owner = [i for i, word in enumerate(words) for _ in word]  # of every character
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    return [Token(token, owner[start]) for token, start in zip(tokens, starts[:-1], strict=True)]


_JUNK = {code: None for code in range(32)}  # control characters, which Moses drops


@functools.cache
def _moses(language: str) -> tuple[Any, Any]:
    """Moses' two halves; the library would silently take the English rules for a language it lacks."""
    check_installed("sacremoses", "moses=true")
    import sacremoses
    from sacremoses.corpus import NonbreakingPrefixes

    languages = sorted({*NonbreakingPrefixes().available_langs.values(), "ja", "ko"})
    if language not in languages:
        raise ValueError(f"moses must be one of the languages {' '.join(languages)}, got {language!r}")
    return sacremoses.MosesTokenizer(language), sacremoses.MosesDetokenizer(language)
