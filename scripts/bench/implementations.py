"""What is timed: torch.softmax as the baseline, ours, other packages and a plain copy; and do they agree?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

import regattn
from regattn._registry import MAPPINGS

BASELINE = "torch.softmax"
MEMCPY = "copy of the same bytes"
NOT_A_NUMBER = 1e9  # stands for NaN and infinite differences, which JSON has no word for
# Of a batch, so many rows are compared; of them, this share may have another gradient: where a score sits on
# the edge of the support, rounding may decide on which side.
ROWS, ROWS_OFF = 4096, 0.01
# Largest difference of a weight and of a gradient's entry.
TOLERANCES = {torch.float32: (1e-5, 1e-2), torch.float64: (1e-10, 1e-8)}
COARSE = (2e-2, 2e-1)


class Calls(NamedTuple):
    """The two calls that are timed: weights alone, and weights with the gradient of the scores.

    ``forward`` returns the weights and ``both`` the gradient, as whatever arrays the package works on.
    """

    forward: Callable[[], Any]
    both: Callable[[], Any]


Bind = Callable[[Tensor, Tensor], Calls]


@dataclass(frozen=True)
class Implementation:
    """One way to compute a mapping."""

    name: str  # as the tables call it; unique
    kind: Literal["baseline", "memcpy", "ours", "other"]
    mapping: str  # ours that solves the same problem; "" for none
    load: Callable[[float | None], Bind]  # imports what it needs; from λ to how calls are made
    note: str = ""  # what it computes and how, where the name does not say it
    package: str = ""  # the distribution of another package
    lam: float | None = None  # of the mappings that have one

    @cached_property
    def bind(self) -> Bind:
        """Scores (a leaf) and the gradient of the weights to the two calls."""
        return self.load(self.lam)

    @property
    def function(self) -> partial[Tensor]:
        """Our function for the same problem."""
        return our_function(self.mapping, self.lam)


def our_function(mapping: str, lam: float | None = None) -> partial[Tensor]:
    """A mapping of ours with its default strengths, but ``lam`` where it is given."""
    spec = MAPPINGS[mapping]
    return partial(spec.function, **{**spec.defaults, **({} if lam is None else {"lam": lam})})


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


def candidates(
    device: torch.device,
    dtype: torch.dtype,
    implementations: Iterable[Implementation],
    lam: float | None = None,
) -> tuple[list[Implementation], dict[str, str]]:
    """Those that answer a small question on ``device``, and why others do not; nobody else is imported."""
    found, skipped = [], {}
    for implementation in implementations:
        strengths = MAPPINGS[implementation.mapping].defaults if implementation.mapping else {}
        if "lam" in strengths:
            implementation = replace(implementation, lam=strengths["lam"] if lam is None else lam)
        reason = _refusal(implementation, device, dtype)
        if reason and implementation.kind != "baseline":
            skipped[implementation.name] = reason
        else:
            found.append(implementation)
    return found, skipped


def _refusal(implementation: Implementation, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why it cannot take part, or None: not installed, or any error of another package."""
    scores = torch.linspace(-1, 1, 16).reshape(2, 8).to(device, dtype)
    try:
        calls = implementation.bind(scores.requires_grad_(), torch.ones_like(scores))
        calls.forward()
        calls.both()
    except Exception as error:
        return (str(error).strip() or type(error).__name__).split("\n")[0]
    return None


# ------------------------------------------------------------------ is it the same answer?
def check_agreement(
    implementations: Sequence[Implementation], scores: Tensor, gradient: Tensor, where: str
) -> dict[str, dict[str, Any]]:
    """Compare weights and gradients with our own in float64, before anything is timed."""
    wanted: dict[str, tuple[Tensor, Tensor]] = {}
    found = {}
    for implementation in implementations:
        if implementation.mapping:
            if implementation.mapping not in wanted:
                leaf = _first_rows(scores).requires_grad_()
                weights = implementation.function(leaf)
                weights.backward(_first_rows(gradient))
                assert leaf.grad is not None
                wanted[implementation.mapping] = weights.detach(), leaf.grad
            calls = implementation.bind(scores, gradient)
            answer = _first_rows(calls.forward()), _first_rows(calls.both())
            found[implementation.name] = {
                "against": f"regattn.{implementation.mapping} in float64",
                **_compare(answer, wanted[implementation.mapping], tolerances(implementation, scores)),
                "where": where,
            }
    return found


def tolerances(implementation: Implementation, scores: Tensor) -> tuple[float, float]:
    """Of weights, and of a gradient's entries.

    What is added to the scores is rounded with them: OSCAR adds up to λd, total variation up to 2λ.
    """
    weights, gradient = TOLERANCES.get(scores.dtype, COARSE)
    added = (implementation.lam or 0.0) * (scores.shape[-1] if implementation.mapping == "oscarmax" else 1)
    return weights * max(1.0, added), gradient


def _compare(
    found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], limits: tuple[float, float]
) -> dict[str, Any]:
    weights, gradients = ((f - w).abs().amax(-1) for f, w in zip(found, wanted, strict=True))
    # Written so that NaN is a disagreement.
    off = 1 - float((gradients <= limits[1]).double().mean())
    largest = _finite(weights.max())
    return {
        "weights": largest,
        "tolerance": limits[0],
        "gradient_rows_off": off,
        "rows": len(weights),
        "agrees": largest <= limits[0] and off <= ROWS_OFF,
    }


def worst(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several checks of one implementation in one: the largest difference by its tolerance."""
    return {
        **max(checks, key=lambda check: check["weights"] / check["tolerance"]),
        "gradient_rows_off": max(check["gradient_rows_off"] for check in checks),
        "rows": sum(check["rows"] for check in checks),
        "agrees": all(check["agrees"] for check in checks),
    }


def error_of(implementation: Implementation, scores: Tensor, weights: Any) -> dict[str, float]:
    """How far from right: ours by the certificate, which asks no solver; others by ours in float64.

    The certificate takes weights that differ by rounding alone for different groups, which ours never has.
    """
    scores, weights, ours = _first_rows(scores), _first_rows(weights), implementation.function
    if implementation.kind == "ours":
        return {"violation": _finite(regattn.certify(scores, weights, ours.func, **ours.keywords).max())}
    return {"difference": _finite((weights - ours(scores)).abs().max())}


def _first_rows(array: Any) -> Tensor:
    tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
    return tensor.detach()[:ROWS].cpu().double()


def _finite(value: Tensor) -> float:
    """JSON knows no infinity; NaN weights are as wrong as can be."""
    return min(NOT_A_NUMBER, float(value.nan_to_num(nan=NOT_A_NUMBER, posinf=NOT_A_NUMBER)))


# ------------------------------------------------------------------ other packages, imported when loaded
def _load_entmax(function: str, lam: float | None) -> Bind:
    import entmax

    return torch_calls(partial(getattr(entmax, function), dim=-1))


def _load_jaxopt(lam: float | None) -> Bind:
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
        # Its own arrays, made before anything is timed: a program in jax has no tensors to convert.
        x, g = (jax.device_put(t.detach().cpu().numpy()) for t in (scores, gradient))
        return Calls(
            lambda: compiled(x).block_until_ready(), lambda: jax.block_until_ready(with_gradient(x, g))[1]
        )

    return bind


class _ProxTVRows(torch.autograd.Function):
    """prox_tv's total-variation proximal operator, with the mean over equal neighbours as its derivative."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, lam: float) -> Tensor:
        import prox_tv

        smooth = np.stack([prox_tv.tv1_1d(row, lam) for row in scores.detach().double().numpy()])
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


def _load_prox_tv(lam: float | None) -> Bind:
    import entmax
    import prox_tv  # noqa: F401 — so that its absence is known before anything is timed

    return torch_calls(lambda scores: entmax.sparsemax(_ProxTVRows.apply(scores, lam), dim=-1))


def _load_torchsort(lam: float | None) -> Bind:
    import entmax
    import torchsort

    if not lam:
        raise RuntimeError("its soft rank divides by lam, which is 0")

    def oscarmax(scores: Tensor) -> Tensor:
        rank = torchsort.soft_rank(scores, regularization="l2", regularization_strength=lam)
        return entmax.sparsemax(scores - lam * rank, dim=-1)

    return torch_calls(oscarmax)


def _load_ours(mapping: str, lam: float | None) -> Bind:
    return torch_calls(our_function(mapping, lam))


def _load_memcpy(lam: float | None) -> Bind:
    """Copies that move as many bytes as a mapping must.

    Forward: scores in, weights out. Backward: weights and their gradient in, the scores' gradient out.
    """

    def bind(scores: Tensor, gradient: Tensor) -> Calls:
        count = scores.numel()
        source = torch.ones(count * 5 // 2, dtype=scores.dtype, device=scores.device)
        target = torch.empty_like(source)
        return Calls(lambda: target[:count].copy_(source[:count]), lambda: target.copy_(source))

    return bind


# Ours are the mappings whose answers a certificate can check.
OURS = [name for name, spec in MAPPINGS.items() if spec.certificate]
IMPLEMENTATIONS = (
    Implementation(BASELINE, "baseline", "softmax", lambda _: torch_calls(partial(torch.softmax, dim=-1))),
    Implementation(MEMCPY, "memcpy", "", _load_memcpy, "what reading and writing as many bytes takes"),
    *(Implementation(f"regattn.{name}", "ours", name, partial(_load_ours, name)) for name in OURS),
    Implementation(
        "entmax.sparsemax", "other", "sparsemax", partial(_load_entmax, "sparsemax"),
        "the same problem, exactly, by sorting", "entmax",
    ),
    Implementation(
        "entmax.sparsemax_bisect", "other", "sparsemax", partial(_load_entmax, "sparsemax_bisect"),
        "the same problem by 50 bisections, normalized afterwards", "entmax",
    ),
    Implementation(
        "entmax.entmax15", "other", "entmax15", partial(_load_entmax, "entmax15"),
        "the same problem, exactly, by sorting", "entmax",
    ),
    Implementation(
        "jaxopt.projection_simplex", "other", "sparsemax", _load_jaxopt,
        "the same problem by sorting, vmapped and compiled by jax, on jax's own arrays and threads", "jaxopt",
    ),
    Implementation(
        "prox_tv + entmax", "other", "fusedmax", _load_prox_tv,
        "the same problem: prox_tv.tv1_1d row by row in float64 (it has no batches and no gradient; ours is "
        "the mean over equal neighbours), then entmax.sparsemax", "prox_tv",
    ),
    Implementation(
        "torchsort + entmax", "other", "oscarmax", _load_torchsort,
        "the same problem: torchsort has no oscarmax, but its soft rank is a projection on the "
        "permutahedron, so that entmax.sparsemax(x − λ·soft_rank(x, 'l2', λ)) is one", "torchsort",
    ),
)  # fmt: skip
