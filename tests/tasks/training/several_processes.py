"""What several processes do together, one scene after the other; each writes down what it saw."""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_run import Recorder, Result, TinyModel, TinyTask, outcome, train
from torch import Tensor, nn

from tasks.training.distributed import (
    enter_on_rank_zero,
    init_distributed,
    is_rank_zero,
    rank,
    sum_gradients,
    world_size,
)
from tasks.training.run_directory import RunDirectory

CPU = torch.device("cpu")


class PlainModel(TinyModel):
    """Without what depends on the other examples of a batch, or on chance."""

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.encoder(self.embedding(words))
        weights = self.mapping(self.scorer(states).squeeze(-1))
        return self.output(torch.einsum("bt,bth->bh", weights, states))


class PlainTask(TinyTask):
    """A task whose steps are the same however a batch is shared; ``fail`` is called with each share.

    The last batch of an epoch has one example, so that a second process gets none of it.
    """

    def __init__(self, fail: Callable[[Sequence[int], Tensor], Tensor] = lambda batch, loss: loss) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.model = PlainModel()
        self.fail = fail

    def train_batches(self, epoch: int) -> Sequence[tuple[int, ...]]:
        *batches, last = super().train_batches(epoch)
        return [*batches, last[1:], last[:1]]

    def step(self, batch: tuple[int, ...]) -> tuple[Tensor, dict[str, float]]:
        words, labels = self.words[list(batch)], self.labels[list(batch)]
        scores = self.model(words)
        loss = nn.functional.cross_entropy(scores, labels)
        correct = (scores.argmax(-1) == labels).sum().item()
        return self.fail(batch, loss), {"examples": len(batch), "tokens": words.numel(), "correct": correct}


def failure(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def equal(path: Path) -> Any:
    task = PlainTask()
    with torch.no_grad():
        task.model.output.bias.add_(rank())  # the first one's weights count
    return outcome(path, *train(path, task=task))


def stopped(path: Path) -> Any:
    """A signal to the last process stops all, and what follows is as if none had come."""

    def outcome_here(path: Path, result: Result, task: TinyTask) -> Any:
        seen = outcome(path, result, task)
        # Running means are each process's own until a resume, which gives all of them the first one's.
        kept = {name: seen["weights"][name] for name, _ in task.model.named_parameters()}
        return seen if is_rank_zero() else {**seen, "weights": kept}

    whole = outcome_here(path / "whole", *train(path / "whole"))

    def send(step: int) -> None:
        if step == 11 and rank() == world_size() - 1:
            os.kill(os.getpid(), signal.SIGUSR1)

    parts = path / "parts"
    said = failure(lambda: train(parts, callback=Recorder(send)))
    left = os.listdir(parts)
    continued, task = train(parts)
    return {
        "said": said,
        "files": sorted(left),
        "notes": continued.notes,
        "is the same": outcome_here(parts, continued, task) == whole,
        "draws": torch.rand(1).item(),
    }


def not_finite(path: Path) -> Any:
    """One process alone sees the NaN."""
    poisoned = PlainTask().train_batches(2)[3][world_size() - 1]
    recorder = Recorder()

    def fail(batch: Sequence[int], loss: Tensor) -> Tensor:
        is_late = len(recorder.events) > 9
        return loss * float("nan") if is_late and poisoned in batch[:1] else loss

    task = PlainTask(fail)
    said = failure(lambda: train(path, task=task, callback=recorder))
    weights = {name: tensor.tolist() for name, tensor in task.model.state_dict().items()}
    return {"said": said, "weights": weights}


def failed(path: Path) -> Any:
    def fail(batch: Sequence[int], loss: Tensor) -> Tensor:
        if rank() == 1:
            raise ValueError("no such word")
        return loss

    return failure(lambda: train(path, task=PlainTask(fail)))


def in_use(path: Path) -> Any:
    def start() -> None:
        with enter_on_rank_zero(RunDirectory(path)):
            train(path, task=PlainTask())

    return failure(start)


def unused(path: Path) -> Any:
    """A parameter that no process uses keeps no gradient, one that a single process uses has its share."""
    all_, one, none = (nn.Parameter(torch.ones(2)) for _ in range(3))
    all_.grad = torch.full((2,), 1.0 + rank())
    if rank() == 1:
        one.grad = torch.ones(2)
    sum_gradients([all_, one, none], [0.25, 0.75][rank()])
    return [None if p.grad is None else p.grad.tolist() for p in (all_, one, none)]


def dies(path: Path) -> Any:
    def die(step: int) -> None:
        if step == 3 and rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return failure(lambda: train(path, task=PlainTask(), callback=Recorder(die)))


SCENES = {scene.__name__: scene for scene in (equal, stopped, not_finite, failed, in_use, unused, dies)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    with init_distributed(CPU):
        own = rank()
        for name in names:
            seen = SCENES[name](folder / name)
            (folder / f"{name}.{own}.json").write_text(json.dumps(seen))
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    (folder / f"threads.{own}.json").write_text(json.dumps(threads))
