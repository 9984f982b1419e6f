"""Whole files or none: how every file of a run reaches the disk."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, chunks: Iterable[bytes], *, previous: Path | None = None) -> None:
    """Write ``chunks`` to ``path`` so that an interruption at any point leaves the old file or the new one.

    The bytes go to a temporary name in the same directory, reach the disk, and only then take the name
    ``path``. Temporary files that a killed write of ``path`` left behind are removed first.

    Args:
        path: the file to write; its directory exists. One process writes it at a time.
        chunks: its content.
        previous: name under which the file that is replaced is kept. An interruption may then leave only
            ``previous``, never neither.

    Raises:
        OSError: the disk is full, the directory cannot be written, and so on.
    """
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        stale.unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # what a person knows; a full disk names nothing by itself
        raise
    if previous is not None and path.exists():
        os.replace(path, previous)
    os.replace(temporary, path)
    _fsync_directory(path.parent)


def _fsync_directory(directory: Path) -> None:
    # Without it the new name may be lost in a power failure although the bytes are safe.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
