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
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from functools import cache
from importlib import metadata
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
from filelock import lock_descriptor

from tasks.data.files import digest, open_descriptor
from tasks.training.provenance import available_cores
from tasks.training.signals import die_with_parent

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")

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


def fingerprint(digests: Mapping[Path, str], options: Mapping[str, Any]) -> str:
    """A name for what is made of files of these digests under these options by this version of the code."""
    made_of = [code_version(), [[str(file), content] for file, content in digests.items()], options]
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


# ------------------------------------------------------------------ rows of files, mapped into memory
Numbers = list[int]

_NUMBERS = pa.list_(pa.int32())
ITEM = pa.schema([("item", pa.binary())])
PLACE = pa.schema([("part", pa.int32()), ("line", pa.int64())])
PAIR = pa.schema([("source", _NUMBERS), ("target", _NUMBERS)])


class Items(Sequence[Item], Generic[Item]):
    """Rows of a file that :func:`write_batches` has written, each made an item when it is asked for.

    ``schema`` is that of the rows: ``PLACE`` where items are read anew from text files, else they are stored.

    Args:
        path: the file.
        decode: makes an item of the columns of a row.
    """

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __init__(self, path: Path, decode: Callable[..., Item]) -> None:
        self._decode = decode
        # To read all in order: of a mapped file every page that was read counts as memory ever after.
        self._in_order = pa.ipc.open_file(pa.OSFile(str(path)))
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.schema = reader.schema
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *map(len, self._batches)], dtype=np.int32)
        self._rows = np.arange(self._starts[-1], dtype=np.int32)  # which of them, ascending

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        places = range(len(self))[index]
        if isinstance(places, int):
            row = self._rows[places]
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            place = int(row - self._starts[number])
            return self._decode(*(column[place].as_py() for column in self._batches[number].columns))
        if places.step != 1:
            return [self[place] for place in places]
        return [self._decode(*row) for row in self.stored(places.start, places.stop)]

    def __iter__(self) -> Iterator[Item]:
        return (self._decode(*row) for row in self.stored())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def stored(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[Any, ...]]:
        """The columns of the rows from ``start`` to ``stop``."""
        rows = self._rows[start:stop]
        if not len(rows):
            return
        first, last = np.searchsorted(self._starts, rows[[0, -1]], side="right")
        # Batch by batch: what is taken out of all of them at once is copied into one first.
        for number in range(first - 1, last):
            begin, end = np.searchsorted(rows, self._starts[number : number + 2])
            if begin < end:
                batch = self._in_order.get_batch(number)
                taken = batch.take(pa.array(rows[begin:end] - self._starts[number]))
                yield from zip(*(column.to_pylist() for column in taken.columns), strict=True)

    def where(self, flags: Iterable[bool]) -> Items[Item]:
        """Those of the items whose flag is true."""
        chosen = copy(self)
        chosen._rows = self._rows[np.fromiter(flags, bool, len(self))]
        return chosen


def row_batch(schema: pa.Schema, *columns: Sequence[Any]) -> pa.RecordBatch:
    """Rows, given as their columns."""
    types = [field.type for field in schema]
    return pa.record_batch([*map(pa.array, columns, types)], schema=schema)


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write batches of one schema, one after the other."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


# ------------------------------------------------------------------ in as many processes as there are cores
CHUNK = 10_000
"""Items that a process works on at a time: a second's work at most, and few MB to send."""

_work: Callable[[Any], Any]  # of a process of a pool


def map_chunks(work: Callable[[Item], Result], chunks: Iterable[Item]) -> Iterator[Result]:
    """Yield ``work(chunk)`` for every chunk, in order; a few chunks are under way at a time.

    One chunk, or one core, needs no other process. ``work`` may be any function, because the processes are
    forked; chunks and results are sent, and have to be plain. Where a system does not fork, this process does
    all by itself.

    Raises:
        OSError: a process was ended from outside.
    """
    chunks = iter(chunks)
    first = list(islice(chunks, 2))
    processes = available_cores()
    if len(first) < 2 or processes == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(work, chain(first, chunks))
        return
    context = multiprocessing.get_context("fork")
    waiting: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(processes, context, _begin, (work, os.getpid())) as pool:
        try:
            for chunk in chain(first, chunks):
                waiting.append(pool.submit(_call, chunk))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise OSError(
                "a process that prepared the data was ended from outside, perhaps for its memory; "
                "the same command begins again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def map_items(work: Callable[[Sequence[Item]], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The same for ``work`` on runs of consecutive items; every process takes its own out of ``items``."""
    spans = [slice(start, start + CHUNK) for start in range(0, len(items), CHUNK)]
    return map_chunks(lambda span: work(items[span]), spans)


def _begin(work: Callable[[Any], Any], parent: int) -> None:
    global _work
    _work = work
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        # A signal to all is answered by the parent, which ends its pool; one to this process alone ends it.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    die_with_parent(parent, signal.SIGKILL)


def _call(chunk: Any) -> Any:
    return _work(chunk)
