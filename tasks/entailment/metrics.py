"""What is measured of an entailment model: its answers and its attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.entailment.data import Pair


class Tally:
    """Sums over batches, from which the metrics of a split follow.

    Metrics:
        accuracy: share of right labels, 0 to 1.
        loss: mean negative log-likelihood, in nats.
        zero_share: mean share of a premise's words with a weight of exactly 0.
        evidence_mass: mean weight on the words that decide, where the corpus knows them.
    """

    def __init__(self) -> None:
        self.examples = 0
        self.sums = dict.fromkeys(("accuracy", "loss", "zero_share", "evidence_mass"), 0.0)
        self.with_evidence = 0

    def add(self, pairs: Sequence[Pair], logits: Tensor, weights: Tensor) -> None:
        """Count one batch; ``weights`` are (batch, longest premise) with zeros for padding."""
        labels = torch.tensor([pair.label for pair in pairs])
        logits, weights = logits.cpu().double(), weights.cpu().double()
        lengths = torch.tensor([len(pair.premise) for pair in pairs])
        self.examples += len(pairs)
        self.sums["accuracy"] += int((logits.argmax(-1) == labels).sum())
        self.sums["loss"] += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        self.sums["zero_share"] += float((1 - (weights > 0).sum(-1) / lengths).sum())
        for pair, row in zip(pairs, weights, strict=True):
            if pair.evidence is not None:
                self.with_evidence += 1
                self.sums["evidence_mass"] += float(row[slice(*pair.evidence)].sum())

    def metrics(self) -> dict[str, float]:
        """Means over all pairs counted; ``evidence_mass`` only where evidence is known."""
        means = {name: total / self.examples for name, total in self.sums.items()}
        del means["evidence_mass"]
        if self.with_evidence:
            means["evidence_mass"] = self.sums["evidence_mass"] / self.with_evidence
        return means
