"""The training loop."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from tasks.training.metrics_log import MetricsLog, NoLog
from tasks.training.observers import EpochEvent, Observer, Observers, StartEvent, StepEvent
from tasks.training.optim import learning_rate
from tasks.training.processes import Processes
from tasks.training.randomness import get_random_state, seed_all
from tasks.training.rundir import RunDirectory
from tasks.training.settings import TrainerSettings
from tasks.training.signals import Preempted, catch_stop_signals
from tasks.training.state import Live, RunState
from tasks.training.task import Batch, Scheduler, Task
from tasks.training.update import evaluate_dev, update


@dataclass(frozen=True)
class FitResult:
    """What a training came to.

    ``dev`` holds the dev metrics of ``best_epoch``, whose weights the model has; ``seconds`` counts
    everything over all starts of the run, ``seconds_per_epoch`` and ``tokens_per_second`` the training steps
    alone; ``history`` has one entry per epoch, as in the metrics log; ``notes`` say whether and how the run
    was resumed; ``commits`` name the code that took the steps.
    """

    epochs: int
    best_epoch: int
    dev: dict[str, float]
    seconds: float
    seconds_per_epoch: float
    tokens_per_second: float
    history: list[dict[str, Any]]
    notes: tuple[str, ...]
    commits: tuple[str, ...]


def fit(
    task: Task[Batch],
    optimizer: torch.optim.Optimizer,
    settings: TrainerSettings,
    run: RunDirectory,
    *,
    config_hash: str,
    commit: str = "unknown",
    scheduler: Scheduler | None = None,
    observers: Sequence[Observer] = (),
    processes: Processes | None = None,
) -> FitResult:
    """Train ``task.model``, or continue from where its run directory says that it stood.

    On CPU, with the number of threads fixed, a run that was stopped at any step and continued takes the same
    steps, bit for bit, as one that was not. A checkpoint is saved at the end of every epoch, every
    ``settings.checkpoint_every`` steps, and when a signal asks for a stop. Of several processes only the
    first evaluates, writes and needs observers; all of them stop after the same step.

    Args:
        task: model, data and metrics.
        optimizer: over parameters of ``task.model``.
        settings: how long to train and how to stop.
        run: the run's directory, entered by the caller in the first process.
        config_hash: a run is continued only under the same one.
        commit: the code that takes the steps; a run may be continued by another.
        scheduler: told of every update and epoch.
        observers: told of every step and epoch.
        processes: those that train together; None for this one alone.

    Returns:
        The figures of the run; the model has the weights of its best epoch on dev.

    Raises:
        Preempted: a signal asked for a stop; the state is saved.
        NonFiniteError: a loss, gradient or metric is not finite; nothing was updated or saved after that.
        ResumeError: the directory belongs to another config, vocabulary, number of processes or versions.
        RunInUseError: the directory was removed or replaced meanwhile.
        CheckpointError: a checkpoint can be neither used nor written.
        ProcessError: another process failed.
    """
    processes = processes or Processes()
    assert run.is_locked or not processes.is_first, "enter the run directory before training in it"
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    # Not the same dropout in every process.
    seed_all((settings.seed + processes.rank) % 2**32)
    processes.spread(task.model.state_dict().values())
    identity = {"config": config_hash, "vocabulary": task.vocabulary_sha256, "torch": str(torch.__version__)}
    live = Live(task.model, optimizer, scheduler, identity)
    notes = live.resume(run.checkpoint, processes)
    state = live.state
    notes += state.add_commit(commit)
    started = time.perf_counter() - state.seconds
    total_steps = count_steps(task, settings)
    audience = Observers(observers)
    device = next(task.model.parameters()).device

    def save() -> None:
        state.seconds = time.perf_counter() - started
        random = processes.gather(get_random_state)

        def write() -> None:
            run.check()
            state.log_bytes = log.sync()
            live.save(run.checkpoint, random)

        processes.first(write)

    def asked() -> str | None:
        """The signal that any process got: all stop for it."""
        return next(filter(None, processes.gather(lambda: request.signal)), None)

    def stop_if(signal: str | None) -> None:
        if signal:
            raise Preempted(f"{signal} stopped the run at step {state.step}, saved in {run.path}")

    open_log = MetricsLog if processes.is_first else NoLog
    with open_log(run.metrics, state.log_bytes) as log, catch_stop_signals() as request:
        try:
            audience.on_start(StartEvent(state.step, total_steps, settings.epochs, notes))
            while not state.is_finished(settings):
                batches = task.train_batches(state.epoch)
                end = _end_of_epoch(len(batches), state, settings)
                task.model.train()
                for batch in batches[state.batch : end]:
                    begun = time.perf_counter()
                    where = f"step {state.step + 1} (epoch {state.epoch})"
                    loss, tallies = update(
                        task, optimizer, batch,
                        clip_norm=settings.clip_norm, where=where, precision=settings.autocast(device),
                        processes=processes,
                    )  # fmt: skip
                    seconds = time.perf_counter() - begun
                    state.add_step(loss, tallies, seconds)
                    rate = learning_rate(optimizer)
                    log.write("step", step=state.step, epoch=state.epoch, loss=loss, lr=rate, **tallies)
                    if scheduler is not None:
                        scheduler.step()
                    audience.on_step(StepEvent(state.step, total_steps, state.epoch, loss, tallies, seconds))
                    signal = asked()
                    if signal or _is_due(state.step, settings.checkpoint_every):
                        save()
                    stop_if(signal)

                where = f"step {state.step} (epoch {state.epoch})"
                dev = processes.first(partial(evaluate_dev, task, where))
                is_best = state.add_epoch(dev, task.metric)
                if is_best:
                    live.keep_best()
                if scheduler is not None:
                    scheduler.epoch(dev)
                log.write("epoch", **state.history[-1])
                save()
                audience.on_epoch(EpochEvent(**state.history[-1], epochs=settings.epochs, is_best=is_best))
                stop_if(asked())
        finally:
            audience.on_end()

    stop_if(asked())  # what came during the last evaluation or the audience's end
    task.model.load_state_dict(live.best)
    return _summarize(state, notes)


def count_steps(task: Task[Batch], settings: TrainerSettings) -> int:
    """Return the number of updates that a training may take, were every epoch as long as the first."""
    steps = settings.epochs * len(task.train_batches(1))
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def _end_of_epoch(batches: int, state: RunState, settings: TrainerSettings) -> int:
    """The batch before which this epoch ends."""
    if batches == 0:
        raise ValueError(f"an epoch must have at least one batch, got none in epoch {state.epoch}")
    if settings.max_steps is None:
        return batches
    return min(batches, state.batch + settings.max_steps - state.step)


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _summarize(state: RunState, notes: tuple[str, ...]) -> FitResult:
    seconds = sum(entry["seconds"] for entry in state.history)
    tokens = sum(entry["tallies"]["tokens"] for entry in state.history)
    return FitResult(
        epochs=len(state.history),
        best_epoch=state.best_epoch,
        dev=state.history[state.best_epoch - 1]["dev"],
        seconds=state.seconds,
        seconds_per_epoch=seconds / len(state.history),
        tokens_per_second=tokens / seconds,
        history=state.history,
        notes=notes,
        commits=tuple(state.commits),
    )
