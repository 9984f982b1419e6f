"""What a training tells those who watch it, and the one who shows it in the terminal."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

from tasks.training.state import Throughput


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
    """One update: its mean ``loss``, the ``metric_sums`` of its batch, and the ``seconds`` that it took.

    ``is_warmup`` is the first step of a process, whose seconds :class:`tasks.training.state.Throughput`
    leaves out. ``attention`` holds what :class:`tasks.training.attention_monitor.AttentionMonitor` saw, in a
    step that it looked at; ``notes`` are sentences worth showing.
    """

    step: int
    total_steps: int
    epoch: int
    loss: float
    metric_sums: dict[str, float]
    seconds: float
    is_warmup: bool = False
    attention: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpochEvent:
    """One epoch: mean training ``loss``, ``metric_sums`` and ``seconds`` of its steps, ``dev`` metrics."""

    step: int
    epoch: int
    epochs: int
    loss: float
    metric_sums: dict[str, float]
    seconds: float
    dev: dict[str, float]
    is_best: bool


class Callback:
    """Watches a training and must not change it: neither weights nor the global random state."""

    def on_start(self, event: StartEvent) -> None:
        """Before the first step."""

    def on_step(self, event: StepEvent) -> None:
        """After every update."""

    def on_epoch(self, event: EpochEvent) -> None:
        """After every evaluation, once its checkpoint is saved."""

    def on_end(self) -> None:
        """At the end, also after an error or a signal."""


class Progress(Callback):
    """Loss, accuracy, tokens per second and time left: a bar on a terminal, plain lines in a file.

    Speed, of the epoch under way, and time left are those of the steps after the first one of the process, as
    :class:`tasks.training.state.Throughput` has it, and unknown until there is one.

    Args:
        stream: where to write; None for the standard error.
        every: seconds between plain lines.
        shown: dev metrics to print, in order, where an epoch has them; None for all that it has.
    """

    def __init__(
        self, stream: TextIO | None = None, every: float = 10.0, shown: Sequence[str] | None = None
    ) -> None:
        self.console = Console(file=stream, stderr=stream is None)
        self.every, self.shown = every, shown
        self._bar: RichProgress | None = None

    def on_start(self, event: StartEvent) -> None:
        for note in event.notes:
            self._print(note)
        self._epochs = event.epochs
        self._printed = time.monotonic()
        self._sums: dict[str, float] = {}
        self._throughput = Throughput()
        if self.console.is_terminal:
            self._bar = RichProgress(
                BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=self.console
            )
            self._task = self._bar.add_task("", total=event.total_steps, completed=event.step)
            self._bar.start()

    def on_step(self, event: StepEvent) -> None:
        for note in event.notes:
            self._print(note)
        step = {**event.metric_sums, "loss": event.loss * event.metric_sums["examples"]}
        if event.is_warmup:
            self._first_step, self._timed_from = event.step, time.monotonic()
        self._throughput.add(event.metric_sums["tokens"], event.seconds, is_warmup=event.is_warmup)
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in step.items()}
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step, description=self._describe(event))
        elif time.monotonic() - self._printed >= self.every:
            self._printed = time.monotonic()
            self._print(f"step {event.step}/{event.total_steps} · {self._describe(event)}")

    def on_epoch(self, event: EpochEvent) -> None:
        self._sums, self._throughput = {}, Throughput()
        shown = event.dev if self.shown is None else self.shown
        dev = ", ".join(f"{name} {event.dev[name]:.4g}" for name in shown if name in event.dev)
        best = " · best so far" if event.is_best else ""
        self._print(
            f"epoch {event.epoch}/{event.epochs} · loss {event.loss:.4f}{_format_accuracy(event.metric_sums)}"
            f" · dev {dev}{best} · {event.seconds:.1f} s"
        )

    def on_end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _describe(self, event: StepEvent) -> str:
        loss = self._sums["loss"] / self._sums["examples"]
        speed = self._describe_speed(event)
        accuracy = _format_accuracy(self._sums)
        return f"epoch {event.epoch}/{self._epochs} · loss {loss:.4f}{accuracy} · {speed}"

    def _describe_speed(self, event: StepEvent) -> str:
        speed = self._throughput.tokens_per_second
        if speed is None:
            return "speed and time left not known yet"
        mean = (time.monotonic() - self._timed_from) / (event.step - self._first_step)
        return f"{speed:,.0f} tokens/s · {format_duration((event.total_steps - event.step) * mean)} left"

    def _print(self, line: str) -> None:
        # The bar's own console moves the bar out of the way.
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as hours, minutes and seconds.

    Example:
        >>> format_duration(3725), format_duration(62)
        ('1:02:05', '1:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _format_accuracy(metric_sums: Mapping[str, float]) -> str:
    if "correct" not in metric_sums:
        return ""
    return f" · accuracy {100 * metric_sums['correct'] / metric_sums['examples']:.1f} %"
