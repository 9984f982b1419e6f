"""One update of the weights and one evaluation, each with the guard that keeps NaN out of a run."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tasks.training.processes import Processes
from tasks.training.task import Batch, Task

Part = tuple[float, dict[str, float]]


class NonFiniteError(ArithmeticError):
    """A loss, a tally, a gradient or a metric is NaN or infinite; the message names the batch."""


def update(
    task: Task[Batch],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    clip_norm: float | None,
    where: str,
    precision: AbstractContextManager[object] | None = None,
    processes: Processes | None = None,
) -> Part:
    """Take one gradient step on ``batch``, unless something in it is not finite.

    Args:
        task: gives loss and tallies.
        optimizer: its parameters are the ones whose gradient is clipped.
        batch: one of the task's.
        clip_norm: largest norm of the gradient, or None.
        where: the step, for the error message.
        precision: context of the forward pass, such as autocast.
        processes: those that share the batch; None for this one alone.

    Returns:
        The loss and the tallies of the whole batch.

    Raises:
        NonFiniteError: the loss, a tally or the gradient's norm is not finite; no weight has changed. Every
            process raises it.
        ProcessError: another process failed; no weight has changed.
    """

    def check(name: str, value: float) -> None:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name} must be finite, got {value} at {where} on {task.describe(batch)}; "
                f"the update was not made"
            )

    optimizer.zero_grad(set_to_none=True)
    processes = processes or Processes()
    share = processes.share(batch)
    parts = processes.gather(lambda: _differentiate(task, share, precision or nullcontext()))
    loss, tallies = _combine(parts)
    check("the loss", loss)
    for name, value in tallies.items():
        check(name, value)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    processes.sum_gradients(parameters, _examples(parts[processes.rank]) / tallies["examples"])
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    check("the gradient's norm", norm.item())
    if clip_norm is not None:
        clip_grads_with_norm_(parameters, clip_norm, norm)
    optimizer.step()
    return loss, tallies


def _differentiate(task: Task[Batch], share: Batch, precision: AbstractContextManager[object]) -> Part:
    """Loss and tallies of a share of a batch, whose gradient is left in the parameters."""
    if len(share) == 0:
        return 0.0, {}
    with precision:
        loss, tallies = task.step(share)
    loss.backward()
    return loss.item(), tallies


def _combine(parts: Sequence[Part]) -> Part:
    """Loss and tallies of a batch: a mean over its examples, and sums."""
    tallies: dict[str, float] = {}
    for _, part in parts:
        for name, value in part.items():
            tallies[name] = tallies[name] + value if name in tallies else value
    # A weight of exactly 1 where there is one part: its loss is not rounded again.
    return sum(loss * (_examples((loss, part)) / tallies["examples"]) for loss, part in parts), tallies


def _examples(part: Part) -> float:
    return part[1].get("examples", 0.0)


def evaluate_dev(task: Task[Batch], where: str) -> dict[str, float]:
    """Return the dev metrics of ``task``.

    Raises:
        NonFiniteError: one of them is not finite.
        ValueError: the metric that chooses the checkpoint is not among them.
    """
    dev = evaluate(task, "dev", where)
    if task.metric not in dev:
        raise ValueError(f"evaluate must return the metric {task.metric!r}, got {', '.join(dev) or 'none'}")
    return dev


def evaluate(task: Task[Batch], split: str, where: str) -> dict[str, float]:
    """Return the metrics of ``task`` on ``split``, after ``where`` in the training.

    Raises:
        NonFiniteError: one of them is not finite.
    """
    metrics = task.evaluate(split)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"{name} must be finite, got {value} on {split} after {where}")
    return metrics
