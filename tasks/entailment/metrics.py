"""What is measured of an entailment model: its answers and its attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tasks.attention import AttentionTally
from tasks.entailment.data import Pair
from tasks.entailment.model import EntailmentOutput


class Tally:
    """Sums over batches, from which the metrics of a split follow.

    Metrics:
        accuracy: share of right labels, 0 to 1.
        loss: mean negative log-likelihood, in nats.
        evidence_mass: mean weight on the words that decide, where the corpus knows them.
        and those of :class:`tasks.attention.AttentionTally`, over the words of the premises.
    """

    def __init__(self) -> None:
        self.examples = 0
        self.sums = dict.fromkeys(("accuracy", "loss", "evidence_mass"), 0.0)
        self.with_evidence = 0
        self.attention = AttentionTally()

    def add(self, pairs: Sequence[Pair], found: EntailmentOutput) -> None:
        """Count one batch."""
        labels = torch.tensor([pair.label for pair in pairs])
        logits, weights = found.logits.cpu().double(), found.weights.cpu().double()
        self.attention.add(found.weights, found.mask, found.groups)
        self.examples += len(pairs)
        self.sums["accuracy"] += int((logits.argmax(-1) == labels).sum())
        self.sums["loss"] += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
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
        return {**means, **self.attention.metrics()}
