"""The learning rate over time is the one that was meant, and a resumed run keeps to it."""

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Recorder, TinyTask, outcome, train

from tasks.training.optim import SGD, Adam, AdamW, OptimSettings
from tasks.training.signals import Preempted


@pytest.mark.parametrize("optim", [Adam, AdamW])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0), ("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("lr", "x"), ("eps", 0.0),
        ("weight_decay", -1e-9), ("weight_decay", math.nan), ("betas", (0.9,)), ("betas", (0.9, 0.99, 0.999)),
        ("betas", (0.9, 1.0)), ("betas", (-0.1, 0.9)), ("betas", (math.nan, 0.9)),
    ],
)  # fmt: skip
def test_numbers_of_adam(optim: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*, got "):
        optim(**{"lr": 0.1, name: value})


@pytest.mark.parametrize(
    ("optim", "name", "value"),
    [
        (AdamW, "warmup_steps", -1), (AdamW, "warmup_steps", 1.5), (AdamW, "schedule", "steps"),
        (SGD, "lr", 0), (SGD, "decay", 0), (SGD, "decay", 1), (SGD, "start_decay_at", 0),
    ],
)  # fmt: skip
def test_numbers_of_schedules(optim: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {value!r}$"):
        optim(**{"lr": 0.1, name: value})


def test_good_numbers_are_kept() -> None:
    Adam(lr=1, weight_decay=0, betas=(0, 0.5))
    AdamW(lr=1, warmup_steps=0, schedule="inverse_square_root")
    SGD(lr=0.1, decay=0.9, start_decay_at=1)


@pytest.mark.parametrize(("optim", "moved_to"), [(Adam, 0.9), (AdamW, 1 - 0.1 * 0.5)])
def test_the_penalty_is_part_of_the_gradient_of_adam_only(
    optim: Callable[..., OptimSettings], moved_to: float
) -> None:
    weight, frozen = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1), requires_grad=False)
    optimizer, _ = optim(lr=0.1, weight_decay=0.5, eps=1e-12).build([weight, frozen], 1)
    assert optimizer.param_groups[0]["params"] == [weight]
    weight.grad = torch.zeros(1)
    optimizer.step()
    # Adam's first step is lr times the sign of the gradient, here that of the penalty; AdamW's is lr * 0.5.
    assert weight.item() == pytest.approx(moved_to)


def rates_of_epochs(settings: SGD, perplexities: list[float]) -> list[float]:
    optimizer, scheduler = settings.build([torch.nn.Parameter(torch.zeros(1))], 1)
    rates = []
    for perplexity in perplexities:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        scheduler.epoch({"perplexity": perplexity})
    return rates


def test_sgd_halves_from_epoch_eight_on() -> None:
    falling = [100.0 - epoch for epoch in range(13)]
    # The rate falls after an epoch: that of the eighth is the first one's still.
    assert rates_of_epochs(SGD(), falling) == [1.0] * 8 + [0.5, 0.25, 0.125, 0.0625, 0.03125]


def test_sgd_halves_for_ever_once_perplexity_has_risen() -> None:
    assert rates_of_epochs(SGD(), [9.0, 9.0, 8.0, 8.5, 4.0, 3.0]) == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25]


def test_sgd_without_its_metric_names_it() -> None:
    _, scheduler = SGD().build([torch.nn.Parameter(torch.zeros(1))], 1)
    with pytest.raises(ValueError, match=r"optim\.metric must be .*, accuracy, got 'perplexity'"):
        scheduler.epoch({"accuracy": 0.5})


def rates_of_steps(settings: AdamW, total: int) -> list[float]:
    optimizer, scheduler = settings.build([torch.nn.Parameter(torch.zeros(1))], total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_a_warm_up_and_a_line() -> None:
    rates = rates_of_steps(AdamW(lr=2.0, warmup_steps=4), 14)
    assert rates == pytest.approx([0.5, 1.0, 1.5, 2.0, *(2.0 * left / 11 for left in range(10, 0, -1))])


def test_a_warm_up_and_a_root() -> None:
    rates = rates_of_steps(AdamW(lr=1.0, warmup_steps=4, schedule="inverse_square_root"), 16)
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[15] == 0.5


def test_a_checkpoint_holds_the_steps_of_a_schedule_alone() -> None:
    optimizer, scheduler = AdamW(lr=1.0, warmup_steps=2).build([torch.nn.Parameter(torch.zeros(1))], 4)
    optimizer.step()
    scheduler.step()
    assert scheduler.state_dict() == {"steps": 1}


def test_no_warm_up() -> None:
    assert rates_of_steps(AdamW(lr=1.0), 4) == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("warmup_steps", [4, 5, 6])
def test_a_training_that_ends_while_it_warms_up(warmup_steps: int) -> None:
    optimizer, scheduler = AdamW(lr=1.0, warmup_steps=warmup_steps).build(
        [torch.nn.Parameter(torch.zeros(1))], 4
    )
    rates = []
    for _ in range(9):  # epochs may be longer than the first, by which the steps were counted
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == [step / warmup_steps for step in (1, 2, 3, 4)] and rates[-1] == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        AdamW(lr=0.02, warmup_steps=6),
        AdamW(lr=0.02, warmup_steps=15, schedule="inverse_square_root"),
        SGD(lr=0.5, start_decay_at=2, metric="loss"),
    ],
)
def test_a_resumed_run_has_the_same_rates(tmp_path: Path, settings: OptimSettings) -> None:
    def start(path: Path, stop: int | None = None) -> dict[str, Any]:
        task = TinyTask()
        optimizer, scheduler = settings.build(task.model.parameters(), 24)
        recorder = Recorder(lambda now: now == stop and os.kill(os.getpid(), signal.SIGTERM))
        return outcome(
            path, *train(path, task=task, optimizer=optimizer, scheduler=scheduler, callback=recorder)
        )

    whole = start(tmp_path / "whole")
    for stop in (5, 8, 20):
        with pytest.raises(Preempted):
            start(tmp_path / "parts", stop)
    assert start(tmp_path / "parts") == whole
    lines = map(json.loads, (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines())
    rates = [line["lr"] for line in lines if line["event"] == "step"]
    assert len(rates) == 24 and len(set(rates)) > 1
