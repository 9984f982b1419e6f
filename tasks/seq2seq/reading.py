"""From files to corpora of sources and references: nothing misaligned, nothing left out uncounted."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from tasks.data.corpus import REPLACED, Part, count_files, items_of
from tasks.data.reader import Keep, Row, read_lines, read_rows
from tasks.ranges import PositiveInt, PositiveIntOrNone, check_number
from tasks.seq2seq.data import Corpus, Example, checksum

Files = Iterable[tuple[str, Iterable[Example]]]
"""Names of files, each with what is read of it."""

MAX_CHARS = 10_000
"""Longer texts are taken for damage."""

_SPACES = re.compile(r"[ \t\r\n]+")


def read_table(
    file: Path,
    source: Sequence[str],
    target: Sequence[str],
    keep: Keep | None = None,
    *,
    cache: Path | None = None,
) -> Iterator[Example]:
    """Read a table with a source and a target, or a list of targets, in each row.

    Args:
        file, keep, cache: as for :func:`tasks.data.reader.read_rows`.
        source, target: names accepted for the two columns; the first found is read.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: a value that is not text; anything that the reader rejects.
    """
    for row in read_rows([file], {"source": source, "target": target}, keep, cache=cache):
        yield example_from_row(row)


def example_from_row(row: Row) -> Example:
    """Take ``source`` and ``target``, a text or a list of them; what is missing becomes an empty text.

    Raises:
        ValueError: a value that is not text.
    """
    return Example(row.text("source"), row.texts("target"))


def read_parallel(source: Path, targets: Sequence[Path]) -> Iterator[Example]:
    """Read text files whose lines of one number belong together.

    Lines that are blank in all files are handed on; the number of lines is checked at the end.

    Args:
        source: a file for :func:`tasks.data.reader.read_lines`.
        targets: the same, one for each reference.

    Raises:
        FileNotFoundError, IsADirectoryError: a file is missing.
        ValueError: a file that has fewer lines than another, or a blank line beside one that is not blank,
            named with its number, from 1; anything that the reader rejects.
    """
    files = (source, *targets)
    for number, lines in enumerate(zip_longest(*map(read_lines, files)), 1):
        for file, line in zip(files, lines, strict=True):
            if line is None:
                other = next(f for f, text in zip(files, lines, strict=True) if text is not None)
                wanted = f"{file} must have a line {number} because {other} has one"
                raise ValueError(f"{wanted}, got {number - 1} lines")
        blank = [not line.strip() for line in lines]
        if any(blank) and not all(blank):
            file, other = files[blank.index(True)], files[blank.index(False)]
            raise ValueError(
                f"{file}, line {number} must have text because {other} has some, got a blank line"
            )
        yield Example(lines[0], lines[1:])


def collect(
    examples: Iterable[Example],
    *,
    write_source: Callable[[str], str] = str,
    write_target: Callable[[str], str] = str,
    max_chars: int = MAX_CHARS,
) -> tuple[list[Example], Counter[str]]:
    """Keep the examples that have text, with single spaces between words.

    Args:
        examples: as read.
        write_source, write_target: what to make of the texts, such as ``str.lower``.
        max_chars: longest text to keep, as read.

    Returns:
        The examples, and how many were dropped: ``empty`` without source or reference, ``too_long``.

    Raises:
        ValueError: ``max_chars < 1``.
    """
    check_number("max_chars", max_chars, PositiveInt)
    kept: list[Example] = []
    dropped: Counter[str] = Counter()
    for example in examples:
        if max(map(len, (example.source, *example.references))) > max_chars:
            dropped["too_long"] += 1
            continue
        source = single_spaces(write_source(example.source))
        references = tuple(single_spaces(write_target(text)) for text in example.references)
        if source and all(references):
            kept.append(Example(source, references, example.links))
        else:
            dropped["empty"] += 1
    return kept, dropped


def collect_files(
    files: Files, write_source: Callable[[str], str], write_target: Callable[[str], str], max_chars: int
) -> list[Part[Example]]:
    """What :func:`collect` makes of each of the files of a split."""
    written = {"write_source": write_source, "write_target": write_target}
    return [Part(file, *collect(examples, **written, max_chars=max_chars)) for file, examples in files]


def assemble(
    name: str,
    splits: Mapping[str, list[Part[Example]]],
    limit: int | None = None,
    languages: tuple[str, str] = ("en", "en"),
    tokenized: bool = False,
    same: Callable[[str, str], Hashable] | None = None,
) -> Corpus:
    """Make a corpus of its splits, without the training pairs that stand in another split.

    Args:
        name: as records call it.
        splits: ``train``, ``dev`` and the test sets.
        limit: of every split keep only this many examples, the first ones.
        languages, tokenized: as the corpus has them.
        same: what pairs that count as one have in common; by default their texts.

    Raises:
        ValueError: a split without examples; ``limit < 1``.
    """
    check_number("limit", limit, PositiveIntOrNone)
    tests = [split for split in splits if split not in ("train", "dev")]
    splits = {split: splits[split] for split in ("train", "dev", *tests)}
    same = same or (lambda source, target: (source, target))
    tested = _pairs(items_of(part for split in tests for part in splits[split]), same)
    held_out = tested | _pairs(items_of(splits["dev"]), same)
    for part in splits["train"]:
        part.keep("pair_held_out", lambda example: same(example.source, example.target) not in held_out)

    def suspicious(split: str, example: Example) -> Iterator[str]:
        if any(REPLACED in text for text in (example.source, *example.references)):
            yield "replaced"
        if example.source in example.references:
            yield "same_text"
        if split == "dev" and not tested.isdisjoint(_pairs([example], same)):
            yield "also_tested"

    files = count_files(name, splits, suspicious)
    kept = {split: items_of(parts)[:limit] for split, parts in splits.items()}
    return Corpus(name, checksum(kept), kept, files, languages, tokenized)


def _pairs(examples: Iterable[Example], same: Callable[[str, str], Hashable]) -> set[Hashable]:
    return {same(example.source, text) for example in examples for text in example.references}


def check_bounds(max_chars: int, limit: int | None = None) -> None:
    """Raise ValueError where a bound on what to keep is below 1: before any file is looked for."""
    check_number("max_chars", max_chars, PositiveInt)
    check_number("limit", limit, PositiveIntOrNone)


def check_test_names(names: Iterable[str]) -> None:
    """Raise ValueError where a test set has the name of another split, or one that no file can have."""
    taken = {"train", "dev"}
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"a test set must have a name of letters, digits, _, . and -, got {name!r}")
        if name in taken:
            raise ValueError(f"a test set must have a name of its own, got {name}")
        taken.add(name)


def single_spaces(text: str) -> str:
    """Put one space where several, tabs or line ends stand, and none at the ends."""
    return _SPACES.sub(" ", text).strip()
