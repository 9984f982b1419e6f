"""Files: which one is meant, that it is one, its bytes and lines as they are, and writing one whole."""

import errno
import glob
import gzip
import hashlib
import io
import json
import math
import os
import re
import stat
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn, TypeVar

import numpy as np
import xxhash
from filelock import lock_descriptor

T = TypeVar("T")

LONGEST_LINE = 2**28
"""Bytes: a longer line is taken for damage, or for a small archive that unpacks to anything."""
LARGEST_UNPACKED, MOST_PACKED = 2**28, 100
"""Bytes that any archive may unpack to, and how many times its own size a larger one: text comes to 10."""


def resolve_within(root: Path, name: str) -> Path:
    """Join the two, refusing a name that leaves ``root``; links inside the folder may point elsewhere."""
    path = os.path.normpath(name)
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir:
        raise ValueError(f"a file name must stay inside {root}, got {name!r}")
    return root / path


def nothing_found(root: Path, names: Iterable[str]) -> OSError:
    """The error to raise where none of these is a file in ``root``."""
    names = list(names)
    if found := next((root / name for name in names if os.path.lexists(root / name)), None):
        return no_file(found)
    got = ", ".join(sorted(os.listdir(root))[:8]) if root.is_dir() else "no such folder"
    return FileNotFoundError(f"{root} must hold a file {' or '.join(names)}, got {got or 'an empty folder'}")


def first_found(root: Path, names: Sequence[str], is_there: Callable[[Path], object] = Path.is_file) -> str:
    """Return the first of these names that is a file in ``root``; OSError where none is."""
    found = next((name for name in names if is_there(root / name)), None)
    if found is None:
        raise nothing_found(root, names)
    return found


def with_gz(file: Path) -> Path | None:
    """Return ``file``, or ``file.gz``, or None where there is neither."""
    return next((found for found in (file, file.with_name(f"{file.name}.gz")) if found.is_file()), None)


def existing(file: Path) -> Path:
    """Return ``file``, or ``file.gz``; OSError where there is neither."""
    return file.parent / first_found(file.parent, [file.name, f"{file.name}.gz"])


def read_whole(file: Path) -> bytes:
    """Return the content of a file; OSError where there is none of that name, ValueError of an empty one."""
    check_file(file)
    return file.read_bytes()


def check_file(file: Path) -> None:
    """Raise unless there is a file, and it is not empty; a pipe, which may never end, is none."""
    if not file.is_file():
        raise no_file(file)
    if file.stat().st_size == 0:
        raise ValueError(f"{file} must hold data, got an empty file")


def no_file(path: Path) -> OSError:
    """The error to raise where this is not a file."""
    if path.is_dir():
        return IsADirectoryError(f"{path} must be a file, got a directory")
    if path.exists():
        return OSError(f"{path} must be a file, got a pipe or device")
    got = "a link to nothing" if path.is_symlink() else "nothing there"
    return FileNotFoundError(f"{path} must be a file, got {got}")


@contextmanager
def unchanged(file: Path) -> Iterator[None]:
    """Raise ValueError at the end where somebody has changed what the file says meanwhile."""
    state, content = file_state(file), digest(file)
    yield
    check_unchanged(file, state, content)


def check_unchanged(file: Path, state: tuple[int, ...], content: str) -> None:
    """Raise ValueError unless the file has this state, or its digest; one that was touched has."""
    if file_state(file) != state and digest(file) != content:
        raise ValueError(f"{file} must stay as it is while it is read, got a change")


def file_state(file: Path | int) -> tuple[int, ...]:
    """What is another after somebody has written to the file."""
    state = os.stat(file)
    return state.st_ino, state.st_size, state.st_mtime_ns


@contextmanager
def open_bytes(file: Path) -> Iterator[IO[bytes]]:
    """Open a plain or gzip-compressed file for reading.

    Raises:
        OSError: there is no file of that name.
        ValueError: the file is empty, or, while it is read, a truncated or damaged gzip file, or it changes.
    """
    check_file(file)
    try:
        with unchanged(file), gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield io.BufferedReader(stream, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        said = first_line(error)
        raise ValueError(f"{file} must be a whole gzip file, got a damaged one: {said}") from error


def raw_lines(stream: IO[bytes], file: Path, longest: int | None = None) -> Iterator[bytes]:
    """Lines as bytes, cut at line feeds only, of at most ``longest`` bytes, by default ``LONGEST_LINE``.

    Raises:
        ValueError: a longer line, or an archive that unpacks to too much.
    """
    start, longest = 0, longest or LONGEST_LINE
    most = math.inf
    if file.suffix in (".gz", ".zip"):
        most = max(LARGEST_UNPACKED, MOST_PACKED * file.stat().st_size)
    while line := stream.readline(longest + 1):
        if len(line) > longest:
            got = f"a longer one at offset {start}"
            raise ValueError(f"{file} must have lines of at most {longest:,} bytes, got {got}")
        yield line
        start += len(line)
        if start > most:
            got = "more: unpack it by hand if it is what it should be"
            raise ValueError(f"{file} must unpack to at most {MOST_PACKED} times its size, got {got}")


def read_lines(file: Path, odd: bytes = b"\r\0") -> Iterator[str]:
    """Read the lines of a text file, plain or ``.gz``, one after the other, without their ends.

    Only a line feed ends a line, after a carriage return or not; a byte-order mark at the start is dropped.

    Raises:
        OSError: there is no file of that name.
        ValueError: an empty, truncated or damaged file, or one that changes meanwhile; text that is not
            UTF-8; an ``odd`` byte inside a line.
    """
    start, refused = 0, re.compile(b"[%b]" % re.escape(odd))
    with open_bytes(file) as stream:
        # As bytes: text would be cut also where nobody expects it.
        for number, line in enumerate(raw_lines(stream, file), 1):
            check_utf8(line, start, file)
            text = _without_end(line)
            if found := refused.search(text):
                wanted = f"{file}, line {number} must have no 0x{found[0].hex()} inside a line"
                raise ValueError(f"{wanted}, got one at offset {start + found.start()}")
            yield text.decode("utf-8" if start else "utf-8-sig")
            start += len(line)
    if start == 0:
        raise ValueError(f"{file} must hold data, got an empty file")


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def digest(file: Path) -> str:
    """A hash of a file's content, which takes less time than to read it from a disk."""
    with file.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()


def write_line_starts(file: Path, starts: Path) -> str:
    """Write where each line of a plain text file begins, and where the last one ends, as int64.

    Returns:
        Its digest.
    """
    at, last, state = 0, b"\n", xxhash.xxh3_128()
    with open_bytes(file) as stream, starts.open("wb") as written:
        written.write(np.int64(0).tobytes())
        while block := stream.read(1 << 22):
            state.update(block)
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + (at + 1)
            written.write(ends.astype(np.int64).tobytes())
            at, last = at + len(block), block[-1:]
        if last != b"\n":
            written.write(np.int64(at).tobytes())
    return state.hexdigest()


class RandomLines:
    """The lines of a plain text file as :func:`read_lines` has them, each read when it is asked for.

    Processes that are forked may share it; ``starts`` is what :func:`write_line_starts` has written of it.
    """

    def __init__(self, file: Path, starts: Path, content: str) -> None:
        self._name, self._file = file, file.open("rb", buffering=0)
        self._state, self._content = file_state(self._file.fileno()), content
        self._starts = np.memmap(starts, np.int64, "r")

    def __getitem__(self, number: int) -> str:
        """The line of this number, from 0; ValueError where somebody has changed the file meanwhile."""
        start, end = self._starts[number : number + 2].tolist()
        line = os.pread(self._file.fileno(), end - start, start)
        if (state := file_state(self._file.fileno())) != self._state:
            # A file that was touched says what it said before.
            if file_state(self._name) != state or digest(self._name) != self._content:
                raise ValueError(f"{self._name} must stay as it is while it is trained on, got a change")
            self._state = state
        return _without_end(line).decode("utf-8" if start else "utf-8-sig")


def check_utf8(line: bytes, start: int, file: Path) -> None:
    """Raise ValueError unless the line, which begins at byte ``start`` of the text, is UTF-8."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = start + error.start
        raise ValueError(f"{file} must be UTF-8, got byte 0x{line[error.start]:02x} at offset {at}") from None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def parse_json(text: str) -> Any:
    """What JSON says, where it can be said in one way alone.

    Raises:
        ValueError: no JSON, or nested beyond all measure; a key twice in one object; a number that is none.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_different)
    except RecursionError:
        raise ValueError("values must be nested a few times at most, got too many brackets") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {name}")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"keys must be different in an object, got {twice} twice")
    return values


def read_stored(path: Path, build: Callable[[Any], T]) -> T:
    """What ``build`` makes of a JSON file, such as one of a run.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file of that name.
        OSError: it is a pipe or device.
        ValueError: the file is damaged, or ``build`` takes no such content.
    """
    content = read_whole(path)
    try:
        values = json.loads(content.decode())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, got a damaged file: {error}") from None
    try:
        return build(values)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must hold what is kept there, got something else: {error!r}") from error


# ------------------------------------------------------------------ written
def write_atomically(
    path: Path, chunks: Iterable[bytes], *, previous: Path | None = None, is_new: bool = False
) -> None:
    """Write ``chunks`` to ``path`` so that an interruption at any point leaves the old file or the new one.

    The bytes go to a temporary name in the same directory, reach the disk, and only then take the name
    ``path``. Temporary files that a killed write of ``path`` left behind are removed first. Of several
    processes that write it at a time the last one's file stays.

    Args:
        path, chunks: the file, whose directory exists, and its content.
        previous: name under which the file that is replaced is kept. An interruption may then leave only
            ``previous``, never neither.
        is_new: of several processes the first one's file stays.

    Raises:
        FileExistsError: there is a file already, and ``is_new``.
        OSError: the disk is full, the directory cannot be written, and so on.
    """
    remove_abandoned(path)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _open_locked(temporary) as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
            if previous is not None and path.exists():
                os.replace(path, previous)
            _give_name(temporary, path, is_new)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # what a person knows; a full disk names nothing by itself
        raise
    with _opened(path.parent) as directory:  # else a power failure may lose the new name of safe bytes
        os.fsync(directory)


def _give_name(temporary: Path, path: Path, is_new: bool) -> None:
    if is_new:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK) or path.exists():
                raise
        else:
            temporary.unlink()
            return
    os.replace(temporary, path)


def write_json_atomically(path: Path, obj: Any, *, is_new: bool = False) -> None:
    """Write ``obj`` to ``path`` as JSON, whole or not at all, making its directory where it is missing.

    Raises:
        ValueError: a number is not finite.
        OSError: as for :func:`write_atomically`.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [text.encode()], is_new=is_new)


def _open_locked(temporary: Path) -> BinaryIO:
    """Open a file whose lock says that somebody is writing it."""
    while True:
        file = open(temporary, "wb")  # noqa: SIM115 (the caller closes it)
        with suppress(OSError):  # where files cannot be locked, none is taken for abandoned either
            lock_descriptor(file.fileno())
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # taken for abandoned before it was locked


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of ``path`` whose writer has ended, on whichever machine that was."""
    for temporary in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), open(open_descriptor(temporary, os.O_RDONLY), "rb") as file:
            if lock_descriptor(file.fileno(), blocking=False):
                temporary.unlink(missing_ok=True)


def open_descriptor(path: Path, flags: int) -> int:
    """Open a file that this project alone writes: a link there is somebody else's, and is not followed."""
    if path.is_symlink():
        raise OSError(f"{path} must be a file, got a link to another")
    # Without waiting, for a pipe would be waited for.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise no_file(path)
    return descriptor


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Keep other processes out of this block for the same directory, where its file system has locks."""
    directory.mkdir(parents=True, exist_ok=True)
    with _opened(directory) as descriptor:
        with suppress(OSError):
            lock_descriptor(descriptor)
        yield


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
