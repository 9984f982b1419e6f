"""The numbers that a training takes from its config, with their ranges."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

DEVICES = ("cpu", "cuda", "auto")


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

    def torch_device(self) -> torch.device:
        """Return the device meant by ``device`` on this machine.

        Raises:
            ValueError: cuda was asked for and there is none.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device must be cpu or auto where torch finds no CUDA device, got cuda")
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(frozen=True)
class OptimSettings:
    """The numbers of Adam with an L2 penalty.

    Args:
        lr: learning rate, above 0.
        weight_decay: weight of the L2 penalty, at least 0.
        betas: decay rates of the two running means, each in [0, 1).
        eps: added to the root of the second mean, above 0.

    Raises:
        ValueError: a number out of its range.
    """

    lr: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_real("lr", self.lr, 0)
        check_real("weight_decay", self.weight_decay, 0, or_equal=True)
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {len(self.betas)}")
        for beta in self.betas:
            check_real("betas", beta, 0, or_equal=True, below=1)
        check_real("eps", self.eps, 0)

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """Return Adam over those ``parameters`` that require a gradient."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        # Adam and not AdamW: the paper's penalty is part of the objective, so it enters through the gradient.
        betas = (self.betas[0], self.betas[1])
        return torch.optim.Adam(
            trained, lr=self.lr, betas=betas, eps=self.eps, weight_decay=self.weight_decay
        )


def check_integer(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_real(
    name: str, value: object, low: float, *, or_equal: bool = False, below: float = math.inf
) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    # Written so that NaN fails.
    if not (low < number < below or (or_equal and number == low)):
        bottom = f"of at least {low}" if or_equal else f"above {low}"
        top = "finite" if below == math.inf else f"below {below}"
        raise ValueError(f"{name} must be a number {bottom} and {top}, got {value!r}")
