"""The one reader of corpora: lines of text, rows of parquet, JSON, CSV and TSV files and of the hub."""

import csv
import gzip
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

Keep = Mapping[str, str | Sequence[str]]
"""Columns, each with the value, or values, of the rows to read."""

_READERS = {
    ".parquet": "from_parquet",
    ".jsonl": "from_json",
    ".json": "from_json",
    ".csv": "from_csv",
    ".tsv": "from_csv",
}
# In tab-separated files a quotation mark is a character like any other, as in those of GLUE.
_DIALECTS: dict[str, dict[str, Any]] = {
    ".csv": {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}


LONGEST_LINE = 2**28
"""Bytes: a longer line is taken for damage, or for a small archive that unpacks to anything."""


class Row(NamedTuple):
    """One row of a corpus: the wanted columns, and where it stands for messages."""

    file: str
    number: int  # from 1, before any filter; header and blank lines do not count
    values: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.file}, row {self.number}"

    def texts(self, column: str) -> tuple[str, ...]:
        """The text in a column, or the texts of the list there; what is missing is an empty text.

        Raises:
            ValueError: a value that is not text.
        """
        found = self.values[column]
        values = found or [None] if isinstance(found, list) else [found]
        for value in values:
            if not isinstance(value, str | None):
                raise ValueError(f"{self.where} wants text as its {column}, got {value!r}")
        return tuple(value or "" for value in values)

    def text(self, column: str) -> str:
        """The one text in a column; errors as for :meth:`texts`."""
        if isinstance(self.values[column], list):
            raise ValueError(f"{self.where} wants text as its {column}, got {self.values[column]!r}")
        return self.texts(column)[0]


def is_table(file: Path | str) -> bool:
    """Whether :func:`read_rows` reads a file of this name."""
    return _suffix(Path(file)) in _READERS


def read_lines(file: Path) -> Iterator[str]:
    """Read the lines of a text file, plain or ``.gz``, one after the other.

    Only a line feed ends a line, after a carriage return or not; a byte-order mark at the start is dropped.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: an empty, truncated or damaged file; text that is not UTF-8; a NUL or carriage return
            inside a line.
    """
    return (line.decode("utf-8-sig" if first else "utf-8") for first, line in _checked_lines(file))


def read_rows(
    files: Sequence[Path],
    columns: Mapping[str, Sequence[str]],
    keep: Keep | None = None,
    *,
    cache: Path | None = None,
) -> list[Row]:
    """Read local files, one after the other, their format told by the suffix.

    Args:
        files: ``.parquet``, ``.jsonl``, ``.json``, ``.csv`` or ``.tsv`` files; the last four also ``.gz``.
        columns: the names wanted, each with the names accepted for it in a file; the first found is read.
            ``a.b`` is the entry ``b`` of a column ``a`` of dictionaries.
        keep: read only rows in which each of these columns, as text, has this value or one of these.
        cache: folder for the library's cache; ``None`` uses a temporary one and leaves nothing behind.

    Returns:
        The rows in the order of the files. Values of CSV and TSV files are text, also ``"NA"`` and ``""``.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: another suffix; an empty, truncated or damaged file; text that is not UTF-8; a row of
            another length than its header; a wanted column that is missing or mixes types.
    """
    rows: list[Row] = []
    for file in map(Path, files):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            table = _load_file(file, cache or Path(folder))
            rows += _select(table, str(file), columns, keep or {})
    return rows


def read_hub(
    name: str,
    split: str,
    columns: Mapping[str, Sequence[str]],
    *,
    config: str | None = None,
    revision: str | None = None,
    cache: Path | None = None,
) -> list[Row]:
    """Read one split of a data set on the Hugging Face hub, or of the library's cache if HF_HUB_OFFLINE=1.

    Args:
        name: the data set, such as ``"stanfordnlp/snli"``.
        split: such as ``"train"``.
        columns: as for :func:`read_rows`.
        config: which of the data set's configurations, such as ``"de-en"``, where it has several.
        revision: the commit of the data set to read; ``None`` takes its newest.
        cache: folder for the library's cache; ``None`` takes the library's own.

    Raises:
        ConnectionError: the hub cannot be reached, or HF_HUB_OFFLINE=1 and the cache lacks the data set.
        ValueError: there is no such data set or split, or a wanted column is missing.
    """
    try:
        _ask_hub(name)
        with _quiet_library() as datasets:
            table = datasets.load_dataset(
                name, config, split=split, revision=revision, cache_dir=cache and str(cache)
            )
    except ConnectionError as error:
        raise ConnectionError(
            f"the data set {name!r} wants the hub, got no connection ({_first_line(error)}): pass a folder "
            "with its files instead, or set HF_HUB_OFFLINE=1 if the library's cache holds it"
        ) from error
    except (FileNotFoundError, ValueError) as error:
        got = f"{name!r}, {split!r}: {_first_line(error)}"
        raise ValueError(f"the hub wants an existing data set and split, got {got}") from error
    return _select(table, f"{name} {split}", columns, {})


def inside(root: Path, name: str) -> Path:
    """Join the two; names are compared as written, so that links inside the folder may point elsewhere.

    Raises:
        ValueError: the name leaves ``root``.
    """
    path = os.path.normpath(name)
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir:
        raise ValueError(f"a file name must stay inside {root}, got {name!r}")
    return root / path


def nothing_found(root: Path, names: Iterable[str]) -> FileNotFoundError:
    """The error to raise where none of these files is in ``root``."""
    got = ", ".join(sorted(os.listdir(root))[:8]) if root.is_dir() else "no such folder"
    return FileNotFoundError(f"{root} wants a file {' or '.join(names)}, got {got or 'an empty folder'}")


def packed(file: Path) -> Path | None:
    """Return ``file``, or ``file.gz``, or None where there is neither."""
    return next((found for found in _packings(file) if found.is_file()), None)


def existing(file: Path) -> Path:
    """Return ``file``, or ``file.gz``.

    Raises:
        FileNotFoundError: there is neither.
    """
    found = packed(file)
    if found is None:
        raise nothing_found(file.parent, [packing.name for packing in _packings(file)])
    return found


def _packings(file: Path) -> list[Path]:
    return [file, file.with_name(f"{file.name}.gz")]


@contextmanager
def open_bytes(file: Path) -> Iterator[IO[bytes]]:
    """Open a plain or gzip-compressed file for reading.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: the file is empty, or, while it is read, a truncated or damaged gzip file.
    """
    check_file(file)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield io.BufferedReader(stream, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{file} wants a whole gzip file, got a damaged one: {_first_line(error)}"
        ) from error


def raw_lines(stream: IO[bytes], file: Path) -> Iterator[bytes]:
    """Lines as bytes, cut at line feeds only.

    Raises:
        ValueError: a line of more than ``LONGEST_LINE`` bytes.
    """
    start = 0
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"{file} wants lines of at most {LONGEST_LINE:,} bytes, got a longer one at offset {start}"
            )
        yield line
        start += len(line)


def check_file(file: Path) -> None:
    """Raise unless there is a file, and it is not empty."""
    if file.is_dir():
        raise IsADirectoryError(f"{file} wants to be a file, got a directory")
    if not file.is_file():
        raise FileNotFoundError(f"{file} wants to be a file, got nothing there")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} wants to hold data, got an empty file")


def check_utf8(line: bytes, start: int, file: Path) -> None:
    """Raise ValueError unless the line, which begins at byte ``start`` of the text, is UTF-8."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = start + error.start
        raise ValueError(f"{file} wants UTF-8, got byte 0x{line[error.start]:02x} at offset {at}") from None


def _suffix(file: Path) -> str:
    return file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix


def _load_file(file: Path, cache: Path) -> Any:
    """Check the file before the library sees it: its own messages are long, and some faults it lets pass."""
    check_file(file)
    suffix = _suffix(file)
    if suffix not in _READERS or file.suffixes[-2:] == [".parquet", ".gz"]:
        raise ValueError(f"{file} wants one of the suffixes {', '.join(_READERS)}, got {file.suffix!r}")
    _check_parquet(file) if suffix == ".parquet" else _check_text(file)
    options = _csv_options(file, _DIALECTS[suffix]) if suffix in _DIALECTS else {}
    with _quiet_library() as datasets:
        # Not load_dataset: for a local file, too, it reports to a server and waits for the answer.
        read = getattr(datasets.Dataset, _READERS[suffix])
        try:
            return read(str(file), cache_dir=str(cache), **options)
        except (datasets.exceptions.DatasetsError, ValueError) as error:
            cause = _first_line(error.__cause__ or error)
            raise ValueError(f"{file} wants rows of {suffix}, got: {cause}") from error


@contextmanager
def _quiet_library() -> Iterator[Any]:
    """Import the library, which takes a second, and keep it from drawing bars and logging what it raises."""
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


def _ask_hub(name: str) -> None:
    """Fail within seconds where the library would try again for half a minute."""
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    if huggingface_hub.is_offline_mode():
        return
    try:
        huggingface_hub.HfApi().dataset_info(name, timeout=5)
    except (RepositoryNotFoundError, ValueError) as error:
        raise ValueError(_first_line(error)) from error
    except Exception as error:  # whatever the HTTP library of the day raises
        raise ConnectionError(_first_line(error)) from error


def _select(table: Any, file: str, columns: Mapping[str, Sequence[str]], keep: Keep) -> list[Row]:
    if any("." in name for names in columns.values() for name in names):
        table = table.flatten()
    found = {wanted: _find(wanted, names, table, file) for wanted, names in columns.items()}
    kept = {
        _find(column, [column], table, file): {value} if isinstance(value, str) else set(value)
        for column, value in keep.items()
    }
    records = table.select_columns([*dict.fromkeys([*found.values(), *kept])]).to_list()
    return [
        Row(file, number, {wanted: record[name] for wanted, name in found.items()})
        for number, record in enumerate(records, 1)
        if all(str(record[name]) in values for name, values in kept.items())
    ]


def _find(wanted: str, names: Sequence[str], table: Any, file: str) -> str:
    name = next((name for name in names if name in table.column_names), None)
    if name is None:
        raise ValueError(f"{file} wants a column {' or '.join(names)}, got {', '.join(table.column_names)}")
    # The library reads a column of numbers and text as JSON, in which "-" becomes the number 0.
    if type(table.features[name]).__name__ == "Json":
        raise ValueError(f"{file} wants values of one type in column {name}, got several types")
    return name


def _check_parquet(file: Path) -> None:
    with file.open("rb") as stream:
        first = stream.read(4)
        stream.seek(max(0, file.stat().st_size - 4))
        if (first, stream.read()) != (b"PAR1", b"PAR1"):
            raise ValueError(f"{file} wants PAR1 at both ends of a parquet file, got a damaged one")


def _check_text(file: Path) -> None:
    for _ in _checked_lines(file):
        pass


def _checked_lines(file: Path) -> Iterator[tuple[bool, bytes]]:
    """Lines without their ends, each with whether it is the first."""
    start = 0
    with open_bytes(file) as stream:
        for line in raw_lines(stream, file):  # text would be cut also where nobody expects it
            check_utf8(line, start, file)
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            if odd := re.search(rb"[\r\0]", text):
                at = start + odd.start()
                raise ValueError(f"{file} wants no 0x{odd[0].hex()} inside a line, got one at offset {at}")
            yield start == 0, text
            start += len(line)
    if start == 0:
        raise ValueError(f"{file} wants to hold data, got an empty file")


def _csv_options(file: Path, dialect: dict[str, Any]) -> dict[str, Any]:
    """Check that all rows have one length (the library shifts or fills them) and read them all as text."""
    import datasets

    rows = filter(None, _csv_rows(file, dialect))
    header = next(rows, [])
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(f"{file}, row {number} wants {len(header)} columns, got {len(row)}")
    features = datasets.Features({name: datasets.Value("string") for name in header})
    quoting = dialect["quoting"]
    return {"sep": dialect["delimiter"], "quoting": quoting, "features": features, "keep_default_na": False}


def _csv_rows(file: Path, dialect: dict[str, Any]) -> Iterator[list[str]]:
    with open_bytes(file) as stream:
        try:
            yield from csv.reader(io.TextIOWrapper(stream, "utf-8-sig", newline=""), **dialect)
        except csv.Error as error:
            raise ValueError(f"{file} wants rows of fields, got: {error}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
