"""One update of the weights and one evaluation, each with the guard that keeps NaN out of a run."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tasks.training.task import Batch, Task


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
) -> tuple[float, dict[str, float]]:
    """Take one gradient step on ``batch``, unless something in it is not finite.

    Args:
        task: gives loss and tallies.
        optimizer: its parameters are the ones whose gradient is clipped.
        batch: one of the task's.
        clip_norm: largest norm of the gradient, or None.
        where: the step, for the error message.
        precision: context of the forward pass, such as autocast.

    Returns:
        The loss and the tallies.

    Raises:
        NonFiniteError: the loss, a tally or the gradient's norm is not finite; no weight has changed.
    """

    def check(name: str, value: float) -> None:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name} must be finite, got {value} at {where} on {task.describe(batch)}; "
                f"the update was not made"
            )

    optimizer.zero_grad(set_to_none=True)
    with precision or nullcontext():
        loss, tallies = task.step(batch)
    check("the loss", loss.item())
    for name, value in tallies.items():
        check(name, value)
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    check("the gradient's norm", norm.item())
    if clip_norm is not None:
        clip_grads_with_norm_(parameters, clip_norm, norm)
    optimizer.step()
    return loss.item(), tallies


def evaluate_dev(task: Task[Batch], where: str) -> dict[str, float]:
    """Return the dev metrics of ``task``.

    Raises:
        NonFiniteError: one of them is not finite.
        ValueError: the metric that chooses the checkpoint is not among them.
    """
    dev = task.evaluate("dev")
    if task.metric not in dev:
        raise ValueError(f"evaluate must return the metric {task.metric!r}, got {', '.join(dev) or 'none'}")
    for name, value in dev.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"{name} must be finite, got {value} on dev after {where}")
    return dev
