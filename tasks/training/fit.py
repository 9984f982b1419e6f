"""A training from what it is made of to its figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.training.loop import Loop
from tasks.training.metrics_log import MetricsLog, NoLog
from tasks.training.observers import Observer, Observers, StartEvent
from tasks.training.processes import Processes
from tasks.training.randomness import seed_all
from tasks.training.rundir import RunDirectory
from tasks.training.settings import TrainerSettings
from tasks.training.signals import catch_stop_signals
from tasks.training.state import Live, RunState
from tasks.training.task import Batch, Scheduler, Task


@dataclass(frozen=True)
class FitResult:
    """What a training came to.

    ``dev`` holds the dev metrics of ``best_epoch``, whose weights the model has; ``seconds`` counts
    everything over all starts of the run, ``seconds_per_epoch`` all training steps and nothing else,
    ``tokens_per_second`` the same without the first step of each start, which compiles, unless there is no
    other; ``history`` has one entry per epoch, as in the metrics log; ``notes`` say whether and how the run
    was resumed; ``origins`` the commits, devices and numbers of threads that took the steps.
    """

    epochs: int
    best_epoch: int
    dev: dict[str, float]
    seconds: float
    seconds_per_epoch: float
    tokens_per_second: float
    history: list[dict[str, Any]]
    notes: tuple[str, ...]
    origins: dict[str, list[str]]


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
    device = next(task.model.parameters()).device.type
    for name, value in (("commit", commit), ("device", device), ("threads", str(torch.get_num_threads()))):
        notes += state.add_origin(name, value)
    started = time.perf_counter() - state.seconds
    steps, audience = count_steps(task, settings), Observers(observers)
    open_log = MetricsLog if processes.is_first else NoLog
    with open_log(run.metrics, state.log_bytes) as log, catch_stop_signals() as request:
        loop = Loop(task, live, settings, run, log, request, audience, processes, steps, started)
        try:
            audience.on_start(StartEvent(state.step, steps, settings.epochs, notes))
            loop.take()
        finally:
            audience.on_end()
    loop.stop_if(loop.asked())  # what came during the last evaluation or the audience's end

    task.model.load_state_dict(live.best)
    return _summarize(state, notes)


def count_steps(task: Task[Batch], settings: TrainerSettings) -> int:
    """Return the number of updates that a training may take, were every epoch as long as the first."""
    steps = settings.epochs * len(task.train_batches(1))
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def _summarize(state: RunState, notes: tuple[str, ...]) -> FitResult:
    seconds = sum(entry["seconds"] for entry in state.history)
    tokens = sum(entry["tallies"]["tokens"] for entry in state.history)
    return FitResult(
        epochs=len(state.history),
        best_epoch=state.best_epoch,
        dev=state.history[state.best_epoch - 1]["dev"],
        seconds=state.seconds,
        seconds_per_epoch=seconds / len(state.history),
        tokens_per_second=state.pace.tokens_per_second or tokens / seconds,
        history=state.history,
        notes=notes,
        origins=state.origins,
    )
