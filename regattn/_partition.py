"""The one backward rule of the quadratic family.

Where a solution is constant inside groups of positions, so is its derivative: the Jacobian averages
a direction inside each group, after taking its mean over the support off if the solution is held on
the simplex. The solvers return the groups as integers, because integers do not round.
Source: Niculae & Blondel (2017), propositions 2 and 3; the same rule for both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regattn._eager import is_plain, wants_gradient
from regattn._operators import Effect, Solver, backend, define_solver, library


def define_partition_solver(name: str, parameters: dict[str, Effect | str], *, on_simplex: bool) -> Solver:
    """Register a solver whose values and derivative are constant inside groups.

    On the simplex the first parameter is γ, by which the derivative is divided.
    """

    def product(structure: Tensor, direction: Tensor, *parameters: Any) -> Tensor:
        if not on_simplex:
            return group_average(direction, structure, 1.0, False)
        gamma = parameters[0]
        if isinstance(gamma, Tensor):
            return (group_average(direction, structure, 1.0, True) / gamma).to(direction.dtype)
        return group_average(direction, structure, 1.0 / gamma, True)

    return define_solver(name, parameters, product, structured=True)


library.define("group_average(Tensor direction, Tensor structure, float scale, bool centre) -> Tensor")
_group_average = torch.ops.regattn.group_average.default


def group_average(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
    """The one backward rule: average inside groups, less the mean over all groups if ``centre``.

    Args:
        direction: floating (…, d).
        structure: of the solution, as its solver returned it.
        scale: factor of the result, 1/γ for a mapping.
        centre: whether the groups lie on the simplex, whose tangent vectors sum to 0.

    Returns:
        J @ direction. J is symmetric, so this is the product on either side.
    """
    if torch.compiler.is_compiling():
        return _group_average(direction, structure, scale, centre)
    if is_plain(direction) and not wants_gradient(direction):
        return _average(direction, structure, scale, centre)
    return _Average.apply(direction, structure, scale, centre)


def _average(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
    return backend(direction).group_average(direction, structure, scale, centre)


torch.library.impl("regattn::group_average", ("CPU", "CUDA"), lib=library)(_average)


@torch.library.register_fake("regattn::group_average", lib=library)
def _fake_average(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
    return torch.empty_like(direction, memory_format=torch.contiguous_format)


def _setup_average(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, structure, ctx.scale, ctx.centre = inputs
    ctx.save_for_backward(structure)


def _backward_average(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return group_average(gradient, ctx.saved_tensors[0], ctx.scale, ctx.centre), None, None, None


torch.library.register_autograd(
    "regattn::group_average", _backward_average, setup_context=_setup_average, lib=library
)


class _Average(torch.autograd.Function):
    """The eager door; linear in the direction, hence its own derivative."""

    @staticmethod
    def forward(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
        return _group_average(direction, structure, scale, centre)

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
        info: Any, in_dims: tuple[Any, ...], direction: Tensor, structure: Tensor, scale: float, centre: bool
    ) -> tuple[Tensor, int]:
        def front(tensor: Tensor, at: int | None) -> Tensor:
            if at is None:
                return tensor.expand(info.batch_size, *tensor.shape)
            return tensor.movedim(at, 0)

        moved = front(direction, in_dims[0]), front(structure, in_dims[1])
        return group_average(*moved, scale, centre), 0
