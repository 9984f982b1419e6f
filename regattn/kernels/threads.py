"""The threads that PyTorch's own operators run in, for compiled loops over rows.

A pool beside PyTorch's would compete with it: its workers stay awake for a while after each operator,
on the processors that the others want. In its pool a loop begins within a microsecond of an operator.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import torch

from regattn.kernels import rows


def _find(name: str) -> int:
    """Address of a function in the OpenMP runtime that PyTorch has loaded; 0 if there is none."""
    linked = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"  # finds what it was linked with, too
    for library in (None, str(linked)):  # what is loaded for all (LD_PRELOAD) comes first for PyTorch as well
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError, TypeError):  # TypeError: None, on Windows
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


_fork = _find("GOMP_parallel")  # of GNU, LLVM and Intel on Linux; the runtimes of other systems lack it


def _work_alone() -> None:
    global _fork
    _fork = 0


os.register_at_fork(after_in_child=_work_alone)  # OpenMP would wait for the parent's threads, for ever


def share(solver: Any, count: int, *arguments: Any) -> None:
    """Have ``solver(start, stop, *arguments)`` done for ``count`` rows, by all of PyTorch's threads."""
    # Never by some of them: where the number changes, OpenMP ends threads and starts them again.
    threads = torch.get_num_threads()
    if threads > 1 and _fork:
        rows.share(_fork, threads, solver, count, *arguments)
    else:
        solver(0, count, *arguments)
