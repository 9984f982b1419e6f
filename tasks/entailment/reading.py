"""What an entailment model makes of one pair: label, probabilities and attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tasks.entailment.data import LABELS, Pair
from tasks.entailment.model import EntailmentModel, PaddedBatch
from tasks.grid import AttentionGrid


@dataclass(frozen=True)
class Prediction:
    """One pair as a model reads it: ``probabilities`` follow ``LABELS``, ``grid`` has one row."""

    probabilities: list[float]
    grid: AttentionGrid

    @property
    def label(self) -> str:
        return label_of(self.probabilities)


def label_of(probabilities: list[float]) -> str:
    """Name of the most probable label."""
    return LABELS[probabilities.index(max(probabilities))]


def predict_pair(model: EntailmentModel, pair: Pair, batch: tuple[PaddedBatch, PaddedBatch]) -> Prediction:
    """Let the model read one pair, given also as a ``batch`` of one."""
    model.eval()
    found = model.predict(*batch)
    probabilities = torch.softmax(found.logits[0], -1).tolist()
    target = (f"{' '.join(pair.hypothesis)} → {label_of(probabilities)}",)
    grid = AttentionGrid(pair.premise, target, found.weights.cpu(), found.groups.cpu())
    return Prediction(probabilities, grid)
