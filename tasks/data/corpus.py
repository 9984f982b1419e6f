"""A corpus: named splits of items, with a checksum of what they say and what became of every file."""

import hashlib
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tasks.checks import counted
from tasks.data import cache as caches
from tasks.data.cache import CHUNK, ITEM, PLACE, Items, map_chunks, map_items, row_batch, write_batches
from tasks.data.files import RandomLines, check_unchanged, digest, file_state, write_line_starts
from tasks.data.reader import Source

Item = TypeVar("Item")
Raw = TypeVar("Raw")
Keys = Callable[[Item], Sequence[Hashable]]
"""From an item to what items that count as one have in common; the first is what it is trained on as."""

SPLITS = ("train", "dev", "test")
HELD_OUT = "pair_held_out"
MAX_CHARS = 10_000
"""Longer texts are taken for damage."""

_REPLACED = "\ufffd"  # what a program writes for characters that it could not read
_BYTE_ORDER_MARK = "\ufeff"  # inside a file, it is part of the word that it stands before


class FileCounts(NamedTuple):
    """How many items a split has read of a file, why some were dropped, what is suspicious about others."""

    read: int
    dropped: Counter[str]
    suspicious: Counter[str]

    def __str__(self) -> str:
        parts = [f"{self.read:,} read"]
        for word, reasons in (("dropped", self.dropped), ("kept, but suspicious", self.suspicious)):
            if reasons:
                parts.append(f"{word}: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items()))
        return "; ".join(parts)


@dataclass
class Part(Generic[Item]):
    """What a split has read of one file: the items that are kept, and why others are dropped."""

    file: str
    items: Items[Item]
    dropped: Counter[str]

    def keep(self, reason: str, is_kept: Callable[[Item], bool]) -> None:
        """Drop the other items, and count them."""
        flags = chain.from_iterable(map_items(lambda items: [is_kept(item) for item in items], self.items))
        kept = self.items.where(flags)
        self.dropped += Counter({reason: len(self.items) - len(kept)})  # a count of 0 is none
        self.items = kept


class Form(NamedTuple):
    """How items of a task are stored, in plain JSON values.

    ``content`` is what an item says, which its checksum is of; ``rest`` what else is known of it, or None;
    ``decode`` makes an item of both. ``texts`` are those of an item: one, and those that belong to it;
    ``keys`` what it has in common with items that count as one with it. ``of_lines`` makes an item of lines
    of its text files, where items of the task may be streamed: read anew whenever they are asked for.
    """

    content: Callable[[Any], Sequence[Any]]
    decode: Callable[[Any, Any], Any]
    texts: Callable[[Any], Sequence[str]]
    keys: Keys[Any]
    rest: Callable[[Any], Any] = lambda item: None
    of_lines: Callable[[Sequence[str]], Any] | None = None

    def dump(self, item: Any) -> bytes:
        """The content in the form of its checksum, and the rest in a second line if there is any."""
        content, rest = canonical(self.content(item)), self.rest(item)
        return content if rest is None else content + b"\n" + canonical(rest)

    def load(self, stored: bytes) -> Any:
        """The item that :meth:`dump` has stored."""
        content, _, rest = stored.partition(b"\n")
        return self.decode(json.loads(content), json.loads(rest) if rest else None)


def canonical(content: Sequence[Any]) -> bytes:
    """JSON in the form of checksums."""
    return json.dumps(content, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True)
class Corpus(Generic[Item]):
    """The splits of a corpus."""

    name: str  # as records call it
    sha256: str  # of what all items say, in order, whatever file or format they came from
    splits: Mapping[str, Sequence[Item]]  # train, dev, and one test set or several
    files: dict[str, dict[str, FileCounts]]  # by split and file what became of the items
    # Where it is kept prepared, so that what is made of it may be kept beside it.
    folder: Path | None = field(default=None, kw_only=True, compare=False)
    # Whether every word of it is this project's own, so that results may quote it.
    synthetic: bool = field(default=False, kw_only=True)

    @property
    def sizes(self) -> dict[str, int]:
        return {split: len(items) for split, items in self.splits.items()}

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """For each split, why items were left out and how many."""
        return {split: dict(_dropped(self.files.get(split, {}))) for split in self.splits}

    @property
    def notes(self) -> list[str]:
        """A line for each file of which something was dropped, or is suspicious."""
        return [
            f"{file}, for {split}: {counts}"
            for split, files in self.files.items()
            for file, counts in files.items()
            if counts.dropped or counts.suspicious
        ]

    def beside(self, kind: str, of: str = "") -> Path | None:
        """The folder of what is made of the corpus, and of what has the checksum ``of``, if that is kept."""
        return self.folder and self.folder.with_name(
            "-".join(filter(None, [self.folder.name, kind, of[:32]]))
        )

    @property
    def test_splits(self) -> tuple[str, ...]:
        """Names of the splits that are for testing."""
        return tuple(split for split in self.splits if split not in ("train", "dev"))


AnyCorpus = TypeVar("AnyCorpus", bound=Corpus[Any])
Parts = dict[str, list[Part[Any]]]
_CORPUS, _STREAMED, _RAW = "corpus.json", "streamed.json", ".raw"
SPACE = 2
"""Bytes that preparing takes on the disk, at least, for each byte of text files."""


def items_of(parts: Iterable[Part[Item]]) -> Iterator[Item]:
    """All that is kept, in order."""
    return chain.from_iterable(part.items for part in parts)


Kept = tuple[list[Item], Counter[str]]
"""The items that are kept, and why others are dropped."""


def read_part(
    source: Source[Raw],
    keep: Callable[[Sequence[Raw]], Kept[Item]],
    form: Form,
    folder: Path,
    *,
    streamed: bool = False,
) -> Part[Item]:
    """Keep of what is read what is to be kept, in a file of the ``folder`` of a corpus under preparation.

    ``keep`` says, in several processes, what becomes of some items. If each item is made of the lines of one
    number of plain text files, it may be ``streamed``: only the numbers are kept, and where the lines begin.
    """
    dropped: Counter[str] = Counter()

    def stored(chunk: Sequence[tuple[int, Raw]]) -> tuple[Any, Counter[str]]:
        if not streamed:
            items, why = keep([item for _, item in chunk])
            return row_batch(ITEM, [form.dump(item) for item in items]), why
        found = [(line, keep([item])) for line, item in chunk]
        lines = [line for line, (items, _) in found if items]
        why = sum((why for _, (_, why) in found if why), Counter[str]())
        return row_batch(PLACE, [part] * len(lines), lines), why

    def batches() -> Iterator[Any]:
        for batch, why in map_chunks(stored, batched(enumerate(source.read()), CHUNK)):
            dropped.update(why)
            yield batch

    part = _index_lines(source.files, folder) if streamed else 0
    path = folder / f"{uuid.uuid4().hex}{_RAW}"
    write_batches(path, PLACE if streamed else ITEM, batches())
    return Part(source.name, _items(path, form), dropped)


def _index_lines(files: Sequence[Path], folder: Path) -> int:
    """Add text files to those that are streamed, and return their number among them."""
    index = folder / _STREAMED
    parts = json.loads(index.read_bytes()) if index.exists() else []
    number = len(parts)
    sides = [
        (str(file.resolve()), write_line_starts(file, folder / f"{number}-{side}.starts"))
        for side, file in enumerate(files)
    ]
    index.write_text(json.dumps([*parts, sides]))
    return number


def _items(path: Path, form: Form) -> Items[Any]:
    """The items whose contents are in a file, or whose places in text files."""
    items: Items[Any] = Items(path, form.load)
    if items.schema == ITEM:
        return items
    parts = json.loads((path.parent / _STREAMED).read_bytes())
    sides = [
        [
            RandomLines(Path(file), path.parent / f"{part}-{side}.starts", content)
            for side, (file, content) in enumerate(files)
        ]
        for part, files in enumerate(parts)
    ]
    of_lines = form.of_lines
    assert of_lines is not None
    return Items(path, lambda part, line: of_lines([side[line] for side in sides[part]]))


def _rows(items: Items[Any], form: Form) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    """The rows of items as they are kept, each with what :meth:`Form.dump` makes of its item."""
    if items.schema == ITEM:
        return ((row, row[0]) for row in items.stored())
    dumped = map_items(lambda some: [form.dump(item) for item in some], items)
    return zip(items.stored(), chain.from_iterable(dumped), strict=True)


def batched(items: Iterable[Raw], size: int) -> Iterator[list[Raw]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


def keep_whole(
    name: str,
    parts: Mapping[str, Sequence[Part[Any]]],
    form: Form,
    folder: Path,
    limit: int | None = None,
    shared: Mapping[str, Keys[Any]] | None = None,
) -> None:
    """Write what is read of a corpus into its folder, without training items that stand in another split.

    Args:
        name, parts, form, folder: of the corpus.
        limit: of every split keep only this many items, the first ones.
        shared: for each further reason to drop training items what they then have in common with others.

    Raises:
        ValueError: nothing is left of a split.
    """
    parts = {split: parts[split] for split in dict.fromkeys(("train", "dev", *parts))}
    for reason, keys in {HELD_OUT: form.keys, **(shared or {})}.items():
        drop_shared(reason, parts, keys)
    digest, files = hashlib.sha256(), count_files(name, parts, form)

    def batches(split: str, schema: Any, rows: Iterator[tuple[tuple[Any, ...], bytes]]) -> Iterator[Any]:
        for chunk in batched(rows, CHUNK):
            digest.update(b"".join(_signed(split, line.partition(b"\n")[0]) for _, line in chunk))
            yield row_batch(schema, *zip(*(row for row, _ in chunk), strict=True))

    for split, of_split in parts.items():
        rows = islice((row for part in of_split for row in _rows(part.items, form)), limit)
        schema = of_split[0].items.schema
        write_batches(folder / f"{split}.arrow", schema, batches(split, schema, rows))
    told = {"sha256": digest.hexdigest(), "files": files, "splits": list(parts)}
    (folder / _CORPUS).write_text(json.dumps(told))
    for raw in folder.glob(f"*{_RAW}"):
        raw.unlink()


def load_prepared(empty: AnyCorpus, form: Form, folder: Path) -> AnyCorpus:
    """The corpus with what :func:`keep_whole` has written there."""
    told = json.loads((folder / _CORPUS).read_bytes())
    files = {
        split: {file: FileCounts(read, *map(Counter, counts)) for file, (read, *counts) in found.items()}
        for split, found in told["files"].items()
    }
    splits = {split: _items(folder / f"{split}.arrow", form) for split in told["splits"]}
    return replace(empty, sha256=told["sha256"], splits=splits, files=files)


def prepare(
    empty: AnyCorpus,
    form: Form,
    options: Mapping[str, Any],
    sources: Mapping[str, Sequence[Source[Any]]],
    keep: Callable[[str], Callable[[Sequence[Any]], Kept[Any]]],
    finish: Callable[[Parts], Parts] = lambda parts: parts,
    shared: Mapping[str, Keys[Any]] | None = None,
) -> AnyCorpus:
    """Read a corpus, or find it as it was read before.

    Args:
        empty, form: the corpus without items, and the form of these.
        options: the arguments of what loads it, which decide what is read; ``prepared`` among them is the
            folder of what is prepared, or None to keep nothing.
        sources: what every split is read from.
        keep: for a split, what becomes of some of its items, as for :func:`read_part`.
        finish: what else becomes of the splits, once they are read.
        shared: as for :func:`keep_whole`.

    Raises:
        ConnectionError: the hub cannot be reached.
        OSError: the disk has too little room.
        ValueError: a file changes meanwhile; another checksum than the options want.
    """
    files = [file for of_split in sources.values() for source in of_split for file in source.files]
    cache, stream = options["prepared"], options.get("stream", False)
    states: dict[Path, tuple[int, ...]] = {}
    digests: dict[Path, str] = {}

    def read_unchanged(made: Path) -> None:
        if not stream:
            _check_space(
                made, files, "data.stream=true keeps an index alone, " if "stream" in options else ""
            )
        parts: Parts = {
            split: [
                read_part(source, keep(split), form, made, streamed=stream and split == "train")
                for source in of_split
            ]
            for split, of_split in sources.items()
        }
        keep_whole(empty.name, finish(parts), form, made, options["limit"], shared)
        for file, state in states.items():
            check_unchanged(file, state, digests[file])

    folder = None
    if cache is not None and all(file.is_file() for file in files):  # else reading will say better
        states |= {file: file_state(file) for file in files}
        digests |= {file: digest(file) for file in files}
        decisive = {name: value for name, value in options.items() if name not in ("cache", "prepared")}
        decisive["versions"] = [source.version() for of_split in sources.values() for source in of_split]
        if stream:  # from wherever they lie, whatever they are called from here
            decisive["places"] = [str(file.resolve()) for file in files]
        task = form.content.__module__.split(".")[1]
        folder = cache / f"{task}-{caches.fingerprint(digests, decisive)}"
    found = caches.prepared(folder, read_unchanged, partial(load_prepared, empty, form))
    if (wanted := options.get("sha256")) not in (None, found.sha256):
        raise ValueError(f"{found.name} must have the checksum of data.sha256, {wanted}, got {found.sha256}")
    return replace(found, folder=folder)


def _check_space(folder: Path, files: Sequence[Path], instead: str) -> None:
    """Raise OSError where a disk has less room than the items of these files will take."""
    needed = SPACE * sum(file.stat().st_size for file in files if file.is_file())
    free = shutil.disk_usage(folder).free
    if free < needed:
        wanted = f"{folder.parent} must have {needed / 1e9:.3g} GB free for what is prepared"
        got = f"{free / 1e9:.3g} GB: {instead}{caches.VARIABLE} names another folder"
        raise OSError(f"{wanted}, got {got}")


def drop_shared(reason: str, splits: Mapping[str, Sequence[Part[Item]]], keys: Keys[Item]) -> None:
    """Drop the training items that stand in another split, too."""
    others = (part for split, parts in splits.items() if split != "train" for part in parts)
    taken = {key for item in items_of(others) for key in keys(item)}
    for part in splits["train"]:
        part.keep(reason, lambda item: keys(item)[0] not in taken)


def hold_out(
    train: Sequence[Part[Item]], sizes: Mapping[str, int], sides: Callable[[Item], tuple[str, str]]
) -> dict[str, list[Part[Item]]]:
    """Take dev and test sets out of pairs that have none, so that no text stands in two splits.

    Pairs are taken in the order of a hash of their second text, so that neither the order of the corpus nor
    chance has a say. What stays in ``train`` shares no first and no second text with them, whatever its case
    and kinds of spaces; of two sets, the later one in ``sizes`` loses the texts that they share.

    Returns:
        First ``train``, the pairs that are left, with those that are dropped counted, and the sets, all in
        the order of the files.

    Raises:
        ValueError: a size below 1, or too few pairs.
    """
    folded = [tuple(" ".join(text.lower().split()) for text in sides(item)) for item in items_of(train)]
    homes = iter(_homes(folded, sizes))
    splits: dict[str, list[Part[Item]]] = {split: [] for split in ("train", *sizes)}
    for part in train:
        placed = list(islice(homes, len(part.items)))
        for split, parts in splits.items():
            parts.append(Part(part.file, part.items.where(home == split for home in placed), Counter()))
        shared = placed.count(None)
        splits["train"][-1].dropped += part.dropped + Counter({"sentence_held_out": shared})
    return splits


def _homes(pairs: Sequence[tuple[str, ...]], sizes: Mapping[str, int]) -> list[str | None]:
    """For each pair of texts the split that it goes to, or None."""
    homes: list[str | None] = [None] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda place: hashlib.sha256(pairs[place][1].encode()).digest())
    taken = set[str](), set[str]()  # first and second texts of the sets before

    def is_shared(place: int) -> bool:
        return any(text in texts for text, texts in zip(pairs[place], taken, strict=True))

    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"held_out must take at least 1 pair for {split}, got {size}")
        order = [place for place in order if not is_shared(place)]
        if len(order) <= size:
            got = len(order)
            raise ValueError(
                f"held_out must have more than {counted(size, 'pair')} to take {split} from, got {got}"
            )
        for place in order[:size]:
            homes[place] = split
            for text, texts in zip(pairs[place], taken, strict=True):
                texts.add(text)
        order = order[size:]
    for place in order:
        homes[place] = None if is_shared(place) else "train"
    return homes


def count_files(
    name: str, splits: Mapping[str, Sequence[Part[Any]]], form: Form
) -> dict[str, dict[str, FileCounts]]:
    """What became of every file of every split of a corpus; suspicious is what is kept, but may be wrong."""
    tests = [part for split, parts in splits.items() if split not in ("train", "dev") for part in parts]
    tested = {key for item in items_of(tests) for key in form.keys(item)}

    def suspicions(split: str, item: Any) -> Iterator[str]:
        first, *others = form.texts(item)
        if any(_REPLACED in text for text in (first, *others)):
            yield "replaced"
        if any(_BYTE_ORDER_MARK in text for text in (first, *others)):
            yield "byte_order_mark"
        if first in others:
            yield "same_text"
        if split == "dev" and not tested.isdisjoint(form.keys(item)):
            yield "also_tested"

    def count(split: str, items: Sequence[Any]) -> Counter[str]:
        return Counter(reason for item in items for reason in suspicions(split, item))

    files: dict[str, dict[str, FileCounts]] = {}
    for split, parts in splits.items():
        found = files.setdefault(split, {})
        for part in parts:
            suspicious = sum(map_items(partial(count, split), part.items), Counter[str]())
            found[part.file] = FileCounts(len(part.items) + part.dropped.total(), part.dropped, suspicious)
        if not any(part.items for part in parts):
            reasons = ", ".join(f"{reason} {count}" for reason, count in _dropped(found).items()) or "nothing"
            raise ValueError(f"the {split} split of {name} must have a pair, got none; dropped: {reasons}")
    return files


def _dropped(files: Mapping[str, FileCounts]) -> Counter[str]:
    return sum((counts.dropped for counts in files.values()), Counter())


def check_different(files: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError where a split would be read from one file twice."""
    for split, names in files.items():
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{split} must name different files, got {twice[0]} twice")


def checksum(splits: Mapping[str, Sequence[Any]], form: Form) -> str:
    """SHA-256 over the content of every item, split after split as they stand."""
    digest = hashlib.sha256()
    for split, items in splits.items():
        for item in items:
            digest.update(_signed(split, canonical(form.content(item))))
    return digest.hexdigest()


def _signed(split: str, content: bytes) -> bytes:
    """What the checksum has of an item: its content with the name of its split before it."""
    return b"[%s,%s\n" % (json.dumps(split).encode("ascii"), content[1:])
