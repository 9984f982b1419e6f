"""The loop: which weights it keeps, when it stops, what it refuses, what it reports."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import BATCH_SIZE, STEPS_PER_EPOCH, Recorder, TinyTask, train

from tasks.training.callbacks import EpochEvent, StartEvent, StepEvent
from tasks.training.fit import NonFiniteError, fit
from tasks.training.optim import Adam
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import TrainerSettings


class ScriptedTask(TinyTask):
    """A task whose dev accuracy is told in advance, epoch by epoch."""

    def __init__(self, accuracies: list[float]) -> None:
        super().__init__()
        self.accuracies = accuracies
        self.weights: list[dict[str, torch.Tensor]] = []

    def evaluate(self, split: str, **options: Any) -> dict[str, float]:
        self.weights.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        return {"accuracy": self.accuracies[len(self.weights) - 1]}


@pytest.mark.parametrize(
    ("accuracies", "best_epoch"), [([0.5, 0.9, 0.7], 2), ([0.9, 0.9, 0.9], 1), ([-3.0, -2.0, -1.0], 3)]
)
def test_the_first_best_epoch_gives_the_weights(
    tmp_path: Path, accuracies: list[float], best_epoch: int
) -> None:
    task = ScriptedTask(accuracies)
    result, _ = train(tmp_path, task=task)
    assert (len(result.history), result.best_epoch) == (3, best_epoch)
    assert result.dev == {"accuracy": max(accuracies)}
    kept = task.weights[best_epoch - 1]
    assert all(torch.equal(kept[name], tensor) for name, tensor in task.model.state_dict().items())


def test_the_last_epoch_gives_the_weights_where_it_is_kept(tmp_path: Path) -> None:
    task = ScriptedTask([0.9, 0.5, 0.7])
    result, _ = train(tmp_path, task=task, keep="last")
    assert (result.best_epoch, result.dev) == (3, {"accuracy": 0.7})
    assert all(torch.equal(task.weights[2][name], tensor) for name, tensor in task.model.state_dict().items())


def test_patience_counts_epochs_without_a_better_one(tmp_path: Path) -> None:
    task = ScriptedTask([0.1, 0.3, 0.2, 0.3, 0.9])
    result, _ = train(tmp_path, task=task, epochs=5, patience=2)
    assert (len(result.history), result.best_epoch) == (4, 2)


def test_max_steps_cuts_an_epoch_short(tmp_path: Path) -> None:
    result, _ = train(tmp_path, max_steps=STEPS_PER_EPOCH + 3)
    assert [entry["step"] for entry in result.history] == [STEPS_PER_EPOCH, STEPS_PER_EPOCH + 3]
    assert [entry["tallies"]["examples"] for entry in result.history] == [60, 24]


def test_figures_are_those_of_the_steps(tmp_path: Path) -> None:
    recorder = Recorder()
    result, _ = train(tmp_path, callback=recorder)
    steps = [event for event in recorder.events if isinstance(event, StepEvent)]
    epochs = [event for event in recorder.events if isinstance(event, EpochEvent)]
    assert recorder.events[0] == StartEvent(0, 24, 3, ())
    assert [event.step for event in steps] == list(range(1, 25))
    assert [event.epoch for event in epochs] == [1, 2, 3] and recorder.is_over
    seconds = sum(event.seconds for event in steps)
    assert result.seconds_per_epoch == pytest.approx(seconds / 3)
    warm = sum(event.seconds for event in steps[1:])
    assert [event.is_warmup for event in steps] == [True, *[False] * 23]
    assert result.tokens_per_second == pytest.approx((3 * 60 - BATCH_SIZE) * 6 / warm)
    assert result.seconds > seconds
    first = steps[:STEPS_PER_EPOCH]
    mean = sum(event.loss * event.metric_sums["examples"] for event in first) / 60
    assert epochs[0].loss == pytest.approx(mean)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if line["event"] == "step"] == [event.loss for event in steps]


def test_the_speed_of_a_run_of_one_step_is_that_of_its_step(tmp_path: Path) -> None:
    recorder = Recorder()
    result, _ = train(tmp_path, callback=recorder, max_steps=1)
    (step,) = (event for event in recorder.events if isinstance(event, StepEvent))
    assert result.tokens_per_second == pytest.approx(BATCH_SIZE * 6 / step.seconds)


def test_threads_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    train(tmp_path / "a", max_steps=1, threads=3)
    train(tmp_path / "b", max_steps=1)
    assert asked == [3]


def test_the_task_is_learnt(tmp_path: Path) -> None:
    result, _ = train(tmp_path, epochs=12)
    assert result.history[-1]["loss"] < 0.9 * result.history[0]["loss"]


def test_an_update_forgets_the_gradient_of_the_one_before(tmp_path: Path) -> None:
    moved = []
    for leftover in (0.0, 100.0):
        task = TinyTask()
        for parameter in task.model.parameters():
            parameter.grad = torch.full_like(parameter, leftover)
        optimizer = torch.optim.SGD(task.model.parameters(), lr=1.0)
        train(tmp_path / str(leftover), task=task, optimizer=optimizer, max_steps=1)
        moved.append(task.model.output.weight.tolist())
    assert moved[0] == moved[1]


def test_gradients_are_clipped(tmp_path: Path) -> None:
    task = TinyTask()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in task.model.parameters()]
    train(tmp_path, task=task, optimizer=optimizer, max_steps=1, clip_norm=1e-3)
    moved = [new.detach() - old for new, old in zip(task.model.parameters(), before, strict=True)]
    assert torch.nn.utils.get_total_norm(moved).item() == pytest.approx(1e-3, rel=1e-2)


def test_a_dev_metric_that_is_nan_stops_the_run(tmp_path: Path) -> None:
    task = ScriptedTask([0.5, math.nan])
    with pytest.raises(
        NonFiniteError, match=r"accuracy must be finite, got nan on dev after step 16 \(epoch 2\)"
    ):
        train(tmp_path, task=task)
    assert train(tmp_path)[0].notes == ("resumed at step 8",)


def test_a_missing_metric_is_named(tmp_path: Path) -> None:
    task = TinyTask()
    task.metric = "bleu"
    with pytest.raises(ValueError, match="must return the metric 'bleu', got accuracy, loss"):
        train(tmp_path, task=task)


def test_an_empty_epoch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "train_batches", lambda self, epoch: [])
    with pytest.raises(ValueError, match="at least one batch, got none in epoch 1"):
        train(tmp_path)


def test_callbacks_hear_the_end_of_a_failed_run(tmp_path: Path) -> None:
    recorder = Recorder(lambda step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, callback=recorder)
    assert recorder.is_over


def test_the_same_seed_gives_the_same_bits_whatever_came_before(tmp_path: Path) -> None:
    first, _ = train(tmp_path / "a")
    torch.rand(7)
    second, _ = train(tmp_path / "b")
    other, _ = train(tmp_path / "c", seed=6)
    losses = [[entry["loss"] for entry in result.history] for result in (first, second, other)]
    assert losses[0] == losses[1] != losses[2]


def test_a_directory_that_is_not_entered_is_a_mistake(tmp_path: Path) -> None:
    task = TinyTask()
    optimizer, _ = Adam(lr=0.1).build(task.model.parameters(), 1)
    with pytest.raises(AssertionError, match="enter the run directory"):
        fit(task, optimizer, TrainerSettings(epochs=1), RunDirectory(tmp_path), config_hash="")
