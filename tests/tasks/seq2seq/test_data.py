"""Lines stay beside the lines they belong to, whatever happens to a file, and nothing is lost in silence."""

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.data.corpus import Part, keep_whole, load_prepared, read_part
from tasks.data.reader import Row, Source
from tasks.seq2seq.data import (
    FORM,
    Corpus,
    Example,
    Rule,
    example_from_row,
    folder_sources,
    read_parallel,
    single_spaces,
)

WORDS = ["ein", "h\u00fcgel", "\u2028", "x\x85y", "\x0c", "\u00a0", "\U0001f600", "caf\u00e9", "\ufeff"]


def write(folder: Path, *sides: bytes, suffix: str = "") -> list[Path]:
    files = [folder / f"side.{number}{suffix}" for number in range(len(sides))]
    for file, content in zip(files, sides, strict=True):
        file.write_bytes(gzip.compress(content) if suffix else content)
    return files


ANY_TEXT = Rule()


def collect(raw: Iterable[Example], keep: Rule = ANY_TEXT, *, folder: Path) -> Part[Example]:
    return read_part(Source("x", lambda: raw), keep, FORM, folder)


def numbered(size: int, side: str, rng: Random) -> list[str]:
    """Lines that say which line they are."""
    return [
        " ".join([f"{side}{i}", *(WORDS[int(rng.random() * len(WORDS))] for _ in range(3)), "end"])
        for i in range(size)
    ]


def number_of(text: str) -> int:
    return int(re.findall(r"\d+", text)[0])


def delete(line: list[bytes], at: int, rng: Random) -> None:
    del line[at]


def repeat(line: list[bytes], at: int, rng: Random) -> None:
    line.insert(at, line[at])


def blank(line: list[bytes], at: int, rng: Random) -> None:
    line[at] = b" " * int(rng.random() * 3)


def split(line: list[bytes], at: int, rng: Random) -> None:
    cut = 1 + int(rng.random() * (len(line[at]) - 1))
    line[at : at + 1] = [line[at][:cut], line[at][cut:]]


def break_bytes(line: list[bytes], at: int, rng: Random) -> None:
    cut = int(rng.random() * len(line[at]))
    line[at] = line[at][:cut] + b"\xff" + line[at][cut:]


def unseen(line: list[bytes], at: int, rng: Random) -> None:
    line[at] = "\u200b \ufeff".encode()


def carriage_return(line: list[bytes], at: int, rng: Random) -> None:
    line[at] = b"a\r" + line[at]


Damage = Callable[[list[bytes], int, Random], None]
DAMAGES: tuple[Damage, ...] = (delete, repeat, split, break_bytes)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(2, 12),
    side=st.integers(0, 2),
    damage=st.sampled_from(DAMAGES),
    seed=st.integers(0, 10**6),
    packed=st.booleans(),
)
def test_a_damaged_side_is_refused(
    tmp_path: Path, size: int, side: int, damage: Damage, seed: int, packed: bool
) -> None:
    """One side of three is damaged: not one pair comes out, and the message names the side."""
    rng = Random(seed)
    sides = [[line.encode() for line in numbered(size, name, rng)] for name in "abc"]
    at = int(rng.random() * size)
    damage(sides[side], at, rng)
    contents = [b"\n".join(lines) + b"\n" for lines in sides]
    source, *targets = write(tmp_path, *contents, suffix=".gz" if packed else "")
    with pytest.raises(ValueError, match=f"side\\.{side}"):
        collect(read_parallel(source, targets), folder=tmp_path)


@pytest.mark.parametrize("side", range(3))
@pytest.mark.parametrize(
    ("damage", "reason"),
    [(blank, "empty"), (unseen, "empty"), (carriage_return, "carriage_return (first in line 2)")],
)
def test_a_line_of_no_use_is_dropped_with_what_belongs_to_it(
    tmp_path: Path, side: int, damage: Damage, reason: str
) -> None:
    rng = Random(side)
    sides = [[line.encode() for line in numbered(9, name, rng)] for name in "abc"]
    for at in (1, 6):
        damage(sides[side], at, rng)
    source, *targets = write(tmp_path, *(b"\n".join(lines) + b"\n" for lines in sides))
    part = collect(read_parallel(source, targets), folder=tmp_path)
    assert part.dropped == {reason: 2}
    numbers = [[number_of(text) for text in (e.source, *e.references)] for e in part.items]
    assert len(numbers) == 7 and all(len(set(row)) == 1 for row in numbers)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    blanks=st.lists(st.sampled_from(["", " ", "\t", "\r"]), max_size=6),
    longs=st.integers(0, 4),
    seed=st.integers(0, 10**6),
)
def test_kept_and_dropped_are_all_there_was(tmp_path: Path, blanks: list[str], longs: int, seed: int) -> None:
    rng = Random(seed)
    first, second = numbered(9, "a", rng), numbered(9, "b", rng)
    pairs = list(zip(first, second, strict=True))
    pairs += [(text, text) for text in blanks] + [("a" * 101, "b")] * longs
    pairs.sort(key=lambda _: rng.random())
    source, *targets = write(
        tmp_path, *("\n".join(side).encode() + b"\n" for side in zip(*pairs, strict=True))
    )
    part = collect(read_parallel(source, targets), Rule(max_chars=100), folder=tmp_path)
    examples, dropped = part.items, part.dropped
    assert dropped.get("empty", 0) == len(blanks) and dropped.get("too_long", 0) == longs
    assert len(examples) + sum(dropped.values()) == len(pairs)
    assert all(number_of(example.source) == number_of(example.target) for example in examples)
    assert {e.source for e in examples} == {single_spaces(text) for text in first}


def test_a_last_line_that_is_blank_in_one_file_is_refused(tmp_path: Path) -> None:
    """A line too many before it would look like that."""
    source, *targets = write(tmp_path, b"a 1\na 2\n", b"b 1\n\n", b"c 1\nc 2\n")
    with pytest.raises(ValueError, match=r"side\.1 must have text in its last line, 2, because .*side\.0"):
        collect(read_parallel(source, targets), folder=tmp_path)


def test_the_file_with_fewer_lines_is_named(tmp_path: Path) -> None:
    source, *targets = write(tmp_path, b"a\nb\nc\n", b"a\nb\n")
    message = r"side\.1 must have a line 3 because .*side\.0 has one, got 2 lines"
    with pytest.raises(ValueError, match=message):
        list(read_parallel(source, targets))
    with pytest.raises(ValueError, match=message):
        list(read_parallel(targets[0], [source]))


def test_lines_ended_by_carriage_returns_alone_are_told(tmp_path: Path) -> None:
    source, *targets = write(tmp_path, b"a\nb\n", b"a\rb\r")
    with pytest.raises(ValueError, match=r"got 1 line; carriage_return \(first in line 1\)$"):
        list(read_parallel(source, targets))


def test_what_separates_words_becomes_one_space(tmp_path: Path) -> None:
    examples = [Example(" a\t\tb \u00a0c\r\n", ("d  e",))]
    assert collect(examples, folder=tmp_path).items == [Example("a b \u00a0c", ("d e",))]


def test_texts_may_be_written_otherwise_and_may_vanish_so(tmp_path: Path) -> None:
    examples = [Example("A", ("B",)), Example("#", ("B",)), Example("C", ("#", "D"))]
    part = collect(
        examples,
        Rule(lambda text: text.strip("#").lower(), lambda text: text.strip("#")),
        folder=tmp_path,
    )
    assert part == Part("x", [Example("a", ("B",))], Counter(empty=2))  # type: ignore[arg-type]


def test_rows_with_one_target_or_several() -> None:
    row = Row("a.csv", 3, {"source": "s", "target": "t"})
    assert example_from_row(row) == Example("s", ("t",))
    assert example_from_row(row._replace(values={"source": "s", "target": ["t", "u"]})).references == (
        "t",
        "u",
    )
    for nothing in (None, [], ""):
        example = example_from_row(row._replace(values={"source": "s", "target": nothing}))
        assert example.references == ("",)
    for wrong in (5, ["t", 5]):
        with pytest.raises(ValueError, match=r"a\.csv, row 3 must have text as its target, got 5"):
            example_from_row(row._replace(values={"source": "s", "target": wrong}))


def test_tables_have_the_rows_of_their_filter(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text('de\ten\tsplit\nja "x\tyes "x\ttrain\nnein\tno\tdev\n')
    keep = {"train": {"a.tsv": {"split": "train"}}}
    splits = folder_sources(
        tmp_path,
        {"train": ["a.tsv"]},
        lambda table: {"source": ["de"], "target": ["en"]},
        pytest.fail,
        keep=keep,
    )
    assert [list(source.read()) for source in splits["train"]] == [[Example('ja "x', ('yes "x',))]]


def test_training_pairs_that_stand_elsewhere_are_dropped(tmp_path: Path) -> None:
    part = partial(part_in, tmp_path)
    one, two, three = (Example(text, (text.upper(),)) for text in "abc")
    several = Example("c", ("X", "C"))
    again = Example("a", ("Y",))
    splits = {
        "test": [part(several, file="t", too_long=2)],
        "train": [part(one, two, file="a", empty=1), part(three, file="b"), part(again, file="c")],
        "dev": [part(one, Example("c", ("C",)), Example("\ufeffd\ufffd", ("\ufeffd\ufffd",)), file="d")],
    }
    corpus = assembled(tmp_path, splits)
    assert list(corpus.splits) == ["train", "dev", "test"] and corpus.test_splits == ("test",)
    assert corpus.splits["train"] == [two, again]
    assert corpus.dropped == {
        "train": {"empty": 1, "pair_held_out": 2},
        "dev": {},
        "test": {"too_long": 2},
    }
    assert corpus.notes == [
        "a, for train: 3 read; dropped: 1 empty, 1 pair_held_out",
        "b, for train: 1 read; dropped: 1 pair_held_out",
        "d, for dev: 3 read; kept, but suspicious: 1 also_tested, 1 replaced, 1 byte_order_mark, 1 same_text",
        "t, for test: 3 read; dropped: 2 too_long",
    ]


def part_in(folder: Path, *examples: Example, file: str = "a", **dropped: int) -> Part[Example]:
    return read_part(
        Source(file, lambda: examples), lambda kept: (list(kept), Counter(dropped)), FORM, folder
    )


def assembled(folder: Path, splits: dict[str, list[Part[Example]]], limit: int | None = None) -> Corpus:
    keep_whole("x", splits, FORM, folder, limit)
    return load_prepared(Corpus("x", "", {}, {}), FORM, folder)


def test_a_split_without_examples_is_an_error(tmp_path: Path) -> None:
    part = partial(part_in, tmp_path)
    splits = {"train": [part(Example("a", ("b",)))], "dev": [part(Example("c", ("d",)))]}
    splits["test"] = [collect(3 * [Example(" ", ("",))], folder=tmp_path)]
    with pytest.raises(ValueError, match="the test split of x must have a pair, got none; dropped: empty 3"):
        assembled(tmp_path, splits)


def test_a_limit_keeps_the_first_examples_of_every_split(tmp_path: Path) -> None:
    splits = {
        split: [part_in(tmp_path, *(Example(f"{split} {n}", (f"{n}",)) for n in range(3)))]
        for split in ("train", "dev", "news", "test")
    }
    for split, examples in assembled(tmp_path, splits, 2).splits.items():
        assert [example.source for example in examples] == [f"{split} 0", f"{split} 1"]
