"""Files are read as they are, and what is none, damaged or changing is named before anything happens."""

import gzip
import os
from pathlib import Path

import pytest

from tasks.data.files import read_lines
from tasks.data.reader import read_rows

COLUMNS = {"premise": ("premise",)}


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.csv.gz"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="must be a file, got a pipe or device") as error:
        list(read_rows(tmp_path / name, COLUMNS))
    assert not isinstance(error.value, FileNotFoundError)  # which many take for: nothing there yet


@pytest.mark.measures("bad data")
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n")
    with pytest.raises(ValueError, match=r"a\.txt must stay as it is while it is read, got a change"):
        for _ in read_lines(path):
            write(path, "one\ntwo\nthree\n")


def test_a_file_that_is_touched_while_it_is_read_is_read(tmp_path: Path) -> None:
    for name, read in {"a.txt": read_lines, "a.csv": lambda path: read_rows(path, COLUMNS)}.items():
        path = write(tmp_path / name, "premise\none\n")
        for _ in read(path):
            os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("name", ["train.de", "train.de.gz", "input.txt", "input.txt.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_at_line_feeds_only(tmp_path: Path, name: str, end: str) -> None:
    lines = ["a\u2028b\u2029c", "", "x\x85y\x0cz\x1c", "\ufeffd", " \u00e9 \U0001f600 "]
    for last in ("", end):
        path = write(tmp_path / name, "\ufeff" + end.join(lines) + last)
        assert list(read_lines(path)) == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold data, got an empty file"),
        (b"ab\nc\xffd\n", "must be UTF-8, got byte 0xff at offset 4"),
        (b"ab\nc\xc3", "must be UTF-8, got byte 0xc3 at offset 4"),
        (b"ab\nc\rd\n", "must have no 0x0d inside a line, got one at offset 4"),
        (b"ab\nc\r\r\n", "must have no 0x0d inside a line, got one at offset 4"),
        (b"ab\n\0\n", "must have no 0x00 inside a line, got one at offset 3"),
    ],
)
@pytest.mark.parametrize("name", ["train.de", "train.de.gz"])
@pytest.mark.measures("bad data")
def test_lines_that_are_no_text_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_lines(write(tmp_path / name, content)))


def test_lines_of_a_damaged_archive_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.de.gz", "a line\n" * 1000)
    whole = path.read_bytes()
    for size in (5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="must be a whole gzip file, got a damaged one"):
            list(read_lines(path))
    with pytest.raises(FileNotFoundError, match="got nothing there"):
        list(read_lines(tmp_path / "none.de"))
    with pytest.raises(IsADirectoryError, match="got a directory"):
        list(read_lines(tmp_path))


def test_a_small_archive_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.files.LONGEST_LINE", 100)
    for suffix in (".txt.gz", ".jsonl.gz", ".tsv"):
        path = write(tmp_path / f"a{suffix}", "{   }\n" + "0" * 100_000)
        message = r"must have lines of at most 100 bytes, got a longer one at offset 6"
        with pytest.raises(ValueError, match=message):
            list(read_lines(path)) if suffix == ".txt.gz" else list(read_rows(path, COLUMNS))


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short its lines are."""
    monkeypatch.setattr("tasks.data.files.LARGEST_UNPACKED", 10_000)
    for suffix in (".txt.gz", ".jsonl.gz", ".tsv.gz"):
        first = '{"premise": "a", "hypothesis": "b"}' if suffix == ".jsonl.gz" else "premise\thypothesis"
        path = write(tmp_path / f"a{suffix}", first + "\n" * 1_000_000)
        with pytest.raises(ValueError, match=r"must unpack to at most 100 times its size, got more"):
            list(read_lines(path)) if suffix == ".txt.gz" else list(read_rows(path, COLUMNS))
    plain = write(tmp_path / "a.txt", "\n" * 1_000_000)
    assert sum(1 for _ in read_lines(plain)) == 1_000_000
