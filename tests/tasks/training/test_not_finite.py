"""NaN and infinity, wherever they come in, stop a run before the update and cost it nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Recorder, TinyTask, train
from torch import Tensor, nn

from tasks.training.fit import NonFiniteError

AT = 2, 3  # epoch, batch
NAMES = {
    "data": "the ", "scores": "the ", "loss": "the loss", "gradient": "the gradient's norm", "sum": "correct"
}  # fmt: skip


class Spoilt(TinyTask):
    """A task in which one number of one batch, or of one evaluation, becomes ``value``."""

    def __init__(self, place: str, value: float) -> None:
        super().__init__()
        self.place, self.value, self.is_spoilt = place, value, False
        self.evaluations = 0
        modules: dict[str, nn.Module] = {"data": self.model.embedding, "scores": self.model.scorer}
        if place in modules:
            modules[place].register_forward_hook(self.spoil)

    def spoil(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not self.is_spoilt:
            return output
        output = output.clone()
        output[2, 1, 0] = self.value
        return output

    def step(self, batch: tuple[int, ...]) -> tuple[Tensor, dict[str, float]]:
        epoch, index = AT
        self.is_spoilt = batch == self.train_batches(epoch)[index]
        loss, metric_sums = super().step(batch)
        if self.is_spoilt and self.place == "loss":
            loss = loss * self.value
        if self.is_spoilt and self.place == "gradient":
            loss.register_hook(lambda gradient: gradient * self.value)
        if self.is_spoilt and self.place == "sum":
            metric_sums["correct"] = self.value
        self.is_spoilt = False
        return loss, metric_sums

    def evaluate(self, split: str, **options: Any) -> dict[str, float]:
        self.evaluations += 1
        found = super().evaluate(split, **options)
        return {**found, "loss": self.value} if (self.place, self.evaluations) == ("metric", 2) else found


@pytest.mark.measures("not finite")
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["data", "scores", "loss", "gradient", "metric"])
def test_the_run_stops_before_the_update_and_can_go_on(
    tmp_path: Path, place: str, value: float, clip_norm: float | None
) -> None:
    check_stop(tmp_path, place, value, clip_norm)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_metric_sum_that_is_not_finite_stops_it_too(tmp_path: Path, value: float) -> None:
    check_stop(tmp_path, "sum", value, None)


def check_stop(tmp_path: Path, place: str, value: float, clip_norm: float | None) -> None:
    task = Spoilt(place, value)
    weights: dict[str, Tensor] = {}

    def keep(step: int) -> None:
        weights.update({name: p.detach().clone() for name, p in task.model.named_parameters()})

    with pytest.raises(NonFiniteError) as stopped:
        train(tmp_path, task=task, callback=Recorder(keep), checkpoint_every=5, clip_norm=clip_norm)
    assert all(torch.equal(weights[name], p) for name, p in task.model.named_parameters())
    said = str(stopped.value)
    if place == "metric":
        assert f"loss must be finite, got {value} on dev after step 16 (epoch 2)" in said
    else:
        pairs = ", ".join(map(str, task.train_batches(AT[0])[AT[1]]))
        assert said.startswith(NAMES[place]) and f"at step 12 (epoch 2) on pairs {pairs};" in said
    result, _ = train(tmp_path, checkpoint_every=5, clip_norm=clip_norm)
    assert result.notes == (f"resumed at step {15 if place == 'metric' else 10}",)
    assert math.isfinite(result.dev["loss"])
