"""How the functions of a kernel are compiled, and where the outcome is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

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
reordered_sum = njit(forceinline=True, fastmath={"reassoc"}, **_inner)


def fingerprint(folder: Path) -> str:
    """Of the Python files of a folder: another one after any edit."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()


_FILES = fingerprint(Path(__file__).parent)


class _Cache(FunctionCache):
    """numba's cache on disk, which watches the file of the function alone, not those of what it calls."""

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(signature, codegen), _FILES)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile what Python calls; the machine code is kept until a file of this folder changes."""
    compiled = njit(**_options)(function)
    compiled._cache = _Cache(function)
    return compiled
