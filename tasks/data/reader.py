"""The one reader of corpora: lines of text, rows of parquet, JSON, CSV and TSV files and of the hub.

JSON, CSV and TSV are read here, line by line; parquet and the hub by a library.
"""

import csv
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tasks.checks import check_installed, counted
from tasks.data.cache import CHUNK
from tasks.data.files import check_file, first_line, parse_json, read_lines, unchanged

Record = dict[str, Any]
T = TypeVar("T")

# In tab-separated files a quotation mark is a character like any other, as in those of GLUE.
_DIALECTS: dict[str, dict[str, Any]] = {
    ".csv": {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL, "strict": True},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
SUFFIXES = (".parquet", ".jsonl", ".json", *_DIALECTS)
LONGEST_FIELD = 2**24
"""Characters of a field of CSV and TSV: a longer one is taken for a quotation mark without its second."""
MOST_ROWS = 2**20
"""Of a parquet file that has fewer bytes than rows, which says the same in all of them."""
# What an escape in JSON can say and a text cannot: NUL, and half of a pair that is one character.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


Keep = Mapping[str, str | Sequence[str]]
"""Columns, each with the value, or values, of the rows to read."""


class Table(NamedTuple):
    """Records that have the wanted ones of all ``columns``; what a record lacks is missing there."""

    columns: Sequence[str]
    records: Iterable[Record]


class Row(NamedTuple):
    """One row of a corpus: the wanted columns, and where it stands for messages."""

    file: str
    number: int  # from 1, before any filter; header and blank lines do not count
    values: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.file}, row {self.number}"

    def texts(self, column: str) -> tuple[str, ...]:
        """The text in a column, or the texts of the list there; what is missing is an empty text."""
        found = self.values[column]
        values = found or [None] if isinstance(found, list) else [found]
        for value in values:
            if not isinstance(value, str | None):
                raise ValueError(f"{self.where} must have text as its {column}, got {value!r}")
        return tuple(value or "" for value in values)

    def text(self, column: str) -> str:
        """The one text in a column."""
        if isinstance(self.values[column], list):
            raise ValueError(f"{self.where} must have text as its {column}, got {self.values[column]!r}")
        return self.texts(column)[0]


def is_table(file: Path | str) -> bool:
    """Whether :func:`read_rows` reads a file of this name."""
    return suffix_of(Path(file)) in SUFFIXES


def read_rows(
    file: Path,
    columns: Mapping[str, Sequence[str]],
    keep: Keep | None = None,
    *,
    optional: Sequence[str] = (),
    cache: Path | None = None,
) -> Iterator[Row]:
    """Read a local file row by row, its format told by the suffix; of JSON all that is wanted at once.

    Args:
        file: ``.parquet``, ``.jsonl``, ``.json``, ``.csv`` or ``.tsv``; the last four also ``.gz``.
        columns: the names wanted, each with the names accepted for it in the file; the first found is read.
            ``a.b`` is the entry ``b`` of a column ``a`` of dictionaries.
        keep: read only rows in which each of these columns, as text, has this value or one of these.
        optional: columns read where the file has them, under their own names.
        cache: folder for the parquet library's cache; ``None`` uses a temporary one and leaves nothing.

    Yields:
        The rows in order. Values of CSV and TSV files are text, also ``"NA"`` and ``""``.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: another suffix; an empty, truncated or damaged file, or one that changes meanwhile; text
            that is not UTF-8 or holds NUL; a row of another length than its header; a column or a key that
            is there twice; a wanted column that is missing or is no plain values of one type.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        table = _read_table(file, {*_names(columns, keep), *optional}, cache or Path(folder))
        more = {name: [name] for name in optional if name in table.columns}
        yield from _select(table, str(file), {**columns, **more}, keep or {})


@dataclass(frozen=True)
class Source(Generic[T]):
    """What a split is read from: files that belong together, or a split of a data set of the hub.

    ``name`` is what counts call it; ``read`` gives what is in it, one item after the other; ``version`` tells
    it from another under the same name, where there are no files that do.
    """

    name: str
    read: Callable[[], Iterable[T]]
    files: Sequence[Path] = ()
    version: Callable[[], str] = str


def hub_sources(
    name: str,
    columns: Mapping[str, Sequence[str]],
    item: Callable[[Row], T],
    *,
    config: str | None = None,
    revision: str | None = None,
    cache: Path | None = None,
) -> dict[str, list[Source[T]]]:
    """The splits of a data set on the Hugging Face hub, or of the library's cache if HF_HUB_OFFLINE=1.

    To read one raises ConnectionError where the hub cannot be reached, or HF_HUB_OFFLINE=1 and the cache
    lacks the data set; ValueError where there is no such data set or split, or a wanted column is missing.

    Args:
        name, config: the data set, such as ``"stanfordnlp/snli"``, and which of several configurations.
        columns: as for :func:`read_rows`.
        item: makes an item of a row.
        revision, cache: its commit, if not the newest; the library's folder, if not its own.
    """
    table = partial(_hub_table, name, config, revision, cache)

    def read(split: str, where: str) -> Iterator[T]:
        found = _library_table(table(split), _names(columns, None), where)
        return map(item, _select(found, where, columns, {}))

    def source(split: str) -> Source[T]:
        where = f"{name} {split}"
        return Source(where, lambda: read(split, where), version=lambda: str(table(split)._fingerprint))

    splits = {"train": "train", "dev": "validation", "test": "test"}
    return {split: [source(there)] for split, there in splits.items()}


def _hub_table(name: str, config: str | None, revision: str | None, cache: Path | None, split: str) -> Any:
    try:
        _ask_hub(name)
        with quiet_library() as datasets:
            return datasets.load_dataset(
                name, config, split=split, revision=revision, cache_dir=cache and str(cache)
            )
    except ConnectionError as error:
        raise ConnectionError(
            f"the data set {name!r} must come from the hub, got no connection ({first_line(error)}): pass "
            "a folder with its files instead, or set HF_HUB_OFFLINE=1 if the library's cache holds it"
        ) from error
    except (FileNotFoundError, ValueError) as error:
        got = f"{name!r}, {split!r}: {first_line(error)}"
        raise ValueError(f"the hub must have the data set and split, got {got}") from error


def _ask_hub(name: str) -> None:
    """Fail within seconds where the library would try again for half a minute."""
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    if huggingface_hub.is_offline_mode():
        return
    try:
        huggingface_hub.HfApi().dataset_info(name, timeout=5)
    except (RepositoryNotFoundError, ValueError) as error:
        raise ValueError(first_line(error)) from error
    except Exception as error:  # whatever the HTTP library of the day raises
        raise ConnectionError(first_line(error)) from error


def _names(columns: Mapping[str, Sequence[str]], keep: Keep | None) -> set[str]:
    return {*(keep or {}), *(name for names in columns.values() for name in names)}


def _select(table: Table, file: str, columns: Mapping[str, Sequence[str]], keep: Keep) -> Iterator[Row]:
    found = {wanted: _find(names, table.columns, file) for wanted, names in columns.items()}
    kept = {
        _find([column], table.columns, file): {value} if isinstance(value, str) else set(value)
        for column, value in keep.items()
    }
    return (
        Row(file, number, {wanted: record.get(name) for wanted, name in found.items()})
        for number, record in enumerate(table.records, 1)
        if all(str(record.get(name)) in values for name, values in kept.items())
    )


def _find(names: Sequence[str], columns: Sequence[str], file: str) -> str:
    name = next((name for name in names if name in columns), None)
    if name is None:
        got = ", ".join(columns) or "none"
        raise ValueError(f"{file} must have a column {' or '.join(names)}, got {got}")
    return name


# ------------------------------------------------------------------ tables
def suffix_of(file: Path) -> str:
    """The suffix that tells the format, ``.gz`` aside."""
    return file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix


def _read_table(file: Path, wanted: set[str], cache: Path) -> Table:
    """Read a file, its format told by the suffix; ``a.b`` among ``wanted`` is the entry ``b`` of ``a``."""
    check_file(file)
    suffix = suffix_of(file)
    if suffix not in SUFFIXES or file.suffixes[-2:] == [".parquet", ".gz"]:
        raise ValueError(f"{file} must have one of the suffixes {', '.join(SUFFIXES)}, got {file.suffix!r}")
    if suffix == ".parquet":
        table = _read_parquet(file, wanted, cache)
    else:
        table = _csv_table(file, suffix) if suffix in _DIALECTS else _collect(_json_records(file), wanted)
    records = iter(table.records)
    if (first := next(records, None)) is None:
        raise ValueError(f"{file} must have rows, got none")
    return Table(table.columns, chain([first], records))


def _collect(records: Iterable[Record], wanted: set[str]) -> Table:
    """Keep what is wanted only, a seventh of SNLI's files; even the last record may add a column."""
    columns: dict[str, None] = {}
    kept = []
    for record in records:
        if any("." in name for name in wanted):
            record = _flat(record)
        columns |= dict.fromkeys(record)
        kept.append({name: record[name] for name in wanted & record.keys()})
    return Table(tuple(columns), kept)


def _flat(record: Record) -> Record:
    flat: Record = {}
    for name, value in record.items():
        inner = isinstance(value, dict)
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if inner else {name: value}
    return flat


# ------------------------------------------------------------------ text
def _json_records(file: Path) -> Iterator[Record]:
    """One object a line; in a .json file it may be one list of objects."""
    lines = filter(str.strip, read_lines(file))
    first = next(lines, "")
    if suffix_of(file) == ".json" and first.lstrip().startswith("["):
        values: Iterable[Any] = _parse("\n".join([first, *lines]), str(file))
    else:
        of_rows = enumerate(filter(None, chain([first], lines)), 1)
        values = (_parse(line, f"{file}, row {number}") for number, line in of_rows)
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            got = json.dumps(value)[:40]
            raise ValueError(f"{file}, row {number} must be an object of JSON, got {got}")
        yield value


def _parse(text: str, where: str) -> Any:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where} must be JSON, got: {first_line(error)}") from None
    if "\\u" in text and (odd := next(filter(_NO_TEXT.search, _texts(value)), None)):
        raise ValueError(f"{where} must have text without NUL and halves of characters, got {odd[:40]!r}")
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from chain(value, *map(_texts, value.values()))
    elif isinstance(value, list):
        yield from chain(*map(_texts, value))


def _csv_table(file: Path, suffix: str) -> Table:
    """Every row with a text for each column of the header; blank lines are none."""
    rows = filter(None, _csv_rows(file, _DIALECTS[suffix]))
    header = next(rows, [])
    if len(set(header)) != len(header):
        twice = Counter(header).most_common(1)[0][0]
        raise ValueError(f"{file} must have different columns, got {twice!r} twice")

    def records() -> Iterator[Record]:
        for number, row in enumerate(rows, 1):
            if len(row) != len(header):
                columns = counted(len(header), "column")
                raise ValueError(f"{file}, row {number} must have {columns}, got {len(row)}")
            yield dict(zip(header, row, strict=True))

    return Table(header, records())


def _csv_rows(file: Path, dialect: dict[str, Any]) -> Iterator[list[str]]:
    rows, line = csv.reader((f"{line}\n" for line in read_lines(file)), **dialect), 1
    before = csv.field_size_limit(LONGEST_FIELD)  # 131,072 by default: one long text would refuse a corpus
    try:
        for row in rows:
            yield row
            line = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{file}, line {line} must begin a row of whole fields, got: {error}") from error
    finally:
        csv.field_size_limit(before)


# ------------------------------------------------------------------ the library
@contextmanager
def quiet_library() -> Iterator[Any]:
    """Import the library, which takes a second, and keep it from drawing bars and logging what it raises."""
    check_installed("datasets", "a table or the hub")
    import datasets

    level, bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _library_table(table: Any, wanted: set[str], file: str) -> Table:
    """What a table of the library holds; where it stores numbers for names, the names.

    Raises:
        ValueError: a wanted column of pictures, sounds or several types.
    """
    if any("." in name for name in wanted):
        table = table.flatten()
    found = [name for name in table.column_names if name in wanted]
    names = {name: _names_of(name, table.features[name], file) for name in found}
    chosen = table.select_columns(found)

    def records() -> Iterator[Record]:
        for start in range(0, len(table), CHUNK):
            some = chosen.select(range(start, min(start + CHUNK, len(table))))
            for record in _tried(some.to_list, file):
                for name in found:
                    number = record[name]
                    if names[name] and isinstance(number, int) and 0 <= number < len(names[name]):
                        record[name] = names[name][number]
                yield record

    return Table(table.column_names, records() if found else repeat({}, len(table)))


def _names_of(column: str, feature: Any, file: str) -> Sequence[str]:
    """What the numbers of a column stand for, in whatever order; nothing where they are numbers.

    A column of pictures or sounds would be decoded, from files and addresses that it names. The library reads
    a column of several types as JSON, in which "-" becomes the number 0.
    """
    kind = type(feature).__name__
    if kind not in ("Value", "ClassLabel", "List", "LargeList", "Sequence", "dict", "list"):
        got = "several types" if kind == "Json" else kind
        raise ValueError(f"{file} must have plain values of one type in column {column}, got {got}")
    return tuple(feature.names) if kind == "ClassLabel" else ()


def _read_parquet(file: Path, wanted: set[str], cache: Path) -> Table:
    """Check the ends before the library sees the file: of a cut one it says nothing that helps."""
    with file.open("rb") as stream:
        first = stream.read(4)
        stream.seek(max(0, file.stat().st_size - 4))
        if (first, stream.read()) != (b"PAR1", b"PAR1"):
            raise ValueError(f"{file} must have PAR1 at both ends of a parquet file, got a damaged one")
    with quiet_library() as datasets, unchanged(file):
        from pyarrow import parquet

        rows = _tried(lambda: parquet.read_metadata(file).num_rows, str(file))
        if rows > (most := max(MOST_ROWS, file.stat().st_size)):
            raise ValueError(f"{file} must have at most {most:,} rows, as many as bytes, got {rows:,}")
        # Not load_dataset: for a local file, too, it reports to a server and waits for the answer.
        load = partial(datasets.Dataset.from_parquet, str(file), cache_dir=str(cache))
        return _library_table(_tried(load, str(file)), wanted, str(file))


def _tried(read: Callable[[], T], file: str) -> T:
    try:
        return read()
    except Exception as error:  # what is damaged inside comes as almost anything
        cause = first_line(error.__cause__ or error)
        raise ValueError(f"{file} must have whole rows, got: {cause}") from error
