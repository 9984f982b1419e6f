"""A tokenizer of subwords, learnt and cut by sentencepiece; and stored tokenizers, whichever kind."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Annotated, Any

import sentencepiece

from tasks.data.normalize import PLAIN, Normalizer
from tasks.data.parallel import map_items
from tasks.data.vocabulary import BOS, EOS, PAD, START, UNK
from tasks.data.word_tokenizer import Tokenizer, WordTokenizer, fingerprint, strip_special
from tasks.ranges import Range, check_ranges

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
            normalizer: as for the class.

        Raises:
            ValueError: there is no word in the texts, or a ``vocab_size`` below the number of characters.
        """
        check_ranges(cls.train, {"vocab_size": vocab_size})
        texts = texts if isinstance(texts, Sequence) else list(texts)
        step = max(1, len(texts) / SAMPLE)
        sample = texts if step == 1 else [texts[int(n * step)] for n in range(SAMPLE)]
        # All of them, for sentencepiece would hide an error of reading them.
        sentences = list(chain.from_iterable(map_items(lambda part: [*_sentences(part, normalizer)], sample)))
        if not sentences:
            raise ValueError("a tokenizer must have at least one word to learn from, got none")
        return cls(_learn(sentences, vocab_size), normalizer)

    def __len__(self) -> int:
        return len(self._processor)

    def tokens(self, text: str) -> list[str]:
        return self._processor.encode(_prepare(text, self.normalizer), out_type=str)

    def words(self, text: str) -> list[int]:
        starts = (token.startswith(SPACE) for token in self.tokens(text))
        return [count - 1 for count in accumulate(starts)]

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(_prepare(text, self.normalizer), out_type=int)

    def decode(self, ids: Sequence[int], unknown: Sequence[str] | None = None) -> str:
        kept = "".join(strip_special(ids, self.show(ids), unknown))
        return " ".join(kept.replace(SPACE, " ").split())

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SubwordTokenizer":
        model = base64.b64decode(content["model"], validate=True)
        return cls(model, Normalizer(**content["normalizer"]))

    def _content(self) -> dict[str, Any]:
        return {"model": base64.b64encode(self.model).decode("ascii")}

    def _show(self, ids: Sequence[int]) -> list[str]:
        return self._processor.id_to_piece(list(ids))


def _prepare(text: str, normalizer: Normalizer) -> str:
    return normalizer(text).replace(SPACE, "_")


def _sentences(texts: Iterable[str], normalizer: Normalizer) -> Iterator[str]:
    """Take apart what sentencepiece would leave out of its training."""
    for text in texts:
        text = _prepare(text, normalizer).replace(_RESERVED, " ").strip()
        if text:
            yield _LITERAL.sub("< ", text)


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
    """Rebuild a tokenizer from its ``to_json``.

    Raises:
        ValueError: another kind of tokenizer, or content that is not what was stored.

    Example:
        >>> stored = WordTokenizer.train(["a dog"]).to_json()
        >>> tokenizer_from_json(stored).encode("a red dog")
        [4, 1, 5]
    """
    rest = dict(content) if isinstance(content, Mapping) else {}
    kind, stored = rest.get("kind"), rest.pop("sha256", None)
    if kind not in [*_KINDS]:
        raise ValueError(
            f"a stored tokenizer must have one of the kinds {', '.join(map(str, _KINDS))}, got {kind!r}"
        )
    if (found := fingerprint(rest)) != stored:
        raise ValueError(f"a stored tokenizer must have content of checksum {stored}, got {found}")
    try:
        return _KINDS[kind].from_json(rest)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"a stored tokenizer of {kind} must have all its fields, got a damaged one: {error}"
        ) from None
