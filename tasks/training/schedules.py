"""Learning rates over time: what moves an optimizer's rate between updates or between epochs."""

import math
from collections.abc import Callable
from typing import Any

import torch

Schedule = Callable[[int, int, int], float]
"""From an update, counted from 1, those that warm up and those of the training to a factor of the rate."""


class Warmup:
    """k/w of the optimizer's rate in update k of w that warm up, then what the schedule makes of it.

    Args:
        optimizer: with the rate that is warmed up to.
        warmup_steps: updates over which the rate rises in a line, at least 0.
        schedule: from an update, ``warmup_steps`` and ``total_steps`` to the factor of the rate.
        total_steps: updates that the training may take.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = Warmup(optimizer, 2, linear, total_steps=4)
        >>> for _ in range(4):
        ...     print(round(optimizer.param_groups[0]["lr"], 3), end=" ")
        ...     scheduler.step()
        0.5 1.0 0.667 0.333
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup_steps: int, schedule: Schedule, total_steps: int
    ) -> None:
        self.optimizer, self.schedule, self.total_steps = optimizer, schedule, total_steps
        self.rate, self.warmup_steps = learning_rate(optimizer), max(1, warmup_steps)
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
        update, warmup = self.steps + 1, self.warmup_steps
        factor = update / warmup if update < warmup else self.schedule(update, warmup, self.total_steps)
        _set_rate(self.optimizer, self.rate * factor)


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
        pass

    def epoch(self, dev: dict[str, float]) -> None:
        """Close an epoch.

        Raises:
            ValueError: ``dev`` has no such metric.
        """
        if self.metric not in dev:
            raise ValueError(
                f"optim.metric must be one of the dev metrics, {', '.join(dev)}, got {self.metric!r}"
            )
        now = dev[self.metric]
        self.epochs += 1
        has_risen = self.last is not None and now > self.last
        self.is_decaying |= has_risen or self.epochs >= self.start_decay_at
        if self.is_decaying:
            self.rate *= self.decay
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
