"""Optimizers and what moves their learning rates, each with the numbers that it takes from its config."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tasks.checks import Fraction, NonNegativeInt, PositiveInt, Range, check_number, check_ranges

Positive = Annotated[float, Range(above=0, most=1_000)]
NotNegative = Annotated[float, Range(least=0, most=1_000)]
"""Numbers of optimizers end at 1,000: float32 could not hold what larger ones lead to."""

Schedule = Callable[[int, int, int], float]
"""From an update, counted from 1, those that warm up and those of the training to a factor of the rate."""


class EpochDecay:
    """The optimizer's rate, which falls by ``decay`` after every epoch, once that has begun.

    It begins after epoch ``start_decay_at``, or after the first epoch whose dev ``metric`` is larger than
    that of the epoch before, whichever comes first.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = EpochDecay(optimizer, decay=0.5, start_decay_at=8, metric="perplexity")
        >>> for perplexity in (90.0, 50.0, 51.0, 40.0):
        ...     scheduler.epoch({"perplexity": perplexity})
        ...     print(optimizer.param_groups[0]["lr"], end=" ")
        1.0 1.0 0.5 0.25
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, decay: float, start_decay_at: int, metric: str
    ) -> None:
        self.optimizer, self.metric = optimizer, metric
        self.decay, self.start_decay_at = decay, start_decay_at
        self.epochs, self.rate = 0, learning_rate(optimizer)
        self.last: float | None = None
        self.is_decaying = False

    def step(self) -> None:
        """The rate moves with epochs alone."""

    def epoch(self, dev: Mapping[str, float]) -> None:
        """Close an epoch.

        Raises:
            ValueError: ``dev`` has no such metric.
        """
        if self.metric not in dev:
            known = ", ".join(dev)
            raise ValueError(f"optim.metric must be one of the dev metrics, {known}, got {self.metric!r}")
        now = dev[self.metric]
        self.epochs += 1
        has_risen = self.last is not None and now > self.last
        self.is_decaying |= has_risen or self.epochs >= self.start_decay_at
        if self.is_decaying:
            self.rate *= self.decay
        self.last = now
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs, "rate": self.rate, "last": self.last, "is_decaying": self.is_decaying
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.rate = state_dict["epochs"], state_dict["rate"]
        self.last, self.is_decaying = state_dict["last"], state_dict["is_decaying"]


class Warmup(LambdaLR):
    """k/w of the optimizer's rate in update k of w that warm up, then what the schedule makes of it.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = Warmup(optimizer, 2, linear, total_steps=4)
        >>> for _ in range(4):
        ...     print(round(optimizer.param_groups[0]["lr"], 3), end=" ")
        ...     optimizer.step()
        ...     scheduler.step()
        0.5 1.0 0.667 0.333
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup_steps: int, schedule: Schedule, total_steps: int
    ) -> None:
        warmup = max(1, warmup_steps)

        def factor(steps: int) -> float:
            update = steps + 1
            return update / warmup if update < warmup else schedule(update, warmup, total_steps)

        super().__init__(optimizer, factor)

    def epoch(self, dev: Mapping[str, float]) -> None:
        """The rate moves with updates alone."""

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # The rate itself is the optimizer's to keep.
        self.last_epoch = state_dict["steps"]


Scheduler = EpochDecay | Warmup
"""Sets the optimizer's learning rate: told of every update by ``step``, and of every epoch by ``epoch``."""


def linear(update: int, warmup: int, total: int) -> float:
    """Factor of the rate that would reach 0 with the update after the last.

    Example:
        >>> [linear(update, 1, 4) for update in (1, 2, 3, 4, 5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return max(0.0, (total + 1 - update) / max(1, total + 1 - warmup))


def inverse_square_root(update: int, warmup: int, total: int) -> float:
    """Factor of the rate that falls as one over the root of the updates made.

    Example:
        >>> [inverse_square_root(update, 4, 100) for update in (4, 16, 64)]
        [1.0, 0.5, 0.25]

    Source: Vaswani et al. (2017), section 5.3.
    """
    return math.sqrt(warmup / update)


SCHEDULES = {"linear": linear, "inverse_square_root": inverse_square_root}


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate of the next update."""
    return float(optimizer.param_groups[0]["lr"])


@dataclass(frozen=True)
class Adam:
    """Adam with an L2 penalty and a learning rate that stays."""

    lr: Positive
    weight_decay: NotNegative = 0.0  # weight of the L2 penalty
    betas: tuple[float, float] = (0.9, 0.999)  # decay rates of the two running means, each in [0, 1)
    eps: Positive = 1e-8  # added to the root of the second mean

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {len(self.betas)}")
        for beta in self.betas:
            check_number("betas", beta, Fraction)

    def build(
        self, parameters: Iterable[nn.Parameter], total_steps: int
    ) -> tuple[torch.optim.Adam, Scheduler | None]:
        """Return an optimizer over those ``parameters`` that require a gradient, and what moves its rate.

        ``total_steps`` is the number of updates that the training may take, at least 1.
        """
        # Adam and not AdamW: the paper's penalty is part of the objective, so it enters through the gradient.
        return torch.optim.Adam(_trained(parameters), **self._options()), None

    def _options(self) -> dict[str, Any]:
        own = {option.name: getattr(self, option.name) for option in fields(Adam)}
        return {**own, "betas": tuple(self.betas)}  # a config holds a list, checkpoints a tuple


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weights decay apart from the gradient, with a warm-up of its learning rate.

    Source: Loshchilov & Hutter (2019).
    """

    weight_decay: NotNegative = 0.01  # share of a weight that decays per unit of learning rate
    warmup_steps: NonNegativeInt = 0  # over which the rate rises in a line
    schedule: Literal["linear", "inverse_square_root"] = "linear"  # the rate after that

    def build(self, parameters: Iterable[nn.Parameter], total_steps: int) -> tuple[torch.optim.AdamW, Warmup]:
        """As :meth:`Adam.build` says."""
        optimizer = torch.optim.AdamW(_trained(parameters), **self._options())
        return optimizer, Warmup(optimizer, self.warmup_steps, SCHEDULES[self.schedule], total_steps)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent whose learning rate falls from epoch to epoch, as :class:`EpochDecay` says.

    Source: OpenNMT-py of 2017, ``Optim.updateLearningRate``.
    """

    lr: Positive = 1.0  # of the first epoch
    decay: Annotated[float, Range(above=0, below=1)] = 0.5  # factor of the learning rate
    start_decay_at: PositiveInt = 8  # epoch
    metric: str = "perplexity"  # of dev, that ought to fall

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))

    def build(
        self, parameters: Iterable[nn.Parameter], total_steps: int
    ) -> tuple[torch.optim.SGD, EpochDecay]:
        """As :meth:`Adam.build` says."""
        optimizer = torch.optim.SGD(_trained(parameters), lr=self.lr)
        return optimizer, EpochDecay(optimizer, self.decay, self.start_decay_at, self.metric)


OptimSettings = Adam | AdamW | SGD
"""What the config group ``optim`` chooses."""


def _trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]
