"""The GPU kernels where there is no GPU: compiled by Triton as for one, and run by :mod:`tests.regattn.ptx`.

``python -m tests.regattn.emulation compile|run`` reads a JSON list of cases and writes a line for each, in a
process of its own: once Triton is imported, it is settled what it works for.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import numpy as np
import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import regattn
from regattn import MAPPINGS, _autograd, _softmax
from tests import oracles
from tests.mappings import STRENGTHS, weights_and_gradient
from tests.regattn.ptx import Machine


class NoGpu:
    """What Triton asks of a driver before it compiles, for compute capability 9.0."""

    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_current_target = staticmethod(lambda: GPUTarget("cuda", int(os.environ.get("CAPABILITY", 90)), 32))


driver.set_active(NoGpu())
torch.cuda.current_device = lambda: 0

from regattn.kernels import cuda  # noqa: E402

Launch = Callable[[Any, tuple[int], Sequence[Any], dict[str, Any]], None]
DTYPES = {str(t)[6:]: t for t in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}
SOLVERS = {"softmax": _softmax.solve_softmax} | {n: s.solver for n, s in MAPPINGS.items() if s.solver}


def _softmax_by_its_kernel(scores: Tensor, mask: Tensor | None = None, gamma: float = 1.0) -> Tensor:
    return _autograd.solve_along(_softmax.solve_softmax, scores, -1, mask, gamma)


def mappings() -> dict[str, Callable[..., Tensor]]:
    """Those that have a kernel here, as functions of scores and a mask."""
    found = {}
    for name, solver in SOLVERS.items():
        try:
            _autograd.load_kernel("cuda", solver.file, solver.name)
        except ValueError:
            continue
        function = _softmax_by_its_kernel if name == "softmax" else MAPPINGS[name].function
        found[name] = partial(function, **STRENGTHS[name])
    return found


# ------------------------------------------------------------------ launches
def compiled_only(record: Callable[[Any, Any], None]) -> Launch:
    def launch(kernel: Any, grid: tuple[int], arguments: Sequence[Any], constants: dict[str, Any]) -> None:
        record(kernel, cuda.compile_kernel(kernel, arguments, constants))

    return launch


def emulated(record: Callable[[Any, Machine], None] = lambda *_: None) -> Launch:
    def launch(kernel: Any, grid: tuple[int], arguments: Sequence[Any], constants: dict[str, Any]) -> None:
        form = cuda.compile_kernel(kernel, arguments, constants)
        flat = [*_flat(arguments)]
        memory = {t.untyped_storage().data_ptr(): _bytes(t) for t in flat if isinstance(t, Tensor)}
        numbers = [t.data_ptr() if isinstance(t, Tensor) else t for t in flat]
        numbers += [0, 0]  # memory that Triton may ask for, and no kernel here does
        machine = Machine(
            form.asm["ptx"], numbers, memory, form.metadata.shared, form.metadata.num_warps, *grid
        )
        machine.run()
        record(kernel, machine)

    return launch


def _flat(arguments: Sequence[Any]) -> Iterator[Any]:
    for a in arguments:
        if isinstance(a, tuple):
            yield from _flat(a)
        elif a is not None:
            yield a


def _bytes(tensor: Tensor) -> Any:
    storage = tensor.untyped_storage()
    return np.frombuffer((ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr()), np.uint8)


@contextmanager
def on_gpu(launch: Launch) -> Iterator[None]:
    """Tensors on the CPU go to the kernels of the GPU, and their launches to ``launch``."""
    before, load = cuda._launch, _autograd.load_kernel
    _autograd.load_kernel = cache(lambda _, *name: load("cuda", *name))
    cuda._launch = launch
    try:
        yield
    finally:
        cuda._launch, _autograd.load_kernel = before, load


# ------------------------------------------------------------------ cases
def scores_of_every_kind(d: int, seed: int) -> Tensor:
    """Rows of every kind, dyadic ones, such as no screening shortens, so that long ones are left to a second
    launch, and such as hold −inf, +inf, NaN, or nothing; float64."""
    rng = np.random.default_rng((d, seed))
    kinds = [kind(rng, 1, d) for kind in oracles.KINDS] + [rng.integers(-64, 64, (1, d)) / 64]
    kinds += [oracles.adversarial(d)[name][None] for name in ("close", "walk")]
    x = torch.from_numpy(np.concatenate(kinds))
    odd = x[:4].clone()
    odd[0, ::3], odd[1, d // 2], odd[2, d - 1], odd[3] = -torch.inf, torch.inf, torch.nan, -torch.inf
    return torch.cat([x, odd])


def compare(mapping: str, d: int, dtype: str, masked: bool, seed: int = 0) -> dict[str, Any]:
    """Weights and derivative of a mapping in PTX with those of the CPU in float64, each over its limit."""
    kind, function = DTYPES[dtype], mappings()[mapping]
    x = scores_of_every_kind(d, seed).to(kind)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(kind)
    mask = None
    if masked:
        mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) > 0.2
        mask[1] = False
    exact, slope = weights_and_gradient(function, x.double(), direction.double(), mask=mask)
    slope_of_penalty, leaf = SOLVERS[mapping].penalty_slope, x.clone().requires_grad_()
    slopes: list[Tensor] = []
    with on_gpu(emulated()):
        y = function(leaf, mask=mask)
        (structure,) = y.grad_fn.saved_tensors  # type: ignore[union-attr]
        (g,) = torch.autograd.grad(y, leaf, direction)
        y = y.detach()
        if slope_of_penalty is not None:
            slopes = [slope_of_penalty(x, mask, y, structure, product) for product in (None, g)]
    invalid = exact.isnan().all(-1)
    assert (y.isnan() == exact.isnan()).all() and (g.isnan().all(-1) == invalid).all(), "NaN elsewhere"
    finite = torch.where(x.isfinite(), x.double(), 0.0)
    strengths = STRENGTHS[mapping]
    scale = ((finite.amax(-1) - finite.amin(-1)) / strengths["gamma"]).clamp(
        min=max(1.0, strengths.get("lam", 0.0) * d)
    )
    eps = torch.finfo(kind).eps if kind == torch.float64 else torch.finfo(torch.float32).eps
    rounding = torch.finfo(kind).eps if kind.itemsize == 2 else 0.0
    limit = (8 * eps * scale).unsqueeze(-1) + rounding * exact.nan_to_num(0.0)
    limit += torch.finfo(kind).smallest_normal
    weights = ((y.double() - exact).abs() / limit).nan_to_num(0.0).max()
    if mask is not None:
        assert (y.masked_select(~mask & ~invalid.unsqueeze(-1)) == 0).all(), "a weight under the mask"
    smooth = slice(0, 1)  # elsewhere two derivatives may be right
    bound = 64 * max(eps, rounding / 4) * scale.unsqueeze(-1) / strengths["gamma"]
    gradient = ((g.double() - slope).abs() / bound)[smooth].max()
    if slope_of_penalty is not None:
        each, total = (slope_of_penalty(x, mask, y, structure, product) for product in (None, g))
        assert torch.equal(slopes[0][y > 0], each[y > 0]), "another slope of the penalty"
        size = (each.double() * g.double()).nan_to_num().abs().sum(-1, keepdim=True)
        assert (slopes[1].isnan() == total.isnan()).all(), "NaN in another slope"
        off = (slopes[1].double() - total.double()).abs().nan_to_num()
        assert (off <= (8 * eps + rounding) * size).all(), "another slope along the gradient"
    return {"weights": float(weights), "gradient": float(gradient)}


def compile_all(mapping: str, d: int, dtype: str, masked: bool) -> dict[str, Any]:
    """Compile what a mapping needs, forward and backward; seconds by kernel."""
    seconds: dict[str, float] = {}
    before = time.perf_counter()

    def record(kernel: Any, form: Any) -> None:
        nonlocal before
        assert ".target sm_" in form.asm["ptx"]
        now = time.perf_counter()
        seconds[kernel.__name__], before = round(now - before, 2), now

    x = torch.zeros(4, d, dtype=DTYPES[dtype], requires_grad=True)
    mask = torch.ones(4, d, dtype=torch.bool) if masked else None
    with on_gpu(compiled_only(record)):
        y = mappings()[mapping](x, mask=mask)
        (structure,) = y.grad_fn.saved_tensors  # type: ignore[union-attr]
        torch.autograd.grad(y, x, torch.zeros_like(y))
        slope = SOLVERS[mapping].penalty_slope
        if slope is not None:
            slope(x, mask, y.detach(), structure, x)
    return seconds


def main() -> None:
    work = {"compile": compile_all, "run": compare}[sys.argv[1]]
    print(json.dumps({"triton": triton.__version__, "regattn": regattn.__version__}), flush=True)
    for case in json.load(sys.stdin):
        print(json.dumps(work(*case)), flush=True)


if __name__ == "__main__":
    main()
