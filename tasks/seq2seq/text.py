"""Both sides of a corpus as numbers: which tokenizers, which pairs are trained on, and batches of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.checks import BatchSize, Fraction, PositiveInt, Range, check_ranges
from tasks.data.batching import Unit, pad
from tasks.data.cache import PAIR, PLACE, Items, Numbers, map_items, prepared, row_batch, write_batches
from tasks.data.normalize import Normalizer
from tasks.data.tokenizers import SubwordTokenizer, Tokenizer, WordTokenizer, tokenizer_from_json
from tasks.data.vocabulary import BOS, EOS, PAD
from tasks.seq2seq.data import Corpus, Example


@dataclass(frozen=True)
class TextSettings:
    """How texts become numbers; the defaults are the paper's."""

    tokenizer: Literal["words", "subwords"] = "words"  # a vocabulary for each side, or one model for both
    # Words of each side at most, or pieces of the model, the special ones included.
    vocab_size: Annotated[int, Range(least=5, most=1_000_000)] = 50_000
    lowercase: bool = False  # fold letters to lower case
    digits: bool = False  # write every digit as #, as Gigaword does
    treebank: bool = False  # cut English as the Penn Treebank does, which leaves text cut so already as it is
    moses: bool = False  # cut each side's raw text by Moses's rules of its language, for words

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if self.moses and self.tokenizer != "words":
            raise ValueError("moses must be false for subwords, which cut raw text by themselves, got true")

    def train(self, texts: Sequence[str], language: str | None) -> Tokenizer:
        """Learn a tokenizer from ``texts``; ``language`` is that of words by Moses's rules."""
        normalizer = Normalizer(lowercase=self.lowercase, digits=self.digits, treebank=self.treebank)
        if self.tokenizer == "subwords":
            return SubwordTokenizer.train(texts, vocab_size=self.vocab_size, normalizer=normalizer)
        moses = language if self.moses else None
        return WordTokenizer.train(texts, max_size=self.vocab_size, normalizer=normalizer, moses=moses)


class Texts(Sequence[str]):
    """Sides of examples, one side after the other, read when they are asked for."""

    def __init__(self, examples: Sequence[Example], *sides: str) -> None:
        self.examples, self.sides = examples, sides

    def __len__(self) -> int:
        return len(self.sides) * len(self.examples)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            number, place = divmod(range(len(self))[index], len(self.examples))
            return getattr(self.examples[place], self.sides[number])
        start, stop, step = index.indices(len(self))
        found: list[str] = []
        for side in self.sides:
            found += [getattr(example, side) for example in self.examples[max(0, start) : max(0, stop)]]
            start, stop = start - len(self.examples), stop - len(self.examples)
        return found[::step]


class Tokenizers(NamedTuple):
    """The tokenizers of source and target, the same object where the sides share one."""

    source: Tokenizer
    target: Tokenizer

    @classmethod
    def train(cls, corpus: Corpus, settings: TextSettings) -> Tokenizers:
        """Learn them from the training split, or find those that were learnt from it before.

        Raises:
            ValueError: Moses's rules were asked for where they have cut the corpus already.
        """
        if settings.moses and corpus.tokenized:
            raise ValueError("moses must be false for a corpus that is cut into words already, got true")
        train = corpus.splits["train"]

        def learn(folder: Path) -> None:
            if settings.tokenizer == "subwords":
                shared = settings.train(Texts(train, "source", "target"), None)
                learnt = cls(shared, shared)
            else:
                sides = Texts(train, "source"), Texts(train, "target")
                learnt = cls(*map(settings.train, sides, corpus.languages))
            (folder / "tokenizers.json").write_text(json.dumps(learnt.to_json()))

        def read(folder: Path) -> Tokenizers:
            return cls.from_json(json.loads((folder / "tokenizers.json").read_bytes()))

        asked = json.dumps([asdict(settings), corpus.languages], sort_keys=True)
        return prepared(corpus.beside("tokenizers", sha256(asked.encode()).hexdigest()), learn, read)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Tokenizers:
        """Rebuild from :meth:`to_json`.

        Raises:
            ValueError: no tokenizers are stored there.
        """
        if set(stored) != {"source", "target"}:
            raise ValueError(f"stored tokenizers must have source and target, got {', '.join(stored)}")
        source = tokenizer_from_json(stored["source"])
        return cls(source, source if stored["target"] is None else tokenizer_from_json(stored["target"]))

    @property
    def is_shared(self) -> bool:
        return self.source is self.target

    @property
    def sha256(self) -> str:
        return sha256("".join([self.source.sha256, self.target.sha256]).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON, a shared one once."""
        return {"source": self.source.to_json(), "target": None if self.is_shared else self.target.to_json()}


@dataclass(frozen=True)
class BatchSettings:
    """What a training step sees; the defaults are those of OpenNMT-py in 2017."""

    size: BatchSize = 64
    count: Unit = "sentences"  # tokens are padded source tokens
    max_length: PositiveInt = 50  # training pairs with more tokens on a side are left out
    mean_over: Unit = "sentences"  # the loss sums over target tokens and is divided by the number of these
    pad_to_multiple: Annotated[int, Range(least=1, most=1_024)] = 1  # lengths, so that few shapes occur
    label_smoothing: Fraction = 0.0  # probability spread evenly over the vocabulary

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))


class ShortPairs(Sequence[tuple[Numbers, Numbers]]):
    """The pairs whose sides both have 1 to ``longest`` numbers, each read or numbered when it is asked for.

    ``lengths`` are those of the sources, int32.

    Args:
        lengths: of all pairs, int32 (2, n).
        longest: at least 1.
        numbered: the pair of a position.
    """

    def __init__(self, lengths: np.ndarray, longest: int, numbered: Callable[[int], tuple[Numbers, Numbers]]):
        self._numbered = numbered
        self._rows = np.flatnonzero(((lengths > 0) & (lengths <= longest)).all(0)).astype(np.int32)
        self.lengths = lengths[0][self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._numbered(row) for row in self._rows[index].tolist()]
        return self._numbered(int(self._rows[index]))


def short_pairs(corpus: Corpus, tokenizers: Tokenizers, longest: int) -> ShortPairs:
    """Training pairs with 1 to ``longest`` tokens on both sides, numbered now or before.

    Of a corpus that is streamed only the lengths are kept, and pairs are numbered when they are asked for.

    Raises:
        ValueError: there are none.
    """
    train = corpus.splits["train"]
    is_streamed = isinstance(train, Items) and train.schema == PLACE

    def numbered(example: Example) -> tuple[Numbers, Numbers]:
        return tokenizers.source.encode(example.source), tokenizers.target.encode(example.target)

    def work(examples: Sequence[Example]) -> tuple[np.ndarray, Any]:
        pairs = [numbered(example) for example in examples]
        lengths = np.array([[*map(len, pair)] for pair in pairs], np.int32)
        return lengths, None if is_streamed else row_batch(PAIR, *zip(*pairs, strict=True))

    def write(folder: Path) -> None:
        lengths: list[np.ndarray] = []

        def batches() -> Iterator[Any]:
            for some, batch in map_items(work, train):
                lengths.append(some)
                if not is_streamed:
                    yield batch

        write_batches(folder / "pairs.arrow", PAIR, batches())
        np.save(folder / "lengths.npy", np.concatenate(lengths).T)

    def read(folder: Path) -> ShortPairs:
        stored: Items[Any] = Items(folder / "pairs.arrow", lambda *pair: pair)
        pair_of = (lambda row: numbered(train[row])) if is_streamed else stored.__getitem__
        return ShortPairs(np.load(folder / "lengths.npy"), longest, pair_of)

    pairs = prepared(corpus.beside("numbers", tokenizers.sha256), write, read)
    if not pairs:
        raise ValueError(f"training must have a pair of 1 to {longest} tokens on both sides, got none")
    return pairs


class PairBatch(NamedTuple):
    """Sources (b, S), their lengths (b,) on the CPU, and targets (b, T) as they begin and as they end.

    ``decoder_input``, opened by ``BOS``, is what the decoder is fed; ``labels``, closed by ``EOS``, what it
    has to predict.
    """

    source: Tensor
    lengths: Tensor
    decoder_input: Tensor
    labels: Tensor

    @property
    def mask(self) -> Tensor:
        """Bool (b, S): where the source is no padding."""
        return self.source != PAD

    @property
    def target_mask(self) -> Tensor:
        """Bool (b, T): where ``labels`` is no padding."""
        return self.labels != PAD

    @property
    def words(self) -> Tensor:
        """Bool (b, T): where ``labels`` is a word, neither padding nor ``EOS``."""
        return self.target_mask & (self.labels != EOS)


def pair_batch(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    device: torch.device,
    multiple: int = 1,
) -> PairBatch:
    """Pad pairs of numbered texts to multiples of a length; every source has at least one token."""
    source, lengths = pad(sources, multiple)
    decoder_input, _ = pad([[BOS, *target] for target in targets], multiple)
    labels, _ = pad([[*target, EOS] for target in targets], multiple)
    return PairBatch(source.to(device), lengths, decoder_input.to(device), labels.to(device))


def target_rows(pairs: PairBatch) -> Tensor:
    """Positions in the flattened targets of all tokens to predict, and of some padding.

    The output layer takes most of a step, so most padding is dropped before it. Some fills the rows up to a
    multiple of 64: libraries compile a product for every new shape.
    """
    mask = pairs.target_mask.flatten()
    count = -(-int(mask.sum()) // 64) * 64
    return mask.byte().argsort(descending=True, stable=True)[:count]
