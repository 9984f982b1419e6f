"""Archives are read where they lie: nothing is unpacked, no link followed, no size believed."""

import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tasks.data.files import read_lines
from tasks.data.reader import MOST_ROWS, read_rows
from tasks.data.vocabulary import Vocabulary, load_vectors

GLOVE = b"the 1 2 3\ndog 4 5 6\n"
WORDS = Vocabulary(["dog"])
OUTSIDE = ["../v.txt", "/v.txt", "a/../../v.txt", "..\\v.txt", "link/v.txt"]
hostile = pytest.mark.measures("hostile archives")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which an archive lies, two below one with a file that is none of its business."""
    found = tmp_path / "a" / "b"
    found.mkdir(parents=True)
    (tmp_path / "secret.txt").write_bytes(b"dog 7 8 9\n")
    yield found
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left - {f"a/b/{name}" for name in ("v.zip", "v.gz", "v.tar", "v.tar.gz")} == {
        "a",
        "a/b",
        "secret.txt",
    }
    assert not Path("/v.txt").exists()


def zipped(path: Path, name: str, data: bytes, kind: int = stat.S_IFREG) -> Path:
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o777) << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, data)
    return path


@hostile
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_outside_is_read_and_written_nowhere(folder: Path, name: str) -> None:
    zipped(folder / "v.zip", "link", b"../..", stat.S_IFLNK)
    assert load_vectors(zipped(folder / "v.zip", name, GLOVE), WORDS).weights.shape[1] == 3


@hostile
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_a_link_or_device_is_what_stands_in_the_archive(folder: Path, kind: int) -> None:
    """The text of a link is no vectors, and what it points to is not looked at."""
    with pytest.raises(ValueError, match=r"v\.zip, line 1 must have a word and its .*, got 0 numbers"):
        load_vectors(zipped(folder / "v.zip", "v.txt", b"../../secret.txt", kind), WORDS)


@hostile
def test_the_name_in_a_gzip_header_is_nobodys(folder: Path) -> None:
    with gzip.GzipFile("../../secret.txt", "wb", fileobj=(folder / "v.gz").open("wb")) as stream:
        stream.write(GLOVE)
    assert load_vectors(folder / "v.gz", WORDS).weights[2].tolist() == [4, 5, 6]


@hostile
@pytest.mark.parametrize("name", ["v.tar", "v.tar.gz"])
@pytest.mark.parametrize("read", [load_vectors, lambda path, words: list(read_lines(path))])
def test_tars_are_not_opened(folder: Path, name: str, read) -> None:
    with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
        for place in OUTSIDE:
            member = tarfile.TarInfo(place)
            member.size = len(GLOVE)
            archive.addfile(member, io.BytesIO(GLOVE))
    with pytest.raises(ValueError, match=r"v\.tar.* must .*(got bytes of 0|got one at offset)"):
        read(folder / name, WORDS)


@hostile
@pytest.mark.parametrize("name", ["v.zip", "v.gz"])
def test_a_bomb_is_left_at_the_longest_line(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.files.LONGEST_LINE", 1 << 20)
    path, data = folder / name, b"1" * (1 << 26)
    path.write_bytes(gzip.compress(data, 1)) if name == "v.gz" else zipped(path, "v.txt", data)
    del data
    assert path.stat().st_size < 1 << 19
    tracemalloc.start()
    with pytest.raises(
        ValueError, match="must have lines of at most 1,048,576 bytes, got a longer one at offset 0"
    ):
        load_vectors(path, WORDS)
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


def resized(path: Path, size: int) -> Path:
    """Let a zip archive say of its member that it is of another size."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # of the member, of the directory
        at = data.index(signature) + offset
        assert data[at : at + 4] == len(GLOVE).to_bytes(4, "little")
        data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    return path


@hostile
@pytest.mark.parametrize("size", [5, len(GLOVE) - 10])
def test_a_size_too_small_is_damage(folder: Path, size: int) -> None:
    path = resized(zipped(folder / "v.zip", "v.txt", GLOVE), size)
    with pytest.raises(ValueError, match=r"v\.zip must be a whole zip archive without a password, got"):
        load_vectors(path, WORDS)


@hostile
@pytest.mark.parametrize("size", [len(GLOVE) + 1, 2**31])
def test_a_size_too_large_reserves_nothing(folder: Path, size: int) -> None:
    """What is there is read, and its checksum looked at."""
    path = resized(zipped(folder / "v.zip", "v.txt", GLOVE), size)
    assert load_vectors(path, WORDS).weights[2].tolist() == [4, 5, 6]


@hostile
def test_a_table_with_more_rows_than_bytes_is_left(folder: Path) -> None:
    """31 KB of parquet can hold three million rows, and a few more a billion."""
    table = folder / "v.parquet"
    parquet.write_table(pa.table({"text": np.zeros(MOST_ROWS + 1, bool)}), table)
    with pytest.raises(ValueError, match=r"at most 1,048,576 rows, as many as bytes, got 1,048,577"):
        list(read_rows(table, {"text": ["text"]}))
    table.unlink()
