"""The training loop: epochs of steps, where the run is saved, and where it stops."""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from tasks.training.metrics_log import MetricsLog
from tasks.training.observers import EpochEvent, Observers, StepEvent
from tasks.training.processes import Processes
from tasks.training.randomness import get_random_state
from tasks.training.rundir import RunDirectory
from tasks.training.schedules import learning_rate
from tasks.training.settings import TrainerSettings
from tasks.training.signals import Preempted, StopRequest
from tasks.training.state import Live
from tasks.training.task import Batch, Task
from tasks.training.update import evaluate_dev, update


@dataclass
class Loop(Generic[Batch]):
    """The steps that a run has left, taken one after another.

    Attributes:
        task: model, data and metrics.
        live: what the checkpoint holds, as it is restored.
        settings: how long to train and how to stop.
        run: gets the checkpoint.
        log: gets a line for every step and epoch.
        request: rises when a signal asks for a stop.
        audience: told of every step and epoch.
        processes: those that train together.
        total_steps: how many updates the run may take.
        started: when the run would have begun, had it never been stopped.
    """

    task: Task[Batch]
    live: Live
    settings: TrainerSettings
    run: RunDirectory
    log: MetricsLog
    request: StopRequest
    audience: Observers
    processes: Processes
    total_steps: int
    started: float
    is_first: bool = field(default=True, init=False)  # of the steps of this process, the next one

    def take(self) -> None:
        """Train to the end, or until a signal asks for a stop."""
        while not self.live.state.is_finished(self.settings):
            self._take_epoch()
            self._close_epoch()
            self.stop_if(self.asked())

    def _take_epoch(self) -> None:
        state = self.live.state
        batches = self.task.train_batches(state.epoch)
        end = self._end_of_epoch(len(batches))
        self.task.model.train()
        for batch in batches[state.batch : end]:
            self._take_step(batch)
            signal = self.asked()
            if signal or _is_due(state.step, self.settings.checkpoint_every):
                self._save()
            self.stop_if(signal)

    def _take_step(self, batch: Batch) -> None:
        state, optimizer = self.live.state, self.live.optimizer
        begun = time.perf_counter()
        loss, tallies = update(
            self.task, optimizer, batch,
            clip_norm=self.settings.clip_norm, where=f"step {state.step + 1} (epoch {state.epoch})",
            precision=self.settings.autocast(next(self.task.model.parameters()).device),
            processes=self.processes,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        is_first, self.is_first = self.is_first, False
        state.add_step(loss, tallies, seconds, is_first=is_first)
        rate = learning_rate(optimizer)
        self.log.write("step", step=state.step, epoch=state.epoch, loss=loss, lr=rate, **tallies)
        if self.live.scheduler is not None:
            self.live.scheduler.step()
        event = StepEvent(state.step, self.total_steps, state.epoch, loss, tallies, seconds, is_first)
        self.audience.on_step(event)

    def _close_epoch(self) -> None:
        """Evaluate, remember the best weights, and save."""
        state = self.live.state
        dev = self.processes.first(
            partial(evaluate_dev, self.task, f"step {state.step} (epoch {state.epoch})")
        )
        is_best = state.add_epoch(dev, self.task.metric)
        if is_best:
            self.live.keep_best()
        if self.live.scheduler is not None:
            self.live.scheduler.epoch(dev)
        entry: dict[str, Any] = state.history[-1]
        self.log.write("epoch", **entry)
        self._save()
        self.audience.on_epoch(EpochEvent(**entry, epochs=self.settings.epochs, is_best=is_best))

    def _end_of_epoch(self, batches: int) -> int:
        """The batch before which this epoch ends."""
        state, max_steps = self.live.state, self.settings.max_steps
        if batches == 0:
            raise ValueError(f"an epoch must have at least one batch, got none in epoch {state.epoch}")
        return batches if max_steps is None else min(batches, state.batch + max_steps - state.step)

    def _save(self) -> None:
        self.live.state.seconds = time.perf_counter() - self.started
        random = self.processes.gather(get_random_state)

        def write() -> None:
            self.run.check()
            self.live.state.log_bytes = self.log.sync()
            self.live.save(self.run.checkpoint, random)

        self.processes.first(write)

    def asked(self) -> str | None:
        """The signal that any process got: all stop for it."""
        return next(filter(None, self.processes.gather(lambda: self.request.signal)), None)

    def stop_if(self, signal: str | None) -> None:
        """End a run that is saved, where there was a signal.

        Raises:
            Preempted: there was one.
        """
        if signal:
            step = self.live.state.step
            raise Preempted(f"{signal} stopped the run at step {step}, saved in {self.run.path}")


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
