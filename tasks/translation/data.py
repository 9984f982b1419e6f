"""Sentences with their translations: corpora for translation, from files and from the hub."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.seq2seq.data import Corpus, Example, Link, Links
from tasks.seq2seq.reading import (
    MAX_CHARS,
    assemble,
    check_bounds,
    check_test_names,
    collect,
    example_from_row,
    read_parallel,
    read_table,
    single_spaces,
)
from tasks.text.files import existing, inside, nothing_found, packed
from tasks.text.reader import Keep, Row, is_table, read_hub, read_rows

_USUAL = {"train": ("train",), "dev": ("dev", "val", "valid", "validation"), "test": ("test",)}
_TABLES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
_HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
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
    max_chars: int = MAX_CHARS,
    limit: int | None = None,
    cache: Path | None = None,
) -> Corpus:
    """Read a corpus from the files of a folder.

    A file name is that of a table with a column for each language, or what comes before the language in the
    names of two text files: ``train`` is ``train.de`` and ``train.en``, plain or ``.gz``, in which lines of
    one number belong together. Dropped and counted are pairs without text, pairs with a text of more than
    ``max_chars`` characters, and training pairs that also stand in dev or a test set.

    Args:
        root: the folder.
        pair: source and target language with a hyphen.
        name: what records call the corpus, the pair added.
        train, dev: file names relative to ``root``; by default the first found of ``train``, and of ``dev``,
            ``val``, ``valid`` and ``validation``, as text files, ``.parquet``, ``.jsonl``, ``.json``,
            ``.csv`` or ``.tsv``.
        tests: for each test set, which becomes a split of that name, its file name; by default ``test``.
        columns: for a language the name of its column, where it is another.
        keep: for a split, and there for a file name, the columns and values of the rows to read.
        held_out: for ``dev`` or a test set that has no file, how many pairs of the training files to take;
            see :func:`hold_out`.
        alignments: for each further test set its ``file``, a table with the columns ``src``, ``tgt``,
            ``sure`` and ``possible`` (lists of pairs of word positions, from 0), and the ``pair`` of
            languages that its ``src`` and ``tgt`` are in.
        tokenized: the texts are cut into words by Moses's rules; its entities, such as ``&apos;``, become
            characters.
        max_chars: longest text to keep.
        limit: of every split keep only this many pairs, the first ones.
        cache: as for :func:`tasks.text.reader.read_rows`.

    Raises:
        FileNotFoundError, IsADirectoryError: a file is missing.
        ValueError: no pair of two languages; a name leaves ``root``; ``keep`` names what is not read; text
            files of different lengths, or a blank line beside one that is not; a link to no word; a split
            without pairs; ``limit`` or ``max_chars`` below 1; anything that the reader rejects.
    """
    check_bounds(max_chars, limit)
    languages = _languages(pair)
    held_out, alignments = held_out or {}, alignments or {}
    files = _files(Path(root), languages, train, dev, tests, held_out)
    check_test_names([*(tests or ()), *(split for split in held_out if split != "dev"), *alignments])
    _check_keep(keep or {}, files)
    named = [(columns or {}).get(language, language) for language in languages]
    read: dict[str, Iterable[Example]] = {
        split: _read(Path(root), names, languages, named, (keep or {}).get(split, {}), cache)
        for split, names in files.items()
    }
    for split, gold in alignments.items():
        read[split] = _read_alignments(Path(root), pair, gold, cache)
    return _corpus(f"{name}-{pair}", read, held_out, languages, tokenized, max_chars, limit)


def load_hub(
    name: str = "wmt14",
    config: str | None = None,
    pair: str = "de-en",
    *,
    columns: Mapping[str, str] | None = None,
    max_chars: int = MAX_CHARS,
    limit: int | None = None,
    revision: str | None = None,
    cache: Path | None = None,
) -> Corpus:
    """Read a corpus from the Hugging Face hub: its splits ``train``, ``validation`` and ``test``.

    Args:
        name, config: the data set and which of its configurations, such as ``"wmt14"`` and ``"de-en"``. It
            has a column for each language, or a column ``translation`` with an entry for each.
        pair, columns, max_chars, limit, cache: as for :func:`load_folder`.
        revision: the commit of the data set to read; the newest by default.

    Raises:
        ConnectionError: the hub cannot be reached.
        ValueError: no such data set; a split without pairs; ``limit`` or ``max_chars`` below 1.
    """
    check_bounds(max_chars, limit)
    languages = _languages(pair)
    named = ((columns or {}).get(language, language) for language in languages)
    wanted = {
        side: (column, f"translation.{column}")
        for side, column in zip(("source", "target"), named, strict=True)
    }
    read = {
        split: map(
            example_from_row, read_hub(name, there, wanted, config=config, revision=revision, cache=cache)
        )
        for split, there in _HUB_SPLITS.items()
    }
    return _corpus(f"{name}-{pair}", read, {}, languages, False, max_chars, limit)


def hold_out(examples: Sequence[Example], sizes: Mapping[str, int]) -> dict[str, list[Example]]:
    """Take dev and test sets out of a corpus that has none, so that no sentence stands in two splits.

    Pairs are taken in the order of a hash of their target sentence, so that neither the order of the corpus
    nor chance has a say. What stays in ``train`` shares no source and no target sentence with them, whatever
    its case and kinds of spaces; of two sets, the later one in ``sizes`` loses the sentences that they share.

    Args:
        examples: pairs of a source and one target.
        sizes: for each set how many pairs to take.

    Returns:
        The sets, and first ``train``, the pairs that are left, all in the order of ``examples``.

    Raises:
        ValueError: a size below 1, or too few pairs.
    """
    order = sorted(range(len(examples)), key=lambda place: (_hash(examples[place].target), place))
    splits: dict[str, list[Example]] = {"train": []}
    known: tuple[set[str], set[str]] = (set(), set())  # source and target sentences of the sets before
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"held_out wants at least 1 pair for {split}, got {size}")
        order = [place for place in order if not _shares(examples[place], known)]
        if len(order) <= size:
            raise ValueError(f"held_out wants more than {size} pairs to take {split} from, got {len(order)}")
        taken, order = order[:size], order[size:]
        splits[split] = [examples[place] for place in sorted(taken)]
        for example in splits[split]:
            known[0].add(_folded(example.source))
            known[1].add(_folded(example.target))
    splits["train"] = [examples[place] for place in sorted(order) if not _shares(examples[place], known)]
    return splits


def _shares(example: Example, known: tuple[set[str], set[str]]) -> bool:
    return _folded(example.source) in known[0] or _folded(example.target) in known[1]


def _hash(text: str) -> bytes:
    return hashlib.sha256(_folded(text).encode()).digest()


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _languages(pair: str) -> tuple[str, str]:
    source, _, target = pair.partition("-")
    if not source or not target or "-" in target or source == target:
        raise ValueError(f"pair wants two languages such as de-en, got {pair!r}")
    return source, target


def _files(
    root: Path,
    languages: tuple[str, str],
    train: Sequence[str],
    dev: str | None,
    tests: Mapping[str, str] | None,
    held_out: Mapping[str, int],
) -> dict[str, list[str]]:
    """For each split that is read from files their names."""
    files = {"train": list(train) or [_usual_file(root, "train", languages)]}
    if "dev" not in held_out:
        files["dev"] = [dev or _usual_file(root, "dev", languages)]
    elif dev:
        raise ValueError(f"dev wants a file or a number of held_out, got both: {dev} and {held_out['dev']}")
    if tests is None and not held_out.keys() - {"dev"}:
        tests = {"test": _usual_file(root, "test", languages)}
    return files | {split: [file] for split, file in (tests or {}).items()}


def _usual_file(root: Path, split: str, languages: tuple[str, str]) -> str:
    for stem in _USUAL[split]:
        if all(packed(_side(root / stem, language)) for language in languages):
            return stem
        for suffix in _TABLES:
            if (root / f"{stem}{suffix}").is_file():
                return f"{stem}{suffix}"
    raise nothing_found(root, [f"{stem}.{languages[0]}" for stem in _USUAL[split]] + [f"{split}.parquet"])


def _side(stem: Path, language: str) -> Path:
    return stem.with_name(f"{stem.name}.{language}")


def _check_keep(keep: Mapping[str, Mapping[str, Keep]], files: Mapping[str, list[str]]) -> None:
    for split, names in keep.items():
        if unread := names.keys() - {file for file in files.get(split, ()) if is_table(file)}:
            raise ValueError(f"keep wants tables that {split} is read from, got {', '.join(sorted(unread))}")


def _read(
    root: Path,
    names: Sequence[str],
    languages: tuple[str, str],
    columns: Sequence[str],
    keep: Mapping[str, Keep],
    cache: Path | None,
) -> Iterator[Example]:
    for name in names:
        file = inside(root, name)
        if is_table(name):
            yield from read_table(file, columns[:1], columns[1:], keep.get(name), cache=cache)
        else:
            source, target = (existing(_side(file, language)) for language in languages)
            yield from read_parallel(source, [target])


def _read_alignments(root: Path, pair: str, gold: Mapping[str, str], cache: Path | None) -> Iterator[Example]:
    """Read sentences with their links, turned round where the file has the other direction."""
    if gold.keys() != {"file", "pair"}:
        raise ValueError(f"alignments wants a file and a pair, got {', '.join(gold) or 'nothing'}")
    if sorted(gold["pair"].split("-")) != sorted(pair.split("-")):
        raise ValueError(f"alignments wants the languages of {pair}, got {gold['pair']}")
    columns = {"source": ("src",), "target": ("tgt",), "sure": ("sure",), "possible": ("possible",)}
    for row in read_rows([inside(root, gold["file"])], columns, cache=cache):
        sure, possible = (_links(row, kind) for kind in ("sure", "possible"))
        example = replace(example_from_row(row), links=Links(sure, possible | sure))
        yield example if gold["pair"] == pair else _turned(example)


def _links(row: Row, kind: str) -> frozenset[Link]:
    texts = (single_spaces(row.values[side] or "") for side in ("source", "target"))
    source, target = (len(text.split(" ")) for text in texts)
    links: set[Link] = set()
    for link in row.values[kind] or ():
        i, j = _link(row, kind, link)
        if not (0 <= i < source and 0 <= j < target):
            raise ValueError(f"{row.where} wants {kind} links within {source} and {target} words, got {link}")
        links.add((i, j))
    return frozenset(links)


def _link(row: Row, kind: str, link: Any) -> Link:
    if not (isinstance(link, list) and len(link) == 2 and all(isinstance(at, int) for at in link)):
        raise ValueError(f"{row.where} wants {kind} links to be pairs of word positions, got {link!r}")
    return link[0], link[1]


def _turned(example: Example) -> Example:
    assert example.links is not None
    sure, possible = (frozenset((j, i) for i, j in kind) for kind in example.links)
    return Example(example.target, (example.source,), Links(sure, possible))


def _corpus(
    name: str,
    read: Mapping[str, Iterable[Example]],
    held_out: Mapping[str, int],
    languages: tuple[str, str],
    tokenized: bool,
    max_chars: int,
    limit: int | None,
) -> Corpus:
    write = _unescaped if tokenized else str
    splits: dict[str, list[Example]] = {}
    dropped: dict[str, dict[str, int]] = {}
    for split, examples in read.items():
        splits[split], dropped[split] = collect(
            examples, write_source=write, write_target=write, max_chars=max_chars
        )
    if held_out:
        taken = hold_out(splits["train"], held_out)
        shared = len(splits["train"]) - sum(map(len, taken.values()))
        dropped = {split: {} for split in taken} | dropped
        dropped["train"] = dropped["train"] | ({"sentence_held_out": shared} if shared else {})
        splits = taken | {split: splits[split] for split in splits if split not in taken}
    return assemble(name, splits, dropped, limit, languages, tokenized)


def _unescaped(text: str) -> str:
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return text
