"""Progress in the terminal: a bar where there is one, plain lines where the output is a file."""

import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

from tasks.training.observers import EpochEvent, StartEvent, StepEvent
from tasks.training.pace import Pace


class Progress:
    """Shows loss, accuracy, tokens per second and time left while a model trains.

    Speed, of the epoch under way, and time left are those of the steps after the first one of the process, as
    :class:`Pace` has it, and unknown until there is one.

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
        """Print the notes of the start, and open the bar on a terminal."""
        for note in event.notes:
            self._print(note)
        self._epochs = event.epochs
        self._printed = time.monotonic()
        self._sums: dict[str, float] = {}
        self._pace = Pace()
        if self.console.is_terminal:
            self._bar = RichProgress(
                BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=self.console
            )
            self._task = self._bar.add_task("", total=event.total_steps, completed=event.step)
            self._bar.start()

    def on_step(self, event: StepEvent) -> None:
        """Show how the epoch goes."""
        step = {**event.tallies, "loss": event.loss * event.tallies["examples"]}
        if event.is_first:
            self._first_step, self._timed_from = event.step, time.monotonic()
        self._pace.add(event.tallies["tokens"], event.seconds, is_first=event.is_first)
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in step.items()}
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step, description=self._describe(event))
        elif time.monotonic() - self._printed >= self.every:
            self._printed = time.monotonic()
            self._print(f"step {event.step}/{event.total_steps} · {self._describe(event)}")

    def on_epoch(self, event: EpochEvent) -> None:
        """Print one line about the epoch."""
        self._sums, self._pace = {}, Pace()
        shown = event.dev if self.shown is None else self.shown
        dev = ", ".join(f"{name} {event.dev[name]:.4g}" for name in shown if name in event.dev)
        best = " · best so far" if event.is_best else ""
        self._print(
            f"epoch {event.epoch}/{event.epochs} · loss {event.loss:.4f}{format_accuracy(event.tallies)}"
            f" · dev {dev}{best} · {event.seconds:.1f} s"
        )

    def on_end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _describe(self, event: StepEvent) -> str:
        sums = self._sums
        return (
            f"epoch {event.epoch}/{self._epochs} · loss {sums['loss'] / sums['examples']:.4f}"
            f"{format_accuracy(sums)} · {self._describe_pace(event)}"
        )

    def _describe_pace(self, event: StepEvent) -> str:
        speed = self._pace.tokens_per_second
        if speed is None:
            return "speed and time left not known yet"
        mean = (time.monotonic() - self._timed_from) / (event.step - self._first_step)
        return f"{speed:,.0f} tokens/s · {format_duration((event.total_steps - event.step) * mean)} left"

    def _print(self, line: str) -> None:
        # The bar's own console moves the bar out of the way.
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def format_accuracy(tallies: dict[str, float]) -> str:
    """Return `` · accuracy …`` where the task counts what is correct, else nothing.

    Example:
        >>> format_accuracy({"examples": 8, "correct": 6})
        ' · accuracy 75.0 %'
    """
    if "correct" not in tallies:
        return ""
    return f" · accuracy {100 * tallies['correct'] / tallies['examples']:.1f} %"


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as hours, minutes and seconds.

    Example:
        >>> format_duration(3725), format_duration(62)
        ('1:02:05', '1:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
