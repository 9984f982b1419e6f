"""How much of an entailment corpus can be guessed without reading it: models that know no word order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain, pairwise, product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tasks.data.batching import epoch_batches
from tasks.entailment.agreement import is_content
from tasks.entailment.data import LABELS, Corpus, Pair
from tasks.ranges import PositiveInt, check_number

if TYPE_CHECKING:
    from tasks.entailment.task import EntailmentTask

_BATCH = 256
_RATE = 0.05
_LEAST = 2  # how often training has to show a feature
Scores = dict[str, dict[str, dict[str, float]]]


def baselines(task: EntailmentTask) -> Scores:
    """Test accuracy of the most frequent label, of the hypothesis alone, and of a bag of features."""
    return {name: {"test": {"accuracy": found}} for name, found in baseline_accuracies(task.corpus).items()}


def baseline_accuracies(corpus: Corpus, *, epochs: int = 10, seed: int = 1) -> dict[str, float]:
    """Measure all baselines on the test split.

    The two that are trained are log-linear: the one on words and pairs of neighbours of the hypothesis, the
    other also on which content words of both sentences meet, and on how many of the hypothesis are new.

    Args:
        corpus: any entailment corpus.
        epochs: passes over the training split, at least 1; the best one on dev counts.
        seed: of the order, at least 0.

    Returns:
        Accuracy in 0 ... 1 by the name of the baseline.

    Raises:
        ValueError: ``epochs < 1`` or ``seed < 0``.

    Source: Bowman et al. (2015), "A large annotated corpus for learning natural language inference", section
        3.3; the hypothesis alone, Gururangan et al. (2018), "Annotation Artifacts in Natural Language
        Inference Data".
    """
    check_number("epochs", epochs, PositiveInt)
    (majority, _), *_ = Counter(pair.label for pair in corpus.splits["train"]).most_common(1)
    test = corpus.splits["test"]
    return {
        "majority": sum(pair.label == majority for pair in test) / len(test),
        "hypothesis only": _fit(corpus, hypothesis_features, epochs, seed),
        "bag of features": _fit(corpus, pair_features, epochs, seed),
    }


def hypothesis_features(pair: Pair) -> Iterable[Hashable]:
    """Words, neighbours and length of the hypothesis."""
    return [*pair.hypothesis, *pairwise(pair.hypothesis), len(pair.hypothesis)]


def pair_features(pair: Pair) -> Iterable[Hashable]:
    """Those of the hypothesis, which words meet which, which are new, and how many."""
    known = set(pair.premise)
    premise, hypothesis = (
        [w for w in dict.fromkeys(side) if is_content(w)] for side in (pair.premise, pair.hypothesis)
    )
    new = [word for word in hypothesis if word not in known]
    meeting = (("meet", *words) for words in product(premise, hypothesis))
    lengths = ("longer", (len(pair.hypothesis) - len(pair.premise)) // 2)
    counts = [("new of", len(new), len(hypothesis)), ("new", len(new)), lengths]
    return chain(hypothesis_features(pair), meeting, (("new", word) for word in new), counts)


@torch.sparse.check_sparse_tensor_invariants(False)  # its default, of which torch warns
def _fit(corpus: Corpus, features: Callable[[Pair], Iterable[Hashable]], epochs: int, seed: int) -> float:
    """Train, and return the test accuracy after the epoch that is best on dev."""
    found = {split: [list(features(pair)) for pair in pairs] for split, pairs in corpus.splits.items()}
    counts = Counter(chain.from_iterable(found["train"]))
    known = [feature for feature, count in counts.items() if count >= _LEAST]
    numbers = {feature: number for number, feature in enumerate(known, 1)}  # 0: always there
    bags = {
        split: [torch.tensor([0, *(numbers[f] for f in row if f in numbers)]) for row in rows]
        for split, rows in found.items()
    }
    labels = {split: torch.tensor([p.label for p in pairs]) for split, pairs in corpus.splits.items()}
    model = nn.EmbeddingBag(len(numbers) + 1, len(LABELS), mode="sum", sparse=True, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adagrad(model.parameters(), _RATE, initial_accumulator_value=1e-10, eps=0.0)

    def logits(split: str, batch: Sequence[int]) -> Tensor:
        chosen = [bags[split][number] for number in batch]
        return model(torch.cat(chosen), torch.tensor([0, *map(len, chosen[:-1])]).cumsum(0))

    @torch.no_grad()
    def accuracy(split: str) -> float:
        right = logits(split, range(len(labels[split]))).argmax(1) == labels[split]
        return float(right.double().mean())

    lengths = [0] * len(labels["train"])  # bags need no padding, so no sorting either
    best_dev, its_test = -1.0, 0.0
    for epoch in range(epochs):
        for batch in epoch_batches(lengths, _BATCH, seed=seed, epoch=epoch):
            optimizer.zero_grad()
            cross_entropy(logits("train", batch), labels["train"][batch]).backward()
            optimizer.step()
        dev = accuracy("dev")
        if dev > best_dev:
            best_dev, its_test = dev, accuracy("test")
    return its_test
