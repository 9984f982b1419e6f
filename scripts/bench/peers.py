"""Other packages that solve the same problems; each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Calls(NamedTuple):
    """The two calls that are timed: weights alone, and weights with the gradient of the scores.

    ``forward`` returns the weights and ``both`` the gradient, as whatever arrays the package works on.
    """

    forward: Callable[[], Any]
    both: Callable[[], Any]


Bind = Callable[[Tensor, Tensor], Calls]


def torch_calls(function: Callable[[Tensor], Tensor]) -> Bind:
    """The calls of anything that works on tensors and through autograd."""

    def bind(scores: Tensor, gradient: Tensor) -> Calls:
        def forward() -> Tensor:
            with torch.no_grad():
                return function(scores)

        def both() -> Tensor | None:
            scores.grad = None
            function(scores).backward(gradient)
            return scores.grad

        return Calls(forward, both)

    return bind


@dataclass(frozen=True)
class Peer:
    """A function of another package.

    Args:
        name: as the tables call it.
        package: its distribution.
        family: our mapping that solves the same problem, "" for none.
        load: imports the package and returns the calls for a strength, which may be None.
        says: what is computed, and how.
    """

    name: str
    package: str
    family: str
    load: Callable[[float | None], Bind]
    says: str


def _entmax(function: str, lam: float | None) -> Bind:
    import entmax

    return torch_calls(partial(getattr(entmax, function), dim=-1))


def _jaxopt(lam: float | None) -> Bind:
    import jax
    from jaxopt.projection import projection_simplex

    project = jax.vmap(projection_simplex)

    @jax.jit
    def with_gradient(scores: Any, gradient: Any) -> Any:
        weights, back = jax.vjp(project, scores)
        return weights, back(gradient)[0]

    compiled = jax.jit(project)

    def bind(scores: Tensor, gradient: Tensor) -> Calls:
        if scores.is_cuda and jax.default_backend() != "gpu":
            raise RuntimeError("this jax knows no CUDA device")
        # Its own arrays, made before the clock starts: a program in jax has no tensors to convert.
        x, g = (jax.device_put(t.detach().cpu().numpy()) for t in (scores, gradient))
        return Calls(
            lambda: compiled(x).block_until_ready(),
            lambda: jax.block_until_ready(with_gradient(x, g))[1],
        )

    return bind


class _RowsOfProxTV(torch.autograd.Function):
    """prox_tv's total-variation proximal operator, with the mean over equal neighbours as its derivative."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, lam: float) -> Tensor:
        import prox_tv

        rows = scores.detach().double().numpy()
        smooth = np.stack([prox_tv.tv1_1d(row, lam) for row in rows])
        # One number for each stretch of equal values, counted through all rows.
        new = np.ones(smooth.shape, dtype=bool)
        new[:, 1:] = smooth[:, 1:] != smooth[:, :-1]
        ctx.stretch = torch.from_numpy(new.ravel().cumsum() - 1)
        return torch.from_numpy(smooth).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        flat = gradient.reshape(-1)
        size = torch.bincount(ctx.stretch)
        total = torch.zeros(len(size), dtype=flat.dtype).index_add_(0, ctx.stretch, flat)
        return (total / size)[ctx.stretch].reshape(gradient.shape), None


def _prox_tv(lam: float | None) -> Bind:
    import entmax
    import prox_tv  # noqa: F401 — so that its absence is known before the race

    return torch_calls(lambda scores: entmax.sparsemax(_RowsOfProxTV.apply(scores, lam), dim=-1))


def _torchsort(lam: float | None) -> Bind:
    import entmax
    import torchsort

    if not lam:
        raise RuntimeError("its soft rank divides by lam, which is 0")

    def oscarmax(scores: Tensor) -> Tensor:
        rank = torchsort.soft_rank(scores, regularization="l2", regularization_strength=lam)
        return entmax.sparsemax(scores - lam * rank, dim=-1)

    return torch_calls(oscarmax)


PEERS = (
    Peer(
        "entmax.sparsemax",
        "entmax",
        "sparsemax",
        partial(_entmax, "sparsemax"),
        "the same problem, exactly, by sorting",
    ),
    Peer(
        "entmax.sparsemax_bisect",
        "entmax",
        "sparsemax",
        partial(_entmax, "sparsemax_bisect"),
        "the same problem by 50 bisections, normalized afterwards",
    ),
    Peer(
        "entmax.entmax15",
        "entmax",
        "",
        partial(_entmax, "entmax15"),
        "another mapping (1.5-entmax, Ω of Tsallis), exactly, by sorting: for the price, not for comparison",
    ),
    Peer(
        "jaxopt.projection_simplex",
        "jaxopt",
        "sparsemax",
        _jaxopt,
        "the same problem by sorting, vmapped and compiled by jax, on jax's own arrays and threads",
    ),
    Peer(
        "prox_tv + entmax",
        "prox_tv",
        "fusedmax",
        _prox_tv,
        "the same problem: prox_tv.tv1_1d row by row in float64 (it has no batches and no gradient; ours is "
        "the mean over equal neighbours), then entmax.sparsemax",
    ),
    Peer(
        "torchsort + entmax",
        "torchsort",
        "oscarmax",
        _torchsort,
        "the same problem: torchsort has no oscarmax, but its soft rank is a projection on the "
        "permutahedron, so that entmax.sparsemax(x − λ·soft_rank(x, 'l2', λ)) is one",
    ),
)
