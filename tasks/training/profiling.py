"""What training costs: the share of a step spent in the mapping, and the memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from tasks.training.state import get_rng_state, set_rng_state
from tasks.training.task import Batch, Task

Call = tuple[tuple[Any, ...], dict[str, Any]]

REPEATS = 3


def mapping_share(task: Task[Batch], module: nn.Module, batches: int = 20) -> float:
    """Measure the share of a training step that passes in ``module``, the attention's mapping: about 0 to 1.

    A step is forward and backward on one of the first epoch's batches, without the update. What the module
    was given in it is kept, and forward and backward of the module alone are timed on that. Both are medians
    of a few repetitions, summed over the batches. Weights, gradients, buffers and the random state are left
    as they were.

    Raises:
        ValueError: a step does not call ``module``.
    """
    in_module = in_step = 0.0
    with _left_as_it_was(task.model):
        for batch in task.train_batches(1)[:batches]:
            # The first step also warms up whatever compiles on its first call.
            calls = _record_calls(task, module, batch)
            if not calls:
                raise ValueError(f"a step must call the {type(module).__name__} to be timed, got no call")
            in_step += _median_seconds(partial(_step, task, batch))
            in_module += _median_seconds(partial(_differentiate, module, calls))
    return in_module / in_step


def peak_memory_mb(device: torch.device) -> float:
    """Return the largest memory in use so far, in MiB: of this process, or of torch on a CUDA ``device``."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _step(task: Task[Batch], batch: Batch) -> None:
    task.step(batch)[0].backward()


def _record_calls(task: Task[Batch], module: nn.Module, batch: Batch) -> list[Call]:
    calls: list[Call] = []

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((tuple(map(_leaf, args)), {name: _leaf(value) for name, value in kwargs.items()}))

    handle = module.register_forward_pre_hook(record, with_kwargs=True)
    try:
        _step(task, batch)
    finally:
        handle.remove()
    return calls


def _leaf(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _differentiate(module: nn.Module, calls: Sequence[Call]) -> None:
    for args, kwargs in calls:
        weights = module(*args, **kwargs)
        if weights.requires_grad:
            weights.backward(torch.ones_like(weights))


def _median_seconds(work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(REPEATS):
        _wait_for_device()
        begun = time.perf_counter()
        work()
        _wait_for_device()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _wait_for_device() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    random, modes = get_rng_state(), [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.zero_grad()  # apart, since backward adds to the tensors that are there
    model.train()
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for buffer, values in buffers:
            buffer.copy_(values)
        for module, mode in modes:
            module.training = mode
        set_rng_state(random)
