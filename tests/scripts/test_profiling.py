"""The measured share is near the true one, and measuring leaves no trace."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scripts.runs.training import mapping_share, peak_memory_mb
from tasks.training.checkpoint import serialize
from tasks.training.state import get_rng_state

sys.path.insert(0, str(Path(__file__).parents[1] / "tasks" / "training"))
from tiny_run import TinyTask


class Clock:
    """Time that passes only where a test says so, whatever else the machine does."""

    now = 0.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("scripts.runs.training.time.perf_counter", clock.read)
    return clock


class Slow(torch.autograd.Function):
    """The identity, which takes one second forward and two backward."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, clock: Clock) -> Tensor:
        ctx.clock = clock
        clock.pass_(1.0)
        return scores.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.clock.pass_(2.0)
        return gradient, None


class SlowMapping(nn.Module):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, scores: Tensor) -> Tensor:
        return Slow.apply(scores, self.clock)


class SlowTask(TinyTask):
    """A task that takes five seconds a step besides the mapping, and more in its first batch."""

    def __init__(self, clock: Clock, calls: int) -> None:
        super().__init__()
        self.slow = SlowMapping(clock)
        self.model.mapping = nn.Sequential(*[self.slow] * calls)

    def step(self, batch: tuple[int, ...]) -> tuple[Tensor, dict[str, float]]:
        self.slow.clock.pass_(17.0 if batch == self.train_batches(1)[0] else 5.0)
        return super().step(batch)


@pytest.mark.parametrize("calls", [1, 2])
def test_the_share_is_that_of_every_forward_and_backward(clock: Clock, calls: int) -> None:
    task = SlowTask(clock, calls)
    share = mapping_share(task, task.slow, batches=3)
    assert share == 9 * calls / (17 + 5 + 5 + 9 * calls)


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
        get_rng_state(),
        [module.training for module in task.model.modules()],
    ]
    packed = serialize(state, "trace", tensors)
    return packed, {name: tensor.tolist() for name, tensor in tensors.items()}


def test_a_module_that_is_not_called_is_named() -> None:
    with pytest.raises(ValueError, match="a step must call the Identity to be timed, got no call"):
        mapping_share(TinyTask(), nn.Identity())


def test_memory_is_counted_in_mebibytes() -> None:
    assert 50 < peak_memory_mb(torch.device("cpu")) < 50_000
