"""What training asks of a task: the one interface between :func:`~tasks.training.fit.fit` and the tasks."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from tasks.attention import AttentionGrid
from tasks.data.corpus import Corpus
from tasks.training.records import Rows

Batch = TypeVar("Batch", bound=Sequence[Any])

OnBatch = Callable[[str, int, int], None]
"""Told during an evaluation what is being done, to how many items already, and to how many in all."""


def ignore(what: str, done: int, total: int) -> None:
    """An :data:`OnBatch` for nobody."""


class Vocabulary(Protocol):
    """What the numbers in a model's inputs and outputs stand for."""

    sha256: str
    """Hash of everything: weights mean nothing under another vocabulary."""

    def to_json(self) -> Any:
        """Everything as plain JSON, for the run's directory."""


class Task(Protocol[Batch]):
    """A model with its data and its dev metric, ready to be trained.

    A batch is a cheap sequence with one entry for each example, such as a list of indices: a whole epoch of
    them is held at once, so that an interrupted epoch can be taken up in its middle. What the entries are is
    opaque to the trainer; a slice of a batch is a batch too, the share of one process of several.
    """

    model: nn.Module
    """The module whose weights are trained, on its device already."""
    metric: str
    """Name of the dev metric that chooses the checkpoint; larger is better."""
    vocabulary: Vocabulary
    """What the numbers in the model's inputs and outputs stand for."""

    def train_batches(self, epoch: int) -> Sequence[Batch]:
        """Return the batches of ``epoch`` (counted from 1) in order.

        A pure function of the task's seed and ``epoch``: it reads and advances no global random state.
        """

    def describe(self, batch: Batch) -> str:
        """Name ``batch`` for an error message, such as ``"pairs 12, 7, 90"``."""

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the scalar loss of ``batch``, a mean over its examples and float32, and its metric sums.

        These are sums over the batch: always ``examples`` and ``tokens``, and ``correct`` where it is one.
        """

    def evaluate(
        self, split: str, *, items: int | None = None, on_batch: OnBatch = ignore
    ) -> dict[str, float]:
        """Return the metrics on ``split``, in eval mode and without gradients.

        Outputs are searched for ``items`` of it at most, always the same ones; what takes no search is
        measured on all in any case. What ``on_batch`` raises after a batch ends the evaluation.
        """


class RecordedTask(Task[Batch], Protocol[Batch]):
    """A task whose run leaves a record."""

    corpus: Corpus[Any]
    """What is learnt and tested."""
    inputs: dict[str, str]
    """SHA-256 of everything that the run reads; of the corpus under ``corpus``."""
    data_notes: list[str]
    """Lines about the prepared data, to show before training."""
    shown: Sequence[str]
    """Dev metrics worth a look after every epoch, in order; not every corpus has to have all of them."""
    outputs: dict[str, list[str]]
    """What the model answered, a line for each item, of every split since it was last evaluated."""
    items: dict[str, dict[str, Rows]]
    """What the scores of every split since it was last evaluated are made of, item by item."""
    signatures: dict[str, dict[str, str]]
    """For every split evaluated so far, how its metrics were computed, where there are several ways."""

    def summarize(self, metrics: dict[str, dict[str, float]]) -> str:
        """Say in one line what the metrics of all splits come to."""

    def example(self) -> AttentionGrid:
        """Return the attention over an item that is this project's own, the same one for every mapping."""
