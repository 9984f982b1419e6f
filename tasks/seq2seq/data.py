"""Texts with the texts that should come out of them: nothing misaligned, nothing left out uncounted."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from tasks.checks import counted
from tasks.data import corpus
from tasks.data.corpus import MAX_CHARS, Form, Kept, check_different
from tasks.data.files import read_lines, resolve_within
from tasks.data.reader import Keep, Row, Source, is_table, read_rows

Link = tuple[int, int]


class Links(NamedTuple):
    """Word alignments of an example: pairs (source word, target word), words counted from 0 between spaces.

    ``possible`` holds every sure link as well.
    """

    sure: frozenset[Link]
    possible: frozenset[Link]


@dataclass(frozen=True)
class Example:
    """A source text and its references, one in training, as the corpus has them.

    ``links`` align the source with the first reference, where a corpus knows them; both are then cut into
    words by spaces. ``fault`` says why an example as it was read cannot be used, where that is known then.
    """

    source: str
    references: tuple[str, ...]
    links: Links | None = None
    fault: str = ""

    @property
    def target(self) -> str:
        return self.references[0]


@dataclass(frozen=True)
class Corpus(corpus.Corpus[Example]):
    """A corpus of examples.

    ``languages`` are those of the source and the references; text that is ``tokenized`` is cut into words by
    Moses's rules already, and put together again before it is scored.
    """

    languages: tuple[str, str] = ("en", "en")
    tokenized: bool = False


def _content(example: Example) -> list[Any]:
    links = [sorted(kind) for kind in example.links] if example.links else None
    return [example.source, example.references, links]


def texts_of(example: Example) -> tuple[str, ...]:
    """The source, and the references."""
    return example.source, *example.references


def _decoded(content: list[Any], _: None) -> Example:
    source, references, links = content
    if links is not None:
        links = Links(*(frozenset((i, j) for i, j in kind) for kind in links))
    return Example(source, tuple(references), links)


FORM = Form(_content, _decoded, texts_of, lambda pair: [(pair.source, text) for text in pair.references])

Columns = Mapping[str, Sequence[str]]
"""Names accepted for the columns ``source`` and ``target`` of a table."""


def example_from_row(row: Row) -> Example:
    """Take ``source`` and ``target``, a text or a list of them; what is missing becomes an empty text.

    Raises:
        ValueError: a value that is not text.
    """
    return Example(row.text("source"), row.texts("target"))


def read_parallel(source: Path, targets: Sequence[Path]) -> Iterator[Example]:
    """Read text files whose lines of one number belong together, one of targets for each reference.

    Lines are handed on that are blank in a file, and as a fault those with a carriage return inside, the
    first one named; the number of lines is checked at the end.

    Raises:
        FileNotFoundError, IsADirectoryError: a file is missing.
        ValueError: a file that has fewer lines than another, or ends with a blank line beside one that is
            not: something may be missing before it; anything that the reader rejects.
    """
    files, fault = (source, *targets), ""
    for number, lines in enumerate(zip_longest(*(read_lines(file, b"\0") for file in files)), 1):
        for file, line in zip(files, lines, strict=True):
            if line is None:
                other = next(f for f, text in zip(files, lines, strict=True) if text is not None)
                wanted = f"{file} must have a line {number} because {other} has one"
                raise ValueError(f"{wanted}, got {counted(number - 1, 'line')}" + (fault and f"; {fault}"))
        blank = [not line.strip() for line in lines]
        has_return = any("\r" in line for line in lines)
        if has_return:
            fault = fault or f"carriage_return (first in line {number})"
        yield Example(lines[0], lines[1:], fault=fault if has_return else "")
    if any(blank) and not all(blank):
        file, other = files[blank.index(True)], files[blank.index(False)]
        wanted = f"{file} must have text in its last line, {number}, because {other} has some"
        raise ValueError(f"{wanted}, got a blank line")


def folder_sources(
    root: Path,
    files: Mapping[str, Sequence[str]],
    columns: Callable[[str], Columns],
    text_source: Callable[[Path], Source[Example]],
    *,
    keep: Mapping[str, Mapping[str, Keep]] | None = None,
    stream: bool = False,
    cache: Path | None = None,
) -> dict[str, list[Source[Example]]]:
    """What is read of named files of a folder: of tables as such, of others as the task has its texts.

    Args:
        root: the folder, to which the names of each split's ``files`` are relative.
        columns: of the table of a name.
        text_source: for what is no table.
        keep, stream, cache: as for the loader of the task.

    Raises:
        ValueError: a split has a file twice, a name leaves ``root``, ``keep`` names what is not read as a
            table, or a table or an archive, whose lines cannot be found without the others, is to be
            streamed.
    """
    check_different(files)
    keep = keep or {}
    for split, names in keep.items():
        if unread := names.keys() - set(filter(is_table, files.get(split, ()))):
            got = ", ".join(sorted(unread))
            raise ValueError(f"keep must name tables that {split} is read from, got {got}")

    def source(name: str, kept: Keep | None) -> Source[Example]:
        file = resolve_within(root, name)
        if not is_table(name):
            return text_source(file)
        read = partial(read_rows, file, columns(name), kept, cache=cache)
        return Source(str(file), lambda: map(example_from_row, read()), [file])

    found = {
        split: [source(name, keep.get(split, {}).get(name)) for name in names]
        for split, names in files.items()
    }
    for file in chain.from_iterable(of.files for of in found["train"] if stream):
        if is_table(file) or file.suffix == ".gz":
            got = f"{file}: unpack it, or write a text file for each side"
            raise ValueError(f"data.stream must read plain text files for train, got {got}")
    return found


@dataclass(frozen=True)
class Rule:
    """Which examples are kept, and how their texts are written: with single spaces between words."""

    write_source: Callable[[str], str] = str
    write_target: Callable[[str], str] = str
    max_chars: int = MAX_CHARS  # as read

    @property
    def form(self) -> Form:
        """The form of examples that may be streamed."""
        return FORM._replace(of_lines=lambda lines: self([Example(lines[0], (*lines[1:],))])[0][0])

    def __call__(self, examples: Sequence[Example]) -> Kept[Example]:
        """The examples that are kept, and how many are dropped: ``empty`` without source or reference,
        ``too_long``, and for their faults."""
        kept, dropped = [], Counter[str]()
        for example in examples:
            if example.fault:
                dropped[example.fault] += 1
                continue
            if max(map(len, texts_of(example))) > self.max_chars:
                dropped["too_long"] += 1
                continue
            source = single_spaces(self.write_source(example.source))
            references = tuple(single_spaces(self.write_target(text)) for text in example.references)
            if all(map(_is_seen, (source, *references))):
                kept.append(Example(source, references, example.links))
            else:
                dropped["empty"] += 1
        return kept, dropped


def check_test_names(names: Iterable[str]) -> None:
    """Raise ValueError where a test set has the name of another split, or one that no file can have."""
    taken = {"train", "dev"}
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"a test set must have a name of letters, digits, _, . and -, got {name!r}")
        if name in taken:
            raise ValueError(f"a test set must have a name of its own, got {name}")
        taken.add(name)


_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))  # no words by themselves


def _is_seen(text: str) -> bool:
    return bool(text if text.isascii() else text.translate(_UNSEEN).strip())


def single_spaces(text: str) -> str:
    """Put one space where several, tabs or line ends stand, and none at the ends."""
    return re.sub(r"[ \t\r\n]+", " ", text).strip()
