"""Training: one loop over epochs and batches that reads from top to bottom and resumes at any step."""

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tasks.attention import AttentionMonitor, gamma_times, warning
from tasks.checks import Refusal
from tasks.training import distributed
from tasks.training.callbacks import Callback, EpochEvent, StartEvent, StepEvent
from tasks.training.optim import Scheduler, learning_rate
from tasks.training.run_directory import MetricsLog, RunDirectory
from tasks.training.settings import TrainerSettings
from tasks.training.signals import Interrupted, Preempted, StopRequest, catch_stop_signals
from tasks.training.state import Counters, TrainState, get_rng_state, seed_all
from tasks.training.task import Batch, Task

LossAndSums = tuple[float, dict[str, float]]


class NonFiniteError(Refusal, ArithmeticError):
    """A loss, a metric sum, a gradient or a metric is NaN or infinite; the message names the batch."""


def fit(
    task: Task[Batch],
    optimizer: torch.optim.Optimizer,
    settings: TrainerSettings,
    run: RunDirectory,
    *,
    config_hash: str,
    commit: str = "unknown",
    scheduler: Scheduler | None = None,
    callbacks: Sequence[Callback] = (),
) -> Counters:
    """Train ``task.model``, or continue from where its run directory says that it stood.

    On CPU, with the number of threads fixed, a run that was stopped at any step and continued takes the same
    steps, bit for bit, as one that was not. A checkpoint is saved at the end of every epoch, every
    ``settings.checkpoint_every`` steps, and when a signal asks for a stop. Of several processes only rank 0
    evaluates, writes and needs callbacks; all of them stop after the same step.

    The caller has entered the directory in rank 0. A run is continued only under the same ``config_hash``,
    but perhaps by the code of another ``commit``.

    Returns:
        What the run has counted; the model has the weights of its best epoch on dev, or of the last one where
        ``settings.keep`` says so.

    Raises:
        Preempted: a signal asked for a stop; the state is saved.
        NonFiniteError: a loss, gradient or metric is not finite; nothing was updated or saved after that.
        ResumeError: the directory belongs to another config, vocabulary, number of processes or versions.
        RunInUseError: the directory was removed or replaced meanwhile.
        CheckpointError: a checkpoint can be neither used nor written.
        ProcessError: another process failed.
    """
    assert run.is_locked or not distributed.is_rank_zero(), "enter the run directory before training in it"
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    seed_all((settings.seed + distributed.rank()) % 2**32)  # not the same dropout in every process
    distributed.broadcast(task.model.state_dict().values())
    identity = {"config": config_hash, "vocabulary": task.vocabulary.sha256, "torch": str(torch.__version__)}
    state = TrainState(task.model, optimizer, scheduler, identity)
    notes = state.resume(run.checkpoint)
    counters = state.counters
    device = next(task.model.parameters()).device.type
    threads = str(torch.get_num_threads())
    made_with = {"commit": commit, "device": device, "threads": threads, "precision": settings.precision}
    for name, value in made_with.items():
        notes += counters.add_origin(name, value)
    open_log = MetricsLog(run.metrics, counters.log_bytes) if distributed.is_rank_zero() else nullcontext()
    with open_log as log, catch_stop_signals() as request:
        try:
            _train(task, state, settings, run, log, request, callbacks, notes)
        finally:
            for callback in callbacks:
                callback.on_end()
    _stop_if(_signal(request), state, run)  # what came during the last evaluation or a callback's end
    task.model.load_state_dict(state.best)
    return counters


def _train(
    task: Task[Batch],
    state: TrainState,
    settings: TrainerSettings,
    run: RunDirectory,
    log: MetricsLog | None,
    request: StopRequest,
    callbacks: Sequence[Callback],
    notes: tuple[str, ...],
) -> None:
    """Take the steps that are left, or those until a signal asks for a stop."""
    counters, optimizer, scheduler = state.counters, state.optimizer, state.scheduler
    started = time.perf_counter() - counters.seconds  # when the run had begun, had it never been stopped
    total_steps = count_steps(task, settings)
    precision = settings.autocast(next(task.model.parameters()).device)
    monitor = AttentionMonitor(task.model if distributed.is_rank_zero() else nn.Module())
    is_warmup = True

    for callback in callbacks:
        callback.on_start(StartEvent(counters.step, total_steps, settings.epochs, notes))
    while not counters.is_finished(settings):
        batches = task.train_batches(counters.epoch)
        if not batches:
            raise ValueError(f"an epoch must have at least one batch, got none in epoch {counters.epoch}")
        task.model.train()
        for batch in batches[counters.batch : counters.end_of_epoch(len(batches), settings)]:
            begun = time.perf_counter()
            where = f"step {counters.step + 1} (epoch {counters.epoch})"
            factor = settings.gamma_factor(counters.epoch, counters.batch / len(batches))
            with gamma_times(factor, task.model), monitor.watch(counters.step) as attention:
                loss, sums = train_step(
                    task, optimizer, batch, clip_norm=settings.clip_norm, where=where, precision=precision
                )
            seconds = time.perf_counter() - begun
            counters.add_step(loss, sums, seconds, is_warmup=is_warmup)
            warnings = _watch_attention(counters, attention)
            step, epoch = counters.step, counters.epoch
            if log is not None:
                log.write("step", step=step, epoch=epoch, loss=loss, lr=learning_rate(optimizer), **sums)
                if attention:
                    log.write("attention", step=step, epoch=epoch, **attention)
                for text in warnings:
                    log.write("warning", step=step, text=text)
            if scheduler is not None:
                scheduler.step()
            event = StepEvent(step, total_steps, epoch, loss, sums, seconds, is_warmup, attention, warnings)
            for callback in callbacks:
                callback.on_step(event)
            is_warmup = False
            signal = _signal(request)
            if signal or (settings.checkpoint_every is not None and step % settings.checkpoint_every == 0):
                _save(state, run, log, started, request)
            _stop_if(signal, state, run)

        end = _end_epoch(task, state, settings, callbacks, request)
        if end is not None and log is not None:
            log.write("epoch", **counters.history[-1])
        _save(state, run, log, started, request)
        if end is not None:  # else a signal broke off the evaluation, which a resumed run begins again
            for callback in callbacks:
                callback.on_epoch(end)
        _stop_if(_signal(request), state, run)


def _watch_attention(counters: Counters, attention: dict[str, float]) -> tuple[str, ...]:
    """Count what was seen in a step, and warn, once in a run, where the scores cannot be learnt."""
    counters.add_attention(attention)
    if counters.warned or not attention:
        return ()
    means, samples = counters.attention_means, counters.samples
    text = warning(means, samples, epoch=counters.epoch, step=counters.step)
    counters.warned = text is not None
    return () if text is None else (text,)


def _end_epoch(
    task: Task[Batch],
    state: TrainState,
    settings: TrainerSettings,
    callbacks: Sequence[Callback],
    request: StopRequest,
) -> EpochEvent | None:
    """Evaluate, and remember the weights where they are the ones to keep; None if a signal broke that off."""
    counters = state.counters
    where = f"step {counters.step} (epoch {counters.epoch})"

    def evaluate_dev() -> dict[str, float] | None:
        try:
            with request.interrupting():
                return evaluate(task, "dev", where, settings, callbacks)
        except Interrupted:
            return None

    dev = distributed.on_rank_zero(evaluate_dev)
    if dev is None:
        return None
    if task.metric not in dev:
        raise ValueError(f"evaluate must return the metric {task.metric!r}, got {', '.join(dev) or 'none'}")
    is_best = counters.add_epoch(dev, task.metric, keep=settings.keep)
    if is_best:
        state.keep_best()
    if state.scheduler is not None:
        state.scheduler.epoch(dev)
    entry = counters.history[-1]
    sums, loss, seconds = entry["tallies"], entry["loss"], entry["seconds"]
    return EpochEvent(counters.step, entry["epoch"], settings.epochs, loss, sums, seconds, dev, is_best)


def train_step(
    task: Task[Batch],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    clip_norm: float | None,
    where: str,
    precision: AbstractContextManager[object] | None = None,
) -> LossAndSums:
    """Take one gradient step on ``batch``, unless something in it is not finite.

    Of several processes each differentiates its shard. The norm of the gradient that is clipped, unless it is
    to be None, is that of the optimizer's parameters; ``where`` is the step, for the error message.

    Returns:
        The loss and the metric sums of the whole batch.

    Raises:
        NonFiniteError: the loss, a metric sum or the gradient's norm is not finite; no weight has changed.
            Every process raises it.
        ProcessError: another process failed; no weight has changed.
    """

    def check(name: str, value: float) -> None:
        if not math.isfinite(value):
            got = f"{value} at {where} on {task.describe(batch)}"
            raise NonFiniteError(f"{name} must be finite, got {got}; the update was not made")

    optimizer.zero_grad(set_to_none=True)
    parts = distributed.all_gather(
        partial(_differentiate, task, distributed.shard(batch), precision or nullcontext())
    )
    loss, sums = _combine(parts)
    check("the loss", loss)
    for name, value in sums.items():
        check(name, value)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    distributed.sum_gradients(parameters, weight=_examples(parts[distributed.rank()]) / sums["examples"])
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    check("the gradient's norm", norm.item())
    if clip_norm is not None:
        clip_grads_with_norm_(parameters, clip_norm, norm)
    optimizer.step()
    return loss, sums


def evaluate(
    task: Task[Batch], split: str, where: str, settings: TrainerSettings, callbacks: Sequence[Callback] = ()
) -> dict[str, float]:
    """Return the metrics of ``task`` on ``split``, after ``where`` in the training.

    Raises:
        NonFiniteError: one of them is not finite.
    """

    def on_batch(what: str, done: int, total: int) -> None:
        for callback in callbacks:
            callback.on_evaluation(split, what, done, total)

    metrics = task.evaluate(split, items=settings.items(split), on_batch=on_batch)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"{name} must be finite, got {value} on {split} after {where}")
    return metrics


def count_steps(task: Task[Batch], settings: TrainerSettings) -> int:
    """Return the number of updates that a training may take, were every epoch as long as the first."""
    steps = settings.epochs * len(task.train_batches(1))
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def _differentiate(task: Task[Batch], batch: Batch, precision: AbstractContextManager[object]) -> LossAndSums:
    """Loss and metric sums of a shard, whose gradient is left in the parameters."""
    if len(batch) == 0:
        return 0.0, {}
    with precision:
        loss, sums = task.step(batch)
    loss.backward()
    return loss.item(), sums


def _combine(parts: Sequence[LossAndSums]) -> LossAndSums:
    """Loss and metric sums of a batch from those of its shards: a mean over its examples, and sums."""
    total: dict[str, float] = {}
    for _, sums in parts:
        for name, value in sums.items():
            total[name] = total[name] + value if name in total else value
    # A weight of exactly 1 where there is one part: its loss is not rounded again.
    return sum(part[0] * (_examples(part) / total["examples"]) for part in parts), total


def _examples(part: LossAndSums) -> float:
    return part[1].get("examples", 0.0)


def _signal(request: StopRequest) -> str | None:
    """The signal that any process got: all stop for it."""
    return next(filter(None, distributed.all_gather(lambda: request.signal)), None)


def _stop_if(signal: str | None, state: TrainState, run: RunDirectory) -> None:
    """End a run that is saved, where there was a signal."""
    if signal:
        raise Preempted(f"{signal} stopped the run at step {state.counters.step}, saved in {run.path}")


def _save(
    state: TrainState, run: RunDirectory, log: MetricsLog | None, started: float, request: StopRequest
) -> None:
    state.counters.seconds = time.perf_counter() - started
    rng_states = distributed.all_gather(get_rng_state)

    def write() -> None:
        assert log is not None
        run.check()
        state.counters.log_bytes = log.sync()
        state.save(run.checkpoint, rng_states)

    with request.held():
        distributed.on_rank_zero(write)
