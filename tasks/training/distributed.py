"""One training in several processes, which torchrun starts: who is there, and how they agree.

The processes take the same steps on the same weights. Each differentiates its shard of a batch; the gradient,
the loss and the metric sums are those of the whole batch, so that a run is the same with any number of them,
but for rounding and for what is drawn at random. Only rank 0 reads and writes files. Without torchrun there
is one process, which agrees with itself.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tasks.checks import Refusal
from tasks.training.task import Batch

T = TypeVar("T")
Context = TypeVar("Context", bound=AbstractContextManager[Any])

# The others wait while rank 0 evaluates; a process that dies is noticed at once, without any timeout.
_TIMEOUT = timedelta(days=1)


class ProcessError(Refusal):
    """Another process of this training failed; the message says why."""


@contextmanager
def init_distributed(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started beside this one, if it was torchrun, until the block ends."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Its functions have the group of the day as a default: imported later, as by an optimizer's first step,
    # they would keep the group's threads alive until Python is gone, where these may abort the process.
    importlib.import_module("torch.distributed.nn.functional")
    # What is agreed on goes through gloo, gradients on GPUs through NCCL.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_device(kind: str) -> torch.device:
    """Return this process's device of ``kind`` (cpu, cuda): each process of a machine has a GPU for itself.

    Raises:
        ValueError: there are more processes than GPUs.
    """
    if kind != "cuda" or "LOCAL_RANK" not in os.environ:
        return torch.device(kind)
    local_rank, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local_rank >= devices:
        got = f"{devices} for process {local_rank}"
        raise ValueError(f"each process must have a CUDA device for itself, got {got}")
    return torch.device(kind, local_rank)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_rank_zero() -> bool:
    """Whether this is the process that reads and writes files."""
    return rank() == 0


def shard(batch: Batch) -> Batch:
    """Return this process's part of ``batch``; it may be empty.

    Example:
        >>> shard([7, 3, 5])
        [7, 3, 5]
    """
    return cast(Batch, batch[rank() :: world_size()])


def all_gather(make: Callable[[], T]) -> list[T]:
    """Call ``make`` in every process and return all results, in the order of ranks.

    Raises:
        ProcessError: it failed in another process; where it failed, its own error is raised.

    Example:
        >>> all_gather(lambda: "SIGTERM")
        ['SIGTERM']
    """
    if not dist.is_initialized():
        return [make()]

    def gather(own: object) -> list[Any]:
        everyone: list[Any] = [None] * world_size()
        dist.all_gather_object(everyone, own)
        return everyone

    return _exchange(make, gather)


def on_rank_zero(make: Callable[[], T]) -> T:
    """Call ``make`` in rank 0 alone and return its result in every process.

    Raises:
        ProcessError: it failed there; in rank 0 its own error is raised.
    """
    if not dist.is_initialized():
        return make()

    def broadcast_own(own: object) -> list[Any]:
        message = [own]
        dist.broadcast_object_list(message, src=0)
        return message

    return cast(T, _exchange(make if is_rank_zero() else lambda: None, broadcast_own)[0])


def _exchange(make: Callable[[], Any], exchange: Callable[[object], list[Any]]) -> list[Any]:
    """Call ``make``, send what it returned, or how it failed, and return what was received."""
    own, error, failure = None, None, None
    try:
        own = make()
    except Exception as raised:
        error, failure = raised, f"{type(raised).__name__}: {raised}"
    received = _communicate(lambda: exchange((own, failure)))
    if error is not None:
        raise error
    for number, (_, failure) in enumerate(received):
        if failure is not None:
            raise ProcessError(f"process {number} failed: {failure}")
    return [result for result, _ in received]


@contextmanager
def enter_on_rank_zero(context: Context) -> Iterator[Context]:
    """Enter ``context`` in rank 0 alone, before any process goes on.

    Raises:
        ProcessError: it could not be entered; in rank 0 its own error is raised.
    """
    with ExitStack() as stack:

        def enter() -> None:
            stack.enter_context(context)

        on_rank_zero(enter)
        yield context


def sum_gradients(parameters: Sequence[nn.Parameter], weight: float) -> None:
    """Replace every gradient by the sum over the processes of ``weight`` times theirs; all weights sum to 1.

    A gradient that no process has stays None.
    """
    if not dist.is_initialized():
        return
    own = [torch.zeros_like(p) if p.grad is None else weight * p.grad for p in parameters]
    # How many processes have one: a parameter without any is left alone by its optimizer.
    present = own[0].new_tensor([float(p.grad is not None) for p in parameters])
    flat = torch.cat([*(gradient.reshape(-1) for gradient in own), present])
    _communicate(lambda: dist.all_reduce(flat))
    *sums, counts = flat.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, total, count in zip(parameters, sums, counts.tolist(), strict=True):
        parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the values that rank 0's ``tensors`` have."""
    if dist.is_initialized():
        for tensor in tensors:
            _communicate(partial(dist.broadcast, tensor, src=0))


def _communicate(collective: Callable[[], T]) -> T:
    # Not a context manager: Python 3.12 keeps the frame of one left by an error, and so the group's threads.
    try:
        return collective()
    except RuntimeError as error:
        raise ProcessError(f"another process of this training has ended: {error}") from error
