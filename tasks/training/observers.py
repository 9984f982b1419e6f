"""What a training tells those who watch it: progress bars, loggers, plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StartEvent:
    """The run begins or continues.

    ``step`` updates were made before, of at most ``total_steps``; ``notes`` are sentences worth showing, such
    as that the run was resumed, or that a damaged checkpoint was passed over.
    """

    step: int
    total_steps: int
    epochs: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StepEvent:
    """One update: its mean ``loss``, the ``tallies`` of its batch, and the ``seconds`` that it took.

    ``is_first`` of those of a process, whose seconds :class:`tasks.training.pace.Pace` leaves out.
    """

    step: int
    total_steps: int
    epoch: int
    loss: float
    tallies: dict[str, float]
    seconds: float
    is_first: bool = False


@dataclass(frozen=True)
class EpochEvent:
    """One epoch: mean training ``loss``, summed ``tallies`` and ``seconds`` of steps, ``dev`` metrics."""

    step: int
    epoch: int
    epochs: int
    loss: float
    tallies: dict[str, float]
    seconds: float
    dev: dict[str, float]
    is_best: bool


class Observer(Protocol):
    """Watches a training and must not change it: neither weights nor the global random state."""

    def on_start(self, event: StartEvent) -> None:
        """Before the first step."""

    def on_step(self, event: StepEvent) -> None:
        """After every update."""

    def on_epoch(self, event: EpochEvent) -> None:
        """After every evaluation, once its checkpoint is saved."""

    def on_end(self) -> None:
        """At the end, also after an error or a signal."""


class Observers:
    """Several observers as one, told in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def on_start(self, event: StartEvent) -> None:
        for observer in self.observers:
            observer.on_start(event)

    def on_step(self, event: StepEvent) -> None:
        for observer in self.observers:
            observer.on_step(event)

    def on_epoch(self, event: EpochEvent) -> None:
        for observer in self.observers:
            observer.on_epoch(event)

    def on_end(self) -> None:
        for observer in self.observers:
            observer.on_end()
