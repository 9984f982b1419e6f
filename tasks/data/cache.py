"""What is prepared once and found again: folders of files, named after what they were made of.

A folder is there whole or not at all: it is made under a temporary name, with the digest of every file, and
then renamed. Of processes that want it at once one makes it and the others wait; what a killed one leaves is
removed by the next. A folder that is damaged is made again, and any of them may be deleted at any time. What
a cache that cannot be written holds is used; what it lacks is made for one process alone.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from filelock import lock_descriptor

from tasks.data.files import digest, open_descriptor

T = TypeVar("T")

VARIABLE = "REGATTN_CACHE"
"""Names the folder of all that is prepared, for instance on a disk that the nodes of a cluster share."""

_DIGESTS = "digests.json"
_PATIENCE = 1.0  # seconds in which to wait for another process needs no word
_TASKS = Path(__file__).resolve().parents[1]
_PACKAGES = ("datasets", "pyarrow", "sacremoses", "sentencepiece")


def default_folder() -> Path:
    """The folder that the environment names, or ``regattn`` among the user's caches.

    Raises:
        ValueError: the environment names none, and the user has no home directory.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "regattn")
    except RuntimeError:
        raise ValueError(
            f"{VARIABLE} must name a folder where there is no home directory, got none"
        ) from None


def refusal(folder: Path) -> OSError | None:
    """Why nothing can be written into a folder, which is made where it is missing; None where it can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error
    return None


def fingerprint(files: Sequence[Path], options: Mapping[str, Any]) -> str:
    """A name for what is made of these files under these options by this version of the code."""
    made_of = [code_version(), [[str(file), digest(file)] for file in files], options]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:32]


@cache
def code_version() -> str:
    """A hash of the code that prepares data, and of the packages and alphabets that it prepares with."""
    state = hashlib.sha256(unicodedata.unidata_version.encode())
    for file in sorted(_TASKS.rglob("*.py")):
        if file.relative_to(_TASKS).parts[0] != "training":
            state.update(file.read_bytes())
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            state.update(f"{package} {metadata.version(package)}\n".encode())
    return state.hexdigest()


def prepared(folder: Path | None, make: Callable[[Path], object], load: Callable[[Path], T]) -> T:
    """Load what ``make`` has written into a folder, now or before.

    Args:
        folder: where it is kept; None makes it anew and keeps nothing: what is loaded may stay mapped into
            memory, but not be looked for again.
        make: writes files into the empty folder that it is given.
        load: reads them.

    Raises:
        OSError: the disk is full or cannot be written, or what is kept is another user's alone; what
            ``make`` and ``load`` raise.
    """
    if folder is not None and (_is_whole(folder) or refusal(folder.parent) is None):
        return load(_made_once(folder, make))
    with tempfile.TemporaryDirectory() as made:
        _make(make, Path(made))
        return load(Path(made))


def _make(make: Callable[[Path], object], folder: Path) -> None:
    try:
        make(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # which names no file
            wanted = f"{folder.parent} must have room for what is prepared"
            raise OSError(f"{wanted}, got a full disk; {VARIABLE} names another folder") from error
        raise


def _made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    if _is_whole(folder):
        return folder
    made, damaged = (folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp") for _ in range(2))
    with _locked(Path(f"{folder}.lock")) as is_locked:
        try:
            if _is_whole(folder):  # another process has made it meanwhile
                return folder
            if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                wanted = f"{folder.parent} must hold what this user may read and replace"
                got = f"another user's {folder.name}; {VARIABLE} names another folder"
                raise PermissionError(f"{wanted}, got {got}")
            if is_locked:
                for left in folder.parent.glob(f"{glob.escape(folder.name)}.*.tmp"):
                    shutil.rmtree(left, ignore_errors=True)
            made.mkdir()
            _make(make, made)
            digests = {file.name: digest(file) for file in sorted(made.iterdir())}
            (made / _DIGESTS).write_text(json.dumps(digests))
            if folder.exists():
                os.rename(folder, damaged)
            os.rename(made, folder)
        except OSError:
            if not _is_whole(folder):  # where nothing can be locked, another process may have been first
                raise
        finally:
            for left in (made, damaged):
                shutil.rmtree(left, ignore_errors=True)
    return folder


@contextmanager
def _locked(file: Path) -> Iterator[bool]:
    """Keep other processes out of the block; False where a file system or another user's lock has no such."""
    with ExitStack() as stack:
        is_locked = False
        with suppress(OSError):
            opened = stack.enter_context(open(open_descriptor(file, os.O_RDWR | os.O_CREAT), "rb"))
            _lock(opened.fileno(), file.with_suffix(""))
            is_locked = True
        yield is_locked


def _lock(descriptor: int, folder: Path) -> None:
    """Wait for the lock, and say for what where that takes long."""
    says = os.environ.get("RANK", "0") == "0"  # of the processes of one training one
    say_at = time.monotonic() + _PATIENCE if says else math.inf
    while not lock_descriptor(descriptor, blocking=False):
        if time.monotonic() >= say_at:
            print(f"waiting for another process to prepare {folder}", file=sys.stderr, flush=True)
            say_at = math.inf
        time.sleep(0.05)


def _is_whole(folder: Path) -> bool:
    try:
        digests = json.loads((folder / _DIGESTS).read_bytes())
        return all(digest(folder / name) == value for name, value in digests.items())
    except (OSError, ValueError, AttributeError):
        return False
