"""Tokenizers, text to numbers and back: of words, cut at spaces or by Moses, and of subwords."""

import base64
import functools
import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate, chain
from typing import Annotated, Any, ClassVar, Self

import sentencepiece

from tasks.checks import Range, check_installed, check_ranges, counted
from tasks.data.cache import map_items
from tasks.data.normalize import PLAIN, Normalizer
from tasks.data.vocabulary import BOS, BOUNDARIES, EOS, PAD, SPECIAL, START, UNK, Vocabulary


class Tokenizer(ABC):
    """Cuts text into tokens that have numbers, and puts numbers together to text.

    Every tokenizer numbers ``<pad>``, ``<unk>``, ``<s>`` and ``</s>`` 0 to 3; a text never contains them.
    What :meth:`tokens` and :meth:`encode` return are of one length.
    """

    kind: ClassVar[str]
    normalizer: Normalizer
    shown: Sequence[str]
    """Every token as it is shown, by its number."""

    def __len__(self) -> int:
        """How many different tokens there are, the four special ones included."""
        return len(self.shown)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of ``text`` as they are shown, unknown ones too, without begin and end."""
        return [token for token, _ in self._cut(text)]

    def words(self, text: str) -> list[int]:
        """Return for each token of ``text`` the position, among the words between spaces, that it is from."""
        return [word for _, word in self._cut(text)]

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the numbers of the tokens of ``text``, ``UNK`` for unknown ones, without begin and end."""

    def decode(self, ids: Sequence[int], unknown: Sequence[str] | None = None) -> str:
        """Return the text of these numbers, without begin, end and padding.

        Where a number is ``UNK`` the token is written that ``unknown`` has for it, ``<unk>`` by default.
        """
        tokens = self.show(ids)
        given = tokens if unknown is None else unknown
        if len(given) != len(ids):
            wanted = f"a token for each of {counted(len(ids), 'number')}"
            raise ValueError(f"unknown must have {wanted}, got {len(given)}")
        rows = zip(ids, tokens, given, strict=True)
        return self._join([other if n == UNK else token for n, token, other in rows if n == UNK or n > EOS])

    def show(self, ids: Sequence[int]) -> list[str]:
        """Return the token of each number as it is shown, special ones too."""
        if any(not 0 <= number < len(self) for number in ids):
            raise ValueError(f"a token's number must lie in 0 ... {len(self) - 1}, got {list(ids)}")
        return [self.shown[number] for number in ids]

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
    def _cut(self, text: str) -> list[tuple[str, int]]:
        """The tokens, each with the position of the word between spaces that it is from."""

    @abstractmethod
    def _join(self, tokens: Sequence[str]) -> str: ...


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
        self.shown = vocabulary.words

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        max_size: int | None = 50_000,
        normalizer: Normalizer = PLAIN,
        moses: str | None = None,
    ) -> "WordTokenizer":
        """Keep the frequent words of the texts, such as one side of a training set, the most frequent first.

        The four special ones do not count in ``max_size``; the paper's code keeps 50,000.

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

    def encode(self, text: str) -> list[int]:
        ids = self.vocabulary.encode(self.tokens(text))
        return [number if number > EOS else UNK for number in ids]  # a text may hold "</s>" as a word

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "WordTokenizer":
        words = Vocabulary.from_json(content["words"])
        return cls(words, Normalizer(**content["normalizer"]), content["moses"])

    def _content(self) -> dict[str, Any]:
        return {"words": self.vocabulary.to_json(), "moses": self.moses}

    def _cut(self, text: str) -> list[tuple[str, int]]:
        if self.moses is None:
            return [(word, i) for i, word in enumerate(self.normalizer(text).split())]
        # Rules look at capitals and digits (Dr. 3,000), so these are folded afterwards.
        cut = _cut_by_moses(PLAIN(text).split(), self.moses)
        return [(self.normalizer(token), word) for token, word in cut]

    def _join(self, tokens: Sequence[str]) -> str:
        if self.moses is None:
            return " ".join(tokens)
        return moses_rules(self.moses)[1].detokenize(tokens, unescape=False)


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


# ------------------------------------------------------------------ subwords
SAMPLE = 1_000_000
"""Texts that a tokenizer is learnt from, at most: more take long and change few pieces."""
SPACE = "\u2581"  # ▁, with which sentencepiece marks the beginning of a word
_RESERVED = "\u2585"  # sentencepiece leaves out, unsaid, a sentence that holds this block
_LITERAL = re.compile(rf"<(?={'|'.join(token[1:] for token in START)})")


class SubwordTokenizer(Tokenizer):
    """Cuts words into frequent pieces.

    A piece that begins a word is shown with ``▁`` before it; in a text that character counts as ``_``.

    Args:
        model: a sentencepiece model as bytes, its first pieces the four special tokens.
        normalizer: what is done to a text first; the model does nothing of the kind.

    Raises:
        ValueError: bytes that are no such model.

    Example:
        >>> tokenizer = SubwordTokenizer.train(["a dog", "a dog and a cat", "the dogs"], vocab_size=20)
        >>> tokenizer.tokens("a dog sat"), tokenizer.words("a dog sat")
        (['▁a', '▁dog', '▁', 's', 'at'], [0, 1, 2, 2, 2])
        >>> tokenizer.decode(tokenizer.encode("a dog sat"))
        'a dog sat'

    Source: Sennrich, Haddow & Birch (2016), "Neural Machine Translation of Rare Words with Subword Units".
    """

    kind = "subwords"

    def __init__(self, model: bytes, normalizer: Normalizer = PLAIN) -> None:
        self.model, self.normalizer = model, normalizer
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            start = model and tuple(self._processor.id_to_piece(list(range(EOS + 1))))
        except (RuntimeError, IndexError) as error:
            raise ValueError(f"a tokenizer must be given a sentencepiece model, got none: {error}") from None
        if start != START:
            raise ValueError(f"a sentencepiece model must begin with {START}, got {start}")
        self.shown = self._processor.id_to_piece(list(range(len(self._processor))))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: Annotated[int, Range(least=EOS + 2)] = 4000,
        normalizer: Normalizer = PLAIN,
    ) -> "SubwordTokenizer":
        """Learn the pieces of the texts; the same texts in the same order give the same bytes.

        Args:
            texts: such as both sides of a training set; of more than ``SAMPLE`` so many are read, evenly
                spaced.
            vocab_size: most pieces, the four special ones and all single characters included.

        Raises:
            ValueError: there is no word in the texts, or a ``vocab_size`` below the number of characters.
        """
        check_ranges(cls.train, {"vocab_size": vocab_size})
        texts = texts if isinstance(texts, Sequence) else list(texts)
        step = max(1, len(texts) / SAMPLE)

        def cleaned(places: Sequence[int]) -> list[str]:
            """Texts of the sample, taken apart where sentencepiece would leave them out of its training."""
            whole = step == 1
            part = texts[places[0] : places[-1] + 1] if whole else [texts[int(n * step)] for n in places]
            kept = (_prepare(text, normalizer).replace(_RESERVED, " ").strip() for text in part)
            return [_LITERAL.sub("< ", text) for text in kept if text]

        # All of them, for sentencepiece would hide an error of reading them.
        sentences = list(chain.from_iterable(map_items(cleaned, range(min(len(texts), SAMPLE)))))
        if not sentences:
            raise ValueError("a tokenizer must have at least one word to learn from, got none")
        return cls(_learn(sentences, vocab_size), normalizer)

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(_prepare(text, self.normalizer), out_type=int)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SubwordTokenizer":
        model = base64.b64decode(content["model"], validate=True)
        return cls(model, Normalizer(**content["normalizer"]))

    def _content(self) -> dict[str, Any]:
        return {"model": base64.b64encode(self.model).decode("ascii")}

    def _cut(self, text: str) -> list[tuple[str, int]]:
        tokens = self._processor.encode(_prepare(text, self.normalizer), out_type=str)
        starts = accumulate(token.startswith(SPACE) for token in tokens)
        return [(token, count - 1) for token, count in zip(tokens, starts, strict=True)]

    def _join(self, tokens: Sequence[str]) -> str:
        return " ".join("".join(tokens).replace(SPACE, " ").split())


def _prepare(text: str, normalizer: Normalizer) -> str:
    return normalizer(text).replace(SPACE, "_")


def _learn(sentences: list[str], vocab_size: int) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="bpe",
            character_coverage=1.0,
            hard_vocab_limit=False,  # a small corpus has fewer
            normalization_rule_name="identity",
            max_sentence_length=2**30,  # a longer sentence is left out, unsaid; there is no larger number
            num_threads=1,
            minloglevel=2,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=START[PAD],
            unk_piece=START[UNK],
            bos_piece=START[BOS],
            eos_piece=START[EOS],
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2] or str(error)
        raise ValueError(f"a tokenizer must be able to learn {vocab_size} pieces, got: {reason}") from None
    return model.getvalue()


_KINDS: dict[object, type[WordTokenizer] | type[SubwordTokenizer]] = {
    kind.kind: kind for kind in (WordTokenizer, SubwordTokenizer)
}


def tokenizer_from_json(content: Mapping[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from its ``to_json``, unless the content is not what was stored.

    Example:
        >>> stored = WordTokenizer.train(["a dog"]).to_json()
        >>> tokenizer_from_json(stored).encode("a red dog")
        [4, 1, 5]
    """
    rest = dict(content) if isinstance(content, Mapping) else {}
    kind, stored = rest.get("kind"), rest.pop("sha256", None)
    if kind not in [*_KINDS]:
        raise ValueError(f"a tokenizer must be one of the kinds {', '.join(map(str, _KINDS))}, got {kind!r}")
    if (found := fingerprint(rest)) != stored:
        raise ValueError(f"a stored tokenizer must have content of checksum {stored}, got {found}")
    try:
        return _KINDS[kind].from_json(rest)
    except (KeyError, TypeError, ValueError) as error:
        got = f"a damaged one: {error}"
        raise ValueError(f"a tokenizer of {kind} must have all its fields, got {got}") from None
