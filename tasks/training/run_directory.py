"""The directory of one run: its files, the lock that keeps a second process out, and its metrics log."""

import errno
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import lock_descriptor

from tasks.checks import Refusal
from tasks.data.files import open_descriptor


class RunInUseError(Refusal):
    """Another process holds the run directory, and the message names it; or may hold it by now."""


class RunDirectory:
    """A directory that one process at a time trains in, the same for every start of the same run.

    Entering creates the directory where it is missing and locks it; leaving, or the end of the process
    however it comes, releases the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint.ckpt"
        self.metrics = self.path / "metrics.jsonl"
        self.config = self.path / "config.json"
        self.vocabulary = self.path / "vocabulary.json"
        self.lock = self.path / "run.lock"
        self.export = self.path / "export"
        self._lock: int | None = None

    @property
    def weights(self) -> Path:
        """The file of its trained weights: its checkpoint, or in an exported run those alone."""
        exported = self.path / "model.safetensors"
        return exported if exported.exists() else self.checkpoint

    def outputs(self, split: str) -> Path:
        """The file of what the model answered on a split."""
        return self.path / f"{split}.outputs.txt"

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def check(self) -> None:
        """Make sure that the directory is the one that was entered.

        Raises:
            RunInUseError: it was removed or replaced; by now it may be another process's.
        """
        assert self._lock is not None
        try:
            is_same = os.path.samestat(os.fstat(self._lock), os.stat(self.lock))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            said = "was removed or replaced while a run was in it, which ends unsaved"
            raise RunInUseError(f"{self.path} {said}; the same command begins it anew")

    def __enter__(self) -> Self:
        """Create and lock the directory.

        Raises:
            RunInUseError: another process has it.
            OSError: it cannot be created or written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = open_descriptor(self.lock, os.O_RDWR | os.O_CREAT)
        except PermissionError:
            self._refuse_if_locked()
            raise
        try:
            # Not FileLock, which hides the descriptor: that tells whether the directory was replaced.
            if not lock_descriptor(descriptor, blocking=False):
                holder = _read_holder(descriptor)
                raise RunInUseError(f"{self.path} is in use by {holder}; wait for it or end it")
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                error.filename = str(self.lock)  # a full disk, or one without locks, names nothing by itself
            raise
        self._lock = descriptor
        return self

    def _refuse_if_locked(self) -> None:
        """Say so where another user's process, whose lock can only be read, has the directory."""
        with suppress(OSError), open(open_descriptor(self.lock, os.O_RDONLY), "rb") as file:
            if not lock_descriptor(file.fileno(), blocking=False):
                holder = _read_holder(file.fileno())
                raise RunInUseError(f"{self.path} is in use by {holder}, of another user")

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        # The file stays: removing it would let two processes lock two files of the same name.
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = None


def _read_holder(descriptor: int) -> str:
    # The holder writes its name just after it locks, over that of one that was killed: wait before reading.
    for _ in range(50):
        time.sleep(0.2)
        holder = os.pread(descriptor, 256, 0).decode(errors="replace").strip()
        if holder:
            return holder
    return "another process"


class MetricsLog:
    """A JSONL file that a resumed run continues as if it had never stopped.

    Lines of steps hold nothing that depends on the clock, so that the logs of two equal runs agree byte for
    byte but for their ``epoch`` lines, which hold the seconds. Bytes beyond ``position``, as :meth:`sync`
    returned it when the checkpoint was saved, were written by steps that the resumed run takes again.

    Raises:
        OSError: there is something of that name that is no file.
        ValueError: the file is shorter than ``position``.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        # Unbuffered: nothing is left to be written, and to fail, when the file is closed.
        self._file = open(descriptor, "ab", buffering=0)  # noqa: SIM115 (closed by __exit__)
        self._path = path
        size = self._file.seek(0, os.SEEK_END)
        if size < position:
            self._file.close()
            got = f"{size}; bring it back, or move {path.parent} away to begin anew"
            raise ValueError(f"{path} must hold the checkpoint's {position} bytes at least, got {got}")
        self._file.truncate(position)
        self._file.seek(position)

    def write(self, event: str, **values: Any) -> None:
        """Append one line, visible to readers at once; ``values`` are plain JSON.

        Raises:
            OSError: the disk is full.
        """
        line = json.dumps({"event": event, **values}, allow_nan=False).encode() + b"\n"
        try:
            written = self._file.write(line)
        except OSError as error:
            error.filename = str(self._path)
            raise
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def sync(self) -> int:
        """Bring every line to the disk and return the position after the last one."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
