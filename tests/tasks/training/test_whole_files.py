"""Several processes may write one file: each write is whole, none is in another's way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from forked import Child, needs_fork

from tasks.data import files
from tasks.data.files import write_atomically

pytestmark = needs_fork
WRITERS = 4


def write_often(path: Path, writer: int) -> None:
    for number in range(25):
        write_atomically(path, [f"{writer}-{number}\n".encode()] * 500)


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """As of tables that are made twice at the same time."""
    path = tmp_path / "table.md"
    children = [Child(partial(write_often, path, writer)) for writer in range(WRITERS)]
    while not all(child.has_ended() for child in children):
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        assert len(set(lines[:-1])) <= 1 and len(lines) in (1, 501)
    assert [child.wait() for child in children] == [0] * WRITERS
    assert list(tmp_path.iterdir()) == [path]


def stall(path: Path, begun: Path) -> None:
    """Begin to write, say so, and stop in the midst of it."""

    def chunks() -> Iterator[bytes]:
        yield b"half"
        begun.touch()
        signal.pause()

    write_atomically(path, chunks())


def test_a_temporary_file_is_removed_once_its_writer_has_ended(tmp_path: Path) -> None:
    path, begun = tmp_path / "record.json", tmp_path / "begun"
    child = Child(partial(stall, path, begun))
    while not begun.exists():
        time.sleep(0.005)
    begun.unlink()
    write_atomically(path, [b"whole"])
    assert len(list(tmp_path.glob("*.tmp"))) == 1, "taken from a writer that is alive"
    child.send(signal.SIGKILL)
    child.wait()
    assert path.read_bytes() == b"whole"
    write_atomically(path, [b"again"])
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_a_file_taken_before_it_is_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, taken = tmp_path / "record.json", []

    def take(descriptor: int) -> bool:
        if not taken:
            taken.extend(tmp_path.iterdir())
            os.unlink(taken[0])
        return True

    monkeypatch.setattr(files, "lock_descriptor", take)
    write_atomically(path, [b"whole"])
    assert taken and path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_pipe_named_like_a_temporary_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"as it was")
    os.mkfifo(tmp_path / "file.json.0.tmp")
    (tmp_path / "file.json.1.tmp").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "file.json", [b"new"])
    assert (tmp_path / "file.json").read_bytes() == b"new"
    assert (tmp_path / "precious").read_bytes() == b"as it was"
