"""News sentences with their headlines: corpora for sentence summarization, from files and from the hub."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tasks.checks import PositiveInt, PositiveIntOrNone, check_ranges
from tasks.data.cache import map_items
from tasks.data.corpus import MAX_CHARS, Part, Parts
from tasks.data.corpus import prepare as prepare_corpus
from tasks.data.files import existing, first_found, nothing_found, with_gz
from tasks.data.normalize import Normalizer
from tasks.data.reader import Keep, Source, hub_sources, is_table
from tasks.seq2seq.data import (
    Columns,
    Corpus,
    Example,
    Rule,
    check_test_names,
    example_from_row,
    folder_sources,
    read_parallel,
)

SOURCES = ("source", "article", "document", "sentence")
TARGETS = ("target", "headline", "summary", "compression", "references")
# As harvardnlp's archive sumdata has them, its folder train entered or not.
_USUAL = {"train": "train.article.txt", "dev": "valid.article.filter.txt"}
_FOLDERS = ("", "train")
_TESTS = {"Giga": "test", "DUC2003": "duc2003", "DUC2004": "duc2004"}
_FORM = Normalizer(lowercase=True, digits=True, treebank=True)
_WORD = re.compile(r"[\w#]")


def load_folder(
    root: Path | str,
    name: str = "gigaword",
    train: Sequence[str] = (),
    dev: Sequence[str] = (),
    tests: Mapping[str, str] | None = None,
    *,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    keep: Mapping[str, Mapping[str, Keep]] | None = None,
    rush_filter: bool = False,
    prepare: bool = False,
    max_chars: PositiveInt = MAX_CHARS,
    limit: PositiveIntOrNone = None,
    stream: bool = False,
    cache: Path | None = None,
    prepared: Path | None = None,
) -> Corpus:
    """Read a corpus from the files of a folder.

    A file name is that of a table with a source and a target column; or of a text file with ``article`` in
    its name, whose headlines stand in the file with ``title`` instead, plain or ``.gz``; or of a folder with
    ``input.txt`` and one reference a line in ``task1_ref0.txt``, ``task1_ref1.txt`` and so on. Dropped and
    counted are pairs without text, pairs with a text of more than ``max_chars`` characters, what the filter
    rejects, and training pairs that also stand in dev or a test set.

    Args:
        root: the folder.
        name: what records call the corpus.
        train, dev: file names relative to ``root``; by default harvardnlp's ``train.article.txt`` and
            ``valid.article.filter.txt``, in ``root`` or its folder ``train``.
        tests: for each test set, which becomes a split of that name, its file name; by default the folders
            ``Giga``, as ``test``, ``DUC2003`` and ``DUC2004``, as far as they are there.
        columns: for a table the names of its ``source`` and ``target`` columns; by default those of
            ``SOURCES`` and ``TARGETS``. A target may be a list of references.
        keep: for a split, and there for a file name, the columns and values of the rows to read.
        rush_filter: keep only training pairs that pass :func:`passes_filter`.
        prepare: write the texts of train and dev as :func:`gigaword_form` does; test sets stay as they are.
        max_chars, limit: longest text to keep; of every split keep only this many pairs, the first ones.
        stream: keep of the training pairs, whose files are plain text, only where they stand, and read each
            when it is trained on; the run is the same.
        cache, prepared: for :func:`tasks.data.reader.read_rows` and :func:`tasks.data.corpus.prepare`.

    Raises:
        OSError: a file is missing.
        ValueError: a name leaves ``root``; ``columns`` or ``keep`` names what is not read; text files of
            different lengths; a split without pairs; ``limit`` or ``max_chars`` below 1; a table or archive
            to be streamed; anything that the reader rejects.
    """
    options = {**locals()}
    check_ranges(load_folder, options)
    root, columns = Path(root), columns or {}
    files = {"train": list(train) or [_usual_file(root, "train")], "dev": list(dev)}
    files["dev"] = files["dev"] or [_usual_file(root, "dev")]
    tests = _usual_tests(root) if tests is None else tests
    check_test_names(tests)
    files |= {split: [file] for split, file in tests.items()}
    _check_columns(files, columns)

    named = partial(_columns, columns)
    sources = folder_sources(root, files, named, _text_source, keep=keep, stream=stream, cache=cache)
    return _prepare(name, options, sources)


def load_hub(
    name: str = "gigaword",
    config: str | None = None,
    *,
    rush_filter: bool = False,
    prepare: bool = False,
    max_chars: PositiveInt = MAX_CHARS,
    limit: PositiveIntOrNone = None,
    revision: str | None = None,
    sha256: str | None = None,
    cache: Path | None = None,
    prepared: Path | None = None,
) -> Corpus:
    """Read a corpus from the Hugging Face hub: its splits ``train``, ``validation`` and ``test``.

    Args:
        name, config: the data set and which of its configurations, where it has several.
        rush_filter, prepare, max_chars, limit, cache, prepared: as for :func:`load_folder`.
        revision, sha256: commit of the data set, by default the newest; checksum of the corpus, if known.

    Raises:
        ConnectionError: the hub cannot be reached.
        ValueError: no such data set, another checksum, a split without pairs, or a number below 1.
    """
    options = {**locals()}
    check_ranges(load_hub, options)
    wanted = {"source": SOURCES, "target": TARGETS}

    sources = hub_sources(name, wanted, example_from_row, config=config, revision=revision, cache=cache)
    return _prepare(name, options, sources)


def gigaword_form(text: str, *, title: bool = False) -> str:
    """Write a text as in Gigaword's corpus of headlines: tokens in lower case, digits as ``#``.

    A ``title`` is left without tokens that have neither letter nor digit.

    Example:
        >>> gigaword_form("Oil prices didn't fall 3.5%, BP says.", title=True)
        "oil prices did n't fall #.# bp says"

    Source: Rush, Chopra & Weston (2015), section 7.1.
    """
    form = _FORM(text)
    return " ".join(word for word in form.split(" ") if _WORD.search(word)) if title else form


def passes_filter(source: str, title: str) -> bool:
    """Whether both have a usual length, 11 to 99 and 4 to 49 tokens, and share a word of over 3 letters.

    Source: Rush, Chopra & Weston (2015), section 7.1, with the bounds of their released script. That script
        also wants a sentence with a token ``.`` and rejects titles with the marks of news agencies, such as
        ``writethru``; files that it made hold none, and other text has other marks.
    """
    words, headline = source.split(), title.split()
    shared = {word for word in words if len(word) > 3} & set(headline)
    return 10 < len(words) < 100 and 3 < len(headline) < 50 and bool(shared)


def _usual_file(root: Path, split: str) -> str:
    return first_found(root, [str(Path(folder, _USUAL[split])) for folder in _FOLDERS], with_gz)


def _usual_tests(root: Path) -> dict[str, str]:
    found = {split: folder for folder, split in _TESTS.items() if (root / folder).is_dir()}
    if not found:
        raise nothing_found(root, [f"{folder}/input.txt" for folder in _TESTS])
    return found


def _check_columns(files: Mapping[str, list[str]], columns: Mapping[str, Mapping[str, str]]) -> None:
    tables = {name for names in files.values() for name in names if is_table(name)}
    if unread := columns.keys() - tables:
        raise ValueError(f"columns must name tables that are read, got {', '.join(sorted(unread))}")
    for file, sides in columns.items():
        if wrong := sides.keys() - {"source", "target"}:
            raise ValueError(f"columns of {file} must name source and target, got {', '.join(sorted(wrong))}")


def _columns(columns: Mapping[str, Mapping[str, str]], table: str) -> Columns:
    given = {side: [column] for side, column in columns.get(table, {}).items()}
    return {"source": SOURCES, "target": TARGETS, **given}


def _text_source(file: Path) -> Source[Example]:
    """A folder of DUC's, or articles with the headlines in the file of the like name."""
    if file.is_dir():
        references = [existing(file / "task1_ref0.txt")]
        while found := with_gz(file / f"task1_ref{len(references)}.txt"):
            references.append(found)
        source = existing(file / "input.txt")
    else:
        title = file.with_name(file.name.replace("article", "title"))
        if title == file:
            raise ValueError(f"{file} must have a suffix of tables or article in its name, got neither")
        source, references = existing(file), [existing(title)]
    return Source(str(file), lambda: read_parallel(source, references), [source, *references])


def _prepare(
    name: str, options: Mapping[str, Any], sources: Mapping[str, Sequence[Source[Example]]]
) -> Corpus:
    is_prepared, max_chars = options["prepare"], options["max_chars"]

    def rule(split: str) -> Rule:
        # A test set keeps its digits: the rules of DUC put them back into what was written.
        if is_prepared and split in ("train", "dev"):
            return Rule(gigaword_form, _title, max_chars)
        return Rule(max_chars=max_chars)

    def finish(parts: Parts) -> Parts:
        for of_split in parts.values():
            for part in of_split:
                _check_sides(part)
        if options["rush_filter"]:
            for part in parts["train"]:
                part.keep("filter", lambda example: passes_filter(example.source, example.target))
        return parts

    form = rule("train").form
    if is_prepared:  # whichever form a test set has
        form = form._replace(keys=lambda e: [(gigaword_form(e.source), _title(t)) for t in e.references])
    return prepare_corpus(Corpus(name, "", {}, {}), form, options, sources, rule, finish)


def _check_sides(part: Part[Example]) -> None:
    """Refuse headlines with sentences in the place of sentences with headlines."""

    def count(examples: Sequence[Example]) -> int:
        return sum(len(example.target.split()) > len(example.source.split()) for example in examples)

    longer = sum(map_items(count, part.items))
    if 2 * longer > len(part.items):
        got = f"{longer:,} longer ones of {len(part.items):,}: are the two exchanged?"
        raise ValueError(f"{part.file} must have headlines that are shorter than their sentences, got {got}")


def _title(text: str) -> str:
    return gigaword_form(text, title=True)
