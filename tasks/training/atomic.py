"""Whole files or none: how every file of a run reaches the disk."""

import glob
import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import lock_descriptor


def write_atomically(path: Path, chunks: Iterable[bytes], *, previous: Path | None = None) -> None:
    """Write ``chunks`` to ``path`` so that an interruption at any point leaves the old file or the new one.

    The bytes go to a temporary name in the same directory, reach the disk, and only then take the name
    ``path``. Temporary files that a killed write of ``path`` left behind are removed first. Of several
    processes that write it at a time the last one's file stays.

    Args:
        path: the file to write; its directory exists.
        chunks: its content.
        previous: name under which the file that is replaced is kept. An interruption may then leave only
            ``previous``, never neither.

    Raises:
        OSError: the disk is full, the directory cannot be written, and so on.
    """
    _remove_abandoned(path)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _open_locked(temporary) as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # what a person knows; a full disk names nothing by itself
        raise
    _fsync_directory(path.parent)


def write_json_atomically(path: Path, obj: Any) -> None:
    """Write ``obj`` to ``path`` as JSON, whole or not at all, making its directory where it is missing.

    Raises:
        ValueError: a number is not finite.
        OSError: the file system refuses.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [text.encode()])


def _open_locked(temporary: Path) -> BinaryIO:
    """Open a file whose lock says that somebody is writing it."""
    while True:
        file = open(temporary, "wb")  # noqa: SIM115 (the caller closes it)
        with suppress(OSError):  # where files cannot be locked, none is taken for abandoned either
            lock_descriptor(file.fileno())
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # taken for abandoned before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of ``path`` whose writer has ended, on whichever machine that was."""
    for temporary in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), temporary.open("rb") as file:
            if lock_descriptor(file.fileno(), blocking=False):
                temporary.unlink(missing_ok=True)


def _fsync_directory(directory: Path) -> None:
    # Without it the new name may be lost in a power failure although the bytes are safe.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
