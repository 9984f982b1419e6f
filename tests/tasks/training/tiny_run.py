"""A real task in small: which of two symbols came first? Every source of randomness takes part in it."""

import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import regattn
from tasks.training.callbacks import Callback, EpochEvent, StartEvent, StepEvent
from tasks.training.distributed import enter_on_rank_zero
from tasks.training.fit import fit
from tasks.training.optim import Adam, Scheduler
from tasks.training.run_directory import RunDirectory
from tasks.training.settings import TrainerSettings
from tasks.training.state import Counters

EXAMPLES, BATCH_SIZE, LENGTH = 60, 8, 6
STEPS_PER_EPOCH = 8


class TinyModel(nn.Module):
    """Embedding, dropout, GRU, attention, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.encoder = nn.GRU(8, 8, batch_first=True)
        self.scorer = nn.Linear(8, 1)
        self.mapping = regattn.Softmax()
        self.norm = nn.BatchNorm1d(8)
        self.output = nn.Linear(8, 2)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.encoder(nn.functional.dropout(self.embedding(words), 0.2, self.training))
        weights = self.mapping(self.scorer(states).squeeze(-1))
        return self.output(self.norm(torch.einsum("bt,bth->bh", weights, states)))


class TinyVocabulary(NamedTuple):
    sha256: str

    def to_json(self) -> str:
        return self.sha256


class TinyTask:
    """The task."""

    metric = "accuracy"

    def __init__(self, seed: int = 1) -> None:
        generator = torch.Generator().manual_seed(0)
        self.words = torch.randint(0, 12, (2 * EXAMPLES, LENGTH), generator=generator)
        self.labels = (self.words[:, 0] < self.words[:, 1]).long()
        torch.manual_seed(seed)
        self.model = TinyModel()
        self.seed = seed
        self.vocabulary = TinyVocabulary("words")

    def train_batches(self, epoch: int) -> Sequence[tuple[int, ...]]:
        order = torch.randperm(EXAMPLES, generator=torch.Generator().manual_seed(1000 * self.seed + epoch))
        return [tuple(chunk.tolist()) for chunk in order.split(BATCH_SIZE)]

    def describe(self, batch: tuple[int, ...]) -> str:
        return f"pairs {', '.join(map(str, batch))}"

    def step(self, batch: tuple[int, ...]) -> tuple[Tensor, dict[str, float]]:
        words = self.words[list(batch)].clone()
        # One draw of each global generator, so that losing any of them shows.
        words[:, np.random.randint(LENGTH)] = random.randrange(12)
        labels = self.labels[list(batch)]
        scores = self.model(words)
        loss = nn.functional.cross_entropy(scores, labels)
        correct = (scores.argmax(-1) == labels).sum().item()
        metric_sums = {"examples": len(batch), "tokens": words.numel(), "correct": correct}
        return loss, metric_sums

    def evaluate(self, split: str, **options: Any) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            scores = self.model(self.words[EXAMPLES:])
        labels = self.labels[EXAMPLES:]
        accuracy = (scores.argmax(-1) == labels).float().mean().item()
        return {"accuracy": accuracy, "loss": nn.functional.cross_entropy(scores, labels).item()}


class Decay:
    """A schedule with a memory: the learning rate falls with the number of epochs, and within each."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.steps, self.epochs = optimizer, 0, 0

    def step(self) -> None:
        self.steps += 1
        self._set_rate()

    def epoch(self, dev: dict[str, float]) -> None:
        self.epochs += 1
        self._set_rate()

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 0.02 * 0.9**self.epochs * 0.99**self.steps

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.epochs = state_dict["steps"], state_dict["epochs"]


class Recorder(Callback):
    """A callback that keeps what it is told, and calls ``on_each(step)`` after every step."""

    def __init__(self, on_each: Any = lambda step: None) -> None:
        self.events: list[StartEvent | StepEvent | EpochEvent] = []
        self.on_each = on_each
        self.is_over = False

    def on_start(self, event: StartEvent) -> None:
        self.events.append(event)

    def on_step(self, event: StepEvent) -> None:
        self.events.append(event)
        self.on_each(event.step)

    def on_epoch(self, event: EpochEvent) -> None:
        self.events.append(event)

    def on_end(self) -> None:
        self.is_over = True


@dataclass
class Result(Counters):
    """What a run counts, with the sentences that it began with."""

    notes: tuple[str, ...] = ()


class Notes(Callback):
    """Keeps what is said at the start."""

    def on_start(self, event: StartEvent) -> None:
        self.notes = event.notes


def train(
    path: Path,
    *,
    task: TinyTask | None = None,
    callback: Callback | None = None,
    config_hash: str = "config",
    commit: str = "unknown",
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Scheduler | None = None,
    **settings: Any,
) -> tuple[Result, TinyTask]:
    """Train the tiny task in ``path`` for three epochs, or as ``settings`` say."""
    task = task or TinyTask()
    optimizer = optimizer or Adam(lr=0.02, weight_decay=1e-4).build(task.model.parameters(), 24)[0]
    chosen = TrainerSettings(**{"epochs": 3, "clip_norm": 1.0, "seed": 5, **settings})
    notes = Notes()
    with enter_on_rank_zero(RunDirectory(path)) as run:
        counters = fit(
            task, optimizer, chosen, run, config_hash=config_hash, commit=commit,
            scheduler=scheduler or Decay(optimizer), callbacks=[notes, callback] if callback else [notes],
        )  # fmt: skip
    return Result(**vars(counters), notes=notes.notes), task


def outcome(path: Path, result: Result, task: TinyTask) -> dict[str, Any]:
    """Everything about a finished run that must not depend on where it was interrupted."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
    return {
        "log": lines,
        "dev": result.dev,
        "best_epoch": result.best_epoch,
        "weights": {name: tensor.tolist() for name, tensor in task.model.state_dict().items()},
    }


if __name__ == "__main__":  # a run that stands still after step 14, where it is waited for
    torch.set_num_threads(1)
    train(
        Path(sys.argv[1]), callback=Recorder(lambda step: step == 14 and time.sleep(3600)), checkpoint_every=3
    )
