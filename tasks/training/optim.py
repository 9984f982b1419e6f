"""The optimizers with their schedules, each with the numbers that it takes from its config."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

import torch
from torch import nn

from tasks.ranges import Count, CountOr0, Range, Share, check_number, check_ranges
from tasks.training.schedules import SCHEDULES, EpochDecay, Warmup
from tasks.training.task import Scheduler

Positive = Annotated[float, Range(above=0, most=1_000)]
NotNegative = Annotated[float, Range(least=0, most=1_000)]
"""Numbers of optimizers end at 1,000: float32 could not hold what larger ones lead to."""

AnyAdam = TypeVar("AnyAdam", torch.optim.Adam, torch.optim.AdamW)


class OptimSettings(Protocol):
    """What the config group ``optim`` chooses."""

    def build(
        self, parameters: Iterable[nn.Parameter], total_steps: int
    ) -> tuple[torch.optim.Optimizer, Scheduler | None]:
        """Return an optimizer over those ``parameters`` that require a gradient, and what moves its rate.

        ``total_steps`` is the number of updates that the training may take, at least 1.
        """


@dataclass(frozen=True)
class Adam:
    """Adam with an L2 penalty and a learning rate that stays.

    Args:
        lr: learning rate, above 0 and at most 1,000.
        weight_decay: weight of the L2 penalty, at least 0.
        betas: decay rates of the two running means, each in [0, 1).
        eps: added to the root of the second mean, above 0.

    Raises:
        ValueError: a number out of its range.
    """

    lr: Positive
    weight_decay: NotNegative = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Positive = 1e-8

    def __post_init__(self) -> None:
        _check_adam(self)

    def build(self, parameters: Iterable[nn.Parameter], total_steps: int) -> tuple[torch.optim.Adam, None]:
        """As :class:`OptimSettings` says."""
        # Adam and not AdamW: the paper's penalty is part of the objective, so it enters through the gradient.
        return _build_adam(torch.optim.Adam, self, parameters), None


@dataclass(frozen=True)
class AdamW:
    """Adam whose weights decay apart from the gradient, with a warm-up of its learning rate.

    Args:
        lr: learning rate at the end of the warm-up, above 0 and at most 1,000.
        weight_decay: share of a weight that decays per unit of learning rate, at least 0.
        betas: decay rates of the two running means, each in [0, 1).
        eps: added to the root of the second mean, above 0.
        warmup_steps: updates over which the rate rises in a line, at least 0; a training shorter than
            that ends below ``lr``.
        schedule: the rate after that, one of :data:`SCHEDULES`.

    Raises:
        ValueError: a number out of its range, or no such schedule.

    Source: Loshchilov & Hutter (2019).
    """

    lr: Positive
    weight_decay: NotNegative = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Positive = 1e-8
    warmup_steps: CountOr0 = 0
    schedule: str = "linear"

    def __post_init__(self) -> None:
        _check_adam(self)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")

    def build(self, parameters: Iterable[nn.Parameter], total_steps: int) -> tuple[torch.optim.AdamW, Warmup]:
        """As :class:`OptimSettings` says."""
        optimizer = _build_adam(torch.optim.AdamW, self, parameters)
        return optimizer, Warmup(optimizer, self.warmup_steps, SCHEDULES[self.schedule], total_steps)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent whose learning rate falls from epoch to epoch, as :class:`EpochDecay` says.

    Args:
        lr: learning rate of the first epoch, above 0 and at most 1,000.
        decay: factor of the learning rate, in (0, 1).
        start_decay_at: epoch, at least 1.
        metric: dev metric that ought to fall.

    Raises:
        ValueError: a number out of its range.

    Source: OpenNMT-py of 2017, ``Optim.updateLearningRate``.
    """

    lr: Positive = 1.0
    decay: Annotated[float, Range(above=0, below=1)] = 0.5
    start_decay_at: Count = 8
    metric: str = "perplexity"

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))

    def build(
        self, parameters: Iterable[nn.Parameter], total_steps: int
    ) -> tuple[torch.optim.SGD, EpochDecay]:
        """As :class:`OptimSettings` says."""
        optimizer = torch.optim.SGD(_trained(parameters), lr=self.lr)
        return optimizer, EpochDecay(optimizer, self.decay, self.start_decay_at, self.metric)


def _trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def _build_adam(kind: type[AnyAdam], settings: Adam | AdamW, parameters: Iterable[nn.Parameter]) -> AnyAdam:
    return kind(
        _trained(parameters),
        lr=settings.lr,
        betas=(settings.betas[0], settings.betas[1]),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )


def _check_adam(settings: Adam | AdamW) -> None:
    check_ranges(type(settings), vars(settings))
    betas = settings.betas
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {len(betas)}")
    for beta in betas:
        check_number("betas", beta, Share)
