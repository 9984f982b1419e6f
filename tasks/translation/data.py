"""Sentences with their translations: corpora for translation, from files and from the hub."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tasks.checks import PositiveInt, PositiveIntOrNone, check_ranges
from tasks.data.corpus import MAX_CHARS, Parts, hold_out, items_of, prepare
from tasks.data.files import existing, nothing_found, resolve_within, with_gz
from tasks.data.reader import Keep, Row, Source, hub_sources, read_rows
from tasks.seq2seq.data import (
    Corpus,
    Example,
    Link,
    Links,
    Rule,
    check_test_names,
    example_from_row,
    folder_sources,
    read_parallel,
    single_spaces,
)

_USUAL = {"train": ("train",), "dev": ("dev", "val", "valid", "validation"), "test": ("test",)}
_TABLES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
# What Moses's tokenizer writes for characters that mean something to Moses.
_ENTITIES = {"&bar;": "|", "&#124;": "|", "&lt;": "<", "&gt;": ">", "&apos;": "'", "&quot;": '"'} | {
    "&#91;": "[",
    "&#93;": "]",
    "&amp;": "&",  # last: what comes of it is text
}


def load_folder(
    root: Path | str,
    pair: str = "de-en",
    name: str = "parallel",
    train: Sequence[str] = (),
    dev: str | None = None,
    tests: Mapping[str, str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    keep: Mapping[str, Mapping[str, Keep]] | None = None,
    held_out: Mapping[str, int] | None = None,
    alignments: Mapping[str, Mapping[str, str]] | None = None,
    tokenized: bool = False,
    max_chars: PositiveInt = MAX_CHARS,
    limit: PositiveIntOrNone = None,
    stream: bool = False,
    cache: Path | None = None,
    prepared: Path | None = None,
) -> Corpus:
    """Read a corpus from the files of a folder.

    A file name is that of a table with a column for each language, or what comes before the language in the
    names of two text files: ``train`` is ``train.de`` and ``train.en``, plain or ``.gz``, in which lines of
    one number belong together. Dropped and counted are pairs without text, pairs with a text of more than
    ``max_chars`` characters, and training pairs that also stand in dev or a test set.

    Args:
        root, pair: the folder; source and target language with a hyphen.
        name: what records call the corpus, the pair added.
        train, dev: file names relative to ``root``; by default the first found of ``train``, and of ``dev``,
            ``val``, ``valid`` and ``validation``, as text files or tables.
        tests: for each test set, which becomes a split of that name, its file name; by default ``test``.
        columns: for a language the name of its column, where it is another.
        keep: for a split, and there for a file name, the columns and values of the rows to read.
        held_out: for ``dev`` or a test set that has no file, how many training pairs to take for it.
        alignments: for each further test set its ``file``, a table with the columns ``src``, ``tgt``,
            ``sure`` and ``possible`` (lists of pairs of word positions, from 0), and the ``pair`` of
            languages that its ``src`` and ``tgt`` are in.
        tokenized: the texts are cut by Moses's rules; its entities, such as ``&apos;``, become characters.
        max_chars, limit, stream, cache, prepared: as for :func:`tasks.summarization.data.load_folder`.

    Raises:
        OSError: a file is missing.
        ValueError: no pair of two languages; a name leaves ``root``; ``keep`` names what is not read; text
            files of different lengths; a link to no word; a split without pairs; ``limit`` or ``max_chars``
            below 1; a table or archive to be streamed; anything that the reader rejects.
    """
    options = {**locals()}
    check_ranges(load_folder, options)
    root, languages = Path(root), _languages(pair)
    held_out, alignments = held_out or {}, alignments or {}
    files = _files(root, languages, train, dev, tests, held_out, alignments)
    named = {side: [column] for side, column in _columns(languages, columns).items()}
    sources = folder_sources(
        root, files, lambda table: named, partial(_text_source, languages),
        keep=keep, stream=stream, cache=cache,
    )  # fmt: skip
    sources |= {split: [_aligned_source(root, pair, gold, cache)] for split, gold in alignments.items()}
    rule = Rule(_unescaped, _unescaped, max_chars) if tokenized else Rule(max_chars=max_chars)
    empty = Corpus(f"{name}-{pair}", "", {}, {}, languages, tokenized)
    return prepare(empty, rule.form, options, sources, lambda split: rule, partial(_finish, held_out))


def load_hub(
    name: str = "wmt14",
    config: str | None = None,
    pair: str = "de-en",
    *,
    columns: Mapping[str, str] | None = None,
    max_chars: PositiveInt = MAX_CHARS,
    limit: PositiveIntOrNone = None,
    revision: str | None = None,
    sha256: str | None = None,
    cache: Path | None = None,
    prepared: Path | None = None,
) -> Corpus:
    """Read a corpus from the Hugging Face hub: its splits ``train``, ``validation`` and ``test``.

    Args:
        name, config: the data set and which of its configurations, such as ``"wmt14"`` and ``"de-en"``. It
            has a column for each language, or a column ``translation`` with an entry for each.
        pair, columns, max_chars, limit, cache, prepared: as for :func:`load_folder`.
        revision, sha256: commit of the data set, by default the newest; checksum of the corpus, if known.

    Raises:
        ConnectionError: the hub cannot be reached.
        ValueError: no such data set, another checksum, a split without pairs, or a number below 1.
    """
    options = {**locals()}
    check_ranges(load_hub, options)
    languages = _languages(pair)
    named = _columns(languages, columns).items()
    wanted = {side: (column, f"translation.{column}") for side, column in named}

    sources = hub_sources(name, wanted, example_from_row, config=config, revision=revision, cache=cache)
    rule, empty = Rule(max_chars=max_chars), Corpus(f"{name}-{pair}", "", {}, {}, languages)
    return prepare(empty, rule.form, options, sources, lambda split: rule, partial(_finish, {}))


def _languages(pair: str) -> tuple[str, str]:
    source, _, target = pair.partition("-")
    if source == target or not re.fullmatch(r"\w+-\w+", pair):
        raise ValueError(f"pair must be two languages such as de-en, got {pair!r}")
    return source, target


def _columns(languages: tuple[str, str], columns: Mapping[str, str] | None) -> dict[str, str]:
    sides = zip(("source", "target"), languages, strict=True)
    return {side: (columns or {}).get(language, language) for side, language in sides}


def _files(
    root: Path,
    languages: tuple[str, str],
    train: Sequence[str],
    dev: str | None,
    tests: Mapping[str, str] | None,
    held_out: Mapping[str, int],
    alignments: Iterable[str],
) -> dict[str, list[str]]:
    """For each split that is read from files their names; those of alignments are new test sets."""
    files = {"train": list(train) or [_usual_file(root, "train", languages)]}
    if "dev" not in held_out:
        files["dev"] = [dev or _usual_file(root, "dev", languages)]
    elif dev:
        got = f"both: {dev} and {held_out['dev']}"
        raise ValueError(f"dev must have a file or a number of held_out, got {got}")
    if tests is None and not held_out.keys() - {"dev"}:
        tests = {"test": _usual_file(root, "test", languages)}
    tests = tests or {}
    check_test_names([*tests, *(split for split in held_out if split != "dev"), *alignments])
    return files | {split: [file] for split, file in tests.items()}


def _usual_file(root: Path, split: str, languages: tuple[str, str]) -> str:
    for stem in _USUAL[split]:
        if all(with_gz(_side(root / stem, language)) for language in languages):
            return stem
        for suffix in _TABLES:
            if (root / f"{stem}{suffix}").is_file():
                return f"{stem}{suffix}"
    raise nothing_found(root, [f"{stem}.{languages[0]}" for stem in _USUAL[split]] + [f"{split}.parquet"])


def _side(stem: Path, language: str) -> Path:
    return stem.with_name(f"{stem.name}.{language}")


def _text_source(languages: tuple[str, str], stem: Path) -> Source[Example]:
    source, target = (existing(_side(stem, language)) for language in languages)
    return Source(str(source), lambda: read_parallel(source, [target]), [source, target])


def _aligned_source(root: Path, pair: str, gold: Mapping[str, str], cache: Path | None) -> Source[Example]:
    """Sentences with their links, turned round where the file has the other direction."""
    if gold.keys() != {"file", "pair"}:
        raise ValueError(f"alignments must name a file and a pair, got {', '.join(gold) or 'nothing'}")
    if sorted(gold["pair"].split("-")) != sorted(pair.split("-")):
        raise ValueError(f"alignments must be of the languages of {pair}, got {gold['pair']}")
    file = resolve_within(root, gold["file"])
    columns = {"source": ("src",), "target": ("tgt",), "sure": ("sure",), "possible": ("possible",)}

    def read() -> Iterator[Example]:
        for row in read_rows(file, columns, cache=cache):
            example = example_from_row(row)
            sure, possible = (_links(row, kind, example) for kind in ("sure", "possible"))
            links = Links(sure, possible | sure)
            if gold["pair"] == pair:
                yield replace(example, links=links)
            else:
                turned = Links(*(frozenset((j, i) for i, j in kind) for kind in links))
                yield Example(example.target, (example.source,), turned)

    return Source(str(root / gold["file"]), read, [file])


def _links(row: Row, kind: str, example: Example) -> frozenset[Link]:
    source, target = (len(single_spaces(text).split(" ")) for text in (example.source, example.target))
    links: set[Link] = set()
    found = row.values[kind] or []
    for link in found if isinstance(found, list) else [found]:
        if not (isinstance(link, list) and len(link) == 2 and all(type(at) is int for at in link)):
            wanted = f"{kind} links that are pairs of word positions"
            raise ValueError(f"{row.where} must have {wanted}, got {link!r}")
        if not (0 <= link[0] < source and 0 <= link[1] < target):
            wanted = f"{kind} links within {source} and {target} words"
            raise ValueError(f"{row.where} must have {wanted}, got {link}")
        links.add((link[0], link[1]))
    return frozenset(links)


def _finish(held_out: Mapping[str, int], parts: Parts) -> Parts:
    """Hold pairs out, and refuse splits of which BLEU could not be told after the training."""
    if held_out:
        parts = hold_out(parts.pop("train"), held_out, lambda pair: (pair.source, pair.target)) | parts
    for split, of_split in parts.items():
        numbers = sorted({len(example.references) for example in items_of(of_split)})
        if len(numbers) > 1:
            got = " and ".join(map(str, numbers))
            raise ValueError(f"{split} must have the same number of references for every sentence, got {got}")
    return parts


def _unescaped(text: str) -> str:
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return text
