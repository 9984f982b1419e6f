"""The journal of a study, written by one process at a time and mended where a write was cut off."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from tasks.data.files import check_regular_file


class Journal(JournalFileBackend):
    """A file of lines that several processes append to.

    Args:
        path: the file, made where it is missing.
        lock: file of its lock. The end of a process, however it comes, releases it; Optuna's own locks stay
            for half a minute.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        check_regular_file(path)
        super().__init__(str(path), _FileLock(lock))
        with locked(lock):
            _cut_torn_line(path)


class _FileLock(JournalFileOpenLock):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        file = self._path.open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        return True

    def release(self) -> None:
        assert self._file is not None
        self._file.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's lock; the end of the process, however it comes, releases it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cut_torn_line(path: Path) -> None:
    """Remove what a full disk left of the last line: another line after it would make the file unreadable."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        if whole < size:
            file.truncate(whole)
