"""Row solvers for CUDA in Triton: from scores to weights and structure in one launch or two.

A file for each mapping, with its solver, a Triton function that one kernel, :func:`_program`, is compiled
round, and ``<name>(scores, mask, *strengths)`` on tensors. That works on the last dimension of tensors with
any strides and any leading dimensions; scores and mask are read where they lie. float64 is computed in
float64, everything else in float32 and returned in its own type. A position at −inf or outside the mask
takes no part; a row with NaN or +inf comes out NaN.

The structure of a solution is the list of :mod:`regattn.kernels.cpu`, in int16: a row of 8,192 fits, and of a
row only its members are written and read. Mappings without groups have none; their weights tell their
derivatives too (``tiles.py``).

A program solves a few rows together: what needs sums alone keeps them in the registers of a warp
(``tiles.py``), where oscarmax sorts them too; fusedmax gathers what survives a screening (``survivors.py``),
of short rows in the registers of a thread (``chains.py``); what has an order all along a row is a scan: an
associative function over the row, for all groups at once. Each loop runs until the slowest row is done and
leaves finished rows alone, so that a row's bits do not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.compiler import ASTSource

from regattn.kernels import LONGEST_ON_CUDA

Input = Tensor | float | None


# ------------------------------------------------------------------ tensors as rows
Strides = tuple[int | None, ...]


@lru_cache(maxsize=4096)
def _layout(shape: tuple[int, ...], strides: tuple[Strides | None, ...]) -> Any:
    """Tensors of one shape as rows: the last two leading sizes, and four strides for each tensor.

    Leading dimensions collapse where all tensors allow it. None if more than three are left. Of the last
    dimension the stride is None where it is 1: addresses are cheap then.
    """
    leading: list[tuple[int, ...]] = []  # size, then the stride of each tensor
    for k, size in enumerate(shape[:-1]):
        here = (size, *(0 if each is None else each[k] or 0 for each in strides))
        if leading and all(a == b * size for a, b in zip(leading[-1][1:], here[1:], strict=True)):
            leading[-1] = (leading[-1][0] * size, *here[1:])
        elif size > 1:
            leading.append(here)
    if len(leading) > 3:
        return None
    leading = [(1, *(0 for _ in strides))] * (3 - len(leading)) + leading
    laid = tuple(
        None if each is None else (*(dim[1 + k] for dim in leading), None if each[-1] == 1 else each[-1])
        for k, each in enumerate(strides)
    )
    return (leading[1][0], leading[2][0]), laid


def _as_rows(first: Tensor, inputs: Sequence[Input]) -> tuple[Any, Sequence[Input]]:
    """The layout of inputs, which are copied only if they have too many leading dimensions for a kernel."""
    shape = first.shape
    wide = [t if not isinstance(t, Tensor) or t.shape == shape else t.expand(shape) for t in inputs]
    layout = _layout(shape, tuple([t.stride() if isinstance(t, Tensor) else None for t in wide]))
    if layout is not None:
        return layout, wide
    rows = (math.prod(shape[:-1]), shape[-1])
    wide = [t.reshape(rows) if isinstance(t, Tensor) else t for t in wide]
    return _layout(rows, tuple([t.stride() if isinstance(t, Tensor) else None for t in wide])), wide


# ------------------------------------------------------------------ launches
class Tile(NamedTuple):
    """How many rows a program takes, and the kernel's constants that follow from the length of a row."""

    rows: int
    constants: dict[str, int]


@partial(triton.jit, repr=lambda form: form.constants["SOLVE"].__name__)
def _program(
    tensors, strides, sizes, n, d,
    SOLVE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, HALVES: tl.constexpr,
    WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """The kernel of every solver; where half of the block is enough, on twice as many rows if ``HALVES``."""
    for half in tl.static_range(1 + HALVES):
        if HALVES * (d <= BLOCK // 2).to(tl.int32) == half:
            SOLVE(*tensors, *strides, sizes, n, d, ROWS * (1 + half), BLOCK // (1 + half), WORK, EPS)


Launch = tuple[Any, Callable[[int], Tile]]
"""A solver, and how rows of a length are dealt to its programs."""

_compiled: dict[Any, Any] = {}


def _launch(solve: Any, grid: tuple[int], arguments: Sequence[Any], constants: dict[str, Any]) -> None:
    """Run a solver, compiled for the types of its arguments and its constants: for none of the values.

    Triton by itself would make another form where a size is 1 or divisible by 16, and load several scores at
    once where a row happens to be aligned, which then sums in another order; and it takes longer to find
    the form than to launch it.
    """
    if triton.knobs.runtime.interpret:
        _program[grid](*arguments, SOLVE=solve, **constants)
        return
    key = (torch.cuda.current_device(), *form_key(solve, arguments, constants))
    form = _compiled.get(key)
    if form is None:
        form = _compiled[key] = compile_kernel(solve, arguments, constants)
    others = [constants[name] for name in _program.arg_names[len(arguments) + 1 :]]
    form[(*grid, 1, 1)](*arguments, solve, *others)


def form_key(solve: Any, arguments: Sequence[Any], constants: dict[str, Any]) -> tuple[Any, ...]:
    """All that the compiled form of a kernel depends on, but the device."""
    tensors, strides, *_ = arguments
    kinds = tuple([a.dtype if isinstance(a, Tensor) else type(a) for a in tensors])
    ones = tuple([None if each is None else each[-1] for each in strides])
    return solve, kinds, tuple([one is None for one in ones]), *constants.values()


_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.uint8: "*u8",
    torch.int16: "*i16",
    torch.int32: "*i32",
}


def _kind(argument: Any, integer: str = "i64") -> Any:
    """The type of an argument in Triton's words; None is a constant, as a stride that is known to be 1."""
    if type(argument) is tuple:
        return tuple([_kind(a) for a in argument])
    if isinstance(argument, Tensor):
        return _POINTERS[argument.dtype]
    return "constexpr" if argument is None else "fp32" if type(argument) is float else integer


def _nones(argument: Any, at: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Where there are constants in an argument."""
    if argument is None:
        yield at
    elif type(argument) is tuple:
        for k, a in enumerate(argument):
            yield from _nones(a, (*at, k))


def compile_kernel(solve: Any, arguments: Sequence[Any], constants: dict[str, Any]) -> Any:
    """What a launch with such arguments runs, compiled for the device at hand or found on disk."""
    names = _program.arg_names
    signature = dict.fromkeys(names, "constexpr") | {
        name: _kind(a, "i32") for name, a in zip(names, arguments, strict=False)
    }
    values: dict[tuple[int, ...], Any] = dict.fromkeys(_nones(tuple(arguments), ()))
    given = {"SOLVE": solve, **constants}
    values |= {(names.index(name),): value for name, value in given.items() if name in signature}
    options = {name: value for name, value in constants.items() if name not in signature}
    return triton.compile(ASTSource(_program, signature, values), options=options)


def launch_rows(
    solve: Any, inputs: Sequence[Input], outputs: Sequence[Tensor], *, tile: Callable[[int], Tile]
) -> None:
    """Run ``solve`` over the rows of the first input, whose shape the others have or broadcast to.

    Args:
        solve: a Triton function of inputs, outputs, strides of the inputs, sizes of leading dimensions,
            number and length of rows, and the constants.
        inputs: in any layout.
        outputs: what it writes, and what else it reads of contiguous tensors.
        tile: how rows of a length are dealt to programs.

    Raises:
        ValueError: rows longer than ``LONGEST_ON_CUDA``, or 2³¹ of them.
    """
    first = inputs[0]
    assert isinstance(first, Tensor)
    d = first.shape[-1]
    rows = first.numel() // d
    check_length(d)
    if rows >= 2**31:
        raise ValueError(f"scores on CUDA must have fewer than 2**31 rows, got {rows}")
    if rows == 0:
        return
    wide = first.dtype == torch.float64
    inputs = [_readable(t, first, wide) if t is not None else None for t in inputs]
    (sizes, strides), inputs = _as_rows(first, inputs)
    shape = tile(d)
    constants = {**shape.constants, **_PRECISIONS[wide]}
    arguments = ((*inputs, *outputs), strides, sizes, rows, d)
    grid = (-(-rows // shape.rows),)
    if first.is_cuda and first.device.index != torch.cuda.current_device():
        with torch.cuda.device(first.device):
            _launch(solve, grid, arguments, constants)
    else:
        _launch(solve, grid, arguments, constants)


def launch_like(solve: Any, inputs: Sequence[Input], *read: Tensor, tile: Callable[[int], Tile]) -> Tensor:
    """:func:`launch_rows` for one output like the first input, behind the tensors that are only read."""
    assert isinstance(inputs[0], Tensor)
    out = torch.empty_like(inputs[0], memory_format=torch.contiguous_format)
    launch_rows(solve, inputs, (*[tensor.contiguous() for tensor in read], out), tile=tile)
    return out


def check_length(d: int) -> None:
    """Refuse a row that no kernel takes."""
    if d > LONGEST_ON_CUDA:
        raise ValueError(
            f"rows of scores on CUDA must have at most {LONGEST_ON_CUDA} positions, got {d}; use .cpu()"
        )


_PRECISIONS = [
    {"WORK": kind, "EPS": 4 * torch.finfo(dtype).eps}
    for kind, dtype in ((tl.float32, torch.float32), (tl.float64, torch.float64))
]


def _readable(value: float | Tensor, first: Tensor, wide: bool) -> float | Tensor:
    """An input as a kernel takes it: a number is passed to it in float32.

    So is a tensor of one number on the host, a copy of which could not be captured in a CUDA graph.
    """
    if isinstance(value, Tensor) and value.device != first.device:
        value = float(value) if value.ndim == 0 else value.to(first.device)
    if not isinstance(value, Tensor):
        return first.new_full((), value) if wide else float(value)
    return value.view(torch.uint8) if value.dtype == torch.bool else value


def structure_like(scores: Tensor) -> Tensor:
    """Room for the structure of a solution."""
    *batch, d = scores.shape
    return torch.empty(*batch, 2 + d, dtype=torch.int16, device=scores.device)


def launch_structured(inputs: Sequence[Input], *launches: Launch) -> tuple[Tensor, Tensor]:
    """Values and structure of a solution, written by one launch after another."""
    assert isinstance(inputs[0], Tensor)
    values = torch.empty_like(inputs[0], memory_format=torch.contiguous_format)
    structure = structure_like(values)
    for solve, tile in launches:
        launch_rows(solve, inputs, (values, structure), tile=tile)
    return values, structure


def launch_slope(solve: Any, inputs: Sequence[Input], *read: Tensor, tile: Callable[[int], Tile]) -> Tensor:
    """A penalty's slope like the scores; with ``product``, the last of the inputs, a number for each row."""
    scores, _, product = inputs
    assert isinstance(scores, Tensor)
    out = scores.new_zeros(scores.shape if product is None else (*scores.shape[:-1], 1))
    launch_rows(solve, inputs, (*[tensor.contiguous() for tensor in read], out), tile=tile)
    return out
