"""The measured share is near the true one, and measuring leaves no trace."""

import time
from typing import Any

import pytest
import torch
from tiny_run import TinyTask
from torch import Tensor, nn

from tasks.training.cost import mapping_share, peak_memory_mb
from tasks.training.packing import pack
from tasks.training.randomness import get_random_state

DELAY = 0.01


class Slow(torch.autograd.Function):
    """Softmax that sleeps forward and backward."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        time.sleep(DELAY)
        weights = scores.softmax(-1)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        time.sleep(DELAY)
        (weights,) = ctx.saved_tensors
        return weights * (gradient - (weights * gradient).sum(-1, keepdim=True))


class SlowSoftmax(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return Slow.apply(scores)


class SlowEverywhere(TinyTask):
    """A task that also sleeps, outside the mapping, as long as within."""

    def __init__(self) -> None:
        super().__init__()
        self.model.mapping = SlowSoftmax()

    def step(self, batch: tuple[int, ...]) -> tuple[Tensor, dict[str, float]]:
        time.sleep(2 * DELAY)
        return super().step(batch)


def test_the_share_is_that_of_forward_and_backward() -> None:
    task = SlowEverywhere()
    assert mapping_share(task, task.model.mapping, batches=2) == pytest.approx(1 / 2, abs=0.12)


def test_every_call_of_a_step_counts() -> None:
    task = SlowEverywhere()
    slow = task.model.mapping
    task.model.mapping = nn.Sequential(slow, slow)
    assert mapping_share(task, slow, batches=2) == pytest.approx(2 / 3, abs=0.12)


def test_measuring_leaves_no_trace() -> None:
    task = TinyTask()
    task.step(task.train_batches(1)[0])[0].backward()
    task.model.eval()
    task.model.output.train()
    before = trace(task)
    mapping_share(task, task.model.mapping, batches=3)
    assert trace(task) == before


def trace(task: TinyTask) -> Any:
    tensors: dict[str, Tensor] = {}
    state = [
        dict(task.model.state_dict()),
        [parameter.grad for parameter in task.model.parameters()],
        get_random_state(),
        [module.training for module in task.model.modules()],
    ]
    packed = pack(state, "trace", tensors)
    return packed, {name: tensor.tolist() for name, tensor in tensors.items()}


def test_a_module_that_is_not_called_is_named() -> None:
    with pytest.raises(ValueError, match="a step must call the Identity to be timed, got no call"):
        mapping_share(TinyTask(), nn.Identity())


def test_memory_is_counted_in_mebibytes() -> None:
    assert 50 < peak_memory_mb(torch.device("cpu")) < 50_000
