"""The one backward rule of the quadratic family.

Where a solution is constant inside groups of positions, so is its derivative: the Jacobian averages
a direction inside each group, after taking its mean over the support off if the solution is held on
the simplex. The solvers return the groups as integers, because integers do not round.
Source: Niculae & Blondel (2017), propositions 2 and 3; the same rule for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regattn._operators import Solver, define_solver, library, working_rows
from regattn.kernels import cpu


def define_partition_solver(
    name: str, parameters: str, kernel: Callable[..., None], *, on_simplex: bool
) -> Solver:
    """Register a solver whose values and derivative are constant inside groups.

    On the simplex the first parameter is γ, by which the derivative is divided.
    """

    def product(labels: Tensor, direction: Tensor, *numbers: float) -> Tensor:
        return group_average(direction, labels, 1.0 / numbers[0] if on_simplex else 1.0, on_simplex)

    return define_solver(name, parameters, kernel, product, structured=True)


library.define("group_average(Tensor direction, Tensor labels, float scale, bool centre) -> Tensor")
_group_average = torch.ops.regattn.group_average.default


def group_average(direction: Tensor, labels: Tensor, scale: float, centre: bool) -> Tensor:
    """The one backward rule: average inside groups, less the mean over all groups if ``centre``.

    Args:
        direction: floating (…, d).
        labels: int32 of the same shape; 0 outside the support, ±k in the k-th group.
        scale: factor of the result, 1/γ for a mapping.
        centre: whether the groups lie on the simplex, whose tangent vectors sum to 0.

    Returns:
        J @ direction. J is symmetric, so this is the product on either side.
    """
    if torch.compiler.is_compiling():
        return _group_average(direction, labels, scale, centre)
    return _Average.apply(direction, labels, scale, centre)


@torch.library.impl("regattn::group_average", "CPU", lib=library)
def _average(direction: Tensor, labels: Tensor, scale: float, centre: bool) -> Tensor:
    rows = working_rows(direction)
    output = torch.empty_like(rows)
    structure = labels.reshape(rows.shape).contiguous()
    arrays = (rows.numpy(), structure.numpy(), output.numpy())
    cpu.run(cpu.group_average, torch.get_num_threads(), arrays, scale, centre)
    return output.reshape(direction.shape).to(direction.dtype)


@torch.library.register_fake("regattn::group_average", lib=library)
def _fake_average(direction: Tensor, labels: Tensor, scale: float, centre: bool) -> Tensor:
    return torch.empty_like(direction, memory_format=torch.contiguous_format)


def _setup_average(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, labels, ctx.scale, ctx.centre = inputs
    ctx.save_for_backward(labels)


def _backward_average(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return group_average(gradient, ctx.saved_tensors[0], ctx.scale, ctx.centre), None, None, None


torch.library.register_autograd(
    "regattn::group_average", _backward_average, setup_context=_setup_average, lib=library
)


class _Average(torch.autograd.Function):
    """The eager door; linear in the direction, hence its own derivative."""

    @staticmethod
    def forward(direction: Tensor, labels: Tensor, scale: float, centre: bool) -> Tensor:
        return _group_average(direction, labels, scale, centre)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _setup_average(ctx, inputs, output)
        ctx.save_for_forward(inputs[1])

    backward = staticmethod(_backward_average)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return group_average(tangent, ctx.saved_tensors[0], ctx.scale, ctx.centre)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], direction: Tensor, labels: Tensor, scale: float, centre: bool
    ) -> tuple[Tensor, int]:
        def front(tensor: Tensor, at: int | None) -> Tensor:
            if at is None:
                return tensor.expand(info.batch_size, *tensor.shape)
            return tensor.movedim(at, 0)

        moved = front(direction, in_dims[0]), front(labels, in_dims[1])
        return group_average(*moved, scale, centre), 0
