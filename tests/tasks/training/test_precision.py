"""bfloat16 is where it was asked for, and nowhere else: neither in weights nor in mappings nor in losses."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Recorder, TinyTask, outcome, train
from torch import Tensor, nn

import regattn
from tasks.entailment import mini
from tasks.entailment.task import build
from tasks.training.fit import train_step
from tasks.training.optim import Adam
from tasks.training.settings import TrainerSettings
from tasks.training.signals import Preempted

BFLOAT16 = TrainerSettings(epochs=1, precision="bfloat16")
CPU = torch.device("cpu")


class Watched(TinyTask):
    """A task that remembers the types of what its output layer computes, in steps and in evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[bool, torch.dtype]] = set()
        self.model.output.register_forward_hook(
            lambda module, inputs, output: self.seen.add((module.training, output.dtype))
        )


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_steps_are_in_the_precision_asked_for(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    task = Watched()
    result, _ = train(tmp_path, task=task, precision=precision)
    assert task.seen == {(True, dtype), (False, torch.float32)}
    assert all(weight.dtype == torch.float32 for weight in task.model.parameters())
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_a_run_in_bfloat16_is_resumed_to_the_bit(tmp_path: Path) -> None:
    whole = outcome(tmp_path / "a", *train(tmp_path / "a", precision="bfloat16"))
    exact = outcome(tmp_path / "c", *train(tmp_path / "c"))
    recorder = Recorder(lambda now: now == 11 and os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted):
        train(tmp_path / "b", callback=recorder, precision="bfloat16")
    assert outcome(tmp_path / "b", *train(tmp_path / "b", precision="bfloat16")) == whole != exact


@pytest.mark.parametrize(
    "mapping",
    [regattn.Softmax(), regattn.Sparsemax(), regattn.Fusedmax(), regattn.Oscarmax(), regattn.PNormmax()],
    ids=lambda mapping: mapping.function.__name__,
)
def test_the_entailment_model_attends_in_float32(mapping: nn.Module) -> None:
    task = build(mini.generate(train=48, dev=9, test=9), mapping, 1, CPU, hidden_size=16)
    optimizer, _ = Adam(lr=0.01).build(task.model.parameters(), 1)
    seen: list[tuple[Tensor, Tensor]] = []
    mapping.register_forward_hook(lambda module, inputs, weights: seen.append((inputs[0], weights)))
    losses: list[Any] = []
    step = task.step
    task.step = lambda batch: losses.append(step(batch)) or losses[-1]  # type: ignore[method-assign]
    for batch in task.train_batches(1):
        train_step(task, optimizer, batch, clip_norm=None, where="", precision=BFLOAT16.autocast(CPU))
    assert len(seen) == 3
    assert {tensor.dtype for pair in seen for tensor in pair} == {torch.float32}
    for _, weights in seen:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-6, rtol=0)
    assert all(loss.dtype == torch.float32 for loss, _ in losses)
