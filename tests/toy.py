"""A mapping and a task that nobody needs, made with what the registries ask for and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import regattn
import tasks._registry
from regattn import MappingSpec
from regattn._sparsemax import half_square, solve_simplex, sparsemax_certificate
from tasks._registry import Config, Metric, TaskSpec
from tasks.attention import AttentionGrid
from tasks.data.batching import epoch_batches
from tasks.data.corpus import Corpus
from tasks.training.task import OnBatch, ignore

LENGTH, LABELS = 6, 3


# ------------------------------------------------------------------ the mapping
def halfmax(scores: Tensor, dim: int = -1, *, gamma: float = 2.0, mask: Tensor | None = None) -> Tensor:
    """Sparsemax with another default."""
    return regattn.sparsemax(scores, dim, gamma=gamma, mask=mask)


class Halfmax(regattn.Mapping):
    """Module form of :func:`halfmax`."""

    function = staticmethod(halfmax)

    def __init__(self, dim: int = -1, *, gamma: float = 2.0) -> None:
        super().__init__(dim, gamma=gamma)


HALFMAX = MappingSpec(
    halfmax,
    Halfmax,
    colour="#8a8a8b",
    omega=half_square,
    certificate=sparsemax_certificate,
    solver=solve_simplex,
)


# ------------------------------------------------------------------ the task: which mark is among others?
Item = tuple[int, ...]  # all but one are 0 or at least LABELS


class Letters(NamedTuple):
    sha256: str = sha256(b"toy").hexdigest()

    def to_json(self) -> str:
        return self.sha256


class ToyModel(nn.Module):
    """A query that it learns, attention over embedded numbers, a decision."""

    def __init__(self, mapping: nn.Module, size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(2 * LABELS, size)
        self.query = nn.Parameter(torch.randn(1, size))
        self.attention = regattn.Attention(regattn.DotScorer(), mapping)
        self.decide = nn.Linear(size, LABELS)

    def forward(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        context, weights = self.attention(self.query.expand(len(numbers), 1, -1), self.embed(numbers))
        return self.decide(context.squeeze(1)), weights


class ToyTask:
    """A :class:`tasks.training.task.RecordedTask`."""

    metric, shown = "accuracy", ("accuracy",)
    vocabulary = Letters()

    def __init__(self, corpus: Corpus[Item], model: ToyModel, seed: int) -> None:
        self.corpus, self.model, self.seed = corpus, model, seed
        self.inputs = {"corpus": corpus.sha256}
        self.data_notes: list[str] = []
        self.outputs: dict[str, list[str]] = {}
        self.items: dict[str, dict[str, list[int]]] = {}
        self.signatures: dict[str, dict[str, str]] = {}

    def train_batches(self, epoch: int) -> list[list[int]]:
        lengths = [LENGTH] * len(self.corpus.splits["train"])
        return epoch_batches(lengths, 8, seed=self.seed, epoch=epoch)

    def describe(self, batch: list[int]) -> str:
        return f"items {batch}"

    def step(self, batch: list[int]) -> tuple[Tensor, dict[str, float]]:
        numbers, labels = _tensors([self.corpus.splits["train"][i] for i in batch])
        loss = cross_entropy(self.model(numbers)[0], labels)
        return loss, {"examples": float(len(batch)), "tokens": float(numbers.numel())}

    @torch.no_grad()
    def evaluate(
        self, split: str, *, items: int | None = None, on_batch: OnBatch = ignore
    ) -> dict[str, float]:
        self.model.eval()
        numbers, labels = _tensors(self.corpus.splits[split])
        answers = self.model(numbers)[0].argmax(-1)
        self.outputs[split] = [str(answer) for answer in answers.tolist()]
        self.items[split] = {"accuracy": (answers == labels).int().tolist()}
        return {"accuracy": float((answers == labels).double().mean())}

    def summarize(self, metrics: dict[str, dict[str, float]]) -> str:
        return f"accuracy {metrics['test']['accuracy']:.2f}"

    @torch.no_grad()
    def example(self) -> AttentionGrid:
        numbers, _ = _tensors(self.corpus.splits["test"][:1])
        weights = self.model(numbers)[1][0]
        return AttentionGrid.of(map(str, numbers[0].tolist()), ["mark"], weights, (weights > 0).long())


def _tensors(items: list[Item]) -> tuple[Tensor, Tensor]:
    numbers = torch.tensor(items)
    return numbers, numbers.where(numbers < LABELS, 0).amax(-1)


def generate(size: int = 96) -> Corpus[Item]:
    """Numbers of which one is a mark."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(LABELS, 2 * LABELS, (size, LENGTH), generator=generator)
    rows[:, 0] = torch.randint(LABELS, (size,), generator=generator)
    items = [tuple(row[torch.randperm(LENGTH, generator=generator)].tolist()) for row in rows]
    splits = {"train": items[: size // 2], "dev": items[size // 2 :: 2], "test": items[size // 2 + 1 :: 2]}
    return Corpus("marks", sha256(repr(splits).encode()).hexdigest(), splits, {}, synthetic=True)


def build(
    corpus: Corpus[Item], mapping: nn.Module, seed: int, device: torch.device, *, hidden_size: int = 8
) -> ToyTask:
    """The task with new weights."""
    torch.manual_seed(seed)
    return ToyTask(corpus, ToyModel(mapping, hidden_size).to(device), seed)


def _setting(config: Config) -> str:
    return f"hidden {config['task']['hidden_size']}"


TOY = TaskSpec(
    name="toy",
    title="Marks among numbers",
    build="tests.toy.build",
    corpora={"mini": "tests.toy.generate"},
    command="",
    writes_text=False,
    figure="figure4",
    primary_metric=Metric("accuracy", "accuracy, %", 100.0),
    item_scores={"accuracy": ""},
    setting=_setting,
)

CONFIGS = {
    "attention/halfmax": """
defaults: [/schema/attention@_here_: halfmax, _self_]
_target_: tests.toy.Halfmax
""",
    "task/toy": """# @package _global_
defaults: [/schema/task@task: toy, _self_]
task_name: toy
task: {_target_: tests.toy.build, hidden_size: 8}
""",
    "data/toy/mini": """# @package _global_
defaults: [/schema/data@data: toy_mini, _self_]
tier: mini
data: {_target_: tests.toy.generate, size: 96}
trainer: {epochs: 3}
""",
}
"""All that configs/ needs of them, by name of the file."""


@contextmanager
def registered() -> Iterator[None]:
    """Both are known as long as this lasts."""
    regattn.register(HALFMAX)
    tasks._registry.register(TOY)
    try:
        yield
    finally:
        del regattn.MAPPINGS[HALFMAX.name], tasks._registry.TASKS[TOY.name]
