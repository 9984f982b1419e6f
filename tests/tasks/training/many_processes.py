"""What several processes do together, one scene after the other; each writes down what it saw."""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_run import TinyModel, TinyTask, Watcher, outcome, train
from torch import Tensor, nn

from tasks.training.fit import FitResult
from tasks.training.processes import Processes, join
from tasks.training.rundir import RunDirectory

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


def equal(path: Path, processes: Processes) -> Any:
    task = PlainTask()
    with torch.no_grad():
        task.model.output.bias.add_(processes.rank)  # the first one's weights count
    return outcome(path, *train(path, task=task, processes=processes))


def stopped(path: Path, processes: Processes) -> Any:
    """A signal to the last process stops all, and what follows is as if none had come."""

    def outcome_here(path: Path, result: FitResult, task: TinyTask) -> Any:
        seen = outcome(path, result, task)
        # Running means are each process's own until a resume, which gives all of them the first one's.
        kept = {name: seen["weights"][name] for name, _ in task.model.named_parameters()}
        return seen if processes.is_first else {**seen, "weights": kept}

    whole = outcome_here(path / "whole", *train(path / "whole", processes=processes))

    def send(step: int) -> None:
        if step == 11 and processes.rank == processes.size - 1:
            os.kill(os.getpid(), signal.SIGUSR1)

    parts = path / "parts"
    said = failure(lambda: train(parts, observer=Watcher(send), processes=processes))
    left = os.listdir(parts)
    continued, task = train(parts, processes=processes)
    return {
        "said": said,
        "files": sorted(left),
        "notes": continued.notes,
        "is the same": outcome_here(parts, continued, task) == whole,
        "draws": torch.rand(1).item(),
    }


def not_finite(path: Path, processes: Processes) -> Any:
    """One process alone sees the NaN."""
    poisoned = PlainTask().train_batches(2)[3][processes.size - 1]
    watcher = Watcher()

    def fail(batch: Sequence[int], loss: Tensor) -> Tensor:
        is_late = len(watcher.events) > 9
        return loss * float("nan") if is_late and poisoned in batch[:1] else loss

    task = PlainTask(fail)
    said = failure(lambda: train(path, task=task, observer=watcher, processes=processes))
    weights = {name: tensor.tolist() for name, tensor in task.model.state_dict().items()}
    return {"said": said, "weights": weights}


def failed(path: Path, processes: Processes) -> Any:
    def fail(batch: Sequence[int], loss: Tensor) -> Tensor:
        if processes.rank == 1:
            raise ValueError("no such word")
        return loss

    return failure(lambda: train(path, task=PlainTask(fail), processes=processes))


def in_use(path: Path, processes: Processes) -> Any:
    def start() -> None:
        with processes.enter_on_first(RunDirectory(path)):
            train(path, task=PlainTask(), processes=processes)

    return failure(start)


def unused(path: Path, processes: Processes) -> Any:
    """A parameter that no process uses keeps no gradient, one that a single process uses has its share."""
    all_, one, none = (nn.Parameter(torch.ones(2)) for _ in range(3))
    all_.grad = torch.full((2,), 1.0 + processes.rank)
    if processes.rank == 1:
        one.grad = torch.ones(2)
    processes.sum_gradients([all_, one, none], [0.25, 0.75][processes.rank])
    return [None if p.grad is None else p.grad.tolist() for p in (all_, one, none)]


def dies(path: Path, processes: Processes) -> Any:
    def die(step: int) -> None:
        if step == 3 and processes.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return failure(lambda: train(path, task=PlainTask(), observer=Watcher(die), processes=processes))


SCENES = {scene.__name__: scene for scene in (equal, stopped, not_finite, failed, in_use, unused, dies)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    with join(CPU) as processes:
        for name in names:
            seen = SCENES[name](folder / name, processes)
            (folder / f"{name}.{processes.rank}.json").write_text(json.dumps(seen))
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    (folder / f"threads.{processes.rank}.json").write_text(json.dumps(threads))
