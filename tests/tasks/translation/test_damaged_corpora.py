"""Whatever happens to two files of sentences, a corpus of them is aligned and complete, or is refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.data import files
from tasks.seq2seq import data as reading
from tasks.seq2seq.data import Corpus
from tasks.translation.data import load_folder

LINES, MAX_CHARS = 12, 300
Damage = Callable[[list[bytes], random.Random], None]


def sentence(number: int, chance: random.Random) -> bytes:
    """Words that all tell which line they are of, so that a few damaged ones do not hide it."""
    return b" ".join([b"w%02d." % number] * chance.randint(3, 8))


def blank(lines: list[bytes], chance: random.Random) -> None:
    lines[chance.randrange(len(lines))] = chance.choice([b"", b" ", b"\t", "\u2028".encode()])


def missing(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def doubled(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines.insert(at, lines[at])


def inside(*odd: bytes) -> Damage:
    """Put one of these somewhere into a line."""

    def put(lines: list[bytes], chance: random.Random) -> None:
        row = chance.randrange(len(lines))
        at = chance.randint(0, len(lines[row]))
        lines[row] = lines[row][:at] + chance.choice(odd) + lines[row][at:]

    return put


def long(lines: list[bytes], chance: random.Random) -> None:
    lines[chance.randrange(len(lines))] *= 100


def flipped(lines: list[bytes], chance: random.Random) -> None:
    """Flip a bit of a byte that is not the end of a line, nor becomes one."""
    row = chance.randrange(len(lines))
    line = bytearray(lines[row])
    if line:
        line[chance.randrange(len(line))] ^= 1 << chance.randrange(8)
        lines[row] = bytes(line).replace(b"\n", b"\x0b")


# Of these and of cuts one at most: two may undo each other's traces, as if lines had been exchanged.
OF_LINES: list[Damage] = [blank, missing, doubled, inside(b"\n")]
OF_BYTES: list[Damage] = [
    inside(b"\xff", b"\xc3", b"\x80"), inside(b"\r", b"\r\r"), inside(b"\0"), long, flipped,
    inside(*(character.encode() for character in "\u2028\u2029\x85\x0c\x0b\x1c\u00a0\ufeff\t")),
]  # fmt: skip


def damaged(chance: random.Random) -> tuple[bytes, bytes]:
    """The two files of a split, in which up to three things went wrong."""
    sides = [[sentence(number, chance) for number in range(LINES)] for _ in range(2)]
    harms, is_cut = chance.choices(OF_BYTES, k=chance.randint(0, 2)), chance.random() < 0.1
    harms += [] if is_cut else chance.sample(OF_LINES, chance.randint(0, 1))
    for harm in harms:
        harm(sides[chance.randrange(2)], chance)
    if chance.random() < 0.2:  # blank on both sides is no damage
        at = chance.randrange(min(map(len, sides)))
        for side in sides:
            side[at] = b""
    starts, ends = [b"", b"", b"\xef\xbb\xbf"], [b"", b"\n"]
    files = [chance.choice(starts) + b"\n".join(side) + chance.choice(ends) for side in sides]
    if is_cut:
        at = chance.randrange(2)
        files[at] = files[at][: chance.randrange(len(files[at]))]
    return files[0], files[1]


def write_split(folder: Path, split: str, sides: tuple[bytes, bytes]) -> None:
    for language, data in zip(("de", "en"), sides, strict=True):
        (folder / f"{split}.{language}").write_bytes(data)


def is_aligned(corpus: Corpus) -> bool:
    """Whether the words of every source are of the line that those of its target are of."""
    return all(agree(told(example.source), told(example.target)) for example in corpus.splits["train"])


def agree(some: set[str], others: set[str]) -> bool:
    """Whether a word of one is one of the other, or as much of it as a cut has left."""
    return any(a.startswith(b) or b.startswith(a) for a in some for b in others)


def told(text: str) -> set[str]:
    """The words that stand most often in a text."""
    words = text.split()
    most = max(map(words.count, words))
    return {word for word in words if words.count(word) == most}


def lines_of(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n"))


def verdict(folder: Path, sides: tuple[bytes, bytes]) -> str:
    """``kept`` whole and aligned, ``refused`` by name, or what is wrong."""
    write_split(folder, "train", sides)
    try:
        corpus = load_folder(folder, max_chars=MAX_CHARS)
    except ValueError as error:
        said = str(error)
        is_told = "train" in said and ("got" in said) and "\n" not in said
        return "refused" if is_told else f"refused without a reason: {said}"
    counted = corpus.sizes["train"] + sum(corpus.dropped["train"].values())
    if {counted} != {lines_of(side) for side in sides}:
        return f"{counted} of {[lines_of(side) for side in sides]} lines are accounted for"
    return "kept" if is_aligned(corpus) else "misaligned"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus of which only the training files are missing."""
    for split in ("dev", "test"):
        write_split(tmp_path, split, (f"{split} eins\n".encode(), f"{split} one\n".encode()))
    return tmp_path


def corpora(n: int) -> Iterator[tuple[bytes, bytes]]:
    chance = random.Random(0)
    return (damaged(chance) for _ in range(n))


def test_damaged_corpora_are_whole_or_refused(folder: Path, measure: Any) -> None:
    row = measure("corpora")
    found = [verdict(folder, sides) for sides in corpora(row.n)]
    wrong = {one for one in found if one not in ("kept", "refused")}
    row.all([one in ("kept", "refused") for one in found], lines=LINES)
    assert not wrong
    assert 0.2 < found.count("kept") / len(found) < 0.8, "one of the two hardly happens: the test says little"


# ------------------------------------------------------------------ planted faults
def by_splitlines(file: Path, odd: bytes) -> Iterator[str]:
    return iter(file.read_bytes().decode("utf-8-sig").splitlines())


def by_universal_newlines(file: Path, odd: bytes) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as stream:
        return iter([line.rstrip("\n") for line in stream])


def without_bad_lines(file: Path, odd: bytes) -> Iterator[str]:
    """Leaves out what is no UTF-8."""
    lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    return (line.decode() for line in lines if line.decode(errors="replace").encode() == line)


def without_blank_lines(file: Path, odd: bytes) -> Iterator[str]:
    return (line for line in own_read_lines(file, odd) if line.strip())


def to_the_shorter_end(*files: Iterator[str]) -> Iterator[tuple[str, ...]]:
    return zip(*files, strict=False)


own_read_lines = files.read_lines
WRONG: dict[str, tuple[str, Callable[..., Any]]] = {
    "splitlines": ("read_lines", by_splitlines),
    "universal newlines": ("read_lines", by_universal_newlines),
    "bad lines left out": ("read_lines", without_bad_lines),
    "blank lines left out": ("read_lines", without_blank_lines),
    "cut to the shorter file": ("zip_longest", to_the_shorter_end),
}


@pytest.mark.measures("wrong readers")
@pytest.mark.parametrize(("name", "wrong"), WRONG.values(), ids=WRONG)
def test_wrong_reader_is_caught(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable[..., Any]
) -> None:
    monkeypatch.setattr(reading, name, wrong)
    assert any(verdict(folder, sides) not in ("kept", "refused") for sides in corpora(300))


def test_lines_are_told_apart_and_counted() -> None:
    assert agree(told("w1. w1. x w1."), {"w1."}) and agree({"w1"}, {"w1."}) and not agree({"w1."}, {"w11."})
    assert (lines_of(b"a\nb"), lines_of(b"a\nb\n")) == (2, 2)
