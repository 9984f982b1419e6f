"""Where the splits of a corpus come from: named files of a folder, or a data set of the hub."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.data.corpus import check_different
from tasks.data.files import resolve_within
from tasks.data.reader import HUB_SPLITS, Keep, is_table, read_hub
from tasks.seq2seq.data import Example
from tasks.seq2seq.reading import Files, example_from_row, read_table

Columns = tuple[Sequence[str], Sequence[str]]
"""Names accepted for the source and for the target column of a table."""


def splits_of_folder(
    root: Path,
    files: Mapping[str, Sequence[str]],
    columns: Callable[[str], Columns],
    read_text: Callable[[Path], tuple[Path, Iterator[Example]]],
    *,
    keep: Mapping[str, Mapping[str, Keep]] | None = None,
    cache: Path | None = None,
) -> dict[str, Files]:
    """Read named files of a folder, tables as such and others as the task has its texts.

    Args:
        root: the folder.
        files: for each split the names of its files, relative to ``root``.
        columns: of the table of a name.
        read_text: for a file that is no table the one that counts are told of, and what is read.
        keep: for a split, and there for a file name, the columns and values of the rows to read.
        cache: as for :func:`tasks.data.reader.read_rows`.

    Raises:
        ValueError: a split has a file twice, or ``keep`` names what is not read as a table. What a file
            rejects, or a name outside ``root``, is raised when it is come to.
    """
    check_different(files)
    keep = keep or {}
    for split, names in keep.items():
        if unread := names.keys() - set(filter(is_table, files.get(split, ()))):
            raise ValueError(
                f"keep must name tables that {split} is read from, got {', '.join(sorted(unread))}"
            )

    def read(names: Sequence[str], kept: Mapping[str, Keep]) -> Iterator[tuple[str, Iterator[Example]]]:
        for name in names:
            file = resolve_within(root, name)
            if is_table(name):
                yield str(file), read_table(file, *columns(name), kept.get(name), cache=cache)
            else:
                told, examples = read_text(file)
                yield str(told), examples

    return {split: read(names, keep.get(split, {})) for split, names in files.items()}


def splits_of_hub(
    name: str,
    columns: Mapping[str, Sequence[str]],
    *,
    config: str | None,
    revision: str | None,
    cache: Path | None,
) -> dict[str, Files]:
    """Read the splits ``train``, ``validation`` and ``test`` of a data set of the Hugging Face hub.

    Args:
        name, columns, config, revision, cache: as for :func:`tasks.data.reader.read_hub`; the columns are
            ``source`` and ``target``.

    Raises:
        ConnectionError: the hub cannot be reached.
        ValueError: no such data set; anything that the reader rejects.
    """
    read: dict[str, Files] = {}
    for split, there in HUB_SPLITS.items():
        rows = read_hub(name, there, columns, config=config, revision=revision, cache=cache)
        read[split] = [(f"{name} {there}", map(example_from_row, rows))]
    return read
