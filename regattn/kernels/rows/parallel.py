"""A loop over rows, shared among the threads of an OpenMP runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from regattn.kernels.rows.compiling import called, inlined, kernel
from regattn.kernels.rows.vectors import atomic_add

_NEXT, _COUNT, _THREADS, _FAILED = range(4)
_LEAST = 16  # blocks of the smallest size would be this many for each thread


@inlined
def _take(ledger):
    """The next block of rows: its first, and the row behind its last.

    Blocks become smaller, so that all threads end together, whoever began late or got the rows that
    take long.
    """
    count, threads = ledger[_COUNT], ledger[_THREADS]
    size = max((count - ledger[_NEXT]) // (2 * threads), count // (_LEAST * threads), 1)
    start = min(atomic_add(ledger, _NEXT, size), count)
    return start, min(start + size, count)


@intrinsic
def _call(typing_context, address, start, stop, arguments):
    """Call the machine code at an address with ``(start, stop, *arguments)``; return whether it raised.

    By its address, because a kernel called by its name would be compiled once more, as part of the caller.
    """
    if any(isinstance(kind, types.Array) and kind.layout != "C" for kind in arguments.types):
        raise TypingError("the arrays of a kernel must be C-contiguous")

    def build(context, builder, signature, given):
        pointer, first, behind, passed = given
        kinds = [start, stop, *arguments.types]
        kind = context.call_conv.get_function_type(types.none, kinds)
        callee = builder.inttoptr(pointer, kind.as_pointer())
        values = [first, behind, *cgutils.unpack_tuple(builder, passed)]
        status, _ = context.call_conv.call_function(builder, callee, types.none, kinds, values)
        return status.is_error

    return types.boolean(address, start, stop, arguments), build


@called
def _until_none_is_left(ledger, address, arguments):
    start, stop = _take(ledger)
    while start < stop:
        if _call(address, start, stop, arguments):
            ledger[_FAILED] = 1
        start, stop = _take(ledger)


@intrinsic
def _in_threads(typing_context, fork, threads, work, ledger, address, arguments):
    """Call ``work(ledger, address, arguments)`` in so many threads; return when all have.

    ``fork`` is the address of OpenMP's ``GOMP_parallel(function, data, threads, flags)``.
    """
    inner = work.get_call_type(typing_context, (ledger, address, arguments), {})

    def build(context, builder, signature, given):
        door, number, _, ledger_value, address_value, tuple_value = given
        passed = [ledger_value, address_value, tuple_value]
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
        fork_at = builder.inttoptr(door, kind.as_pointer())
        builder.call(fork_at, [each, data, builder.trunc(number, word), word(0)])
        return context.get_dummy_value()

    return types.none(fork, threads, work, ledger, address, arguments), build


@kernel
def _share(fork, threads, count, address, *arguments):
    ledger = np.zeros(4, np.int64)
    ledger[_COUNT], ledger[_THREADS] = count, threads
    _in_threads(fork, threads, _until_none_is_left, ledger, address, arguments)
    return ledger[_FAILED] == 0


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


def share(fork: int, threads: int, solver: Any, count: int, *arguments: Any) -> None:
    """Have ``solver(start, stop, *arguments)`` done for all of ``count`` rows, in so many threads.

    Args:
        fork: address of OpenMP's ``GOMP_parallel``.
        solver: a kernel of this package.

    Raises:
        MemoryError: a thread had none for its rows.
    """
    if not _share(fork, threads, count, _address_of(solver, arguments), *arguments):
        raise MemoryError(f"no memory for the rows of {solver.py_func.__name__}")
