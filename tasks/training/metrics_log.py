"""The log that every run keeps: one JSON line per step and per epoch."""

import errno
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.data.files import check_not_endless


class MetricsLog:
    """A JSONL file that a resumed run continues as if it had never stopped.

    Lines of steps hold nothing that depends on the clock, so that the logs of two equal runs agree byte for
    byte but for their ``epoch`` lines, which hold the seconds.

    Args:
        path: the file; created where it is missing.
        position: bytes to keep, as :meth:`sync` returned them when the checkpoint was saved; what stands
            after them was written by steps that the resumed run takes again.

    Raises:
        OSError: there is something of that name that is no file.
        ValueError: the file is shorter than ``position``.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        check_not_endless(path)
        # Unbuffered: nothing is left to be written, and to fail, when the file is closed.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by __exit__)
        self._path = path
        size = self._file.seek(0, os.SEEK_END)
        if size < position:
            self._file.close()
            raise ValueError(
                f"{path} must hold the checkpoint's {position} bytes at least, got {size}; "
                f"bring it back, or move {path.parent} away to begin anew"
            )
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


class NoLog(MetricsLog):
    """The log of a process that keeps none, beside the one that does."""

    def __init__(self, path: Path, position: int = 0) -> None:
        pass

    def write(self, event: str, **values: Any) -> None:
        pass

    def sync(self) -> int:
        return 0

    def __exit__(self, *error: object) -> None:
        pass
