"""How a row solver becomes a differentiable PyTorch operator.

A solver maps rows to rows; its derivative is a symmetric linear map J that depends on what the
solver found, so that one product ``(found, direction, *parameters) -> J @ direction`` serves the
backward pass, the forward mode and, being differentiable itself, the higher orders. A strength θ
acts on the solution as a change of the scores would, by ∂x/∂θ; so J serves it too. Where a solution is
constant inside groups of positions, one backward rule serves all solvers: :func:`group_average`.

Two dispatch paths lead to each solver. Code that is compiled, exported, batched or transformed sees the
operator as it is registered, with its derivatives and shape rules. Eager code calls the kernel, by itself
where no derivatives are wanted, or from an ``autograd.Function`` with the same derivatives, or from a
leaner one where strengths have none: on short rows the dispatcher costs more than the solution.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial, wraps
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.forward_ad import _set_fwd_grad_enabled
from torch.library import Library

library = Library("regattn", "DEF")
ParamDerivative = Callable[..., Tensor]
_HALF = (torch.float16, torch.bfloat16)


# ------------------------------------------------------------------ kernels
@cache
def load_kernel(device: str, file: str, name: str) -> Callable[..., Any]:
    """The function ``name`` on tensors of a type of device: the folders of kernels have the same files."""
    folder = "cpu" if device == "meta" else device
    place = f"{folder}.{file}" if file else folder
    try:
        module = import_module(f"regattn.kernels.{place}")
    except ModuleNotFoundError as error:
        if error.name not in (f"regattn.kernels.{folder}", f"regattn.kernels.{place}"):
            raise  # Triton, which comes with PyTorch's CUDA builds only
        module = None
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None:
        raise ValueError(f"{name} has no kernel for tensors on {device}; use .cpu()")
    return function


def device_type(tensor: Tensor) -> str:
    return "cpu" if tensor.is_cpu else tensor.device.type  # which takes five times as long to ask


def can_call_kernel(tensor: Tensor) -> bool:
    """Whether a kernel may read the tensor: nothing is to be traced, batched or carried along."""
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and not tensor.is_meta
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._functorch.is_legacy_batchedtensor(tensor)  # is_grads_batched=True
        and forward_ad._current_level < 0
        and torch._C._get_tracing_state() is None
    )


def _is_dtensor(tensor: Tensor) -> bool:
    module = sys.modules.get("torch.distributed.tensor")  # without it there is none
    return module is not None and isinstance(tensor, module.DTensor)


# ------------------------------------------------------------------ derivatives of a function
class Derivatives(NamedTuple):
    """How a function of tensors is differentiated, in both modes.

    Attributes:
        setup: ``(ctx, inputs, output)`` keeps what is needed.
        backward: ``(ctx, *gradients)`` of the outputs -> a gradient for each input.
        jvp: ``(ctx, *tangents)`` of the inputs -> a tangent for each output.
    """

    setup: Callable[..., None]
    backward: Callable[..., Any]
    jvp: Callable[..., Any]

    def of(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """``call`` with these derivatives; its first argument is none of the inputs."""

        def forward(ctx: Any, first: Any, *inputs: Any) -> Any:
            output = call(first, *inputs)
            self.setup(ctx, inputs, output)
            return output

        members = {
            "forward": staticmethod(forward),
            "backward": staticmethod(lambda ctx, *gradients: (None, *self.backward(ctx, *gradients))),
            "jvp": staticmethod(lambda ctx, _, *tangents: nested(self.jvp)(ctx, *tangents)),
        }
        return _apply_of(type(name, (torch.autograd.Function,), members))


def nested(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """A Function's ``jvp``, in which PyTorch has turned forward mode off, for forward modes outside of it."""

    @wraps(jvp)
    def differentiable(ctx: Any, *tangents: Any) -> Any:
        with _set_fwd_grad_enabled(True):
            return jvp(ctx, *tangents)

    return differentiable


def saved_primals(ctx: Any) -> tuple[Any, ...]:
    """What a ``jvp`` reads of saved tensors: without their tangents, which it is given."""
    return tuple([t if t is None else forward_ad.unpack_dual(t).primal for t in ctx.saved_tensors])


def _apply_of(function: type[torch.autograd.Function]) -> Any:
    # ``apply`` of the class itself inspects the signature of ``forward`` anew in each call, for functorch's
    # sake, which costs more than a kernel does on short rows.
    return super(torch.autograd.Function, function).apply  # type: ignore[misc]  # of a base written in C++


def register_derivatives(operator: Any, derivatives: Derivatives) -> None:
    """Make an operator differentiable, under transforms of ``torch.func`` and in compiled code alike.

    :func:`torch.library.register_autograd` has no forward mode, so that tangents are zero in silence, and
    is refused by ``torch.func.grad`` (torch 2.13).
    """

    def below(keyset: Any, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)

    def inside(keyset: Any, *arguments: Any) -> Any:
        # A Function turns both modes off in its forward, where transforms outside of this one want them.
        with torch.enable_grad(), _set_fwd_grad_enabled(True):
            return below(keyset, *arguments)

    differentiable = derivatives.of(inside, operator._opname)

    def call(keyset: Any, *arguments: Any) -> Any:
        if (
            (torch.is_grad_enabled() and any([isinstance(a, Tensor) and a.requires_grad for a in arguments]))
            or forward_ad._current_level >= 0
            or torch._C._are_functorch_transforms_active()
        ):
            with enable_single_level_autograd_function():  # dispatcher and transforms have unwrapped tensors
                return differentiable(keyset, *arguments)
        return below(keyset, *arguments)

    library.impl(operator._opname, call, "Autograd", with_keyset=True)


# ------------------------------------------------------------------ solvers
@dataclass(frozen=True, eq=False)
class Solver:
    """An operator on the last dimension with the product of its Jacobian."""

    name: str
    file: str
    operator: Callable[..., Any]
    product: Callable[..., Tensor]
    dx_dparams: tuple[ParamDerivative | None, ...]
    plain: Callable[..., Tensor] | None
    penalty_slope: Callable[..., Tensor] | None
    structured: bool

    @property
    def derivatives(self) -> Derivatives:
        return Derivatives(partial(_setup, self), _backward, _jvp)

    def kernel(self, scores: Tensor, mask: Tensor | None, *parameters: Any) -> Any:
        return load_kernel(device_type(scores), self.file, self.name)(scores, mask, *parameters)

    def output(self, *arguments: Any) -> Any:
        """What the operator returns: no structure that only spares a product the search for a support."""
        output = self.kernel(*arguments)
        return output[0] if isinstance(output, tuple) and not self.structured else output

    @cached_property
    def differentiable(self) -> Callable[..., Any]:
        """The kernel with derivatives, those by strengths included."""
        return self.derivatives.of(lambda _, *arguments: self.output(*arguments), self.name)

    def batched(
        self, info: Any, in_dims: tuple[Any, ...], scores: Tensor, *arguments: Any
    ) -> tuple[Any, Any]:
        """The operator under vmap: a dimension more of the same rows."""
        output = self.operator(*_batch(info, in_dims, scores, *arguments))
        return output, (0, 0) if isinstance(output, tuple) else 0

    def registered(self, scores: Tensor, mask: Tensor | None, *parameters: Any) -> Any:
        """Through the dispatcher, where every strength is a tensor."""
        tensors = (
            p if derivative is None or isinstance(p, Tensor) else scores.new_full((), p, dtype=torch.float64)
            for p, derivative in zip(parameters, self.dx_dparams, strict=True)
        )
        return self.operator(scores, mask, *tensors)


def solve_along(solver: Solver, scores: Tensor, dim: int, mask: Tensor | None, *parameters: Any) -> Tensor:
    """Values of ``solver`` on every slice along ``dim``, by the cheapest path that the tensors allow."""
    if dim not in (-1, scores.ndim - 1):
        if mask is not None:
            mask = mask.expand(scores.shape).movedim(dim, -1)
        moved = (to_last(p, dim, scores.ndim) for p in parameters)
        return solve_along(solver, scores.movedim(dim, -1), -1, mask, *moved).movedim(-1, dim)
    learnable = any([isinstance(p, Tensor) for p in parameters])  # a list: on short rows a generator shows
    if learnable and scores.dtype in _HALF:
        # ∂x/∂θ tells groups by their weights, and rounded weights may agree by chance
        return solve_along(solver, scores.float(), -1, mask, *parameters).to(scores.dtype)
    if torch.compiler.is_compiling():
        if solver.plain is not None and torch.onnx.is_in_onnx_export():
            return solver.plain(scores, mask, *parameters)
        output = solver.registered(scores, mask, *parameters)
    elif not can_call_kernel(scores):
        if torch._C._get_tracing_state() is not None:
            raise ValueError(f"{solver.name} must be exported by torch.export, got torch.jit.trace")
        if _is_dtensor(scores):
            _register_sharding()
        output = solver.registered(scores, mask, *parameters)
    elif learnable:
        output = solver.differentiable(None, scores, mask, *parameters)
    elif torch.is_grad_enabled() and scores.requires_grad:
        return _apply_backward_only(scores, (solver, mask, parameters))
    else:
        output = solver.kernel(scores, mask, *parameters)
    return output[0] if isinstance(output, tuple) else output


def to_last(strength: Any, dim: int, ndim: int) -> Any:
    """A strength for scores of ``ndim`` dimensions, whose ``dim`` has been moved to the end."""
    if not isinstance(strength, Tensor):
        return strength
    return strength.reshape(*[1] * (ndim - strength.ndim), *strength.shape).movedim(dim, -1)


_IN_PLAIN_OPERATORS: list[str] = []
"""Names of the solvers that ONNX can have."""


def define_solver(
    name: str,
    parameters: dict[str, ParamDerivative | str],
    product: Callable[..., Tensor],
    *,
    structured: bool,
    file: str = "",
    plain: Callable[..., Tensor] | None = None,
    penalty_slope: Callable[..., Tensor] | None = None,
) -> Solver:
    """Register ``regattn::name(Tensor scores, Tensor? mask, parameters)``.

    Args:
        name: of the operator, and of the function with its kernel.
        parameters: for each parameter ∂x/∂θ if it is a strength, else its type in schema language. A
            derivative is ``(solution, *parameters) -> Tensor``, as :meth:`Solution.along` has it.
        product: ``(found, direction, *parameters) -> J @ direction``, where ``found`` is the
            structure if there is one, else the values, or both of them if a kernel has left a structure.
        structured: whether the solver also returns a structure.
        file: in ``kernels/cpu`` and ``kernels/cuda``; called like the operator if "".
        plain: the same in operators that ONNX has, ``(scores, mask, *parameters) -> values``.
        penalty_slope: ``(scores, mask, values, structure, product)``, for :class:`Solution`.
    """
    file = file or name
    qualified = f"regattn::{name}"
    dx_dparams = tuple(None if isinstance(kind, str) else kind for kind in parameters.values())
    types = (kind if isinstance(kind, str) else "Tensor" for kind in parameters.values())
    signature = "".join(f", {kind} {key}" for key, kind in zip(parameters, types, strict=True))
    returns = "(Tensor, Tensor)" if structured else "Tensor"
    library.define(f"{name}(Tensor scores, Tensor? mask{signature}) -> {returns}")

    def fake(scores: Tensor, *_: Any) -> Any:
        load_kernel(scores.device.type, file, name)  # refuses a device without one while code is compiled
        if scores.device.type == "cuda":
            load_kernel("cuda", "", "check_length")(scores.shape[-1])
        if torch.onnx.is_in_onnx_export():  # and here, whichever of its ways of tracing the exporter tries
            able = ", ".join(["softmax", *_IN_PLAIN_OPERATORS])
            raise ValueError(f"a mapping exported to ONNX must be one of {able}, got {name}")
        values = torch.empty_like(scores, memory_format=torch.contiguous_format)
        if not structured:
            return values
        return values, room(values)

    def room(values: Tensor) -> Tensor:
        """For a structure; of no width where a device needs none but the values."""
        try:
            like = load_kernel(values.device.type, file, "structure_like")
        except ValueError:  # a file that leaves it to its folder
            like = load_kernel(values.device.type, "", "structure_like")
        return like(values)

    def solve(scores: Tensor, *arguments: Any) -> Any:
        """The kernel, with a structure as ``fake`` says it is, all of it written."""
        output = solver.output(scores, *arguments)
        if not structured:
            return output
        if isinstance(output, Tensor):
            return output, room(output)
        return output[0], load_kernel(device_type(scores), "groups", "whole")(output[1])

    load_kernel("cpu", file, name)  # now, before the process may be forked: see openmp.py
    operator = getattr(torch.ops.regattn, name).default
    solver = Solver(name, file, operator, product, dx_dparams, plain, penalty_slope, structured)
    if plain is not None:
        _IN_PLAIN_OPERATORS.append(name)
    torch.library.impl(qualified, ("CPU", "CUDA"), lib=library)(solve)
    torch.library.register_fake(qualified, fake, lib=library)
    register_derivatives(solver.operator, solver.derivatives)
    torch.library.register_vmap(qualified, solver.batched, lib=library)
    _ON_ROWS.append(solver.operator)
    return solver


_ON_ROWS: list[Any] = []
"""Operators whose rows are independent of each other."""


@cache
def _register_sharding() -> None:
    """Tell DTensor that shards of rows may be solved each by itself."""
    from torch.distributed.tensor.experimental import register_sharding

    for operator in _ON_ROWS:
        register_sharding(operator)(partial(_placements, len(operator._schema.returns)))


def _placements(outputs: int, first: Any, *others: Any) -> list[tuple[list[Any], list[Any]]]:
    """Where outputs and arguments may lie: whole everywhere, or sharded along a leading dimension."""
    from torch.distributed.tensor import Replicate, Shard

    def along(argument: Any, dim: int) -> Any:
        if not hasattr(argument, "placements"):
            return None
        sharded = len(argument.shape) >= -dim and argument.shape[dim] > 1  # else it broadcasts
        return Shard(len(argument.shape) + dim) if sharded else Replicate()

    leading = range(-len(first.shape), -1)
    inputs = [[along(a, dim) for a in (first, *others)] for dim in leading]
    inputs.append([Replicate() if hasattr(a, "placements") else None for a in (first, *others)])
    return [([each[0]] * outputs, each) for each in inputs]


# ------------------------------------------------------------------ derivatives, for all paths
@dataclass(eq=False)
class Solution:
    """What derivatives by strengths are made of.

    Attributes:
        product: J @ gradient in the backward pass, which needs ∂x/∂θ along it alone; None in forward mode.
        penalty_slope: ∂/∂y of what λ multiplies, on the support; as :meth:`along` has it. The solver's
            kernel left the structure that it is read off.
    """

    solver: Solver
    found: Tensor
    scores: Tensor
    mask: Tensor | None
    values: Tensor
    product: Tensor | None = None

    def along(self, u: Tensor) -> Tensor:
        """⟨product, u⟩ of each row in the backward pass, else u; outside the support it does not matter."""
        return u if self.product is None else torch.linalg.vecdot(self.product, u).unsqueeze(-1)

    @cached_property
    def penalty_slope(self) -> Tensor:
        assert self.solver.penalty_slope is not None
        inputs = self.scores.detach(), self.mask, self.values.detach(), self.found
        if self.product is not None and can_call_kernel(self.product) and not torch.is_grad_enabled():
            return self.solver.penalty_slope(*inputs, self.product)
        return self.along(self.solver.penalty_slope(*inputs, None))


def dx_dgamma(solution: Solution, gamma: Any, *_: Any) -> Tensor:
    """A mapping depends on x/γ alone; the maximum comes off, since a constant changes nothing."""
    scores, inside = solution.scores, solution.values > 0
    top = torch.where(inside, scores.detach(), -torch.inf).amax(-1, keepdim=True)
    return solution.along(torch.where(inside, top - scores, 0.0)) / gamma


def _setup(solver: Solver, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep what derivatives need: scores and values only if a strength may have one."""
    scores, mask, *parameters = inputs
    values, found = output if isinstance(output, tuple) else (output, output)
    if found.shape[-1] == 0:
        found = values
    tensors = [p if isinstance(p, Tensor) else None for p in parameters]
    learnable = any(t is not None for t in tensors)
    ctx.solver = solver
    ctx.parameters = [None if isinstance(p, Tensor) else p for p in parameters]
    saved = (found, *((scores, mask, values) if learnable else (None, None, None)), *tensors)
    ctx.save_for_backward(*saved)
    ctx.save_for_forward(*saved)
    ctx.set_materialize_grads(False)  # none for the structure
    ctx.structured = isinstance(output, tuple)
    if ctx.structured:
        ctx.mark_non_differentiable(output[1])


def _restore(ctx: Any, saved: tuple[Any, ...]) -> tuple[Solution, tuple[Any, ...]]:
    found, scores, mask, values, *tensors = saved
    parameters = (p if t is None else t for p, t in zip(ctx.parameters, tensors, strict=True))
    return Solution(ctx.solver, found, scores, mask, values), tuple(parameters)


def _backward(ctx: Any, gradient: Tensor | None, *_: object) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[3:]  # after keys of dispatch, scores and mask
    if gradient is None:
        return None, None, *(None for _ in wanted)
    solution, parameters = _restore(ctx, ctx.saved_tensors)
    product = solution.product = ctx.solver.product(solution.found, gradient, *parameters)
    gradients: list[Tensor | None] = [product, None]
    for parameter, derivative, want in zip(parameters, ctx.solver.dx_dparams, wanted, strict=True):
        if want and derivative is not None:
            pulled = derivative(solution, *parameters)
            gradients.append(pulled.sum_to_size(parameter.shape).to(parameter.dtype))
        else:
            gradients.append(None)
    return tuple(gradients)


def _jvp(ctx: Any, tangent: Tensor | None, _: None, *tangents: Tensor | None) -> Any:
    solution, parameters = _restore(ctx, saved_primals(ctx))
    moved = [] if tangent is None else [tangent]
    for step, derivative in zip(tangents, ctx.solver.dx_dparams, strict=True):
        if step is not None and derivative is not None:
            moved.append(step * derivative(solution, *parameters))
    direction = sum(moved[1:], moved[0])
    if solution.scores is not None:
        direction = direction.to(solution.scores.dtype)
    product = ctx.solver.product(solution.found, direction, *parameters)
    return (product, None) if ctx.structured else product


class _BackwardOnly(torch.autograd.Function):
    """The eager path where only scores have derivatives, and these are wanted by ``backward`` alone."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, problem: tuple[Solver, Tensor | None, tuple[Any, ...]]) -> Tensor:
        # one tuple, since each argument of a Function costs a microsecond, there and back
        solver, mask, parameters = problem
        ctx.rule = solver.product, parameters  # without the mask, which would be kept until then
        output = solver.kernel(scores, mask, *parameters)
        if not isinstance(output, tuple):
            ctx.save_for_backward(output)
            return output
        ctx.save_for_backward(*(output[1:] if solver.structured else output))
        return output[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        product, parameters = ctx.rule
        found = ctx.saved_tensors
        return product(found if len(found) > 1 else found[0], gradient, *parameters), None


_apply_backward_only = _apply_of(_BackwardOnly)


def _batch(info: Any, in_dims: tuple[Any, ...], scores: Tensor, *arguments: Any) -> tuple[Any, ...]:
    """The arguments of a solver with the batch dimension of vmap as the first one of the scores."""
    ndim = scores.ndim - (in_dims[0] is not None)
    aligned = (_align(a, at, ndim) for a, at in zip(arguments, in_dims[1:], strict=True))
    return _batch_first(scores, in_dims[0], info.batch_size), *aligned


def _batch_first(tensor: Tensor, at: int | None, size: int) -> Tensor:
    return tensor.expand(size, *tensor.shape) if at is None else tensor.movedim(at, 0)


def _align(argument: Any, at: int | None, ndim: int) -> Any:
    """Move a batch dimension in front of the ``ndim`` dimensions that the argument broadcasts to."""
    if at is None:
        return argument
    moved = argument.movedim(at, 0)
    return moved.reshape(moved.shape[0], *[1] * (ndim + 1 - moved.ndim), *moved.shape[1:])


def product_by_kernel(file: str, formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``formula(weights, direction, *parameters)`` for J @ direction by the kernel ``product`` of a file.

    That is called with the weights, or with these and a structure where the solver's kernel has left one.

    The formula itself, in operations that can be differentiated, serves where something is to come out of it.
    """

    def product(found: Any, direction: Tensor, *parameters: Any) -> Tensor:
        weights = found[0] if isinstance(found, tuple) else found
        tensors = [t for t in (weights, direction, *parameters) if isinstance(t, Tensor)]
        differentiable = torch.is_grad_enabled() and any([t.requires_grad for t in tensors])
        if can_call_kernel(direction) and can_call_kernel(weights) and not differentiable:
            kernel: Callable[..., Tensor] = load_kernel(device_type(weights), file, "product")
            return kernel(direction, found, *parameters)
        return formula(weights, direction, *parameters)

    return product


# ------------------------------------------------------------------ the one backward rule
def define_partition_solver(
    name: str,
    parameters: dict[str, ParamDerivative | str],
    *,
    on_simplex: bool,
    file: str = "",
    plain: Callable[..., Tensor] | None = None,
) -> Solver:
    """Register a solver, as :func:`define_solver` does, whose values and derivative are constant in groups.

    On the simplex the first parameter is γ, by which the derivative is divided; if λ is a strength, a kernel
    ``penalty_slope`` stands beside the solver's.
    """

    def product(structure: Tensor, direction: Tensor, *parameters: Any) -> Tensor:
        if not on_simplex:
            return group_average(direction, structure, 1.0, False)
        gamma = parameters[0]
        if not isinstance(gamma, Tensor):
            return group_average(direction, structure, 1.0 / gamma, True)
        if can_call_kernel(direction) and not torch.is_grad_enabled():
            return _average(direction, structure, 1.0 / gamma, True)
        return (group_average(direction, structure, 1.0, True) / gamma).to(direction.dtype)

    slope = _define_penalty_slope(name, file or name) if parameters.get("lam") is by_lam else None
    return define_solver(
        name, parameters, product, structured=True, file=file, plain=plain, penalty_slope=slope
    )


def by_gamma(solution: Solution, _: Any, lam: Any = 0.0) -> Tensor:
    """−x/γ, which on the support is −(y + λ·slope of the penalty), up to what a group or all of it share."""
    of_values = -solution.along(solution.values)
    return of_values if solution.solver.penalty_slope is None else of_values - lam * solution.penalty_slope


def by_lam(solution: Solution, gamma: Any, _: Any) -> Tensor:
    return -gamma * solution.penalty_slope


def _define_penalty_slope(name: str, file: str) -> Callable[..., Tensor]:
    """Register ``regattn::name_slope``, which is piecewise constant, so that it has no derivatives itself."""
    qualified = f"regattn::{name}_slope"
    tensors = "Tensor scores, Tensor? mask, Tensor values, Tensor structure, Tensor? product"
    library.define(f"{name}_slope({tensors}) -> Tensor")
    operator: Any = getattr(torch.ops.regattn, f"{name}_slope").default

    def by_kernel(scores: Tensor, *others: Any) -> Tensor:
        slope: Callable[..., Tensor] = load_kernel(device_type(scores), file, "penalty_slope")
        return slope(scores, *others)

    def fake(scores: Tensor, *others: Any) -> Tensor:
        like = scores if others[-1] is None else scores[..., :1]
        return torch.empty_like(like, memory_format=torch.contiguous_format)

    def batched(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return operator(*_batch(info, in_dims, *arguments)), 0

    torch.library.impl(qualified, ("CPU", "CUDA"), lib=library)(by_kernel)
    torch.library.register_fake(qualified, fake, lib=library)
    none = Derivatives(
        setup=lambda ctx, inputs, output: ctx.mark_non_differentiable(output),
        backward=lambda ctx, _: (None,) * 5,
        jvp=lambda ctx, *_: None,
    )
    register_derivatives(operator, none)
    torch.library.register_vmap(qualified, batched, lib=library)
    _ON_ROWS.append(operator)
    return lambda scores, *others: (by_kernel if can_call_kernel(scores) else operator)(scores, *others)


library.define("group_average(Tensor direction, Tensor structure, float scale, bool centre) -> Tensor")
_group_average = torch.ops.regattn.group_average.default
_ON_ROWS.append(_group_average)


def group_average(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
    """The one backward rule: average inside groups, less the mean over all groups if ``centre``.

    Where a solution is constant inside groups of positions, so is its derivative: the Jacobian averages
    a direction inside each group, after taking its mean over the support off if the solution is held on
    the simplex. The solvers return the groups as integers, because integers do not round.

    Args:
        direction: floating (…, d).
        structure: of the solution, as its solver returned it.
        scale: factor of the result, 1/γ for a mapping.
        centre: whether the groups lie on the simplex, whose tangent vectors sum to 0.

    Returns:
        J @ direction. J is symmetric, so this is the product on either side.

    Source: Niculae & Blondel (2017), propositions 2 and 3; the same rule for both.
    """
    if can_call_kernel(direction) and not (torch.is_grad_enabled() and direction.requires_grad):
        return _average(direction, structure, scale, centre)
    averaged: Tensor = _group_average(direction, structure, scale, centre)
    return averaged


def _average(direction: Tensor, structure: Tensor, scale: float | Tensor, centre: bool) -> Tensor:
    average: Callable[..., Tensor] = load_kernel(device_type(direction), "groups", "group_average")
    return average(direction, structure, scale, centre)


torch.library.impl("regattn::group_average", ("CPU", "CUDA"), lib=library)(_average)


@torch.library.register_fake("regattn::group_average", lib=library)
def _fake_average(direction: Tensor, structure: Tensor, scale: float, centre: bool) -> Tensor:
    return torch.empty_like(direction, memory_format=torch.contiguous_format)


def _setup_average(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, structure, ctx.scale, ctx.centre = inputs
    ctx.save_for_backward(structure)
    ctx.save_for_forward(structure)


def _jvp_average(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
    return group_average(tangent, ctx.saved_tensors[0], ctx.scale, ctx.centre)


def _backward_average(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return _jvp_average(ctx, gradient), None, None, None  # linear and symmetric


register_derivatives(_group_average, Derivatives(_setup_average, _backward_average, _jvp_average))


def _batch_average(
    info: Any, in_dims: tuple[Any, ...], direction: Tensor, structure: Tensor, scale: float, centre: bool
) -> tuple[Tensor, int]:
    direction = _batch_first(direction, in_dims[0], info.batch_size)
    structure = _batch_first(structure, in_dims[1], info.batch_size)
    return group_average(direction, structure, scale, centre), 0


torch.library.register_vmap("regattn::group_average", _batch_average, lib=library)
