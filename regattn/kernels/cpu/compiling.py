"""How the functions of a kernel are compiled, and where the outcome is kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core import serialize
from numba.core.compiler import CompileResult
from numba.misc import appdirs

_options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# What only compiled code calls needs no wrapper for Python, which would take as long to compile as the rest.
# Nor does it count references, which the kernel holds: counting is atomic, takes a fifth of the time on short
# rows, and threads fight over the count of an array that they share.
_inner = _options | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
# A count that is passed on begins at np.int64(0): for a plain 0, whose type is its value, numba would
# compile everything that it is passed to once more.
called = njit(**_inner)
# Inlined: a call for each run of a row would cost more than most runs.
inlined = njit(forceinline=True, **_inner)
fused = njit(forceinline=True, fastmath={"contract"}, **_inner)  # a product and a sum in one rounding
reordered_sum = njit(forceinline=True, fastmath={"reassoc"}, **_inner)
frame = njit(forceinline=True, **_inner | {"_nrt": True})  # may make arrays


def kernel(function: Callable[..., Any]) -> Any:
    """Compile what Python calls; the machine code is kept until a file of this folder changes."""
    compiled = njit(**_options)(function)
    compiled._cache = _Cache(function)
    return compiled


# ------------------------------------------------------------------ machine code on disk
def fingerprint(folder: Path) -> str:
    """Of the Python files of a folder: another one after any edit."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()


_FILES = fingerprint(Path(__file__).parent)
_LONG = 1.0  # seconds of compiling after which somebody who waits is told why


def cache_folder() -> Path | None:
    """Where the machine code of this version is kept for the user; None if there is no such place."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or appdirs.user_cache_dir("regattn", appauthor=False))
    version = f"{_FILES[:16]}-numba{numba.__version__}-{sys.implementation.cache_tag}"
    return folder / version if folder.is_absolute() else None  # "~/…" where nobody has a home


class _Cache:
    """Machine code of a function, by the types of its arguments and the processor: a file for each.

    numba's own cache lies beside the source, one for each clone, watches the file of the function alone and
    not those of what it calls, and fails for good once a file of it is damaged. A file here is the SHA-256 of
    what follows it, and appears whole.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._notice = threading.Timer(0.0, lambda: None)
        self.cache_path = cache_folder()

    def load_overload(self, signature: Any, context: Any) -> Any:
        context.refresh()
        path = self._path(signature, context.codegen())
        data = None if path is None else _read(path)
        if data is not None:
            return CompileResult._rebuild(context, *serialize.loads(data))
        name = self._function.__name__.strip("_").removesuffix("_rows")
        self._notice = threading.Timer(_LONG, _say, [f"compiling {name} (once, about 10 s)"])
        self._notice.daemon = True
        self._notice.start()
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        self._notice.cancel()
        self._notice.join()  # no thread of ours is left
        path = self._path(signature, compiled.codegen)
        if path is not None:
            _write(path, serialize.dumps(compiled._reduce()))

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        if self.cache_path is None:
            return None
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        key = (name, str(signature), codegen.magic_tuple())
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        return self.cache_path / f"{name.rpartition('.')[2]}-{digest[:32]}"


def _read(path: Path) -> bytes | None:
    """What was written; None if nothing was, or if it is not that any more."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _say(f"compiled code in {path} cannot be read ({error.strerror}): compiling it anew")
        return None
    if hashlib.sha256(content[32:]).digest() == content[:32]:
        return content[32:]
    _say(f"compiled code in {path} is damaged: compiling it anew")
    return None


def _write(path: Path, data: bytes) -> None:
    """All or nothing; who cannot write goes on without."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(temporary, path)
    except OSError as error:
        _say(f"compiled code cannot be kept in {path.parent} ({error.strerror})")
        with contextlib.suppress(OSError):
            os.remove(temporary)


_said: set[str] = set()


def _say(line: str) -> None:
    """Once, on stderr."""
    if line not in _said and sys.stderr is not None:
        print(f"regattn: {line}", file=sys.stderr, flush=True)
    _said.add(line)
