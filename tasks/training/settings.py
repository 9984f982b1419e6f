"""The numbers that a training takes from its config, with their ranges."""

from dataclasses import dataclass
from typing import Annotated

import torch

from tasks.ranges import PositiveInt, PositiveIntOrNone, Range, Seed, check_ranges
from tasks.training.distributed import local_device

DEVICES = ("cpu", "cuda", "auto")
PRECISIONS = ("float32", "bfloat16")
Threads = Annotated[int | None, Range(least=1, most=1_024)]


@dataclass(frozen=True)
class TrainerSettings:
    """How long to train, how to stop, and where.

    Args:
        epochs: most passes over the training set, at least 1.
        max_steps: most updates, at least 1, or None; a pass cut short by it counts as an epoch.
        patience: epochs without a better dev metric after which training stops, at least 1, or None.
        clip_norm: largest Euclidean norm of the gradient, above 0, or None.
        checkpoint_every: updates between checkpoints, at least 1, or None; each epoch's end has one anyway.
        seed: seed of torch, numpy and Python, from 0 to 2**32 - 1.
        threads: CPU threads of torch, from 1 to 1,024, or None to leave them.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for cuda where there is one.
        precision: ``"float32"``, or ``"bfloat16"`` for the products in training steps; weights, their
            updates, the mappings and all evaluations are float32 in both.

    Raises:
        ValueError: a number out of its range.
    """

    epochs: PositiveInt
    max_steps: PositiveIntOrNone = None
    patience: PositiveIntOrNone = None
    clip_norm: Annotated[float | None, Range(above=0)] = None
    checkpoint_every: PositiveIntOrNone = None
    seed: Seed = 1
    threads: Threads = None
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")

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
