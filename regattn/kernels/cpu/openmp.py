"""A loop over rows in the threads that PyTorch's own operators run in.

A pool beside PyTorch's would compete with it: its workers stay awake for a while after each operator,
on the processors that the others want. In its pool a loop begins within a microsecond of an operator.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from regattn.kernels.cpu.compiling import called, inlined, kernel
from regattn.kernels.cpu.vectors import atomic_add

_NEXT, _COUNT, _THREADS, _FAILED = range(4)
_LEAST = 16  # blocks of the smallest size would be this many for each thread


@inlined
def _take(queue):
    """The next block of rows: from its first row to the one after its last.

    Blocks become smaller, so that all threads end together, whoever began late or got the rows that
    take long.
    """
    count, threads = queue[_COUNT], queue[_THREADS]
    size = max((count - queue[_NEXT]) // (2 * threads), count // (_LEAST * threads), 1)
    start = min(atomic_add(queue, _NEXT, size), count)
    return start, min(start + size, count)


@intrinsic
def _call(typing_context, address, start, stop, arguments):
    """Call the machine code at an address with ``(start, stop, *arguments)``; return whether it raised.

    By its address, because a kernel called by its name would be compiled once more, as part of the caller.
    """
    if any(isinstance(kind, types.Array) and kind.layout != "C" for kind in arguments.types):
        raise TypingError("the arrays of a kernel must be C-contiguous")

    def build(context, builder, signature, given):
        pointer, first, end, passed = given
        kinds = [start, stop, *arguments.types]
        kind = context.call_conv.get_function_type(types.none, kinds)
        callee = builder.inttoptr(pointer, kind.as_pointer())
        values = [first, end, *cgutils.unpack_tuple(builder, passed)]
        status, _ = context.call_conv.call_function(builder, callee, types.none, kinds, values)
        return status.is_error

    return types.boolean(address, start, stop, arguments), build


@called
def _until_none_is_left(queue, address, arguments):
    start, stop = _take(queue)
    while start < stop:
        if _call(address, start, stop, arguments):
            queue[_FAILED] = 1
        start, stop = _take(queue)


@intrinsic
def _in_threads(typing_context, fork, threads, work, queue, address, arguments):
    """Call ``work(queue, address, arguments)`` in so many threads; return when all have.

    ``fork`` is the address of OpenMP's ``GOMP_parallel(function, data, threads, flags)``.
    """
    inner = work.get_call_type(typing_context, (queue, address, arguments), {})

    def build(context, builder, signature, given):
        fork_value, number, _, queue_value, address_value, tuple_value = given
        passed = [queue_value, address_value, tuple_value]
        # On this thread's stack, where it stays until all threads have returned.
        block = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, passed))

        byte, word = ir.IntType(8), ir.IntType(32)
        outcome = work.dispatcher.get_compile_result(inner)
        context.add_linking_libs([outcome.library])
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer()])
        name = builder.module.get_unique_name("regattn.each_thread")
        each = ir.Function(builder.module, kind, name)
        each.linkage = "internal"
        inside = ir.IRBuilder(each.append_basic_block())
        received = inside.load(inside.bitcast(each.args[0], block.type))
        values = cgutils.unpack_tuple(inside, received)
        context.call_internal_no_propagate(inside, outcome.fndesc, inner, values)
        inside.ret_void()

        kind = ir.FunctionType(ir.VoidType(), [each.type, byte.as_pointer(), word, word])
        data = builder.bitcast(block, byte.as_pointer())
        fork_at = builder.inttoptr(fork_value, kind.as_pointer())
        builder.call(fork_at, [each, data, builder.trunc(number, word), word(0)])
        return context.get_dummy_value()

    return types.none(fork, threads, work, queue, address, arguments), build


@kernel
def _solve_in_threads(fork, threads, count, address, *arguments):
    queue = np.zeros(4, np.int64)
    queue[_COUNT], queue[_THREADS] = count, threads
    _in_threads(fork, threads, _until_none_is_left, queue, address, arguments)
    return queue[_FAILED] == 0


_addresses: dict[tuple[Any, ...], int] = {}


def _address_of(solver: Any, arguments: tuple[Any, ...]) -> int:
    """Of the machine code for arguments of these types, whose arrays are C-contiguous."""
    key = (solver, *[a.dtype if type(a) is np.ndarray else type(a) for a in arguments])
    if key not in _addresses:
        signature = tuple(typeof(a) for a in (0, 0, *arguments))
        solver.compile(signature)
        found = solver.overloads[signature]
        _addresses[key] = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
    return _addresses[key]


# ------------------------------------------------------------------ PyTorch's threads
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


# Of GNU, LLVM and Intel on Linux; the runtimes of other systems lack it.
_gomp_parallel = _find("GOMP_parallel")


def _work_alone() -> None:
    global _gomp_parallel
    _gomp_parallel = 0


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_work_alone)  # OpenMP would wait for the parent's threads, for ever


def parallel_rows(solver: Any, count: int, *arguments: Any) -> None:
    """Have ``solver(start, stop, *arguments)`` done for ``count`` rows, by all of PyTorch's threads.

    Raises:
        MemoryError: a thread had none for its rows.
    """
    # Never by some of them: where the number changes, OpenMP ends threads and starts them again.
    threads = torch.get_num_threads()
    if threads == 1 or not _gomp_parallel:
        solver(0, count, *arguments)
    elif not _solve_in_threads(_gomp_parallel, threads, count, _address_of(solver, arguments), *arguments):
        raise MemoryError(f"no memory for the rows of {solver.py_func.__name__}")
