"""Rows of tables as dictionaries: of JSON, CSV and TSV read here, of parquet and the hub by a library."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tasks.data.files import check_file, first_line, read_lines, unchanged
from tasks.packages import check_installed

Record = dict[str, Any]
T = TypeVar("T")

# In tab-separated files a quotation mark is a character like any other, as in those of GLUE.
_DIALECTS: dict[str, dict[str, Any]] = {
    ".csv": {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL, "strict": True},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
SUFFIXES = (".parquet", ".jsonl", ".json", *_DIALECTS)
# What an escape in JSON can say and a text cannot: NUL, and half of a pair that is one character.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class Table(NamedTuple):
    """Records that have the wanted ones of all ``columns``; what a record lacks is missing there."""

    columns: tuple[str, ...]
    records: list[Record]


def suffix_of(file: Path) -> str:
    """The suffix that tells the format, ``.gz`` aside."""
    return file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix


def read_table_file(file: Path, wanted: Iterable[str], cache: Path) -> Table:
    """Read a file, its format told by the suffix; ``a.b`` among ``wanted`` is the entry ``b`` of ``a``.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: as :func:`tasks.data.reader.read_rows`.
    """
    check_file(file)
    suffix, wanted = suffix_of(file), set(wanted)
    if suffix not in SUFFIXES or file.suffixes[-2:] == [".parquet", ".gz"]:
        raise ValueError(f"{file} must have one of the suffixes {', '.join(SUFFIXES)}, got {file.suffix!r}")
    if suffix == ".parquet":
        table = _read_parquet(file, wanted, cache)
    else:
        table = _collect(_csv_records(file, suffix) if suffix in _DIALECTS else _json_records(file), wanted)
    if not table.records:
        raise ValueError(f"{file} must have rows, got none")
    return table


def _collect(records: Iterable[Record], wanted: set[str]) -> Table:
    """Keep what is wanted only: SNLI's official files have seven times as much."""
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
        values: Iterable[tuple[str, Any]] = _of_list("\n".join([first, *lines]), file)
    else:
        values = _of_lines(chain(filter(None, [first]), lines), file)
    for where, value in values:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object of JSON, got {json.dumps(value)[:40]}")
        yield value


def _of_lines(lines: Iterable[str], file: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        where = f"{file}, row {number}"
        yield where, _parse(line, where)


def _of_list(text: str, file: Path) -> Iterator[tuple[str, Any]]:
    return ((f"{file}, row {number}", value) for number, value in enumerate(_parse(text, str(file)), 1))


def _parse(text: str, where: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=_different)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be JSON, got: {first_line(error)}") from None
    if "\\u" in text and (odd := next(filter(_NO_TEXT.search, _texts(value)), None)):
        raise ValueError(f"{where} must have text without NUL and halves of characters, got {odd[:40]!r}")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name}, which is no number")


def _different(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError(f"{_twice(name for name, _ in pairs)} twice in one object")
    return record


def _twice(names: Iterable[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value if isinstance(value, list) else value.items() if isinstance(value, dict) else ():
        yield from chain.from_iterable(map(_texts, inner)) if isinstance(inner, tuple) else _texts(inner)


def _csv_records(file: Path, suffix: str) -> Iterator[Record]:
    """Every row with a text for each column of the header; blank lines are none."""
    rows = filter(None, _csv_rows(file, _DIALECTS[suffix]))
    header = next(rows, [])
    if len(set(header)) != len(header):
        raise ValueError(f"{file} must have different columns, got {_twice(header)!r} twice")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(f"{file}, row {number} must have {len(header)} columns, got {len(row)}")
        yield dict(zip(header, row, strict=True))


def _csv_rows(file: Path, dialect: dict[str, Any]) -> Iterator[list[str]]:
    try:
        yield from csv.reader((f"{line}\n" for line in read_lines(file)), **dialect)
    except csv.Error as error:
        raise ValueError(f"{file} must be rows of fields, got: {error}") from error


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


def library_table(table: Any, wanted: Iterable[str], file: str) -> Table:
    """What a table of the library holds; where it stores numbers for names, the names.

    Raises:
        ValueError: a wanted column of pictures, sounds or several types.
    """
    wanted = set(wanted)
    if any("." in name for name in wanted):
        table = table.flatten()
    found = [name for name in table.column_names if name in wanted]
    names = {name: _names_of(name, table.features[name], file) for name in found}
    records = _tried(table.select_columns(found).to_list, file) if found else [{} for _ in range(len(table))]
    for record in records:
        for name in found:
            if names[name] and isinstance(number := record[name], int) and 0 <= number < len(names[name]):
                record[name] = names[name][number]
    return Table(tuple(table.column_names), records)


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
        # Not load_dataset: for a local file, too, it reports to a server and waits for the answer.
        load = partial(datasets.Dataset.from_parquet, str(file), cache_dir=str(cache))
        return library_table(_tried(load, str(file)), wanted, str(file))


def _tried(read: Callable[[], T], file: str) -> T:
    try:
        return read()
    except Exception as error:  # what is damaged inside comes as almost anything
        cause = first_line(error.__cause__ or error)
        raise ValueError(f"{file} must have whole rows, got: {cause}") from error
