"""The numbers that a training takes from its config, with their ranges."""

import math
from dataclasses import dataclass

import torch

from tasks.training.processes import local_device

DEVICES = ("cpu", "cuda", "auto")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainerSettings:
    """How long to train, how to stop, and where.

    Args:
        epochs: most passes over the training set, at least 1.
        max_steps: most updates, at least 1, or None; a pass cut short by it counts as an epoch.
        patience: epochs without a better dev metric after which training stops, at least 1, or None.
        clip_norm: largest Euclidean norm of the gradient, above 0, or None.
        checkpoint_every: updates between checkpoints, at least 1, or None; each epoch's end has one anyway.
        seed: seed of torch, numpy and Python, at least 0.
        threads: CPU threads of torch, at least 1, or None to leave them.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for cuda where there is one.
        precision: ``"float32"``, or ``"bfloat16"`` for the products in training steps; weights, their
            updates, the mappings and all evaluations are float32 in both.

    Raises:
        ValueError: a number out of its range.
    """

    epochs: int
    max_steps: int | None = None
    patience: int | None = None
    clip_norm: float | None = None
    checkpoint_every: int | None = None
    seed: int = 1
    threads: int | None = None
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 1)
        for name in ("max_steps", "patience", "checkpoint_every", "threads"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        if self.clip_norm is not None:
            check_real("clip_norm", self.clip_norm, 0)
        check_integer("seed", self.seed, 0)
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2**32, as numpy wants it, got {self.seed}")
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


def check_integer(name: str, value: object, least: int) -> None:
    """Refuse what is no integer, or below ``least``.

    Raises:
        ValueError: so it is.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_real(
    name: str, value: object, low: float, *, or_equal: bool = False, below: float = math.inf
) -> None:
    """Refuse what is no finite number above ``low`` (``or_equal``: of at least ``low``) and ``below``.

    Raises:
        ValueError: so it is.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    # Written so that NaN fails.
    if not (low < number < below or (or_equal and number == low)):
        bottom = f"of at least {low}" if or_equal else f"above {low}"
        top = "finite" if below == math.inf else f"below {below}"
        raise ValueError(f"{name} must be a number {bottom} and {top}, got {value!r}")
