"""What a mapping adds to a training step of the SNLI model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from scripts import cli
from scripts.bench.plan import Course
from scripts.bench.race import Pace, Work, race, summarize, threads
from scripts.bench.words import FAMILIES
from scripts.runs import Setup, set_up
from tasks.training.fit import train_step

_BATCH = 32


def training(course: Course) -> dict[str, Any]:
    """Whole updates (forward, backward, Adam) on the same batches, in turns; one thread."""
    plan = course.plan
    works: dict[str, Sequence[Work]] = {}
    skipped: dict[str, str] = {}
    for name in filter(None, FAMILIES):
        steps = _steps(_setup(name, course), count=min(plan.steps, 32))
        try:
            steps[0]()
        except ValueError as error:  # a device that a mapping has no kernels for
            skipped[f"regattn.{name}"] = str(error)
        else:
            works[f"regattn.{name}"] = steps
    unit = "regattn.softmax"
    if unit not in works:
        return {"contestants": {}, "skipped": skipped, "cells": []}
    pace = Pace(0.0, least=plan.steps, least_peer=plan.steps, most=plan.steps)
    with threads(1):
        seconds = race(works, course.clock, pace, keen=works, unit=unit)
    return {
        "contestants": {name: {"origin": "ours", "family": name.removeprefix("regattn.")} for name in works},
        "skipped": skipped,
        "unit": unit,
        "batch": _BATCH,
        "cells": [
            {"threads": 1, "results": {name: summarize(t, seconds[unit]) for name, t in seconds.items()}}
        ],
    }


def _setup(name: str, course: Course) -> Setup:
    overrides = [f"attention={name}", f"task.batch_size={_BATCH}", f"trainer.device={course.device.type}"]
    return set_up(cli.read_config([*overrides, *course.plan.overrides]))


def _steps(setup: Setup, count: int) -> list[Work]:
    torch.manual_seed(setup.config.seed)
    optimizer, _ = setup.optim.build(setup.task.model.parameters(), total_steps=count)
    batches = setup.task.train_batches(1)[:count]
    return [
        partial(train_step, setup.task, optimizer, batch, clip_norm=None, where="the benchmark")
        for batch in batches
    ]
