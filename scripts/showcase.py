"""What a trained model makes of one pair: label, probabilities, attention, and a picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import regattn
from scripts.pictures import draw_attention
from scripts.runs import Setup
from tasks.entailment.data import LABELS, Pair
from tasks.entailment.model import EntailmentModel
from tasks.entailment.task import batch_of
from tasks.text.vocabulary import Vocabulary
from tasks.training.rundir import RunDirectory


@dataclass(frozen=True)
class Reading:
    """One pair as a model reads it.

    ``probabilities`` follow ``LABELS``; ``weights`` and ``groups`` have one entry for each word of the
    premise, groups as :func:`regattn.groups` numbers them.
    """

    premise: tuple[str, ...]
    hypothesis: tuple[str, ...]
    probabilities: list[float]
    weights: Tensor
    groups: Tensor

    @property
    def label(self) -> str:
        return LABELS[self.probabilities.index(max(self.probabilities))]

    def draw(self, path: Path, title: str) -> Path:
        """Save the picture of the weights, merged groups outlined."""
        target = [f"{' '.join(self.hypothesis)} → {self.label}"]
        draw_attention(
            path,
            self.weights.unsqueeze(0).numpy(),
            list(self.premise),
            target,
            self.groups.unsqueeze(0).numpy(),
            title,
        )
        return path


@torch.no_grad()
def read(model: EntailmentModel, mapping: regattn.Mapping, vocabulary: Vocabulary, pair: Pair) -> Reading:
    """Let the model read one pair."""
    model.eval()
    batch = batch_of([pair], vocabulary, model.project.weight.device)
    logits, weights = model(*batch)
    scores, mask = model.scores(*batch)
    groups = regattn.groups(scores, mapping, mask=mask)
    probabilities = torch.softmax(logits[0], -1).tolist()
    return Reading(pair.premise, pair.hypothesis, probabilities, weights[0].cpu(), groups[0].cpu())


def draw_example(setup: Setup, run: RunDirectory) -> Path:
    """Draw the first test pair in the run's directory."""
    task = setup.task
    reading = read(task.model, setup.mapping, task.vocabulary, task.corpus.splits["test"][0])
    return reading.draw(run.path / "attention.png", f"{setup.mapping.function.__name__}, {task.corpus.name}")
