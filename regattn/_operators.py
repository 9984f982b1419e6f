"""How a row solver becomes a differentiable PyTorch operator.

A solver maps rows to rows; its derivative is a symmetric linear map J that depends on what the
solver found, so that one product ``(found, direction, *parameters) -> J @ direction`` serves the
backward pass, the forward mode and, being differentiable itself, the higher orders.

Two doors lead to each operator. ``torch.compile`` and ``torch.export`` see the operator as it is
registered (its own backward and shape rules). Eager code goes through an ``autograd.Function``,
because only that knows forward mode and ``torch.func``: operators registered with
``torch.library`` give a silent zero under ``jvp`` (torch 2.13), and a Function with a ``jvp``
cannot be traced by ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.library import Library

from regattn._checks import check_on_cpu
from regattn.kernels import cpu

library = Library("regattn", "DEF")
_WORKING = {torch.float64: torch.float64}  # every other floating type is computed in float32


class Solver(NamedTuple):
    """An operator on the last dimension with the product of its Jacobian."""

    operator: Callable[..., Any]
    product: Callable[..., Tensor]

    def __call__(self, scores: Tensor, *parameters: float) -> Any:
        """Values, or (values, structure) where the solver returns its structure."""
        if torch.compiler.is_compiling():
            return self.operator(scores, *parameters)
        return _Solve.apply(self, scores, *parameters)


def define_solver(
    name: str, parameters: str, kernel: Callable[..., None], product: Callable[..., Tensor], structured: bool
) -> Solver:
    """Register ``regattn::name(Tensor scores, parameters)``.

    Args:
        name: name of the operator.
        parameters: its scalar parameters in schema language, such as ``"float gamma"``.
        kernel: row solver of :mod:`regattn.kernels.cpu`.
        product: ``(found, direction, *parameters) -> J @ direction``, where ``found`` is the
            structure if there is one, else the values.
        structured: whether the kernel also writes integer labels.
    """
    qualified = f"regattn::{name}"
    returns = "(Tensor, Tensor)" if structured else "Tensor"
    library.define(f"{name}(Tensor scores, {parameters}) -> {returns}")

    def solve(scores: Tensor, *numbers: float) -> Any:
        rows = working_rows(scores)
        values = torch.empty_like(rows)
        outputs = [values, torch.empty(rows.shape, dtype=torch.int32)] if structured else [values]
        cpu.run(kernel, torch.get_num_threads(), tuple(t.numpy() for t in (rows, *outputs)), *numbers)
        outputs = [t.reshape(scores.shape) for t in outputs]
        outputs[0] = outputs[0].to(scores.dtype)
        return tuple(outputs) if structured else outputs[0]

    def fake(scores: Tensor, *numbers: float) -> Any:
        values = torch.empty_like(scores, memory_format=torch.contiguous_format)
        return (values, torch.empty_like(values, dtype=torch.int32)) if structured else values

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.numbers = inputs[1:]
        ctx.save_for_backward(output[1] if structured else output)

    def backward(ctx: Any, gradient: Tensor, *_: object) -> tuple[Tensor | None, ...]:
        return product(ctx.saved_tensors[0], gradient, *ctx.numbers), *(None for _ in ctx.numbers)

    torch.library.impl(qualified, "CPU", lib=library)(solve)
    torch.library.register_fake(qualified, fake, lib=library)
    torch.library.register_autograd(qualified, backward, setup_context=setup, lib=library)
    return Solver(getattr(torch.ops.regattn, name).default, product)


def working_rows(scores: Tensor) -> Tensor:
    """(…, d) -> contiguous (rows, d) in the working precision, detached."""
    rows = scores.detach().reshape(-1, scores.shape[-1])
    return rows.to(_WORKING.get(scores.dtype, torch.float32)).contiguous()


class _Solve(torch.autograd.Function):
    """The eager door."""

    @staticmethod
    def forward(solver: Solver, scores: Tensor, *parameters: float) -> Any:
        return solver.operator(scores, *parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        solver, _, *ctx.parameters = inputs
        ctx.product = solver.product
        ctx.structured = isinstance(output, tuple)
        if ctx.structured:
            ctx.mark_non_differentiable(output[1])
        found = output[1] if ctx.structured else output
        ctx.save_for_backward(found)
        ctx.save_for_forward(found)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: object) -> tuple[Tensor | None, ...]:
        product = ctx.product(ctx.saved_tensors[0], gradient, *ctx.parameters)
        return None, product, *(None for _ in ctx.parameters)

    @staticmethod
    def jvp(ctx: Any, _: None, tangent: Tensor, *__: None) -> Any:
        product = ctx.product(ctx.saved_tensors[0], tangent, *ctx.parameters)
        return (product, None) if ctx.structured else product

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], solver: Solver, scores: Tensor, *parameters: float) -> Any:
        output = solver(scores.movedim(in_dims[1], 0), *parameters)
        return output, (0, 0) if isinstance(output, tuple) else 0


def solve_along(solver: Solver, scores: Tensor, dim: int, mask: Tensor | None, *parameters: float) -> Tensor:
    """Values of ``solver`` on every slice along ``dim``; masked positions become −inf, which is absent."""
    check_on_cpu(scores)
    if mask is not None:
        scores = torch.where(mask, scores, -torch.inf)
    last = dim in (-1, scores.ndim - 1)
    output = solver(scores if last else scores.movedim(dim, -1), *parameters)
    values: Tensor = output[0] if isinstance(output, tuple) else output
    return values if last else values.movedim(-1, dim)
