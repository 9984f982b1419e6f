"""The optimizers with their learning rates over time, each with the numbers that it takes from its config."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from torch import nn

from tasks.ranges import Count, CountOr0, Range, Share, check_number, check_ranges
from tasks.training.task import Scheduler

Rate = Annotated[float, Range(above=0, most=1_000)]
Penalty = Annotated[float, Range(least=0, most=1_000)]


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
        lr: learning rate, above 0.
        weight_decay: weight of the L2 penalty, at least 0.
        betas: decay rates of the two running means, each in [0, 1).
        eps: added to the root of the second mean, above 0.

    Raises:
        ValueError: a number out of its range.
    """

    lr: Rate
    weight_decay: Penalty = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Rate = 1e-8

    def __post_init__(self) -> None:
        _check_adam(self)

    def build(self, parameters: Iterable[nn.Parameter], total_steps: int) -> tuple[torch.optim.Adam, None]:
        """As :class:`OptimSettings` says."""
        # Adam and not AdamW: the paper's penalty is part of the objective, so it enters through the gradient.
        optimizer = torch.optim.Adam(
            _trained(parameters),
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        return optimizer, None


@dataclass(frozen=True)
class AdamW:
    """Adam whose weights decay apart from the gradient, with a warm-up of its learning rate.

    Args:
        lr: learning rate at the end of the warm-up, above 0.
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

    lr: Rate
    weight_decay: Penalty = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Rate = 1e-8
    warmup_steps: CountOr0 = 0
    schedule: str = "linear"

    def __post_init__(self) -> None:
        _check_adam(self)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")

    def build(
        self, parameters: Iterable[nn.Parameter], total_steps: int
    ) -> tuple[torch.optim.AdamW, "Warmup"]:
        """As :class:`OptimSettings` says."""
        optimizer = torch.optim.AdamW(
            _trained(parameters),
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        return optimizer, Warmup(optimizer, self, total_steps)


@dataclass(frozen=True)
class SGD:
    """Plain gradient descent whose learning rate falls by ``decay`` after an epoch, once that has begun.

    It begins after epoch ``start_decay_at``, or after the first epoch whose dev ``metric`` is larger than
    that of the epoch before, whichever comes first; from then on it happens after every epoch.

    Args:
        lr: learning rate of the first epoch, above 0.
        decay: factor of the learning rate, in (0, 1).
        start_decay_at: epoch, at least 1.
        metric: dev metric that ought to fall.

    Raises:
        ValueError: a number out of its range.

    Source: OpenNMT-py of 2017, ``Optim.updateLearningRate``.
    """

    lr: Rate = 1.0
    decay: Annotated[float, Range(above=0, below=1)] = 0.5
    start_decay_at: Count = 8
    metric: str = "perplexity"

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))

    def build(
        self, parameters: Iterable[nn.Parameter], total_steps: int
    ) -> tuple[torch.optim.SGD, "EpochDecay"]:
        """As :class:`OptimSettings` says."""
        optimizer = torch.optim.SGD(_trained(parameters), lr=self.lr)
        return optimizer, EpochDecay(optimizer, self)


class Warmup:
    """The learning rate of :class:`AdamW`: k/w of it in update k of w that warm up, then the schedule's.

    Example:
        >>> settings = AdamW(lr=1.0, warmup_steps=2)
        >>> optimizer, scheduler = settings.build([nn.Parameter(torch.zeros(1))], total_steps=4)
        >>> for _ in range(4):
        ...     print(round(optimizer.param_groups[0]["lr"], 3), end=" ")
        ...     scheduler.step()
        0.5 1.0 0.667 0.333
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: AdamW, total_steps: int) -> None:
        self.optimizer, self.settings, self.total_steps = optimizer, settings, total_steps
        self.steps = 0
        self._set_rate()

    def step(self) -> None:
        self.steps += 1
        self._set_rate()

    def epoch(self, dev: dict[str, float]) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]
        self._set_rate()

    def _set_rate(self) -> None:
        update, warmup = self.steps + 1, max(1, self.settings.warmup_steps)
        after = SCHEDULES[self.settings.schedule]
        factor = update / warmup if update < warmup else after(update, warmup, self.total_steps)
        _set_rate(self.optimizer, self.settings.lr * factor)


class EpochDecay:
    """The learning rate of :class:`SGD`.

    Example:
        >>> optimizer, scheduler = SGD().build([nn.Parameter(torch.zeros(1))], total_steps=100)
        >>> for perplexity in (90.0, 50.0, 51.0, 40.0):
        ...     scheduler.epoch({"perplexity": perplexity})
        ...     print(optimizer.param_groups[0]["lr"], end=" ")
        1.0 1.0 0.5 0.25
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: SGD) -> None:
        self.optimizer, self.settings = optimizer, settings
        self.epochs, self.rate = 0, settings.lr
        self.last: float | None = None
        self.is_decaying = False

    def step(self) -> None:
        pass

    def epoch(self, dev: dict[str, float]) -> None:
        """Close an epoch.

        Raises:
            ValueError: ``dev`` has no such metric.
        """
        if self.settings.metric not in dev:
            raise ValueError(
                f"optim.metric must be one of the dev metrics, {', '.join(dev)}, got {self.settings.metric!r}"
            )
        now = dev[self.settings.metric]
        self.epochs += 1
        has_risen = self.last is not None and now > self.last
        self.is_decaying |= has_risen or self.epochs >= self.settings.start_decay_at
        if self.is_decaying:
            self.rate *= self.settings.decay
        self.last = now
        _set_rate(self.optimizer, self.rate)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs, "rate": self.rate, "last": self.last, "is_decaying": self.is_decaying
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.rate = state_dict["epochs"], state_dict["rate"]
        self.last, self.is_decaying = state_dict["last"], state_dict["is_decaying"]
        _set_rate(self.optimizer, self.rate)


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


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def _check_adam(settings: Adam | AdamW) -> None:
    check_ranges(type(settings), vars(settings))
    betas = settings.betas
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {len(betas)}")
    for beta in betas:
        check_number("betas", beta, Share)
