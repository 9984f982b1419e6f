"""The one reader of corpora: lines of text, rows of parquet, JSON, CSV and TSV files and of the hub."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.files import first_line
from tasks.data.tables import SUFFIXES, Table, library_table, quiet_library, read_table_file, suffix_of

Keep = Mapping[str, str | Sequence[str]]
"""Columns, each with the value, or values, of the rows to read."""

HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
"""Splits of a corpus, and what data sets of the hub call them."""


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
                raise ValueError(f"{self.where} must have text as its {column}, got {value!r}")
        return tuple(value or "" for value in values)

    def text(self, column: str) -> str:
        """The one text in a column; errors as for :meth:`texts`."""
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
) -> list[Row]:
    """Read a local file, its format told by the suffix.

    Args:
        file: ``.parquet``, ``.jsonl``, ``.json``, ``.csv`` or ``.tsv``; the last four also ``.gz``.
        columns: the names wanted, each with the names accepted for it in the file; the first found is read.
            ``a.b`` is the entry ``b`` of a column ``a`` of dictionaries.
        keep: read only rows in which each of these columns, as text, has this value or one of these.
        optional: columns read where the file has them, under their own names.
        cache: folder for the parquet library's cache; ``None`` uses a temporary one and leaves nothing.

    Returns:
        The rows in order. Values of CSV and TSV files are text, also ``"NA"`` and ``""``.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        ValueError: another suffix; an empty, truncated or damaged file, or one that changes meanwhile; text
            that is not UTF-8 or holds NUL; a row of another length than its header; a column or a key that
            is there twice; a wanted column that is missing or is no plain values of one type.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        table = read_table_file(file, {*_names(columns, keep), *optional}, cache or Path(folder))
        more = {name: [name] for name in optional if name in table.columns}
        return _select(table, str(file), {**columns, **more}, keep or {})


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
    table = _hub_table(name, split, config, revision, cache)
    where = f"{name} {split}"
    return _select(library_table(table, _names(columns, None), where), where, columns, {})


def hub_tables(
    name: str, *, config: str | None = None, revision: str | None = None, cache: Path | None = None
) -> list[str]:
    """What tells the splits that :func:`read_hub` reads from those of another version of the data set.

    Raises:
        ConnectionError, ValueError: as there.
    """
    return [str(_hub_table(name, s, config, revision, cache)._fingerprint) for s in HUB_SPLITS.values()]


def _hub_table(name: str, split: str, config: str | None, revision: str | None, cache: Path | None) -> Any:
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


def _select(table: Table, file: str, columns: Mapping[str, Sequence[str]], keep: Keep) -> list[Row]:
    found = {wanted: _find(names, table.columns, file) for wanted, names in columns.items()}
    kept = {
        _find([column], table.columns, file): {value} if isinstance(value, str) else set(value)
        for column, value in keep.items()
    }
    return [
        Row(file, number, {wanted: record.get(name) for wanted, name in found.items()})
        for number, record in enumerate(table.records, 1)
        if all(str(record.get(name)) in values for name, values in kept.items())
    ]


def _find(names: Sequence[str], columns: Sequence[str], file: str) -> str:
    name = next((name for name in names if name in columns), None)
    if name is None:
        raise ValueError(
            f"{file} must have a column {' or '.join(names)}, got {', '.join(columns) or 'none'}"
        )
    return name
