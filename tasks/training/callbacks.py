"""What a training tells those who watch it, and the one who shows it in the terminal."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TextIO

from numba.core import event as numba_event
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
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
    leaves out. ``attention`` holds what :class:`tasks.attention.AttentionMonitor` saw, in a
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

    def on_evaluation(self, split: str, what: str, done: int, total: int) -> None:
        """After every batch of an evaluation, of dev after each epoch and of the test sets in the end.

        ``what`` is done, such as ``"writing"``, to so many items of ``split``, of so many in all.
        """

    def on_epoch(self, event: EpochEvent) -> None:
        """After every evaluation, once its checkpoint is saved."""

    def on_end(self) -> None:
        """At the end, also after an error or a signal."""


class _Compilations(numba_event.Listener):
    """Calls ``say`` whenever numba begins to compile."""

    def __init__(self, say: Callable[[], None]) -> None:
        self.say = say

    def on_start(self, event: object) -> None:
        self.say()

    def on_end(self, event: object) -> None:
        pass


class Progress(Callback):
    """Loss, accuracy, tokens per second and time left: a bar on a terminal, and in a notebook where there are
    ipywidgets; else plain lines ``every`` so many seconds.

    Speed, of the epoch under way, and time left are those of the steps after the first one of the process, as
    :class:`tasks.training.state.Throughput` has it, and unknown until there is one. Of dev metrics only those
    ``shown`` are printed, where any are named.
    """

    def __init__(
        self, stream: TextIO | None = None, every: float = 10.0, shown: Sequence[str] | None = None
    ) -> None:
        # In a notebook without ipywidgets rich has no bar and writes lines as markup; kernels force colours.
        plain = False if Console().is_jupyter and not find_spec("ipywidgets") else None
        self.console = Console(file=stream, stderr=stream is None, force_jupyter=plain, force_terminal=plain)
        self.every, self.shown = every, shown
        self._bar: RichProgress | None = None
        self._evaluation: TaskID | None = None
        self._printed = time.monotonic()
        self._listening = ExitStack()

    def on_start(self, event: StartEvent) -> None:
        for note in event.notes:
            self._print(note)
        self._epochs = event.epochs
        self._printed = time.monotonic()
        self._sums: dict[str, float] = {}
        self._throughput = Throughput()
        if self._is_live:
            self._task = self._new_bar().add_task("", total=event.total_steps, completed=event.step)
        compilations = _Compilations(self._say_compiling)
        self._listening.enter_context(numba_event.install_listener("numba:compile", compilations))

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
        else:
            self._print_rarely(f"step {event.step}/{event.total_steps} · {self._describe(event)}")

    def on_evaluation(self, split: str, what: str, done: int, total: int) -> None:
        said = f"{what} {split}"
        if not self._is_live:
            self._print_rarely(f"{said} {done}/{total}")
            return
        bar = self._bar or self._new_bar()
        if self._evaluation is None:
            self._evaluation = bar.add_task(said, total=total)
        bar.update(self._evaluation, completed=done, total=total, description=said)
        if done == total:
            bar.remove_task(self._evaluation)
            self._evaluation = None

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
        self._listening.close()
        if self._bar is not None:
            self._bar.refresh()  # which stop() leaves out in a notebook: the bar of an evaluation would stay
            self._bar.stop()
            self._bar = self._evaluation = None

    def _new_bar(self) -> RichProgress:
        self._bar = RichProgress(
            BarColumn(bar_width=None if self._is_wide else 6),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        self._bar.start()
        return self._bar

    @property
    def _is_live(self) -> bool:
        """Whether what was written can be written over."""
        return self.console.is_terminal or self.console.is_jupyter

    @property
    def _is_wide(self) -> bool:
        """Whether a line has room for everything, beside the bar."""
        return self.console.width >= 110

    def _describe(self, event: StepEvent) -> str:
        epoch = f"epoch {event.epoch}/{self._epochs}"
        loss = self._sums["loss"] / self._sums["examples"]
        speed, left = self._throughput.tokens_per_second, self._time_left(event)
        if self._bar is not None and not self._is_wide:
            return f"{epoch} · loss {loss:.3g} · {left or 'time'} left"
        rate = f"{speed:,.0f} tokens/s · {left} left" if left else "speed and time left not known yet"
        return f"{epoch} · loss {loss:.4f}{_format_accuracy(self._sums)} · {rate}"

    def _time_left(self, event: StepEvent) -> str:
        """That of the steps, evaluations aside; nothing before there is a mean to tell it by."""
        if self._throughput.tokens_per_second is None:
            return ""
        mean = (time.monotonic() - self._timed_from) / (event.step - self._first_step)
        return format_duration((event.total_steps - event.step) * mean)

    def _say_compiling(self) -> None:
        """Half a minute passes with it, once on each machine."""
        if self._bar is not None:
            self._bar.update(self._task, description="compiling kernels")
        else:
            self._print_rarely("compiling kernels")

    def _print_rarely(self, line: str) -> None:
        if time.monotonic() - self._printed >= self.every:
            self._printed = time.monotonic()
            self._print(line)

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
