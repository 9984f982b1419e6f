"""Words, their numbers and their vectors: those of a GloVe file, and a stated rule for words without one."""

import codecs
import hashlib
import io
import json
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, cast

import numpy as np
import torch

from tasks.checks import PositiveInt, Range, check_ranges, counted
from tasks.data.files import check_file, check_utf8, open_bytes, raw_lines, unchanged

PAD, UNK, BOS, EOS = range(4)
SPECIAL = ("<pad>", "<unk>")
BOUNDARIES = ("<s>", "</s>")
"""Begin and end of a sequence, which tokenizers number after padding and the unknown word."""
START = (*SPECIAL, *BOUNDARIES)


class Vocabulary:
    """A list of different words, numbered from 2; 0 is padding and 1 stands for every other word.

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

        The two special words do not count in ``max_size``.
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
        """Rebuild from :meth:`to_json` a list that begins with the special words and repeats none."""
        if tuple(words[:2]) != SPECIAL:
            raise ValueError(f"a stored vocabulary begins with {list(SPECIAL)}, got {list(words[:2])}")
        return cls(words[2:])


# ------------------------------------------------------------------ vectors
_SCALE = 0.4  # of drawn vectors, about that of GloVe's 300 dimensions

_LONGEST_LINE = 2**20  # bytes: of 10,000 numbers it would have a tenth

_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

# What the ways to pack a member, a password, and damaged names and places of members come as.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
)


@dataclass(frozen=True)
class Vectors:
    """One vector for every word of a vocabulary."""

    weights: torch.Tensor  # float32 (words, dim); row PAD is zero
    found: int  # words, the two special ones aside, that have a vector in the file
    sha256: str | None  # of the file as it lies on disk; None without a file

    @property
    def coverage(self) -> float:
        """Share of the vocabulary, the two special words aside, that has a vector in the file."""
        return self.found / max(1, len(self.weights) - len(SPECIAL))


def load_vectors(path: Path | str, vocabulary: Vocabulary) -> Vectors:
    """Read the vectors of a vocabulary's words from a GloVe text file of any dimension.

    A word without a vector gets independent normal components whose scale is that of all components found,
    drawn from a generator seeded with the word itself: in every run and vocabulary the same direction.

    Args:
        path: plain, ``.gz`` or ``.zip``, with spaces or tabs between columns; a byte-order mark before a line
            is dropped. A first line ``count dim``, as word2vec writes it, says how many vectors follow at
            least, and how many numbers each has; else the first vector does.
        vocabulary: the words wanted.

    Raises:
        OSError: there is no file of that name.
        ValueError: an empty or damaged file, or one that changes meanwhile; bytes that are not UTF-8; a line
            with another number of numbers; fewer lines than the first one says; a vector that is not finite;
            none for any word; a zip archive without exactly one file to read.
    """
    path = Path(path)
    check_file(path)
    with unchanged(path):
        with _open(path) as stream:
            dim, found = _scan(stream, path, set(vocabulary.words[len(SPECIAL) :]))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not found:
        words = counted(len(vocabulary), "word")
        raise ValueError(f"{path} must have a vector for at least one of {words}, got none")
    scale = float(np.std(np.stack(list(found.values()))))
    rows = [found[word] if word in found else _draw(word, dim, scale) for word in vocabulary.words]
    return Vectors(_weights(rows), len(found), sha256)


def random_vectors(vocabulary: Vocabulary, dim: PositiveInt) -> Vectors:
    """Draw a vector for every word, by the rule that :func:`load_vectors` has for words without one."""
    check_ranges(random_vectors, {"dim": dim})
    return Vectors(_weights([_draw(word, dim, _SCALE) for word in vocabulary.words]), 0, None)


def _scan(stream: IO[bytes], path: Path, words: set[str]) -> tuple[int, dict[str, np.ndarray]]:
    """Look at every line, but take numbers only from those of wanted words: a file has millions."""
    wanted = {word.encode(): word for word in words}
    found: dict[str, np.ndarray] = {}
    dim = start = number = said = 0
    for number, line in enumerate(raw_lines(stream, path, _LONGEST_LINE), 1):
        begin, start = start, start + len(line)
        if not line.isascii():
            check_utf8(line, begin, path)
            line = line.removeprefix(codecs.BOM_UTF8)  # files that were joined have one at each seam
        line = line.rstrip(b" \t\r\n")
        if number == 1 and b"\0" in line:
            raise ValueError(f"{path} must be text, or one .txt file in a .gz or .zip, got bytes of 0")
        if not dim or b"\t" in line or line.count(b" ") != dim:
            columns = line.split()
            if number == 1 and len(columns) == 2 and all(map(bytes.isdigit, columns)):
                said, dim = map(int, columns)
                continue
            dim = dim or max(0, len(columns) - 1)
            if len(columns) != dim + 1 or not dim:
                _check_spaces_in_word(columns, dim, f"{path}, line {number}")
                continue
            line = b" ".join(columns)
        if (word := wanted.get(line[: line.index(b" ")])) and word not in found:
            found[word] = _numbers(line, f"{path}, line {number}")
    if said >= number > 0:
        raise ValueError(
            f"{path} must have the {counted(said, 'vector')} of its first line, got {number - 1:,}"
        )
    return dim, found


def _check_spaces_in_word(columns: Sequence[bytes], dim: int, where: str) -> None:
    """Let pass the few words of GloVe 840B that hold spaces (". . ."); none is in a vocabulary."""
    extra = columns[1 : len(columns) - dim] if dim else []
    if not extra or any(map(_NUMBER.fullmatch, extra)):
        numbers = counted(dim, "number") if dim else "its numbers"
        wanted = f"{where} must have a word and {numbers}, with spaces or tabs between them"
        raise ValueError(f"{wanted}, got {counted(max(0, len(columns) - 1), 'number')}")


def _numbers(line: bytes, where: str) -> np.ndarray:
    columns = line.split(b" ")[1:]
    try:
        numbers = np.array([float(text) for text in columns])
    except ValueError as error:
        raise ValueError(f"{where} must have numbers, got one that is none: {error}") from None
    bad = numbers[~(np.abs(numbers) <= np.finfo(np.float32).max)]
    if bad.size:
        raise ValueError(f"{where} must have finite numbers, got {bad[0]}")
    return numbers.astype(np.float32)


def _draw(word: str, dim: int, scale: float) -> np.ndarray:
    digest = hashlib.sha256(f"0 {word}".encode()).digest()
    # NumPy promises never to change this older generator's stream, which it does not for the new one.
    random = np.random.RandomState(np.frombuffer(digest, dtype="<u4"))
    return (scale * random.standard_normal(dim)).astype(np.float32)


def _weights(rows: list[np.ndarray]) -> torch.Tensor:
    weights = torch.from_numpy(np.stack(rows))  # (words, dim)
    weights[PAD] = 0.0
    return weights


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".zip":
        with open_bytes(path) as stream:
            yield stream
        return
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [name for name in archive.namelist() if name.endswith(".txt")]
            if len(texts) != 1:
                got = ", ".join(archive.namelist()) or "nothing"
                raise ValueError(f"{path} must have one .txt file to read, got {got}")
            # Read where it lies: nothing is unpacked to the disk, whatever a member is called.
            with archive.open(texts[0]) as stream:
                yield io.BufferedReader(cast(Any, stream), 1 << 20)
    except _DAMAGE as error:
        raise ValueError(f"{path} must be a whole zip archive without a password, got: {error}") from error
