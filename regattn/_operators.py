"""How a row solver becomes a differentiable PyTorch operator.

A solver maps rows to rows; its derivative is a symmetric linear map J that depends on what the
solver found, so that one product ``(found, direction, *parameters) -> J @ direction`` serves the
backward pass, the forward mode and, being differentiable itself, the higher orders. A strength θ
acts on the solution as a change of the scores would, by ∂x/∂θ, its *effect*; so J serves it too.

Three doors lead to each solver. ``torch.compile`` and ``torch.export`` see the operator as it is
registered (its own backward and shape rules). Eager code that wants derivatives goes through an
``autograd.Function``, because only that knows forward mode and ``torch.func``: operators registered
with ``torch.library`` give a silent zero under ``jvp`` (torch 2.13), and a Function with a ``jvp``
cannot be traced by ``torch.compile``; a leaner one serves where ``backward`` alone may follow. Eager
code that wants none calls the kernel: on short rows the doors cost more than the solution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.library import Library

from regattn._eager import apply_plainly, is_plain, wants_gradient
from regattn.kernels import cpu

library = Library("regattn", "DEF")
Effect = Callable[..., Tensor]
_HALF = (torch.float16, torch.bfloat16)


def backend(tensor: Tensor) -> Any:
    """The module with the kernels for a tensor's device."""
    if tensor.device.type in ("cpu", "meta"):
        return cpu
    if tensor.device.type == "cuda":
        from regattn.kernels import cuda  # Triton comes with PyTorch's CUDA builds only

        return cuda
    raise ValueError(f"regattn has no kernels for tensors on {tensor.device}; use .cpu()")


class Solver(NamedTuple):
    """An operator on the last dimension with the product of its Jacobian."""

    name: str
    operator: Callable[..., Any]
    product: Callable[..., Tensor]
    effects: tuple[Effect | None, ...]

    def __call__(self, scores: Tensor, mask: Tensor | None, *parameters: Any) -> Tensor:
        """The solution."""
        learnable = any(isinstance(p, Tensor) for p in parameters)
        if learnable and scores.dtype in _HALF:
            # an effect tells groups by their weights, and rounded weights may agree by chance
            return self(scores.float(), mask, *parameters).to(scores.dtype)
        if torch.compiler.is_compiling():
            return _values(self.registered(scores, mask, *parameters))
        if learnable or not is_plain(scores):
            return _values(_Solve.apply(self, scores, mask, *parameters))
        if wants_gradient(scores):
            return apply_plainly(_SolvePlainly, scores, (self, mask, parameters))
        return _values(self.kernel(scores, mask, *parameters))

    def kernel(self, scores: Tensor, mask: Tensor | None, *parameters: Any) -> Any:
        solve = getattr(backend(scores), self.name, None)
        if solve is None:
            raise ValueError(f"{self.name} has no kernel for tensors on {scores.device}; use .cpu()")
        return solve(scores, mask, *parameters)

    def registered(self, scores: Tensor, mask: Tensor | None, *parameters: Any) -> Any:
        """Through the dispatcher, where every strength is a tensor."""
        tensors = (
            p if effect is None or isinstance(p, Tensor) else scores.new_full((), p, dtype=torch.float64)
            for p, effect in zip(parameters, self.effects, strict=True)
        )
        return self.operator(scores, mask, *tensors)


def _values(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def define_solver(
    name: str, parameters: dict[str, Effect | str], product: Callable[..., Tensor], structured: bool
) -> Solver:
    """Register ``regattn::name(Tensor scores, Tensor? mask, parameters)``.

    Args:
        name: of the operator, and of the function in each backend.
        parameters: for each parameter its effect if it is a strength, else its type in schema language.
            An effect is ``(scores, present, values, *parameters) -> ∂x/∂θ``.
        product: ``(found, direction, *parameters) -> J @ direction``, where ``found`` is the
            structure if there is one, else the values.
        structured: whether the solver also returns a structure.
    """
    qualified = f"regattn::{name}"
    effects = tuple(None if isinstance(kind, str) else kind for kind in parameters.values())
    types = (kind if isinstance(kind, str) else "Tensor" for kind in parameters.values())
    signature = "".join(f", {kind} {key}" for key, kind in zip(parameters, types, strict=True))
    returns = "(Tensor, Tensor)" if structured else "Tensor"
    library.define(f"{name}(Tensor scores, Tensor? mask{signature}) -> {returns}")

    def fake(scores: Tensor, *_: Any) -> Any:
        values = torch.empty_like(scores, memory_format=torch.contiguous_format)
        return (values, backend(scores).structure_like(values)) if structured else values

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _setup(ctx, solver, inputs, output)

    def backward(ctx: Any, gradient: Tensor, *_: object) -> tuple[Tensor | None, ...]:
        return _backward(ctx, gradient, ctx.needs_input_grad[2:])

    solver = Solver(name, getattr(torch.ops.regattn, name).default, product, effects)
    torch.library.impl(qualified, ("CPU", "CUDA"), lib=library)(solver.kernel)
    torch.library.register_fake(qualified, fake, lib=library)
    torch.library.register_autograd(qualified, backward, setup_context=setup, lib=library)
    return solver


# ------------------------------------------------------------------ derivatives, for both doors
def _setup(ctx: Any, solver: Solver, inputs: tuple[Any, ...], output: Any) -> tuple[Any, ...]:
    """Keep what derivatives need: scores and values only if a strength may have one."""
    scores, mask, *parameters = inputs
    values, found = output if isinstance(output, tuple) else (output, output)
    ctx.solver, ctx.parameters = solver, parameters
    saved: tuple[Any, ...] = (found,)
    if any(isinstance(p, Tensor) for p in parameters):
        ctx.parameters = [None if isinstance(p, Tensor) else p for p in parameters]
        saved += (scores, mask, values, *(p if isinstance(p, Tensor) else None for p in parameters))
    ctx.save_for_backward(*saved)
    return saved


def _restore(ctx: Any) -> tuple[Tensor, tuple[Any, ...], tuple[Any, ...]]:
    found, *rest = ctx.saved_tensors
    if not rest:
        return found, (), ctx.parameters
    tensors = rest[3:]
    return (
        found,
        tuple(rest[:3]),
        tuple(p if t is None else t for p, t in zip(ctx.parameters, tensors, strict=True)),
    )


def _effect(effect: Effect, context: tuple[Any, ...], parameters: tuple[Any, ...]) -> Tensor:
    scores, mask, values = context
    present = scores > -torch.inf if mask is None else mask & (scores > -torch.inf)
    return effect(scores, present, values.detach(), *parameters)


def _backward(ctx: Any, gradient: Tensor, wanted: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    found, context, parameters = _restore(ctx)
    product = ctx.solver.product(found, gradient, *parameters)
    gradients: list[Tensor | None] = [product, None]
    for parameter, effect, want in zip(parameters, ctx.solver.effects, wanted, strict=True):
        if want and effect is not None:
            pulled = product * _effect(effect, context, parameters)
            gradients.append(pulled.sum_to_size(parameter.shape).to(parameter.dtype))
        else:
            gradients.append(None)
    return tuple(gradients)


class _SolvePlainly(torch.autograd.Function):
    """The eager door where only scores have derivatives, and these are wanted by ``backward`` alone."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, problem: tuple[Solver, Tensor | None, tuple[Any, ...]]) -> Tensor:
        # one tuple, since each argument of a Function costs a microsecond, there and back
        ctx.problem = solver, mask, parameters = problem
        output = solver.kernel(scores, mask, *parameters)
        values, found = output if isinstance(output, tuple) else (output, output)
        ctx.save_for_backward(found)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        solver, _, parameters = ctx.problem
        return solver.product(ctx.saved_tensors[0], gradient, *parameters), None


class _Solve(torch.autograd.Function):
    """The eager door for the rest: forward mode, ``torch.func``, strengths that are tensors."""

    @staticmethod
    def forward(solver: Solver, scores: Tensor, mask: Tensor | None, *parameters: Any) -> Any:
        solve = solver.kernel if is_plain(scores) else solver.registered
        return solve(scores, mask, *parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        saved = _setup(ctx, inputs[0], inputs[1:], output)
        ctx.save_for_forward(*saved)
        ctx.set_materialize_grads(False)  # none for the structure
        ctx.structured = isinstance(output, tuple)
        if ctx.structured:
            ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: object) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * len(ctx.needs_input_grad)
        return None, *_backward(ctx, gradient, ctx.needs_input_grad[3:])

    @staticmethod
    def jvp(ctx: Any, _: None, tangent: Tensor | None, __: None, *tangents: Tensor | None) -> Any:
        found, context, parameters = _restore(ctx)
        moved = [] if tangent is None else [tangent]
        for step, effect in zip(tangents, ctx.solver.effects, strict=True):
            if step is not None and effect is not None:
                moved.append(step * _effect(effect, context, parameters))
        direction = sum(moved[1:], moved[0])
        if context:
            direction = direction.to(context[0].dtype)
        product = ctx.solver.product(found, direction, *parameters)
        return (product, None) if ctx.structured else product

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], solver: Solver, scores: Tensor, *arguments: Any
    ) -> tuple[Any, Any]:
        ndim = scores.ndim - (in_dims[1] is not None)
        if in_dims[1] is None:
            scores = scores.expand(info.batch_size, *scores.shape)
        else:
            scores = scores.movedim(in_dims[1], 0)
        aligned = (_align(a, at, ndim) for a, at in zip(arguments, in_dims[2:], strict=True))
        output = _Solve.apply(solver, scores, *aligned)
        return output, (0, 0) if isinstance(output, tuple) else 0


def _align(argument: Any, at: int | None, ndim: int) -> Any:
    """Move a batch dimension in front of the ``ndim`` dimensions that the argument broadcasts to."""
    if at is None:
        return argument
    moved = argument.movedim(at, 0)
    return moved.reshape(moved.shape[0], *[1] * (ndim + 1 - moved.ndim), *moved.shape[1:])


# ------------------------------------------------------------------ effects of the strengths
def effect_of_gamma(scores: Tensor, present: Tensor, values: Tensor, gamma: Any, *_: Any) -> Tensor:
    """A mapping depends on x/γ alone; the maximum comes off, since a constant changes nothing."""
    x = torch.where(present, scores, -torch.inf)
    top = x.detach().amax(-1, keepdim=True)
    return torch.where(present & (values > 0), top - x, 0.0) / gamma


# ------------------------------------------------------------------ any dimension
def solve_along(solver: Solver, scores: Tensor, dim: int, mask: Tensor | None, *parameters: Any) -> Tensor:
    """Values of ``solver`` on every slice along ``dim``."""
    if dim in (-1, scores.ndim - 1):
        return solver(scores, mask, *parameters)
    if mask is not None:
        mask = mask.expand(scores.shape).movedim(dim, -1)
    moved = (to_last(p, dim, scores.ndim) for p in parameters)
    return solver(scores.movedim(dim, -1), mask, *moved).movedim(-1, dim)


def to_last(strength: Any, dim: int, ndim: int) -> Any:
    """A strength for scores of ``ndim`` dimensions, whose ``dim`` has been moved to the end."""
    if not isinstance(strength, Tensor):
        return strength
    return strength.reshape(*[1] * (ndim - strength.ndim), *strength.shape).movedim(dim, -1)
