"""What a training may be asked for: its numbers, with their ranges, and how large a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Literal, Self, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.utils.rnn import pack_padded_sequence

from tasks.checks import PositiveInt, PositiveIntOrNone, Range, Seed, check_ranges
from tasks.data.files import first_line
from tasks.training.distributed import local_device
from tasks.training.provenance import available_cores

T = TypeVar("T")
Device = Literal["cpu", "cuda", "auto"]
Threads = Annotated[int | None, Range(least=1, most=1_024)]
MOST_WEIGHTS = 10**9
"""Some ten times as many as the largest model of the paper has; training keeps five numbers for each."""
MOST_TENSORS = 10**4
"""That the weights are in. Each takes its time in every step, however small it is."""


@dataclass(frozen=True)
class TrainerSettings:
    """How long to train, how to stop, and where.

    Raises:
        ValueError: a number out of its range, or patience where the last epoch is kept.
    """

    epochs: PositiveInt  # most passes over the training set
    max_steps: PositiveIntOrNone = None  # most updates; a pass cut short by it counts as an epoch
    patience: PositiveIntOrNone = None  # epochs without a better dev metric, after which training stops
    keep: Literal["best", "last"] = "best"  # the weights of the best epoch on dev, or of the last
    # For how many items of dev outputs are written after an epoch, always the same ones; None for all. What
    # is measured without writing is measured on all of dev.
    dev_items: PositiveIntOrNone = None
    test_items: PositiveIntOrNone = None  # likewise of every test set, for a trial
    clip_norm: Annotated[float | None, Range(above=0)] = None  # largest Euclidean norm of the gradient
    # γ is at first so many times what the mapping was given, and falls to that during the first epoch.
    anneal_gamma: Annotated[float | None, Range(least=1, most=1_000)] = None
    checkpoint_every: PositiveIntOrNone = None  # updates; each epoch's end has a checkpoint anyway
    seed: Seed = 1  # of torch, numpy and Python
    threads: Threads = None  # of torch on the CPU; None leaves them
    device: Device = "auto"  # auto: cuda where there is one
    # Of the products in training steps; weights, their updates, the mappings and all evaluations are float32.
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if self.keep == "last" and self.patience is not None:
            raise ValueError(f"patience must be null where keep is last, got {self.patience}")

    def items(self, split: str) -> int | None:
        """For how many items of a split outputs are written, None for all."""
        return self.dev_items if split == "dev" else self.test_items

    def gamma_factor(self, epoch: int, progress: float) -> float:
        """What γ is multiplied by where so much of an epoch is done, from 0 to 1: geometric, γλ held."""
        return 1.0 if self.anneal_gamma is None or epoch > 1 else self.anneal_gamma ** (1.0 - progress)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context in which a model on ``device`` computes in ``precision``."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def torch_device(self) -> torch.device:
        """Return the device meant by ``device`` on this machine, for this process.

        Raises:
            ValueError: cuda was asked for and there is none, or none left for this process.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be cpu or auto where torch finds no CUDA device, got cuda")
        if self.device == "auto":
            return local_device("cuda" if torch.cuda.is_available() else "cpu")
        return local_device(self.device)

    def on_this_machine(self, device: torch.device) -> tuple[Self, list[str]]:
        """Return the settings as far as the machine can follow them, and a sentence for each that it cannot.

        There are no more threads than cores, and where LSTMs lack bfloat16 on ``device``, as on processors
        without AVX-512, all is float32.

        Raises:
            ValueError: torch cannot compute on ``device`` at all.
        """
        if device.type != "cpu" and (error := _lstm_error(device, torch.float32)):
            raise ValueError(f"device must be one that this build of torch can compute on, got {error}")
        able, notes = self, []
        if self.precision == "bfloat16" and _lstm_error(device, torch.bfloat16):
            able = replace(able, precision="float32")
            notes.append(f"precision float32 instead of bfloat16, which LSTMs lack on this {device.type}")
        if self.threads is not None and self.threads > (cores := available_cores()):
            able = replace(able, threads=cores)
            notes.append(f"threads {cores} instead of {self.threads}: this process may use no more cores")
        return able, notes


def describe_device(device: torch.device) -> str:
    """The name of a device, with what it is where it is a GPU."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


@cache
def _lstm_error(device: torch.device, dtype: torch.dtype) -> str | None:
    """What torch says where an LSTM, whole or over packed sentences, has no way forward and back.

    Nothing tells beforehand: it depends on the processor, on oneDNN, and on what limits that.
    """
    with torch.random.fork_rng(devices=[]), torch.autocast(device.type, dtype, dtype != torch.float32):
        try:
            lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True).to(device)
            inputs = torch.zeros(2, 3, 8, device=device)
            whole, _ = lstm(inputs)
            packed, _ = lstm(pack_padded_sequence(inputs, torch.tensor([3, 2]), batch_first=True))
            (whole.float().sum() + packed.data.float().sum()).backward()
        except (RuntimeError, AssertionError) as error:
            return first_line(error)
    return None


def check_size(weights: int, tensors: int = 1) -> None:
    """Refuse a model of more than ``MOST_WEIGHTS`` weights or ``MOST_TENSORS`` tensors of them."""
    if weights > MOST_WEIGHTS:
        raise ValueError(f"a model must have at most {MOST_WEIGHTS:,} weights, got {weights:,} or more")
    if tensors > MOST_TENSORS:
        got = "more: too many layers"
        raise ValueError(f"a model must have at most {MOST_TENSORS:,} tensors of weights, got {got}")


@contextmanager
def bounded_size() -> Iterator[None]:
    """Refuse, as :func:`check_size` does, the models that are built inside: all their weights together."""
    counted: set[nn.Parameter] = set()
    weights = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal weights
        if parameter not in counted:  # tied weights are registered several times
            counted.add(parameter)
            weights += parameter.numel()
            check_size(weights, len(counted))

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def in_memory(build: Callable[[], T]) -> T:
    """The model that ``build`` makes, or its task, unless it asks for too many weights or too much memory."""
    try:
        with bounded_size():
            return build()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise ValueError(f"the model must fit into memory, got: {first_line(error)}") from error
