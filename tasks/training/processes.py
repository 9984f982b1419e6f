"""One training in several processes, which torchrun starts: who is there, and how they agree.

The processes take the same steps on the same weights. Each differentiates its share of a batch; the gradient,
the loss and the tallies are those of the whole batch, so that a run is the same with any number of them, but
for rounding and for what is drawn at random. Only the first one reads and writes files.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tasks.training.task import Batch

T = TypeVar("T")
Context = TypeVar("Context", bound=AbstractContextManager[Any])

# The others wait while the first evaluates; one that dies is noticed at once, without any timeout.
_PATIENCE = timedelta(days=1)


class ProcessError(RuntimeError):
    """Another process of this training failed; the message says why."""


class Processes:
    """The process of a training that has only one: it agrees with itself.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that reads and writes files."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """Return this process's part of ``batch``; it may be empty.

        Example:
            >>> Processes().share([7, 3, 5])
            [7, 3, 5]
        """
        return batch

    def gather(self, make: Callable[[], T]) -> list[T]:
        """Call ``make`` in every process and return all results, in the order of ranks.

        Raises:
            ProcessError: it failed in another process; where it failed, its own error is raised.

        Example:
            >>> Processes().gather(lambda: "SIGTERM")
            ['SIGTERM']
        """
        return [make()]

    def first(self, make: Callable[[], T]) -> T:
        """Call ``make`` in the first process alone and return its result in every one.

        Raises:
            ProcessError: it failed there; in the first process its own error is raised.
        """
        return make()

    @contextmanager
    def enter_on_first(self, context: Context) -> Iterator[Context]:
        """Enter ``context`` in the first process alone, before any goes on.

        Raises:
            ProcessError: it could not be entered; in the first process its own error is raised.
        """
        with ExitStack() as stack:

            def enter() -> None:
                stack.enter_context(context)

            self.first(enter)
            yield context

    def sum_gradients(self, parameters: Sequence[nn.Parameter], weight: float) -> None:
        """Replace every gradient by the sum over the processes of ``weight`` times theirs.

        Args:
            parameters: the same ones everywhere; a gradient that no process has stays None.
            weight: of this process, all of them adding up to 1.
        """

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the values that the first one's ``tensors`` have."""


class TorchrunProcesses(Processes):
    """Several processes, joined by ``torch.distributed``, whose default group must be gloo's.

    Args:
        device: this process's; gradients on a CUDA device are summed by NCCL.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._tensors = dist.new_group(backend="nccl") if device.type == "cuda" else None

    def share(self, batch: Batch) -> Batch:
        return cast(Batch, batch[self.rank :: self.size])

    def gather(self, make: Callable[[], T]) -> list[T]:
        everyone: list[Any] = [None] * self.size
        own, error = _attempt(make)
        with _noticing_the_end():
            dist.all_gather_object(everyone, (own, _say(error)))
        if error is not None:
            raise error
        for rank, (_, failure) in enumerate(everyone):
            _raise_for(rank, failure)
        return [result for result, _ in everyone]

    def first(self, make: Callable[[], T]) -> T:
        own, error = _attempt(make) if self.is_first else (None, None)
        message = [(own, _say(error))]
        with _noticing_the_end():
            dist.broadcast_object_list(message, src=0)
        if error is not None:
            raise error
        result, failure = message[0]
        _raise_for(0, failure)
        return cast(T, result)

    def sum_gradients(self, parameters: Sequence[nn.Parameter], weight: float) -> None:
        own = [torch.zeros_like(p) if p.grad is None else weight * p.grad for p in parameters]
        # How many processes have one: a parameter without any is left alone by its optimizer.
        present = own[0].new_tensor([float(p.grad is not None) for p in parameters])
        flat = torch.cat([*(gradient.reshape(-1) for gradient in own), present])
        with _noticing_the_end():
            dist.all_reduce(flat, group=self._tensors)
        *sums, counts = flat.split([*(p.numel() for p in parameters), len(parameters)])
        for parameter, total, count in zip(parameters, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None

    def spread(self, tensors: Iterable[Tensor]) -> None:
        with _noticing_the_end():
            for tensor in tensors:
                dist.broadcast(tensor, src=0, group=self._tensors)


@contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started beside this one, if it was torchrun.

    Args:
        device: this process's, as :func:`local_device` returned it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Its functions have the group of the day as a default: imported later, as by an optimizer's first step,
    # they would keep the group's threads alive until Python is gone, where these may abort the process.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield TorchrunProcesses(device)
    finally:
        dist.destroy_process_group()


def local_device(kind: str) -> torch.device:
    """Return this process's device of ``kind`` (cpu, cuda): each process of a machine has a GPU for itself.

    Raises:
        ValueError: there are more processes than GPUs.
    """
    if kind != "cuda" or "LOCAL_RANK" not in os.environ:
        return torch.device(kind)
    rank, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= devices:
        raise ValueError(f"each process must have a CUDA device for itself, got {devices} for process {rank}")
    return torch.device(kind, rank)


@contextmanager
def _noticing_the_end() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(f"another process of this training has ended: {error}") from error


def _attempt(make: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return make(), None
    except Exception as error:
        return None, error


def _say(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


def _raise_for(rank: int, failure: str | None) -> None:
    if failure is not None:
        raise ProcessError(f"process {rank} failed: {failure}")
